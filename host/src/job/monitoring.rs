//! Chooses the jobs that a monitoring system sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::handle::JobHandle;
use super::telemetry::MonitoredJob;
use crate::clock::Clock;

/// Largest number of ended jobs that are shown: the ones that were submitted last.
const ENDED_MAX: usize = 1_000;

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
