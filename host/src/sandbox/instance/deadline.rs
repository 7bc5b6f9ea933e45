//! The deadline of a call, in processor time of the calling thread.
//!
//! With wall-clock time, one job could make the calls of another exceed their deadline. Reading the thread's clock is a
//! system call, so it is read only when a tick of the engine falls into a call. Starting a call only arms the next tick.
//! Time counts from the first tick, so a call gets at least its deadline and at most two ticks more.
//!
//! Each tick also checks for a cancel, whatever the deadline is, and lets another job use the processor if it is its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::UpdateDeadline;

/// The deadline of the current call. Part of a store's data.
pub(in crate::sandbox) struct Deadline {
    budget: Duration,
    /// The thread's processor time at the first tick of the call.
    counted_from: Option<Duration>,
    cancel: Arc<AtomicBool>,
    cancelled: bool,
}

impl Deadline {
    pub(in crate::sandbox) fn new(cancel: Arc<AtomicBool>) -> Deadline {
        Deadline { budget: Duration::ZERO, counted_from: None, cancel, cancelled: false }
    }

    /// Sets the processor time of the next call.
    pub(in crate::sandbox) fn begin(&mut self, budget: Duration) {
        self.budget = budget;
        self.counted_from = None;
    }

    /// Returns whether a cancel ended the call.
    pub(in crate::sandbox) fn was_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Handles a tick during a call. `now` is the thread's processor time.
    pub(in crate::sandbox) fn tick(&mut self, now: Duration) -> UpdateDeadline {
        if self.cancel.load(Ordering::Relaxed) {
            self.cancelled = true;
            return UpdateDeadline::Interrupt;
        }
        let from = *self.counted_from.get_or_insert(now);
        let left = self.budget.saturating_sub(now.saturating_sub(from));
        if left.is_zero() {
            return UpdateDeadline::Interrupt;
        }
        UpdateDeadline::Continue(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline(budget_ms: u64) -> Deadline {
        Deadline { budget: Duration::from_millis(budget_ms), ..Deadline::new(Arc::default()) }
    }

    fn ticks(deadline: &mut Deadline, now_us: u64) -> Option<u64> {
        match deadline.tick(Duration::from_micros(now_us)) {
            UpdateDeadline::Continue(ticks) => Some(ticks),
            _ => None,
        }
    }

    #[test]
    fn a_call_gets_all_of_its_processor_time_however_long_that_takes() {
        let mut deadline = deadline(9);
        // The first tick may come at once. Processor time before it does not count.
        assert_eq!(ticks(&mut deadline, 5_000_000), Some(1));
        // A thread that does not get a core uses no processor time.
        for _ in 0..1000 {
            assert_eq!(ticks(&mut deadline, 5_000_100), Some(1));
        }
        assert_eq!(ticks(&mut deadline, 5_008_999), Some(1));
        assert_eq!(ticks(&mut deadline, 5_009_000), None);
    }

    #[test]
    fn a_long_deadline_does_not_delay_a_cancel() {
        let mut deadline = deadline(u64::MAX / 4);
        assert_eq!(ticks(&mut deadline, 0), Some(1));
        deadline.cancel.store(true, Ordering::Relaxed);
        assert!(!deadline.was_cancelled());
        assert_eq!(ticks(&mut deadline, 1), None);
        assert!(deadline.was_cancelled());
    }
}
