//! The loop of a subtask that reads a source, until its last barrier. Barriers and completed checkpoints come over a control channel.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};

use super::subtask_core::SubtaskCore;
use crate::connector::Poll;
use crate::error::Error;
use crate::permits::{self, WaitReason};
use crate::runtime::attempt_signals::SubtaskCancelled;
use crate::runtime::barrier::{Barrier, BarrierKind};
use crate::runtime::source::checkpoint_triggers::CheckpointTriggers;
use crate::runtime::source::source_reader::{SourceBatch, SourceReader};
use crate::runtime::source_control::SourceControl;
use crate::runtime::subtask_event::SubtaskEvent;
use crate::runtime::subtask_failure::{RecordOrigin, SubtaskError, SubtaskFailure};

/// A subtask that reads a source.
pub(crate) struct SourceLoop {
    pub(super) core: SubtaskCore,
    pub(super) reader: SourceReader,
    pub(super) triggers: Arc<CheckpointTriggers>,
    /// Barriers that have not been answered, oldest first.
    pending_barriers: VecDeque<Barrier>,
    /// Whether a drain has ended event time.
    is_draining: bool,
    /// Whether the source has ended or failed, so that nothing more is read.
    pub(super) has_ended: bool,
    has_reported_end: bool,
    /// The newest checkpoint that the source knows to be durable.
    completed: u64,
}

impl SourceLoop {
    pub(crate) fn new(core: SubtaskCore, reader: SourceReader, triggers: Arc<CheckpointTriggers>) -> SourceLoop {
        SourceLoop {
            core,
            reader,
            triggers,
            pending_barriers: VecDeque::new(),
            is_draining: false,
            has_ended: false,
            has_reported_end: false,
            completed: 0,
        }
    }

    /// Runs until the last barrier has passed. Fails if the subtask fails or is cancelled.
    pub(crate) fn run(&mut self, control: &Receiver<SourceControl>) -> Result<(), SubtaskError> {
        let result = self.run_loop(control);
        if result.is_err() {
            // Totals contain what was processed after the last publication.
            self.core.publish_stats();
        }
        result
    }

    fn run_loop(&mut self, control: &Receiver<SourceControl>) -> Result<(), SubtaskError> {
        loop {
            self.take_controls(control)?;
            if let Some(last) = self.answer_barriers()? {
                self.await_completion(last, control);
                return Ok(());
            }
            self.core.begin_step()?;
            self.core.chain.continue_event_time()?;
            // Nothing is read between the end of event time and a barrier that follows it.
            let is_blocked = self.core.chain.is_event_time_advancing() || !self.pending_barriers.is_empty();
            let wait = match (is_blocked, self.has_ended) {
                (true, _) => Duration::ZERO,
                (false, false) => self.read()?,
                (false, true) => Duration::MAX,
            };
            self.report_end()?;
            self.core.finish_step()?;
            if !wait.is_zero() {
                let wait = wait.min(self.core.prepare_wait()?);
                self.reader.wait(&self.core.wakeup, wait);
            }
        }
    }

    /// Takes over what the job has sent.
    fn take_controls(&mut self, control: &Receiver<SourceControl>) -> Result<(), SubtaskCancelled> {
        loop {
            match control.try_recv() {
                Ok(SourceControl::Barrier(barrier)) => self.pending_barriers.push_back(barrier),
                Ok(SourceControl::Complete(checkpoint)) if checkpoint > self.completed => {
                    self.completed = checkpoint;
                    self.reader.source.complete(checkpoint);
                }
                Ok(SourceControl::Complete(_)) => {}
                Ok(SourceControl::Released(oldest)) => self.reader.source.released(oldest),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(SubtaskCancelled),
            }
        }
    }

    /// Waits until the source knows that its last checkpoint is durable, if it needs to, or until the attempt is over.
    fn await_completion(&mut self, last: u64, control: &Receiver<SourceControl>) {
        if !self.reader.source.awaits_completion() {
            return;
        }
        loop {
            // The job reports the checkpoint before it ends the attempt.
            let is_cancelled = self.core.signals.is_cancelled();
            if self.take_controls(control).is_err() || self.completed >= last || is_cancelled {
                return;
            }
            permits::wait(WaitReason::Input, &self.core.wakeup, Duration::MAX);
        }
    }

    /// Reports the end of the source once, after everything that is due at the end has fired.
    fn report_end(&mut self) -> Result<(), SubtaskError> {
        let is_over = self.has_ended && !self.reader.has_failed && !self.core.chain.is_event_time_advancing();
        if is_over && !self.has_reported_end {
            self.has_reported_end = true;
            self.core.chain.flush_sinks()?;
            self.core.publish_stats();
            self.core.notify(SubtaskEvent::SourceEnded);
        }
        Ok(())
    }

    /// Answers the pending barriers in order. A barrier that follows the end of event time waits until the end has passed the
    /// chain. Returns the checkpoint of the last barrier once it has been answered.
    fn answer_barriers(&mut self) -> Result<Option<u64>, SubtaskError> {
        while let Some(&barrier) = self.pending_barriers.front() {
            let is_abandoned = barrier.checkpoint <= self.core.signals.abandoned();
            if barrier.kind == BarrierKind::Drain && !is_abandoned && !self.is_draining {
                self.is_draining = true;
                self.end_event_time()?;
            }
            let waits_for_end = barrier.kind.follows_end_of_event_time() && !is_abandoned;
            if waits_for_end && self.core.chain.is_event_time_advancing() {
                return Ok(None);
            }
            self.pending_barriers.pop_front();
            if !is_abandoned {
                self.answer(barrier)?;
            }
            if barrier.kind.is_last() {
                return Ok(Some(barrier.checkpoint));
            }
        }
        Ok(None)
    }

    /// Takes the snapshots for a barrier and acknowledges it.
    fn answer(&mut self, barrier: Barrier) -> Result<(), SubtaskError> {
        let since_ns = self.core.chain.clock.monotonic_ns();
        let mut snapshots = self.core.take_snapshots(barrier, since_ns)?;
        if let Some(source) = snapshots.first_mut() {
            let position = self.reader.source.snapshot(barrier.checkpoint);
            let position = position.map_err(|error| SubtaskError::from_error(&source.node, source.subtask, error))?;
            source.source_position = Some(position);
            source.counters = self.reader.counters;
            source.watermark = self.reader.watermarks.checkpointed_watermark();
        }
        self.core.acknowledge(barrier, snapshots);
        Ok(())
    }

    /// Reads once and emits the records. Returns how long the loop may wait before the next read, `Duration::MAX` if only a
    /// wake-up brings something to read.
    pub(super) fn read(&mut self) -> Result<Duration, SubtaskError> {
        if self.reader.must_wait_for_group() {
            self.send_due_watermark()?;
            return Ok(self.reader.watermarks.max_wait());
        }
        let signals = &self.core.signals;
        let read = self.reader.read(&|| {
            // The search for a bad record in a large file takes long.
            permits::check();
            signals.is_cancelled()
        });
        self.core.chain.set_source_counters(self.reader.counters);
        for warning in self.reader.take_warnings() {
            self.core.notify(SubtaskEvent::Warning(warning));
        }
        let (batch, poll) = match read {
            Ok(read) => read,
            Err(error) => return self.fail_source(error),
        };
        if !batch.outputs.is_empty() {
            self.emit(batch)?;
        }
        self.send_due_watermark()?;
        let is_idle = self.reader.watermarks.is_idle();
        if poll != Poll::End && self.core.chain.event_time.idle != is_idle {
            self.core.chain.set_idle(is_idle)?;
            if is_idle {
                self.release_others();
            }
        }
        match poll {
            Poll::Records(_) => Ok(Duration::ZERO),
            Poll::Pending(wait) => Ok(wait.min(self.reader.watermarks.max_wait())),
            Poll::End => {
                self.has_ended = true;
                self.end_event_time()?;
                self.release_others();
                Ok(Duration::MAX)
            }
        }
    }

    fn emit(&mut self, batch: SourceBatch) -> Result<(), SubtaskError> {
        let records = batch.records as u64;
        self.core.chain.set_idle(false)?;
        for output in batch.outputs {
            if self.reader.locates_letters {
                self.core.chain.hold_letters();
            }
            let emitted = self.core.chain.emit_from_source(output);
            emitted.map_err(|error| self.with_origin(error, records))?;
            let (reader, signals) = (&mut self.reader, &self.core.signals);
            self.core.chain.release_letters(|indexes| reader.locate_all(indexes, &|| signals.is_cancelled()))?;
        }
        self.notify_if_due(self.triggers.count_records(records));
        Ok(())
    }

    /// Adds the origin of the record that an operator failed on, if it is one of the last `records` records. The origin is known
    /// only for operators that read the source directly.
    fn with_origin(&self, error: SubtaskError, records: u64) -> SubtaskError {
        let failure = match error {
            SubtaskError::Failed(failure) if self.core.chain.is_fed_by_source(&failure.node) => failure,
            error => return error,
        };
        let Some(index) = failure.record.as_ref().and_then(|record| record.index) else {
            return SubtaskError::Failed(failure);
        };
        let location = self.reader.locate(index, &|| self.core.signals.is_cancelled());
        let origin = location.map_or_else(
            || RecordOrigin::Number {
                source: self.core.chain.nodes[0].id.clone(),
                subtask: self.core.chain.subtask,
                number: self.reader.counters.records_in.saturating_sub(records) + index as u64 + 1,
            },
            RecordOrigin::Input,
        );
        SubtaskError::Failed(Box::new(failure.with_origin(Some(origin))))
    }

    /// Ends the subtask if the source fails before it has emitted any records. Otherwise only ends the reading, so that a
    /// checkpoint can hold the records.
    fn fail_source(&mut self, error: Error) -> Result<Duration, SubtaskError> {
        let failure = SubtaskFailure::from_error(&self.core.chain.nodes[0].id, self.core.chain.subtask, error);
        if !self.reader.has_emitted {
            return Err(SubtaskError::Failed(Box::new(failure)));
        }
        self.reader.has_failed = true;
        self.has_ended = true;
        self.core.chain.flush_sinks()?;
        self.core.publish_stats();
        self.core.notify(SubtaskEvent::SourceFailed(Box::new(failure)));
        Ok(Duration::MAX)
    }

    fn notify_if_due(&self, is_checkpoint_due: bool) {
        if is_checkpoint_due {
            self.core.notify(SubtaskEvent::CheckpointDue);
        }
    }

    /// Sends the watermark of the source if it is due.
    fn send_due_watermark(&mut self) -> Result<(), SubtaskError> {
        if let Some(watermark) = self.reader.watermarks.due_watermark() {
            self.core.chain.advance_watermark(watermark)?;
            self.notify_if_due(self.triggers.advance_watermark(self.reader.index, watermark));
        }
        Ok(())
    }

    /// Tells the alignment group and the event-time trigger not to wait for this source.
    fn release_others(&mut self) {
        self.reader.release_group();
        self.notify_if_due(self.triggers.advance_watermark(self.reader.index, i64::MAX));
    }

    /// Sends the watermark of the last record and then the largest one. The watermark of an idle channel does not count.
    ///
    /// While other inputs go on, event time is held at the first of the two and not at what was sent last.
    fn end_event_time(&mut self) -> Result<(), SubtaskError> {
        self.core.chain.set_idle(false)?;
        if let Some(watermark) = self.reader.watermarks.last_watermark() {
            self.core.chain.advance_watermark(watermark)?;
        }
        self.core.chain.advance_watermark(i64::MAX)
    }
}
