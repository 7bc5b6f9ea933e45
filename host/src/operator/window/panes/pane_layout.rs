//! How sliding windows are divided into panes, and the state keys of panes and derived accumulators.
//!
//! The state keys are part of the durable format. Each of them is a window that no assigner produces, because it ends before it
//! starts.

use super::key_panes::KeyPanes;
use crate::model::TimeDomain;
use crate::operator::window::assigner::{window_at, window_start};
use crate::operator::window::time_window::TimeWindow;
use crate::pipeline::{WindowAssigner, WindowSettings, WindowTrigger};

/// Stands for the window in the key of a timer that serves all windows of a user's key.
pub const PANE_TIMER: TimeWindow = TimeWindow { start: i64::MAX, end: i64::MIN };

/// The state key of a user key's running total.
pub const RUNNING_TOTAL: TimeWindow = TimeWindow { start: i64::MAX, end: i64::MIN + 1 };

/// The state key of the contents of a pane. It differs from that of a window with the same bounds, which an earlier definition may
/// have left behind.
pub fn pane_contents_key(pane: i64) -> TimeWindow {
    TimeWindow { start: pane, end: i64::MIN + 2 }
}

/// The state key of the suffix that starts with a pane.
pub fn suffix_key(pane: i64) -> TimeWindow {
    TimeWindow { start: pane, end: i64::MIN }
}

/// Largest number of panes in a window plus its allowed lateness. The panes of a key are listed one by one.
const PANES_MAX: i64 = 1 << 17;

/// Largest number of such panes for a function that sees all elements: a turn lists the panes of each window that fires.
const LISTED_PANES_MAX: i64 = 1024;

/// Largest number of panes in all windows that one late record makes fire again.
const LATE_PANES_MAX: i64 = 1 << 20;

/// How sliding windows are divided into panes. All times are in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct PaneLayout {
    size: i64,
    slide: i64,
    offset: i64,
    pane: i64,
}

impl PaneLayout {
    /// Returns `None` if the windows cannot share panes. They can if they are sliding, have few enough panes and fire only at their
    /// end. A purging trigger or an evictor would change a single window, so neither is allowed.
    pub fn of(settings: &WindowSettings, is_aggregate: bool) -> Option<PaneLayout> {
        let WindowAssigner::Sliding { size_ms: size, slide_ms: slide, offset_ms: offset } = settings.assigner else {
            return None;
        };
        let fires_at_its_end = match settings.time {
            TimeDomain::Event => settings.trigger == WindowTrigger::EventTime,
            TimeDomain::Processing => settings.trigger == WindowTrigger::ProcessingTime,
        };
        let pane = greatest_common_divisor(size, slide);
        let lateness = settings.allowed_lateness_ms;
        let stored = size.saturating_add(lateness) / pane;
        let fired_again = (lateness / slide).saturating_mul(size / pane);
        let stored_max = if is_aggregate { PANES_MAX } else { LISTED_PANES_MAX };
        let is_small = stored <= stored_max && (stored <= LISTED_PANES_MAX || fired_again <= LATE_PANES_MAX);
        let is_shared = fires_at_its_end && !settings.purge && settings.evictor.is_none() && is_small;
        is_shared.then_some(PaneLayout { size, slide, offset, pane })
    }

    /// Whether earlier versions stored the same windows without panes. A snapshot does not record which form it has.
    pub fn was_stored_without_panes(&self, settings: &WindowSettings) -> bool {
        self.size.saturating_add(settings.allowed_lateness_ms) / self.pane > LISTED_PANES_MAX
    }

    /// Number of panes in one window.
    pub fn panes_per_window(&self) -> usize {
        usize::try_from(self.size / self.pane).unwrap_or(usize::MAX)
    }

    /// Describes the layout. It is stored as a schema, so that a restore can reject the panes of another layout.
    pub fn schema(&self) -> String {
        format!("panes of {} every {} from {}", self.size, self.slide, self.offset)
    }

    /// The pane that contains a timestamp.
    pub fn pane(&self, timestamp: i64) -> TimeWindow {
        window_at(window_start(timestamp, self.offset, self.pane), self.pane)
    }

    /// The last window that may contain a timestamp. It does not contain a timestamp that lies in a gap between windows.
    pub fn last_window(&self, timestamp: i64) -> TimeWindow {
        window_at(window_start(timestamp, self.offset, self.slide), self.size)
    }

    /// The first window that ends after `time` and contains the pane, if any. `time` is compared with the window's last millisecond.
    pub fn first_window_after(&self, time: i64, pane: i64) -> Option<TimeWindow> {
        let (time, pane) = (i128::from(time), i128::from(pane));
        let slide = i128::from(self.slide);
        // The smallest window start above a bound.
        let above = |bound: i128| bound - (bound - i128::from(self.offset)).rem_euclid(slide) + slide;
        let start = above(pane - i128::from(self.size)).max(above(time + 1 - i128::from(self.size)));
        (start <= pane).then(|| window_at(start, self.size))
    }

    /// The window that ends at `time`, if windows could start anywhere.
    pub fn window_ending_at(&self, time: i64) -> TimeWindow {
        window_at(i128::from(time) + 1 - i128::from(self.size), self.size)
    }

    /// The windows that end at `time` and have contents, ordered by start. There is at most one, except at the end of time.
    pub fn windows_ending_at(&self, time: i64, panes: &KeyPanes) -> Vec<TimeWindow> {
        let (size, slide, offset) = (i128::from(self.size), i128::from(self.slide), i128::from(self.offset));
        let is_window_start = |start: i128| (start - offset).rem_euclid(slide) == 0;
        let mut windows = Vec::new();
        if time < i64::MAX {
            let start = i128::from(time) + 1 - size;
            windows.extend(is_window_start(start).then(|| window_at(start, self.size)));
        } else if let Some(&last) = panes.starts.last() {
            // Every window that would end after the largest timestamp ends here.
            let earliest = i128::from(i64::MAX) - size;
            let mut start = earliest + (offset - earliest).rem_euclid(slide);
            while start <= i128::from(last) {
                windows.push(window_at(start, self.size));
                start += slide;
            }
        }
        // A window that is clamped to the end of time does not end before it.
        windows.retain(|&window| window.max_timestamp() == time && !panes.within(window).is_empty());
        windows
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
