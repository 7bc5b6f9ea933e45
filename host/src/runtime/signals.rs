//! What the job tells all subtasks of an attempt at once. They look between two turns, and while they wait for room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::runtime::stream_element::Barrier;

/// See the module.
#[derive(Default)]
pub(super) struct Signals {
    /// The attempt is over.
    pub(super) cancel: Arc<AtomicBool>,
    /// The newest barrier that overtakes records, and its checkpoint; 0 before the first.
    barrier: Mutex<Option<Barrier>>,
    overtaking: AtomicU64,
    abandoned: AtomicU64,
}

impl Signals {
    /// `cancel` may be set by others, too.
    pub(super) fn new(cancel: Arc<AtomicBool>) -> Signals {
        Signals { cancel, ..Signals::default() }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// From now on this barrier overtakes all records that are in front of it.
    pub(super) fn overtake(&self, barrier: Barrier) {
        *self.barrier.lock() = Some(barrier);
        self.overtaking.store(barrier.checkpoint, Ordering::Release);
    }

    /// The checkpoints up to this one are over: who has not answered one needs not to any more.
    pub(super) fn abandon(&self, checkpoint: u64) {
        self.abandoned.fetch_max(checkpoint, Ordering::Release);
    }

    /// The newest checkpoint that was abandoned; 0 where none was.
    pub(super) fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Whether a barrier overtakes records which `passed` has not let through yet: the newest that it has.
    pub(super) fn is_overtaking(&self, passed: u64) -> bool {
        let overtaking = self.overtaking.load(Ordering::Acquire);
        overtaking > passed && overtaking > self.abandoned()
    }

    /// That barrier.
    pub(super) fn overtaking(&self, passed: u64) -> Option<Barrier> {
        if self.is_overtaking(passed) { *self.barrier.lock() } else { None }
    }
}
