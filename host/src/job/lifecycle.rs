//! The thread of one job: attempts one after the other, as the restart strategy says, until a final status.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::attempt::{self, AttemptEnd};
use super::checkpointing::Uploaded;
use super::components::ComponentStore;
use super::live::{Command, Job, failure_of};
use super::origins::Origins;
use super::record::JobRecord;
use super::removal;
use super::repeats::FaultHistory;
use super::schedule::Request;
use super::stopping;
use super::view::{JobFailure, JobStatus};
use crate::checkpoint::{CheckpointStorage, StorageLocation};
use crate::clock::SharedClock;
use crate::error::{self, Result};
use crate::pipeline::{CheckpointCleanup, PipelineSpec, RestartStrategy};
use crate::runtime::SubtaskEvent;
use crate::sandbox::{HeldSlots, Slots};

/// How long a job whose compile was stopped waits for the command that stopped it.
const STOP_TIME: Duration = Duration::from_secs(60);

/// The first and the longest pause between two tries to store a job's end.
const STORE_PAUSE_MIN: Duration = Duration::from_millis(50);
const STORE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// What the job's thread receives. Events carry the number of the attempt that they belong to.
pub(super) enum Message {
    Command(Command),
    Event {
        attempt: u32,
        event: SubtaskEvent,
    },
    Uploaded {
        attempt: u32,
        checkpoint: u64,
        result: Box<Result<Uploaded>>,
    },
    /// All that an attempt needs before its subtasks run is done, or has failed.
    Prepared,
}

/// What a job's thread works with.
pub(super) struct Environment {
    pub(super) components: Arc<ComponentStore>,
    pub(super) clock: SharedClock,
    pub(super) runtime: tokio::runtime::Handle,
    /// Where checkpoints go, unless the manifest says otherwise.
    pub(super) storage: StorageLocation,
    pub(super) origins: Arc<Origins>,
    /// Places for the instances of all jobs.
    pub(super) instances: Slots,
}

impl Environment {
    /// Where a pipeline's checkpoints and savepoints are.
    pub(super) fn storage(&self, pipeline: &PipelineSpec, base_dir: &Path) -> Result<CheckpointStorage> {
        let own = pipeline.checkpoint.storage.as_ref().map(|text| StorageLocation::parse(text, base_dir)).transpose();
        let own = own.map_err(|why| error::manifest_invalid(format!("`storage` in [checkpoint]: {why}")))?;
        CheckpointStorage::open(own.as_ref().unwrap_or(&self.storage), self.runtime.clone())
    }
}

/// Runs a job until it is final or the process shuts down. A panic of ours fails the job, and nothing else.
pub(super) fn run(
    job: &Arc<Job>,
    environment: &Environment,
    pipeline: &PipelineSpec,
    instances: HeldSlots,
    sender: &Sender<Message>,
    receiver: &Receiver<Message>,
) {
    let attempts = AssertUnwindSafe(|| run_attempts(job, environment, pipeline, sender, receiver));
    let end = std::panic::catch_unwind(attempts).unwrap_or_else(|_| {
        AttemptEnd::Failed(failure_of(&error::internal("the job's thread panicked; the log says where")))
    });
    // Given back before anyone hears of the end, so that the next job has them.
    drop(instances);
    conclude(job, environment, pipeline, receiver, end);
}

/// One attempt after the other; how the job ends.
fn run_attempts(
    job: &Arc<Job>,
    environment: &Environment,
    pipeline: &PipelineSpec,
    sender: &Sender<Message>,
    receiver: &Receiver<Message>,
) -> AttemptEnd {
    let (mut attempt, mut requests) = (0, Vec::new());
    let mut faults = FaultHistory::default();
    loop {
        attempt += 1;
        let end = attempt::run(job, environment, pipeline, attempt, sender, receiver, &mut requests);
        let AttemptEnd::Failed(mut failure) = end else { return end };
        let is_repeated = faults.is_repeated(&failure);
        if is_repeated {
            failure
                .message
                .push_str(" (an earlier attempt failed in the same way on the same record: another would too)");
        }
        stopping::attempt_failed(job, &failure.message);
        let is_hopeless = is_repeated || is_hopeless(&failure);
        let stopped = failure.code == "compile-stopped";
        let end = if stopped { wait(STOP_TIME, receiver, &mut requests) } else { None };
        let restart = &pipeline.restart;
        let end = end.or_else(|| retry(job, restart, attempt, &failure, is_hopeless, receiver, &mut requests));
        let Some(end) = end else { continue };
        if matches!(end, AttemptEnd::Cancelled)
            && let Err(error) = attempt::settle_sinks(job, environment, pipeline)
        {
            tracing::warn!("what the sinks had prepared could not be removed: {error}");
        }
        return end;
    }
}

/// Waits for the next attempt, or says how the job ends instead.
fn retry(
    job: &Job,
    strategy: &RestartStrategy,
    attempt: u32,
    failure: &JobFailure,
    is_hopeless: bool,
    receiver: &Receiver<Message>,
    requests: &mut Vec<Request>,
) -> Option<AttemptEnd> {
    let name = job.record().name;
    tracing::error!(job = %name, attempt, code = failure.code, "{}", failure.message);
    let RestartStrategy::FixedDelay { attempts, delay } = strategy else {
        return Some(AttemptEnd::Failed(failure.clone()));
    };
    if attempt > *attempts || is_hopeless {
        return Some(AttemptEnd::Failed(failure.clone()));
    }
    job.update_or_show(|record| {
        record.status = JobStatus::Restarting;
        record.restarts += 1;
        record.failure = Some(failure.clone());
    });
    tracing::info!(job = %name, "restart {attempt} of {attempts} in {}", humantime::format_duration(*delay));
    wait(*delay, receiver, requests)
}

/// Whether another attempt would meet the very same: what is stored contradicts the pipeline, the input cannot be decoded, or
/// nobody can read stdout.
fn is_hopeless(failure: &JobFailure) -> bool {
    matches!(
        failure.code.as_str(),
        "checkpoint-mismatch"
            | "checkpoint-none-usable"
            | "state-migration-failed"
            | "stdout-closed"
            | "record-undecodable"
            | "source-encoding"
    )
}

/// Waits out the delay, unless a command ends the job. Requests are for the next attempt.
fn wait(delay: Duration, receiver: &Receiver<Message>, requests: &mut Vec<Request>) -> Option<AttemptEnd> {
    let deadline = crossbeam_channel::after(delay);
    loop {
        crossbeam_channel::select! {
            recv(receiver) -> message => match message {
                Ok(Message::Command(Command::Cancel)) => return Some(AttemptEnd::Cancelled),
                Ok(Message::Command(Command::Shutdown)) | Err(_) => return Some(AttemptEnd::Shutdown),
                Ok(Message::Command(Command::Take(request))) => requests.push(request),
                // The next attempt finds it in the job's record.
                Ok(Message::Command(Command::Stop)) => {}
                Ok(Message::Event { .. } | Message::Uploaded { .. } | Message::Prepared) => {}
            },
            recv(deadline) -> _ => return None,
        }
    }
}

fn conclude(
    job: &Job,
    environment: &Environment,
    pipeline: &PipelineSpec,
    receiver: &Receiver<Message>,
    end: AttemptEnd,
) {
    let (status, failure) = match end {
        // The record stays as it is: the next start of the process resumes the job.
        AttemptEnd::Shutdown => return,
        AttemptEnd::Finished => (JobStatus::Finished, None),
        AttemptEnd::Stopped => (JobStatus::Stopped, None),
        AttemptEnd::Cancelled => (JobStatus::Cancelled, None),
        AttemptEnd::Failed(failure) => (JobStatus::Failed, Some(failure)),
    };
    let ended_at_ms = environment.clock.wall_ms();
    let deletes = status != JobStatus::Failed && pipeline.checkpoint.on_cancel == CheckpointCleanup::Delete;
    let change = |record: &mut JobRecord| {
        record.status = status;
        record.ended_at_ms = Some(ended_at_ms);
        // Not removed before this is kept: a job that is thought to run must find them.
        record.checkpoints_to_remove = deletes;
        if failure.is_some() {
            record.failure = failure.clone();
        }
    };
    let JobRecord { id, name, .. } = job.record();
    // Whoever is shown the end may remove what the job began from.
    if !store_end(job, status, change, || environment.origins.forget(&id), receiver) {
        return;
    }
    removal::remove_checkpoints_of_ended(job, environment);
    let _ = std::fs::remove_dir_all(job.dir.join("working"));
    tracing::info!(job = %name, ?status, "job ended");
}

/// Stores how a job ended, however long that takes: an end that is only shown frees the job's name, and the next start of
/// the process would run the job again. False if the process ends first; its next start then resumes the job.
fn store_end(
    job: &Job,
    status: JobStatus,
    change: impl Fn(&mut JobRecord),
    stored: impl Fn(),
    receiver: &Receiver<Message>,
) -> bool {
    let mut pause = STORE_PAUSE_MIN;
    while let Err(error) = job.update_then(&change, &stored) {
        if pause == STORE_PAUSE_MIN {
            let name = job.record().name;
            tracing::error!(job = %name, ?status, "the job's end cannot be stored yet, and is tried again: {error}");
            job.warn(format!("the job's end could not be stored at once: {error}"));
        }
        if !pause_unless_shutdown(job, pause, receiver) {
            return false;
        }
        pause = (pause * 2).min(STORE_PAUSE_MAX);
    }
    true
}

/// Waits, and answers requests meanwhile. False if the process ends.
fn pause_unless_shutdown(job: &Job, pause: Duration, receiver: &Receiver<Message>) -> bool {
    let deadline = crossbeam_channel::after(pause);
    loop {
        crossbeam_channel::select! {
            recv(receiver) -> message => match message {
                Ok(Message::Command(Command::Shutdown)) | Err(_) => return false,
                Ok(Message::Command(Command::Take(request))) => {
                    job.fail_savepoints(&[request.request_id], "the job has ended")
                }
                Ok(_) => {}
            },
            recv(deadline) -> _ => return true,
        }
    }
}

/// The next message, or none in time.
pub(super) fn receive(receiver: &Receiver<Message>, timeout: Duration) -> Option<Message> {
    match receiver.recv_timeout(timeout) {
        Ok(message) => Some(message),
        Err(RecvTimeoutError::Timeout) => None,
        // The sender is kept by the job itself, so that this means the end.
        Err(RecvTimeoutError::Disconnected) => Some(Message::Command(Command::Shutdown)),
    }
}
