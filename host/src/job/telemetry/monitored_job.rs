//! What a job shows to a monitoring system.

use super::checkpoint_totals::CheckpointTotals;
use crate::job::view::{JobMetrics, JobStatus};

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
    /// Totals of its checkpoints.
    pub checkpoints: CheckpointTotals,
    /// Number of checkpoints that have not ended.
    pub checkpoints_in_progress: u64,
}
