//! Runs a function: processes batches of its inputs and fires the timers that it registered.
//!
//! Invariant: a record or a timer takes effect in exactly one committed turn, or reaches the fault policy.

use super::failure::OperatorFailure;
use super::faults::fault_policy::{FailedItem, FailedItemKind};
use super::turn_runner::runner::{DROPPED_AT_END, FunctionSettings, TurnRunner};
use super::turn_runner::turn_driven::TurnDriven;
use crate::model::{Batch, Counters, DueTimers, TimeDomain};
use crate::turn::{Guest, OutputBatch, SECOND_INPUT, Turn};

/// A function in one subtask.
pub struct FunctionOperator {
    runner: TurnRunner,
}

impl FunctionOperator {
    /// `counters` are those of the restored snapshot.
    pub fn new(guest: Box<dyn Guest>, turn: Turn, settings: FunctionSettings, counters: Counters) -> FunctionOperator {
        FunctionOperator { runner: TurnRunner::new(guest, turn, settings, counters) }
    }

    fn timers_dropped_at_end(&self) -> f64 {
        self.runner.turn.metrics().value(DROPPED_AT_END).unwrap_or(0.0)
    }

    fn warn_of_dropped_timers(&self) {
        self.runner.settings.log.timers_dropped();
    }

    /// Runs turns over the due timers of a clock.
    fn run_timers(
        &mut self,
        domain: TimeDomain,
        now: i64,
        due: &DueTimers,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<(), OperatorFailure> {
        let key_of: Vec<u32> = due.keys.key_of.clone();
        let position = self.runner.turn.positions.events;
        self.runner.run_items(
            due.len(),
            outputs,
            |runner, range, outputs| {
                runner.turn.context.position = position + range.start as u64;
                let selected;
                let timers = if range.len() == due.len() {
                    due
                } else {
                    // An earlier turn may have deleted some of them.
                    selected = runner.turn.still_registered(domain, &due.slice(range))?;
                    &selected
                };
                runner.run_turn_and_emit(Some(&timers.keys), outputs, |guest, turn| {
                    turn.delete_fired_timers(domain, &timers.keys.key_of, &timers.times)?;
                    let outputs = if timers.is_empty() { Vec::new() } else { guest.on_timers(turn, domain, timers)? };
                    if now == i64::MAX {
                        // A timer that renews itself would keep the input from ending.
                        match turn.drop_registered_timers() {
                            0 => {}
                            dropped => turn.count(DROPPED_AT_END, dropped),
                        }
                    }
                    Ok(outputs)
                })
            },
            |runner, index, fault, outputs| {
                let (time, key) = (due.times[index], due.keys.distinct.value(key_of[index] as usize));
                let record = runner.counters.records_in;
                let kind = FailedItemKind::TimerOrWindow;
                let item = FailedItem {
                    value: &[],
                    schema: None,
                    timestamp: time,
                    key: Some(key),
                    fault,
                    record,
                    kind,
                    joined_with: None,
                    attributes: None,
                };
                runner.apply_fault_policy(item, outputs)?;
                runner.run_host_turn(&due.keys, |turn| {
                    Ok(turn.delete_fired_timers(domain, &key_of[index..=index], &[time])?)
                })
            },
        )
    }
}

impl TurnDriven for FunctionOperator {
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
        let records_before = self.runner.counters.records_in;
        let position = self.runner.turn.positions.records_of(input);
        self.runner.run_items(
            batch.len(),
            outputs,
            |runner, range, outputs| {
                runner.turn.context.position = position + range.start as u64;
                let slice;
                let records = if range.len() == batch.len() {
                    &batch
                } else {
                    slice = batch.slice(range);
                    &slice
                };
                runner.run_turn_and_emit(records.keys.as_ref(), outputs, |guest, turn| {
                    // If the function has broadcast state, the second input is the broadcast one.
                    turn.allow_broadcast_writes(input == SECOND_INPUT);
                    guest.process(turn, input, records)
                })
            },
            |runner, index, fault, outputs| {
                runner.apply_fault_policy(FailedItem::record(input, &batch, index, records_before, fault), outputs)
            },
        )
    }

    fn fire_timers(
        &mut self,
        domain: TimeDomain,
        now: i64,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<bool, OperatorFailure> {
        let limit = self.runner.settings.batch_records;
        let due = self.runner.turn.due_timers(domain, now, limit)?;
        if due.is_empty() {
            return Ok(false);
        }
        self.runner.count_fired_at_end(domain, now, due.len())?;
        let dropped_before = self.timers_dropped_at_end();
        self.run_timers(domain, now, &due, outputs)?;
        self.runner.turn.positions.events += due.len() as u64;
        if dropped_before == 0.0 && self.timers_dropped_at_end() > 0.0 {
            self.warn_of_dropped_timers();
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::clock::SystemClock;
    use crate::model::{Fault, FaultCode};
    use crate::operator::interface::Operator;
    use crate::operator::testing::function_settings;
    use crate::pipeline::FaultPolicy;
    use crate::turn::{FIRST_INPUT, OutputBatch, TurnContext, TurnFailure};

    /// Fails on every record. Cancels the job in its third turn.
    struct FailAndCancel {
        turns: u32,
        cancel: Arc<AtomicBool>,
    }

    impl Guest for FailAndCancel {
        fn process(&mut self, _: &mut Turn, _: u32, _: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
            self.turns += 1;
            assert!(self.turns <= 3, "a turn after the cancel");
            self.cancel.store(self.turns == 3, Ordering::Relaxed);
            Err(Fault::new(FaultCode::DeadlineExceeded, "too long").into())
        }
    }

    #[test]
    fn a_cancel_ends_the_search_for_bad_records() {
        let cancel = Arc::new(AtomicBool::new(false));
        let settings = function_settings(FaultPolicy::Skip, 1024, SystemClock::shared());
        let settings = FunctionSettings { cancel: cancel.clone(), ..settings };
        let guest = Box::new(FailAndCancel { turns: 0, cancel });
        let turn = Turn::stateless(TurnContext::default());
        let mut operator = FunctionOperator::new(guest, turn, settings, Counters::default());
        let mut batch = Batch::default();
        (0..64).for_each(|at| batch.push(b"x", at));
        let ended = operator.process(FIRST_INPUT, batch, &mut Vec::new());
        assert!(matches!(ended, Err(OperatorFailure::Cancelled)), "{ended:?}");
    }
}
