//! The checkpoint coordinator of one attempt: triggers checkpoints, collects the snapshots of the subtasks, starts
//! uploads, completes checkpoints, and gives up those that take too long.
//!
//! Invariant: a checkpoint is complete when its metadata is durable. Only then is the output of the sinks published, on other threads
//! (`open_publications`), and only after that are requests answered as completed. A checkpoint that is given up does not delay later ones.
//!
//! The coordinator runs on the job's thread. It must not depend on how an attempt is started or ended.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::barrier_target::BarrierTarget;
use super::open_publications::{OpenPublication, OpenPublications, describe};
use super::pending::{PendingCheckpoint, PendingCheckpoints};
use super::schedule::{ActiveCheckpoints, CheckpointSchedule};
use super::upload::{self, CheckpointHeader, CheckpointUploads, UploadedCheckpoint};
use crate::checkpoint::{CheckpointMetadata, StorageLocation, UnfinishedCheckpoint};
use crate::error::{self, Error, Result};
use crate::job::dead_letters;
use crate::job::lifecycle::AttemptContext;
use crate::job::savepoint::{CheckpointRequest, record_stop_savepoint, record_stop_trigger};
use crate::job::sinks::{Publications, PublishableCheckpoint, SinkCommitters, mark_published};
use crate::job::store::remove_claimed;
use crate::job::telemetry::{self, CheckpointTimes};
use crate::job::view::{CheckpointDetail, CheckpointStats, CheckpointSummary, JobFailure, SavepointView};
use crate::pipeline::InjectionStep;
use crate::runtime::{BarrierKind, SubtaskSnapshot};

/// Failure of a checkpoint, in its trace, that has not failed itself.
const ABORTED: &str = "aborted";

/// How an attempt proceeds after the upload of a checkpoint has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterCheckpoint {
    /// The attempt continues.
    Continue,
    /// The final checkpoint is complete: the job has finished.
    Finished,
    /// The savepoint of a stop is complete: the job has stopped.
    Stopped,
}

/// The checkpoints of one attempt.
pub struct CheckpointCoordinator {
    context: AttemptContext,
    sinks: Arc<SinkCommitters>,
    publications: Publications,
    /// Complete checkpoints whose output is not published.
    open: OpenPublications,
    /// Set once the checkpoint is complete after which the subtasks end.
    is_finishing: bool,
    schedule: CheckpointSchedule,
    pending: PendingCheckpoints,
    uploads: CheckpointUploads,
    /// The newest complete checkpoint, whose files the next one may refer to.
    base: Option<Arc<CheckpointMetadata>>,
    /// The newest complete checkpoint or savepoint of the job.
    newest: Option<Arc<CheckpointMetadata>>,
    next_id: u64,
    /// Checkpoints that have failed since the last complete one.
    consecutive_failures: u32,
    /// Complete checkpoints of this attempt, without savepoints.
    completed: u64,
    /// Ids of all requests that this attempt has received.
    request_ids: Vec<String>,
}

impl CheckpointCoordinator {
    /// Creates the coordinator of an attempt. `base` is the checkpoint that the first one may build on, and `restored` the
    /// job's own checkpoint or savepoint that the attempt restores. Removes savepoints that an earlier attempt did not complete.
    pub fn new(
        context: AttemptContext,
        publications: Publications,
        base: Option<Arc<CheckpointMetadata>>,
        restored: Option<Arc<CheckpointMetadata>>,
    ) -> Result<CheckpointCoordinator> {
        let job_id = context.job.record().id;
        let next_id = context.storage.highest_id(&job_id)?.map_or(1, |id| id + 1);
        context.storage.remove_unfinished_savepoints(&job_id)?;
        let now_ns = context.environment.clock.monotonic_ns();
        Ok(CheckpointCoordinator {
            schedule: CheckpointSchedule::new(&context.plan.pipeline, now_ns),
            sinks: context.sinks.clone(),
            context,
            publications,
            open: OpenPublications::default(),
            is_finishing: false,
            pending: PendingCheckpoints::default(),
            uploads: CheckpointUploads::default(),
            base,
            newest: restored,
            next_id,
            consecutive_failures: 0,
            completed: 0,
            request_ids: Vec::new(),
        })
    }

    /// Returns the id of the next checkpoint.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Returns whether the last checkpoint of the job is complete, so that only publications are left.
    pub fn is_finishing(&self) -> bool {
        self.is_finishing
    }

    /// Returns whether the output of a complete checkpoint is not published.
    pub fn has_open_publications(&self) -> bool {
        !self.open.is_empty()
    }

    /// Returns whether an open publication is not known to wait for its peer.
    pub fn may_publish_soon(&self) -> bool {
        self.open.sinks().iter().any(|sink| self.sinks.trouble(sink).is_none())
    }

    /// Returns whether the checkpoint was triggered, and neither it nor a later one is in progress.
    pub fn is_settled(&self, checkpoint: u64) -> bool {
        self.next_id > checkpoint && !self.pending.has_any_from(checkpoint)
    }

    /// Schedules a requested checkpoint, savepoint or stop. A request that this attempt has received before is ignored.
    pub fn request(&mut self, request: CheckpointRequest) {
        if !self.request_ids.contains(&request.request_id) {
            self.request_ids.push(request.request_id.clone());
            self.schedule.request(request);
        }
    }

    /// Makes a checkpoint due because the sources have read enough records or event time.
    pub fn checkpoint_due(&mut self) {
        self.schedule.checkpoint_due();
    }

    /// Makes a checkpoint due at once, because a source has failed after records that are in no checkpoint.
    pub fn checkpoint_now(&mut self) {
        self.schedule.checkpoint_now();
    }

    /// Records that a source subtask has ended.
    pub fn source_ended(&mut self) {
        self.schedule.source_ended();
    }

    /// Records that source subtasks that had ended read again, because their region restarts.
    pub fn sources_restarted(&mut self, sources: usize) {
        self.schedule.sources_restarted(sources);
    }

    /// Returns the id of the newest complete checkpoint or savepoint of the job.
    pub fn newest(&self) -> Option<u64> {
        self.newest.as_ref().map(|newest| newest.checkpoint_id)
    }

    /// Tells the sources that have started that the checkpoint which they restored is durable. The process that took it may have ended before
    /// it could.
    pub fn report_newest(&self, target: &dyn BarrierTarget) {
        if let Some(newest) = self.newest() {
            target.complete(newest);
        }
    }

    /// Lets later checkpoints build on the newest complete one, because a region has restored it.
    pub fn build_on_newest(&mut self) {
        if self.newest.is_some() {
            self.base = self.newest.clone();
        }
    }

    /// Returns whether a checkpoint is in progress after which the subtasks end.
    pub fn is_ending(&self) -> bool {
        self.is_finishing || self.pending.active().last
    }

    /// Injects the barriers that are due, and lets barriers overtake records whose alignment timeout has elapsed.
    pub fn trigger_due(&mut self, target: &dyn BarrierTarget, now_ns: u64) {
        if self.is_finishing {
            return;
        }
        let is_sink_full = self.sinks.are_full();
        loop {
            let active = ActiveCheckpoints { is_sink_full, ..self.pending.active() };
            let Some((barrier, requests)) = self.schedule.next(now_ns, self.next_id, active) else { break };
            fail_point!("checkpoint.trigger");
            self.next_id += 1;
            self.sinks.let_pass(barrier.checkpoint);
            if barrier.kind.is_stop() {
                record_stop_trigger(&self.context.job, barrier.checkpoint);
            }
            let now_ms = self.context.environment.clock.wall_ms();
            let pending = PendingCheckpoint::new(barrier, &self.context.plan.pipeline, now_ms, requests);
            self.context.job.show_checkpoint(pending.view("in-progress"));
            self.pending.insert(pending);
            target.inject(barrier);
        }
        for barrier in self.pending.take_overtaking(now_ns) {
            target.overtake(barrier);
        }
    }

    /// Returns the nanoseconds until a checkpoint is due, a barrier may overtake records, or a checkpoint exceeds its timeout.
    pub fn wait_ns(&self, now_ns: u64) -> Option<u64> {
        let timeout = self.context.plan.pipeline.checkpoint.timeout;
        let expires = self.pending.expires_in_ns(now_ns, timeout);
        let reported = self.open.reported_in_ns(now_ns, self.context.plan.pipeline.checkpoint.publish_timeout);
        let due = self.schedule.wait_ns(now_ns).filter(|_| !self.is_finishing);
        self.pending.overtakes_in_ns(now_ns).into_iter().chain(due).chain(expires).chain(reported).min()
    }

    /// Adds the snapshots of a subtask to a checkpoint. If they were the last ones, the upload begins.
    pub fn acknowledge(&mut self, checkpoint: u64, snapshots: Vec<SubtaskSnapshot>) -> Result<()> {
        let Some(pending) = self.pending.get_mut(checkpoint) else { return Ok(()) };
        let Some(snapshots) = pending.add(snapshots) else { return Ok(()) };
        fail_point!("checkpoint.acknowledged", error::storage_failed);
        pending.begin_upload(self.base.as_ref().map(|base| base.checkpoint_id));
        let record = self.context.job.record();
        let kind = pending.kind();
        let header = CheckpointHeader {
            job_id: record.id.clone(),
            job_name: record.name,
            checkpoint,
            kind,
            taken_at_ms: pending.triggered_at_ms,
            seed: record.seed,
            triggered_ns: pending.barrier.triggered_ns,
            versions: self.context.versions.clone(),
        };
        let files = self.context.storage.files(&record.id, checkpoint, kind)?;
        let (plan, base) = (self.context.plan.clone(), self.base.clone());
        let (sender, clock) = (self.context.sender.clone(), self.context.environment.clock.clone());
        self.uploads.begin(checkpoint, files, move |files| {
            let result = upload::upload(header, &plan.pipeline, snapshots, files, base.as_deref(), &*clock);
            sender.uploaded(checkpoint, result);
        })
    }

    /// Completes a checkpoint whose upload has ended, or counts it as failed.
    pub fn finish_upload(
        &mut self,
        target: &dyn BarrierTarget,
        checkpoint: u64,
        result: Result<UploadedCheckpoint>,
    ) -> Result<AfterCheckpoint, JobFailure> {
        let Some(pending) = self.pending.remove(checkpoint) else { return Ok(AfterCheckpoint::Continue) };
        self.schedule.ended(self.context.environment.clock.monotonic_ns());
        let begin_ns = self.context.environment.clock.monotonic_ns();
        // Once the checkpoint is durable, the records of these faults are not processed again.
        self.context.job.faults.flush();
        let written = result.and_then(|uploaded| {
            let location = self.context.storage.write_metadata(&uploaded.metadata)?;
            Ok((uploaded, location))
        });
        match written {
            Ok((uploaded, location)) => {
                self.show_completed(&pending, &uploaded, &location, begin_ns);
                self.complete(target, pending, uploaded, location)
            }
            Err(error) => self.fail(&pending, &error).map(|()| AfterCheckpoint::Continue),
        }
    }

    /// Begins to publish the output of a checkpoint whose metadata is durable, and removes old checkpoints.
    fn complete(
        &mut self,
        target: &dyn BarrierTarget,
        pending: PendingCheckpoint,
        uploaded: UploadedCheckpoint,
        location: StorageLocation,
    ) -> Result<AfterCheckpoint, JobFailure> {
        self.consecutive_failures = 0;
        self.context.injected.checkpoint_completed();
        let kind = pending.barrier.kind;
        self.is_finishing |= kind.is_last();
        let UploadedCheckpoint { metadata, local, .. } = uploaded;
        let metadata = Arc::new(metadata);
        self.newest = self
            .newest
            .take()
            .filter(|newest| newest.checkpoint_id > metadata.checkpoint_id)
            .or(Some(metadata.clone()));
        if kind.is_stop() {
            record_stop_savepoint(&self.context.job, &location);
        }
        fail_point!("checkpoint.publish", |why| JobFailure::from(error::storage_failed(why)));
        let checkpoint = PublishableCheckpoint { metadata: metadata.clone(), local: Arc::new(local) };
        let sinks = match self.publish(&checkpoint) {
            Ok(sinks) => sinks,
            Err(error) => {
                self.answer_failed(&pending, Some(&location), &not_published(&error.message));
                return Err(error.into());
            }
        };
        target.complete(metadata.checkpoint_id);
        if !kind.is_savepoint() {
            self.build_on(target, metadata.clone());
        }
        let since_ns = self.context.environment.clock.monotonic_ns();
        let open = OpenPublication { pending, metadata, location, sinks, since_ns, is_reported: false };
        match open.sinks.is_empty() {
            true => self.finish_publication(&open),
            false => {
                self.open.add(open);
                Ok(AfterCheckpoint::Continue)
            }
        }
    }

    /// Records that a sink has published a checkpoint and all before it, or fails the attempt.
    pub fn sink_published(
        &mut self,
        sink: &str,
        checkpoint: u64,
        result: Result<()>,
    ) -> Result<AfterCheckpoint, JobFailure> {
        if let Err(error) = result {
            for open in self.open.take_all() {
                self.answer_failed(&open.pending, Some(&open.location), &not_published(&error.message));
            }
            return Err(error.into());
        }
        let mut after = AfterCheckpoint::Continue;
        for published in self.open.take_published(sink, checkpoint) {
            match self.finish_publication(&published)? {
                AfterCheckpoint::Continue => {}
                end => after = end,
            }
        }
        Ok(after)
    }

    /// Answers the requests of a checkpoint whose output is published.
    fn finish_publication(&mut self, published: &OpenPublication) -> Result<AfterCheckpoint, JobFailure> {
        let OpenPublication { pending, metadata, location, is_reported, .. } = published;
        mark_published(&self.context.storage, metadata);
        let kind = pending.barrier.kind;
        let retained = Some(self.context.plan.pipeline.checkpoint.retained).filter(|_| !kind.is_savepoint());
        dead_letters::settle_replays(&self.context.job, &self.context.letters.quota, metadata, retained);
        fail_point!("checkpoint.published", |why| JobFailure::from(error::storage_failed(why)));
        for request_id in pending.requests.iter().filter(|_| !is_reported) {
            self.context.job.show_savepoint(SavepointView::completed(request_id, Some(location.to_string())));
        }
        Ok(match kind {
            BarrierKind::Final => AfterCheckpoint::Finished,
            BarrierKind::Stop | BarrierKind::Drain => AfterCheckpoint::Stopped,
            BarrierKind::Checkpoint => {
                self.completed += 1;
                self.inject_fault()?;
                AfterCheckpoint::Continue
            }
            BarrierKind::Savepoint => AfterCheckpoint::Continue,
        })
    }

    /// Answers the requests of complete checkpoints whose publication takes longer than `publish_timeout`. The publication goes on. After
    /// a stop the job ends nevertheless: its savepoint holds the output.
    pub fn report_late_publications(&mut self, now_ns: u64) -> AfterCheckpoint {
        let timeout = self.context.plan.pipeline.checkpoint.publish_timeout;
        let mut after = AfterCheckpoint::Continue;
        for late in self.open.take_late(now_ns, timeout) {
            let why = not_published(&describe([&late], &self.sinks));
            tracing::warn!(job = %self.context.plan.pipeline.name, checkpoint = late.metadata.checkpoint_id, "{why}");
            self.answer_failed(&late.pending, Some(&late.location), &why);
            if late.pending.barrier.kind.is_stop() {
                self.context.job.update_or_show(|record| record.unpublished = Some(why.clone()));
                after = AfterCheckpoint::Stopped;
            }
            self.open.add(late);
        }
        after
    }

    /// Ends the publications of the attempt and waits for their threads.
    pub fn end_publications(&mut self) {
        self.publications.end();
    }

    /// Fails the first attempt of the job if the pipeline file asks for it.
    fn inject_fault(&self) -> Result<()> {
        let is_first = self.context.job.record().restarts == 0;
        match self.context.plan.pipeline.fault_injection.after_checkpoints {
            Some(count) if is_first && count == self.completed => {
                Err(error::fault_injected(format!("`[fault_injection]` fails the job after {count} checkpoints")))
            }
            _ => Ok(()),
        }
    }

    /// Shows a checkpoint whose metadata is durable. The metadata was written from `commit_ns` on.
    fn show_completed(
        &self,
        pending: &PendingCheckpoint,
        uploaded: &UploadedCheckpoint,
        location: &StorageLocation,
        commit_ns: u64,
    ) {
        let now_ns = self.context.environment.clock.monotonic_ns();
        let duration_ms = now_ns.saturating_sub(pending.barrier.triggered_ns) / 1_000_000;
        let mut view = pending.view("completed");
        view.summary = CheckpointSummary {
            duration_ms: Some(duration_ms),
            total: CheckpointStats::total(uploaded.operators.iter().map(|operator| &operator.total)),
            location: Some(location.to_string()),
            ..view.summary
        };
        view.operators = uploaded.operators.clone();
        let (checkpoint, bytes) = (pending.barrier.checkpoint, view.summary.total.bytes_uploaded);
        tracing::debug!(job = %uploaded.metadata.job_name, checkpoint, duration_ms, bytes, "checkpoint complete");
        self.trace(pending, &view, Some(commit_ns..now_ns), None);
        self.context.job.show_checkpoint(view);
    }

    /// Records that the job has a checkpoint, then begins to publish what the sinks prepared for it. Returns the sinks that have something to
    /// publish.
    fn publish(&mut self, checkpoint: &PublishableCheckpoint) -> Result<BTreeSet<String>> {
        if !self.context.job.record().has_checkpoint {
            // Stored before anything is published: a restart that finds no checkpoint must not start without state.
            self.context.job.update(|record| record.has_checkpoint = true)?;
            self.context.environment.origins.forget(&checkpoint.metadata.job_id);
        }
        let operators = checkpoint.metadata.operators.iter();
        operators
            .map(|node| &node.id)
            .try_for_each(|node| self.context.injected.check(InjectionStep::Commit, node, 0, 1))?;
        self.publications.begin(checkpoint)
    }

    /// Makes a complete checkpoint the base of later ones, unless a newer one is complete already, and removes old
    /// checkpoints.
    fn build_on(&mut self, target: &dyn BarrierTarget, metadata: Arc<CheckpointMetadata>) {
        let id = metadata.checkpoint_id;
        if self.base.as_ref().is_none_or(|base| base.checkpoint_id < id) {
            self.base = Some(metadata);
            self.context.job.show(|record| record.last_checkpoint = Some(id));
        }
        if let Some(oldest) = self.remove_old() {
            target.release(oldest);
        }
        remove_claimed(&self.context.job, &self.context.environment);
    }

    /// Removes old checkpoints, except those that are being read, that other jobs start from, or that pending ones
    /// build on. Returns the oldest one that is left.
    fn remove_old(&self) -> Option<u64> {
        let AttemptContext { job, environment, plan, storage, .. } = &self.context;
        let job_id = job.record().id;
        let origins = environment.origins.spared_in(&storage.root().join(&job_id));
        let newest = self.base.as_ref().map_or(0, |base| base.checkpoint_id);
        let read = job.readers.spared(newest).into_iter();
        let read = read.map(|checkpoint| UnfinishedCheckpoint { id: checkpoint, based_on: Some(checkpoint) });
        let spared: Vec<UnfinishedCheckpoint> = self.pending.spared().chain(origins).chain(read).collect();
        match storage.retire(&job_id, plan.pipeline.checkpoint.retained, &spared) {
            Ok(retirement) => retirement.oldest_retained,
            Err(error) => {
                tracing::warn!(job = %plan.pipeline.name, "cannot remove old checkpoints: {error}");
                None
            }
        }
    }

    /// Answers the requests of a failed checkpoint or savepoint. A stop stays open for the next attempt.
    fn answer_failed(&self, pending: &PendingCheckpoint, location: Option<&StorageLocation>, why: &str) {
        let why = self.context.environment.policy.secrets().redact(why);
        for request_id in pending.requests.iter().filter(|_| !pending.barrier.kind.is_stop()) {
            let location = location.map(StorageLocation::to_string);
            self.context.job.show_savepoint(SavepointView::failed(request_id, location, why.to_string()));
        }
    }

    /// Counts a failed checkpoint. Fails the attempt if too many failed in a row, or if the job was to end with this
    /// one.
    fn fail(&mut self, pending: &PendingCheckpoint, error: &Error) -> Result<(), JobFailure> {
        self.consecutive_failures += 1;
        let (checkpoint, failures) = (pending.barrier.checkpoint, self.consecutive_failures);
        tracing::warn!(job = %self.context.plan.pipeline.name, checkpoint, failures, "checkpoint failed: {error}");
        self.show_failed(pending, error.code, &error.message);
        self.answer_failed(pending, None, &error.message);
        if pending.barrier.kind.is_last() || failures > self.context.plan.pipeline.checkpoint.tolerable_failures {
            return Err(error.into());
        }
        Ok(())
    }

    /// Exports the trace of a checkpoint that has ended.
    fn trace(
        &self,
        pending: &PendingCheckpoint,
        view: &CheckpointDetail,
        commit_ns: Option<Range<u64>>,
        failure: Option<&str>,
    ) {
        let AttemptContext { job, environment, .. } = &self.context;
        let ended_ns = commit_ns.as_ref().map_or_else(|| environment.clock.monotonic_ns(), |commit| commit.end);
        let times = CheckpointTimes { triggered_ns: pending.barrier.triggered_ns, commit_ns, ended_ns };
        job.with_record(|record| {
            telemetry::trace_checkpoint(&environment.tracer, (&record.id, &record.name), view, times, failure);
        });
    }

    fn show_failed(&self, pending: &PendingCheckpoint, code: &str, why: &str) {
        let mut view = pending.view("failed");
        self.trace(pending, &view, None, Some(code));
        view.summary.failure = Some(self.context.environment.policy.secrets().redact(why).into_owned());
        self.context.job.show_checkpoint(view);
    }

    /// Fails the checkpoints that have exceeded the timeout. Their barriers are abandoned, and their uploads are given
    /// up.
    pub fn fail_expired(&mut self, target: &dyn BarrierTarget, now_ns: u64) -> Result<(), JobFailure> {
        let timeout = self.context.plan.pipeline.checkpoint.timeout;
        while let Some(pending) = self.pending.take_expired(now_ns, timeout) {
            let checkpoint = pending.barrier.checkpoint;
            target.abandon(checkpoint);
            self.uploads.give_up(checkpoint);
            self.schedule.ended(now_ns);
            let error = error::checkpoint_timeout(format!(
                "checkpoint {checkpoint} was not complete after {}",
                humantime::format_duration(timeout)
            ));
            self.fail(&pending, &error)?;
        }
        Ok(())
    }

    /// Aborts all checkpoints in progress. They do not count as failed. Requests that they answer have failed.
    pub fn abort_all(&mut self, target: &dyn BarrierTarget, now_ns: u64, why: &str) {
        let pending: Vec<PendingCheckpoint> = self.pending.take_all().collect();
        for pending in &pending {
            let checkpoint = pending.barrier.checkpoint;
            target.abandon(checkpoint);
            self.uploads.give_up(checkpoint);
            self.schedule.ended(now_ns);
            self.show_failed(pending, ABORTED, why);
            self.answer_failed(pending, None, why);
        }
    }

    /// Ends all uploads and waits for them. Call this after the subtasks have ended.
    pub fn end_uploads(&mut self) {
        self.uploads.end();
    }

    /// Gives up everything that is in progress because the attempt has ended: shows pending checkpoints as failed,
    /// removes incomplete savepoints, and answers requests that have no answer.
    pub fn give_up_all(&mut self) {
        let pending: Vec<PendingCheckpoint> = self.pending.take_all().collect();
        pending.iter().for_each(|pending| self.show_failed(pending, ABORTED, "the job's attempt ended"));
        for open in self.open.iter().filter(|open| !open.is_reported) {
            let why = not_published("the job's attempt ended before");
            self.answer_failed(&open.pending, Some(&open.location), &why);
        }
        if let Err(error) = self.context.storage.remove_unfinished_savepoints(&self.context.job.record().id) {
            tracing::warn!(job = %self.context.plan.pipeline.name, "cannot remove files of incomplete savepoints: {error}");
        }
        let why = "the job's attempt ended before the savepoint was complete";
        self.context.job.fail_savepoints(&self.request_ids, why);
    }

    /// After a cancel: removes output that the sinks prepared and no checkpoint has promised. Records what a checkpoint has promised and is
    /// not published.
    pub fn discard_prepared_output(&self) {
        let unpublished = self.open.sinks();
        if !unpublished.is_empty() {
            let what = describe(self.open.iter(), &self.sinks);
            self.context.job.update_or_show(|record| record.unpublished = Some(what.clone()));
        }
        self.sinks.discard_prepared(&unpublished);
    }
}

fn not_published(why: &str) -> String {
    format!("the savepoint is complete, but its output is not published yet: {why}")
}
