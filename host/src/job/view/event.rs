//! The API's view of the history of a job.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status::JobStatus;

/// What kind of event happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobEventKind {
    /// The job has another status.
    Status,
    /// An attempt of the job or of a region began.
    Attempt,
    /// The job or a region failed. `message` says what followed.
    Failure,
    /// A checkpoint is complete.
    CheckpointCompleted,
    /// A checkpoint failed.
    CheckpointFailed,
    /// A savepoint is complete.
    SavepointCompleted,
    /// A savepoint failed.
    SavepointFailed,
    /// A stop with a savepoint was requested.
    StopRequested,
    /// A warning was added to the job.
    Warning,
    /// An event of a later version.
    #[serde(other)]
    Other,
}

impl JobEventKind {
    /// Returns the name that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            JobEventKind::Status => "status",
            JobEventKind::Attempt => "attempt",
            JobEventKind::Failure => "failure",
            JobEventKind::CheckpointCompleted => "checkpoint-completed",
            JobEventKind::CheckpointFailed => "checkpoint-failed",
            JobEventKind::SavepointCompleted => "savepoint-completed",
            JobEventKind::SavepointFailed => "savepoint-failed",
            JobEventKind::StopRequested => "stop-requested",
            JobEventKind::Warning => "warning",
            JobEventKind::Other => "other",
        }
    }
}

/// One event in the history of a job. The history outlives the process and keeps the newest 16 MiB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobEvent {
    /// Number of the event within its job, from 1.
    pub number: u64,
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What happened.
    pub kind: JobEventKind,
    /// Describes the event. A long text is shortened.
    pub message: String,
    /// The new status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<JobStatus>,
    /// Number of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// An error code or a fault code of docs/errors.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Id of the node that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Index of the subtask that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtask: Option<u32>,
    /// Id of the checkpoint, or of the one that was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    /// Milliseconds that a checkpoint took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Size of all files of a checkpoint, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl JobEvent {
    /// An event without details. The history gives it its number and its time.
    pub fn new(kind: JobEventKind, message: impl Into<String>) -> JobEvent {
        JobEvent {
            number: 0,
            at_ms: 0,
            kind,
            message: message.into(),
            status: None,
            attempt: None,
            code: None,
            operator: None,
            subtask: None,
            checkpoint: None,
            duration_ms: None,
            bytes: None,
        }
    }
}

/// A part of the history of a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct JobEventPage {
    /// The events, oldest first.
    pub events: Vec<JobEvent>,
    /// Number of the oldest event that is kept. Not set if there are none.
    pub oldest: Option<u64>,
    /// Number of the newest event.
    pub newest: Option<u64>,
}
