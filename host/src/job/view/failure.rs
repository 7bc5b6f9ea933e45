//! Why jobs and attempts failed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::Fault;

/// Why a job or an attempt failed. `job/failure.rs` has the conversions.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobFailure {
    /// An error code or a fault code of docs/errors.md.
    pub code: String,
    /// Describes the failure.
    pub message: String,
    /// Id of the node that failed, if a subtask did.
    pub operator: Option<String>,
    /// Index of the subtask that failed, if one did.
    #[serde(default)]
    pub subtask: Option<u32>,
    /// The function's own fault, if one caused the failure.
    #[schema(value_type = Option<Object>)]
    pub fault: Option<Box<Fault>>,
    /// The record on which the function failed.
    #[serde(default)]
    pub record: Option<Box<FailedRecordView>>,
}

/// What followed a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureOutcome {
    /// All nodes restarted from the newest checkpoint.
    Restart,
    /// The region of the failed node restarted from the newest checkpoint. The other nodes kept running.
    RegionRestart,
    /// The job failed.
    Failed,
}

impl FailureOutcome {
    /// Returns the outcome as in the HTTP API.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureOutcome::Restart => "restart",
            FailureOutcome::RegionRestart => "region-restart",
            FailureOutcome::Failed => "failed",
        }
    }
}

/// One failure in the history of a job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PastFailure {
    /// When the attempt failed, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Number of the attempt, from 1. It counts the starts and restarts of the job in all processes.
    pub attempt: u32,
    /// What followed.
    pub outcome: FailureOutcome,
    /// An error code or a fault code of docs/errors.md.
    pub code: String,
    /// Describes the failure. A long text is shortened.
    pub message: String,
    /// Id of the node that failed, if a subtask did.
    pub operator: Option<String>,
    /// Index of the subtask that failed, if one did.
    pub subtask: Option<u32>,
}

/// The record, timer or window on which a function failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailedRecordView {
    /// Index of the subtask.
    pub subtask: u32,
    /// Number of records that the subtask had received before it.
    pub record: u64,
    /// Event time in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// The key, shortened to one line. A key that is not text is shown as `hex:` and digits.
    pub key: Option<String>,
    /// The value, shortened to one line, or as `hex:` and digits if it is not text. For a window it holds the bounds;
    /// for a timer it is empty.
    pub value: String,
    /// Where the record came from, if known: a line of a file, or the number of a source's record.
    pub origin: Option<String>,
    /// Path of the input file, if known.
    pub file: Option<String>,
    /// Line within `file`, if known.
    pub line: Option<u64>,
    /// Hash that identifies the record across attempts.
    #[serde(skip)]
    pub(in crate::job) fingerprint: Option<u64>,
}
