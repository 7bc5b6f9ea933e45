//! The events that a subtask reports to the job.

use std::sync::Arc;

use crate::runtime::subtask_failure::SubtaskFailure;
use crate::runtime::subtask_snapshot::SubtaskSnapshot;

/// An event that a subtask reports to the job.
pub enum SubtaskEvent {
    /// The subtask has taken its snapshots for a checkpoint, one for each node of its chain.
    Acknowledged { checkpoint: u64, snapshots: Vec<SubtaskSnapshot> },
    /// The subtask has opened and restored everything that it needs, and runs.
    Opened,
    /// A source subtask has reached the end of its input. It still answers barriers.
    SourceEnded,
    /// A record-count or event-time trigger fired: a checkpoint is due.
    CheckpointDue,
    /// Records were lost since the subtask published its statistics before: they were late, skipped, undecodable or without
    /// a timestamp.
    RecordsLost,
    /// The subtask has failed and ended.
    Failed(Box<SubtaskFailure>),
    /// A source failed after it had emitted records. It reads no more, but still answers barriers, so that a checkpoint can
    /// hold these records.
    SourceFailed(Box<SubtaskFailure>),
    /// A warning for the user, such as a source without timestamps.
    Warning(String),
}

/// Receives the events of all subtasks of an attempt, on the thread of the subtask.
pub type SubtaskEventListener = Arc<dyn Fn(SubtaskEvent) + Send + Sync>;
