//! The signals that the job sends to all subtasks of an attempt: cancel, overtake, abandon.
//!
//! A subtask checks them between two turns and while it waits. All of them are atomics, so that a check is cheap. A signal also
//! wakes every subscribed subtask.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::model::Interrupt;
use crate::runtime::barrier::Barrier;
use crate::wakeup::Wakeup;

/// The subtask must end: the attempt is being cancelled, or a neighbouring subtask is gone.
#[derive(Debug)]
pub(crate) struct SubtaskCancelled;

/// Signals shared by all subtasks of an attempt.
#[derive(Default)]
pub(crate) struct AttemptSignals {
    /// Set when the attempt is over. Wakes all subtasks.
    interrupt: Interrupt,
    /// The newest barrier that overtakes records.
    overtaking_barrier: Mutex<Option<Barrier>>,
    /// Checkpoint of `overtaking_barrier`; 0 before the first one.
    overtaking_checkpoint: AtomicU64,
    /// All checkpoints up to this one have been given up or completed.
    abandoned_checkpoint: AtomicU64,
}

impl AttemptSignals {
    /// Creates signals that are cancelled by `interrupt`.
    pub(crate) fn new(interrupt: Interrupt) -> AttemptSignals {
        AttemptSignals { interrupt, ..AttemptSignals::default() }
    }

    /// Wakes a subtask with each signal.
    pub(crate) fn subscribe(&self, wakeup: &Wakeup) {
        self.interrupt.subscribe(wakeup);
    }

    /// Ends all subtasks.
    pub(crate) fn cancel(&self) {
        self.interrupt.set();
    }

    /// Wakes all subtasks without a signal.
    pub(crate) fn wake_all(&self) {
        self.interrupt.wake_subscribers();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.interrupt.is_set()
    }

    /// Lets `barrier` overtake all records before it.
    pub(crate) fn overtake(&self, barrier: Barrier) {
        *self.overtaking_barrier.lock() = Some(barrier);
        self.overtaking_checkpoint.store(barrier.checkpoint, Ordering::Release);
        self.interrupt.wake_subscribers();
    }

    /// Declares the checkpoints up to `checkpoint` over. Subtasks need not acknowledge them any more.
    pub(crate) fn abandon(&self, checkpoint: u64) {
        self.abandoned_checkpoint.fetch_max(checkpoint, Ordering::Release);
        self.interrupt.wake_subscribers();
    }

    /// Returns the newest abandoned checkpoint, or 0 if there is none.
    pub(crate) fn abandoned(&self) -> u64 {
        self.abandoned_checkpoint.load(Ordering::Acquire)
    }

    /// Returns whether a barrier newer than `passed` overtakes records. `passed` is the newest barrier of the caller.
    pub(crate) fn is_overtaking(&self, passed: u64) -> bool {
        let overtaking = self.overtaking_checkpoint.load(Ordering::Acquire);
        overtaking > passed && overtaking > self.abandoned()
    }

    /// Returns the barrier that overtakes records, if [`AttemptSignals::is_overtaking`].
    pub(crate) fn overtaking(&self, passed: u64) -> Option<Barrier> {
        if self.is_overtaking(passed) { *self.overtaking_barrier.lock() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::testing::checkpoint_barrier;

    #[test]
    fn an_abandoned_barrier_overtakes_nothing() {
        let signals = AttemptSignals::default();
        signals.overtake(checkpoint_barrier(2));
        assert!(signals.is_overtaking(1) && !signals.is_overtaking(2));
        signals.abandon(2);
        assert!(!signals.is_overtaking(1));
    }

    #[test]
    fn every_signal_wakes_a_waiting_subtask() {
        let (signals, subtask) = (AttemptSignals::default(), Wakeup::default());
        signals.subscribe(&subtask);
        let all: [&dyn Fn(); 3] =
            [&|| signals.overtake(checkpoint_barrier(1)), &|| signals.abandon(1), &|| signals.cancel()];
        for signal in all {
            signal();
            subtask.wait(Duration::MAX);
        }
    }
}
