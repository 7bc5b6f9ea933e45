//! What a subtask's thread shows of its progress.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The progress of a subtask's thread. Another thread reads it.
#[derive(Default)]
pub struct SubtaskActivity {
    /// Increased whenever the thread begins a step of its work, or a guest call passes a tick.
    beats: AtomicU64,
    /// Whether the thread waits for an event: input, a credit, a reader of its output, or a permit.
    is_waiting: AtomicBool,
    /// Time that the thread has waited for permits, in nanoseconds.
    permit_wait_ns: AtomicU64,
}

impl SubtaskActivity {
    /// Notes that the thread does not wait yet.
    pub(super) fn begin(&self) {
        self.is_waiting.store(false, Ordering::Relaxed);
    }

    /// Notes progress. Only the subtask's thread calls this.
    #[inline]
    pub(super) fn beat(&self) {
        self.beats.store(self.beats.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub(super) fn set_waiting(&self, is_waiting: bool) {
        self.is_waiting.store(is_waiting, Ordering::Relaxed);
        self.beat();
    }

    /// Counts time that the thread has waited for a permit.
    pub(super) fn add_permit_wait(&self, ns: u64) {
        self.permit_wait_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Returns the time that the thread has waited for permits, in nanoseconds, without a wait that lasts.
    pub fn permit_wait_ns(&self) -> u64 {
        self.permit_wait_ns.load(Ordering::Relaxed)
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
