//! A running attempt of a job: handles the messages of its subtasks and users until it ends.
//!
//! Checkpoints are the business of the [`CheckpointCoordinator`]. An attempt that was not prepared completely never
//! gets here; see `attempt_start`.

use std::ops::ControlFlow;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::attempt_context::AttemptContext;
use super::attempt_end::AttemptEnd;
use crate::job::checkpoint::{AfterCheckpoint, CheckpointCoordinator};
use crate::job::lost_records::LossLog;
use crate::job::message::{JobMessage, RunningJobCommand, receive};
use crate::job::savepoint::{CheckpointRequest, StopRequest};
use crate::job::view::{JobFailure, JobStatus};
use crate::runtime::{Execution, SubtaskEvent};

/// The failure of a source subtask. The attempt ends with it after a checkpoint has stored the records before the
/// failure.
struct SourceFailure {
    failure: JobFailure,
    /// Id of the first checkpoint that contains all records before the failure.
    checkpoint: u64,
}

/// An attempt whose subtasks have been started.
pub struct Attempt {
    context: AttemptContext,
    execution: Execution,
    coordinator: CheckpointCoordinator,
    /// Subtasks that are still being opened and restored.
    opening_subtasks: usize,
    source_failure: Option<SourceFailure>,
    losses: LossLog,
}

impl Attempt {
    /// Creates an attempt from a started execution.
    pub fn new(context: AttemptContext, execution: Execution, coordinator: CheckpointCoordinator) -> Attempt {
        context.job.show_live_stats(context.plan.clone(), execution.stats_reader());
        Attempt {
            context,
            opening_subtasks: execution.subtasks(),
            execution,
            coordinator,
            source_failure: None,
            losses: LossLog::default(),
        }
    }

    /// Runs until the attempt ends. Handles `early_messages` first, which arrived during the preparation. All subtasks
    /// have ended when it returns.
    pub fn run(
        &mut self,
        early_messages: Vec<JobMessage>,
        receiver: &Receiver<JobMessage>,
    ) -> Result<AttemptEnd, JobFailure> {
        let end = self.run_until_end(early_messages, receiver);
        if end.is_err() {
            self.context.job.show(|record| record.status.advance(JobStatus::Failing));
        }
        self.execution.cancel();
        self.execution.join();
        self.coordinator.end_uploads();
        self.context.job.end_live_stats();
        self.context.job.log_losses(&mut self.losses, true);
        self.coordinator.give_up_all();
        if matches!(end, Ok(AttemptEnd::Cancelled)) {
            self.coordinator.discard_prepared_output();
        }
        // If a source failed first, its failure is the cause, whatever followed.
        end.map_err(|failure| self.source_failure.take().map_or(failure, |source| source.failure))
    }

    fn run_until_end(
        &mut self,
        early_messages: Vec<JobMessage>,
        receiver: &Receiver<JobMessage>,
    ) -> Result<AttemptEnd, JobFailure> {
        self.request_stop_of_record();
        for message in early_messages {
            if let ControlFlow::Break(end) = self.handle(message)? {
                return Ok(end);
            }
        }
        let clock = self.context.environment.clock.clone();
        loop {
            let now_ns = clock.monotonic_ns();
            // A barrier would have to wait for subtasks that are still being restored.
            let mut due_ns = None;
            if self.opening_subtasks == 0 {
                self.coordinator.trigger_due(&self.execution, now_ns);
                due_ns = self.coordinator.wait_ns(now_ns);
            }
            if let Some(message) = receive(receiver, due_ns.map(Duration::from_nanos))
                && let ControlFlow::Break(end) = self.handle(message)?
            {
                return Ok(end);
            }
            let now_ns = clock.monotonic_ns();
            self.coordinator.fail_expired(&self.execution, now_ns)?;
            self.fail_after_source_failure()?;
        }
    }

    /// Fails the attempt if a source has failed, once the checkpoint of the records before the failure is complete or
    /// has failed.
    fn fail_after_source_failure(&self) -> Result<(), JobFailure> {
        match &self.source_failure {
            Some(source) if self.coordinator.is_settled(source.checkpoint) => Err(source.failure.clone()),
            _ => Ok(()),
        }
    }

    /// Handles a message. Breaks with the attempt's end.
    fn handle(&mut self, message: JobMessage) -> Result<ControlFlow<AttemptEnd>, JobFailure> {
        let attempt_number = self.context.sender.attempt();
        match message {
            JobMessage::Command(RunningJobCommand::Cancel) => return Ok(ControlFlow::Break(AttemptEnd::Cancelled)),
            JobMessage::Command(RunningJobCommand::Shutdown) => return Ok(ControlFlow::Break(AttemptEnd::Shutdown)),
            JobMessage::Command(RunningJobCommand::TakeCheckpoint(request)) => self.coordinator.request(request),
            JobMessage::Command(RunningJobCommand::Stop) => self.request_stop_of_record(),
            JobMessage::SubtaskEvent { attempt, event } if attempt == attempt_number => self.handle_event(event)?,
            JobMessage::Uploaded { attempt, checkpoint, result } if attempt == attempt_number => {
                return Ok(match self.coordinator.finish_upload(checkpoint, *result)? {
                    AfterCheckpoint::Continue => ControlFlow::Continue(()),
                    AfterCheckpoint::Finished => ControlFlow::Break(AttemptEnd::Finished),
                    AfterCheckpoint::Stopped => ControlFlow::Break(AttemptEnd::Stopped),
                });
            }
            JobMessage::SubtaskEvent { .. } | JobMessage::Uploaded { .. } | JobMessage::Prepared => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn handle_event(&mut self, event: SubtaskEvent) -> Result<(), JobFailure> {
        match event {
            SubtaskEvent::Acknowledged { checkpoint, snapshots } => {
                self.coordinator.acknowledge(checkpoint, snapshots)?
            }
            SubtaskEvent::Opened => self.subtask_opened(),
            SubtaskEvent::SourceEnded => self.coordinator.source_ended(),
            SubtaskEvent::CheckpointDue => self.coordinator.checkpoint_due(),
            SubtaskEvent::RecordsLost => self.context.job.log_losses(&mut self.losses, false),
            SubtaskEvent::Failed(failure) => return Err((*failure).into()),
            SubtaskEvent::SourceFailed(failure) => {
                let source_failure =
                    SourceFailure { failure: (*failure).into(), checkpoint: self.coordinator.next_id() };
                self.source_failure.get_or_insert(source_failure);
                self.coordinator.checkpoint_now();
            }
            SubtaskEvent::Warning(warning) => {
                tracing::warn!(job = %self.context.plan.pipeline.name, "{warning}");
                self.context.job.warn(warning);
            }
        }
        Ok(())
    }

    /// Counts an opened subtask. Once all are open, the job is running.
    fn subtask_opened(&mut self) {
        self.opening_subtasks = self.opening_subtasks.saturating_sub(1);
        if self.opening_subtasks > 0 {
            return;
        }
        self.context.job.update_or_show(|record| {
            record.restoring = false;
            record.status.advance(JobStatus::Running);
        });
    }

    /// Requests the stop that the job's record holds, if any.
    fn request_stop_of_record(&mut self) {
        if let Some(request) = self.context.job.record().open_stop().map(StopRequest::checkpoint_request) {
            self.coordinator.request(request);
        }
    }

    /// Schedules a request that arrived before the attempt.
    pub fn request(&mut self, request: CheckpointRequest) {
        self.coordinator.request(request);
    }
}
