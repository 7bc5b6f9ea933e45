//! A record of an outbox, and its bytes in a part.
//!
//! ```text
//! flags u8 | timestamp i64? | topic (u16 length)? | key (u32 length)? | value (u32 length)? | headers (u32 length)?
//! ```
//!
//! Numbers are little endian. A flag says for each field with `?` whether it exists. Parts outlive the process, and those of another job's
//! savepoint are untrusted.

use super::headers::HeaderList;
use crate::error::{Result, record_invalid};

const HAS_TIMESTAMP: u8 = 1;
const HAS_TOPIC: u8 = 2;
const HAS_KEY: u8 = 4;
const HAS_VALUE: u8 = 8;
const HAS_HEADERS: u8 = 16;

/// Limit on a record, so that it fits into a block.
pub(super) const RECORD_BYTES_MAX: usize = 128 << 20;

/// A record on its way to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxRecord<'a> {
    /// The topic, table or queue, if a sink has several.
    pub topic: Option<&'a str>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value. `None` deletes the key, in a peer that knows this.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: HeaderList<'a>,
    /// The event time, in milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
}

impl<'a> OutboxRecord<'a> {
    /// Appends the bytes of the record. Error: `record-invalid` if it is too large.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) -> Result<()> {
        let length = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        let total = length(self.topic.map(str::as_bytes)) + length(self.key) + length(self.value);
        let is_topic_too_long = self.topic.is_some_and(|topic| topic.len() > usize::from(u16::MAX));
        if total + self.headers.bytes().len() > RECORD_BYTES_MAX || is_topic_too_long {
            return Err(record_invalid(format!(
                "a record of {total} bytes is too large for a sink that publishes with checkpoints; the limit is {RECORD_BYTES_MAX}"
            )));
        }
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        bytes.push(
            flag(self.timestamp.is_some(), HAS_TIMESTAMP)
                | flag(self.topic.is_some(), HAS_TOPIC)
                | flag(self.key.is_some(), HAS_KEY)
                | flag(self.value.is_some(), HAS_VALUE)
                | flag(!self.headers.is_empty(), HAS_HEADERS),
        );
        if let Some(timestamp) = self.timestamp {
            bytes.extend_from_slice(&timestamp.to_le_bytes());
        }
        if let Some(topic) = self.topic {
            bytes.extend_from_slice(&(topic.len() as u16).to_le_bytes());
            bytes.extend_from_slice(topic.as_bytes());
        }
        let headers = Some(self.headers.bytes()).filter(|headers| !headers.is_empty());
        for field in [self.key, self.value, headers].into_iter().flatten() {
            bytes.extend_from_slice(&(field.len() as u32).to_le_bytes());
            bytes.extend_from_slice(field);
        }
        Ok(())
    }

    /// Takes a record from the beginning of `bytes`. Returns `None` if the bytes are damaged.
    pub(super) fn decode(bytes: &mut &'a [u8]) -> Option<OutboxRecord<'a>> {
        let (&flags, rest) = bytes.split_first()?;
        let mut rest = rest;
        if flags & !(HAS_TIMESTAMP | HAS_TOPIC | HAS_KEY | HAS_VALUE | HAS_HEADERS) != 0 {
            return None;
        }
        let mut record = OutboxRecord::default();
        if flags & HAS_TIMESTAMP != 0 {
            let (timestamp, after) = rest.split_first_chunk::<8>()?;
            (record.timestamp, rest) = (Some(i64::from_le_bytes(*timestamp)), after);
        }
        if flags & HAS_TOPIC != 0 {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (topic, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            (record.topic, rest) = (Some(std::str::from_utf8(topic).ok()?), after);
        }
        if flags & HAS_KEY != 0 {
            record.key = Some(field(&mut rest)?);
        }
        if flags & HAS_VALUE != 0 {
            record.value = Some(field(&mut rest)?);
        }
        if flags & HAS_HEADERS != 0 {
            record.headers = HeaderList::checked(field(&mut rest)?)?;
        }
        *bytes = rest;
        Some(record)
    }
}

/// Takes a field with its length from the beginning of `bytes`.
fn field<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (field, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    Some(field)
}
