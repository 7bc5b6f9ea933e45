//! The subtasks to which the coordinator sends barriers and the ends of checkpoints.

use crate::runtime::Barrier;

/// Receives the barriers of a job's checkpoints.
pub trait BarrierTarget {
    /// Injects a barrier into every source.
    fn inject(&self, barrier: Barrier);
    /// Lets an injected barrier overtake all records that it has not passed yet.
    fn overtake(&self, barrier: Barrier);
    /// Gives up the checkpoints up to `checkpoint`. Their barriers no longer block any channel.
    fn abandon(&self, checkpoint: u64);
    /// Tells every source that a checkpoint is durable.
    fn complete(&self, checkpoint: u64);
    /// Tells every source that all checkpoints before `oldest_retained` have been removed.
    fn release(&self, oldest_retained: u64);
}
