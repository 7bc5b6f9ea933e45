//! What a Kafka source is opened with.

use std::time::Duration;

use super::client::{ConsumerSettings, KafkaConnection, StartOffset};
use super::topics::TopicSelection;

/// The settings of a Kafka source, with the values of its secrets.
pub(super) struct KafkaSourceSettings {
    pub(super) connection: KafkaConnection,
    pub(super) topics: TopicSelection,
    pub(super) start: StartOffset,
    /// Whether each partition ends at the end that it had when the job began.
    pub(super) ends_at_latest: bool,
    pub(super) consumer: ConsumerSettings,
    /// Bytes of all partitions of a subtask that are fetched ahead.
    pub(super) prefetch_total_bytes: usize,
    pub(super) discover: Option<Duration>,
    pub(super) content: RecordContent,
}

/// What a source takes of a record besides its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordContent {
    /// Whether records carry their timestamps.
    pub(super) timestamps: bool,
    /// Whether records carry their headers, key and place.
    pub(super) attributes: bool,
    /// Whether records carry their keys.
    pub(super) keys: bool,
    /// Whether a record without a value is a record, with an empty value.
    pub(super) tombstones: bool,
}
