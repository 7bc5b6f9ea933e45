//! Barrier alignment: tracks which channels have delivered a barrier, and which channels are blocked until all have.
//!
//! With exactly-once, a channel that has delivered a barrier is not read until every channel has delivered it. A checkpoint
//! then holds exactly the records in front of its barriers. With at-least-once only savepoints block a channel.

use crate::clock::SharedClock;
use crate::pipeline::CheckpointMode;
use crate::runtime::barrier::{Barrier, BarrierKind};

/// A barrier that some channels have delivered.
struct PendingBarrier {
    barrier: Barrier,
    /// For each channel whether it has delivered the barrier.
    delivered: Vec<bool>,
    /// When the first channel delivered it, in monotonic nanoseconds.
    since_ns: u64,
}

/// A barrier that is passed on before all channels have delivered it.
pub(super) struct OvertakingBarrier {
    /// For each channel whether it has delivered the barrier.
    pub(super) delivered: Vec<bool>,
    /// When the first channel delivered it, or now if none has, in monotonic nanoseconds.
    pub(super) since_ns: u64,
}

/// The barriers that are being aligned.
pub(super) struct BarrierAlignment {
    channels: usize,
    mode: CheckpointMode,
    /// Oldest first.
    pending: Vec<PendingBarrier>,
    /// Checkpoint of the newest barrier that was passed on.
    last_passed: u64,
    clock: SharedClock,
}

impl BarrierAlignment {
    pub(super) fn new(channels: usize, mode: CheckpointMode, clock: SharedClock) -> BarrierAlignment {
        BarrierAlignment { channels, mode, pending: Vec::new(), last_passed: 0, clock }
    }

    /// Returns the checkpoint of the newest barrier that was passed on, or 0.
    pub(super) fn last_passed(&self) -> u64 {
        self.last_passed
    }

    /// Drops the barriers of the checkpoints up to `checkpoint`, and unblocks the channels that waited for them.
    pub(super) fn abandon(&mut self, checkpoint: u64) {
        self.pending.retain(|pending| pending.barrier.checkpoint > checkpoint);
    }

    /// Marks a barrier as delivered by a channel. If all channels have delivered it, passes it on and returns when the first
    /// one did, in monotonic nanoseconds. `abandoned` is the newest abandoned checkpoint.
    pub(super) fn deliver(&mut self, channel: usize, barrier: Barrier, abandoned: u64) -> Option<u64> {
        let checkpoint = barrier.checkpoint;
        // A sender that skips an older barrier has abandoned it.
        self.pending.retain(|pending| pending.barrier.checkpoint >= checkpoint || pending.delivered[channel]);
        let newest = self.pending.last().map_or(self.last_passed, |pending| pending.barrier.checkpoint);
        if checkpoint > newest.max(abandoned) {
            let delivered = vec![false; self.channels];
            self.pending.push(PendingBarrier { barrier, delivered, since_ns: self.clock.monotonic_ns() });
        }
        let index = self.pending.iter().position(|pending| pending.barrier.checkpoint == checkpoint)?;
        self.pending[index].delivered[channel] = true;
        if self.pending[index].delivered.iter().any(|delivered| !delivered) {
            return None;
        }
        self.last_passed = checkpoint;
        Some(self.pending.remove(index).since_ns)
    }

    /// Passes a barrier on at once, without waiting for the channels that have not delivered it.
    pub(super) fn overtake(&mut self, barrier: Barrier) -> OvertakingBarrier {
        // The job lets a barrier overtake only when all older checkpoints are over.
        let pending = self.pending.drain(..).find(|pending| pending.barrier.checkpoint == barrier.checkpoint);
        self.last_passed = barrier.checkpoint;
        match pending {
            Some(PendingBarrier { delivered, since_ns, .. }) => OvertakingBarrier { delivered, since_ns },
            None => OvertakingBarrier { delivered: vec![false; self.channels], since_ns: self.clock.monotonic_ns() },
        }
    }

    /// Returns whether a channel is blocked because others have not delivered a barrier yet.
    pub(super) fn is_blocked(&self, channel: usize) -> bool {
        let blocks = |kind| self.mode == CheckpointMode::ExactlyOnce || kind != BarrierKind::Checkpoint;
        self.pending.iter().any(|pending| pending.delivered[channel] && blocks(pending.barrier.kind))
    }
}
