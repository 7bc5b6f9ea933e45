//! Handles late records: emits them on the operator's output `late`, or counts them if nothing reads that output.
//!
//! The count is a metric with Flink's name. It is staged in the turn that finds the records late, so that a fault or a restart
//! does not count a record twice.

use super::turn_runner::runner::TurnRunner;
use crate::model::Batch;
use crate::turn::{OutputBatch, OutputId, Turn};

/// Metric: number of late records that were dropped because nothing reads the output `late`.
pub(super) const LATE_RECORDS_DROPPED: &str = "numLateRecordsDropped";

/// How an operator handles late records.
#[derive(Clone, Copy, Debug)]
pub(super) enum LateRecordHandling {
    /// Emits them on the output for late records.
    Emit,
    /// Drops and counts them.
    Count,
}

impl LateRecordHandling {
    pub fn new(emits_late_records: bool) -> LateRecordHandling {
        match emits_late_records {
            true => LateRecordHandling::Emit,
            false => LateRecordHandling::Count,
        }
    }

    /// Stages the metric of `count` late records in a turn, if they are counted.
    pub fn stage_metric(self, turn: &mut Turn, count: usize) {
        if matches!(self, LateRecordHandling::Count) && count > 0 {
            turn.count(LATE_RECORDS_DROPPED, count as u64);
        }
    }

    /// Emits or counts the records of `batch` whose indexes are in `late`, after their turn has committed.
    pub fn after_commit(self, runner: &mut TurnRunner, batch: &Batch, late: &[u32], outputs: &mut Vec<OutputBatch>) {
        match self {
            LateRecordHandling::Count => runner.counters.records_late += late.len() as u64,
            LateRecordHandling::Emit if !late.is_empty() => {
                let late: Vec<usize> = late.iter().map(|&record| record as usize).collect();
                let records = Batch { chosen_keys: None, keys: None, ..batch.select(&late) };
                runner.emit(vec![OutputBatch { output: OutputId::Late, batch: records }], outputs);
            }
            LateRecordHandling::Emit => {}
        }
    }
}
