//! A consumer with the partitions that it is given. It joins no consumer group: checkpoints hold the offsets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::allowed_brokers::add_allowed_brokers;
use super::client_error::{KafkaError, KafkaErrorKind, KafkaOutcome};
use super::client_state::{ClientState, StateContext};
use super::connection::{KafkaConnection, creation_error};
use super::partition_reader::PartitionReader;
use super::topic_ids::{TopicId, topic_ids};
use crate::error::Result;

/// The offset from which the oldest record is read, whatever its offset is.
const EARLIEST: i64 = -2;
/// The least that is fetched ahead of a partition.
pub(crate) const PREFETCH_BYTES_MIN: usize = 64 << 10;
/// The most that one fetch adds to a partition.
const FETCH_BYTES_MAX: usize = 1 << 20;
/// Time in which the reports of librdkafka are taken.
const SERVED_FOR: Duration = Duration::from_millis(2);

/// The settings of a consumer.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerSettings {
    /// The consumer group that offsets are committed to.
    pub(crate) group: String,
    /// Whether only records of committed transactions are read.
    pub(crate) is_committed_only: bool,
    /// Bytes of one partition that are fetched ahead.
    pub(crate) prefetch_bytes: usize,
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TopicPartition {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

/// Where to begin in a partition that has no position.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StartOffset {
    Earliest,
    Latest,
    /// The offset that the group has committed, or the earliest.
    Committed,
    /// The first record with at least this timestamp, in milliseconds.
    Timestamp(i64),
    /// These offsets by partition. Other partitions begin at the earliest.
    Offsets(HashMap<i32, i64>),
}

/// The topics of a cluster.
#[derive(Debug, Default)]
pub(crate) struct FetchedTopics {
    /// The addresses that the brokers advertise.
    pub(crate) brokers: Vec<String>,
    /// The partitions of each topic.
    pub(crate) topics: Vec<(String, Vec<i32>)>,
    /// The id of a broker that was up.
    pub(crate) answering_broker: Option<i32>,
}

/// A connected consumer. Calls that ask the cluster block.
pub(crate) struct KafkaConsumer {
    consumer: Arc<BaseConsumer<StateContext>>,
    state: ClientState,
    timeout: Duration,
}

impl KafkaConsumer {
    /// Creates a client, which connects when it is used first. `wake` is called whenever [`KafkaConsumer::serve`] has
    /// something to do. Calls that ask the cluster end after `timeout`.
    pub(crate) fn create(
        connection: &KafkaConnection,
        settings: &ConsumerSettings,
        timeout: Duration,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<KafkaConsumer> {
        let mut config = connection.config()?;
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("group.id", &settings.group);
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        // An offset that is gone must not become a silent jump.
        config.set("auto.offset.reset", "error");
        config.set("enable.partition.eof", "true").set("check.crcs", "true");
        config.set("isolation.level", if settings.is_committed_only { "read_committed" } else { "read_uncommitted" });
        let prefetch_bytes = settings.prefetch_bytes.max(PREFETCH_BYTES_MIN);
        config.set("queued.max.messages.kbytes", (prefetch_bytes >> 10).to_string());
        // A fetch begins while less waits, so it may add as much again. A longer record is fetched alone.
        config.set("fetch.message.max.bytes", prefetch_bytes.min(FETCH_BYTES_MAX).to_string());
        // The number of kilobytes alone decides. The pause after a full queue is a second by default.
        config.set("queued.min.messages", "1000000").set("fetch.queue.backoff.ms", "2");
        config.set("fetch.error.backoff.ms", "100");
        let state = ClientState::default();
        let created = config.create_with_context::<_, BaseConsumer<StateContext>>(connection.context(&state));
        let mut consumer = created.map_err(|error| creation_error(&error).into_source_error())?;
        consumer.set_nonempty_callback(wake);
        add_allowed_brokers(consumer.client(), &connection.brokers).map_err(KafkaError::into_source_error)?;
        Ok(KafkaConsumer { consumer: Arc::new(consumer), state, timeout })
    }

    /// Returns what the client reports.
    pub(crate) fn state(&self) -> &ClientState {
        &self.state
    }

    /// Handles what librdkafka reports, for some milliseconds. Records do not come this way.
    pub(crate) fn serve(&self) {
        // Without a timeout, the binding returns after the first report, as if there were no more.
        while let Some(event) = self.consumer.poll(SERVED_FOR) {
            if let Err(error) = event {
                tracing::debug!("{}", KafkaError::of("the consumer reports", &error).message);
            }
        }
    }

    /// Returns a description of a failed call. The reason why no broker is connected says more than a timeout.
    fn failure(&self, doing: &str, error: &rdkafka::error::KafkaError) -> KafkaError {
        self.serve();
        let described = KafkaError::of(doing, error);
        match (described.kind, self.state.denial(), self.state.error()) {
            (KafkaErrorKind::Unreachable, Some(denial), _) => denial,
            (KafkaErrorKind::Unreachable, None, Some(reason)) => {
                KafkaError { message: format!("{}; {}", described.message, reason.message), ..described }
            }
            _ => described,
        }
    }

    /// Returns the partitions of one topic, or of all topics.
    pub(crate) fn fetch_topics(&self, topic: Option<&str>) -> KafkaOutcome<FetchedTopics> {
        let doing =
            topic.map_or_else(|| "cannot list the topics".to_owned(), |topic| format!("cannot find topic `{topic}`"));
        let fetched =
            self.consumer.fetch_metadata(topic, self.timeout).map_err(|error| self.failure(&doing, &error))?;
        self.state.note_answer();
        let mut topics = Vec::new();
        for found in fetched.topics() {
            if let Some(code) = found.error() {
                let error = KafkaError::of_code(&format!("cannot find topic `{}`", found.name()), code.into());
                match topic {
                    Some(_) => return Err(error),
                    None => continue,
                }
            }
            topics.push((found.name().to_owned(), found.partitions().iter().map(|one| one.id()).collect()));
        }
        let brokers = fetched.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port())).collect();
        // A broker of `brokers` is not known by its id yet.
        let first = fetched.brokers().first().map(|broker| broker.id());
        let answering_broker = Some(fetched.orig_broker_id()).filter(|id| *id >= 0).or(first);
        Ok(FetchedTopics { brokers, topics, answering_broker })
    }

    /// Returns the ids of the topics that exist, as far as the brokers have ids.
    pub(crate) fn topic_ids(&self, topics: &[&str], broker: Option<i32>) -> KafkaOutcome<BTreeMap<String, TopicId>> {
        topic_ids(self.consumer.client(), topics, broker, self.timeout)
    }

    /// Returns the offsets at which to begin. The earliest is not looked up, so that nothing is lost meanwhile.
    pub(crate) fn start_offsets(&self, partitions: &[TopicPartition], start: &StartOffset) -> KafkaOutcome<Vec<i64>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        match start {
            StartOffset::Earliest => Ok(vec![EARLIEST; partitions.len()]),
            StartOffset::Latest => self.end_offsets(partitions),
            StartOffset::Timestamp(at) => {
                let mut found = self.offsets_for(partitions, Offset::Offset(*at))?;
                let beyond: Vec<usize> = (0..found.len()).filter(|&index| found[index] < 0).collect();
                let behind: Vec<TopicPartition> = beyond.iter().map(|&index| partitions[index].clone()).collect();
                for (index, end) in beyond.into_iter().zip(self.end_offsets(&behind)?) {
                    found[index] = end;
                }
                Ok(found)
            }
            StartOffset::Committed => {
                let committed = self.consumer.committed_offsets(list(partitions, Offset::Invalid)?, self.timeout);
                let committed = committed.map_err(|error| self.failure("cannot read the group's offsets", &error))?;
                offsets_of(partitions, &committed, |offset| match offset {
                    Offset::Offset(offset) => offset,
                    _ => EARLIEST,
                })
            }
            StartOffset::Offsets(offsets) => {
                let of = |one: &TopicPartition| offsets.get(&one.partition).copied().unwrap_or(EARLIEST);
                Ok(partitions.iter().map(of).collect())
            }
        }
    }

    /// Returns the present end of each partition.
    pub(crate) fn end_offsets(&self, partitions: &[TopicPartition]) -> KafkaOutcome<Vec<i64>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        self.offsets_for(partitions, Offset::End)
    }

    /// Asks for the first offset at a timestamp, or for the end. The offset is negative where there is none.
    fn offsets_for(&self, partitions: &[TopicPartition], at: Offset) -> KafkaOutcome<Vec<i64>> {
        let found = self.consumer.offsets_for_times(list(partitions, at)?, self.timeout);
        let found = found.map_err(|error| self.failure("cannot look up offsets", &error))?;
        offsets_of(partitions, &found, |offset| offset.to_raw().unwrap_or(-1))
    }

    /// Returns the oldest offset of a partition and its end.
    pub(crate) fn bounds(&self, of: &TopicPartition) -> KafkaOutcome<(i64, i64)> {
        let bounds = self.consumer.fetch_watermarks(&of.topic, of.partition, self.timeout);
        bounds.map_err(|error| self.failure("cannot look up offsets", &error))
    }

    /// Begins to read partitions at these offsets. `wake` is called when records have arrived.
    pub(crate) fn assign(
        &self,
        partitions: &[(TopicPartition, i64)],
        wake: &(impl Fn() + Clone + Send + Sync + 'static),
    ) -> KafkaOutcome<Vec<PartitionReader>> {
        let mut assigned = TopicPartitionList::with_capacity(partitions.len());
        let mut readers = Vec::with_capacity(partitions.len());
        for (TopicPartition { topic, partition }, offset) in partitions {
            // Taken before the assignment, so that no record goes to the consumer's own queue.
            let reader = PartitionReader::open(&self.consumer, topic, *partition, wake.clone());
            let missing =
                || KafkaError::new(KafkaErrorKind::Missing, format!("there is no partition {topic}/{partition}"));
            readers.push(reader.ok_or_else(missing)?);
            let added = assigned.add_partition_offset(topic, *partition, Offset::from_raw(*offset));
            added.map_err(|error| KafkaError::of("cannot assign a partition", &error))?;
        }
        let done = self.consumer.incremental_assign(&assigned);
        done.map_err(|error| self.failure("cannot assign partitions", &error))?;
        Ok(readers)
    }

    /// Commits offsets to the group, without waiting. They are for tools that show the lag of a group.
    pub(crate) fn commit(&self, offsets: &[(TopicPartition, i64)]) -> KafkaOutcome<()> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (TopicPartition { topic, partition }, offset) in offsets.iter().filter(|(_, offset)| *offset >= 0) {
            let added = list.add_partition_offset(topic, *partition, Offset::Offset(*offset));
            added.map_err(|error| KafkaError::of("cannot commit offsets", &error))?;
        }
        if list.count() == 0 {
            return Ok(());
        }
        self.consumer.commit(&list, CommitMode::Async).map_err(|error| KafkaError::of("cannot commit offsets", &error))
    }
}

fn list(partitions: &[TopicPartition], offset: Offset) -> KafkaOutcome<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for TopicPartition { topic, partition } in partitions {
        let added = list.add_partition_offset(topic, *partition, offset);
        added.map_err(|error| KafkaError::of("cannot look up offsets", &error))?;
    }
    Ok(list)
}

/// Returns the offset of each partition in a list, which may be in another order.
fn offsets_of(
    partitions: &[TopicPartition],
    list: &TopicPartitionList,
    offset: impl Fn(Offset) -> i64,
) -> KafkaOutcome<Vec<i64>> {
    let mut found = HashMap::with_capacity(partitions.len());
    for element in list.elements() {
        element.error().map_err(|error| {
            KafkaError::of(&format!("cannot look up offsets of {}/{}", element.topic(), element.partition()), &error)
        })?;
        found.insert((element.topic().to_owned(), element.partition()), offset(element.offset()));
    }
    let of = |one: &TopicPartition| {
        let key = (one.topic.to_string(), one.partition);
        let missing =
            || KafkaError::new(KafkaErrorKind::Other, format!("the broker named no offset of {}/{}", key.0, key.1));
        found.get(&key).copied().ok_or_else(missing)
    };
    partitions.iter().map(of).collect()
}
