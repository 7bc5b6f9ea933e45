//! Polls a source at its rate, and sets the timestamps of its records.
//!
//! An error of the source comes after all records that were read before it.

use std::time::Duration;

use super::rate_limiter::RateLimiter;
use super::timestamp_assigner::TimestampAssigner;
use super::watermark_alignment::AlignmentMembership;
use super::watermark_generator::WatermarkGenerator;
use crate::clock::SharedClock;
use crate::connector::{Poll, Source};
use crate::error::{Error, Result};
use crate::model::{Batch, Counters};

/// How long to wait if the rate limit allows no record now.
const RATE_LIMIT_WAIT: Duration = Duration::from_millis(2);

/// Reads one source subtask.
pub(crate) struct SourceReader {
    /// Index among all source subtasks of the job.
    pub(crate) index: usize,
    pub(crate) source: Box<dyn Source>,
    /// `None` if the source has no timestamps.
    pub(crate) timestamps: Option<TimestampAssigner>,
    pub(crate) watermarks: WatermarkGenerator,
    /// `None` if the source is in no alignment group.
    pub(crate) alignment: Option<AlignmentMembership>,
    pub(crate) rate_limiter: Option<RateLimiter>,
    pub(crate) batch_records: usize,
    pub(crate) clock: SharedClock,
    /// Counts what was read.
    pub(crate) counters: Counters,
    /// Whether the source has emitted any records in this attempt.
    pub(crate) has_emitted: bool,
    /// An error that follows the records that were read last.
    pub(crate) pending_error: Option<Error>,
    /// Whether the source has failed and reads no more. Its input has not ended then.
    pub(crate) has_failed: bool,
}

impl SourceReader {
    /// Reads the next records and sets their timestamps. Stops searching for the location of a bad record when `is_cancelled`
    /// returns true.
    pub(crate) fn read(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<(Batch, Poll)> {
        if let Some(error) = self.pending_error.take() {
            return Err(error);
        }
        let (mut batch, mut poll) = self.poll()?;
        let was_empty = batch.is_empty();
        self.assign_timestamps(&mut batch, is_cancelled)?;
        if poll == Poll::End
            && let Some(timestamps) = &mut self.timestamps
        {
            timestamps.end();
        }
        self.counters.records_in += batch.len() as u64;
        self.counters.records_out = self.counters.records_in;
        self.has_emitted |= !batch.is_empty();
        if was_empty {
            self.watermarks.note_empty_poll();
        } else {
            self.watermarks.reset_quiet_time();
            self.report_to_group(self.watermarks.current());
            if batch.is_empty() {
                poll = Poll::Pending(Duration::ZERO);
            }
        }
        Ok((batch, poll))
    }

    fn poll(&mut self) -> Result<(Batch, Poll)> {
        let mut records = self.batch_records;
        if let Some(limiter) = &self.rate_limiter {
            let allowed = limiter.allowed(self.clock.monotonic_ns());
            if allowed == 0 {
                // The source is not polled, so it may have records.
                self.watermarks.reset_quiet_time();
                return Ok((Batch::default(), Poll::Pending(RATE_LIMIT_WAIT)));
            }
            records = records.min(usize::try_from(allowed).unwrap_or(usize::MAX));
        }
        let mut batch = Batch::with_capacity(records, records * 64);
        let polled = self.source.poll(&mut batch, records);
        self.counters.records_skipped += self.source.take_skipped();
        if let Some(limiter) = &mut self.rate_limiter {
            limiter.count(batch.len());
        }
        match polled {
            Ok(poll) => Ok((batch, poll)),
            Err(error) if batch.is_empty() => Err(error),
            Err(error) => {
                self.pending_error = Some(error);
                Ok((batch, Poll::Records))
            }
        }
    }

    /// Sets the timestamps. A record whose timestamp cannot be read fails the source, after the records before it.
    fn assign_timestamps(&mut self, batch: &mut Batch, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
        let Some(timestamps) = &mut self.timestamps else { return Ok(()) };
        let assigned = timestamps.assign(batch);
        self.watermarks.observe(assigned.max_timestamp);
        self.counters.records_skipped += assigned.skipped;
        self.counters.add_records_without_timestamp(assigned.missing);
        let Some(unreadable) = assigned.first_unreadable else { return Ok(()) };
        let location = match self.source.locate(unreadable, is_cancelled) {
            Some(location) => location.with_byte(),
            None => format!("record {}", self.counters.records_in + unreadable as u64 + 1),
        };
        self.source.give_back(batch.len() - unreadable)?;
        let error = timestamps.unreadable_error(batch.values.value(unreadable), &location);
        *batch = batch.slice(0..unreadable);
        if unreadable == 0 {
            return Err(error);
        }
        self.pending_error = Some(error);
        Ok(())
    }

    /// Returns the warnings about the records read since the last call.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        self.timestamps.as_mut().map(TimestampAssigner::take_warnings).unwrap_or_default()
    }

    /// Returns whether the source must wait for others of its alignment group. The wait is not a time without records.
    pub(crate) fn must_wait_for_group(&mut self) -> bool {
        let is_ahead = self.alignment.as_ref().is_some_and(AlignmentMembership::is_ahead);
        if is_ahead {
            self.watermarks.reset_quiet_time();
        }
        is_ahead
    }

    /// Tells the alignment group not to wait for this source, because it is idle or has ended.
    pub(crate) fn release_group(&self) {
        self.report_to_group(i64::MAX);
    }

    fn report_to_group(&self, watermark: i64) {
        if let Some(alignment) = &self.alignment {
            alignment.advance(watermark);
        }
    }
}
