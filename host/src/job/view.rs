//! What a person sees of jobs, components and checkpoints: plain data that the HTTP API writes as JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::Fault;
use crate::state::{StateDescription, StateLayout, TimeToLive};

/// The life cycle of a job, in Flink's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Submitted, or found again at the server's start; its subtasks are not up yet.
    Created,
    /// Its state is read from a checkpoint or savepoint, and its sources find the place where they go on.
    Restoring,
    Running,
    /// A subtask failed; the restart strategy's delay runs.
    Restarting,
    /// A stop was asked for: the savepoint is being taken.
    Stopping,
    Cancelling,
    /// Its sources ended, and everything is committed.
    Finished,
    /// Stopped with a savepoint.
    Stopped,
    Cancelled,
    Failed,
}

impl JobStatus {
    /// Goes on to a status of an attempt that begins, unless the job's end was asked for meanwhile.
    pub fn advance(&mut self, to: JobStatus) {
        if matches!(self, JobStatus::Created | JobStatus::Restoring | JobStatus::Running | JobStatus::Restarting) {
            *self = to;
        }
    }

    /// Whether the job will never run again.
    pub fn is_final(self) -> bool {
        matches!(self, JobStatus::Finished | JobStatus::Stopped | JobStatus::Cancelled | JobStatus::Failed)
    }
}

/// One line of the list of jobs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobSummary {
    pub id: String,
    pub name: String,
    pub status: JobStatus,
    /// Milliseconds since the Unix epoch.
    pub submitted_at_ms: i64,
    /// When it reached its final status.
    pub ended_at_ms: Option<i64>,
    /// How often it was restarted after a failure, since it was submitted.
    pub restarts: u32,
    /// Records that its sources have read and that count in the state as it is now.
    pub records_in: u64,
    /// Records that its operators have dropped as late.
    #[serde(default)]
    pub records_late: u64,
    /// Records that its operators have dropped by `on_fault = "skip"`.
    #[serde(default)]
    pub records_skipped: u64,
    /// Records that its operators have sent to their dead letters.
    #[serde(default)]
    pub records_dead_lettered: u64,
    /// Records whose timestamp its sources could not read.
    #[serde(default)]
    pub records_without_timestamp: u64,
    /// The newest complete checkpoint.
    pub last_checkpoint: Option<u64>,
    /// The checkpoint that the subtasks began with; none where they began from the start, or are not up yet.
    pub restored_checkpoint: Option<u64>,
}

/// A job with everything that the API shows of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobDetail {
    #[serde(flatten)]
    pub summary: JobSummary,
    /// Why it failed, or why it was restarted last.
    pub failure: Option<JobFailure>,
    /// What the pipeline promises: `exactly-once`, or why less, per source and sink.
    pub guarantee: String,
    /// What a person should know: about the pipeline, found at submit, and of records that were lost, by the counts as they are.
    pub warnings: Vec<String>,
    pub operators: Vec<OperatorDetail>,
    pub state_bytes: u64,
    pub state_entries: u64,
    /// The manifest as it was submitted.
    pub manifest: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobFailure {
    /// An error code or a fault code of docs/errors.md.
    pub code: String,
    pub message: String,
    /// The operator whose record failed, where one did.
    pub operator: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub fault: Option<Box<Fault>>,
    /// What the function failed on.
    #[serde(default)]
    pub record: Option<Box<FailedRecordView>>,
}

/// The record, timer or window on which a function failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailedRecordView {
    pub subtask: u32,
    /// How many records the subtask had received before it.
    pub record: u64,
    /// Event time in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// Cut to one line; `hex:` and digits where it is no text.
    pub key: Option<String>,
    /// Cut to one line; `hex:` and digits where it is no text. Of a window its bounds, of a timer nothing.
    pub value: String,
    /// Where it came from, as far as that is known: a line of a file, or the number of a source's record.
    pub origin: Option<String>,
    /// The file and the line where both are known.
    pub file: Option<String>,
    pub line: Option<u64>,
    /// The same for the same record in another attempt.
    #[serde(skip)]
    pub(super) fingerprint: Option<u64>,
}

/// One node of the pipeline. Counts are those of the state as it is now: they go back with a restore.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct OperatorDetail {
    pub id: String,
    /// `source`, `operator` or `sink`.
    pub kind: String,
    pub parallelism: u32,
    pub records_in: u64,
    pub records_out: u64,
    /// Of an operator turns that were dropped. One bad record costs several: its batch is run again in halves until it stands
    /// alone. Of a source records whose timestamp could not be read.
    pub faults: u64,
    pub records_skipped: u64,
    pub records_dead_lettered: u64,
    /// Records that came too late, and that nothing reads.
    #[serde(default)]
    pub records_late: u64,
    /// The function's own counters and gauges.
    pub metrics: std::collections::BTreeMap<String, f64>,
    /// How far each subtask is in event time, by its number.
    #[serde(default)]
    pub watermarks: Vec<SubtaskWatermark>,
}

/// The last watermark that a subtask has sent or received. It begins anew with a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubtaskWatermark {
    /// Milliseconds since the Unix epoch: none before the first one, 9223372036854775807 when its inputs have ended.
    pub watermark_ms: Option<i64>,
    /// Its inputs are idle: it holds event time up for nobody.
    pub idle: bool,
}

impl OperatorDetail {
    /// Records of a source whose timestamp could not be read; 0 for any other node. They are stored as its `faults`: see
    /// [`Counters::records_without_timestamp`](crate::model::Counters::records_without_timestamp).
    pub fn records_without_timestamp(&self) -> u64 {
        if self.kind == "source" { self.faults } else { 0 }
    }

    /// The smallest watermark of the subtasks that are not idle. None where all of them are, or one has none yet.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermarks.iter().filter(|subtask| !subtask.idle).map(|subtask| subtask.watermark_ms).min().flatten()
    }

    /// Whether all subtasks are idle.
    pub fn is_idle(&self) -> bool {
        !self.watermarks.is_empty() && self.watermarks.iter().all(|subtask| subtask.idle)
    }
}

/// A checkpoint or savepoint.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckpointSummary {
    pub id: u64,
    /// `checkpoint`, `savepoint` or `final`.
    pub kind: String,
    /// `in-progress`, `completed` or `failed`.
    pub status: String,
    pub triggered_at_ms: i64,
    /// From the trigger until the manifest was durable.
    pub duration_ms: Option<u64>,
    /// Of all operators together.
    #[serde(flatten)]
    pub total: CheckpointPart,
    pub failure: Option<String>,
    /// Where the manifest is, below the storage's root.
    pub location: Option<String>,
}

/// What one subtask, or several together, did for a checkpoint. Of several, times are the longest and bytes the sum.
/// Zero before the checkpoint is complete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointPart {
    /// From the trigger until the part's files were stored.
    pub end_to_end_ms: f64,
    /// From the trigger until the subtask met the barrier.
    pub start_delay_ms: f64,
    /// From then until all its inputs had delivered the barrier.
    pub alignment_ms: f64,
    /// The synchronous part: no record was processed.
    pub sync_ms: f64,
    /// The asynchronous part: writing and uploading, while records were processed.
    pub async_ms: f64,
    /// All bytes that the image names.
    pub bytes: u64,
    /// Bytes that this checkpoint had to upload.
    pub bytes_uploaded: u64,
    /// Bytes of records that the barrier overtook; among the others.
    pub in_flight_bytes: u64,
    /// Whether the barrier overtook records, or would have.
    pub unaligned: bool,
}

impl CheckpointPart {
    /// Several parts together.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a CheckpointPart>) -> CheckpointPart {
        parts.into_iter().fold(CheckpointPart::default(), |sum, part| CheckpointPart {
            end_to_end_ms: sum.end_to_end_ms.max(part.end_to_end_ms),
            start_delay_ms: sum.start_delay_ms.max(part.start_delay_ms),
            alignment_ms: sum.alignment_ms.max(part.alignment_ms),
            sync_ms: sum.sync_ms.max(part.sync_ms),
            async_ms: sum.async_ms.max(part.async_ms),
            bytes: sum.bytes + part.bytes,
            bytes_uploaded: sum.bytes_uploaded + part.bytes_uploaded,
            in_flight_bytes: sum.in_flight_bytes + part.in_flight_bytes,
            unaligned: sum.unaligned || part.unaligned,
        })
    }
}

/// A checkpoint with what each operator did for it; nothing of that before it is complete.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckpointDetail {
    #[serde(flatten)]
    pub summary: CheckpointSummary,
    /// In the pipeline's order.
    pub operators: Vec<OperatorCheckpoint>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OperatorCheckpoint {
    pub id: String,
    #[serde(flatten)]
    pub total: CheckpointPart,
    /// By the subtask's number.
    pub subtasks: Vec<CheckpointPart>,
}

/// How a savepoint's state is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SavepointFormat {
    /// Any backend reads it.
    #[default]
    Canonical,
    /// As the job's backend writes its checkpoints: fast to take, and fast to restore by the same backend.
    Native,
}

/// An asynchronous request for a savepoint or a checkpoint, as it is polled.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SavepointView {
    pub request_id: String,
    /// `in-progress`, `completed` or `failed`.
    pub status: String,
    /// The folder of the savepoint or checkpoint, once completed.
    pub location: Option<String>,
    pub failure: Option<String>,
}

/// A savepoint that the storage holds.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StoredSavepoint {
    /// Which checkpoint of its job it is.
    pub id: u64,
    /// Its folder: a path, or `s3://bucket/folder`.
    pub location: String,
    /// Milliseconds since the Unix epoch. None where it is damaged.
    pub taken_at_ms: Option<i64>,
    pub bytes: Option<u64>,
    /// Why it cannot be read.
    pub failure: Option<String>,
}

/// A component that was uploaded.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ComponentView {
    /// The SHA-256 of its bytes, in hex: its identity.
    pub sha256: String,
    /// Names it was given, each `name@version`.
    pub names: Vec<String>,
    pub bytes: u64,
    pub uploaded_at_ms: i64,
    /// What built it.
    pub sdk: String,
    pub functions: Vec<FunctionView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FunctionView {
    pub name: String,
    /// `process` or `keyed-process`.
    pub kind: String,
    pub input_codec: String,
    /// Of a function with a broadcast input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast_codec: Option<String>,
    /// The main output, then the side outputs.
    pub outputs: Vec<PortView>,
    pub states: Vec<StateView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PortView {
    pub name: String,
    pub codec: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StateView {
    pub name: String,
    /// `value`, `list`, `map`, `reducing`, `aggregating` or `broadcast`.
    pub kind: String,
    pub codec: String,
    pub schema: String,
    /// Of a map, how its sub-keys are written; else empty.
    #[serde(default)]
    pub map_key: String,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub ttl: Option<TimeToLive>,
}

impl StateView {
    pub fn new(state: &StateDescription) -> StateView {
        StateView {
            name: state.name.clone(),
            kind: state.kind.as_str().into(),
            codec: state.codec.clone(),
            schema: state.schema.clone(),
            map_key: state.map_key.clone(),
            ttl: state.ttl,
        }
    }
}

impl FunctionView {
    /// Its states again. None where they are of kinds that this version does not know.
    pub fn layout(&self) -> Option<StateLayout> {
        let describe = |state: &StateView| {
            let kind = serde_json::from_value(state.kind.clone().into()).ok()?;
            let described = StateDescription::new(&state.name, kind, &state.codec, &state.schema);
            Some(StateDescription { map_key: state.map_key.clone(), ttl: state.ttl, ..described })
        };
        self.states.iter().map(describe).collect()
    }
}
