//! Computes the watermark of a source subtask: the largest timestamp minus the out-of-orderness, minus 1 ms.
//!
//! Also decides when a source is idle: nothing to read for `idle_after`.

use std::time::Duration;

use crate::clock::SharedClock;
use crate::model::NO_TIMESTAMP;
use crate::pipeline::WatermarkSettings;
use crate::runtime::source::watermark_alignment::saturating_ms;

/// Smallest interval between two watermarks, in nanoseconds. Every watermark closes open batches, so frequent watermarks make batches small.
const WATERMARK_INTERVAL_NS: u64 = 100_000_000;

/// Generates the watermarks of one source subtask.
pub(crate) struct WatermarkGenerator {
    /// `None` if the source has no watermarks.
    settings: Option<WatermarkSettings>,
    clock: SharedClock,
    /// The largest timestamp read.
    pub(crate) max_timestamp: i64,
    /// The largest watermark that any subtask of the source had reached at the restored checkpoint.
    restored_watermark: i64,
    sent_watermark: i64,
    sent_ns: u64,
    /// Since when there has been nothing to read. Time in which the source was not polled does not count.
    pub(crate) quiet_since_ns: Option<u64>,
}

impl WatermarkGenerator {
    pub(crate) fn new(
        settings: Option<WatermarkSettings>,
        restored_watermark: i64,
        clock: SharedClock,
    ) -> WatermarkGenerator {
        WatermarkGenerator {
            settings,
            clock,
            max_timestamp: NO_TIMESTAMP,
            restored_watermark,
            sent_watermark: NO_TIMESTAMP,
            sent_ns: 0,
            quiet_since_ns: None,
        }
    }

    /// Takes the largest timestamp of a batch.
    pub(super) fn observe(&mut self, max_timestamp: i64) {
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
    }

    /// Returns the watermark of the records read so far, whether it was sent or not.
    pub(super) fn current(&self) -> i64 {
        match &self.settings {
            Some(settings) if self.max_timestamp != NO_TIMESTAMP => {
                self.max_timestamp.saturating_sub(saturating_ms(settings.out_of_orderness)).saturating_sub(1)
            }
            _ => NO_TIMESTAMP,
        }
    }

    /// Returns the watermark to send now: it has advanced, and the interval has passed or the source is idle.
    pub(crate) fn due_watermark(&mut self) -> Option<i64> {
        let watermark = self.current();
        if watermark <= self.sent_watermark {
            return None;
        }
        let now_ns = self.clock.monotonic_ns();
        if now_ns.saturating_sub(self.sent_ns) < WATERMARK_INTERVAL_NS && !self.is_idle() {
            return None;
        }
        self.sent_watermark = watermark;
        self.sent_ns = now_ns;
        Some(watermark)
    }

    /// Returns how long a source without records may wait until a watermark is due or it is idle. `Duration::MAX` means until
    /// it has records.
    pub(crate) fn max_wait(&self) -> Duration {
        let now_ns = self.clock.monotonic_ns();
        let unsent = self.current() > self.sent_watermark;
        let watermark_ns = unsent.then(|| self.sent_ns.saturating_add(WATERMARK_INTERVAL_NS));
        let idle_after = self.settings.as_ref().and_then(|settings| settings.idle_after);
        let idle_ns = idle_after.zip(self.quiet_since_ns).filter(|_| !self.is_idle()).map(|(idle_after, since_ns)| {
            since_ns.saturating_add(u64::try_from(idle_after.as_nanos()).unwrap_or(u64::MAX))
        });
        let next_ns = watermark_ns.into_iter().chain(idle_ns).min();
        next_ns.map_or(Duration::MAX, |next| Duration::from_nanos(next.saturating_sub(now_ns)))
    }

    /// Returns the watermark to send after the last record and before the end of event time, if it has advanced.
    ///
    /// A source that was restored at its end reads nothing more. It sends the watermark of its checkpoint, so that timers fire
    /// at the same watermarks as without the restart: those that a function registers at the end of event time are dropped.
    pub(crate) fn last_watermark(&mut self) -> Option<i64> {
        let last = self.checkpointed_watermark().filter(|last| *last > self.sent_watermark)?;
        self.sent_watermark = last;
        Some(last)
    }

    /// Returns the watermark that a checkpoint keeps: that of the records read in this attempt or before it.
    pub(crate) fn checkpointed_watermark(&self) -> Option<i64> {
        Some(self.current().max(self.restored_watermark)).filter(|watermark| *watermark != NO_TIMESTAMP)
    }

    /// Notes that a poll returned no records.
    pub(super) fn note_empty_poll(&mut self) {
        self.quiet_since_ns.get_or_insert(self.clock.monotonic_ns());
    }

    /// Ends the time without records: a poll returned records, or the source was not polled.
    pub(super) fn reset_quiet_time(&mut self) {
        self.quiet_since_ns = None;
    }

    /// Returns whether there has been nothing to read for `idle_after`.
    pub(crate) fn is_idle(&self) -> bool {
        let idle_after = self.settings.as_ref().and_then(|settings| settings.idle_after);
        let (Some(idle_after), Some(since_ns)) = (idle_after, self.quiet_since_ns) else { return false };
        u128::from(self.clock.monotonic_ns().saturating_sub(since_ns)) >= idle_after.as_nanos()
    }
}
