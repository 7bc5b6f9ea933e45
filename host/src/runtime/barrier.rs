//! Checkpoint barriers, which separate the records of one checkpoint from those of the next.
//!
//! Must not depend on anything else in the runtime: the job creates barriers too.

use crate::state::SnapshotFormat;

/// Why a barrier was injected. It decides what happens after the barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierKind {
    /// A checkpoint that the schedule asked for.
    Checkpoint,
    /// A savepoint that a user asked for.
    Savepoint,
    /// A savepoint after which the job stops.
    Stop,
    /// Like `Stop`, but the largest watermark comes before the barrier, so that all timers and windows fire first.
    Drain,
    /// The last checkpoint of a job whose sources have all ended. The job finishes after it.
    Final,
}

impl BarrierKind {
    /// Returns whether the subtasks end after the barrier.
    pub fn is_last(self) -> bool {
        matches!(self, BarrierKind::Stop | BarrierKind::Drain | BarrierKind::Final)
    }

    /// Returns whether the barrier comes after the end of event time, and so after all timers and windows have fired.
    pub fn follows_end_of_event_time(self) -> bool {
        matches!(self, BarrierKind::Drain | BarrierKind::Final)
    }

    /// Returns whether a user asked for the barrier in order to end the job.
    pub fn is_stop(self) -> bool {
        matches!(self, BarrierKind::Stop | BarrierKind::Drain)
    }

    /// Returns whether the barrier takes a savepoint.
    pub fn is_savepoint(self) -> bool {
        matches!(self, BarrierKind::Savepoint | BarrierKind::Stop | BarrierKind::Drain)
    }
}

/// Separates the records of one checkpoint from those of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// Id of the checkpoint. Ids of later checkpoints are larger.
    pub checkpoint: u64,
    /// Why the barrier was injected.
    pub kind: BarrierKind,
    /// Format of the state snapshots.
    pub format: SnapshotFormat,
    /// When the job triggered the checkpoint, in monotonic nanoseconds.
    pub triggered_ns: u64,
}
