//! The deadline of a call, in processor time of the thread that makes it.
//!
//! Wall-clock time would let one job make another's calls late. The thread's clock is a system call, so it is read only when
//! a tick of the engine falls into a call: a call begins by arming the next tick and nothing else. Time counts from the first
//! tick on. So a call has its deadline at least, and two ticks more at most.
//!
//! A cancel is heard at a tick too, whatever the deadline is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::{Store, UpdateDeadline};

use super::engine::TICK;
use super::instance::StoreData;
use crate::clock;

/// Ticks after which a call is looked at again, at the latest: so long a cancel goes unheard.
const LOOK_TICKS: u64 = 5;

/// See the module. Part of a store's data.
pub(super) struct Deadline {
    budget: Duration,
    /// What the thread's clock showed at the first tick of the call.
    counted_from: Option<Duration>,
    cancel: Arc<AtomicBool>,
    cancelled: bool,
}

impl Deadline {
    pub(super) fn new(cancel: Arc<AtomicBool>) -> Deadline {
        Deadline { budget: Duration::ZERO, counted_from: None, cancel, cancelled: false }
    }

    /// Has the store ask its deadline at ticks. Once per store.
    pub(super) fn install(store: &mut Store<StoreData>) {
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().deadline.tick(clock::thread_cpu_time())));
    }

    /// The next call may take `budget`.
    pub(super) fn begin(store: &mut Store<StoreData>, budget: Duration) {
        let deadline = &mut store.data_mut().deadline;
        deadline.budget = budget;
        deadline.counted_from = None;
        store.set_epoch_deadline(1);
    }

    /// Whether it was a cancel that ended the call.
    pub(super) fn was_cancelled(&self) -> bool {
        self.cancelled
    }

    /// A tick has come during the call; the thread's clock shows `now`.
    fn tick(&mut self, now: Duration) -> UpdateDeadline {
        if self.cancel.load(Ordering::Relaxed) {
            self.cancelled = true;
            return UpdateDeadline::Interrupt;
        }
        let from = *self.counted_from.get_or_insert(now);
        let left = self.budget.saturating_sub(now.saturating_sub(from));
        if left.is_zero() {
            return UpdateDeadline::Interrupt;
        }
        // Processor time passes no faster than the ticks do.
        let ticks = left.as_nanos().div_ceil(TICK.as_nanos());
        UpdateDeadline::Continue(u64::try_from(ticks).unwrap_or(u64::MAX).clamp(1, LOOK_TICKS))
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
    fn a_call_has_all_of_its_processor_time_however_long_that_takes() {
        let mut deadline = deadline(9);
        // The first tick may come at once: what the thread had used before is not the call's.
        assert_eq!(ticks(&mut deadline, 5_000_000), Some(1));
        // A thread that others keep from running uses nothing, tick after tick.
        for _ in 0..1000 {
            assert_eq!(ticks(&mut deadline, 5_000_100), Some(1));
        }
        assert_eq!(ticks(&mut deadline, 5_008_999), Some(1));
        assert_eq!(ticks(&mut deadline, 5_009_000), None);
    }

    #[test]
    fn a_long_deadline_is_looked_at_often_enough_for_a_cancel() {
        let mut deadline = deadline(u64::MAX / 4);
        assert_eq!(ticks(&mut deadline, 0), Some(LOOK_TICKS));
        deadline.cancel.store(true, Ordering::Relaxed);
        assert!(!deadline.was_cancelled());
        assert_eq!(ticks(&mut deadline, 1), None);
        assert!(deadline.was_cancelled());
    }
}
