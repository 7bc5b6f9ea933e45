//! What a running job shows of its work: its graph, shares of time, rates and totals.
//!
//! - `job_graph` shows the plan as nodes and edges.
//! - `job_metrics` turns totals into the view of the API.
//! - `rate_window` keeps earlier readings, so that a reader gets rates.
//! - `job_series` keeps what the operators did over time, in `series_ring`s.
//! - `checkpoint_totals` counts checkpoints, and `commit_totals` the publications of sinks.
//! - `checkpoint_trace` traces a checkpoint.
//! - `job_times` measures how long the job was in each status, and its restores.
//! - `monitored_job` is what a monitoring system sees.
//! - `bottleneck` names the operator that slows a job down.

mod bottleneck;
mod checkpoint_totals;
mod checkpoint_trace;
mod commit_totals;
mod job_graph;
mod job_metrics;
mod job_series;
mod job_times;
mod monitored_job;
mod rate_window;
mod series_ring;

pub use checkpoint_totals::CheckpointTotals;
pub use checkpoint_trace::{CHECKPOINT_ID, CheckpointTimes, JOB_ID, JOB_NAME, trace_checkpoint};
pub use commit_totals::SinkCommits;
pub use job_graph::job_graph;
pub use job_metrics::{job_metrics, node_meters};
pub use job_series::{SeriesRecorder, SeriesRequest};
pub use job_times::JobTimes;
pub use monitored_job::MonitoredJob;
pub use rate_window::RateWindow;
