//! Applies an operator's fault policy (the setting `on_fault`) to the item that a guest failed on.
//!
//! Invariant: one failed item costs one item. The policy `fail` returns it in the error, `skip` counts it, and `dead-letter`
//! emits a dead letter.

use super::dead_letter::{DeadLetter, PairedRecord, RecordPosition, row_json};
use super::failed_record::FailedRecord;
use crate::fault_groups::FaultOccurrence;
use crate::model::row::RowSchema;
use crate::model::{Batch, Fault, LetterReplay, NO_ATTRIBUTES, NO_TIMESTAMP};
use crate::operator::failure::OperatorFailure;
use crate::operator::turn_runner::runner::{FunctionSettings, TurnRunner};
use crate::pipeline::FaultPolicy;
use crate::turn::{FIRST_INPUT, OutputBatch, OutputId};

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
    /// The attributes of the record, in the encoding of the contract.
    pub attributes: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::operator) enum FailedItemKind {
    /// A record of an input, with its index in the batch.
    Record {
        input: u32,
        index: usize,
    },
    /// A record that was rejected before it reached the operator.
    Rejected,
    TimerOrWindow,
}

impl<'a> FailedItem<'a> {
    /// Record `index` of a batch of an input. The subtask received `records_before` records before this batch.
    pub fn record(input: u32, batch: &'a Batch, index: usize, records_before: u64, fault: Fault) -> FailedItem<'a> {
        let key = batch.keys.as_ref().map(|keys| keys.distinct.value(keys.key_of[index] as usize));
        FailedItem {
            value: batch.values.value(index),
            schema: batch.schema.as_deref(),
            timestamp: batch.timestamps[index],
            key,
            fault,
            record: records_before + index as u64,
            kind: FailedItemKind::Record { input, index },
            joined_with: None,
            attributes: batch.attributes.as_ref().map(|attributes| attributes.value(index)),
        }
    }

    /// Returns what a replay of the dead letter needs. `None` for timers and windows, which have no record, and for pairs, whose
    /// record has been stored and joined with others.
    fn replay(&self) -> Option<LetterReplay> {
        let (input, rejected) = match self.kind {
            FailedItemKind::Record { .. } if self.joined_with.is_some() => return None,
            FailedItemKind::Record { input, .. } => (input, false),
            FailedItemKind::Rejected => (FIRST_INPUT, true),
            FailedItemKind::TimerOrWindow => return None,
        };
        Some(LetterReplay {
            input,
            schema: self.schema.map(RowSchema::to_string),
            row: self.schema.map(|_| hex::encode(self.value)),
            attributes: self.attributes.filter(|attributes| *attributes != NO_ATTRIBUTES).map(hex::encode),
            rejected,
        })
    }
}

impl TurnRunner {
    /// Applies the operator's fault policy to an item. Error: [`OperatorFailure::Fault`] if the policy is `fail`.
    pub(in crate::operator) fn apply_fault_policy(
        &mut self,
        item: FailedItem<'_>,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<(), OperatorFailure> {
        let position = RecordPosition { subtask: self.turn.context.subtask, record: item.record };
        let on_fault = self.settings.on_fault;
        self.settings.log.record_failed(position.subtask, item.record, &item.fault, on_fault);
        self.record_fault(&item, position);
        match on_fault {
            FaultPolicy::Fail => return Err(failure(item, position)),
            FaultPolicy::Skip => self.counters.records_skipped += 1,
            FaultPolicy::DeadLetter => {
                self.counters.records_dead_lettered += 1;
                push_letter(outputs, &self.dead_letter(&item, position).encode(), &item);
            }
        }
        Ok(())
    }

    /// Records a fault in its group.
    fn record_fault(&self, item: &FailedItem<'_>, position: RecordPosition) {
        let FunctionSettings { function, component, faults, on_fault, .. } = &self.settings;
        let Some(faults) = faults else { return };
        let value = || {
            let row = item.schema.and_then(|schema| row_json(schema, item.value));
            row.unwrap_or_else(|| item.value.to_vec())
        };
        faults.record(&FaultOccurrence {
            operator: &self.turn.context.operator,
            function,
            component: component.as_deref(),
            fault: &item.fault,
            on_fault: on_fault.as_str(),
            attempt: self.failed_before.saturating_add(1),
            subtask: position.subtask,
            record: position.record,
            timestamp_ms: Some(item.timestamp).filter(|timestamp| *timestamp != NO_TIMESTAMP),
            key: item.key,
            value: &value,
        });
    }

    fn dead_letter<'a>(&'a self, item: &'a FailedItem<'_>, position: RecordPosition) -> DeadLetter<'a> {
        let FunctionSettings { function, component, keeps_letters, .. } = &self.settings;
        DeadLetter {
            operator: &self.turn.context.operator,
            function,
            component: component.as_deref(),
            fault: &item.fault,
            attempt: self.failed_before.saturating_add(1),
            position,
            timestamp: item.timestamp,
            key: item.key,
            value: item.value,
            schema: item.schema,
            joined_with: item.joined_with,
            attributes: item.attributes,
            replay: item.replay().filter(|_| *keeps_letters),
        }
    }
}

/// Appends a letter to the last output if that holds letters, and else as an output of its own. The attributes hold the index of the
/// record in its batch, or the largest number. The chain finds records in the source by it, and removes it.
fn push_letter(outputs: &mut Vec<OutputBatch>, json: &[u8], item: &FailedItem<'_>) {
    let index = match item.kind {
        FailedItemKind::Record { index, .. } => index as u64,
        FailedItemKind::Rejected | FailedItemKind::TimerOrWindow => u64::MAX,
    };
    if outputs.last().is_none_or(|last| last.output != OutputId::DeadLetter) {
        outputs.push(OutputBatch { output: OutputId::DeadLetter, batch: Batch::default() });
    }
    let Some(OutputBatch { batch, .. }) = outputs.last_mut() else { return };
    batch.push(json, item.timestamp);
    batch.attributes.get_or_insert_default().push(&index.to_le_bytes());
}

/// Returns the failure of the attempt under the policy `fail`.
fn failure(item: FailedItem<'_>, position: RecordPosition) -> OperatorFailure {
    let index = match item.kind {
        FailedItemKind::Record { index, .. } => Some(index),
        FailedItemKind::Rejected | FailedItemKind::TimerOrWindow => None,
    };
    let row = item.schema.and_then(|schema| row_json(schema, item.value));
    let record = FailedRecord {
        position,
        is_record: item.kind != FailedItemKind::TimerOrWindow,
        index,
        timestamp: item.timestamp,
        key: item.key.map(<[u8]>::to_vec),
        value: row.unwrap_or_else(|| item.value.to_vec()),
    };
    OperatorFailure::Fault { fault: item.fault, record: Box::new(record) }
}
