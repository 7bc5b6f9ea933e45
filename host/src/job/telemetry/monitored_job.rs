//! What a job shows to a monitoring system.

use std::collections::BTreeMap;

use super::checkpoint_totals::CheckpointTotals;
use super::commit_totals::CommitTotals;
use super::job_times::ShownTimes;
use crate::job::view::{JobMetrics, JobStatus};
use crate::runtime::NodeMeters;

/// What a job shows to a monitoring system.
pub struct MonitoredJob {
    /// The pipeline's name.
    pub name: String,
    /// The current status.
    pub status: JobStatus,
    /// Number of restarts after a failure since the job was submitted.
    pub restarts: u32,
    /// Number of attempts since the job was submitted.
    pub attempts: u32,
    /// The metrics of its nodes. `None` if the job has ended.
    pub metrics: Option<JobMetrics>,
    /// Turns, timers and databases of its nodes, by the id of the node.
    pub meters: BTreeMap<String, NodeMeters>,
    /// Totals of its checkpoints.
    pub checkpoints: CheckpointTotals,
    /// Number of checkpoints that have not ended.
    pub checkpoints_in_progress: u64,
    /// How long it was in each status, and how long its restores took.
    pub times: ShownTimes,
    /// Totals of the publications of its sinks.
    pub commits: BTreeMap<String, CommitTotals>,
}
