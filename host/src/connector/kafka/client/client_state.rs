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
use crate::access::AccessPolicy;

/// Time after which a broker that owes an answer and sends nothing is reported, in microseconds.
const SILENT_US: i64 = 4_000_000;

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
    /// The first address that was refused.
    refused: Option<KafkaError>,
    /// Brokers that owe an answer, by name.
    waiting: HashMap<String, AwaitedAnswer>,
}

/// A broker that owes an answer.
#[derive(Clone, Copy)]
struct AwaitedAnswer {
    /// Number of answers received before.
    answers: u64,
    /// When it was first seen to owe one, on librdkafka's clock.
    since_us: i64,
}

impl ClientState {
    /// Returns the error because of which no broker is connected, or `None` if one is.
    pub(crate) fn error(&self) -> Option<KafkaError> {
        let reported = self.shared.lock();
        reported.error.clone().filter(|_| !reported.is_connected)
    }

    /// Returns the last error if the broker refuses the client, or if the client must not connect to a broker.
    pub(super) fn denial(&self) -> Option<KafkaError> {
        self.refused_address().or_else(|| self.error().filter(|error| error.kind == KafkaErrorKind::Denied))
    }

    /// Returns the error of the first address that was refused. It is final: the client does not connect there.
    pub(crate) fn refused_address(&self) -> Option<KafkaError> {
        self.shared.lock().refused.clone()
    }

    /// Notes that an address was refused.
    pub(super) fn note_refused(&self, why: &str) {
        let error = || KafkaError::new(KafkaErrorKind::AddressDenied, format!("a broker names an address: {why}"));
        self.shared.lock().refused.get_or_insert_with(error);
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
        if let Some(error) = reported.silent_broker(statistics) {
            (reported.is_connected, reported.error) = (false, Some(error));
        } else if statistics.brokers.values().any(|broker| broker.state == "UP") {
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

impl Reported {
    /// Returns an error if a connected broker owes an answer for long. Its connection may stand for minutes.
    fn silent_broker(&mut self, statistics: &Statistics) -> Option<KafkaError> {
        let mut waiting = HashMap::new();
        let mut silent = None;
        for broker in statistics.brokers.values().filter(|broker| broker.state == "UP" && broker.waitresp_cnt > 0) {
            let fresh = AwaitedAnswer { answers: broker.rx, since_us: statistics.ts };
            let earlier = self.waiting.get(&broker.name).filter(|earlier| earlier.answers == broker.rx);
            let awaited = earlier.copied().unwrap_or(fresh);
            if statistics.ts.saturating_sub(awaited.since_us) >= SILENT_US {
                silent = Some(format!("the broker {} is connected, but does not answer", broker.nodename));
            }
            waiting.insert(broker.name.clone(), awaited);
        }
        self.waiting = waiting;
        silent.map(|message| KafkaError::new(KafkaErrorKind::Unreachable, message))
    }
}

/// The callbacks of one client.
pub(super) struct StateContext {
    pub(super) state: ClientState,
    /// Decides which brokers the client may connect to.
    pub(super) policy: AccessPolicy,
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

#[cfg(test)]
mod tests {
    use rdkafka::statistics::Broker;

    use super::*;

    fn statistics(ts: i64, brokers: &[(&str, &str, i64, u64)]) -> Statistics {
        let broker = |&(name, state, waitresp_cnt, rx): &(&str, &str, i64, u64)| {
            let (name, state) = (name.to_owned(), state.to_owned());
            (name.clone(), Broker { nodename: name.clone(), name, state, waitresp_cnt, rx, ..Broker::default() })
        };
        Statistics { ts, brokers: brokers.iter().map(broker).collect(), ..Statistics::default() }
    }

    #[test]
    fn a_connected_broker_that_does_not_answer_is_an_error_until_it_answers() {
        let state = ClientState::default();
        let mut ts = 0;
        let mut note = |brokers: &[(&str, &str, i64, u64)]| {
            ts += 2_000_000;
            state.note_statistics(&statistics(ts, brokers));
            state.error().map(|error| error.message)
        };
        // An idle broker owes nothing, and one that answers owes for less than two reports.
        for answers in 0..5 {
            assert_eq!(note(&[("a:1", "UP", 0, 7), ("b:1", "UP", 1, answers)]), None);
        }
        assert_eq!(note(&[("a:1", "UP", 1, 7), ("b:1", "UP", 1, 9)]), None);
        assert_eq!(note(&[("a:1", "UP", 1, 7), ("b:1", "UP", 1, 10)]), None);
        let error = note(&[("a:1", "UP", 1, 7), ("b:1", "UP", 1, 11)]).unwrap();
        assert!(error.contains("a:1"), "{error}");
        assert_eq!(note(&[("a:1", "UP", 1, 8), ("b:1", "UP", 1, 12)]), None);
    }

    #[test]
    fn a_refused_address_stays_an_error_while_other_brokers_answer() {
        let state = ClientState::default();
        state.note_refused("first");
        state.note_refused("second");
        state.note_statistics(&statistics(1, &[("a:1", "UP", 0, 1)]));
        assert_eq!(state.error().map(|error| error.message), None);
        let error = state.refused_address().unwrap();
        assert_eq!(error.kind, KafkaErrorKind::AddressDenied);
        assert!(error.message.contains("first"), "{}", error.message);
        assert_eq!(state.denial().map(|error| error.kind), Some(KafkaErrorKind::AddressDenied));
    }
}
