//! Asks for the ids of topics. A topic that is deleted and created anew has another id. The binding returns none.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::client::Client;
use rdkafka::types::RDKafkaRespErr;

use super::client_error::{KafkaError, KafkaErrorKind, KafkaOutcome};
use super::client_state::StateContext;

/// The id of a topic.
pub(crate) type TopicId = u128;

/// What librdkafka is asked with and answers with. All of it is destroyed when this is dropped.
struct TopicQuery {
    options: *mut native::rd_kafka_AdminOptions_t,
    queue: *mut native::rd_kafka_queue_t,
    topics: *mut native::rd_kafka_TopicCollection_t,
    answer: *mut native::rd_kafka_event_t,
}

/// Asks a broker, or the controller, for the ids of the topics that exist. Brokers before Kafka 2.8 have none. Waits for the answer.
pub(super) fn topic_ids(
    client: &Client<StateContext>,
    topics: &[&str],
    broker: Option<i32>,
    timeout: Duration,
) -> KafkaOutcome<BTreeMap<String, TopicId>> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let failed = |code: RDKafkaRespErr| KafkaError::of_code("cannot look up the ids of topics", code.into());
    let names: Result<Vec<CString>, _> = topics.iter().map(|topic| CString::new(*topic)).collect();
    let names = names.map_err(|_| KafkaError::new(KafkaErrorKind::Missing, "a topic has a zero byte in its name"))?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let client = client.native_ptr();
    // SAFETY: the client and the names outlive the query. librdkafka copies the names, and returns pointers that are not null.
    let query = unsafe {
        let operation = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let mut query = TopicQuery {
            options: native::rd_kafka_AdminOptions_new(client, operation),
            queue: native::rd_kafka_queue_new(client),
            topics: native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            answer: ptr::null_mut(),
        };
        native::rd_kafka_AdminOptions_set_request_timeout(query.options, timeout_ms, ptr::null_mut(), 0);
        if let Some(broker) = broker {
            native::rd_kafka_AdminOptions_set_broker(query.options, broker, ptr::null_mut(), 0);
        }
        native::rd_kafka_DescribeTopics(client, query.topics, query.options, query.queue);
        // librdkafka answers within the timeout of the request.
        query.answer = native::rd_kafka_queue_poll(query.queue, timeout_ms.saturating_add(1000));
        query
    };
    if query.answer.is_null() {
        return Err(failed(RDKafkaRespErr::RD_KAFKA_RESP_ERR__TIMED_OUT));
    }
    // SAFETY: the answer lives until the query is dropped, and so do the descriptions that belong to it.
    unsafe {
        let code = native::rd_kafka_event_error(query.answer);
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed(code));
        }
        let result = native::rd_kafka_event_DescribeTopics_result(query.answer);
        if result.is_null() {
            return Err(failed(RDKafkaRespErr::RD_KAFKA_RESP_ERR__FAIL));
        }
        let mut count = 0;
        let first = native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        Ok((0..count).filter_map(|index| described(*first.add(index))).collect())
    }
}

/// Returns the name and the id of a topic, if it exists and has one.
///
/// # Safety
///
/// The description exists.
unsafe fn described(topic: *const native::rd_kafka_TopicDescription_t) -> Option<(String, TopicId)> {
    // SAFETY: promised by the caller; name and id belong to the description.
    let (name, most, least) = unsafe {
        let error = native::rd_kafka_TopicDescription_error(topic);
        if native::rd_kafka_error_code(error) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let id = native::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            return None;
        }
        let name = CStr::from_ptr(native::rd_kafka_TopicDescription_name(topic)).to_str().ok()?;
        (name, native::rd_kafka_Uuid_most_significant_bits(id), native::rd_kafka_Uuid_least_significant_bits(id))
    };
    let id = (u128::from(most.cast_unsigned()) << 64) | u128::from(least.cast_unsigned());
    (id != 0).then(|| (name.to_owned(), id))
}

impl Drop for TopicQuery {
    fn drop(&mut self) {
        // SAFETY: each was made once, and nothing uses it any more.
        unsafe {
            if !self.answer.is_null() {
                native::rd_kafka_event_destroy(self.answer);
            }
            native::rd_kafka_TopicCollection_destroy(self.topics);
            native::rd_kafka_queue_destroy(self.queue);
            native::rd_kafka_AdminOptions_destroy(self.options);
        }
    }
}
