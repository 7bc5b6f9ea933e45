//! Which windows a record falls in, by definition.

/// The windows of a [`WindowHarness`](super::WindowHarness): how records are assigned to them, and when they fire. All times are
/// in milliseconds.
///
/// A window fires when its time has come, once, and again for each record that comes within the allowed lateness.
#[derive(Debug, Clone)]
pub struct Windows {
    assigner: Assigner,
    offset: i64,
    lateness: i64,
    pub(super) processing: bool,
    /// Fires after so many records, and not by time.
    pub(super) count: Option<u64>,
    pub(super) purge: bool,
}

#[derive(Debug, Clone, Copy)]
enum Assigner {
    /// With a slide of its size it is a tumbling one.
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

    /// Windows of this size, one behind the other.
    ///
    /// # Panics
    /// Where the size is not positive.
    pub fn tumbling(size_ms: i64) -> Self {
        Windows::sliding(size_ms, size_ms)
    }

    /// Windows of this size, of which one begins every `slide_ms`.
    ///
    /// # Panics
    /// Where one of the two is not positive.
    pub fn sliding(size_ms: i64, slide_ms: i64) -> Self {
        assert!(size_ms > 0 && slide_ms > 0, "a window and a slide take some time");
        Windows::new(Assigner::Sliding { size: size_ms, slide: slide_ms })
    }

    /// Windows that end when no record has come for this long.
    ///
    /// # Panics
    /// Where the gap is not positive.
    pub fn session(gap_ms: i64) -> Self {
        assert!(gap_ms > 0, "a gap takes some time");
        Windows::new(Assigner::Session { gap: gap_ms })
    }

    /// One window for each key, which never ends and fires after each `count` records.
    pub fn global(count: u64) -> Self {
        Windows::new(Assigner::Global).count_trigger(count)
    }

    /// Moves the beginning of tumbling and sliding windows.
    #[must_use]
    pub fn offset(self, offset_ms: i64) -> Self {
        Windows { offset: offset_ms, ..self }
    }

    /// Assigns records by the wall clock at their arrival, in place of their timestamps. No record is late then.
    #[must_use]
    pub fn processing_time(self) -> Self {
        Windows { processing: true, ..self }
    }

    /// Keeps windows for so much longer than until they end.
    #[must_use]
    pub fn allowed_lateness(self, lateness_ms: i64) -> Self {
        Windows { lateness: lateness_ms, ..self }
    }

    /// Fires after each `count` records of a window, and not when its time has come.
    ///
    /// # Panics
    /// Where the count is 0.
    #[must_use]
    pub fn count_trigger(self, count: u64) -> Self {
        assert!(count > 0, "a trigger counts to at least 1");
        Windows { count: Some(count), ..self }
    }

    /// Forgets a window's records whenever it has fired.
    #[must_use]
    pub fn purging(self) -> Self {
        Windows { purge: true, ..self }
    }

    /// Whether windows grow together.
    pub(super) fn merge(&self) -> bool {
        matches!(self.assigner, Assigner::Session { .. })
    }

    /// Start and end of the windows that a record of this time falls in.
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

    /// Records that are folded together however windows overlap: those of one slide.
    pub(super) fn part(&self, time: i64) -> i64 {
        match self.assigner {
            Assigner::Sliding { slide, .. } => within(start_of(time.into(), slide.into(), self.offset.into())),
            _ => 0,
        }
    }

    /// When a window is forgotten; `None` for never.
    pub(super) fn cleanup(&self, end: i64) -> Option<i64> {
        let lateness = if self.processing { 0 } else { self.lateness };
        (!matches!(self.assigner, Assigner::Global)).then(|| (end - 1).saturating_add(lateness))
    }

    /// Whether a record of a time that falls in no window has come too late for one.
    pub(super) fn is_late(&self, time: i64, now: i64) -> bool {
        !self.processing && time.saturating_add(self.lateness) <= now
    }
}

/// The last multiple of `slide` behind `offset` that is not after `time`.
fn start_of(time: i128, slide: i128, offset: i128) -> i128 {
    time - (time - offset).rem_euclid(slide)
}

fn within(time: i128) -> i64 {
    time.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

#[cfg(test)]
mod tests {
    use super::Windows;

    #[test]
    fn windows_are_assigned_by_definition() {
        assert_eq!(Windows::tumbling(3000).assign(2999), [(0, 3000)]);
        assert_eq!(Windows::tumbling(3000).assign(-1), [(-3000, 0)]);
        assert_eq!(Windows::tumbling(3000).offset(500).assign(3400), [(500, 3500)]);
        assert_eq!(Windows::tumbling(3000).offset(-500).assign(2500), [(2500, 5500)]);
        assert_eq!(Windows::sliding(3000, 1000).assign(3999), [(3000, 6000), (2000, 5000), (1000, 4000)]);
        assert_eq!(Windows::sliding(10, 30).assign(35), [(30, 40)]);
        assert!(Windows::sliding(10, 30).assign(45).is_empty());
        assert_eq!(Windows::session(3000).assign(10), [(10, 3010)]);
        assert_eq!(Windows::tumbling(1000).assign(i64::MAX), [(i64::MAX - 807, i64::MAX)]);
        assert_eq!(Windows::session(1000).assign(i64::MAX - 1), [(i64::MAX - 1, i64::MAX)]);
    }
}
