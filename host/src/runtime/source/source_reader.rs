//! Reading from a source at its pace: event timestamps, watermarks, idleness and the rate limit.

use std::time::Duration;

use crate::clock::SharedClock;
use crate::connector::{Poll, Source};
use crate::error::{Error, Result};
use crate::model::{Batch, Counters, NO_TIMESTAMP};
use crate::pipeline::WatermarkSettings;
use crate::runtime::source::timestamp_assigner::Stamper;
use crate::runtime::source::watermark_alignment::{Member, milliseconds};

/// Watermarks are sent this far apart at least: each one closes the batches in front of it.
const WATERMARK_INTERVAL_NS: u64 = 100_000_000;

pub(in crate::runtime) struct SourceReader {
    /// Among all source subtasks of the job.
    pub(in crate::runtime) index: usize,
    pub(in crate::runtime) source: Box<dyn Source>,
    pub(in crate::runtime) stamper: Option<Stamper>,
    pub(in crate::runtime) watermarks: Option<WatermarkSettings>,
    pub(in crate::runtime) alignment: Option<Member>,
    pub(in crate::runtime) pace: Option<Pace>,
    pub(in crate::runtime) batch_records: usize,
    pub(in crate::runtime) clock: SharedClock,
    pub(in crate::runtime) counters: Counters,
    pub(in crate::runtime) latest: i64,
    /// The largest watermark that any subtask of the source had reached at the restored checkpoint.
    pub(in crate::runtime) restored_watermark: i64,
    pub(in crate::runtime) watermark: i64,
    pub(in crate::runtime) watermark_sent_ns: u64,
    /// Since when there has been nothing to read. Time in which nothing was asked for does not count.
    pub(in crate::runtime) quiet_since_ns: Option<u64>,
    /// Whether it has given any records.
    pub(in crate::runtime) has_given: bool,
    /// Stands behind the records that were given last.
    pub(in crate::runtime) failed: Option<Error>,
    /// It was told that the source has failed: its input has not ended.
    pub(in crate::runtime) has_failed: bool,
}

/// At most so many records a second, counted from the start.
pub(in crate::runtime) struct Pace {
    records_per_s: u64,
    started_ns: u64,
    given: u64,
}

impl Pace {
    pub(in crate::runtime) fn new(records_per_s: u64, now_ns: u64) -> Pace {
        Pace { records_per_s: records_per_s.max(1), started_ns: now_ns, given: 0 }
    }

    /// Records that may be read now.
    fn allowed(&self, now_ns: u64) -> u64 {
        let elapsed = u128::from(now_ns.saturating_sub(self.started_ns));
        let due = elapsed * u128::from(self.records_per_s) / 1_000_000_000;
        u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(self.given)
    }
}

impl SourceReader {
    /// Returns the next records with their timestamps. An error takes effect after all records returned before it.
    /// Stops searching for the location of a bad record once `is_cancelled` returns true.
    pub(in crate::runtime) fn read(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<(Batch, Poll)> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let (mut batch, mut poll) = self.poll()?;
        let was_empty = batch.is_empty();
        self.stamp(&mut batch, is_cancelled)?;
        if poll == Poll::End
            && let Some(stamper) = &mut self.stamper
        {
            stamper.end();
        }
        self.counters.records_in += batch.len() as u64;
        self.counters.records_out = self.counters.records_in;
        self.has_given |= !batch.is_empty();
        if was_empty {
            self.quiet_since_ns.get_or_insert(self.clock.monotonic_ns());
        } else {
            self.quiet_since_ns = None;
            self.tell_group(self.reached());
            if batch.is_empty() {
                poll = Poll::Pending(Duration::ZERO);
            }
        }
        Ok((batch, poll))
    }

    fn poll(&mut self) -> Result<(Batch, Poll)> {
        let mut records = self.batch_records;
        if let Some(pace) = &self.pace {
            let allowed = pace.allowed(self.clock.monotonic_ns());
            if allowed == 0 {
                // It may have something: it was not asked.
                self.quiet_since_ns = None;
                return Ok((Batch::default(), Poll::Pending(Duration::from_millis(2))));
            }
            records = records.min(usize::try_from(allowed).unwrap_or(usize::MAX));
        }
        let mut batch = Batch::with_capacity(records, records * 64);
        let polled = self.source.poll(&mut batch, records);
        self.counters.records_skipped += self.source.take_skipped();
        if let Some(pace) = &mut self.pace {
            pace.given += batch.len() as u64;
        }
        match polled {
            Ok(poll) => Ok((batch, poll)),
            Err(error) if batch.is_empty() => Err(error),
            Err(error) => {
                self.failed = Some(error);
                Ok((batch, Poll::Records))
            }
        }
    }

    /// Sets the event timestamps. A record whose timestamp cannot be read fails the source, behind the records in front of it.
    fn stamp(&mut self, batch: &mut Batch, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
        let Some(stamper) = &mut self.stamper else { return Ok(()) };
        let stamped = stamper.stamp(batch);
        self.latest = self.latest.max(stamped.latest);
        self.counters.records_skipped += stamped.skipped;
        self.counters.add_records_without_timestamp(stamped.without);
        let Some(at) = stamped.unreadable else { return Ok(()) };
        let location = match self.source.locate(at, is_cancelled) {
            Some(location) => location.with_byte(),
            None => format!("record {}", self.counters.records_in + at as u64 + 1),
        };
        self.source.give_back(batch.len() - at)?;
        let error = stamper.unreadable(batch.values.value(at), &location);
        *batch = batch.slice(0..at);
        if at == 0 {
            return Err(error);
        }
        self.failed = Some(error);
        Ok(())
    }

    /// What a person should know of the records read since the last call.
    pub(in crate::runtime) fn take_warnings(&mut self) -> Vec<String> {
        self.stamper.as_mut().map(Stamper::take_warnings).unwrap_or_default()
    }

    /// What it has read. Its faults are the records without a timestamp.
    pub(in crate::runtime) fn counters(&self) -> Counters {
        self.counters
    }

    /// The watermark by what was read, sent or not.
    fn reached(&self) -> i64 {
        match &self.watermarks {
            Some(settings) if self.latest != NO_TIMESTAMP => {
                self.latest.saturating_sub(milliseconds(settings.out_of_orderness)).saturating_sub(1)
            }
            _ => NO_TIMESTAMP,
        }
    }

    /// The watermark to send now, where it has advanced and it is time, or the last time for a while.
    pub(in crate::runtime) fn due_watermark(&mut self) -> Option<i64> {
        let watermark = self.reached();
        if watermark <= self.watermark {
            return None;
        }
        let now = self.clock.monotonic_ns();
        if now.saturating_sub(self.watermark_sent_ns) < WATERMARK_INTERVAL_NS && !self.is_idle() {
            return None;
        }
        self.watermark = watermark;
        self.watermark_sent_ns = now;
        Some(watermark)
    }

    /// The watermark to send after the last record and before the end of event time, if it has advanced.
    ///
    /// A source that was restored at its end reads nothing more. It sends the watermark of its checkpoint, so that timers fire
    /// at the same watermarks as without the restart: those that a function registers at the end of event time are dropped.
    pub(in crate::runtime) fn last_watermark(&mut self) -> Option<i64> {
        let last = self.checkpointed_watermark().filter(|last| *last > self.watermark)?;
        self.watermark = last;
        Some(last)
    }

    /// The watermark that a checkpoint keeps: by the records that were read, in this attempt or before it.
    pub(in crate::runtime) fn checkpointed_watermark(&self) -> Option<i64> {
        Some(self.reached().max(self.restored_watermark)).filter(|watermark| *watermark != NO_TIMESTAMP)
    }

    /// Whether there has been nothing to read for as long as the manifest says.
    pub(in crate::runtime) fn is_idle(&self) -> bool {
        let idle_after = self.watermarks.as_ref().and_then(|settings| settings.idle_after);
        let (Some(idle_after), Some(since)) = (idle_after, self.quiet_since_ns) else { return false };
        u128::from(self.clock.monotonic_ns().saturating_sub(since)) >= idle_after.as_nanos()
    }

    /// Whether the source must wait for others of its group. That is no time in which there was nothing to read.
    pub(in crate::runtime) fn is_ahead(&mut self) -> bool {
        let ahead = self.alignment.as_ref().is_some_and(Member::is_ahead);
        if ahead {
            self.quiet_since_ns = None;
        }
        ahead
    }

    /// For now, or forever, nobody has to wait for this source.
    pub(in crate::runtime) fn release_group(&self) {
        self.tell_group(i64::MAX);
    }

    fn tell_group(&self, watermark: i64) {
        if let Some(alignment) = &self.alignment {
            alignment.advance(watermark);
        }
    }
}
