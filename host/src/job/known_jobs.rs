//! The jobs that a data folder holds: read at the start, and asked for what they may still do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::live::Job;
use super::record::{self, JobRecord};
use super::view::JobStatus;
use crate::error::Result;

/// The jobs of the data folder. One whose record is damaged is named and passed over: the others go on without it.
pub(super) fn read_jobs(jobs_dir: &Path) -> Result<BTreeMap<String, Arc<Job>>> {
    let mut jobs = BTreeMap::new();
    for dir in record::list_dir(jobs_dir)? {
        let path = dir.join("job.json");
        if let Ok(false) = fs::exists(&path) {
            // A submit that was cut off: the job never was.
            let _ = fs::remove_dir_all(&dir);
            continue;
        }
        match record::read_json::<JobRecord>(&path) {
            Ok(record) => drop(jobs.insert(record.id.clone(), Arc::new(Job::new(dir, record)))),
            Err(error) => tracing::error!("a job is passed over, since its record cannot be read: {error}"),
        }
    }
    Ok(jobs)
}

/// Whether a job runs now, or will when the process starts again.
pub(super) fn may_run(record: &JobRecord) -> bool {
    !record.status.is_final() || lost_its_state(record)
}

/// Whether a job failed because nothing that it stored can be used any more.
pub(super) fn lost_its_state(record: &JobRecord) -> bool {
    let code = record.failure.as_ref().map(|failure| failure.code.as_str());
    record.status == JobStatus::Failed && code == Some("checkpoint-none-usable")
}

pub(super) fn newest_of(jobs: &BTreeMap<String, Arc<Job>>, name: &str) -> Option<JobRecord> {
    let named = jobs.values().map(|job| job.record()).filter(|record| record.name == name);
    named.max_by_key(|record| record.submitted_at_ms)
}
