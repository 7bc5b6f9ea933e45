//! Plain data that describes jobs, checkpoints and components. The HTTP API writes it as JSON, and the CLI reads it.
//!
//! Field names are part of the API and of stored job records. This module must not depend on the rest of `job`.

mod checkpoint;
mod component;
mod dead_letter;
mod event;
mod failure;
mod fault;
mod graph;
mod job;
mod log;
mod metrics;
mod series;
mod status;
mod tap;

pub use checkpoint::{
    CheckpointDetail, CheckpointStats, CheckpointSummary, OperatorCheckpoint, OperatorVersionView, SavepointFormat,
    SavepointView, StoredSavepoint,
};
pub use component::{ComponentView, FunctionView, PortView, StateView};
pub use dead_letter::{
    DeadLetterDetail, DeadLetterPage, DeadLetterSummary, DiscardedLetters, RecordPlace, ReplayView, ReplaysStarted,
    TrialOutput, TrialView, TriedLetter,
};
pub use event::{JobEvent, JobEventKind, JobEventPage};
pub use failure::{FailedRecordView, FailureOutcome, JobFailure, PastFailure};
pub use fault::FaultGroupList;
pub use graph::{GraphEdge, GraphNode, JobGraph};
pub use job::{
    GaugeRange, HealthView, HistogramBucket, HistogramView, JobDetail, JobSummary, OperatorDetail, SubtaskWatermark,
};
pub use log::{LogLevelView, LogLineView, LogPage};
pub use metrics::{JobMetrics, MetricTotals, OperatorMetrics, SubtaskMetricsView, TimeShares};
pub use series::{JobSeries, OperatorSeries};
pub use status::JobStatus;
pub use tap::{TapRecord, TapSummary};
