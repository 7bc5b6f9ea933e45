//! Resumes jobs whose process ended before they did.

use std::sync::Arc;

use super::job_registry::JobRegistry;
use crate::error::{self, Error, Result};
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::message::RunningJobCommand;
use crate::job::store::{JobRecord, remove_checkpoints_of_ended};
use crate::job::view::{FailureOutcome, JobFailure, JobStatus};
use crate::pipeline::PipelineSpec;

/// Starts every job that had not ended, and jobs whose checkpoints were all damaged: their storage may have been
/// repaired. Removes checkpoints of ended jobs that are still to be removed. Returns the number of jobs that it
/// started.
pub fn resume_all(registry: &JobRegistry, environment: &JobEnvironment) -> usize {
    let (mut resumable, ended): (Vec<_>, Vec<_>) =
        registry.all().into_iter().partition(|job| is_resumable(registry, job));
    // Failed jobs come last, so that they take no instances from jobs that were running.
    resumable.sort_by_key(|job| job.status().is_final());
    resumable.iter().for_each(|job| resume(registry, environment, job));
    ended.iter().for_each(|job| remove_checkpoints_of_ended(job, environment));
    resumable.len()
}

/// Resumes the job of this name that had not ended when its process did. Returns `None` if there is none. Error:
/// `job-name-taken` if it was submitted with another pipeline file.
pub fn resume_named(
    registry: &JobRegistry,
    environment: &JobEnvironment,
    name: &str,
    pipeline_text: &str,
) -> Result<Option<Arc<JobHandle>>> {
    let jobs = registry.all();
    let Some(job) = jobs.iter().find(|job| job.record().name == name && is_resumable(registry, job)) else {
        return Ok(None);
    };
    if job.record().pipeline_text != pipeline_text {
        return Err(error::job_name_taken(format!("a job `{name}` with a different pipeline file has not ended"))
            .hint("run it to its end with its own pipeline file, or choose another name or data folder"));
    }
    resume(registry, environment, job);
    Ok(Some(job.clone()))
}

/// Returns whether a job should run and does not. Either its process was killed, or its checkpoints were all damaged
/// and no later job of its name exists.
fn is_resumable(registry: &JobRegistry, job: &JobHandle) -> bool {
    let record = job.record();
    let is_newest = || registry.newest_named(&record.name).is_some_and(|newest| newest.id == record.id);
    job.is_orphaned() || (record.lost_its_state() && is_newest())
}

fn resume(registry: &JobRegistry, environment: &JobEnvironment, job: &Arc<JobHandle>) {
    let record = job.record();
    tracing::info!(job = %record.name, id = %record.id, "resuming");
    let status = record.status;
    job.show(|record| {
        record.status = JobStatus::Created;
        record.ended_at_ms = None;
        record.failure = None;
        record.restored_checkpoint = None;
        // A requested cancel that a kill interrupted is carried out now. An attempt carries out a requested stop.
        if status == JobStatus::Cancelling {
            record.stop = None;
        }
    });
    let started = PipelineSpec::parse(&record.pipeline_text, &record.file_name).and_then(|mut pipeline| {
        environment.limit_ceilings.cut(&mut pipeline);
        registry.start(job, pipeline)
    });
    if status == JobStatus::Cancelling {
        job.command(RunningJobCommand::Cancel);
    }
    if let Err(error) = started {
        fail_resumption(environment, job, record, &error);
    }
}

/// Marks a job as failed that could not be resumed. A job that had failed before keeps its earlier failure, and the
/// next start of the process tries again.
fn fail_resumption(environment: &JobEnvironment, job: &JobHandle, record: JobRecord, error: &Error) {
    if record.status.is_final() {
        tracing::warn!(job = %record.name, id = %record.id, "cannot resume the job: {error}");
        return job.show(|shown| *shown = record);
    }
    let ended_at_ms = environment.clock.wall_ms();
    let stored = job.update(|record| {
        record.status = JobStatus::Failed;
        record.ended_at_ms = Some(ended_at_ms);
        record.note_failure(&JobFailure::from(error), record.attempts, ended_at_ms, FailureOutcome::Failed);
    });
    if let Err(store_error) = stored {
        // The job keeps its name, and the next start of the process tries again.
        tracing::error!(job = %record.name, "cannot resume the job: {error}; cannot store this failure: {store_error}");
        job.show(|record| record.failure = Some(JobFailure::from(error)));
    }
}
