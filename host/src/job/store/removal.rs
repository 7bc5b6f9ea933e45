//! Removes checkpoints of ended jobs, claimed savepoints, and whole jobs.
//!
//! Invariant: nothing is removed that another job starts from, or that a job which has not ended would restart from.

use std::fs;
use std::sync::Arc;

use super::record::JobRecord;
use crate::checkpoint::{self, CheckpointKind, CheckpointStorage, StorageLocation, StoredCheckpoint, Verification};
use crate::error::{self, Result};
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::restore::OriginRegistry;
use crate::job::sinks::unpublished_sinks;
use crate::pipeline::PipelineSpec;

/// Removes the checkpoints of an ended job, if its record says so. If that fails, or another job needs one of them, the
/// next start of the process tries again.
pub fn remove_checkpoints_of_ended(job: &JobHandle, environment: &JobEnvironment) {
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
        tracing::warn!(job = %record.name, "cannot remove the checkpoints of the ended job yet: {error}");
    }
}

/// Removes an ended job: its checkpoints, then its record. Its savepoints remain. Error: `job-state` if the job has not
/// ended, if another job starts from one of its checkpoints, or if its newest checkpoint has promised output that is not published, unless
/// `discards_unpublished`.
pub fn remove_job(job: &Arc<JobHandle>, environment: &JobEnvironment, discards_unpublished: bool) -> Result<()> {
    let _held = job.removal.lock();
    let record = job.record();
    if !record.status.is_final() {
        return Err(error::job_state(format!("job `{}` has not ended: {:?}", record.name, record.status))
            .hint("stop or cancel it first"));
    }
    let storage = storage_of(job, environment)?;
    check_unneeded(&environment.origins, &storage.root().join(&record.id), &record.id)?;
    if !discards_unpublished {
        check_published(&storage, &record)?;
    }
    storage.remove_job(&record.id)?;
    job.show(|record| record.checkpoints_to_remove = false);
    let failed = |cause: std::io::Error| error::data_dir_failed(format!("{}: {cause}", job.dir.display()));
    fail_point!("job.remove-record", error::data_dir_failed);
    // The record goes first: the next start of the process removes a job's folder that has no record.
    match fs::remove_file(job.dir.join("job.json")) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(failed(cause)),
        _ => {}
    }
    fail_point!("job.remove-folder", error::data_dir_failed);
    fs::remove_dir_all(&job.dir).map_err(failed)
}

/// Checks that the newest checkpoint of a job has no output that would be lost with it.
fn check_published(storage: &CheckpointStorage, record: &JobRecord) -> Result<()> {
    // A damaged checkpoint has nothing to lose.
    let Ok(Some((newest, _))) = storage.newest_usable(&record.id, Verification::Lengths) else { return Ok(()) };
    // Savepoints are not removed with the job.
    let sinks = if newest.kind == CheckpointKind::Savepoint { Vec::new() } else { unpublished_sinks(&newest) };
    let Some(sink) = sinks.first() else { return Ok(()) };
    let (name, checkpoint) = (&record.name, newest.checkpoint_id);
    Err(error::job_state(format!("checkpoint {checkpoint} of job `{name}` has output of sink `{sink}` that is not published")).hint(
        "start a job from the checkpoint, which publishes it; or remove the job with --discard-unpublished, which loses that output",
    ))
}

/// Removes a savepoint in any storage. `jobs` are all jobs of the host. Error: `job-state` if one of them starts from the savepoint, or
/// would restart from it.
pub fn remove_savepoint(
    location: &StorageLocation,
    environment: &JobEnvironment,
    jobs: &[Arc<JobHandle>],
) -> Result<()> {
    environment.check_origin(location)?;
    check_unneeded(&environment.origins, location, "")?;
    let name = location.split_last().map(|(_, name)| name).unwrap_or_default();
    let is_owner = |job: &&Arc<JobHandle>| job.with_record(|record| name.starts_with(&record.id));
    jobs.iter().filter(is_owner).try_for_each(|job| check_has_later(job, location, environment))?;
    checkpoint::remove_savepoint(location, environment.runtime.clone())
}

/// Checks that a job which has not ended would not restart from the savepoint. Sinks publish on savepoints: behind the newest one the
/// job would publish again what is published, or fail with `sink-ahead`.
fn check_has_later(job: &JobHandle, location: &StorageLocation, environment: &JobEnvironment) -> Result<()> {
    let record = job.record();
    if record.status.is_final() || !storage_of(job, environment)?.restarts_from(&record.id, location)? {
        return Ok(());
    }
    Err(error::job_state(format!(
        "job `{}` would restart from {location}, because it has no later checkpoint",
        record.name
    ))
    .hint("wait until the job has completed a checkpoint, or stop it first"))
}

/// Removes the checkpoint or savepoint that a job claimed, after the job has a checkpoint of its own. If another job
/// starts from it, the next checkpoint tries again.
pub fn remove_claimed(job: &JobHandle, environment: &JobEnvironment) {
    let record = job.record();
    let Some(from) = record.from.filter(|_| record.claim) else { return };
    let Ok(location) = StorageLocation::parse(&from, "".as_ref()) else { return };
    let removed = environment
        .check_origin(&location)
        .and_then(|()| check_unneeded(&environment.origins, &location, &record.id))
        .and_then(|()| StoredCheckpoint::remove(&location, environment.runtime.clone()))
        .and_then(|()| job.update(|record| record.claim = false));
    match removed {
        Ok(()) => tracing::info!(job = %record.name, "removed {from}, which the job had claimed"),
        Err(error) => tracing::warn!(job = %record.name, "cannot remove the claimed {from} yet: {error}"),
    }
}

/// Checks that no job other than `except` starts from `location` or from a folder below it.
fn check_unneeded(origins: &OriginRegistry, location: &StorageLocation, except: &str) -> Result<()> {
    match origins.job_starting_at(location, except) {
        None => Ok(()),
        Some(job) => {
            Err(error::job_state(format!("job {job} starts from {location} and has no checkpoint of its own yet")))
        }
    }
}

fn storage_of(job: &JobHandle, environment: &JobEnvironment) -> Result<CheckpointStorage> {
    let record = job.record();
    environment.storage(&PipelineSpec::parse(&record.pipeline_text, &record.file_name)?, &record.base_dir)
}
