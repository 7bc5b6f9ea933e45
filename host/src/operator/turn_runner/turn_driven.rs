//! Operators driven by a [`TurnRunner`].
//!
//! Such an operator sees one watermark and one batch at a time. `operator_impl.rs` does the rest.

use super::runner::TurnRunner;
use crate::model::{Batch, TimeDomain};
use crate::operator::failure::OperatorFailure;
use crate::turn::OutputBatch;

/// An operator whose work is a sequence of turns.
pub(in crate::operator) trait TurnDriven: Send {
    fn runner(&self) -> &TurnRunner;
    fn runner_mut(&mut self) -> &mut TurnRunner;

    /// Processes a batch of an input. The counter `records_in` still excludes this batch.
    fn process_batch(
        &mut self,
        input: u32,
        batch: Batch,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<(), OperatorFailure>;

    /// Fires the timers of a clock that has reached `now`, at most as many as one turn handles. Returns whether more may be due.
    ///
    /// `i64::MAX` is the end of the input. A timer that the function registers while its timers fire is then dropped: otherwise a
    /// timer that renews itself would keep the input from ending.
    fn fire_timers(
        &mut self,
        domain: TimeDomain,
        now: i64,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<bool, OperatorFailure>;

    /// The order in which the timers of the two clocks fire at the end of the input.
    fn clocks_at_end(&self) -> [TimeDomain; 2] {
        [TimeDomain::Event, TimeDomain::Processing]
    }
}
