//! Limits the steps that a node takes before the subtask looks at its input again, so that barriers and cancels are handled.
//!
//! A step is at most one turn over a full batch of timers.

use crate::clock::Clock;

/// Largest number of steps.
const STEPS_MAX: u32 = 64;

/// Largest time for all steps, in nanoseconds. A guest may be slow.
const STEPS_NS: u64 = 10_000_000;

/// The steps that are left.
pub(super) struct StepBudget {
    left: u32,
    deadline_ns: u64,
}

impl StepBudget {
    pub(super) fn new(clock: &dyn Clock) -> StepBudget {
        StepBudget { left: STEPS_MAX, deadline_ns: clock.monotonic_ns().saturating_add(STEPS_NS) }
    }

    /// Uses up one step. Returns whether another one is allowed.
    pub(super) fn use_step(&mut self, clock: &dyn Clock) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0 && clock.monotonic_ns() < self.deadline_ns
    }
}
