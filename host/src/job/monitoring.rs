//! Chooses the jobs that a monitoring system sees, and those of which series are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::handle::JobHandle;
use super::telemetry::MonitoredJob;
use crate::clock::Clock;

/// Largest number of ended jobs that are shown: the ones that were submitted last.
const ENDED_MAX: usize = 1_000;

/// Number of ended jobs whose series are kept: the ones that ended last.
const ENDED_SERIES_MAX: usize = 64;
/// Memory for the series of all jobs, in bytes.
const SERIES_BYTES_MAX: usize = 128 << 20;

/// Adds a sample to the series of all jobs that run. Drops those of jobs that ended long ago, or that do not fit into the memory.
pub fn sample_series(jobs: Vec<Arc<JobHandle>>, clock: &dyn Clock) {
    let mut ranked: Vec<_> = jobs.into_iter().filter_map(|job| Some((job.series_rank()?, job))).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let (mut bytes_left, mut ended) = (SERIES_BYTES_MAX, 0);
    for ((has_ended, _), job) in ranked {
        ended += usize::from(has_ended);
        let bytes_max = if ended > ENDED_SERIES_MAX { 0 } else { bytes_left };
        bytes_left -= job.sample_series(clock, bytes_max);
    }
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
