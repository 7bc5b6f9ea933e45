//! The window operator of one subtask: adds records to windows. `firing/due_windows.rs` fires them.
//!
//! Invariant: a record takes effect in exactly one committed turn, is late, or reaches the fault policy.

use std::cell::Cell;
use std::ops::Range;

use super::contents::fired_windows::AddedRecords;
use super::definition::{WindowDefinition, WindowOptions};
use super::firing::due_windows::fire_due_windows;
use super::firing::firing_limit::FiringLimit;
use super::plan::plan_loader::PlanLoader;
use super::trigger::TurnClocks;
use super::turn_execution::WindowTurn;
use crate::error::{self, Result};
use crate::model::{Batch, Counters, Fault, FaultCode, NO_TIMESTAMP, TimeDomain};
use crate::operator::failure::{OperatorFailure, TurnOutcome};
use crate::operator::faults::fault_policy::FailedItem;
use crate::operator::turn_runner::runner::{FunctionSettings, TurnRunner};
use crate::operator::turn_runner::turn_driven::TurnDriven;
use crate::turn::{Guest, OutputBatch, Turn};

/// The windows of one subtask.
pub struct WindowOperator {
    runner: TurnRunner,
    windows: WindowDefinition,
    firing_limit: FiringLimit,
}

impl WindowOperator {
    /// `turn` is stateful and has timers; its layout ends with [`window_states`](super::definition::window_states). Error: `internal` if the layout lacks a state.
    pub fn new(
        guest: Box<dyn Guest>,
        turn: Turn,
        settings: FunctionSettings,
        options: WindowOptions,
        counters: Counters,
    ) -> Result<WindowOperator> {
        let windows = WindowDefinition::new(&turn, options)?;
        let runner = TurnRunner::new(guest, turn.with_internal_timers(), settings, counters);
        Ok(WindowOperator { runner, windows, firing_limit: FiringLimit::default() })
    }

    /// Whether windows share panes.
    #[cfg(test)]
    pub(super) fn shares_panes(&self) -> bool {
        self.windows.panes.is_some()
    }

    /// Makes every sliding window store its own records, so that a test can compare the results.
    #[cfg(test)]
    pub(super) fn without_panes(mut self) -> WindowOperator {
        self.windows.panes = None;
        self
    }
}

/// The fault of a record without a timestamp, if windows go by the timestamps of records.
fn missing_timestamp(windows: &WindowDefinition, batch: &Batch, range: Range<usize>) -> Option<Fault> {
    let is_missing = windows.settings.needs_timestamps() && batch.timestamps[range].contains(&NO_TIMESTAMP);
    let message = "the record has no event timestamp; event-time windows need one";
    is_missing.then(|| Fault::new(FaultCode::TimestampMissing, message))
}

impl TurnDriven for WindowOperator {
    fn runner(&self) -> &TurnRunner {
        &self.runner
    }

    fn runner_mut(&mut self) -> &mut TurnRunner {
        &mut self.runner
    }

    fn process_batch(
        &mut self,
        input: u32,
        batch: Batch,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<(), OperatorFailure> {
        let WindowOperator { runner, windows, firing_limit } = self;
        let Some(keys) = batch.keys.clone() else {
            return Err(error::internal("a window operator received records without keys").into());
        };
        let records_before = runner.counters.records_in;
        let position = runner.turn.positions.records_of(input);
        // If a record had to wait for the next turn, the next one of its key is probably close. Planning far ahead would be wasted.
        let lookahead = Cell::new(usize::MAX);
        runner.run_item_prefixes(
            batch.len(),
            outputs,
            |runner, range, outputs| {
                runner.turn.context.position = position + range.start as u64;
                let range = range.start..range.end.min(range.start.saturating_add(lookahead.get()));
                if let Some(fault) = missing_timestamp(windows, &batch, range.clone()) {
                    return Ok(TurnOutcome::RolledBack(fault));
                }
                let clocks = TurnClocks { watermark: runner.watermark, processing_ms: runner.settings.clock.wall_ms() };
                let mut loader = PlanLoader { windows, backend: runner.backend()?, clocks };
                let (plan, end) = loader.plan_records(&batch, &keys, range.clone())?;
                let records = Some(AddedRecords { batch: &batch, input });
                let outcome = WindowTurn { windows, plan: &plan, records, firing_limit }.execute(runner, outputs)?;
                if let TurnOutcome::Committed(()) = outcome {
                    let is_partial = end < range.end;
                    lookahead.set(if is_partial { 2 * (end - range.start).max(8) } else { usize::MAX });
                }
                Ok(outcome.map(|()| end))
            },
            |runner, index, fault, outputs| {
                runner.apply_fault_policy(FailedItem::record(input, &batch, index, records_before, fault), outputs)
            },
        )
    }

    /// The clock of the trigger comes first: the timers of the windows' clock remove windows that have not fired.
    fn clocks_at_end(&self) -> [TimeDomain; 2] {
        match self.windows.trigger.clock() {
            TimeDomain::Event => [TimeDomain::Event, TimeDomain::Processing],
            TimeDomain::Processing => [TimeDomain::Processing, TimeDomain::Event],
        }
    }

    fn fire_timers(
        &mut self,
        domain: TimeDomain,
        now: i64,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<bool, OperatorFailure> {
        fire_due_windows(&mut self.runner, &self.windows, &mut self.firing_limit, (domain, now), outputs)
    }
}
