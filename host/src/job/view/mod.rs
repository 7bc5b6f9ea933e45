//! Plain data that describes jobs, checkpoints and components. The HTTP API writes it as JSON, and the CLI reads it.
//!
//! Field names are part of the API and of stored job records. This module must not depend on the rest of `job`.

mod checkpoint;
mod component;
mod job;

pub use checkpoint::{
    CheckpointDetail, CheckpointStats, CheckpointSummary, OperatorCheckpoint, OperatorVersionView, SavepointFormat,
    SavepointView, StoredSavepoint,
};
pub use component::{ComponentView, FunctionView, PortView, StateView};
pub use job::{
    FailedRecordView, HistogramBucket, HistogramView, JobDetail, JobFailure, JobStatus, JobSummary, OperatorDetail,
    SubtaskWatermark,
};
