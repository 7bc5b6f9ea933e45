//! A running attempt of a job: handles the messages of its subtasks and users until it ends.
//!
//! Checkpoints are the business of the [`CheckpointCoordinator`]. If a subtask fails and the job has several regions, only
//! its region ends and restarts within the attempt. An attempt that was not prepared completely never gets here; see
//! `attempt_start`.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::attempt_context::AttemptContext;
use super::attempt_end::AttemptEnd;
use super::attempt_failure::AttemptFailure;
use super::region_start::RegionRestart;
use super::regions::{Regions, SourceFailure};
use super::requested_end::requested_end;
use super::restart::Restarts;
use super::shutdown::PendingShutdown;
use crate::allocator::StackReturns;
use crate::job::checkpoint::{AfterCheckpoint, CheckpointCoordinator};
use crate::job::dead_letters;
use crate::job::environment::JobEnvironment;
use crate::job::lost_records::LossLog;
use crate::job::message::{JobMessage, RunningJobCommand, receive};
use crate::job::savepoint::{CheckpointRequest, StopRequest};
use crate::job::view::{FailureOutcome, JobFailure, JobStatus};
use crate::runtime::{CheckpointTriggers, SubtaskEvent};

/// How often an attempt that ends looks whether its publications get on.
const PUBLICATION_CHECK: Duration = Duration::from_millis(100);

/// Whether an attempt that ends waits for publications whose peer is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AbsentPeer {
    Await,
    /// The next attempt goes on with them.
    Leave,
}

/// An attempt whose subtasks have been started.
pub struct Attempt {
    context: AttemptContext,
    regions: Regions,
    triggers: Arc<CheckpointTriggers>,
    coordinator: CheckpointCoordinator,
    losses: LossLog,
    /// Set once the process ends.
    shutdown: Option<PendingShutdown>,
}

impl Attempt {
    /// Creates an attempt from started regions.
    pub fn new(
        context: AttemptContext,
        regions: Regions,
        triggers: Arc<CheckpointTriggers>,
        coordinator: CheckpointCoordinator,
    ) -> Attempt {
        let attempt = Attempt { context, regions, triggers, coordinator, losses: LossLog::default(), shutdown: None };
        attempt.show_stats();
        attempt
    }

    /// Runs until the attempt ends. Handles `early_messages` first, which arrived during the preparation. All subtasks
    /// have ended when it returns, or their threads have been abandoned.
    pub fn run(
        &mut self,
        early_messages: Vec<JobMessage>,
        receiver: &Receiver<JobMessage>,
        restarts: &mut Restarts,
    ) -> Result<AttemptEnd, AttemptFailure> {
        let end = self.run_until_end(early_messages, receiver, restarts);
        if end.is_err() {
            self.context.job.show(|record| record.status.advance(JobStatus::Failing));
        }
        let abandoned = self.regions.end();
        self.context.job.note_abandoned_threads(&abandoned);
        self.coordinator.end_uploads();
        let end = match end {
            // After a shutdown the next start of the process carries the cancel out.
            Ok(AttemptEnd::Cancelled) if self.await_publications(receiver, AbsentPeer::Await) => {
                Ok(AttemptEnd::Shutdown)
            }
            Err(failure) => {
                self.await_publications(receiver, AbsentPeer::Leave);
                Err(failure)
            }
            end => end,
        };
        self.coordinator.end_publications();
        self.context.job.end_live_stats();
        self.context.job.faults.close();
        self.context.job.log_losses(&mut self.losses, true);
        self.coordinator.give_up_all();
        if matches!(end, Ok(AttemptEnd::Cancelled)) {
            self.coordinator.discard_prepared_output();
        }
        end.map_err(|failure| match failure {
            // If a source failed first, its failure is the cause, whatever followed.
            AttemptFailure::Undecided(failure) => {
                AttemptFailure::Undecided(self.regions.take_any_source_failure().unwrap_or(failure))
            }
            AttemptFailure::Final(_) => failure,
        })
    }

    /// Waits for the output that complete checkpoints have promised, for at most `publish_timeout`. Ends early at a cancel or a
    /// shutdown. Returns whether it was a shutdown.
    fn await_publications(&mut self, receiver: &Receiver<JobMessage>, peer: AbsentPeer) -> bool {
        let (clock, attempt_number) = (self.context.environment.clock.clone(), self.context.sender.attempt());
        let limit = self.context.plan.pipeline.checkpoint.publish_timeout;
        let deadline_ns = clock.monotonic_ns().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        let (mut others, mut is_shutdown, mut has_failed) = (Vec::new(), false, false);
        while !has_failed && clock.monotonic_ns() < deadline_ns {
            let is_waiting = match peer {
                AbsentPeer::Await => self.coordinator.has_open_publications(),
                AbsentPeer::Leave => self.coordinator.may_publish_soon(),
            };
            if !is_waiting {
                break;
            }
            let left = Duration::from_nanos(deadline_ns.saturating_sub(clock.monotonic_ns()));
            match receive(receiver, Some(left.min(PUBLICATION_CHECK))) {
                Some(JobMessage::Published { attempt, sink, checkpoint, result }) if attempt == attempt_number => {
                    has_failed = self.coordinator.sink_published(&sink, checkpoint, *result).is_err();
                }
                Some(message) => {
                    let end = requested_end(&message);
                    is_shutdown = end == Some(AttemptEnd::Shutdown);
                    others.push(message);
                    if is_shutdown || (end.is_some() && peer == AbsentPeer::Leave) {
                        break;
                    }
                }
                None => {}
            }
        }
        others.into_iter().for_each(|message| self.context.sender.keep(message));
        is_shutdown
    }

    fn run_until_end(
        &mut self,
        early_messages: Vec<JobMessage>,
        receiver: &Receiver<JobMessage>,
        restarts: &mut Restarts,
    ) -> Result<AttemptEnd, AttemptFailure> {
        self.coordinator.report_newest(&self.regions);
        self.request_stop_of_record();
        for message in early_messages {
            if let ControlFlow::Break(end) = self.handle(message, restarts)? {
                return Ok(end);
            }
        }
        let clock = self.context.environment.clock.clone();
        let mut stack = StackReturns::default();
        loop {
            let now_ns = clock.monotonic_ns();
            let mut due_ns = self.regions.restart_wait_ns(now_ns);
            // A barrier would have to wait for subtasks that are still being restored.
            if self.regions.are_running() {
                self.check_heartbeats(now_ns, restarts)?;
            }
            if self.regions.are_running() {
                self.coordinator.trigger_due(&self.regions, now_ns);
                let deadlines_ns = [
                    self.coordinator.wait_ns(now_ns),
                    self.regions.heartbeat_wait_ns(now_ns),
                    self.shutdown.as_ref().map(|shutdown| shutdown.wait_ns(&self.coordinator, now_ns)),
                ];
                due_ns = due_ns.into_iter().chain(deadlines_ns.into_iter().flatten()).min();
            }
            stack.before_wait(now_ns);
            if let Some(message) = receive(receiver, due_ns.map(Duration::from_nanos))
                && let ControlFlow::Break(end) = self.handle(message, restarts)?
            {
                return Ok(end);
            }
            let now_ns = clock.monotonic_ns();
            self.coordinator.fail_expired(&self.regions, now_ns)?;
            if self.coordinator.report_late_publications(now_ns) == AfterCheckpoint::Stopped {
                return Ok(AttemptEnd::Stopped);
            }
            if self.shutdown.as_ref().is_some_and(|shutdown| shutdown.is_over(&self.coordinator, now_ns)) {
                return Ok(AttemptEnd::Shutdown);
            }
            self.fail_after_source_failure(restarts)?;
            while let Some(region) = self.regions.due_restart(now_ns) {
                self.restart_region(region)?;
            }
        }
    }

    /// Fails a region of which a subtask hangs.
    fn check_heartbeats(&mut self, now_ns: u64, restarts: &mut Restarts) -> Result<(), AttemptFailure> {
        match self.regions.check_heartbeats(now_ns) {
            Some((region, failure)) => self.fail_region(region, failure.into(), restarts),
            None => Ok(()),
        }
    }

    /// Takes the last checkpoint, unless some subtask does not process records. Breaks if the attempt ends at once.
    fn shut_down(&mut self) -> ControlFlow<AttemptEnd> {
        if !self.regions.are_running() || self.regions.has_source_failure() || self.coordinator.is_finishing() {
            return ControlFlow::Break(AttemptEnd::Shutdown);
        }
        let JobEnvironment { clock, shutdown_time, .. } = &*self.context.environment;
        let (now_ns, time) = (clock.monotonic_ns(), *shutdown_time);
        self.shutdown.get_or_insert_with(|| PendingShutdown::begin(&mut self.coordinator, time, now_ns));
        ControlFlow::Continue(())
    }

    /// Fails a region if one of its sources has failed, once the checkpoint of the records before the failure is
    /// complete or has failed.
    fn fail_after_source_failure(&mut self, restarts: &mut Restarts) -> Result<(), AttemptFailure> {
        let settled = |checkpoint| self.coordinator.is_settled(checkpoint);
        let Some(region) = self.regions.settled_source_failure(settled) else { return Ok(()) };
        match self.regions.take_source_failure(region) {
            Some(failure) => self.fail_region(region, failure, restarts),
            None => Ok(()),
        }
    }

    /// Handles a message. Breaks with the attempt's end.
    fn handle(
        &mut self,
        message: JobMessage,
        restarts: &mut Restarts,
    ) -> Result<ControlFlow<AttemptEnd>, AttemptFailure> {
        let attempt_number = self.context.sender.attempt();
        match message {
            JobMessage::Command(RunningJobCommand::Cancel) => return Ok(ControlFlow::Break(AttemptEnd::Cancelled)),
            JobMessage::Command(RunningJobCommand::Shutdown) => return Ok(self.shut_down()),
            JobMessage::Command(RunningJobCommand::TakeCheckpoint(request)) => self.coordinator.request(request),
            JobMessage::Command(RunningJobCommand::UpdateLetters { removed_bytes }) => {
                self.context.letters.quota.free(removed_bytes);
                dead_letters::add_replays(&self.context.job, &self.context.letters.replays);
                self.regions.wake_all();
            }
            JobMessage::Command(RunningJobCommand::Stop) => self.request_stop_of_record(),
            JobMessage::SubtaskEvent { attempt, region, event } if self.regions.is_current(region, attempt) => {
                self.handle_event(region, event, restarts)?;
            }
            JobMessage::RegionPrepared { attempt, region } if self.regions.is_current(region, attempt) => {
                self.finish_restart(region, restarts)?;
            }
            JobMessage::Uploaded { attempt, checkpoint, result } if attempt == attempt_number => {
                return Ok(flow_after(self.coordinator.finish_upload(&self.regions, checkpoint, *result)?));
            }
            JobMessage::Published { attempt, sink, checkpoint, result } if attempt == attempt_number => {
                return Ok(flow_after(self.coordinator.sink_published(&sink, checkpoint, *result)?));
            }
            JobMessage::SubtaskEvent { .. }
            | JobMessage::RegionPrepared { .. }
            | JobMessage::Uploaded { .. }
            | JobMessage::Published { .. }
            | JobMessage::Prepared => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn handle_event(
        &mut self,
        region: usize,
        event: SubtaskEvent,
        restarts: &mut Restarts,
    ) -> Result<(), AttemptFailure> {
        match event {
            SubtaskEvent::Acknowledged { checkpoint, snapshots } => {
                self.coordinator.acknowledge(checkpoint, snapshots)?
            }
            SubtaskEvent::Opened => {
                if self.regions.subtask_opened(region) {
                    self.show_running();
                }
            }
            SubtaskEvent::SourceEnded => {
                self.regions.source_ended(region);
                self.coordinator.source_ended();
            }
            SubtaskEvent::CheckpointDue => self.coordinator.checkpoint_due(),
            SubtaskEvent::RecordsLost => self.context.job.log_losses(&mut self.losses, false),
            SubtaskEvent::Failed(failure) => self.fail_region(region, (*failure).into(), restarts)?,
            SubtaskEvent::SourceFailed(failure) => {
                let (failure, checkpoint) = ((*failure).into(), self.coordinator.next_id());
                self.regions.source_failed(region, SourceFailure { failure, checkpoint });
                self.coordinator.checkpoint_now();
            }
            SubtaskEvent::Warning(warning) => {
                tracing::warn!(job = %self.context.plan.pipeline.name, "{warning}");
                let secrets = self.context.environment.policy.secrets();
                self.context.job.warn(secrets.redact(&warning).into_owned());
            }
        }
        Ok(())
    }

    /// Ends a region after a failure of one of its subtasks, and schedules its restart. Checkpoints in progress are
    /// aborted. Returns the failure if the region cannot restart alone, or if no restart follows.
    fn fail_region(
        &mut self,
        region: usize,
        failure: JobFailure,
        restarts: &mut Restarts,
    ) -> Result<(), AttemptFailure> {
        let failure = self.regions.take_source_failure(region).unwrap_or(failure);
        // After the barrier of a last checkpoint the subtasks of the other regions end.
        if self.regions.count() == 1 || self.coordinator.is_ending() {
            return Err(failure.into());
        }
        let attempt = self.regions.attempt(region);
        let delay = restarts.delay_after(attempt, failure, FailureOutcome::RegionRestart);
        let delay = delay.map_err(AttemptFailure::Final)?;
        let now_ns = self.context.environment.clock.monotonic_ns();
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let ended_sources = self.regions.fail(region, now_ns.saturating_add(delay_ns));
        self.coordinator.sources_restarted(ended_sources);
        self.coordinator.abort_all(&self.regions, now_ns, "a region of the job failed and restarts");
        if self.regions.defer_source_failures(self.coordinator.next_id()) {
            self.coordinator.checkpoint_now();
        }
        Ok(())
    }

    /// Begins the preparation of a region's restart.
    fn restart_region(&mut self, index: usize) -> Result<(), AttemptFailure> {
        let attempt = self.context.job.begin_attempt();
        let restart = RegionRestart {
            context: self.context.clone(),
            triggers: self.triggers.clone(),
            region: self.regions.region(index),
            index,
            newest: self.coordinator.newest(),
            sender: self.context.sender.for_attempt(attempt),
        };
        Ok(self.regions.begin_restart(index, attempt, |failed| restart.spawn(failed))?)
    }

    /// Takes over a region whose restart has been prepared, or handles the failure of the preparation.
    fn finish_restart(&mut self, region: usize, restarts: &mut Restarts) -> Result<(), AttemptFailure> {
        match self.regions.finish_restart(region) {
            Ok(()) => {}
            // The whole job restarts, or handles the command that stopped the compilation.
            Err(error) if matches!(error.code, "storage-failed" | "compile-stopped" | "checkpoint-none-usable") => {
                return Err(error.into());
            }
            Err(error) => return self.fail_region(region, error.into(), restarts),
        }
        self.coordinator.build_on_newest();
        self.coordinator.report_newest(&self.regions);
        self.show_stats();
        if self.regions.are_running() {
            self.show_running();
        }
        Ok(())
    }

    /// Shows the statistics of all regions.
    fn show_stats(&self) {
        let (stats, attempts) = self.regions.stats(self.context.plan.pipeline.nodes.len());
        self.context.job.show_live_stats(self.context.plan.clone(), stats, attempts);
    }

    /// Shows the job as running, because all subtasks are open.
    fn show_running(&self) {
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

fn flow_after(checkpoint: AfterCheckpoint) -> ControlFlow<AttemptEnd> {
    match checkpoint {
        AfterCheckpoint::Continue => ControlFlow::Continue(()),
        AfterCheckpoint::Finished => ControlFlow::Break(AttemptEnd::Finished),
        AfterCheckpoint::Stopped => ControlFlow::Break(AttemptEnd::Stopped),
    }
}
