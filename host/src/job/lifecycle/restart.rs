//! Restarts after failures: whether another attempt follows, and the wait before it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::attempt_end::AttemptEnd;
use super::fault_history::FaultHistory;
use crate::access::SecretStore;
use crate::clock::SharedClock;
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::message::{JobMessage, RunningJobCommand};
use crate::job::restart_policy::RestartDecision;
use crate::job::savepoint::{CheckpointRequest, give_up_failing_stop};
use crate::job::view::{FailureOutcome, JobFailure, JobStatus};
use crate::log_limit::LogLimit;
use crate::model::LogLevel;
use crate::pipeline::RestartStrategy;

/// How long a job whose compilation was stopped waits for the command that stopped it.
pub const COMPILE_STOPPED_WAIT: Duration = Duration::from_secs(60);

/// Number of failures of one job that are logged at once. Then one per second is logged.
const RESTARTS_BURST: u64 = 10;

/// Decides about the restarts of one job, and records its failures.
pub struct Restarts {
    job: Arc<JobHandle>,
    clock: SharedClock,
    /// Values that must not be stored with a failure.
    secrets: SecretStore,
    strategy: RestartStrategy,
    faults: FaultHistory,
    /// Limits the lines about failures that are followed by a restart.
    log: LogLimit,
}

impl Restarts {
    /// Creates the decisions of a job whose thread starts.
    pub fn new(job: Arc<JobHandle>, environment: &JobEnvironment, strategy: RestartStrategy) -> Restarts {
        let (clock, secrets) = (environment.clock.clone(), environment.policy.secrets().clone());
        Restarts {
            job,
            clock,
            secrets,
            strategy,
            faults: FaultHistory::default(),
            log: LogLimit::new(RESTARTS_BURST, 1),
        }
    }

    /// Returns the delay before the restart that follows the failure of an attempt, stores the failure, and shows the
    /// job as restarting. Returns the failure if no restart follows: the strategy allows none, the failure is
    /// permanent, or it is repeated.
    pub fn delay_after(
        &mut self,
        attempt: u32,
        failure: JobFailure,
        outcome: FailureOutcome,
    ) -> Result<Duration, JobFailure> {
        let mut failure = failure.without_secrets(&self.secrets);
        let is_repeated = self.faults.is_repeated(&failure);
        if is_repeated {
            failure.message.push_str(" (an earlier attempt failed on the same record with the same code)");
        }
        give_up_failing_stop(&self.job, &failure.message);
        let record = self.job.record();
        let log = |failure: &JobFailure, suppressed: u64| {
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::error!(job = %record.name, attempt, code = failure.code, suppressed, "{}", failure.message);
            let text = format!("attempt {attempt} failed: {} [{}]", failure.message, failure.code);
            self.job.log.note(self.clock.wall_ms(), LogLevel::Error, failure.operator.as_deref(), &text);
        };
        if is_repeated || is_permanent(&failure) {
            log(&failure, self.log.rest());
            return Err(failure);
        }
        let now_ms = self.clock.wall_ms();
        let mut history = record.restart_history;
        let RestartDecision::After(delay) = history.decide(&self.strategy, now_ms, record.seed) else {
            log(&failure, self.log.rest());
            return Err(failure);
        };
        let admitted = self.log.admit(self.clock.monotonic_ns());
        if let Some(suppressed) = admitted {
            log(&failure, suppressed);
        }
        self.job.update_or_show(|record| {
            record.status.advance(JobStatus::Restarting);
            record.restarts += 1;
            record.restart_history = history.clone();
            record.note_failure(&failure, attempt, now_ms, outcome);
        });
        let restarts = record.restarts + 1;
        if admitted.is_some() {
            let delay = humantime::format_duration(delay);
            tracing::info!(job = %record.name, restarts, "restart in {delay}");
            self.job.log.note(now_ms, LogLevel::Info, None, &format!("restart {restarts} in {delay}"));
        }
        Ok(delay)
    }
}

/// Returns whether another attempt would fail in the same way: the checkpoint contradicts the pipeline, the input
/// cannot be decoded, a limit of the whole job is exceeded, or stdout is closed.
fn is_permanent(failure: &JobFailure) -> bool {
    matches!(
        failure.code.as_str(),
        "checkpoint-mismatch"
            | "checkpoint-none-usable"
            | "restore-hung"
            | "native-denied"
            | "path-denied"
            | "address-denied"
            | "secret-denied"
            | "state-migration-failed"
            | "stdout-closed"
            | "sink-ahead"
            | "sink-marker-lost"
            | "sink-changed"
            | "sink-fenced"
            | "record-undecodable"
            | "record-invalid"
            | "source-encoding"
            | "dead-letters-full"
            | "state-exceeded"
            | "quota-exceeded"
            | "too-many-faults"
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
                // The next attempt finds these in the job's record.
                Ok(JobMessage::Command(RunningJobCommand::Stop | RunningJobCommand::UpdateLetters { .. })) => {}
                Ok(
                    JobMessage::SubtaskEvent { .. }
                    | JobMessage::RegionPrepared { .. }
                    | JobMessage::Uploaded { .. }
                    | JobMessage::Published { .. }
                    | JobMessage::Prepared,
                ) => {}
            },
            recv(deadline) -> _ => return ControlFlow::Continue(()),
        }
    }
}
