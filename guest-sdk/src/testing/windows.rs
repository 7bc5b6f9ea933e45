//! Assigns records to windows by the definitions in the documentation.

use crate::time::millis;
use std::time::Duration;

/// The windows of a [`WindowHarness`](super::WindowHarness): how records are assigned to them, and when they fire. All times are
/// in
/// milliseconds.
///
/// A window fires once at its end, and again for each record that arrives within the allowed lateness.
#[derive(Debug, Clone)]
pub struct Windows {
    assigner: Assigner,
    offset: i64,
    lateness: i64,
    pub(super) processing: bool,
    /// The number of records after which a window fires, if it does not fire at its end.
    pub(super) count: Option<u64>,
    pub(super) purge: bool,
}

#[derive(Debug, Clone, Copy)]
enum Assigner {
    /// A tumbling window has a slide of its size.
    Sliding {
        size: i64,
        slide: i64,
    },
    Session {
        gap: i64,
    },
    Global,
}

impl Windows {
    fn new(assigner: Assigner) -> Self {
        Windows { assigner, offset: 0, lateness: 0, processing: false, count: None, purge: false }
    }

    /// Windows of this size that follow each other without a gap.
    ///
    /// # Panics
    /// Panics if the size is below one millisecond.
    pub fn tumbling(size: Duration) -> Self {
        Windows::sliding(size, size)
    }

    /// Windows of this size, one of which begins every `slide`.
    ///
    /// # Panics
    /// Panics if one of the two is below one millisecond.
    pub fn sliding(size: Duration, slide: Duration) -> Self {
        let (size, slide) = (millis(size), millis(slide));
        assert!(size > 0 && slide > 0, "the size and the slide of a window are at least one millisecond");
        Windows::new(Assigner::Sliding { size, slide })
    }

    /// Windows that end when no record has arrived for this long.
    ///
    /// # Panics
    /// Panics if the gap is below one millisecond.
    pub fn session(gap: Duration) -> Self {
        let gap = millis(gap);
        assert!(gap > 0, "the gap of a session is at least one millisecond");
        Windows::new(Assigner::Session { gap })
    }

    /// One window per key, which never ends and fires after every `count` records.
    pub fn global(count: u64) -> Self {
        Windows::new(Assigner::Global).count_trigger(count)
    }

    /// Moves the start of tumbling and sliding windows by so many milliseconds, which may be negative.
    #[must_use]
    pub fn offset(self, offset_ms: i64) -> Self {
        Windows { offset: offset_ms, ..self }
    }

    /// Assigns records by the wall clock at their arrival instead of by their timestamps. No record is late then.
    #[must_use]
    pub fn processing_time(self) -> Self {
        Windows { processing: true, ..self }
    }

    /// Keeps windows for this long after their end.
    #[must_use]
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        Windows { lateness: millis(lateness), ..self }
    }

    /// Fires after every `count` records of a window, and not at its end.
    ///
    /// # Panics
    /// Panics if the count is 0.
    #[must_use]
    pub fn count_trigger(self, count: u64) -> Self {
        assert!(count > 0, "the count of a trigger is at least 1");
        Windows { count: Some(count), ..self }
    }

    /// Drops the records of a window whenever it has fired.
    #[must_use]
    pub fn purging(self) -> Self {
        Windows { purge: true, ..self }
    }

    /// Whether windows are merged.
    pub(super) fn merge(&self) -> bool {
        matches!(self.assigner, Assigner::Session { .. })
    }

    /// Returns the start and end of each window that contains this time.
    pub(super) fn assign(&self, time: i64) -> Vec<(i64, i64)> {
        match self.assigner {
            Assigner::Global => vec![(i64::MIN, i64::MAX)],
            Assigner::Session { gap } => vec![(time, time.saturating_add(gap))],
            Assigner::Sliding { size, slide } => {
                let (time, size, slide, offset) = (time.into(), i128::from(size), slide.into(), self.offset.into());
                let last: i128 = start_of(time, slide, offset);
                let starts = (0..).map(|back| last - back * slide).take_while(|start| time < start + size);
                starts.map(|start| (within(start), within(start + size))).collect()
            }
        }
    }

    /// Returns the pane of a record. All windows contain a pane whole or not at all.
    pub(super) fn pane(&self, time: i64) -> i64 {
        match self.assigner {
            Assigner::Sliding { slide, .. } => within(start_of(time.into(), slide.into(), self.offset.into())),
            _ => 0,
        }
    }

    /// Returns when a window is dropped, or `None` for never.
    pub(super) fn cleanup(&self, end: i64) -> Option<i64> {
        let lateness = if self.processing { 0 } else { self.lateness };
        (!matches!(self.assigner, Assigner::Global)).then(|| (end - 1).saturating_add(lateness))
    }

    /// Returns whether a record that is in no window is too late for one.
    pub(super) fn is_late(&self, time: i64, now: i64) -> bool {
        !self.processing && time.saturating_add(self.lateness) <= now
    }
}

/// Returns the last time that is `offset` plus a multiple of `slide` and not after `time`.
fn start_of(time: i128, slide: i128, offset: i128) -> i128 {
    time - (time - offset).rem_euclid(slide)
}

fn within(time: i128) -> i64 {
    time.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

#[cfg(test)]
mod tests {
    use super::Windows;
    use std::time::Duration;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn windows_are_assigned_by_definition() {
        assert_eq!(Windows::tumbling(ms(3000)).assign(2999), [(0, 3000)]);
        assert_eq!(Windows::tumbling(ms(3000)).assign(-1), [(-3000, 0)]);
        assert_eq!(Windows::tumbling(ms(3000)).offset(500).assign(3400), [(500, 3500)]);
        assert_eq!(Windows::tumbling(ms(3000)).offset(-500).assign(2500), [(2500, 5500)]);
        assert_eq!(Windows::sliding(ms(3000), ms(1000)).assign(3999), [(3000, 6000), (2000, 5000), (1000, 4000)]);
        assert_eq!(Windows::sliding(ms(10), ms(30)).assign(35), [(30, 40)]);
        assert!(Windows::sliding(ms(10), ms(30)).assign(45).is_empty());
        assert_eq!(Windows::session(ms(3000)).assign(10), [(10, 3010)]);
        assert_eq!(Windows::tumbling(ms(1000)).assign(i64::MAX), [(i64::MAX - 807, i64::MAX)]);
        assert_eq!(Windows::session(ms(1000)).assign(i64::MAX - 1), [(i64::MAX - 1, i64::MAX)]);
    }
}
