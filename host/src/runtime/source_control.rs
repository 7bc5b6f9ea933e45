//! What the job tells its source subtasks, in order.

use super::barrier::Barrier;

/// A message of the job to a source subtask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceControl {
    /// Take the snapshots of a checkpoint.
    Barrier(Barrier),
    /// This checkpoint is durable. See [`Source::complete`].
    ///
    /// [`Source::complete`]: crate::connector::Source::complete
    Complete(u64),
    /// All checkpoints before this one have been removed. See [`Source::released`].
    ///
    /// [`Source::released`]: crate::connector::Source::released
    Released(u64),
}
