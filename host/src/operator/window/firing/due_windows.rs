//! Fires windows whose timers are due, and removes windows that are over.
//!
//! Invariant: a timer takes effect only after all earlier timers of its key. Timers that must wait for the next call are put back.

use std::cell::Cell;

use super::firing_limit::FiringLimit;
use crate::model::{DueTimers, Fault, TimeDomain};
use crate::operator::failure::{OperatorFailure, TurnOutcome};
use crate::operator::faults::fault_policy::{FailedItem, FailedItemKind};
use crate::operator::turn_runner::runner::TurnRunner;
use crate::operator::window::definition::WindowDefinition;
use crate::operator::window::panes::pane_layout::PANE_TIMER;
use crate::operator::window::plan::plan_loader::PlanLoader;
use crate::operator::window::time_window::read_state_key;
use crate::operator::window::trigger::TurnClocks;
use crate::operator::window::turn_execution::WindowTurn;
use crate::turn::OutputBatch;

/// Fires the windows whose timers are due, at most as many as one turn handles. Returns whether more may be due.
pub fn fire_due_windows(
    runner: &mut TurnRunner,
    windows: &WindowDefinition,
    firing_limit: &mut FiringLimit,
    (domain, now): (TimeDomain, i64),
    outputs: &mut Vec<OutputBatch>,
) -> Result<bool, OperatorFailure> {
    let limit = firing_limit.windows_per_turn(windows, runner.settings.batch_records);
    let due = runner.turn.due_timers(domain, now, limit)?;
    if due.is_empty() {
        return Ok(false);
    }
    runner.count_fired_at_end(domain, now, due.len())?;
    let processing_ms = match domain {
        TimeDomain::Event => runner.settings.clock.wall_ms(),
        TimeDomain::Processing => now,
    };
    let clocks = TurnClocks { watermark: runner.watermark, processing_ms };
    // Once a turn ends early, the remaining timers wait for the next call: a new timer may be due before them, or a timer may have
    // been deleted.
    let (handled, ended_early) = (Cell::new(0), Cell::new(false));
    let turn_limit: &FiringLimit = firing_limit;
    let position = runner.turn.positions.events;
    runner.run_item_prefixes(
        due.len(),
        outputs,
        |runner, range, outputs| {
            runner.turn.context.position = position + range.start as u64;
            if ended_early.get() {
                return Ok(TurnOutcome::Committed(range.end));
            }
            let mut loader = PlanLoader { windows, backend: runner.backend()?, clocks };
            let (plan, end) = loader.plan_timers((domain, &due), range.clone(), true)?;
            let outcome = WindowTurn { windows, plan: &plan, records: None, firing_limit: turn_limit }
                .execute(runner, outputs)?;
            if let TurnOutcome::Committed(()) = outcome {
                handled.set(end);
                ended_early.set(end < due.len());
            }
            Ok(outcome.map(|()| range.end))
        },
        |runner, index, fault, outputs| {
            apply_fault_policy(runner, windows, (&due, index), fault, outputs)?;
            let mut loader = PlanLoader { windows, backend: runner.backend()?, clocks };
            let (plan, end) = loader.plan_timers((domain, &due), index..index + 1, false)?;
            WindowTurn { windows, plan: &plan, records: None, firing_limit: turn_limit }
                .execute(runner, outputs)?
                .committed()?;
            handled.set(end);
            ended_early.set(true);
            Ok(())
        },
    )?;
    runner.turn.positions.events += handled.get() as u64;
    runner.turn.put_back_timers(domain, &due.slice(handled.get()..due.len()));
    firing_limit.adapt(limit);
    Ok(true)
}

/// Applies the fault policy to a window that a function fails on.
fn apply_fault_policy(
    runner: &mut TurnRunner,
    windows: &WindowDefinition,
    (due, index): (&DueTimers, usize),
    fault: Fault,
    outputs: &mut Vec<OutputBatch>,
) -> Result<(), OperatorFailure> {
    let timer_key = due.keys.key_of[index] as usize;
    let (key, mut window) = read_state_key(due.keys.distinct.value(timer_key))?;
    if let Some(layout) = windows.panes.as_ref().filter(|_| window == PANE_TIMER) {
        window = layout.window_ending_at(due.times[index]);
    }
    let value = format!("{{\"window_start\":{},\"window_end\":{}}}", window.start, window.end);
    let (timestamp, record) = (window.max_timestamp(), runner.counters.records_in);
    let kind = FailedItemKind::TimerOrWindow;
    runner.apply_fault_policy(
        FailedItem {
            value: value.as_bytes(),
            schema: None,
            timestamp,
            key: Some(&key),
            fault,
            record,
            kind,
            joined_with: None,
            attributes: None,
        },
        outputs,
    )
}
