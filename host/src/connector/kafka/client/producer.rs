//! An idempotent producer, with or without transactions.

use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::allowed_brokers::{CheckedContext, add_allowed_brokers};
use super::client_error::{KafkaError, KafkaErrorKind, KafkaOutcome};
use super::client_state::{ClientState, StateContext};
use super::connection::{KafkaConnection, creation_error};
use crate::connector::outbox::OutboxRecord;

/// Bytes of records that a producer holds, in KiB.
const BUFFER_KIB: u32 = 64 << 10;

/// The settings of a producer.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProducerSettings {
    /// The id under which a producer publishes in transactions, and their longest duration.
    pub(crate) transactions: Option<(String, Duration)>,
    pub(crate) partitioner: KafkaPartitioner,
    pub(crate) compression: Compression,
    pub(crate) linger: Duration,
}

/// How the partition of a record with a key is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KafkaPartitioner {
    /// As Java's client does.
    #[default]
    Murmur2,
    /// As librdkafka does by default, so most clients that are not in Java.
    Crc32,
    /// Any partition.
    Random,
}

/// How batches of records are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Compression {
    #[default]
    None,
    Lz4,
    Zstd,
    Snappy,
    Gzip,
}

impl KafkaPartitioner {
    pub(crate) const ALL: [(&'static str, KafkaPartitioner); 3] = [
        ("murmur2", KafkaPartitioner::Murmur2),
        ("crc32", KafkaPartitioner::Crc32),
        ("random", KafkaPartitioner::Random),
    ];

    fn native_name(self) -> &'static str {
        match self {
            KafkaPartitioner::Murmur2 => "murmur2_random",
            KafkaPartitioner::Crc32 => "consistent_random",
            KafkaPartitioner::Random => "random",
        }
    }
}

impl Compression {
    pub(crate) const ALL: [(&'static str, Compression); 5] = [
        ("none", Compression::None),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
        ("snappy", Compression::Snappy),
        ("gzip", Compression::Gzip),
    ];

    fn name(self) -> &'static str {
        Compression::ALL.iter().find(|(_, one)| *one == self).map_or("none", |(name, _)| name)
    }
}

/// The callbacks of a producer.
struct DeliveryContext {
    inner: StateContext,
    /// The first record that was not delivered.
    failure: Mutex<Option<KafkaError>>,
}

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.inner.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.inner.stats(statistics);
    }

    fn error(&self, error: RdKafkaError, reason: &str) {
        self.inner.error(error, reason);
    }
}

impl CheckedContext for DeliveryContext {
    fn state_context(&self) -> &StateContext {
        &self.inner
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((error, _)) = result {
            self.failure.lock().get_or_insert_with(|| KafkaError::of("a record was not delivered", error));
        }
    }
}

/// A producer.
pub(crate) struct KafkaProducer {
    producer: BaseProducer<DeliveryContext>,
    state: ClientState,
}

impl KafkaProducer {
    /// Creates a producer, which connects when it is used first.
    pub(crate) fn create(connection: &KafkaConnection, settings: &ProducerSettings) -> KafkaOutcome<KafkaProducer> {
        let config = connection.config();
        let mut config = config.map_err(|error| KafkaError::new(KafkaErrorKind::Other, error.message))?;
        config.set("enable.idempotence", "true").set("delivery.report.only.error", "true");
        config.set("partitioner", settings.partitioner.native_name());
        config.set("compression.type", settings.compression.name());
        config.set("linger.ms", settings.linger.as_millis().to_string());
        // Kilobytes alone decide how much is held.
        config
            .set("queue.buffering.max.kbytes", BUFFER_KIB.to_string())
            .set("queue.buffering.max.messages", "10000000");
        config.set("retry.backoff.ms", "10");
        match &settings.transactions {
            Some((id, timeout)) => {
                config.set("transactional.id", id).set("transaction.timeout.ms", timeout.as_millis().to_string());
                // Nothing polls the client between two publications.
                config.set("statistics.interval.ms", "0");
            }
            // A broker that is away for long is no failure of a record.
            None => {
                config.set("message.timeout.ms", "0");
            }
        }
        let state = ClientState::default();
        let context = DeliveryContext { inner: connection.context(&state), failure: Mutex::default() };
        let producer: Result<BaseProducer<DeliveryContext>, _> = config.create_with_context(context);
        let producer = producer.map_err(|error| creation_error(&error))?;
        add_allowed_brokers(producer.client(), &connection.brokers)?;
        Ok(KafkaProducer { producer, state })
    }

    /// Returns what the client reports.
    pub(crate) fn state(&self) -> &ClientState {
        &self.state
    }

    /// Hands a record over. Returns false if there is no room now.
    #[inline]
    pub(crate) fn send(&self, topic: &str, record: &OutboxRecord<'_>) -> KafkaOutcome<bool> {
        let mut sent: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(record.topic.unwrap_or(topic));
        (sent.key, sent.payload) = (record.key, record.value);
        // A time before 1970 has no form in Kafka, and 0 means the present.
        sent.timestamp = record.timestamp.filter(|&timestamp| timestamp > 0);
        if !record.headers.is_empty() {
            let insert = |headers: OwnedHeaders, (key, value)| headers.insert(Header { key, value });
            sent.headers = Some(record.headers.iter().fold(OwnedHeaders::new(), insert));
        }
        match self.producer.send(sent) {
            Ok(()) => Ok(true),
            Err((RdKafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
            Err((error, _)) => Err(self.failure_of("a record cannot be sent", &error)),
        }
    }

    /// Handles what librdkafka reports. Waits for as long as given. Errors: a record was not delivered, or the address of a broker is
    /// refused.
    pub(crate) fn serve(&self, wait: Duration) -> KafkaOutcome<()> {
        self.producer.poll(wait);
        if let Some(refused) = self.state.refused_address() {
            return Err(refused);
        }
        match self.producer.context().failure.lock().clone() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Returns whether all records were delivered. Otherwise sends those that wait for others, and returns at once.
    pub(crate) fn is_flushed(&self) -> KafkaOutcome<bool> {
        self.serve(Duration::ZERO)?;
        // The error is that records are left. Flushing sends them without a linger.
        Ok(self.producer.in_flight_count() == 0 || self.producer.flush(Duration::ZERO).is_ok())
    }

    /// Returns the number of records that were handed over and not delivered.
    pub(crate) fn undelivered(&self) -> i32 {
        self.producer.in_flight_count()
    }

    /// Fences older producers of the transactional id and aborts what they left open. Resumes after a timeout.
    pub(crate) fn init_transactions(&self, timeout: Duration) -> KafkaOutcome<()> {
        self.transaction_step("cannot take over the transactional id", |producer| producer.init_transactions(timeout))
    }

    pub(crate) fn begin_transaction(&self) -> KafkaOutcome<()> {
        // Asks no broker.
        self.producer.begin_transaction().map_err(|error| self.failure_of("cannot begin a transaction", &error))
    }

    /// Adds the offset of a group to the transaction.
    pub(crate) fn add_marker(&self, marker: &GroupMarker, offset: i64, timeout: Duration) -> KafkaOutcome<()> {
        let list = marker.list(Offset::Offset(offset))?;
        let metadata = marker.consumer.group_metadata();
        let metadata = metadata.ok_or_else(|| KafkaError::new(KafkaErrorKind::Other, "the group has no metadata"))?;
        self.transaction_step("cannot write the marker", |producer| {
            producer.send_offsets_to_transaction(&list, &metadata, timeout)
        })
    }

    /// Commits. All records must have been flushed. Resumes after a timeout.
    pub(crate) fn commit_transaction(&self, timeout: Duration) -> KafkaOutcome<()> {
        self.transaction_step("cannot commit the transaction", |producer| producer.commit_transaction(timeout))
    }

    fn transaction_step(
        &self,
        doing: &str,
        step: impl FnOnce(&BaseProducer<DeliveryContext>) -> rdkafka::error::KafkaResult<()>,
    ) -> KafkaOutcome<()> {
        step(&self.producer).map_err(|error| self.failure_of(doing, &error))?;
        self.state.note_answer();
        Ok(())
    }

    /// Describes an error. A fatal error of the producer says more than what it made fail.
    fn failure_of(&self, doing: &str, error: &RdKafkaError) -> KafkaError {
        // Takes all reports; without a timeout the binding takes one.
        self.producer.poll(Duration::from_millis(2));
        if let Some((code, why)) = self.producer.client().fatal_error() {
            return KafkaError::of_code(&format!("{doing}: {why}"), code);
        }
        let described = KafkaError::of(doing, error);
        match (described.kind, self.state.denial(), self.state.error()) {
            (KafkaErrorKind::Unreachable, Some(denial), _) => denial,
            (KafkaErrorKind::Unreachable, None, Some(reason)) => {
                KafkaError { message: format!("{}; {}", described.message, reason.message), ..described }
            }
            _ => described,
        }
    }
}

/// A committed offset of a group that no consumer joins: the marker of a producer's transactions.
pub(crate) struct GroupMarker {
    consumer: BaseConsumer<StateContext>,
    state: ClientState,
    topic: String,
}

impl GroupMarker {
    /// The marker of the group `group`, kept at the first partition of `topic`.
    pub(crate) fn create(connection: &KafkaConnection, group: &str, topic: &str) -> KafkaOutcome<GroupMarker> {
        let config = connection.config();
        let mut config = config.map_err(|error| KafkaError::new(KafkaErrorKind::Other, error.message))?;
        config.set("group.id", group).set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed");
        // Nothing polls the client between two publications.
        config.set("statistics.interval.ms", "0");
        let state = ClientState::default();
        let consumer: Result<BaseConsumer<StateContext>, _> = config.create_with_context(connection.context(&state));
        let consumer = consumer.map_err(|error| creation_error(&error))?;
        add_allowed_brokers(consumer.client(), &connection.brokers)?;
        Ok(GroupMarker { consumer, state, topic: topic.to_owned() })
    }

    fn list(&self, offset: Offset) -> KafkaOutcome<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(1);
        let added = list.add_partition_offset(&self.topic, 0, offset);
        added.map_err(|error| KafkaError::of("the marker cannot be named", &error))?;
        Ok(list)
    }

    /// Returns the offset of committed transactions, or `None` if the group has none.
    pub(crate) fn read(&self, timeout: Duration) -> KafkaOutcome<Option<i64>> {
        let committed = self.consumer.committed_offsets(self.list(Offset::Invalid)?, timeout);
        let committed = committed.map_err(|error| {
            let described = KafkaError::of("cannot read the marker", &error);
            self.state.denial().filter(|_| described.is_retriable()).unwrap_or(described)
        })?;
        let element = committed.elements().into_iter().next();
        let Some(element) = element else { return Ok(None) };
        element.error().map_err(|error| KafkaError::of("cannot read the marker", &error))?;
        Ok(match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        })
    }
}
