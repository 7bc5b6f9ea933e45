//! The subtasks to which the coordinator sends barriers.

use crate::runtime::Barrier;

/// Receives the barriers of a job's checkpoints.
pub trait BarrierTarget {
    /// Injects a barrier into every source.
    fn inject(&self, barrier: Barrier);
    /// Lets an injected barrier overtake all records that it has not passed yet.
    fn overtake(&self, barrier: Barrier);
    /// Gives up the checkpoints up to `checkpoint`. Their barriers no longer block any channel.
    fn abandon(&self, checkpoint: u64);
}
