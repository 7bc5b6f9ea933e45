//! Applies an operator's fault policy (the setting `on_fault`) to the item that a guest failed on.
//!
//! Invariant: one failed item costs one item. The policy `fail` returns it in the error, `skip` counts it, and `dead-letter`
//! emits a dead letter.

use super::dead_letter::{DeadLetter, PairedRecord, RecordPosition, row_json};
use super::failed_record::FailedRecord;
use crate::model::row::RowSchema;
use crate::model::{Batch, Fault};
use crate::operator::failure::OperatorFailure;
use crate::operator::turn_runner::runner::{FunctionSettings, TurnRunner};
use crate::pipeline::FaultPolicy;
use crate::turn::{OutputBatch, OutputId};

/// An item that a guest failed on, or that could not be handed to it.
pub(in crate::operator) struct FailedItem<'a> {
    pub value: &'a [u8],
    /// The schema of the value if it is a row.
    pub schema: Option<&'a RowSchema>,
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub fault: Fault,
    /// Number of records that the subtask received before it.
    pub record: u64,
    pub kind: FailedItemKind,
    /// The other record of a pair that an interval join failed on.
    pub joined_with: Option<PairedRecord<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::operator) enum FailedItemKind {
    /// A record, with its index in the batch if it was part of one.
    Record(Option<usize>),
    TimerOrWindow,
}

impl<'a> FailedItem<'a> {
    /// Record `index` of a batch. The subtask received `records_before` records before this batch.
    pub fn record(batch: &'a Batch, index: usize, records_before: u64, fault: Fault) -> FailedItem<'a> {
        let key = batch.keys.as_ref().map(|keys| keys.distinct.value(keys.key_of[index] as usize));
        FailedItem {
            value: batch.values.value(index),
            schema: batch.schema.as_deref(),
            timestamp: batch.timestamps[index],
            key,
            fault,
            record: records_before + index as u64,
            kind: FailedItemKind::Record(Some(index)),
            joined_with: None,
        }
    }
}

impl TurnRunner {
    /// Applies the operator's fault policy to an item. Error: [`OperatorFailure::Fault`] if the policy is `fail`.
    pub(in crate::operator) fn apply_fault_policy(
        &mut self,
        item: FailedItem<'_>,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<(), OperatorFailure> {
        let FailedItem { value, schema, timestamp, key, fault, record, kind, joined_with } = item;
        let position = RecordPosition { subtask: self.turn.context.subtask, record };
        let FunctionSettings { function, on_fault, log, .. } = &self.settings;
        let operator = &self.turn.context.operator;
        log.record_failed(position.subtask, record, &fault, *on_fault);
        match on_fault {
            FaultPolicy::Fail => {
                let (is_record, index) = match kind {
                    FailedItemKind::Record(index) => (true, index),
                    FailedItemKind::TimerOrWindow => (false, None),
                };
                let row = schema.and_then(|schema| row_json(schema, value));
                let (key, value) = (key.map(<[u8]>::to_vec), row.unwrap_or_else(|| value.to_vec()));
                let record = Box::new(FailedRecord { position, is_record, index, timestamp, key, value });
                return Err(OperatorFailure::Fault { fault, record });
            }
            FaultPolicy::Skip => self.counters.records_skipped += 1,
            FaultPolicy::DeadLetter => {
                self.counters.records_dead_lettered += 1;
                let letter = DeadLetter {
                    operator,
                    function,
                    fault: &fault,
                    position,
                    timestamp,
                    key,
                    value,
                    schema,
                    joined_with,
                };
                let mut batch = Batch::default();
                batch.push(&letter.encode(), timestamp);
                outputs.push(OutputBatch { output: OutputId::DeadLetter, batch });
            }
        }
        Ok(())
    }
}
