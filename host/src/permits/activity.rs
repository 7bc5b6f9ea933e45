//! What a subtask's thread shows of its progress.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The progress of a subtask's thread. Another thread reads it.
#[derive(Default)]
pub struct SubtaskActivity {
    /// Increased whenever the thread begins a step of its work, or a guest call passes a tick.
    beats: AtomicU64,
    /// Whether the thread waits for an event: input, a credit, a reader of its output, or a permit.
    is_waiting: AtomicBool,
}

impl SubtaskActivity {
    /// Notes progress. Only the subtask's thread calls this.
    #[inline]
    pub(super) fn beat(&self) {
        self.beats.store(self.beats.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub(super) fn set_waiting(&self, is_waiting: bool) {
        self.is_waiting.store(is_waiting, Ordering::Relaxed);
        self.beat();
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
