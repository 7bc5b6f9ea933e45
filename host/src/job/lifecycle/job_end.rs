//! The end of a job: stores the final status, then removes what the job no longer needs.
//!
//! Invariant: an end is shown only after it is stored. Otherwise another job could take the name, and the next start of
//! the process would run the ended job again.

use std::time::Duration;

use crossbeam_channel::Receiver;

use super::attempt_end::AttemptEnd;
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::message::{JobMessage, RunningJobCommand};
use crate::job::store::{JobRecord, remove_checkpoints_of_ended};
use crate::job::view::{FailureOutcome, JobFailure, JobStatus};
use crate::model::LogLevel;
use crate::pipeline::{CheckpointCleanup, PipelineSpec};

/// Pause after the first failed try to store a job's end. It doubles with each further try.
const STORE_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two tries to store a job's end.
const STORE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Stores and shows how a job ended, and removes its checkpoints if the pipeline file says so. After a shutdown the
/// job is suspended, and the next start of the process resumes it.
pub fn conclude(
    job: &JobHandle,
    environment: &JobEnvironment,
    pipeline: &PipelineSpec,
    receiver: &Receiver<JobMessage>,
    end: Result<AttemptEnd, JobFailure>,
) {
    let (status, failure) = match end {
        Ok(AttemptEnd::Shutdown) => return job.update_or_show(|record| record.status.advance(JobStatus::Suspended)),
        Ok(AttemptEnd::Finished | AttemptEnd::Stopped) => (JobStatus::Finished, None),
        Ok(AttemptEnd::Cancelled) => (JobStatus::Canceled, None),
        Err(failure) => (JobStatus::Failed, Some(failure.without_secrets(environment.policy.secrets()))),
    };
    let ended_at_ms = environment.clock.wall_ms();
    let deletes = status != JobStatus::Failed && pipeline.checkpoint.on_cancel == CheckpointCleanup::Delete;
    let change = |record: &mut JobRecord| {
        record.status = status;
        record.ended_at_ms = Some(ended_at_ms);
        // Checkpoints are removed after this is stored: a job that is resumed needs them.
        record.checkpoints_to_remove = deletes && record.unpublished.is_none();
        record.warnings.extend(record.unpublished.as_ref().map(|what| unpublished_warning(what)));
        if let Some(failure) = &failure {
            record.note_failure(failure, record.attempts, ended_at_ms, FailureOutcome::Failed);
        }
    };
    job.log.note(ended_at_ms, LogLevel::Info, None, &format!("job ended: {status:?}").to_lowercase());
    // Letters that no complete checkpoint contains are gone.
    job.recount_letters();
    fail_point!("job-end.store");
    let JobRecord { id, name, .. } = job.record();
    // A client that sees the end may remove the job's origin, so that the origin is released before the end is shown.
    if !store_end(job, status, change, || environment.origins.forget(&id), receiver) {
        return;
    }
    fail_point!("job-end.remove");
    remove_checkpoints_of_ended(job, environment);
    let _ = std::fs::remove_dir_all(job.dir.join("working"));
    fail_point!("job-end.done");
    tracing::info!(job = %name, ?status, "job ended");
    environment.ended_logs.add(&job.log);
}

fn unpublished_warning(what: &str) -> String {
    format!(
        "output is not published, and the checkpoints are kept: {what}; a job that starts from the newest one publishes it"
    )
}

/// Stores how a job ended, and tries again until it succeeds. Returns `false` if the process ends first: its next start
/// resumes the job.
fn store_end(
    job: &JobHandle,
    status: JobStatus,
    change: impl Fn(&mut JobRecord),
    stored: impl Fn(),
    receiver: &Receiver<JobMessage>,
) -> bool {
    let mut pause = STORE_PAUSE_MIN;
    while let Err(error) = job.update_then(&change, &stored) {
        if pause == STORE_PAUSE_MIN {
            let name = job.record().name;
            tracing::error!(job = %name, ?status, "cannot store the end of the job, and tries again: {error}");
            job.warn(format!("the job's end could not be stored at once: {error}"));
        }
        if !pause_unless_shutdown(job, pause, receiver) {
            return false;
        }
        pause = (pause * 2).min(STORE_PAUSE_MAX);
    }
    true
}

/// Waits, and answers requests as failed in the meantime. Returns `false` if the process ends.
fn pause_unless_shutdown(job: &JobHandle, pause: Duration, receiver: &Receiver<JobMessage>) -> bool {
    let deadline = crossbeam_channel::after(pause);
    loop {
        crossbeam_channel::select! {
            recv(receiver) -> message => match message {
                Ok(JobMessage::Command(RunningJobCommand::Shutdown)) | Err(_) => return false,
                Ok(JobMessage::Command(RunningJobCommand::TakeCheckpoint(request))) => {
                    job.fail_savepoints(&[request.request_id], "the job has ended");
                }
                Ok(_) => {}
            },
            recv(deadline) -> _ => return true,
        }
    }
}
