//! The API's view of the metrics of a job: what its subtasks do now, and totals since the process began.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::job::{GaugeRange, HealthView, HistogramView};
use super::status::JobStatus;

/// The metrics of a job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobMetrics {
    /// Identifies the job.
    pub id: String,
    /// The pipeline's name.
    pub name: String,
    /// The current status.
    pub status: JobStatus,
    /// When the metrics were read, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Milliseconds over which shares and rates are taken: since an earlier request, five seconds ago or more if there was one. Not set
    /// for the first request: its shares are those since the server began, and it has no rates.
    pub window_ms: Option<u64>,
    /// Id of the operator that slows the job down: the first one that is busy and not backpressured behind one that is.
    pub bottleneck: Option<String>,
    /// The nodes in the pipeline's order.
    pub operators: Vec<OperatorMetrics>,
}

/// The metrics of one node.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct OperatorMetrics {
    /// The node's id in the pipeline.
    pub id: String,
    /// `source`, `operator` or `sink`.
    pub kind: String,
    /// Number of subtasks.
    pub parallelism: u32,
    /// What the subtasks do, as the mean over all. Not set while none runs.
    pub shares: Option<TimeShares>,
    /// The largest share of one subtask.
    pub worst: Option<TimeShares>,
    /// Records received per second.
    pub records_in_per_second: Option<f64>,
    /// Records emitted per second.
    pub records_out_per_second: Option<f64>,
    /// Totals since the server began.
    pub totals: MetricTotals,
    /// Bytes of the records that wait in the channels to the node.
    pub queued_bytes: u64,
    /// How full the channels to the node are, from 0 to 1, in the subtask with the fullest ones. Senders wait at 1. Not set for a node
    /// that reads no channels: a source, or a node inside a chain.
    #[serde(default)]
    pub channel_fill: Option<f64>,
    /// Bytes of the operator's state. RocksDB estimates them.
    pub state_bytes: u64,
    /// Entries of the operator's state.
    pub state_entries: u64,
    /// The smallest watermark of the subtasks that are not idle.
    pub watermark_ms: Option<i64>,
    /// Number of subtasks whose inputs are idle, so that they do not hold back event time.
    #[serde(default)]
    pub event_time_idle_subtasks: u32,
    /// The health of the connector of a source or sink, if it reports one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthView>,
    /// Faults by their code, since the server began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub faults_by_code: BTreeMap<String, u64>,
    /// Log lines of the function that were dropped, since the server began.
    #[serde(default)]
    pub log_lines_dropped: u64,
    /// The function's own counters, since the server began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
    /// The values of the function's own gauges in the subtasks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gauges: BTreeMap<String, GaugeRange>,
    /// The function's own histograms, since the server began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub histograms: BTreeMap<String, HistogramView>,
    /// The subtasks in order, if they were requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subtasks: Vec<SubtaskMetricsView>,
}

/// The metrics of one subtask of a node.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct SubtaskMetricsView {
    /// Index of the subtask, from 0.
    pub subtask: u32,
    /// What the subtask does.
    pub shares: Option<TimeShares>,
    /// Records received per second.
    pub records_in_per_second: Option<f64>,
    /// Records emitted per second.
    pub records_out_per_second: Option<f64>,
    /// Totals since the server began.
    pub totals: MetricTotals,
    /// How full the channels to the subtask are, from 0 to 1.
    #[serde(default)]
    pub channel_fill: Option<f64>,
    /// Bytes of the subtask's state.
    pub state_bytes: u64,
    /// The subtask's watermark, if it has one.
    pub watermark_ms: Option<i64>,
    /// Whether all inputs of the subtask are idle, so that it does not hold back event time.
    pub event_time_idle: bool,
    /// The function's own gauges.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gauges: BTreeMap<String, f64>,
}

/// What a subtask did, as shares of the time. They add up to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TimeShares {
    /// It worked.
    pub busy: f64,
    /// It had nothing to process.
    pub idle: f64,
    /// It waited until its output was taken.
    pub backpressured: f64,
    /// It waited for a processor that another job used.
    pub throttled: f64,
}

/// Totals since the server began. They never go back: records that are processed again after a restore count again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricTotals {
    /// Records received.
    pub records_in: u64,
    /// Records emitted.
    pub records_out: u64,
    /// Batches received.
    pub batches_in: u64,
    /// Turns of an operator that were rolled back.
    pub faults: u64,
    /// Records of a source whose timestamp could not be read.
    pub records_without_timestamp: u64,
    /// Records dropped under `on_fault = "skip"` or `on_undecodable = "skip"`.
    pub records_skipped: u64,
    /// Records sent to the dead-letter output.
    pub records_dead_lettered: u64,
    /// Late records that were dropped.
    pub records_late: u64,
    /// Seconds in which subtasks worked.
    pub busy_seconds: f64,
    /// Seconds in which subtasks had nothing to process.
    pub idle_seconds: f64,
    /// Seconds in which subtasks waited until their output was taken.
    pub backpressured_seconds: f64,
    /// Seconds in which subtasks waited for a processor that another job used.
    pub throttled_seconds: f64,
}
