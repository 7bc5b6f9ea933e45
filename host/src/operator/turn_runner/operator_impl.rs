//! Implements [`Operator`] for every [`TurnDriven`] operator: counters, watermarks and the order of clocks at the end of the input.
//!
//! Invariant: the watermark never decreases.

use super::group_watermarks;
use super::runner::TurnRunner;
use super::turn_driven::TurnDriven;
use crate::model::{Batch, Counters, DurationHistogram, NO_TIMESTAMP, TimeDomain};
use crate::operator::failure::OperatorFailure;
use crate::operator::faults::fault_policy::{FailedItem, FailedItemKind};
use crate::operator::interface::Operator;
use crate::operator::rejected_record::RejectedRecord;
use crate::turn::{OutputBatch, Turn};

impl<T: TurnDriven> Operator for T {
    fn process(&mut self, input: u32, batch: Batch, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure> {
        let (records, bad_before) = (batch.len(), self.runner().bad_records());
        if self.runner_mut().turn.group_watermarks().is_empty() {
            self.process_batch(input, batch, outputs)?;
            self.runner_mut().note_handled(input, records);
        } else {
            group_watermarks::process_batch(self, input, &batch, outputs)?;
        }
        self.runner().note_share(records, bad_before)
    }

    fn reject(&mut self, rejected: RejectedRecord, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure> {
        let RejectedRecord { value, schema, timestamp, fault } = rejected;
        let runner = self.runner_mut();
        let record = runner.counters.records_in;
        runner.counters.records_in += 1;
        runner.note_fault(&fault);
        let bad_before = runner.bad_records();
        let kind = FailedItemKind::Rejected;
        runner.apply_fault_policy(
            FailedItem {
                value: &value,
                schema: schema.as_deref(),
                timestamp,
                key: None,
                fault,
                record,
                kind,
                joined_with: None,
                attributes: None,
            },
            outputs,
        )?;
        runner.note_share(1, bad_before)
    }

    fn advance_watermark(&mut self, watermark: i64, outputs: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure> {
        if watermark == NO_TIMESTAMP {
            return group_watermarks::resume_interrupted(self, outputs);
        }
        let reached = self.watermark().max(watermark);
        let runner = self.runner_mut();
        runner.watermark = reached;
        runner.turn.group_watermarks().advance_to(reached);
        let is_firing = if watermark < i64::MAX {
            group_watermarks::fire_timers(self, TimeDomain::Event, reached, outputs)?
        } else {
            let [first, second] = self.clocks_at_end();
            group_watermarks::fire_timers(self, first, i64::MAX, outputs)?
                || group_watermarks::fire_timers(self, second, i64::MAX, outputs)?
        };
        self.runner_mut().turn.set_firing(is_firing);
        Ok(is_firing)
    }

    fn advance_clock(&mut self, now_ms: i64, outputs: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure> {
        group_watermarks::fire_timers(self, TimeDomain::Processing, now_ms, outputs)
    }

    fn next_due_ms(&self) -> Option<i64> {
        self.runner().turn.next_timer(TimeDomain::Processing)
    }

    fn watermark(&self) -> i64 {
        self.runner().watermark
    }

    fn turn(&mut self) -> &mut Turn {
        &mut self.runner_mut().turn
    }

    fn counters(&self) -> Counters {
        let TurnRunner { counters, .. } = self.runner();
        *counters
    }

    fn turn_times(&self) -> DurationHistogram {
        self.runner().turn_times.clone()
    }

    fn set_failed_before(&mut self, times: u32) {
        self.runner_mut().failed_before = times;
    }

    fn log_suppressed(&self) {
        self.runner().settings.log.log_suppressed();
    }

    fn has_suppressed_lines(&self) -> bool {
        self.runner().settings.log.has_suppressed_lines()
    }
}
