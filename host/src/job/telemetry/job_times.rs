//! How long a job was in each status and how long its restores took, since the process began.

use std::collections::BTreeMap;

use crate::clock::SharedClock;
use crate::job::store::JobRecord;
use crate::job::view::JobStatus;
use crate::model::DurationHistogram;

/// Restores from a checkpoint or savepoint of the job itself.
const FROM_OWN: &str = "own";
/// Restores from the checkpoint or savepoint that the job was submitted with.
const FROM_SUBMITTED: &str = "submitted";

/// Measures the times of a job. It sees the record of the job after each change.
pub struct JobTimes {
    clock: SharedClock,
    status: JobStatus,
    /// When the status began, in monotonic nanoseconds.
    since_ns: u64,
    /// Nanoseconds in the statuses before, by their name.
    ended_ns: BTreeMap<&'static str, u64>,
    restore: Option<RunningRestore>,
    restores: BTreeMap<&'static str, DurationHistogram>,
    last_restore_ms: Option<i64>,
}

/// A restore that has not ended.
struct RunningRestore {
    attempt: u32,
    from: &'static str,
    since_ns: u64,
}

/// The times of a job, as a monitoring system sees them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShownTimes {
    /// Seconds in each status that the job has had, by its name.
    pub status_seconds: BTreeMap<&'static str, f64>,
    /// How long restores took, by their origin: `own` or `submitted`.
    pub restores: BTreeMap<&'static str, DurationHistogram>,
    /// When the last restore ended, in milliseconds since the Unix epoch.
    pub last_restore_ms: Option<i64>,
}

impl JobTimes {
    /// Begins to measure a job with this status.
    pub fn new(status: JobStatus, clock: SharedClock) -> JobTimes {
        let since_ns = clock.monotonic_ns();
        let (ended_ns, restores) = (BTreeMap::new(), BTreeMap::new());
        JobTimes { clock, status, since_ns, ended_ns, restore: None, restores, last_restore_ms: None }
    }

    /// Takes over a change of the record.
    pub fn note(&mut self, record: &JobRecord) {
        let now_ns = self.clock.monotonic_ns();
        if record.status != self.status {
            *self.ended_ns.entry(self.status.as_str()).or_default() += now_ns.saturating_sub(self.since_ns);
            (self.status, self.since_ns) = (record.status, now_ns);
        }
        if record.restoring {
            // An attempt that failed during its restore has none to measure.
            if self.restore.as_ref().is_none_or(|restore| restore.attempt != record.attempts) {
                let from = if record.has_checkpoint { FROM_OWN } else { FROM_SUBMITTED };
                self.restore = Some(RunningRestore { attempt: record.attempts, from, since_ns: now_ns });
            }
        } else if let Some(restore) = self.restore.take()
            && record.status == JobStatus::Running
        {
            let seconds = now_ns.saturating_sub(restore.since_ns) as f64 / 1e9;
            self.restores.entry(restore.from).or_default().observe(seconds);
            self.last_restore_ms = Some(self.clock.wall_ms());
        }
    }

    /// Returns the times as they are now.
    pub fn shown(&self) -> ShownTimes {
        let mut status_ns = self.ended_ns.clone();
        let current_ns = self.clock.monotonic_ns().saturating_sub(self.since_ns);
        *status_ns.entry(self.status.as_str()).or_default() += current_ns;
        ShownTimes {
            status_seconds: status_ns.into_iter().map(|(status, ns)| (status, ns as f64 / 1e9)).collect(),
            restores: self.restores.clone(),
            last_restore_ms: self.last_restore_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::job::store::read_json;

    fn record() -> JobRecord {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/job-v1.json");
        let record: JobRecord = read_json(&fixture).unwrap();
        JobRecord { status: JobStatus::Created, attempts: 1, restoring: false, has_checkpoint: false, ..record }
    }

    #[test]
    fn the_time_in_each_status_is_counted_until_now() {
        let clock = Arc::new(ManualClock::default());
        let mut times = JobTimes::new(JobStatus::Created, clock.clone());
        let mut record = record();
        for (at_ms, status) in [
            (100, JobStatus::Running),
            (400, JobStatus::Restarting),
            (450, JobStatus::Restarting),
            (600, JobStatus::Running),
        ] {
            clock.set_ms(at_ms);
            record.status = status;
            times.note(&record);
        }
        clock.set_ms(1000);
        let expected = BTreeMap::from([("CREATED", 0.1), ("RUNNING", 0.7), ("RESTARTING", 0.2)]);
        assert_eq!(times.shown().status_seconds, expected);
    }

    #[test]
    fn a_restore_is_measured_from_the_start_of_its_attempt_until_the_job_runs() {
        let clock = Arc::new(ManualClock::default());
        let mut times = JobTimes::new(JobStatus::Created, clock.clone());
        let mut record = record();
        let mut at = |ms, change: &dyn Fn(&mut JobRecord)| {
            clock.set_ms(ms);
            change(&mut record);
            times.note(&record);
            times.shown().restores.into_iter().map(|(from, all)| (from, all.count(), all.sum)).collect::<Vec<_>>()
        };
        at(1000, &|record| record.restoring = true);
        // The restore fails, and the next attempt restores once more.
        at(2000, &|record| record.status = JobStatus::Restarting);
        at(5000, &|record| record.attempts = 2);
        assert_eq!(at(6000, &|record| record.warnings.clear()), []);
        let ran = |record: &mut JobRecord| (record.restoring, record.status) = (false, JobStatus::Running);
        assert_eq!(at(8000, &ran), [("submitted", 1, 3.0)]);
        at(9000, &|record| (record.restoring, record.attempts, record.has_checkpoint) = (true, 3, true));
        assert_eq!(at(9500, &ran), [("own", 1, 0.5), ("submitted", 1, 3.0)]);
        // A job that ends during its restore has none to measure.
        at(9600, &|record| (record.restoring, record.attempts) = (true, 4));
        let ended = at(9700, &|record| (record.restoring, record.status) = (false, JobStatus::Failed));
        assert_eq!(ended, [("own", 1, 0.5), ("submitted", 1, 3.0)]);
        assert_eq!(times.shown().last_restore_ms, Some(9500));
    }
}
