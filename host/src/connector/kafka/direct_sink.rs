//! A sink that writes from its subtask: at-least-once. Records are visible at once, and again after a restart.

use std::time::Duration;

use super::client::{KafkaError, KafkaProducer};
use super::publisher::sink_error;
use super::record_encoder::KafkaRecordEncoder;
use crate::connector::context::ConnectorContext;
use crate::connector::outbox::{OutboxEncoder, OutboxRecord};
use crate::connector::sink::{Prepared, Sink};
use crate::error::{Error, Result};
use crate::model::Batch;
use crate::permits::{self, WaitReason};

/// Pause while librdkafka has no room.
const ROOM: Duration = Duration::from_millis(5);
/// Pause while records are on their way.
const FLUSH: Duration = Duration::from_millis(1);

/// One subtask's share of the sink.
pub(super) struct DirectKafkaSink {
    encoder: KafkaRecordEncoder,
    delivery: DirectDelivery,
}

struct DirectDelivery {
    producer: KafkaProducer,
    topic: String,
    context: ConnectorContext,
    is_down: bool,
}

impl DirectKafkaSink {
    pub(super) fn new(
        producer: KafkaProducer,
        topic: &str,
        encoder: KafkaRecordEncoder,
        context: &ConnectorContext,
    ) -> DirectKafkaSink {
        let delivery = DirectDelivery { producer, topic: topic.to_owned(), context: context.clone(), is_down: false };
        DirectKafkaSink { encoder, delivery }
    }
}

impl DirectDelivery {
    fn error(&self, error: KafkaError) -> Error {
        sink_error(error).context(format_args!("sink `{}`", self.context.node))
    }

    fn send(&mut self, record: &OutboxRecord<'_>) -> Result<()> {
        while !self.producer.send(&self.topic, record).map_err(|error| self.error(error))? {
            self.pause(ROOM)?;
        }
        Ok(())
    }

    /// Waits for librdkafka. Hears a cancel, and reports a broker that is away.
    fn pause(&mut self, pause: Duration) -> Result<()> {
        self.context.interrupt.check()?;
        self.report_health();
        permits::while_waiting(WaitReason::Peer, || self.producer.serve(pause)).map_err(|error| self.error(error))
    }

    fn report_health(&mut self) {
        match self.producer.state().error() {
            Some(error) => {
                self.is_down = true;
                self.context.health.down(&error.message);
            }
            None if self.is_down => {
                self.is_down = false;
                self.context.health.healthy();
            }
            None => {}
        }
    }

    /// Waits until the broker has all records.
    fn flush(&mut self) -> Result<()> {
        while !self.producer.is_flushed().map_err(|error| self.error(error))? {
            self.pause(FLUSH)?;
        }
        self.report_health();
        Ok(())
    }
}

impl Sink for DirectKafkaSink {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        let DirectKafkaSink { encoder, delivery } = self;
        encoder.encode(batch, &mut |record| delivery.send(record))?;
        delivery.producer.serve(Duration::ZERO).map_err(|error| delivery.error(error))
    }

    /// The records before a barrier are at the broker before the checkpoint is, so that a restart loses none.
    fn prepare(&mut self, _checkpoint: u64) -> Result<Prepared> {
        self.delivery.flush()?;
        Ok(Prepared::default())
    }

    /// librdkafka sends by itself. This hears what failed.
    fn flush(&mut self) -> Result<()> {
        self.delivery.report_health();
        self.delivery.producer.serve(Duration::ZERO).map_err(|error| self.delivery.error(error))
    }
}
