//! The attributes of a Kafka record: its place, its key, and its headers in order.
//!
//! The encoding is that of the contract (`wit/types.wit`).

use super::client::KafkaMessage;
use crate::model::Column;
use crate::model::attributes::{push_attribute, push_attribute_count};

/// Appends the attributes of a record. `place` is the encoded topic and partition, see [`encode_place`].
pub(super) fn push_attributes(to: &mut Column, place: &[u8], message: &KafkaMessage<'_>) {
    let key = message.key();
    let is_null = message.value().is_none();
    let headers = message.headers();
    to.push_with(|to| {
        let own = PLACE_ATTRIBUTES + 1 + usize::from(key.is_some()) + usize::from(is_null);
        push_attribute_count(to, own + headers.len());
        to.extend_from_slice(place);
        push_attribute(to, ":offset", itoa::Buffer::new().format(message.offset()).as_bytes());
        if let Some(key) = key {
            push_attribute(to, ":key", key);
        }
        if is_null {
            push_attribute(to, ":null", b"1");
        }
        for (name, value) in headers {
            push_attribute(to, name, value.unwrap_or_default());
        }
    });
}

const PLACE_ATTRIBUTES: usize = 2;

/// Encodes the attributes that all records of a partition have.
pub(super) fn encode_place(topic: &str, partition: u32) -> Vec<u8> {
    let mut place = Vec::new();
    push_attribute(&mut place, ":topic", topic.as_bytes());
    push_attribute(&mut place, ":partition", partition.to_string().as_bytes());
    place
}
