//! Runs a function: batches of its inputs, and the timers that it registered.

use super::OperatorFailure;
use super::turns::{Bad, BadKind, DROPPED_AT_END, FunctionSettings, Turning, Turns, refused};
use crate::model::{Batch, Counters, TimeDomain};
use crate::turn::{Guest, OutputBatch, SECOND_INPUT, Turn};

/// One function in one subtask. See the module.
pub struct FunctionOperator {
    turns: Turns,
}

impl FunctionOperator {
    pub fn new(guest: Box<dyn Guest>, turn: Turn, settings: FunctionSettings, counters: Counters) -> FunctionOperator {
        FunctionOperator { turns: Turns::new(guest, turn, settings, counters) }
    }

    fn dropped_at_end(&self) -> f64 {
        self.turns.turn.metrics().get(DROPPED_AT_END).copied().unwrap_or(0.0)
    }
}

impl Turning for FunctionOperator {
    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn turns_mut(&mut self) -> &mut Turns {
        &mut self.turns
    }

    fn take(&mut self, input: u32, batch: Batch, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure> {
        let received = self.turns.counters.records_in;
        self.turns.run(
            batch.len(),
            outputs,
            |turns, range, outputs| {
                let part;
                let records = if range.len() == batch.len() {
                    &batch
                } else {
                    part = batch.slice(range);
                    &part
                };
                turns.attempt_outputs(records.keys.as_ref(), outputs, |guest, turn| {
                    // Where there is broadcast state, the second input is the broadcast one.
                    turn.allow_broadcast_writes(input == SECOND_INPUT);
                    guest.process(turn, input, records)
                })
            },
            |turns, at, fault, outputs| turns.dispose(Bad::record(&batch, at, received, fault), outputs),
        )
    }

    fn fire(&mut self, domain: TimeDomain, now: i64, outputs: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure> {
        let limit = self.turns.settings.batch_records;
        let due = self.turns.turn.due_timers(domain, now, limit).map_err(OperatorFailure::Error)?;
        if due.is_empty() {
            return Ok(false);
        }
        self.turns.count_fired_at_end(domain, now, due.len())?;
        let dropped_before = self.dropped_at_end();
        let every: Vec<u32> = due.keys.key_of.clone();
        self.turns.run(
            due.len(),
            outputs,
            |turns, range, outputs| {
                let part;
                let timers = if range.len() == due.len() {
                    &due
                } else {
                    // A turn that went before may have deleted some of them.
                    let taken = due.slice(range);
                    part = turns.turn.still_registered(domain, &taken).map_err(|refusal| refused(refusal.into()))?;
                    &part
                };
                turns.attempt_outputs(Some(&timers.keys), outputs, |guest, turn| {
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
            |turns, at, fault, outputs| {
                let (time, key) = (due.times[at], due.keys.distinct.value(every[at] as usize));
                let record = turns.counters.records_in;
                let kind = BadKind::TimerOrWindow;
                turns.dispose(Bad { value: &[], timestamp: time, key: Some(key), fault, record, kind }, outputs)?;
                turns.write(&due.keys, |turn| Ok(turn.delete_fired_timers(domain, &every[at..=at], &[time])?))
            },
        )?;
        if dropped_before == 0.0 && self.dropped_at_end() > 0.0 {
            let FunctionSettings { job, function, .. } = &self.turns.settings;
            let operator = &self.turns.turn.context.operator;
            tracing::warn!(target: "guest", %job, %operator, %function, "timers that are registered by timers at the end of the input are dropped");
        }
        Ok(true)
    }
}

#[cfg(test)]
#[path = "connected_tests.rs"]
mod connected_tests;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::clock::SystemClock;
    use crate::model::{Fault, FaultCode};
    use crate::operator::Operator;
    use crate::operator::testing::settings;
    use crate::pipeline::FaultPolicy;
    use crate::turn::{FIRST_INPUT, OutputBatch, TurnContext, TurnFailure};

    /// Fails on every record; cancels the job in its third turn.
    struct Failing {
        turns: u32,
        cancel: Arc<AtomicBool>,
    }

    impl Guest for Failing {
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
        let settings = settings(FaultPolicy::Skip, 1, 1024, SystemClock::shared());
        let settings = FunctionSettings { cancel: cancel.clone(), ..settings };
        let guest = Box::new(Failing { turns: 0, cancel });
        let turn = Turn::stateless(TurnContext::default());
        let mut operator = FunctionOperator::new(guest, turn, settings, Counters::default());
        let mut batch = Batch::default();
        (0..64).for_each(|at| batch.push(b"x", at));
        let ended = operator.process(FIRST_INPUT, batch, &mut Vec::new());
        assert!(matches!(ended, Err(OperatorFailure::Cancelled)), "{ended:?}");
    }
}
