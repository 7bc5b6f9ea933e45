//! What flows between subtasks.

use crate::model::Batch;
use crate::operator::RejectedRecord;
use crate::pipeline::InputRole;
use crate::state::SnapshotFormat;

/// Why a barrier was injected; decides what happens behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierKind {
    Checkpoint,
    Savepoint,
    /// A savepoint, behind which the job stops.
    Stop,
    /// The same, with the largest watermark in front of it: all that waits for event time happens before.
    Drain,
    /// The sources have ended: the last checkpoint, behind which the job is finished.
    Final,
}

impl BarrierKind {
    /// Whether nothing comes behind the barrier.
    pub fn is_last(self) -> bool {
        matches!(self, BarrierKind::Stop | BarrierKind::Drain | BarrierKind::Final)
    }

    /// Whether the barrier is behind the end of event time, so that all that waits for it happens before.
    pub fn follows_the_end(self) -> bool {
        matches!(self, BarrierKind::Drain | BarrierKind::Final)
    }

    /// Whether a person asked for it to end the job.
    pub fn is_stop(self) -> bool {
        matches!(self, BarrierKind::Stop | BarrierKind::Drain)
    }

    pub fn is_savepoint(self) -> bool {
        matches!(self, BarrierKind::Savepoint | BarrierKind::Stop | BarrierKind::Drain)
    }
}

/// Divides the records of one checkpoint from those of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    pub checkpoint: u64,
    pub kind: BarrierKind,
    /// How the images of state are written.
    pub format: SnapshotFormat,
    /// When the job triggered it, by the monotonic clock.
    pub triggered_ns: u64,
}

#[derive(Debug)]
pub(super) enum Element {
    /// Records of one of the receiver's inputs.
    Batch(InputRole, Batch),
    /// A record that its consumer has to meet by its disposition.
    Rejected(Box<RejectedRecord>),
    /// No record with a smaller timestamp is expected behind it, in milliseconds.
    Watermark(i64),
    /// Whether the sender is idle: it holds event time up for nobody. It is active until it says so.
    Status {
        idle: bool,
    },
    Barrier(Barrier),
}
