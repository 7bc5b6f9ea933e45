//! What a subtask's thread shows of its progress.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::time_ledger::{LedgerState, ThreadTimes, TimeLedger, WaitReason};
use crate::clock::SharedClock;

/// The progress of a subtask's thread. Another thread reads it.
pub struct SubtaskActivity {
    /// Increased whenever the thread begins a step of its work, or a guest call passes a tick.
    beats: AtomicU64,
    /// Whether the thread waits for an event: input, a credit, a reader of its output, or a permit.
    is_waiting: AtomicBool,
    times: TimeLedger,
}

impl SubtaskActivity {
    /// Creates the progress of a thread that runs this many nodes.
    pub fn new(clock: SharedClock, nodes: usize) -> SubtaskActivity {
        SubtaskActivity {
            beats: AtomicU64::new(0),
            is_waiting: AtomicBool::new(false),
            times: TimeLedger::new(clock, nodes),
        }
    }

    /// Notes that the thread does not wait yet.
    pub(super) fn begin(&self) {
        self.is_waiting.store(false, Ordering::Relaxed);
        self.times.enter(LedgerState::BUSY);
    }

    /// Notes that the thread has ended.
    pub(super) fn end(&self) {
        self.set_waiting(true);
        self.times.enter(LedgerState::OFF);
    }

    /// Notes progress. Only the subtask's thread calls this.
    #[inline]
    pub(super) fn beat(&self) {
        self.beats.store(self.beats.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    fn set_waiting(&self, is_waiting: bool) {
        self.is_waiting.store(is_waiting, Ordering::Relaxed);
        self.beat();
    }

    /// Notes that the thread begins to wait.
    pub(super) fn begin_wait(&self, reason: WaitReason) {
        self.set_waiting(true);
        self.times.enter(LedgerState::waiting_for(reason));
    }

    /// Notes that a wait has ended.
    pub(super) fn end_wait(&self) {
        self.times.enter(LedgerState::BUSY);
        self.set_waiting(false);
    }

    /// Waits for a permit by `wait`. What the thread did before goes on afterwards.
    pub(super) fn while_throttled(&self, wait: impl FnOnce()) {
        let was_waiting = self.is_waiting();
        self.set_waiting(true);
        let before = self.times.enter(LedgerState::THROTTLED);
        wait();
        self.times.enter(before);
        self.set_waiting(was_waiting);
    }

    /// Notes that another node of the thread's chain works from now on. Only the subtask's thread calls this.
    pub fn enter_node(&self, node: usize) {
        self.times.enter_node(node);
    }

    /// Returns what the thread has done with its time.
    pub fn times(&self) -> ThreadTimes {
        self.times.read()
    }

    /// Returns a number that changes with each step of the thread.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Returns whether the thread waits for an event. A thread that waits need not make progress.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Default for SubtaskActivity {
    fn default() -> SubtaskActivity {
        SubtaskActivity::new(crate::clock::SystemClock::shared(), 1)
    }
}
