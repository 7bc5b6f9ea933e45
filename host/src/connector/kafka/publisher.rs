//! Publishes the outbox of a sink: one transaction for each epoch, with the marker as an offset of a group.
//!
//! The transactional id and the group have the identity of the publisher. Every step can be repeated by another publisher: its
//! start fences this one and aborts what it left open, and the marker says what was committed.

use std::time::Duration;

use super::client::{
    ADDRESS_HINT, GroupMarker, KafkaConnection, KafkaError, KafkaErrorKind, KafkaProducer, ProducerSettings,
};
use super::connection_settings::ConnectionSpec;
use crate::access::PipelinePaths;
use crate::clock::SharedClock;
use crate::connector::health::HealthReporter;
use crate::connector::outbox::{OutboxPeer, Parts, Publisher, Trouble};
use crate::error::{Error, Result, address_denied, peer_denied, sink_unwritable};
use crate::model::Interrupt;

/// Time of one call to the cluster, after which an interrupt is heard.
const STEP: Duration = Duration::from_millis(500);
/// Number of steps before a publisher is given up and another one made.
const STEPS_MAX: u32 = 120;
/// Records that are sent between two looks at failures and interrupts.
const SENT_BETWEEN: u64 = 1024;
/// Pause while librdkafka has no room.
const ROOM: Duration = Duration::from_millis(5);
/// Pause while the last records are on their way.
const FLUSH: Duration = Duration::from_millis(1);
/// Time without an answer after which the wait is reported.
const SILENT: Duration = Duration::from_secs(5);

/// The topic of a sink.
pub(super) struct KafkaPeer {
    pub(super) connection: ConnectionSpec,
    pub(super) paths: PipelinePaths,
    pub(super) node: String,
    pub(super) client_id: String,
    pub(super) producer: ProducerSettings,
    pub(super) transaction_timeout: Duration,
    pub(super) topic: String,
    pub(super) interrupt: Interrupt,
    pub(super) health: HealthReporter,
    pub(super) clock: SharedClock,
}

impl KafkaPeer {
    pub(super) fn connect(&self) -> Result<KafkaConnection> {
        self.connection.resolve(&self.paths, &self.node, self.client_id.clone())
    }
}

impl OutboxPeer for KafkaPeer {
    fn target(&self) -> String {
        target(&self.topic, &self.connection.shown())
    }

    fn publisher(&self, identity: &str) -> Result<Box<dyn Publisher>, Trouble> {
        let transactions = Some((identity.to_owned(), self.transaction_timeout));
        let settings = ProducerSettings { transactions, ..self.producer.clone() };
        // Secrets may have changed since the last publisher.
        let connection = self.connect()?;
        Ok(Box::new(KafkaPublisher {
            producer: KafkaProducer::create(&connection, &settings).map_err(trouble)?,
            marker: GroupMarker::create(&connection, identity, &self.topic).map_err(trouble)?,
            topic: self.topic.clone(),
            interrupt: self.interrupt.clone(),
            health: self.health.clone(),
            clock: self.clock.clone(),
        }))
    }
}

/// Returns the name of the place that records go to. It is part of checkpoints.
pub(super) fn target(topic: &str, brokers: &str) -> String {
    format!("topic `{topic}` at {brokers}")
}

struct KafkaPublisher {
    producer: KafkaProducer,
    marker: GroupMarker,
    topic: String,
    interrupt: Interrupt,
    health: HealthReporter,
    clock: SharedClock,
}

/// A wait for the broker, which is reported when it lasts. The end of the publication ends the report.
struct BrokerWait {
    /// Records that were not delivered when the broker last answered.
    undelivered: i32,
    /// When the broker last answered, or when the wait began.
    since_ns: u64,
}

impl KafkaPublisher {
    fn begin_wait(&self) -> BrokerWait {
        BrokerWait { undelivered: self.producer.undelivered(), since_ns: self.clock.monotonic_ns() }
    }

    /// Goes on waiting. Error: the interrupt.
    fn wait_on(&self, wait: &mut BrokerWait) -> Result<(), Trouble> {
        self.interrupt.check().map_err(Trouble::Retry)?;
        let (undelivered, now_ns) = (self.producer.undelivered(), self.clock.monotonic_ns());
        if undelivered != wait.undelivered {
            *wait = BrokerWait { undelivered, since_ns: now_ns };
        } else if let Some(error) = self.producer.state().error() {
            self.health.down(&error.message);
        } else if now_ns.saturating_sub(wait.since_ns) >= SILENT.as_nanos() as u64 {
            self.health
                .down("nothing is delivered for five seconds: the broker does not answer, or the topic is missing");
        }
        Ok(())
    }

    /// Repeats a step that resumes after its timeout.
    fn finish(&self, mut step: impl FnMut(&Self) -> Result<(), KafkaError>) -> Result<(), Trouble> {
        let mut wait = self.begin_wait();
        let mut steps = 0;
        loop {
            self.wait_on(&mut wait)?;
            match step(self) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retriable() && steps < STEPS_MAX && self.producer.state().error().is_none() => {
                    steps += 1;
                }
                Err(error) => return Err(trouble(error)),
            }
        }
    }

    fn send_all(&self, parts: &mut dyn Parts) -> Result<(), Trouble> {
        let mut sent: u64 = 0;
        parts.for_each(&mut |record| {
            let mut wait = None;
            while !self.producer.send(&self.topic, record).map_err(trouble)? {
                self.wait_on(wait.get_or_insert_with(|| self.begin_wait()))?;
                self.producer.serve(ROOM).map_err(trouble)?;
            }
            sent += 1;
            if sent.is_multiple_of(SENT_BETWEEN) {
                self.interrupt.check().map_err(Trouble::Retry)?;
                self.producer.serve(Duration::ZERO).map_err(trouble)?;
            }
            Ok(())
        })?;
        let mut wait = self.begin_wait();
        while !self.producer.is_flushed().map_err(trouble)? {
            self.wait_on(&mut wait)?;
            std::thread::sleep(FLUSH);
        }
        Ok(())
    }
}

impl Publisher for KafkaPublisher {
    fn marker(&mut self) -> Result<Option<u64>, Trouble> {
        let mut found = None;
        self.finish(|publisher| {
            found = publisher.marker.read(STEP)?;
            Ok(())
        })?;
        Ok(found.and_then(|offset| u64::try_from(offset).ok()))
    }

    fn last_published(&mut self) -> Result<Option<u64>, Trouble> {
        self.finish(|publisher| publisher.producer.init_transactions(STEP))?;
        self.marker()
    }

    fn publish(&mut self, epoch: u64, parts: &mut dyn Parts) -> Result<(), Trouble> {
        let offset = i64::try_from(epoch).map_err(|_| Trouble::Fatal(sink_unwritable("the epoch is no offset")))?;
        self.producer.begin_transaction().map_err(trouble)?;
        self.send_all(parts)?;
        // Not resumable, but may be repeated: the same offset is added again.
        self.finish(|publisher| publisher.producer.add_marker(&publisher.marker, offset, STEP))?;
        self.finish(|publisher| publisher.producer.commit_transaction(STEP))
    }
}

/// Decides what an error means for a publication.
pub(super) fn trouble(error: KafkaError) -> Trouble {
    let kind = error.kind;
    let error = sink_error(error);
    match kind {
        KafkaErrorKind::Fenced => Trouble::Fenced(error),
        KafkaErrorKind::Denied | KafkaErrorKind::AddressDenied | KafkaErrorKind::Rejected => Trouble::Fatal(error),
        // A topic that is missing may be created again; nothing is lost meanwhile.
        KafkaErrorKind::Unreachable | KafkaErrorKind::Missing | KafkaErrorKind::OutOfRange | KafkaErrorKind::Other => {
            Trouble::Retry(error)
        }
    }
}

/// Returns the error of the host for a sink.
pub(super) fn sink_error(error: KafkaError) -> Error {
    match error.kind {
        KafkaErrorKind::Denied => peer_denied(error.message).hint(
            "correct `security`, or let the broker's administrator grant Write and Describe on the topic and on the transactional id, and \
             Read on the group of the same name",
        ),
        KafkaErrorKind::AddressDenied => address_denied(error.message).hint(ADDRESS_HINT),
        KafkaErrorKind::Rejected => sink_unwritable(error.message)
            .hint("the broker refuses the record: see `max.message.bytes` and the other settings of the topic"),
        _ => sink_unwritable(error.message).hint("check that the topic exists and that a broker answers"),
    }
}
