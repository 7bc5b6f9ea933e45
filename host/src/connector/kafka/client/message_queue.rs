//! Takes messages from the queue of a partition, many at a time.
//!
//! The crate's own `poll` costs 220 ns for each message and allocates; a batch costs 55 ns
//! (docs/decisions/0108-rdkafka.md). What is unsafe is the use of librdkafka's pointers: a message is valid until it is
//! destroyed, and a queue until it is destroyed, which is before its consumer is.

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;

use super::client_state::StateContext;

/// Messages that are taken at a time.
const BATCH: usize = 512;

/// The queue of one partition.
pub(super) struct MessageQueue {
    queue: *mut native::rd_kafka_queue_t,
    /// Messages that were taken; those from `next` on were not returned yet.
    taken: Vec<*mut native::rd_kafka_message_t>,
    next: usize,
    /// Destroyed after the queue.
    _consumer: Arc<BaseConsumer<StateContext>>,
}

// SAFETY: librdkafka's queues and messages may be used by any thread. The pointers are not shared.
unsafe impl Send for MessageQueue {}

/// What a queue returns.
pub(super) enum QueueItem<'a> {
    Message(KafkaMessage<'a>),
    /// The end of the partition.
    End,
    Error(RDKafkaErrorCode, String),
}

/// A message in librdkafka's memory. It is destroyed when this is dropped.
pub(crate) struct KafkaMessage<'a> {
    message: *mut native::rd_kafka_message_t,
    _queue: PhantomData<&'a MessageQueue>,
}

impl MessageQueue {
    /// Returns the queue of a partition, which the consumer's own queue must not get. `None` if there is none.
    pub(super) fn open(
        consumer: &Arc<BaseConsumer<StateContext>>,
        topic: &CStr,
        partition: i32,
    ) -> Option<MessageQueue> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives as long as `consumer`, of which the queue keeps a reference.
        let queue = unsafe { native::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        let taken = Vec::with_capacity(BATCH);
        (!queue.is_null()).then(|| MessageQueue { queue, taken, next: 0, _consumer: consumer.clone() })
    }

    /// Returns the next item, without waiting.
    #[inline]
    pub(super) fn next(&mut self) -> Option<QueueItem<'_>> {
        if self.next == self.taken.len() && !self.take_more() {
            return None;
        }
        let message = KafkaMessage { message: self.taken[self.next], _queue: PhantomData };
        self.next += 1;
        Some(message.into_item())
    }

    /// Takes a batch of messages. Returns false if there are none.
    fn take_more(&mut self) -> bool {
        self.taken.clear();
        self.next = 0;
        // SAFETY: the vector has room for `BATCH` pointers, of which librdkafka sets as many as it returns.
        unsafe {
            let count = native::rd_kafka_consume_batch_queue(self.queue, 0, self.taken.as_mut_ptr(), BATCH);
            self.taken.set_len(usize::try_from(count).unwrap_or(0).min(BATCH));
        }
        !self.taken.is_empty()
    }
}

impl Drop for MessageQueue {
    fn drop(&mut self) {
        for &message in &self.taken[self.next..] {
            drop(KafkaMessage { message, _queue: PhantomData });
        }
        // SAFETY: the queue is not used any more, and its consumer still exists.
        unsafe { native::rd_kafka_queue_destroy(self.queue) };
    }
}

impl Drop for KafkaMessage<'_> {
    fn drop(&mut self) {
        // SAFETY: each message is taken from the queue once, and destroyed here only.
        unsafe { native::rd_kafka_message_destroy(self.message) };
    }
}

impl<'a> KafkaMessage<'a> {
    fn fields(&self) -> &native::rd_kafka_message_t {
        // SAFETY: the message exists until `self` is dropped.
        unsafe { &*self.message }
    }

    fn into_item(self) -> QueueItem<'a> {
        match self.fields().err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => QueueItem::Message(self),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => QueueItem::End,
            error => {
                // The value of an error is its description.
                let why = String::from_utf8_lossy(self.value().unwrap_or_default()).into_owned();
                QueueItem::Error(error.into(), why)
            }
        }
    }

    pub(crate) fn offset(&self) -> i64 {
        self.fields().offset
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        // SAFETY: the key has this length and lives as long as the message.
        unsafe { bytes(self, self.fields().key, self.fields().key_len) }
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        // SAFETY: the value has this length and lives as long as the message.
        unsafe { bytes(self, self.fields().payload, self.fields().len) }
    }

    /// Returns milliseconds since 1970, or `None` if the topic has no timestamps.
    pub(crate) fn timestamp(&self) -> Option<i64> {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message exists.
        let timestamp = unsafe { native::rd_kafka_message_timestamp(self.message, &raw mut kind) };
        (timestamp >= 0).then_some(timestamp)
    }

    /// Returns the headers in order.
    pub(crate) fn headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        let mut list = ptr::null_mut();
        let mut headers = Vec::new();
        // SAFETY: the headers belong to the message and live as long as it. librdkafka sets the pointers of each that exists.
        unsafe {
            let error = native::rd_kafka_message_headers(self.message, &raw mut list);
            if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return headers;
            }
            loop {
                let (mut name, mut value, mut length): (*const c_char, *const c_void, usize) =
                    (ptr::null(), ptr::null(), 0);
                let found = native::rd_kafka_header_get_all(
                    list,
                    headers.len(),
                    &raw mut name,
                    &raw mut value,
                    &raw mut length,
                );
                if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return headers;
                }
                // The protocol says that names are UTF-8.
                let name = CStr::from_ptr(name).to_str().unwrap_or("?");
                headers.push((name, bytes(self, value, length)));
            }
        }
    }
}

/// Returns bytes that belong to `_owner`.
///
/// # Safety
///
/// `start` is null, or there are `length` bytes from it on that do not change while `_owner` exists.
unsafe fn bytes<'m>(_owner: &'m KafkaMessage<'_>, start: *const c_void, length: usize) -> Option<&'m [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: promised by the caller.
    Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}
