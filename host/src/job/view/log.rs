//! The API's view of the log lines of a job.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Log lines of a job, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    /// The lines.
    pub lines: Vec<LogLineView>,
    /// Value of `after` for the lines that follow.
    pub next: u64,
    /// Whether lines behind `after` are not kept any more.
    pub has_gap: bool,
    /// Number of lines of the functions that were suppressed since the process started the job, because of a limit.
    pub suppressed: u64,
    /// Whether the job has ended, so that no lines follow.
    pub ended: bool,
}

/// A log line of a function, or of the server about a function or a job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogLineView {
    /// Orders the lines of a job.
    pub number: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// The operator, or the source or sink. Not set if the line is about the whole job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The subtask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtask: Option<u32>,
    /// Index in its batch of the record that the line is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// Code of the fault that the line is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Number of lines that were suppressed before this one.
    #[serde(default)]
    pub suppressed: u64,
    /// The text, without secrets. It may have several lines.
    pub message: String,
}

/// The level of an operator's log lines.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogLevelView {
    /// The operator.
    pub operator: String,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`. Less severe lines are not written.
    pub level: String,
    /// Whether the level was set by a request. The end of the process resets it.
    pub is_set: bool,
}
