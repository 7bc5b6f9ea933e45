//! Restarts after failures: whether another attempt follows, and the restart delay before it.

use std::ops::ControlFlow;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::attempt::AttemptEnd;
use crate::job::handle::JobHandle;
use crate::job::message::{JobMessage, RunningJobCommand};
use crate::job::savepoint::CheckpointRequest;
use crate::job::view::{JobFailure, JobStatus};
use crate::pipeline::RestartStrategy;

/// How long a job whose compilation was stopped waits for the command that stopped it.
pub const COMPILE_STOPPED_WAIT: Duration = Duration::from_secs(60);

/// Returns the delay before the next attempt, and shows the job as restarting. Returns the failure if no attempt
/// follows: the strategy allows none, the attempts are exhausted, the failure is permanent, or it is repeated.
pub fn restart_delay(
    job: &JobHandle,
    strategy: &RestartStrategy,
    attempt: u32,
    failure: JobFailure,
    is_repeated: bool,
) -> Result<Duration, JobFailure> {
    let name = job.record().name;
    tracing::error!(job = %name, attempt, code = failure.code, "{}", failure.message);
    let RestartStrategy::FixedDelay { attempts, delay } = strategy else { return Err(failure) };
    if attempt > *attempts || is_repeated || is_permanent(&failure) {
        return Err(failure);
    }
    job.update_or_show(|record| {
        record.status = JobStatus::Restarting;
        record.restarts += 1;
        record.failure = Some(failure.clone());
    });
    tracing::info!(job = %name, "restart {attempt} of {attempts} in {}", humantime::format_duration(*delay));
    Ok(*delay)
}

/// Returns whether another attempt would fail in the same way: the checkpoint contradicts the pipeline, the input
/// cannot be decoded, or stdout is closed.
fn is_permanent(failure: &JobFailure) -> bool {
    matches!(
        failure.code.as_str(),
        "checkpoint-mismatch"
            | "checkpoint-none-usable"
            | "state-migration-failed"
            | "stdout-closed"
            | "record-undecodable"
            | "record-invalid"
            | "source-encoding"
    )
}

/// Waits until `delay` has elapsed. Breaks if a command ends the job. Requests are collected for the next attempt.
pub fn wait(
    delay: Duration,
    receiver: &Receiver<JobMessage>,
    requests: &mut Vec<CheckpointRequest>,
) -> ControlFlow<AttemptEnd> {
    let deadline = crossbeam_channel::after(delay);
    loop {
        crossbeam_channel::select! {
            recv(receiver) -> message => match message {
                Ok(JobMessage::Command(RunningJobCommand::Cancel)) => return ControlFlow::Break(AttemptEnd::Cancelled),
                Ok(JobMessage::Command(RunningJobCommand::Shutdown)) | Err(_) => return ControlFlow::Break(AttemptEnd::Shutdown),
                Ok(JobMessage::Command(RunningJobCommand::TakeCheckpoint(request))) => requests.push(request),
                // The next attempt finds the stop in the job's record.
                Ok(JobMessage::Command(RunningJobCommand::Stop)) => {}
                Ok(JobMessage::SubtaskEvent { .. } | JobMessage::Uploaded { .. } | JobMessage::Prepared) => {}
            },
            recv(deadline) -> _ => return ControlFlow::Continue(()),
        }
    }
}
