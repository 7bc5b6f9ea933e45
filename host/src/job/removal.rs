//! What is removed of jobs that have ended, and of what a job began with. Never anything that another job begins from.

use std::fs;
use std::sync::Arc;

use super::lifecycle::Environment;
use super::live::Job;
use super::origins::Origins;
use crate::checkpoint::{self, CheckpointStorage, StorageLocation, StoredCheckpoint};
use crate::error::{self, Result};
use crate::pipeline::PipelineSpec;

/// Removes the checkpoints of a job that has ended where its record says so. What fails, or is needed by another job, is
/// left to the next start of the process.
pub(super) fn remove_checkpoints_of_ended(job: &Job, environment: &Environment) {
    let _held = job.removal.lock();
    let record = job.record();
    if !record.checkpoints_to_remove {
        return;
    }
    let removed = storage_of(job, environment).and_then(|storage| {
        check_unneeded(&environment.origins, &storage.root().join(&record.id), &record.id)?;
        storage.remove_job(&record.id)?;
        job.update(|record| record.checkpoints_to_remove = false)
    });
    if let Err(error) = removed {
        tracing::warn!(job = %record.name, "its checkpoints are not removed yet: {error}");
    }
}

/// Removes a job that has ended: its checkpoints, then its record. Its savepoints stay.
pub(super) fn remove_job(job: &Arc<Job>, environment: &Environment) -> Result<()> {
    let _held = job.removal.lock();
    let record = job.record();
    if !record.status.is_final() {
        return Err(error::job_state(format!("job `{}` has not ended: {:?}", record.name, record.status))
            .hint("stop or cancel it first"));
    }
    let storage = storage_of(job, environment)?;
    check_unneeded(&environment.origins, &storage.root().join(&record.id), &record.id)?;
    storage.remove_job(&record.id)?;
    job.show(|record| record.checkpoints_to_remove = false);
    let failed = |cause: std::io::Error| error::data_dir_failed(format!("{}: {cause}", job.dir.display()));
    // A folder without a record is one that the next start clears away.
    match fs::remove_file(job.dir.join("job.json")) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(failed(cause)),
        _ => {}
    }
    fs::remove_dir_all(&job.dir).map_err(failed)
}

/// Removes a savepoint, in whichever storage, which no job begins from.
pub(super) fn remove_savepoint(location: &StorageLocation, environment: &Environment) -> Result<()> {
    check_unneeded(&environment.origins, location, "")?;
    checkpoint::remove_savepoint(location, environment.runtime.clone())
}

/// Removes what a job claimed, once it has a checkpoint of its own. Another job may have begun there as well: then the next
/// checkpoint tries again.
pub(super) fn remove_claimed(job: &Job, origins: &Origins, runtime: &tokio::runtime::Handle) {
    let record = job.record();
    let Some(from) = record.from.filter(|_| record.claim) else { return };
    let Ok(location) = StorageLocation::parse(&from, "".as_ref()) else { return };
    let removed = check_unneeded(origins, &location, &record.id)
        .and_then(|()| StoredCheckpoint::remove(&location, runtime.clone()))
        .and_then(|()| job.update(|record| record.claim = false));
    match removed {
        Ok(()) => tracing::info!(job = %record.name, "removed {from}, which the job had claimed"),
        Err(error) => tracing::warn!(job = %record.name, "what the job claimed is not removed yet: {error}"),
    }
}

fn check_unneeded(origins: &Origins, place: &StorageLocation, but: &str) -> Result<()> {
    match origins.beginning_at(place, but) {
        None => Ok(()),
        Some(job) => {
            Err(error::job_state(format!("job {job} begins from {place} and has no checkpoint of its own yet")))
        }
    }
}

fn storage_of(job: &Job, environment: &Environment) -> Result<CheckpointStorage> {
    let record = job.record();
    environment.storage(&PipelineSpec::parse(&record.manifest, &record.file_name)?, &record.base_dir)
}
