//! The API's view of checkpoints, savepoints and requests for them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A checkpoint or savepoint.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckpointSummary {
    /// The checkpoint's number within its job.
    pub id: u64,
    /// `checkpoint`, `savepoint` or `final`.
    pub kind: String,
    /// `in-progress`, `completed` or `failed`.
    pub status: String,
    /// Milliseconds since the Unix epoch.
    pub triggered_at_ms: i64,
    /// Milliseconds from the trigger until the checkpoint metadata was durable.
    pub duration_ms: Option<u64>,
    /// Totals over all operators.
    #[serde(flatten)]
    pub total: CheckpointStats,
    /// Why the checkpoint failed.
    pub failure: Option<String>,
    /// Folder of the checkpoint, once completed.
    pub location: Option<String>,
}

/// Times and bytes that a checkpoint took, for one subtask or in total. A total has the longest times and the sum of
/// the bytes. All values are zero until the checkpoint is complete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointStats {
    /// Milliseconds from the trigger until the subtask's files were stored.
    pub end_to_end_ms: f64,
    /// Milliseconds from the trigger until the subtask received the first barrier.
    pub start_delay_ms: f64,
    /// Milliseconds from the first barrier until all inputs had delivered theirs.
    pub alignment_ms: f64,
    /// Milliseconds of the synchronous part, during which the subtask processed no records.
    pub sync_ms: f64,
    /// Milliseconds of the asynchronous part: writing and uploading while records were processed.
    pub async_ms: f64,
    /// Size in bytes of all files that the checkpoint refers to.
    pub bytes: u64,
    /// Bytes that this checkpoint uploaded.
    pub bytes_uploaded: u64,
    /// Bytes of records that the barrier overtook. They are included in `bytes`.
    pub in_flight_bytes: u64,
    /// Whether the barrier was unaligned: it overtook all records that had not been processed.
    pub unaligned: bool,
}

impl CheckpointStats {
    /// Returns the total of several subtasks or operators.
    pub(in crate::job) fn total<'a>(all: impl IntoIterator<Item = &'a CheckpointStats>) -> CheckpointStats {
        all.into_iter().fold(CheckpointStats::default(), |total, one| CheckpointStats {
            end_to_end_ms: total.end_to_end_ms.max(one.end_to_end_ms),
            start_delay_ms: total.start_delay_ms.max(one.start_delay_ms),
            alignment_ms: total.alignment_ms.max(one.alignment_ms),
            sync_ms: total.sync_ms.max(one.sync_ms),
            async_ms: total.async_ms.max(one.async_ms),
            bytes: total.bytes + one.bytes,
            bytes_uploaded: total.bytes_uploaded + one.bytes_uploaded,
            in_flight_bytes: total.in_flight_bytes + one.in_flight_bytes,
            unaligned: total.unaligned || one.unaligned,
        })
    }
}

/// A checkpoint with the contribution of each operator, which is empty until the checkpoint is complete.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckpointDetail {
    /// The checkpoint itself.
    #[serde(flatten)]
    pub summary: CheckpointSummary,
    /// The nodes in the pipeline's order.
    pub operators: Vec<OperatorCheckpoint>,
}

/// The contribution of one node to a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OperatorCheckpoint {
    /// The node's id in the pipeline.
    pub id: String,
    /// The version of an operator that the checkpoint records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<OperatorVersionView>,
    /// Totals over the node's subtasks.
    #[serde(flatten)]
    pub total: CheckpointStats,
    /// One entry for each subtask, in order.
    pub subtasks: Vec<CheckpointStats>,
}

/// The version of an operator: its code, its settings, and the types of its keys and inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperatorVersionView {
    /// `sha256:` and the hash of the component. Not set if the function is part of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Name of the function.
    pub function: String,
    /// Hash of the operator's settings in the pipeline file.
    pub settings_hash: String,
    /// Number of the version: 1 for the first one. A restore with another component, function or settings begins the next one.
    pub generation: u32,
    /// The type of the keys, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
    /// The schema of the rows that each input reads. `null` for an input that reads raw bytes or JSON.
    pub inputs: Vec<Option<String>>,
}

/// The format in which a savepoint stores state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SavepointFormat {
    /// Any state backend can restore it.
    #[default]
    Canonical,
    /// The format of the backend's own checkpoints: fast to take, and fast to restore with the same backend.
    Native,
}

/// An asynchronous request for a savepoint or a checkpoint. Clients poll it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SavepointView {
    /// Identifies the request.
    pub request_id: String,
    /// `in-progress`, `completed` or `failed`.
    pub status: String,
    /// The folder of the savepoint or checkpoint, once completed.
    pub location: Option<String>,
    /// Why the request failed.
    pub failure: Option<String>,
}

impl SavepointView {
    /// The status of a request without an answer.
    pub(in crate::job) const IN_PROGRESS: &str = "in-progress";

    /// A request that has just been accepted.
    pub(in crate::job) fn in_progress(request_id: &str) -> SavepointView {
        SavepointView {
            request_id: request_id.to_owned(),
            status: SavepointView::IN_PROGRESS.to_owned(),
            location: None,
            failure: None,
        }
    }

    /// The answer to a request whose checkpoint or savepoint is complete.
    pub(in crate::job) fn completed(request_id: &str, location: Option<String>) -> SavepointView {
        SavepointView { status: "completed".to_owned(), location, ..SavepointView::in_progress(request_id) }
    }

    /// The answer to a request that failed. `location` is set if the savepoint is complete but its output is not
    /// committed.
    pub(in crate::job) fn failed(request_id: &str, location: Option<String>, failure: String) -> SavepointView {
        let failure = Some(failure);
        SavepointView { status: "failed".to_owned(), location, failure, ..SavepointView::in_progress(request_id) }
    }
}

/// A savepoint that exists in the storage.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StoredSavepoint {
    /// The savepoint's checkpoint number within its job.
    pub id: u64,
    /// The savepoint's folder: a path, or `s3://bucket/folder`.
    pub location: String,
    /// Milliseconds since the Unix epoch. `None` if the savepoint is damaged.
    pub taken_at_ms: Option<i64>,
    /// Size in bytes of all its files. `None` if the savepoint is damaged.
    pub bytes: Option<u64>,
    /// Why the savepoint cannot be read.
    pub failure: Option<String>,
}
