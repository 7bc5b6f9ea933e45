//! The API's view of jobs and their operators.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::checkpoint::SavepointView;
use super::failure::{JobFailure, PastFailure};
use super::status::JobStatus;

/// A job in the list of jobs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobSummary {
    /// Identifies the job.
    pub id: String,
    /// The pipeline's name. At most one job of a name runs at a time.
    pub name: String,
    /// The current status.
    pub status: JobStatus,
    /// Whether the job reads state from a checkpoint or savepoint, and repositions its sources.
    #[serde(default)]
    pub restoring: bool,
    /// The requested stop, if any, with the savepoint that it has taken.
    #[serde(default)]
    pub stop: Option<SavepointView>,
    /// Milliseconds since the Unix epoch.
    pub submitted_at_ms: i64,
    /// When the job reached its final status, in milliseconds since the Unix epoch.
    pub ended_at_ms: Option<i64>,
    /// Number of restarts after a failure since the job was submitted.
    pub restarts: u32,
    /// Records that the sources have read, as of the current state: a restore resets the count.
    pub records_in: u64,
    /// Records that operators dropped as late.
    #[serde(default)]
    pub records_late: u64,
    /// Records that operators dropped under `on_fault = "skip"`.
    #[serde(default)]
    pub records_skipped: u64,
    /// Records that operators sent to their dead-letter outputs.
    #[serde(default)]
    pub records_dead_lettered: u64,
    /// Records whose timestamp the sources could not read.
    #[serde(default)]
    pub records_without_timestamp: u64,
    /// Id of the newest complete checkpoint.
    pub last_checkpoint: Option<u64>,
    /// Id of the checkpoint that the current attempt was restored from. `None` if it started without state or has not
    /// been restored yet.
    pub restored_checkpoint: Option<u64>,
}

/// A job with its operators, warnings and pipeline file.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobDetail {
    /// The job as the list of jobs shows it.
    #[serde(flatten)]
    pub summary: JobSummary,
    /// Why the job failed, or why it was last restarted.
    pub failure: Option<JobFailure>,
    /// The last failures, oldest first.
    #[serde(default)]
    pub failures: Vec<PastFailure>,
    /// Number of threads of subtasks that did not end with their attempt, because something that cannot be interrupted blocked them.
    #[serde(default)]
    pub abandoned_threads: u64,
    /// The delivery guarantee: `exactly-once`, or why it is less, for each source and sink.
    pub guarantee: String,
    /// Warnings about the pipeline, found at submission, and about lost records, computed from the current counts.
    pub warnings: Vec<String>,
    /// The nodes in the pipeline's order.
    pub operators: Vec<OperatorDetail>,
    /// Size of the keyed state in bytes.
    pub state_bytes: u64,
    /// Number of entries in the keyed state.
    pub state_entries: u64,
    /// Text of the pipeline file as it was submitted.
    #[serde(rename = "manifest")]
    pub pipeline_text: String,
}

impl JobDetail {
    /// Removes the record on which the job failed.
    pub fn hide_records(&mut self) {
        if let Some(failure) = &mut self.failure {
            failure.record = None;
        }
    }
}

/// One node of the pipeline, with counts summed over its subtasks. Counts are part of the state: a restore resets them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct OperatorDetail {
    /// The node's id in the pipeline.
    pub id: String,
    /// `source`, `operator` or `sink`.
    pub kind: String,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Number of the attempt that the node runs in. Nodes differ after a region of the job has restarted.
    #[serde(default)]
    pub attempt: u32,
    /// Records received.
    pub records_in: u64,
    /// Records emitted.
    pub records_out: u64,
    /// For an operator, turns that were rolled back. One bad record causes several, because its batch is bisected until
    /// the record is isolated. For a source, records whose timestamp could not be read.
    pub faults: u64,
    /// Records dropped under `on_fault = "skip"` or, for a source, under `on_undecodable = "skip"`.
    pub records_skipped: u64,
    /// Records sent to the dead-letter output.
    pub records_dead_lettered: u64,
    /// Late records that were dropped, because no node reads the late output.
    #[serde(default)]
    pub records_late: u64,
    /// The grants of the operator, such as `wasi.cli`, `env.REGION`, `folder`, `clock` and `random`.
    #[serde(default)]
    pub grants: Vec<String>,
    /// The grants with which the function may give other results when it runs again over the same records.
    #[serde(default)]
    pub non_deterministic: Vec<String>,
    /// The function's own counters, summed over the subtasks, and its gauges, as the mean of the subtasks.
    pub metrics: BTreeMap<String, f64>,
    /// The names in `metrics` that are gauges. The others are counters.
    #[serde(default)]
    pub gauges: BTreeSet<String>,
    /// The values of each gauge in the subtasks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gauge_ranges: BTreeMap<String, GaugeRange>,
    /// The function's own histograms, summed over the subtasks.
    #[serde(default)]
    pub histograms: BTreeMap<String, HistogramView>,
    /// Bytes of the operator's state. RocksDB estimates them.
    #[serde(default)]
    pub state_bytes: u64,
    /// Number of faults by their code, since the attempt began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub faults_by_code: BTreeMap<String, u64>,
    /// Batches that were divided without a fault because they wrote too much, since the attempt began.
    #[serde(default)]
    pub batches_divided: u64,
    /// The level of the function's log lines, if it differs from that of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Log lines of the function that were dropped because of a limit, since the attempt began.
    #[serde(default)]
    pub log_lines_dropped: u64,
    /// Changes of user metrics that were dropped because of their names, since the attempt began.
    #[serde(default)]
    pub metrics_dropped: u64,
    /// Bytes of the records that wait in the channels to the node: large if it is slower than those before it.
    #[serde(default)]
    pub queued_bytes: u64,
    /// Milliseconds that the threads which begin with the node have waited for a processor that another job got, since the attempt began.
    #[serde(default)]
    pub permit_wait_ms: u64,
    /// The event-time progress of each subtask, in order.
    #[serde(default)]
    pub watermarks: Vec<SubtaskWatermark>,
    /// The health of the connector of a source or sink, if it reports one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthView>,
}

/// Whether a source or sink reaches its peers. Also in `metrics`: `connector_health` is 0, 1 or 2, and `connector_lag` is the lag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    /// `healthy`, `degraded` or `down`: that of the worst subtask.
    pub state: String,
    /// When the state began, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Why the connector does not work. Empty if it does.
    pub message: String,
    /// Number of records or bytes that wait at the peer, if that is known.
    pub lag: Option<u64>,
}

/// The values of a gauge in the subtasks of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GaugeRange {
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The mean of the values.
    pub mean: f64,
}

/// The distribution of a function's observations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistogramView {
    /// Number of observations.
    pub count: u64,
    /// Sum of the observations.
    pub sum: f64,
    /// The buckets that hold observations, ascending. Bounds grow by the fourth root of two.
    pub buckets: Vec<HistogramBucket>,
}

/// One bucket of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistogramBucket {
    /// Inclusive upper bound. `None` for the bucket of all larger observations.
    pub up_to: Option<f64>,
    /// Number of observations above the previous bound and up to this one.
    pub count: u64,
}

impl HistogramView {
    /// Returns an upper bound of the quantile `q`, at most 19 % above it, or `None` if it is in the last bucket.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().find(|bucket| {
            seen += bucket.count;
            seen >= rank
        });
        bucket.and_then(|bucket| bucket.up_to)
    }
}

/// The last watermark that a subtask has sent or received. A restart resets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubtaskWatermark {
    /// Milliseconds since the Unix epoch: `None` before the first watermark, 9223372036854775807 once the inputs have
    /// ended.
    pub watermark_ms: Option<i64>,
    /// Whether all inputs are idle, so that the subtask does not hold back event time.
    pub idle: bool,
}

impl OperatorDetail {
    /// Returns the number of a source's records whose timestamp could not be read; 0 for any other node. It is stored
    /// as `faults`: see [`Counters::records_without_timestamp`](crate::model::Counters::records_without_timestamp).
    pub fn records_without_timestamp(&self) -> u64 {
        if self.kind == "source" { self.faults } else { 0 }
    }

    /// Returns the smallest watermark of the subtasks that are not idle. `None` if all are idle, or if one has no
    /// watermark yet.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermarks.iter().filter(|subtask| !subtask.idle).map(|subtask| subtask.watermark_ms).min().flatten()
    }

    /// Returns whether all subtasks are idle.
    pub fn is_idle(&self) -> bool {
        !self.watermarks.is_empty() && self.watermarks.iter().all(|subtask| subtask.idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let bucket = |up_to, count| HistogramBucket { up_to, count };
        let buckets = vec![bucket(Some(1.0), 50), bucket(Some(2.0), 49), bucket(None, 1)];
        let histogram = HistogramView { count: 100, sum: 0.0, buckets };
        let quantiles = [0.0, 0.5, 0.51, 0.99, 1.0].map(|q| histogram.quantile(q));
        assert_eq!(quantiles, [Some(1.0), Some(1.0), Some(2.0), Some(2.0), None]);
        assert_eq!(HistogramView::default().quantile(0.5), None);
    }
}
