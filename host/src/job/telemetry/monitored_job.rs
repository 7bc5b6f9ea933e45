//! What a job shows to a monitoring system.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checkpoint_totals::CheckpointTotals;
use crate::clock::Clock;
use crate::job::handle::JobHandle;
use crate::job::view::{JobMetrics, JobStatus};

/// Largest number of ended jobs that are shown: the ones that were submitted last.
const ENDED_MAX: usize = 1_000;

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

/// Returns what the jobs show, in the order of their names. Of several jobs with a name, only the running one or else the newest.
pub fn monitored_jobs(jobs: Vec<Arc<JobHandle>>, clock: &dyn Clock) -> Vec<MonitoredJob> {
    let mut newest: BTreeMap<String, ((bool, i64), Arc<JobHandle>)> = BTreeMap::new();
    for job in jobs {
        let (name, status, submitted_at_ms) = job.identity();
        let rank = (!status.is_final(), submitted_at_ms);
        match newest.get(&name) {
            Some((other, _)) if *other >= rank => {}
            _ => drop(newest.insert(name, (rank, job))),
        }
    }
    let mut ended: Vec<i64> = newest.values().filter(|((runs, _), _)| !runs).map(|((_, at_ms), _)| *at_ms).collect();
    ended.sort_unstable_by(|one, other| other.cmp(one));
    let oldest_ms = ended.get(ENDED_MAX).copied().unwrap_or(i64::MIN);
    let shown = newest.into_values().filter(|((runs, at_ms), _)| *runs || *at_ms > oldest_ms);
    shown.map(|(_, job)| job.monitored(clock)).collect()
}
