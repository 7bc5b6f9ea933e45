//! Tries an item again on which a function has failed (`on_fault = "retry"`).
//!
//! The subtask waits, and everything behind the item with it. So the later records of its key keep their order.
//! Invariant: a retry is a turn of its own; the turn that failed has left nothing.

use std::sync::Arc;
use std::time::Duration;

use super::runner::TurnRunner;
use crate::model::Fault;
use crate::operator::failure::{OperatorFailure, TurnOutcome};
use crate::operator::faults::retry::{RETRIED, RETRIES, RetryPolicy};

impl TurnRunner {
    /// Runs a turn over one failed item again, as often as the settings say. Returns the last outcome.
    pub(in crate::operator) fn retry_item<T>(
        &mut self,
        fault: Fault,
        mut run: impl FnMut(&mut TurnRunner) -> Result<TurnOutcome<T>, OperatorFailure>,
    ) -> Result<TurnOutcome<T>, OperatorFailure> {
        let Some(policy) = self.settings.retry.clone() else { return Ok(TurnOutcome::RolledBack(fault)) };
        let (mut fault, retry) = (fault, policy.retry);
        for attempt in 1..=retry.attempts {
            self.wait_for_retry(&policy, retry.wait_before(attempt))?;
            match run(self)? {
                TurnOutcome::Committed(value) => {
                    self.count_retries(u64::from(attempt), true)?;
                    return Ok(TurnOutcome::Committed(value));
                }
                TurnOutcome::RolledBack(next) => fault = next,
            }
            self.note_fault(&fault);
        }
        self.count_retries(u64::from(retry.attempts), false)?;
        Ok(TurnOutcome::RolledBack(fault))
    }

    /// Waits for `time`. Error: [`OperatorFailure::Cancelled`] if the job is cancelled in the meantime.
    fn wait_for_retry(&self, policy: &RetryPolicy, time: Duration) -> Result<(), OperatorFailure> {
        let clock = &self.settings.clock;
        let until_ns = clock.monotonic_ns().saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        loop {
            self.check_cancelled()?;
            match until_ns.saturating_sub(clock.monotonic_ns()) {
                0 => return Ok(()),
                left_ns => policy.wakeup.wait(Duration::from_nanos(left_ns)),
            }
        }
    }

    fn count_retries(&mut self, retries: u64, has_succeeded: bool) -> Result<(), OperatorFailure> {
        self.run_host_turn(&Arc::default(), |turn| {
            turn.count(RETRIES, retries);
            turn.count(RETRIED, u64::from(has_succeeded));
            Ok(())
        })
    }
}
