//! Reads the queue of one partition. librdkafka's threads fill it.

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;

use super::client_error::KafkaError;
use super::client_state::StateContext;
use super::message_queue::{KafkaMessage, MessageQueue, QueueItem};

/// The queue of one partition.
pub(crate) struct PartitionReader {
    messages: MessageQueue,
    /// Set when the queue may have something.
    may_have: Arc<AtomicBool>,
    /// Keeps the queue apart from the consumer's own, and calls the reader.
    _split: PartitionQueue<StateContext>,
}

/// Why a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartitionEvent {
    /// The caller wants no more now.
    Full,
    /// Nothing has arrived.
    Empty,
    /// The next offset does not exist yet. Offsets before it that were not returned hold no records.
    AtEnd,
}

impl PartitionReader {
    /// Takes the queue of a partition, before it is assigned. `wake` is called whenever the empty queue gets a message. `None` if there
    /// is no such queue.
    pub(super) fn open(
        consumer: &Arc<BaseConsumer<StateContext>>,
        topic: &str,
        partition: i32,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Option<PartitionReader> {
        let mut split = consumer.split_partition_queue(topic, partition)?;
        let messages = MessageQueue::open(consumer, &CString::new(topic).ok()?, partition)?;
        // Messages may have arrived already.
        let may_have = Arc::new(AtomicBool::new(true));
        let flag = may_have.clone();
        split.set_nonempty_callback(move || {
            flag.store(true, Ordering::SeqCst);
            wake();
        });
        Some(PartitionReader { messages, may_have, _split: split })
    }

    /// Passes messages to `take` until it returns false or there are no more. Does not wait.
    #[inline]
    pub(crate) fn read(
        &mut self,
        mut take: impl FnMut(&KafkaMessage<'_>) -> bool,
    ) -> Result<PartitionEvent, KafkaError> {
        // Cleared before the queue is found empty, so that a message that arrives meanwhile is not forgotten.
        if !self.may_have.load(Ordering::SeqCst) || !self.may_have.swap(false, Ordering::SeqCst) {
            return Ok(PartitionEvent::Empty);
        }
        let event = loop {
            match self.messages.next() {
                None => return Ok(PartitionEvent::Empty),
                Some(QueueItem::Message(message)) => {
                    if !take(&message) {
                        break Ok(PartitionEvent::Full);
                    }
                }
                Some(QueueItem::End) => break Ok(PartitionEvent::AtEnd),
                Some(QueueItem::Error(code, why)) => break Err(KafkaError::of_code(&why, code)),
            }
        };
        self.may_have.store(true, Ordering::SeqCst);
        event
    }
}
