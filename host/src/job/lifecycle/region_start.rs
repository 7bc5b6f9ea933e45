//! Starts the subtasks of a region: all regions with an attempt, and one region when it restarts on its own.
//!
//! A region restarts from the newest complete checkpoint of the whole job. The sinks of the region are recovered to it;
//! those of other regions keep what they have prepared since.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::attempt_context::AttemptContext;
use super::attempt_plan::plan_from;
use super::regions::RegionPreparation;
use super::restore_trace::{begin_restore, note_checkpoint};
use crate::connector::ingest::IngestAccess;
use crate::error::{self, Result};
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::message::AttemptSender;
use crate::job::restore::{self, StartingPoint};
use crate::job::sinks::SinkCommitters;
use crate::job::store::create_dir;
use crate::model::Interrupt;
use crate::runtime::{
    CheckpointTriggers, Execution, ExecutionOptions, ExecutionPlan, InjectedFailures, LetterOptions, Region,
    RestoredCheckpoint,
};
use crate::tracer::OpenSpan;

/// What the subtasks of a region start with.
pub struct RegionStart<'a> {
    /// The job.
    pub job: &'a JobHandle,
    /// The environment that all jobs share.
    pub environment: &'a JobEnvironment,
    /// The plan of the job.
    pub plan: &'a Arc<ExecutionPlan>,
    /// The checkpoint to restore.
    pub start: &'a StartingPoint,
    /// The triggers that the sources of all regions share.
    pub triggers: &'a Arc<CheckpointTriggers>,
    /// The committers of the sinks.
    pub sinks: &'a SinkCommitters,
    /// The dead letters that the host keeps.
    pub letters: &'a LetterOptions,
    /// Failures on purpose.
    pub injected: &'a Arc<InjectedFailures>,
    /// Sends the events of the region's attempt.
    pub sender: &'a AttemptSender,
    /// Traces the start.
    pub span: &'a Arc<OpenSpan>,
}

impl RegionStart<'_> {
    /// Starts the subtasks of the region with this index. `interrupt` ends them.
    pub fn execute(&self, index: usize, region: &Arc<Region>, interrupt: &Interrupt) -> Result<Execution> {
        let record = self.job.record();
        let options = ExecutionOptions {
            job_id: record.id.clone(),
            paths: self.environment.paths(record.base_dir),
            working_dir: empty_working_dir(self.job, self.sender.attempt(), index)?,
            seed: record.seed,
            clock: self.environment.clock.clone(),
            restore: match &self.start.metadata {
                Some(metadata) => {
                    let files = self.start.storage.files(&record.id, metadata.checkpoint_id, metadata.kind)?;
                    Some(RestoredCheckpoint { metadata: metadata.clone(), files: Arc::new(files) })
                }
                None => None,
            },
            allow_unclaimed_state: record.allow_unclaimed_state,
            // The job's own checkpoints contain the watermarks that it has reached since it was submitted.
            reset_watermarks: record.reset_watermarks && !self.start.is_own,
            share: self.environment.permits.share_of(&record.id),
            interrupt: interrupt.clone(),
            listener: self.sender.event_callback(index),
            injected: self.injected.clone(),
            region: Some(region.clone()),
            triggers: Some(self.triggers.clone()),
            runtime: Some(self.environment.runtime.clone()),
            letters: self.letters.clone(),
            health: self.job.health.clone(),
            log: self.job.log.clone(),
            namespace_state: self.environment.usage.state.clone(),
            taps: self.job.taps.clone(),
            faults: Some(self.job.faults.clone()),
            sinks: self.sinks.progress(),
            ingest: Some(IngestAccess {
                logs: self.environment.ingest_logs.clone(),
                job: record.name.clone(),
                // The job's own checkpoints are not behind what it has released.
                allow_loss: record.allow_loss && !self.start.is_own,
            }),
            span: self.span.clone(),
        };
        Execution::start(self.plan, options)
    }
}

/// The restart of one region.
pub struct RegionRestart {
    /// What the attempt runs with.
    pub context: AttemptContext,
    /// The triggers that the sources of all regions share.
    pub triggers: Arc<CheckpointTriggers>,
    /// The region.
    pub region: Arc<Region>,
    /// Index of the region.
    pub index: usize,
    /// Id of the newest complete checkpoint or savepoint that the attempt knows. `None` if the job has none of its own.
    pub newest: Option<u64>,
    /// Sends the events of the region's new attempt.
    pub sender: AttemptSender,
}

impl RegionRestart {
    /// Prepares the restart on a thread of its own, which sends a message at its end. The subtasks of `failed` end first.
    pub fn spawn(self, failed: Option<Execution>) -> Result<RegionPreparation> {
        let interrupt = Interrupt::default();
        let own_interrupt = interrupt.clone();
        let name = format!("restart {}", self.context.plan.pipeline.name);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _announcement = self.sender.announce_prepared(self.index);
            if let Some(mut failed) = failed {
                self.context.job.note_abandoned_threads(&failed.end());
            }
            self.start(&own_interrupt)
        });
        let thread = thread.map_err(|cause| error::internal(format!("cannot start a thread: {cause}")))?;
        Ok(RegionPreparation { thread, interrupt })
    }

    /// Restores the region and starts its subtasks. Errors: `storage-failed` if the newest usable checkpoint is not the one
    /// that the attempt completed last, and those of the preparation of an attempt.
    fn start(&self, interrupt: &Interrupt) -> Result<Execution> {
        let span = Arc::new(begin_restore(&self.context.environment.tracer, &self.context.job));
        span.set("cofferdam.region", self.index as u64);
        span.note(self.start_traced(interrupt, &span))
    }

    fn start_traced(&self, interrupt: &Interrupt, span: &Arc<OpenSpan>) -> Result<Execution> {
        let AttemptContext { job, environment, storage, .. } = &self.context;
        interrupt.check()?;
        let find = || restore::find_starting_point(job, environment, storage, false, interrupt);
        let start = span.within("read metadata", find)?;
        note_checkpoint(span, &start);
        let found = start.own().map(|metadata| metadata.checkpoint_id);
        if found != self.newest {
            return Err(error::storage_failed(format!(
                "the newest usable checkpoint is {found:?}, but {:?} was completed last: a region cannot restart alone",
                self.newest
            )));
        }
        job.show(|record| record.restoring = start.metadata.is_some());
        let (plan, _) = span.within("plan", || plan_from(job, environment, &self.context.plan.pipeline, &start))?;
        let ids: BTreeSet<&str> = self.region.nodes.iter().map(|node| plan.pipeline.nodes[*node].id.as_str()).collect();
        span.within("recover sinks", || self.context.sinks.recover_region(job, &ids, &start, storage))?;
        fail_point!("region.recovered", error::storage_failed);
        interrupt.check()?;
        job.show(|record| {
            record.restored_checkpoint = start.metadata.as_ref().map(|metadata| metadata.checkpoint_id);
        });
        let (triggers, sinks, letters) = (&self.triggers, &*self.context.sinks, &self.context.letters);
        let injected = &self.context.injected;
        let sender = &self.sender;
        let (plan, start) = (&plan, &start);
        let region = RegionStart { job, environment, plan, start, triggers, sinks, letters, injected, sender, span };
        region.execute(self.index, &self.region, interrupt)
    }
}

/// Creates an empty folder for the running state of a region, and removes the folders of its earlier attempts.
fn empty_working_dir(job: &JobHandle, attempt: u32, region: usize) -> Result<PathBuf> {
    let working = job.dir.join("working").join(region.to_string());
    remove_working_dir(&working)?;
    fail_point!("restore.working-dir", error::state_failed);
    let dir = working.join(attempt.to_string());
    create_dir(&dir)?;
    Ok(dir)
}

/// Removes a folder of running state, if it exists.
pub fn remove_working_dir(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(error::state_failed(format!("{}: {cause}", folder.display())))
        }
        _ => Ok(()),
    }
}
