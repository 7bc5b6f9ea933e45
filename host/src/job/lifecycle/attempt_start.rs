//! Prepares an attempt: finds the checkpoint to restore, checks that the pipeline is compatible with it, recovers the
//! sinks, and starts the subtasks.
//!
//! The preparation runs on a thread of its own, while the job's thread listens for messages. A cancel or a shutdown can
//! therefore interrupt a long restore.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::attempt::Attempt;
use super::attempt_context::AttemptContext;
use super::attempt_plan::plan_from;
use super::region_start::{RegionStart, remove_working_dir};
use super::regions::Regions;
use super::requested_end::requested_end;
use super::restore_trace::{begin_restore, note_checkpoint};
use crate::checkpoint::CheckpointKind;
use crate::error::Result;
use crate::job::checkpoint::CheckpointCoordinator;
use crate::job::dead_letters;
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::message::{AttemptSender, JobMessage, receive};
use crate::job::restore::{self, StartingPoint};
use crate::job::savepoint::finish_restored_stop;
use crate::job::sinks::{Publications, SinkCommitters};
use crate::model::Interrupt;
use crate::pipeline::PipelineSpec;
use crate::runtime::{CheckpointTriggers, InjectedFailures, Region};
use crate::tracer::OpenSpan;

/// A prepared attempt.
pub enum PreparedAttempt {
    /// The restored checkpoint is the final one, and its output is now committed: the job has finished.
    AlreadyFinished,
    /// The restored checkpoint is the savepoint of a stop, and its output is now committed: the job has stopped.
    AlreadyStopped,
    /// The subtasks have been started.
    Started(Box<Attempt>),
}

/// What ends the parts of an attempt.
#[derive(Default)]
pub struct AttemptInterrupts {
    /// Ends the preparation and the subtasks.
    pub interrupt: Interrupt,
    /// Ends the recovery and the publications of sinks, which may outlast the subtasks.
    pub publishing: Interrupt,
}

/// Prepares an attempt on a thread of its own. Returns the result of `prepare` and the messages that arrived in the
/// meantime, in order. A cancel or a shutdown sets the interrupts.
pub fn prepare_while_listening(
    (sender, receiver): (&Sender<JobMessage>, &Receiver<JobMessage>),
    interrupts: [&Interrupt; 2],
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
                        interrupts.iter().for_each(|interrupt| interrupt.set());
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

/// Prepares an attempt and starts its subtasks. `is_first` is set for the first attempt of the process. Errors:
/// `interrupted`, `checkpoint-mismatch`, and errors of the storage, the sinks and the components.
pub fn prepare(
    job: &Arc<JobHandle>,
    environment: &Arc<JobEnvironment>,
    pipeline: &Arc<PipelineSpec>,
    sender: AttemptSender,
    injected: &Arc<InjectedFailures>,
    is_first: bool,
    interrupts: &AttemptInterrupts,
) -> Result<PreparedAttempt> {
    let span = Arc::new(begin_restore(&environment.tracer, job));
    span.note(prepare_traced(
        AttemptStart { job, environment, pipeline, sender, injected, is_first, interrupts },
        &span,
    ))
}

/// What an attempt is prepared from.
struct AttemptStart<'a> {
    job: &'a Arc<JobHandle>,
    environment: &'a Arc<JobEnvironment>,
    pipeline: &'a Arc<PipelineSpec>,
    sender: AttemptSender,
    injected: &'a Arc<InjectedFailures>,
    is_first: bool,
    interrupts: &'a AttemptInterrupts,
}

fn prepare_traced(attempt: AttemptStart<'_>, span: &Arc<OpenSpan>) -> Result<PreparedAttempt> {
    let AttemptStart { job, environment, pipeline, sender, injected, is_first, interrupts } = attempt;
    let AttemptInterrupts { interrupt, publishing } = interrupts;
    let record = job.record();
    job.show(|record| record.restoring = record.has_checkpoint || record.from.is_some());
    let storage = environment.storage(pipeline, &record.base_dir)?;
    let find = || restore::find_starting_point(job, environment, &storage, is_first, interrupt);
    let start = span.within("read metadata", find)?;
    note_checkpoint(span, &start);
    let (plan, versions) = span.within("plan", || plan_from(job, environment, pipeline, &start))?;
    let sinks = SinkCommitters::open(&plan.pipeline, job, &environment.clock, &environment.policy, publishing);
    span.within("recover sinks", || {
        sinks.recover(job, &plan.pipeline, &start, &storage)?;
        dead_letters::recover(job, environment, &plan.pipeline, &start)
    })?;
    fail_point!("restore.recovered", crate::error::storage_failed);
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
    let letters = dead_letters::letter_options(job, &plan.pipeline)?;
    let (job, environment, injected) = (job.clone(), environment.clone(), injected.clone());
    let sinks = Arc::new(sinks);
    let publications = Publications::new(sinks.clone(), storage.clone(), sender.clone(), publishing.clone());
    let context = AttemptContext { job, environment, plan, versions, storage, sinks, letters, injected, sender };
    let coordinator = CheckpointCoordinator::new(context.clone(), publications, base, start.own().cloned())?;
    interrupt.check()?;
    fail_point!("restore.start", crate::error::storage_failed);
    let triggers = Arc::new(CheckpointTriggers::of_job(&context.plan.pipeline));
    let regions = start_regions(&context, &start, &triggers, interrupt, span)?;
    Ok(PreparedAttempt::Started(Box::new(Attempt::new(context, regions, triggers, coordinator))))
}

/// Starts the subtasks of all regions.
fn start_regions(
    context: &AttemptContext,
    start: &StartingPoint,
    triggers: &Arc<CheckpointTriggers>,
    interrupt: &Interrupt,
    span: &Arc<OpenSpan>,
) -> Result<Regions> {
    let AttemptContext { job, environment, plan, sinks, letters, injected, sender, .. } = context;
    remove_working_dir(&job.dir.join("working"))?;
    let regions: Vec<Arc<Region>> = plan.regions().into_iter().map(Arc::new).collect();
    let is_only = regions.len() == 1;
    let mut started = Vec::new();
    for (index, region) in regions.into_iter().enumerate() {
        // The failure of one of several regions must not end the others.
        let interrupt = if is_only { interrupt.clone() } else { Interrupt::default() };
        let region_start =
            RegionStart { job, environment, plan, start, triggers, sinks, letters, injected, sender, span };
        let execution = region_start.execute(index, &region, &interrupt)?;
        started.push((region, execution));
    }
    Ok(Regions::new(sender.attempt(), started))
}
