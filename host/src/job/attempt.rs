//! One attempt of a job: restore, commit what the checkpoint promised, run, take checkpoints, end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::checkpointing::{Base, Pending, Uploads};
use super::fit;
use super::lifecycle::{self, Environment, Message};
use super::live::{Command, Job, failure_of};
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
use crate::manifest::{NodeKind, Pipeline};
use crate::runtime::{Event, Execution, ExecutionOptions, Plan, SubtaskFailure};

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
    pipeline: &Pipeline,
    number: u32,
    sender: &Sender<Message>,
    receiver: &Receiver<Message>,
    requests: &mut Vec<Request>,
) -> AttemptEnd {
    let started = Attempt::start(job, environment, pipeline, number, sender);
    let end = match started {
        Ok(Started::Finished) => Ok(AttemptEnd::Finished),
        Ok(Started::Stopped) => Ok(AttemptEnd::Stopped),
        Ok(Started::Running(mut attempt)) => {
            requests.drain(..).for_each(|request| attempt.take(request));
            attempt.take_stop();
            attempt.run(receiver)
        }
        Err(error) => Err(failure_of(&error)),
    };
    end.unwrap_or_else(AttemptEnd::Failed)
}

enum Started {
    /// The last checkpoint was the final one; only its commit was open.
    Finished,
    /// It was the savepoint of a stop, and only its commit was open.
    Stopped,
    Running(Box<Attempt>),
}

pub(super) struct Attempt {
    pub(super) job: Arc<Job>,
    pub(super) number: u32,
    pub(super) plan: Arc<Plan>,
    pub(super) storage: CheckpointStorage,
    pub(super) origins: Arc<Origins>,
    pub(super) committers: BTreeMap<String, Box<dyn Committer>>,
    pub(super) execution: Execution,
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
    pub(super) sender: Sender<Message>,
    pub(super) clock: crate::clock::SharedClock,
    pub(super) runtime: tokio::runtime::Handle,
}

impl Attempt {
    fn start(
        job: &Arc<Job>,
        environment: &Environment,
        pipeline: &Pipeline,
        number: u32,
        sender: &Sender<Message>,
    ) -> Result<Started> {
        let record = job.record();
        let clock = environment.clock.clone();
        let storage = environment.storage(pipeline, &record.base_dir)?;
        let restored = restore(job, environment, &storage, number)?;
        let allow_unclaimed = record.allow_unclaimed_state;
        let pipeline = &match &restored.manifest {
            Some(manifest) => fit::fit(manifest, pipeline, allow_unclaimed)?,
            None => pipeline.clone(),
        };
        let plan =
            Arc::new(planning::plan(pipeline.clone(), &record.components, &environment.components, &record.base_dir)?);
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
        let options = execution_options(job, environment, &restored, number, sender)?;
        let execution = Execution::start(&plan, options)?;
        job.update_or_show(|record| {
            record.status = match (record.status, stopping::open(record)) {
                (JobStatus::Cancelling, _) => JobStatus::Cancelling,
                (_, Some(_)) => JobStatus::Stopping,
                (_, None) => JobStatus::Running,
            };
        });
        let schedule = Schedule::new(pipeline, execution.sources(), clock.monotonic_ns());
        Ok(Started::Running(Box::new(Attempt {
            job: job.clone(),
            number,
            plan,
            storage,
            origins: environment.origins.clone(),
            committers,
            execution,
            schedule,
            pending: BTreeMap::new(),
            uploads: Uploads::default(),
            base,
            next_checkpoint,
            failures: 0,
            requests: Vec::new(),
            sender: sender.clone(),
            clock,
            runtime: environment.runtime.clone(),
        })))
    }

    fn run(&mut self, receiver: &Receiver<Message>) -> Result<AttemptEnd, JobFailure> {
        let end = self.run_until_end(receiver);
        self.execution.cancel();
        self.execution.join();
        self.uploads.end();
        self.show_stats();
        self.give_up_all();
        self.job.fail_savepoints(&self.requests, "the job's attempt ended before the savepoint was complete");
        if let Ok(AttemptEnd::Cancelled) = end {
            self.clear_prepared();
        }
        end
    }

    fn run_until_end(&mut self, receiver: &Receiver<Message>) -> Result<AttemptEnd, JobFailure> {
        let mut shown_ns = 0;
        loop {
            let now = self.clock.monotonic_ns();
            self.trigger_due(now);
            let wait = self.wait_ns(now).map_or(TICK, |ns| TICK.min(Duration::from_nanos(ns)));
            if let Some(message) = lifecycle::receive(receiver, wait)
                && let Some(end) = self.handle(message)?
            {
                return Ok(end);
            }
            let now = self.clock.monotonic_ns();
            self.check_timeout(now)?;
            if now.saturating_sub(shown_ns) >= TICK.as_nanos() as u64 {
                shown_ns = now;
                self.show_stats();
            }
        }
    }

    fn show_stats(&self) {
        self.job.show_stats(&self.plan.pipeline, &self.execution.stats());
    }

    fn handle(&mut self, message: Message) -> Result<Option<AttemptEnd>, JobFailure> {
        match message {
            Message::Command(Command::Cancel) => return Ok(Some(AttemptEnd::Cancelled)),
            Message::Command(Command::Shutdown) => return Ok(Some(AttemptEnd::Shutdown)),
            Message::Command(Command::Take(request)) => self.take(request),
            Message::Command(Command::Stop) => self.take_stop(),
            Message::Event { attempt, event } if attempt == self.number => match event {
                Event::Acknowledged { checkpoint, parts } => {
                    self.acknowledge(checkpoint, parts).map_err(|error| failure_of(&error))?
                }
                Event::SourceEnded => self.schedule.source_ended(),
                Event::CheckpointDue => self.schedule.checkpoint_due(),
                Event::Failed(failure) => return Err(subtask_failed(*failure)),
            },
            Message::Uploaded { attempt, checkpoint, result } if attempt == self.number => {
                return self.uploaded(checkpoint, *result);
            }
            Message::Event { .. } | Message::Uploaded { .. } => {}
        }
        Ok(None)
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
pub(super) fn settle_sinks(job: &Job, environment: &Environment, pipeline: &Pipeline) -> Result<()> {
    let record = job.record();
    let storage = environment.storage(pipeline, &record.base_dir)?;
    let restored = restore(job, environment, &storage, 2)?;
    let committers = open_committers(pipeline, &record.id, &record.base_dir, record.seed, &environment.clock);
    recover_sinks(job, &committers, pipeline, &restored, &storage)
}

fn open_committers(
    pipeline: &Pipeline,
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
                cancel: Arc::default(),
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
    pipeline: &Pipeline,
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

fn subtask_failed(failure: SubtaskFailure) -> JobFailure {
    let SubtaskFailure { node, subtask, code, message, fault } = failure;
    tracing::debug!(%node, subtask, code, "subtask failed");
    JobFailure { code: code.into(), message, operator: Some(node), fault }
}
