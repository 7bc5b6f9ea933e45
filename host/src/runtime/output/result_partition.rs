//! Writes the records of a subtask to one edge, and waits where a channel is full.
//!
//! Batches adapt to the load. Records are sent as soon as their receiver has nothing to do. While it is busy, the open batch
//! grows, up to the size and the linger time of the pipeline file.
//!
//! Records keep their order from one sender to one receiver. Watermarks, idleness and barriers are sent after all records that
//! were written before them.

use std::sync::Arc;

use super::keyed_exchange::KeyedExchange;
use super::output_channels::OutputChannels;
use super::partition_error::PartitionError;
use crate::model::Batch;
use crate::pipeline::{BatchSettings, InputRole};
use crate::runtime::attempt_signals::{AttemptSignals, SubtaskCancelled};
use crate::runtime::barrier::Barrier;
use crate::runtime::channel::ChannelSender;
use crate::runtime::records::record_converter::RecordConverter;
use crate::runtime::records::record_key::KeyOrigin;
use crate::runtime::stream_element::StreamElement;

/// Chooses the receiver of a record.
enum Partitioner {
    /// The one receiver with the same subtask index.
    Forward,
    /// All receivers in turn, batch by batch.
    Rebalance { previous: usize },
    /// Every receiver.
    Broadcast,
    /// The owner of the record's key.
    Keyed(Box<KeyedExchange>),
}

/// A subtask's side of one edge.
pub(crate) struct ResultPartition {
    channels: OutputChannels,
    partitioner: Partitioner,
    settings: BatchSettings,
    /// Rewrites records for the consumer. `None` if it takes records of all formats.
    converter: Option<RecordConverter>,
    /// When the oldest record of the open batches was written, in monotonic nanoseconds.
    oldest_ns: Option<u64>,
}

impl ResultPartition {
    fn new(
        senders: Vec<ChannelSender>,
        partitioner: Partitioner,
        settings: BatchSettings,
        signals: Arc<AttemptSignals>,
    ) -> ResultPartition {
        let channels = OutputChannels::new(senders, signals);
        ResultPartition { channels, partitioner, settings, converter: None, oldest_ns: None }
    }

    /// Creates a partition that sends to the one subtask with the same index.
    pub(crate) fn forward(
        sender: ChannelSender,
        settings: BatchSettings,
        signals: Arc<AttemptSignals>,
    ) -> ResultPartition {
        ResultPartition::new(vec![sender], Partitioner::Forward, settings, signals)
    }

    /// Creates a partition that sends batches to all subtasks in turn.
    pub(crate) fn rebalance(
        senders: Vec<ChannelSender>,
        settings: BatchSettings,
        signals: Arc<AttemptSignals>,
    ) -> ResultPartition {
        ResultPartition::new(senders, Partitioner::Rebalance { previous: 0 }, settings, signals)
    }

    /// Creates a partition that sends every record to every subtask, as records of the broadcast input.
    pub(crate) fn broadcast(
        senders: Vec<ChannelSender>,
        settings: BatchSettings,
        signals: Arc<AttemptSignals>,
    ) -> ResultPartition {
        ResultPartition::new(senders, Partitioner::Broadcast, settings, signals)
    }

    /// Creates a partition that sends a record to the subtask that owns its key, for the input `role`.
    pub(crate) fn keyed(
        role: InputRole,
        senders: Vec<ChannelSender>,
        origin: KeyOrigin,
        max_parallelism: u32,
        settings: BatchSettings,
        signals: Arc<AttemptSignals>,
    ) -> ResultPartition {
        let exchange = KeyedExchange::new(role, origin, senders.len(), max_parallelism);
        ResultPartition::new(senders, Partitioner::Keyed(Box::new(exchange)), settings, signals)
    }

    /// Rewrites the records of all batches for the consumer.
    pub(crate) fn converted_by(self, converter: Option<RecordConverter>) -> ResultPartition {
        ResultPartition { converter, ..self }
    }

    /// Sends a batch, or adds its records to the open batches of a keyed partition. Records that cannot be rewritten for the consumer
    /// are sent as rejected records.
    pub(crate) fn write(&mut self, batch: Batch, now_ns: u64) -> Result<(), PartitionError> {
        if let Partitioner::Keyed(exchange) = &mut self.partitioner {
            exchange.write(&batch, self.converter.as_mut(), &self.settings, &self.channels)?;
            if self.oldest_ns.is_none() && exchange.has_open_records() {
                self.oldest_ns = Some(now_ns);
            }
            return Ok(());
        }
        let batch = self.convert(batch)?;
        match &mut self.partitioner {
            Partitioner::Forward => self.channels.send(0, StreamElement::Batch(InputRole::First, batch))?,
            Partitioner::Rebalance { previous } => {
                *previous = (*previous + 1) % self.channels.len();
                self.channels.send(*previous, StreamElement::Batch(InputRole::First, batch))?;
            }
            Partitioner::Broadcast => {
                self.channels.send_to_all(|| StreamElement::Batch(InputRole::Broadcast, batch.clone()))?;
            }
            Partitioner::Keyed(_) => {}
        }
        Ok(())
    }

    /// Rewrites a batch for the consumer, and sends the records for which this fails as rejected records.
    fn convert(&mut self, batch: Batch) -> Result<Batch, PartitionError> {
        let Some(converter) = &mut self.converter else { return Ok(batch) };
        let mut rejected = Vec::new();
        let batch = converter.convert(batch, &mut rejected)?;
        for record in rejected {
            self.channels.send(0, StreamElement::Rejected(Box::new(record)))?;
        }
        Ok(batch)
    }

    /// Sends the open batches whose receivers have nothing to do, and all open batches if their oldest record has waited for
    /// the linger time.
    pub(crate) fn flush_due(&mut self, now_ns: u64) -> Result<(), SubtaskCancelled> {
        let Some(deadline_ns) = self.linger_deadline_ns() else { return Ok(()) };
        if now_ns >= deadline_ns {
            return self.flush();
        }
        if let Partitioner::Keyed(exchange) = &mut self.partitioner {
            exchange.flush_to_free_receivers(&self.channels)?;
            if !exchange.has_open_records() {
                self.oldest_ns = None;
            }
        }
        Ok(())
    }

    /// Returns when the linger time of the open batches ends, in monotonic nanoseconds, or `None` if no records wait in them.
    pub(crate) fn linger_deadline_ns(&self) -> Option<u64> {
        let linger_ns = u64::try_from(self.settings.linger.as_nanos()).unwrap_or(u64::MAX);
        self.oldest_ns.map(|oldest| oldest.saturating_add(linger_ns))
    }

    /// Returns whether records wait in open batches.
    pub(crate) fn has_open_records(&self) -> bool {
        self.oldest_ns.is_some()
    }

    /// Sends all open batches.
    fn flush(&mut self) -> Result<(), SubtaskCancelled> {
        self.oldest_ns = None;
        match &mut self.partitioner {
            Partitioner::Keyed(exchange) => exchange.flush(&self.channels),
            Partitioner::Forward | Partitioner::Rebalance { .. } | Partitioner::Broadcast => Ok(()),
        }
    }

    /// Sends a watermark to every subtask.
    pub(crate) fn send_watermark(&mut self, watermark: i64) -> Result<(), SubtaskCancelled> {
        self.flush()?;
        self.channels.send_to_all(|| StreamElement::Watermark(watermark))
    }

    /// Tells every subtask whether the sender is idle.
    pub(crate) fn send_idleness(&mut self, idle: bool) -> Result<(), SubtaskCancelled> {
        self.flush()?;
        self.channels.send_to_all(|| StreamElement::Idleness { idle })
    }

    /// Sends a barrier to every subtask.
    pub(crate) fn send_barrier(&mut self, barrier: Barrier) -> Result<(), SubtaskCancelled> {
        self.flush()?;
        self.channels.send_barrier(barrier)
    }
}
