//! The thread of one job: runs one attempt after the other until the job ends.
//!
//! Invariant: a panic on this thread fails the job and nothing else.

use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::attempt_end::AttemptEnd;
use super::attempt_failure::AttemptFailure;
use super::attempt_start::{AttemptInterrupts, PreparedAttempt, prepare, prepare_while_listening};
use super::job_end;
use super::requested_end::requested_end;
use super::restart::{self, Restarts};
use super::wind_up::wind_up_sinks;
use crate::allocator;
use crate::error;
use crate::job::capacity::ReservedCapacity;
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::message::{AttemptSender, JobMessage};
use crate::job::savepoint::CheckpointRequest;
use crate::job::view::{FailureOutcome, JobFailure};
use crate::pipeline::PipelineSpec;
use crate::runtime::InjectedFailures;

/// A job's thread: what it works with, and the requests that wait for the next attempt.
pub struct JobThread {
    job: Arc<JobHandle>,
    environment: Arc<JobEnvironment>,
    pipeline: Arc<PipelineSpec>,
    sender: Sender<JobMessage>,
    receiver: Receiver<JobMessage>,
    injected: Arc<InjectedFailures>,
    /// Requests that arrived between two attempts.
    requests: Vec<CheckpointRequest>,
}

impl JobThread {
    /// Connects a job's handle to a thread that is about to run the job.
    pub fn new(job: Arc<JobHandle>, environment: Arc<JobEnvironment>, pipeline: PipelineSpec) -> JobThread {
        let (sender, receiver) = crossbeam_channel::unbounded();
        job.attach(sender.clone());
        let injected = Arc::new(InjectedFailures::new(&pipeline.fault_injection.failures));
        JobThread { job, environment, pipeline: Arc::new(pipeline), sender, receiver, injected, requests: Vec::new() }
    }

    /// Runs the job until it has ended or the process shuts down. `capacity` is what the job has reserved.
    pub fn run(mut self, capacity: ReservedCapacity) {
        let attempts = AssertUnwindSafe(|| self.run_attempts());
        let end = std::panic::catch_unwind(attempts).unwrap_or_else(|_| {
            Err(error::internal("the job's thread panicked; the log has the location of the panic").into())
        });
        // Released before the end is shown, so that the next job can use it.
        drop(capacity);
        job_end::conclude(&self.job, &self.environment, &self.pipeline, &self.receiver, end);
        self.job.detach();
        // No further request is accepted from here on, so that every accepted request gets an answer.
        self.job.fail_open_savepoints("the job has ended");
        allocator::return_free_memory();
    }

    /// Runs attempts until one ends without a failure, or until a failure is not followed by a restart.
    fn run_attempts(&mut self) -> Result<AttemptEnd, JobFailure> {
        let mut restarts = Restarts::new(self.job.clone(), &self.environment, self.pipeline.restart);
        let mut is_first = true;
        loop {
            let failure = match self.run_attempt(is_first, &mut restarts) {
                Ok(end) => return Ok(end),
                Err(AttemptFailure::Final(failure)) => return Err(failure),
                Err(AttemptFailure::Undecided(failure)) => failure,
            };
            is_first = false;
            if let ControlFlow::Break(end) = self.wait_for_restart(&mut restarts, failure)? {
                return Ok(self.wind_up(end));
            }
        }
    }

    /// Waits for the next attempt. Breaks if a command ends the job in the meantime. Returns the failure if no attempt
    /// follows.
    fn wait_for_restart(
        &mut self,
        restarts: &mut Restarts,
        failure: JobFailure,
    ) -> Result<ControlFlow<AttemptEnd>, JobFailure> {
        if failure.code == "compile-stopped" {
            let end = restart::wait(restart::COMPILE_STOPPED_WAIT, &self.receiver, &mut self.requests);
            if end.is_break() {
                return Ok(end);
            }
        }
        let attempt = self.job.record().attempts;
        let delay = restarts.delay_after(attempt, failure, FailureOutcome::Restart)?;
        Ok(restart::wait(delay, &self.receiver, &mut self.requests))
    }

    /// Ends the sinks of a job that is cancelled while no attempt runs. Returns how the job ends.
    fn wind_up(&self, end: AttemptEnd) -> AttemptEnd {
        match end {
            AttemptEnd::Cancelled => wind_up_sinks(&self.job, &self.environment, &self.pipeline, &self.receiver),
            end => end,
        }
    }

    /// Prepares and runs one attempt. All its subtasks have ended when it returns.
    fn run_attempt(&mut self, is_first: bool, restarts: &mut Restarts) -> Result<AttemptEnd, AttemptFailure> {
        let interrupts = AttemptInterrupts::default();
        let sender = AttemptSender::new(self.job.begin_attempt(), self.sender.clone());
        let prepare =
            || prepare(&self.job, &self.environment, &self.pipeline, sender, &self.injected, is_first, &interrupts);
        let channel = (&self.sender, &self.receiver);
        let both = [&interrupts.interrupt, &interrupts.publishing];
        let (prepared, messages) = prepare_while_listening(channel, both, prepare);
        match prepared {
            Ok(PreparedAttempt::AlreadyFinished) => Ok(AttemptEnd::Finished),
            Ok(PreparedAttempt::AlreadyStopped) => Ok(AttemptEnd::Stopped),
            Ok(PreparedAttempt::Started(mut attempt)) => {
                self.requests.drain(..).for_each(|request| attempt.request(request));
                attempt.run(messages, &self.receiver, restarts)
            }
            Err(error) => match messages.iter().find_map(requested_end).filter(|_| interrupts.interrupt.is_set()) {
                Some(end) => Ok(self.wind_up(end)),
                None => {
                    // The wait for the next attempt handles these messages.
                    messages.into_iter().for_each(|message| drop(self.sender.send(message)));
                    Err(error.into())
                }
            },
        }
    }
}
