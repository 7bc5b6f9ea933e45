//! Which windows a record falls into, and when it is late.

use super::span::Window;
use crate::model::TimeDomain;
use crate::pipeline::{WindowAssigner, WindowSettings};

/// Flink's `getWindowStartWithOffset`, without its overflow: the start of the window of `size` that `timestamp` falls into.
pub(super) fn window_start(timestamp: i64, offset: i64, size: i64) -> i128 {
    // Where they suffice, 64 bits take a tenth of the time.
    let into = match timestamp.checked_sub(offset) {
        Some(distance) => i128::from(distance.rem_euclid(size)),
        None => (i128::from(timestamp) - i128::from(offset)).rem_euclid(i128::from(size)),
    };
    i128::from(timestamp) - into
}

/// A window whose ends may lie beyond the time that there is.
pub(super) fn window_at(start: i128, size: i64) -> Window {
    let within = |time: i128| time.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    Window { start: within(start), end: within(start + i128::from(size)) }
}

/// Calls `visit` with every window that a record with this timestamp falls into: of sliding ones the latest first.
pub(super) fn windows_of(assigner: WindowAssigner, timestamp: i64, mut visit: impl FnMut(Window)) {
    match assigner {
        WindowAssigner::Tumbling { size_ms, offset_ms } => {
            visit(window_at(window_start(timestamp, offset_ms, size_ms), size_ms));
        }
        WindowAssigner::Sliding { size_ms, slide_ms, offset_ms } => {
            let mut start = window_start(timestamp, offset_ms, slide_ms);
            while start > i128::from(timestamp) - i128::from(size_ms) {
                visit(window_at(start, size_ms));
                start -= i128::from(slide_ms);
            }
        }
        WindowAssigner::Session { gap_ms } => visit(window_at(i128::from(timestamp), gap_ms)),
        WindowAssigner::Global => visit(Window::GLOBAL),
    }
}

/// When all that is kept of a window goes.
pub(super) fn cleanup_time(settings: &WindowSettings, window: Window) -> i64 {
    match settings.time {
        TimeDomain::Event => window.max_timestamp().saturating_add(settings.allowed_lateness_ms),
        TimeDomain::Processing => window.max_timestamp(),
    }
}

/// Whether nothing can come into a window any more.
pub(super) fn is_window_late(settings: &WindowSettings, window: Window, watermark: i64) -> bool {
    settings.time == TimeDomain::Event && cleanup_time(settings, window) <= watermark
}

/// Whether a record that fell into no window is late, and not just between two windows.
pub(super) fn is_element_late(settings: &WindowSettings, timestamp: i64, watermark: i64) -> bool {
    settings.time == TimeDomain::Event && timestamp.saturating_add(settings.allowed_lateness_ms) <= watermark
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(assigner: WindowAssigner, timestamp: i64) -> Vec<(i64, i64)> {
        let mut found = Vec::new();
        windows_of(assigner, timestamp, |window| found.push((window.start, window.end)));
        found
    }

    fn tumbling(size_ms: i64, offset_ms: i64) -> WindowAssigner {
        WindowAssigner::Tumbling { size_ms, offset_ms }
    }

    fn sliding(size_ms: i64, slide_ms: i64, offset_ms: i64) -> WindowAssigner {
        WindowAssigner::Sliding { size_ms, slide_ms, offset_ms }
    }

    /// By the definition: starts are the offset and multiples of the size before and behind it.
    #[test]
    fn tumbling_windows_lie_side_by_side_from_the_offset_on() {
        for (timestamp, offset, expected) in [
            (0, 0, (0, 3000)),
            (2999, 0, (0, 3000)),
            (3000, 0, (3000, 6000)),
            (-1, 0, (-3000, 0)),
            (-3000, 0, (-3000, 0)),
            (-3001, 0, (-6000, -3000)),
            (100, 500, (-2500, 500)),
            (500, 500, (500, 3500)),
            (2600, -500, (2500, 5500)),
            (-501, -500, (-3500, -500)),
        ] {
            assert_eq!(windows(tumbling(3000, offset), timestamp), [expected], "{timestamp} with offset {offset}");
        }
    }

    #[test]
    fn a_record_falls_into_every_sliding_window_that_contains_it() {
        assert_eq!(windows(sliding(3000, 1000, 0), 2500), [(2000, 5000), (1000, 4000), (0, 3000)]);
        assert_eq!(windows(sliding(3000, 1000, 0), -1), [(-1000, 2000), (-2000, 1000), (-3000, 0)]);
        assert_eq!(windows(sliding(3000, 2000, 500), 2499), [(500, 3500)]);
        assert_eq!(windows(sliding(3000, 2000, 500), 2500), [(2500, 5500), (500, 3500)]);
        // Where windows leave gaps, a record may fall into none.
        assert_eq!(windows(sliding(1000, 3000, 0), 999), [(0, 1000)]);
        assert_eq!(windows(sliding(1000, 3000, 0), 1000), []);
    }

    #[test]
    fn sessions_begin_with_their_record_and_a_global_window_holds_all() {
        assert_eq!(windows(WindowAssigner::Session { gap_ms: 3000 }, -7), [(-7, 2993)]);
        assert_eq!(windows(WindowAssigner::Global, -7), [(i64::MIN, i64::MAX)]);
    }

    #[test]
    fn windows_end_where_time_does() {
        let [near_max] = windows(tumbling(1000, 0), i64::MAX)[..] else { panic!("one window") };
        assert_eq!(near_max.1, i64::MAX);
        let [near_min] = windows(tumbling(1000, 0), i64::MIN + 1)[..] else { panic!("one window") };
        assert_eq!(near_min.0, i64::MIN);
        let all = windows(sliding(3000, 1000, 0), i64::MAX);
        assert!(all.len() == 3 && all.iter().all(|window| window.1 == i64::MAX));
        assert_eq!(windows(WindowAssigner::Session { gap_ms: 5 }, i64::MAX - 1), [(i64::MAX - 1, i64::MAX)]);
    }

    /// By the definition: a window is late when the watermark has reached its last millisecond and the lateness.
    #[test]
    fn lateness_counts_from_the_last_millisecond() {
        let mut settings = WindowSettings::new(tumbling(1000, 0), TimeDomain::Event);
        settings.allowed_lateness_ms = 500;
        let window = Window { start: 0, end: 1000 };
        assert!(!is_window_late(&settings, window, 1498) && is_window_late(&settings, window, 1499));
        assert!(!is_element_late(&settings, 10, 509) && is_element_late(&settings, 10, 510));
        assert_eq!(cleanup_time(&settings, Window::GLOBAL), i64::MAX);
        settings.time = TimeDomain::Processing;
        assert!(!is_window_late(&settings, window, i64::MAX) && !is_element_late(&settings, 10, i64::MAX));
        assert_eq!(cleanup_time(&settings, window), 999);
    }
}
