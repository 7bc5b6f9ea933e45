//! What librdkafka reports while it works. Its callbacks run on the thread that serves the client.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as RdKafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client_error::{KafkaError, KafkaErrorKind};

/// What one client knows about its cluster. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct ClientState {
    shared: Arc<Mutex<Reported>>,
}

#[derive(Default)]
struct Reported {
    /// The last error since a broker was connected.
    error: Option<KafkaError>,
    is_connected: bool,
    /// The end of each partition for readers of committed records.
    ends: HashMap<String, HashMap<i32, i64>>,
    /// Whether a failed commit of offsets was logged.
    has_logged_commit: bool,
}

impl ClientState {
    /// Returns the error because of which no broker is connected, or `None` if one is.
    pub(crate) fn error(&self) -> Option<KafkaError> {
        let reported = self.shared.lock();
        reported.error.clone().filter(|_| !reported.is_connected)
    }

    /// Returns the last error if the broker refuses the client.
    pub(super) fn denial(&self) -> Option<KafkaError> {
        self.error().filter(|error| error.kind == KafkaErrorKind::Denied)
    }

    /// Calls `visit` with the end of each partition that is known.
    pub(crate) fn with_ends<T>(&self, visit: impl FnOnce(&dyn Fn(&str, i32) -> Option<i64>) -> T) -> T {
        let reported = self.shared.lock();
        visit(&|topic, partition| reported.ends.get(topic)?.get(&partition).copied())
    }

    fn note_error(&self, error: KafkaError) {
        let mut reported = self.shared.lock();
        reported.is_connected = false;
        // A denial says more than the loss of the connection that follows it.
        let is_denied = reported.error.as_ref().is_some_and(|known| known.kind == KafkaErrorKind::Denied);
        if !is_denied || error.kind == KafkaErrorKind::Denied {
            reported.error = Some(error);
        }
    }

    /// Notes that a broker has answered.
    pub(super) fn note_answer(&self) {
        let mut reported = self.shared.lock();
        reported.is_connected = true;
        reported.error = None;
    }

    fn note_statistics(&self, statistics: &Statistics) {
        let mut reported = self.shared.lock();
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            reported.is_connected = true;
            reported.error = None;
        }
        for topic in statistics.topics.values() {
            let known = reported.ends.entry(topic.topic.clone()).or_default();
            let ends = topic.partitions.values().filter(|partition| partition.ls_offset >= 0);
            known.extend(ends.map(|partition| (partition.partition, partition.ls_offset)));
        }
    }
}

/// The callbacks of one client.
pub(super) struct StateContext {
    pub(super) state: ClientState,
    /// The node that the client belongs to, for the log.
    pub(super) node: String,
}

impl ClientContext for StateContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Errors come by `error` as well, and are shown as the health of the node.
        tracing::debug!(node = self.node, ?level, facility, "librdkafka: {message}");
    }

    fn stats(&self, statistics: Statistics) {
        self.state.note_statistics(&statistics);
    }

    fn error(&self, error: RdKafkaError, reason: &str) {
        let mut noted = KafkaError::of("the connection failed", &error);
        noted.message = format!("{}: {reason}", noted.message);
        tracing::debug!(node = self.node, "{}", noted.message);
        self.state.note_error(noted);
    }
}

impl ConsumerContext for StateContext {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        let Err(error) = result else { return };
        let is_first = !std::mem::replace(&mut self.state.shared.lock().has_logged_commit, true);
        if is_first {
            // The job does not need these offsets: its checkpoints have its own.
            let error = KafkaError::of("the offsets cannot be committed to the consumer group", &error);
            tracing::warn!(
                node = self.node,
                "{}; the job goes on, but tools show an old offset of the group",
                error.message
            );
        }
    }
}
