//! Reading from a source at its pace: event timestamps, watermarks, idleness and the rate limit.

use std::sync::Arc;
use std::time::Duration;

use super::alignment::{Member, milliseconds};
use crate::checkpoint::Counters;
use crate::clock::SharedClock;
use crate::connector::TimestampExtractor;
use crate::connector::{Poll, Source};
use crate::error::Result;
use crate::log_limit::LogLimit;
use crate::manifest::WatermarkSettings;
use crate::model::{Batch, NO_TIMESTAMP};

/// Watermarks are sent this far apart at least: each one closes the batches in front of it.
const WATERMARK_INTERVAL_NS: u64 = 100_000_000;

pub(super) struct SourceReader {
    /// Among all source subtasks of the job.
    pub(super) index: usize,
    pub(super) source: Box<dyn Source>,
    pub(super) timestamps: Option<Arc<TimestampExtractor>>,
    pub(super) watermarks: Option<WatermarkSettings>,
    pub(super) alignment: Option<Member>,
    pub(super) pace: Option<Pace>,
    pub(super) batch_records: usize,
    pub(super) clock: SharedClock,
    pub(super) counters: Counters,
    pub(super) latest: i64,
    pub(super) watermark: i64,
    pub(super) watermark_sent_ns: u64,
    /// Since when there has been nothing to read. Time in which nothing was asked for does not count.
    pub(super) quiet_since_ns: Option<u64>,
    pub(super) unstamped: Unstamped,
}

/// Records without a readable timestamp that the log has not told yet.
pub(super) struct Unstamped {
    records: u64,
    limit: LogLimit,
}

impl Default for Unstamped {
    fn default() -> Unstamped {
        Unstamped { records: 0, limit: LogLimit::new(1, 1) }
    }
}

/// At most so many records a second, counted from the start.
pub(super) struct Pace {
    records_per_s: u64,
    started_ns: u64,
    given: u64,
}

impl Pace {
    pub(super) fn new(records_per_s: u64, now_ns: u64) -> Pace {
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
    /// The next records, with their timestamps.
    pub(super) fn read(&mut self) -> Result<(Batch, Poll)> {
        let (mut batch, poll) = self.poll()?;
        self.counters.records_in += batch.len() as u64;
        self.counters.records_out = self.counters.records_in;
        self.stamp(&mut batch);
        if batch.is_empty() {
            self.quiet_since_ns.get_or_insert(self.clock.monotonic_ns());
        } else {
            self.quiet_since_ns = None;
            self.tell_group(self.reached());
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
        let poll = self.source.poll(&mut batch, records)?;
        if let Some(pace) = &mut self.pace {
            pace.given += batch.len() as u64;
        }
        Ok((batch, poll))
    }

    /// Sets the event timestamps. A record whose timestamp cannot be read goes on without one, counted and logged.
    fn stamp(&mut self, batch: &mut Batch) {
        let Some(extractor) = &self.timestamps else { return };
        let mut without = 0;
        for (timestamp, value) in batch.timestamps.iter_mut().zip(batch.values.iter()) {
            match extractor.extract(value) {
                Some(event_ms) => {
                    *timestamp = event_ms;
                    self.latest = self.latest.max(event_ms);
                }
                None => without += 1,
            }
        }
        if without > 0 {
            self.counters.faults += without;
            self.unstamped.records += without;
            if self.unstamped.limit.admit(self.clock.monotonic_ns()).is_some() {
                let records = std::mem::take(&mut self.unstamped.records);
                tracing::warn!(records, "records without a readable timestamp");
            }
        }
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
    pub(super) fn due_watermark(&mut self) -> Option<i64> {
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

    /// The watermark to send behind the last record, where it has advanced.
    pub(super) fn last_watermark(&mut self) -> Option<i64> {
        let reached = Some(self.reached()).filter(|reached| *reached > self.watermark)?;
        self.watermark = reached;
        Some(reached)
    }

    /// Whether there has been nothing to read for as long as the manifest says.
    pub(super) fn is_idle(&self) -> bool {
        let idle_after = self.watermarks.as_ref().and_then(|settings| settings.idle_after);
        let (Some(idle_after), Some(since)) = (idle_after, self.quiet_since_ns) else { return false };
        u128::from(self.clock.monotonic_ns().saturating_sub(since)) >= idle_after.as_nanos()
    }

    /// Whether the source must wait for others of its group. That is no time in which there was nothing to read.
    pub(super) fn is_ahead(&mut self) -> bool {
        let ahead = self.alignment.as_ref().is_some_and(Member::is_ahead);
        if ahead {
            self.quiet_since_ns = None;
        }
        ahead
    }

    /// For now, or forever, nobody has to wait for this source.
    pub(super) fn release_group(&self) {
        self.tell_group(i64::MAX);
    }

    fn tell_group(&self, watermark: i64) {
        if let Some(alignment) = &self.alignment {
            alignment.advance(watermark);
        }
    }
}
