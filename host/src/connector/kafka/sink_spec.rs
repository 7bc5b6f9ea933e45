//! The settings of a Kafka sink.

use std::time::Duration;

use super::client::{Compression, ConsumerSettings, KafkaConsumer, KafkaPartitioner, KafkaProducer, ProducerSettings};
use super::connection_settings::ConnectionSpec;
use super::direct_sink::DirectKafkaSink;
use super::publisher::{KafkaPeer, sink_error, target};
use super::record_encoder::KafkaRecordEncoder;
use super::security_settings::SECURITY_SETTINGS;
use super::topics::name_defect;
use crate::access::PipelinePaths;
use crate::connector::context::ConnectorContext;
use crate::connector::outbox::{OutboxCommitter, OutboxSettings, OutboxSink};
use crate::connector::sink::{Committer, Sink};
use crate::connector::spec::{self, SinkGuarantee, SinkSpec};
use crate::error::Result;
use crate::format::RecordEncoder;
use crate::pipeline::{SecretReference, Setting, SettingKind, SinkSettings, TomlSection, joined_settings};

/// The settings of this file, and those of the connection.
pub(super) const SETTINGS: &[Setting] =
    &joined_settings::<{ OWN_SETTINGS.len() + SECURITY_SETTINGS.len() }>(&[OWN_SETTINGS, SECURITY_SETTINGS]);

const OWN_SETTINGS: &[Setting] = &[
    Setting::required("brokers", SettingKind::TextOrTexts),
    Setting::required("topic", SettingKind::Text),
    Setting::new("guarantee", SettingKind::Choice(&["exactly-once", "at-least-once"]), "`\"exactly-once\"`"),
    Setting::new("key", SettingKind::ChoiceOrTable(&["value", "emitted", "record"]), ""),
    Setting::new("key.field", SettingKind::Text, "none"),
    Setting::new("key.fields", SettingKind::Names, "none"),
    Setting::new("key.column", SettingKind::Number { min: 0, max: u32::MAX as u64 }, "none"),
    Setting::new("headers", SettingKind::Boolean, "`false`"),
    Setting::new("tombstones", SettingKind::Choice(&["never", "empty"]), "`\"never\"`"),
    Setting::new("partitioner", SettingKind::Choice(&["murmur2", "crc32", "random"]), "`\"murmur2\"`"),
    Setting::new("compression", SettingKind::Choice(&["none", "lz4", "zstd", "snappy", "gzip"]), "`\"none\"`"),
    Setting::new("linger", SettingKind::Duration { min_ms: 0, max_ms: LINGER_MAX_MS }, "`\"5ms\"`"),
    Setting::new(
        "transaction_timeout",
        SettingKind::Duration { min_ms: 1000, max_ms: TRANSACTION_TIMEOUT_MAX_MS },
        "`\"60s\"`",
    ),
    Setting::new("max_backlog", SettingKind::Size { min: 1 << 20, max: 1 << 50 }, "`\"10GiB\"`"),
];

const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_BACKLOG: u64 = 10 << 30;
const LINGER: Duration = Duration::from_millis(5);
/// What librdkafka accepts.
const LINGER_MAX_MS: u64 = 900_000;
const TRANSACTION_TIMEOUT_MAX_MS: u64 = i32::MAX as u64;
/// Time that a check at submit may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// The settings of a Kafka sink.
#[derive(Debug)]
struct KafkaSinkSpec {
    connection: ConnectionSpec,
    topic: String,
    guarantee: SinkGuarantee,
    headers: bool,
    empty_deletes: bool,
    producer: ProducerSettings,
    transaction_timeout: Duration,
    max_backlog: u64,
}

/// Reads `[sink.ID]` with `connector = "kafka"`.
pub(super) fn read(section: &TomlSection<'_>) -> Result<Box<dyn SinkSettings>> {
    let connection = ConnectionSpec::read(section)?;
    let topic = section.need("topic")?;
    let name = topic.string()?;
    if let Some(why) = name_defect(name) {
        return Err(topic.invalid(why));
    }
    let guarantees = [("exactly-once", SinkGuarantee::ExactlyOnce), ("at-least-once", SinkGuarantee::AtLeastOnce)];
    let guarantee = section.get("guarantee").map(|item| item.choose(&guarantees)).transpose()?;
    let guarantee = guarantee.unwrap_or(SinkGuarantee::ExactlyOnce);
    if guarantee == SinkGuarantee::AtLeastOnce {
        for key in ["transaction_timeout", "max_backlog"] {
            if let Some(item) = section.get(key) {
                return Err(item.invalid("has no effect with guarantee = \"at-least-once\""));
            }
        }
    }
    let empty_deletes = section.get("tombstones").map(|item| item.choose(&[("never", false), ("empty", true)]));
    let partitioner = section.get("partitioner").map(|item| item.choose(&KafkaPartitioner::ALL)).transpose()?;
    let compression = section.get("compression").map(|item| item.choose(&Compression::ALL)).transpose()?;
    let linger = section.get("linger").map(|item| item.duration_within(0, LINGER_MAX_MS)).transpose()?;
    let transaction_timeout =
        section.get("transaction_timeout").map(|item| item.duration_within(1000, TRANSACTION_TIMEOUT_MAX_MS));
    let max_backlog = section.get("max_backlog").map(|item| item.bytes(1 << 20, 1 << 50)).transpose()?;
    Ok(spec::sink(KafkaSinkSpec {
        connection,
        topic: name.to_owned(),
        guarantee,
        headers: section.get("headers").map(|item| item.bool()).transpose()?.unwrap_or(false),
        empty_deletes: empty_deletes.transpose()?.unwrap_or(false),
        producer: ProducerSettings {
            transactions: None,
            partitioner: partitioner.unwrap_or_default(),
            compression: compression.unwrap_or_default(),
            linger: linger.unwrap_or(LINGER),
        },
        transaction_timeout: transaction_timeout.transpose()?.unwrap_or(TRANSACTION_TIMEOUT),
        max_backlog: max_backlog.map_or(MAX_BACKLOG, |bytes| bytes as u64),
    }))
}

impl KafkaSinkSpec {
    fn peer(&self, context: &ConnectorContext) -> KafkaPeer {
        let ConnectorContext { job_id, node, subtask, base_dir, policy, interrupt, health, clock, .. } = context;
        KafkaPeer {
            connection: self.connection.clone(),
            paths: PipelinePaths { base_dir: base_dir.clone(), policy: policy.clone() },
            node: node.clone(),
            client_id: format!("cofferdam.{job_id}.{node}.{subtask}"),
            producer: self.producer.clone(),
            transaction_timeout: self.transaction_timeout,
            topic: self.topic.clone(),
            interrupt: interrupt.clone(),
            health: health.clone(),
            clock: clock.clone(),
        }
    }
}

impl SinkSpec for KafkaSinkSpec {
    fn guarantee(&self) -> SinkGuarantee {
        self.guarantee
    }

    fn topic(&self) -> Option<String> {
        Some(self.topic.clone())
    }

    fn location_key(&self) -> &'static str {
        "topic"
    }

    fn secrets(&self) -> Vec<(&'static str, &SecretReference)> {
        self.connection.secrets()
    }

    /// Asks the cluster for the topic. Whether it may be written shows when it is. A broker that is away is no error, because every attempt
    /// checks its sinks, and what is promised is published when the broker is back.
    fn check(&self, paths: &PipelinePaths) -> Result<()> {
        let connection = self.connection.resolve(paths, "", "cofferdam-check".to_owned())?;
        let group = "cofferdam-check".to_owned();
        let settings = ConsumerSettings { group, is_committed_only: true, prefetch_bytes: 0 };
        let consumer = KafkaConsumer::create(&connection, &settings, CHECK_TIMEOUT, || {})?;
        match consumer.fetch_topics(Some(&self.topic)) {
            Ok(fetched) => fetched.brokers.iter().try_for_each(|broker| paths.policy.check_address(broker)),
            Err(error) if error.is_retriable() => Ok(()),
            Err(error) => Err(sink_error(error)),
        }
    }

    fn open(&self, encoder: RecordEncoder, context: &ConnectorContext) -> Result<Box<dyn Sink>> {
        let encoder = KafkaRecordEncoder::new(&context.node, encoder, self.headers, self.empty_deletes);
        if self.guarantee == SinkGuarantee::ExactlyOnce {
            let settings =
                OutboxSettings { target: target(&self.topic, &self.connection.shown()), max_backlog: self.max_backlog };
            return Ok(Box::new(OutboxSink::open(settings, Box::new(encoder), context)));
        }
        let connection = self.peer(context).connect()?;
        let producer = KafkaProducer::create(&connection, &self.producer).map_err(sink_error)?;
        Ok(Box::new(DirectKafkaSink::new(producer, &self.topic, encoder, context)))
    }

    fn committer(&self, context: &ConnectorContext) -> Option<Box<dyn Committer>> {
        let is_published = self.guarantee == SinkGuarantee::ExactlyOnce;
        is_published
            .then(|| Box::new(OutboxCommitter::new(Box::new(self.peer(context)), context)) as Box<dyn Committer>)
    }

    fn outbox_target(&self) -> Option<String> {
        let is_published = self.guarantee == SinkGuarantee::ExactlyOnce;
        is_published.then(|| target(&self.topic, &self.connection.shown()))
    }
}
