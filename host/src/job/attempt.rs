//! One attempt of a job: restore, commit what the checkpoint promised, run, take checkpoints, end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::checkpointing::{Base, Pending, Uploads};
use super::failures::subtask_failed;
use super::fit;
use super::lifecycle::{self, Environment, Message};
use super::live::{Command, Job, failure_of};
use super::losses::LossLog;
use super::origins::Origins;
use super::planning;
use super::promises;
use super::restore::{Restored, restore};
use super::schedule::{Request, Schedule};
use super::stopping::{self, Stop};
use super::view::{JobFailure, JobStatus};
use crate::checkpoint::{CheckpointKind, CheckpointStorage};
use crate::connector::{self, Committer, ConnectorContext};
use crate::error::{self, Result};
use crate::model::Interrupt;
use crate::pipeline::{NodeKind, PipelineSpec};
use crate::runtime::{Execution, ExecutionOptions, ExecutionPlan, PlanPurpose, SubtaskEvent};

/// How often the job's counts are refreshed.
const TICK: Duration = Duration::from_millis(50);

pub(super) enum AttemptEnd {
    Finished,
    Stopped,
    Cancelled,
    Shutdown,
    Failed(JobFailure),
}

/// Runs one attempt to its end, with requests that came before it. All its subtasks have ended when it returns.
pub(super) fn run(
    job: &Arc<Job>,
    environment: &Environment,
    pipeline: &PipelineSpec,
    number: u32,
    sender: &Sender<Message>,
    receiver: &Receiver<Message>,
    requests: &mut Vec<Request>,
) -> AttemptEnd {
    let interrupt = Interrupt::default();
    let start = || Attempt::start(job, environment, pipeline, number, sender, &interrupt);
    let (started, heard) = start_and_listen((sender, receiver), &interrupt, start);
    let end = match started {
        Ok(Started::Finished) => Ok(AttemptEnd::Finished),
        Ok(Started::Stopped) => Ok(AttemptEnd::Stopped),
        Ok(Started::Running(mut attempt)) => {
            requests.drain(..).for_each(|request| attempt.take(request));
            attempt.take_stop();
            attempt.run(heard, receiver)
        }
        Err(error) => match heard.iter().find_map(end_asked_for).filter(|_| interrupt.is_set()) {
            Some(end) => return settled(job, environment, pipeline, end),
            None => {
                // The pause before the next attempt takes them up.
                heard.into_iter().for_each(|message| drop(sender.send(message)));
                Err(failure_of(&error))
            }
        },
    };
    end.unwrap_or_else(AttemptEnd::Failed)
}

/// Does what comes before the first record, which may take long, on a thread of its own. Gives its result, and the messages that
/// came meanwhile in their order: a cancel and a shutdown interrupt it.
fn start_and_listen(
    (sender, receiver): (&Sender<Message>, &Receiver<Message>),
    interrupt: &Interrupt,
    start: impl FnOnce() -> Result<Started> + Send,
) -> (Result<Started>, Vec<Message>) {
    let mut heard = Vec::new();
    let started = std::thread::scope(|scope| {
        let starting = scope.spawn(|| {
            let started = start();
            // It is received here: this ends the wait.
            let _ = sender.send(Message::Prepared);
            started
        });
        loop {
            match lifecycle::receive(receiver, TICK) {
                // Without its message it panicked.
                None if starting.is_finished() => break,
                Some(Message::Prepared) => break,
                None => {}
                Some(message) => {
                    if end_asked_for(&message).is_some() {
                        interrupt.set();
                    }
                    heard.push(message);
                }
            }
        }
        starting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    (started, heard)
}

/// How a message has the attempt end.
fn end_asked_for(message: &Message) -> Option<AttemptEnd> {
    match message {
        Message::Command(Command::Cancel) => Some(AttemptEnd::Cancelled),
        Message::Command(Command::Shutdown) => Some(AttemptEnd::Shutdown),
        _ => None,
    }
}

/// The end of an attempt that was interrupted before it had put the sinks right.
fn settled(job: &Job, environment: &Environment, pipeline: &PipelineSpec, end: AttemptEnd) -> AttemptEnd {
    if matches!(end, AttemptEnd::Cancelled)
        && let Err(error) = settle_sinks(job, environment, pipeline)
    {
        tracing::warn!("what the sinks had prepared could not be removed: {error}");
    }
    end
}

enum Started {
    /// The last checkpoint was the final one; only its commit was open.
    Finished,
    /// It was the savepoint of a stop, and only its commit was open.
    Stopped,
    Running(Box<Attempt>),
}

/// A source has failed.
struct Failing {
    failure: JobFailure,
    /// The first checkpoint that holds all records in front of the failure.
    checkpoint: u64,
}

pub(super) struct Attempt {
    pub(super) job: Arc<Job>,
    pub(super) number: u32,
    pub(super) plan: Arc<ExecutionPlan>,
    pub(super) storage: CheckpointStorage,
    pub(super) origins: Arc<Origins>,
    pub(super) committers: BTreeMap<String, Box<dyn Committer>>,
    pub(super) execution: Execution,
    /// Subtasks that are still being opened and restored.
    opening: usize,
    pub(super) schedule: Schedule,
    /// The checkpoints in progress, by id.
    pub(super) pending: BTreeMap<u64, Pending>,
    pub(super) uploads: Uploads,
    /// What the next checkpoint may build on.
    pub(super) base: Base,
    pub(super) next_checkpoint: u64,
    /// Checkpoints that have failed since the last one that was complete.
    pub(super) failures: u32,
    /// The savepoint requests that it received.
    pub(super) requests: Vec<String>,
    /// Why the attempt ends behind the checkpoint that holds what a failed source gave.
    failing: Option<Failing>,
    pub(super) sender: Sender<Message>,
    pub(super) losses: LossLog,
    pub(super) clock: crate::clock::SharedClock,
    pub(super) runtime: tokio::runtime::Handle,
}

impl Attempt {
    fn start(
        job: &Arc<Job>,
        environment: &Environment,
        pipeline: &PipelineSpec,
        number: u32,
        sender: &Sender<Message>,
        interrupt: &Interrupt,
    ) -> Result<Started> {
        let record = job.record();
        let clock = environment.clock.clone();
        if record.has_image || record.from.is_some() {
            job.show(|record| record.status.advance(JobStatus::Restoring));
        }
        let storage = environment.storage(pipeline, &record.base_dir)?;
        let restored = restore(job, environment, &storage, number, interrupt)?;
        let allow_unclaimed = record.allow_unclaimed_state;
        let pipeline = &match &restored.manifest {
            Some(manifest) => fit::fit(manifest, pipeline, allow_unclaimed)?,
            None => pipeline.clone(),
        };
        let purpose = PlanPurpose::Attempt(restored.manifest.as_deref());
        let (components, is_to_end) = (&environment.components, || job.is_to_end());
        let plan =
            planning::plan(purpose, pipeline.clone(), &record.components, components, &record.base_dir, &is_to_end)?;
        let plan = Arc::new(plan);
        if let Some(manifest) = &restored.manifest {
            fit::check_states(manifest, &plan, allow_unclaimed)?;
            fit::check_in_flight(manifest, &plan)?;
        }
        let committers = open_committers(pipeline, &record.id, &record.base_dir, record.seed, &clock);
        recover_sinks(job, &committers, pipeline, &restored, &storage)?;
        let own = restored.manifest.clone().filter(|_| restored.own);
        let restored_checkpoint = restored.manifest.as_ref().map(|manifest| manifest.checkpoint_id);
        job.show(|record| {
            record.last_checkpoint = own.as_ref().map(|manifest| manifest.checkpoint_id);
            record.restored_checkpoint = restored_checkpoint;
        });
        if own.as_ref().is_some_and(|manifest| manifest.kind == CheckpointKind::Final) {
            return Ok(Started::Finished);
        }
        if let Some(own) = &own
            && stopping::is_done(job, own, &storage.location(own)?)
        {
            return Ok(Started::Stopped);
        }
        let next_checkpoint = storage.highest_id(&record.id)?.map_or(1, |id| id + 1);
        storage.remove_unfinished_savepoints(&record.id)?;
        let base = restored.base(&record, &storage, pipeline)?;
        let options = execution_options(job, environment, &restored, number, sender, interrupt)?;
        interrupt.check()?;
        let execution = Execution::start(&plan, options)?;
        let schedule = Schedule::new(pipeline, execution.sources(), clock.monotonic_ns());
        Ok(Started::Running(Box::new(Attempt {
            job: job.clone(),
            number,
            plan,
            storage,
            origins: environment.origins.clone(),
            committers,
            opening: execution.subtasks(),
            execution,
            schedule,
            pending: BTreeMap::new(),
            uploads: Uploads::default(),
            base,
            next_checkpoint,
            failures: 0,
            requests: Vec::new(),
            failing: None,
            sender: sender.clone(),
            losses: LossLog::default(),
            clock,
            runtime: environment.runtime.clone(),
        })))
    }

    /// Runs to the end of the attempt; `heard` are messages that came before.
    fn run(&mut self, heard: Vec<Message>, receiver: &Receiver<Message>) -> Result<AttemptEnd, JobFailure> {
        let end = self.run_until_end(heard, receiver);
        self.execution.cancel();
        self.execution.join();
        self.uploads.end();
        self.show_stats(true);
        self.give_up_all();
        self.job.fail_savepoints(&self.requests, "the job's attempt ended before the savepoint was complete");
        if let Ok(AttemptEnd::Cancelled) = end {
            self.clear_prepared();
        }
        // Where it ended by another failure meanwhile, the source's came first.
        end.map_err(|failure| self.failing.take().map_or(failure, |failing| failing.failure))
    }

    /// Ends the attempt where a source has failed, and the checkpoint that holds the records in front of that is complete or has
    /// failed.
    fn check_failing(&self) -> Result<(), JobFailure> {
        let Some(Failing { failure, checkpoint }) = &self.failing else { return Ok(()) };
        let was_triggered = self.next_checkpoint > *checkpoint;
        match was_triggered && self.pending.range(checkpoint..).next().is_none() {
            true => Err(failure.clone()),
            false => Ok(()),
        }
    }

    fn run_until_end(&mut self, heard: Vec<Message>, receiver: &Receiver<Message>) -> Result<AttemptEnd, JobFailure> {
        for message in heard {
            if let Some(end) = self.handle(message)? {
                return Ok(end);
            }
        }
        let mut shown_ns = 0;
        loop {
            let now = self.clock.monotonic_ns();
            // A barrier would wait for what is still being restored.
            let due_ns = if self.opening == 0 {
                self.trigger_due(now);
                self.wait_ns(now)
            } else {
                None
            };
            let wait = due_ns.map_or(TICK, |ns| TICK.min(Duration::from_nanos(ns)));
            if let Some(message) = lifecycle::receive(receiver, wait)
                && let Some(end) = self.handle(message)?
            {
                return Ok(end);
            }
            let now = self.clock.monotonic_ns();
            self.check_timeout(now)?;
            self.check_failing()?;
            if now.saturating_sub(shown_ns) >= TICK.as_nanos() as u64 {
                shown_ns = now;
                self.show_stats(false);
            }
        }
    }

    fn show_stats(&mut self, has_ended: bool) {
        self.job.show_stats(&self.plan.pipeline, &self.execution.stats());
        self.job.log_losses(&mut self.losses, has_ended);
    }

    fn handle(&mut self, message: Message) -> Result<Option<AttemptEnd>, JobFailure> {
        match message {
            Message::Command(Command::Cancel) => return Ok(Some(AttemptEnd::Cancelled)),
            Message::Command(Command::Shutdown) => return Ok(Some(AttemptEnd::Shutdown)),
            Message::Command(Command::Take(request)) => self.take(request),
            Message::Command(Command::Stop) => self.take_stop(),
            Message::Event { attempt, event } if attempt == self.number => match event {
                SubtaskEvent::Acknowledged { checkpoint, snapshots: parts } => {
                    self.acknowledge(checkpoint, parts).map_err(|error| failure_of(&error))?
                }
                SubtaskEvent::Opened => self.opened(),
                SubtaskEvent::SourceEnded => self.schedule.source_ended(),
                SubtaskEvent::CheckpointDue => self.schedule.checkpoint_due(),
                SubtaskEvent::Failed(failure) => return Err(subtask_failed(*failure)),
                SubtaskEvent::SourceFailed(failure) => {
                    let (failure, checkpoint) = (subtask_failed(*failure), self.next_checkpoint);
                    self.failing.get_or_insert(Failing { failure, checkpoint });
                    self.schedule.checkpoint_now();
                }
                SubtaskEvent::Warning(warning) => {
                    tracing::warn!(job = %self.plan.pipeline.name, "{warning}");
                    self.job.warn(warning);
                }
            },
            Message::Uploaded { attempt, checkpoint, result } if attempt == self.number => {
                return self.uploaded(checkpoint, *result);
            }
            Message::Event { .. } | Message::Uploaded { .. } | Message::Prepared => {}
        }
        Ok(None)
    }

    /// A subtask runs. When all do, so does the job.
    fn opened(&mut self) {
        self.opening = self.opening.saturating_sub(1);
        if self.opening > 0 {
            return;
        }
        self.job.update_or_show(|record| {
            let is_stopping = stopping::open(record).is_some();
            record.status.advance(if is_stopping { JobStatus::Stopping } else { JobStatus::Running });
        });
    }

    fn take(&mut self, request: Request) {
        self.requests.push(request.request_id.clone());
        self.schedule.request(request);
    }

    /// Takes up the stop of the job's record, once.
    fn take_stop(&mut self) {
        let record = self.job.record();
        let Some(request) = stopping::open(&record).map(Stop::request) else { return };
        if !self.requests.contains(&request.request_id) {
            self.take(request);
        }
    }

    /// After a cancel: removes what sinks prepared and nothing published. What is published stays, by a savepoint too.
    fn clear_prepared(&self) {
        for (sink, committer) in &self.committers {
            if let Err(error) = committer.recover(Some(u64::MAX), &[]) {
                tracing::warn!("what sink `{sink}` had prepared could not be removed: {error}");
            }
        }
    }
}

/// Of a job that is cancelled between two attempts: its sinks are put right as for one more, which never comes.
pub(super) fn settle_sinks(job: &Job, environment: &Environment, pipeline: &PipelineSpec) -> Result<()> {
    let record = job.record();
    let storage = environment.storage(pipeline, &record.base_dir)?;
    let restored = restore(job, environment, &storage, 2, &Interrupt::default())?;
    let committers = open_committers(pipeline, &record.id, &record.base_dir, record.seed, &environment.clock);
    recover_sinks(job, &committers, pipeline, &restored, &storage)
}

fn open_committers(
    pipeline: &PipelineSpec,
    job_id: &str,
    base_dir: &std::path::Path,
    seed: u64,
    clock: &crate::clock::SharedClock,
) -> BTreeMap<String, Box<dyn Committer>> {
    let mut committers = BTreeMap::new();
    for node in &pipeline.nodes {
        if let NodeKind::Sink(config) = &node.kind {
            let context = ConnectorContext {
                job_id: job_id.to_owned(),
                node: node.id.clone(),
                subtask: 0,
                parallelism: node.parallelism,
                clock: clock.clone(),
                base_dir: base_dir.to_owned(),
                seed,
                interrupt: Interrupt::default(),
            };
            committers.insert(node.id.clone(), connector::committer(config, &context));
        }
    }
    committers
}

/// Puts the sinks right before an attempt; see [`promises::recover`].
fn recover_sinks(
    job: &Job,
    committers: &BTreeMap<String, Box<dyn Committer>>,
    pipeline: &PipelineSpec,
    restored: &Restored,
    storage: &CheckpointStorage,
) -> Result<()> {
    let record = job.record();
    let warnings = promises::recover(committers, pipeline, &record.base_dir, restored, record.promises_kept)?;
    for warning in warnings {
        tracing::warn!(job = %record.name, "{warning}");
        job.warn(warning);
    }
    // A reader may take the files away from now on: nobody must look for them again.
    match &restored.manifest {
        Some(own) if restored.own => promises::record_published(storage, own),
        Some(_) if !record.promises_kept => job.update(|record| record.promises_kept = true)?,
        _ => {}
    }
    Ok(())
}

fn execution_options(
    job: &Job,
    environment: &Environment,
    restored: &Restored,
    number: u32,
    sender: &Sender<Message>,
    interrupt: &Interrupt,
) -> Result<ExecutionOptions> {
    let record = job.record();
    let notify_sender = sender.clone();
    Ok(ExecutionOptions {
        job_id: record.id.clone(),
        base_dir: record.base_dir,
        working_dir: working_dir(job, number)?,
        seed: record.seed,
        restarts: record.restarts,
        clock: environment.clock.clone(),
        restore: match &restored.manifest {
            Some(manifest) => {
                let files = restored.storage.files(&record.id, manifest.checkpoint_id, manifest.kind)?;
                Some((manifest.clone(), Arc::new(files)))
            }
            None => None,
        },
        allow_unclaimed_state: record.allow_unclaimed_state,
        // The job's own checkpoints have what it reached since.
        reset_watermarks: record.reset_watermarks && !restored.own,
        interrupt: interrupt.clone(),
        notify: Arc::new(move |event| {
            // The job's thread outlives its subtasks.
            let _ = notify_sender.send(Message::Event { attempt: number, event });
        }),
    })
}

/// An empty folder for the running state of this attempt.
fn working_dir(job: &Job, number: u32) -> Result<PathBuf> {
    let working = job.dir.join("working");
    if let Err(cause) = std::fs::remove_dir_all(&working)
        && cause.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error::state_failed(format!("{}: {cause}", working.display())));
    }
    let dir = working.join(number.to_string());
    super::record::create_dir(&dir)?;
    Ok(dir)
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
