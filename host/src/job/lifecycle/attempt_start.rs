//! Prepares an attempt: finds the checkpoint to restore, checks that the pipeline is compatible with it, recovers the
//! sinks, and starts the subtasks.
//!
//! The preparation runs on a thread of its own, while the job's thread listens for messages. A cancel or a shutdown can
//! therefore interrupt a long restore.

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::attempt::Attempt;
use super::attempt_context::AttemptContext;
use super::attempt_end::AttemptEnd;
use crate::checkpoint::{CheckpointKind, CheckpointStorage};
use crate::error::{self, Result};
use crate::job::checkpoint::{CheckpointCoordinator, OperatorVersions};
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::message::{AttemptSender, JobMessage, RunningJobCommand, receive};
use crate::job::planning;
use crate::job::restore::{self, StartingPoint};
use crate::job::savepoint::finish_restored_stop;
use crate::job::sinks::SinkCommitters;
use crate::job::store::create_dir;
use crate::model::Interrupt;
use crate::pipeline::PipelineSpec;
use crate::runtime::{Execution, ExecutionOptions, ExecutionPlan, PlanPurpose, RestoredCheckpoint};

/// A prepared attempt.
pub enum PreparedAttempt {
    /// The restored checkpoint is the final one, and its output is now committed: the job has finished.
    AlreadyFinished,
    /// The restored checkpoint is the savepoint of a stop, and its output is now committed: the job has stopped.
    AlreadyStopped,
    /// The subtasks have been started.
    Started(Box<Attempt>),
}

/// Prepares an attempt on a thread of its own. Returns the result of `prepare` and the messages that arrived in the
/// meantime, in order. A cancel or a shutdown sets `interrupt`.
pub fn prepare_while_listening(
    (sender, receiver): (&Sender<JobMessage>, &Receiver<JobMessage>),
    interrupt: &Interrupt,
    prepare: impl FnOnce() -> Result<PreparedAttempt> + Send,
) -> (Result<PreparedAttempt>, Vec<JobMessage>) {
    let mut messages = Vec::new();
    let prepared = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let _announcement = PreparedAnnouncement(sender);
            prepare()
        });
        loop {
            match receive(receiver, None) {
                Some(JobMessage::Prepared) => break,
                None => {}
                Some(message) => {
                    if requested_end(&message).is_some() {
                        interrupt.set();
                    }
                    messages.push(message);
                }
            }
        }
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    (prepared, messages)
}

/// Sends [`JobMessage::Prepared`] when it is dropped, also if the preparation panics.
struct PreparedAnnouncement<'a>(&'a Sender<JobMessage>);

impl Drop for PreparedAnnouncement<'_> {
    fn drop(&mut self) {
        let _ = self.0.send(JobMessage::Prepared);
    }
}

/// Returns how a message ends the attempt, if it does.
pub fn requested_end(message: &JobMessage) -> Option<AttemptEnd> {
    match message {
        JobMessage::Command(RunningJobCommand::Cancel) => Some(AttemptEnd::Cancelled),
        JobMessage::Command(RunningJobCommand::Shutdown) => Some(AttemptEnd::Shutdown),
        _ => None,
    }
}

/// Prepares an attempt and starts its subtasks. `is_first` is set for the first attempt of the process. Errors: `interrupted`, `checkpoint-mismatch`, and errors of the
/// storage, the sinks and the components.
pub fn prepare(
    job: &Arc<JobHandle>,
    environment: &Arc<JobEnvironment>,
    pipeline: &PipelineSpec,
    sender: AttemptSender,
    is_first: bool,
    interrupt: &Interrupt,
) -> Result<PreparedAttempt> {
    let record = job.record();
    job.show(|record| record.restoring = record.has_checkpoint || record.from.is_some());
    let storage = environment.storage(pipeline, &record.base_dir)?;
    let start = restore::find_starting_point(job, environment, &storage, is_first, interrupt)?;
    let mut plan = compatible_plan(job, environment, pipeline, &start)?;
    let versions = OperatorVersions::new(&plan, &record, start.metadata.as_deref());
    versions.set_generations(&mut plan, start.metadata.as_deref());
    let (plan, versions) = (Arc::new(plan), Arc::new(versions));
    let sinks = SinkCommitters::open(&plan.pipeline, &record, &environment.clock);
    sinks.recover(job, &plan.pipeline, &start, &storage)?;
    job.show(|record| {
        record.last_checkpoint = start.own().map(|metadata| metadata.checkpoint_id);
        record.restored_checkpoint = start.metadata.as_ref().map(|metadata| metadata.checkpoint_id);
    });
    if let Some(own) = start.own() {
        if own.kind == CheckpointKind::Final {
            return Ok(PreparedAttempt::AlreadyFinished);
        }
        if finish_restored_stop(job, own, &storage.location(own)?) {
            return Ok(PreparedAttempt::AlreadyStopped);
        }
    }
    let base = start.incremental_base(&record, &storage, &plan.pipeline)?;
    let options = execution_options(job, environment, &start, &sender, interrupt)?;
    let context =
        AttemptContext { job: job.clone(), environment: environment.clone(), plan, versions, storage, sender };
    let coordinator = CheckpointCoordinator::new(context.clone(), sinks, base)?;
    interrupt.check()?;
    let execution = Execution::start(&context.plan, options)?;
    Ok(PreparedAttempt::Started(Box::new(Attempt::new(context, execution, coordinator))))
}

/// Plans the pipeline for the starting point. Error: `checkpoint-mismatch` if it is not compatible with the restored
/// checkpoint.
fn compatible_plan(
    job: &JobHandle,
    environment: &JobEnvironment,
    pipeline: &PipelineSpec,
    start: &StartingPoint,
) -> Result<ExecutionPlan> {
    let record = job.record();
    let allow_unclaimed = record.allow_unclaimed_state;
    let restored = start.metadata.as_deref();
    let pipeline = match restored {
        Some(metadata) => restore::with_restored_max_parallelism(metadata, pipeline, allow_unclaimed)?,
        None => pipeline.clone(),
    };
    let is_end_requested = || job.is_end_requested();
    let plan = planning::plan(
        PlanPurpose::Attempt(restored),
        pipeline,
        &record.components,
        &environment.components,
        &record.base_dir,
        &is_end_requested,
    )?;
    if let Some(metadata) = restored {
        restore::check_states(metadata, &plan, allow_unclaimed)?;
        restore::check_in_flight(metadata, &plan)?;
    }
    Ok(plan)
}

fn execution_options(
    job: &JobHandle,
    environment: &JobEnvironment,
    start: &StartingPoint,
    sender: &AttemptSender,
    interrupt: &Interrupt,
) -> Result<ExecutionOptions> {
    let record = job.record();
    Ok(ExecutionOptions {
        job_id: record.id.clone(),
        base_dir: record.base_dir,
        working_dir: empty_working_dir(job, sender.attempt())?,
        seed: record.seed,
        clock: environment.clock.clone(),
        restore: match &start.metadata {
            Some(metadata) => {
                let files = start.storage.files(&record.id, metadata.checkpoint_id, metadata.kind)?;
                Some(RestoredCheckpoint { metadata: metadata.clone(), files: Arc::new(files) })
            }
            None => None,
        },
        allow_unclaimed_state: record.allow_unclaimed_state,
        // The job's own checkpoints contain the watermarks that it has reached since it was submitted.
        reset_watermarks: record.reset_watermarks && !start.is_own,
        interrupt: interrupt.clone(),
        listener: sender.event_callback(),
    })
}

/// Creates an empty folder for the running state of an attempt, and removes the folders of earlier attempts.
fn empty_working_dir(job: &JobHandle, attempt: u32) -> Result<PathBuf> {
    let working = job.dir.join("working");
    if let Err(cause) = std::fs::remove_dir_all(&working)
        && cause.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error::state_failed(format!("{}: {cause}", working.display())));
    }
    let dir = working.join(attempt.to_string());
    create_dir(&dir)?;
    Ok(dir)
}

/// After a cancel between two attempts: recovers the sinks as the next attempt would, and removes prepared output.
pub fn discard_prepared_output(job: &JobHandle, environment: &JobEnvironment, pipeline: &PipelineSpec) {
    if let Err(error) = recover_sinks(job, environment, pipeline) {
        tracing::warn!("cannot remove the prepared output of the sinks: {error}");
    }
}

fn recover_sinks(job: &JobHandle, environment: &JobEnvironment, pipeline: &PipelineSpec) -> Result<()> {
    let record = job.record();
    let storage: CheckpointStorage = environment.storage(pipeline, &record.base_dir)?;
    // Checksums were verified by the first attempt.
    let start = restore::find_starting_point(job, environment, &storage, false, &Interrupt::default())?;
    SinkCommitters::open(pipeline, &record, &environment.clock).recover(job, pipeline, &start, &storage)
}
