//! Reading from a source at its pace: event timestamps, watermarks and the rate limit.

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::Counters;
use crate::clock::SharedClock;
use crate::connector::TimestampExtractor;
use crate::connector::{Poll, Source};
use crate::error::Result;
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
    pub(super) pace: Option<Pace>,
    pub(super) batch_records: usize,
    pub(super) clock: SharedClock,
    pub(super) counters: Counters,
    pub(super) latest: i64,
    pub(super) watermark: i64,
    pub(super) watermark_sent_ns: u64,
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
        let mut records = self.batch_records;
        if let Some(pace) = &self.pace {
            let allowed = pace.allowed(self.clock.monotonic_ns());
            if allowed == 0 {
                return Ok((Batch::default(), Poll::Pending(Duration::from_millis(2))));
            }
            records = records.min(usize::try_from(allowed).unwrap_or(usize::MAX));
        }
        let mut batch = Batch::with_capacity(records, records * 64);
        let poll = self.source.poll(&mut batch, records)?;
        if let Some(pace) = &mut self.pace {
            pace.given += batch.len() as u64;
        }
        self.counters.records_in += batch.len() as u64;
        self.counters.records_out = self.counters.records_in;
        self.stamp(&mut batch);
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
            tracing::warn!(records = without, "records without a readable timestamp");
        }
    }

    /// The watermark to send now, where it is time and it has advanced.
    pub(super) fn due_watermark(&mut self) -> Option<i64> {
        let settings = self.watermarks?;
        if self.latest == NO_TIMESTAMP {
            return None;
        }
        let bound = i64::try_from(settings.out_of_orderness.as_millis()).unwrap_or(i64::MAX);
        let watermark = self.latest.saturating_sub(bound).saturating_sub(1);
        let now = self.clock.monotonic_ns();
        if watermark <= self.watermark || now.saturating_sub(self.watermark_sent_ns) < WATERMARK_INTERVAL_NS {
            return None;
        }
        self.watermark = watermark;
        self.watermark_sent_ns = now;
        Some(watermark)
    }
}
