//! The API's view of the records that a tap shows.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A record that has passed a node.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TapRecord {
    /// The subtask of the node.
    pub subtask: u32,
    /// The input of a record that the node takes: `input` or `second`, which may be a broadcast input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The output of a record that the node emits: `main`, `late`, `dead-letter` or the name of a side output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Event time in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_ms: Option<i64>,
    /// The key, if the record has one. The start of a long one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The fields of a row; otherwise a text, or `hex:` and digits. Text if it is cut off.
    pub value: Value,
    /// Whether the value is cut off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
    /// Size of the value in bytes.
    pub bytes: u64,
}

/// What a tap has seen since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TapSummary {
    /// Records that have passed.
    pub passed: u64,
    /// Records that were sent.
    pub shown: u64,
    /// Records that were taken, but dropped because the client reads too slowly.
    pub dropped: u64,
}
