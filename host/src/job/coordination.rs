//! The checkpoints of a running attempt: triggers them, collects their parts, completes them or gives them up.
//!
//! A checkpoint counts when its manifest is durable; only then are sinks committed. One that takes too long has failed:
//! its barrier is abandoned where it is, and holds nobody up.

use super::attempt::{Attempt, AttemptEnd};
use super::checkpointing::{self, MetadataHead, Pending, Uploaded};
use super::live::failure_of;
use super::promises;
use super::removal;
use super::schedule::{self, nanoseconds};
use super::stopping;
use super::view::{CheckpointPart, CheckpointSummary, JobFailure, SavepointView};
use crate::checkpoint::{CheckpointMetadata, StorageLocation, UnfinishedCheckpoint};
use crate::error::{self, Error, Result};
use crate::runtime::{BarrierKind, SubtaskSnapshot};

impl Attempt {
    /// Injects the barriers that are due, and lets those overtake for which it is time.
    pub(super) fn trigger_due(&mut self, now_ns: u64) {
        while let Some((barrier, requests)) = self.schedule.next(now_ns, self.next_checkpoint, self.in_progress()) {
            self.next_checkpoint += 1;
            if barrier.kind.is_stop() {
                stopping::triggered(&self.job, barrier.checkpoint);
            }
            let pending = Pending::new(barrier, &self.plan.pipeline, self.clock.wall_ms(), requests);
            self.job.show_checkpoint(pending.shown("in-progress"));
            self.pending.insert(barrier.checkpoint, pending);
            self.execution.inject(barrier);
        }
        for pending in self.pending.values_mut().filter(|pending| pending.is_under_way()) {
            if pending.overtakes_at_ns.take_if(|at| *at <= now_ns).is_some() {
                self.execution.overtake(pending.barrier);
            }
        }
    }

    fn in_progress(&self) -> schedule::InProgress {
        let kinds = || self.pending.values().map(|pending| pending.barrier.kind);
        schedule::InProgress {
            checkpoints: kinds().filter(|kind| *kind == BarrierKind::Checkpoint).count(),
            savepoints: kinds().filter(|kind| kind.is_savepoint()).count(),
            last: kinds().any(BarrierKind::is_last),
        }
    }

    /// Nanoseconds until a checkpoint may be due, or a barrier may overtake.
    pub(super) fn wait_ns(&self, now_ns: u64) -> Option<u64> {
        let overtakes = self.pending.values().filter_map(|pending| pending.overtakes_at_ns);
        let overtakes = overtakes.map(|at| at.saturating_sub(now_ns));
        overtakes.chain(self.schedule.wait_ns(now_ns)).min()
    }

    /// Takes a subtask's parts of a checkpoint. When it was the last, the upload begins.
    pub(super) fn acknowledge(&mut self, checkpoint: u64, parts: Vec<SubtaskSnapshot>) -> Result<()> {
        let Some(pending) = self.pending.get_mut(&checkpoint) else { return Ok(()) };
        let Some(parts) = pending.add(parts) else { return Ok(()) };
        pending.overtakes_at_ns = None;
        pending.based_on = self.base.as_ref().map(|base| base.checkpoint_id);
        let record = self.job.record();
        let kind = pending.kind();
        let head = MetadataHead {
            job_id: record.id.clone(),
            job_name: record.name,
            checkpoint,
            kind,
            taken_at_ms: pending.triggered_at_ms,
            seed: record.seed,
            triggered_ns: pending.barrier.triggered_ns,
        };
        let files = self.storage.files(&record.id, checkpoint, kind)?;
        let (plan, base, sender, attempt) = (self.plan.clone(), self.base.clone(), self.sender.clone(), self.number);
        let clock = self.clock.clone();
        self.uploads.begin(checkpoint, files, move |files| {
            let result = checkpointing::upload(head, &plan.pipeline, parts, files, base.as_deref(), &*clock);
            let _ = sender.send(super::lifecycle::Message::Uploaded { attempt, checkpoint, result: Box::new(result) });
        })
    }

    /// Completes a checkpoint, or counts that it has failed. How the attempt ends where it was the last one.
    pub(super) fn uploaded(
        &mut self,
        checkpoint: u64,
        result: Result<Uploaded>,
    ) -> Result<Option<AttemptEnd>, JobFailure> {
        let Some(pending) = self.pending.remove(&checkpoint) else { return Ok(None) };
        self.schedule.ended(self.clock.monotonic_ns());
        let written = result.and_then(|uploaded| {
            let location = self.storage.write_metadata(&uploaded.manifest)?;
            Ok((uploaded, location))
        });
        let (uploaded, location) = match written {
            Ok(written) => written,
            Err(error) => return self.checkpoint_failed(pending, &error).map(|()| None),
        };
        let Uploaded { manifest, operators } = uploaded;
        self.failures = 0;
        let mut shown = pending.shown("completed");
        shown.summary = CheckpointSummary {
            duration_ms: Some(self.clock.monotonic_ns().saturating_sub(pending.barrier.triggered_ns) / 1_000_000),
            total: CheckpointPart::of(operators.iter().map(|operator| &operator.total)),
            location: Some(location.to_string()),
            ..shown.summary
        };
        shown.operators = operators;
        let (duration_ms, bytes) = (shown.summary.duration_ms, shown.summary.total.bytes_uploaded);
        tracing::debug!(job = %manifest.job_name, checkpoint, duration_ms, bytes, "checkpoint complete");
        self.job.show_checkpoint(shown);
        let kind = pending.barrier.kind;
        if kind.is_stop() {
            stopping::complete(&self.job, &location);
        }
        if let Err(failure) = self.publish(&manifest) {
            let why = format!("it is complete, but its output is not published yet: {}", failure.message);
            self.answer_failed(&pending, Some(&location), &why);
            return Err(failure);
        }
        for request_id in &pending.requests {
            self.answer(request_id, "completed", Some(location.to_string()), None);
        }
        if !kind.is_savepoint() {
            self.build_on(manifest);
        }
        Ok(match kind {
            BarrierKind::Final => Some(AttemptEnd::Finished),
            BarrierKind::Stop | BarrierKind::Drain => Some(AttemptEnd::Stopped),
            BarrierKind::Checkpoint | BarrierKind::Savepoint => None,
        })
    }

    /// From here on the checkpoint counts: what it promised is published, now or after a restart.
    fn publish(&self, manifest: &CheckpointMetadata) -> Result<(), JobFailure> {
        if !self.job.record().has_image {
            // Kept before anything is published: a start that finds no image any more must not begin anew in silence.
            self.job.update(|record| record.has_image = true).map_err(|error| failure_of(&error))?;
            self.origins.forget(&manifest.job_id);
        }
        let promised = promises::committables(manifest);
        for (sink, committables) in &promised {
            if let Some(committer) = self.committers.get(*sink) {
                committer.commit(committables).map_err(|error| failure_of(&error.context(format!("sink `{sink}`"))))?;
            }
        }
        promises::record_published(&self.storage, manifest);
        Ok(())
    }

    /// Has later checkpoints build on this one, unless a newer one was complete before it, and removes old ones.
    fn build_on(&mut self, manifest: CheckpointMetadata) {
        let id = manifest.checkpoint_id;
        if self.base.as_ref().is_none_or(|base| base.checkpoint_id < id) {
            self.base = Some(std::sync::Arc::new(manifest));
            self.job.show(|record| record.last_checkpoint = Some(id));
        }
        self.retire();
        removal::remove_claimed(&self.job, &self.origins, &self.runtime);
    }

    /// Removes old checkpoints, apart from those that are read, and those that other jobs begin from.
    fn retire(&self) {
        let job = self.job.record().id;
        let begun_from = self.origins.spared_in(&self.storage.root().join(&job));
        let in_progress =
            self.pending.iter().map(|(id, pending)| UnfinishedCheckpoint { id: *id, based_on: pending.based_on });
        let newest = self.base.as_ref().map_or(0, |base| base.checkpoint_id);
        let read = self.job.readers.spared(newest).into_iter();
        let read = read.map(|checkpoint| UnfinishedCheckpoint { id: checkpoint, based_on: Some(checkpoint) });
        let spared: Vec<UnfinishedCheckpoint> = in_progress.chain(begun_from).chain(read).collect();
        if let Err(error) = self.storage.retire(&job, self.plan.pipeline.checkpoint.retained, &spared) {
            tracing::warn!("old checkpoints could not be removed: {error}");
        }
    }

    /// Answers the requests of a savepoint or checkpoint. A stop stays open for the next attempt.
    fn answer_failed(&self, pending: &Pending, location: Option<&StorageLocation>, why: &str) {
        for request_id in pending.requests.iter().filter(|_| !pending.barrier.kind.is_stop()) {
            self.answer(request_id, "failed", location.map(StorageLocation::to_string), Some(why.to_owned()));
        }
    }

    fn answer(&self, request_id: &str, status: &str, location: Option<String>, failure: Option<String>) {
        let (request_id, status) = (request_id.to_owned(), status.to_owned());
        self.job.show_savepoint(SavepointView { request_id, status, location, failure });
    }

    /// Counts a failed checkpoint. The job goes on where that is tolerable and the subtasks still run.
    fn checkpoint_failed(&mut self, pending: Pending, error: &Error) -> Result<(), JobFailure> {
        self.failures += 1;
        let (checkpoint, failures) = (pending.barrier.checkpoint, self.failures);
        tracing::warn!(checkpoint, failures, "checkpoint failed: {error}");
        self.show_failed(&pending, &error.message);
        self.answer_failed(&pending, None, &error.message);
        if pending.barrier.kind.is_last() || self.failures > self.plan.pipeline.checkpoint.tolerable_failures {
            return Err(failure_of(error));
        }
        Ok(())
    }

    fn show_failed(&self, pending: &Pending, why: &str) {
        let mut shown = pending.shown("failed");
        shown.summary.failure = Some(why.to_owned());
        self.job.show_checkpoint(shown);
    }

    /// Gives up the checkpoints that take too long. The oldest come first, so those before one are over, too.
    pub(super) fn check_timeout(&mut self, now_ns: u64) -> Result<(), JobFailure> {
        let timeout = self.plan.pipeline.checkpoint.timeout;
        while let Some((&checkpoint, oldest)) = self.pending.first_key_value() {
            if now_ns.saturating_sub(oldest.barrier.triggered_ns) < nanoseconds(timeout) {
                return Ok(());
            }
            let Some(pending) = self.pending.remove(&checkpoint) else { return Ok(()) };
            self.execution.abandon(checkpoint);
            self.uploads.give_up(checkpoint);
            self.schedule.ended(now_ns);
            let error = error::checkpoint_timeout(format!(
                "checkpoint {checkpoint} was not complete after {}",
                humantime::format_duration(timeout)
            ));
            self.checkpoint_failed(pending, &error)?;
        }
        Ok(())
    }

    /// The attempt has ended: nothing that was in progress will be complete. Of savepoints nothing stays.
    pub(super) fn give_up_all(&mut self) {
        for pending in std::mem::take(&mut self.pending).values() {
            self.show_failed(pending, "the job's attempt ended");
        }
        let removed = self.storage.remove_unfinished_savepoints(&self.job.record().id);
        if let Err(error) = removed {
            tracing::warn!("what was stored of unfinished savepoints could not be removed: {error}");
        }
    }
}
