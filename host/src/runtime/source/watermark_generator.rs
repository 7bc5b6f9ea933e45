//! Computes the watermark of a source subtask: for each split the largest timestamp minus the out-of-orderness, minus 1 ms, and of these
//! the smallest among the splits that are not idle.
//!
//! Also decides when a source is idle: no split has had anything to read for `idle_after`, or there is none.

use std::time::Duration;

use super::split_times::SplitTimes;
use crate::clock::SharedClock;
use crate::connector::{OpenSplits, SplitId};
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
    splits: SplitTimes,
    /// The largest watermark that the records read so far have reached.
    reached_watermark: i64,
    /// The largest watermark that any subtask of the source had reached at the restored checkpoint.
    restored_watermark: i64,
    sent_watermark: i64,
    sent_ns: u64,
}

/// Returns the watermark of a split with this largest timestamp.
fn watermark_of(settings: &WatermarkSettings, max_timestamp: i64) -> i64 {
    match max_timestamp {
        NO_TIMESTAMP => NO_TIMESTAMP,
        at => at.saturating_sub(saturating_ms(settings.out_of_orderness)).saturating_sub(1),
    }
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
            splits: SplitTimes::new(),
            reached_watermark: NO_TIMESTAMP,
            restored_watermark,
            sent_watermark: NO_TIMESTAMP,
            sent_ns: 0,
        }
    }

    /// Adds the open splits of the source that are not known. Called before the records of a poll, which may have found them.
    pub(super) fn add_open_splits(&mut self, open: OpenSplits<'_>) {
        self.splits.add_open(open);
    }

    /// Takes over the open splits of the source. Called after the records of a poll, which may be the last ones of a split.
    pub(super) fn set_open_splits(&mut self, open: OpenSplits<'_>) {
        if self.splits.set_open(open) {
            self.update();
        }
    }

    /// Notes that a poll returned records of a split. `max_timestamp` is the largest one.
    pub(super) fn note_records(&mut self, split: SplitId, max_timestamp: i64) {
        let Some(WatermarkSettings { idle_after, .. }) = self.settings else { return };
        self.splits.note_records(split, max_timestamp, self.quiet_now_ns(), idle_after);
        self.update();
    }

    /// Notes that a poll returned nothing.
    pub(super) fn note_nothing(&mut self) {
        let Some(WatermarkSettings { idle_after, .. }) = self.settings else { return };
        self.splits.note_nothing(self.quiet_now_ns(), idle_after);
        self.update();
    }

    /// Notes that the source was not polled, although it may have records.
    pub(super) fn note_not_polled(&mut self) {
        self.splits.note_not_polled(self.quiet_now_ns());
    }

    /// Returns the time for the decision whether a split is idle. Without `idle_after` there is none to measure.
    fn quiet_now_ns(&self) -> u64 {
        let idle_after = self.settings.as_ref().and_then(|settings| settings.idle_after);
        idle_after.map_or(0, |_| self.clock.monotonic_ns())
    }

    /// Advances the watermark that the records have reached. It never goes back.
    fn update(&mut self) {
        if let (Some(settings), Some(timestamp)) = (&self.settings, self.splits.min_timestamp()) {
            self.reached_watermark = self.reached_watermark.max(watermark_of(settings, timestamp));
        }
    }

    /// Returns the watermark of the records read so far, whether it was sent or not.
    pub(crate) fn current(&self) -> i64 {
        self.reached_watermark
    }

    /// Returns the watermark for the alignment group: that of the slowest split that is not idle, or `i64::MAX` if all are idle. It goes back
    /// if an idle split returns.
    pub(super) fn slowest(&self) -> i64 {
        match (&self.settings, self.splits.min_timestamp()) {
            (Some(settings), Some(timestamp)) => watermark_of(settings, timestamp),
            (Some(_), None) => i64::MAX,
            (None, _) => NO_TIMESTAMP,
        }
    }

    /// Pauses the splits whose watermark is above `allowed`, and resumes all others. Returns whether anything has changed.
    pub(super) fn pause_above(&mut self, allowed: i64) -> bool {
        let Some(settings) = &self.settings else { return false };
        self.splits.pause_where(|timestamp| watermark_of(settings, timestamp) > allowed)
    }

    /// Returns the paused splits with their watermarks.
    pub(super) fn paused(&self) -> impl Iterator<Item = (SplitId, i64)> {
        let settings = self.settings.as_ref();
        self.splits.paused().filter_map(move |(split, at)| Some((split, watermark_of(settings?, at))))
    }

    /// Returns whether no split may be read.
    pub(super) fn is_paused(&self) -> bool {
        self.splits.are_paused()
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

    /// Returns how long a source without records may wait until a watermark is due or a split is idle. `Duration::MAX` means until
    /// it has records.
    pub(crate) fn max_wait(&self) -> Duration {
        let Some(settings) = &self.settings else { return Duration::MAX };
        let now_ns = self.clock.monotonic_ns();
        let unsent = self.current() > self.sent_watermark;
        let watermark_wait = unsent
            .then(|| Duration::from_nanos(self.sent_ns.saturating_add(WATERMARK_INTERVAL_NS).saturating_sub(now_ns)));
        let idle_wait = settings.idle_after.and_then(|idle_after| self.splits.idle_wait(now_ns, idle_after));
        watermark_wait.into_iter().chain(idle_wait).min().unwrap_or(Duration::MAX)
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

    /// Returns whether no split has had anything to read for `idle_after`, or there is none.
    pub(crate) fn is_idle(&self) -> bool {
        self.settings.is_some() && self.splits.are_idle()
    }
}
