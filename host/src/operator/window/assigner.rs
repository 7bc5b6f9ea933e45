//! Assigns records to windows: tumbling, sliding, session and global windows.

use super::time_window::TimeWindow;
use crate::pipeline::WindowAssigner;

/// The start of the window of `size` that contains `timestamp`. Flink's `getWindowStartWithOffset`, without its overflow.
pub fn window_start(timestamp: i64, offset: i64, size: i64) -> i128 {
    // 64 bits take a tenth of the time, so use them if they suffice.
    let distance_from_start = match timestamp.checked_sub(offset) {
        Some(distance) => i128::from(distance.rem_euclid(size)),
        None => (i128::from(timestamp) - i128::from(offset)).rem_euclid(i128::from(size)),
    };
    i128::from(timestamp) - distance_from_start
}

/// The window of `size` from `start`. Bounds outside of the range of timestamps are clamped.
pub fn window_at(start: i128, size: i64) -> TimeWindow {
    let clamp = |time: i128| time.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    TimeWindow { start: clamp(start), end: clamp(start + i128::from(size)) }
}

/// Calls `visit` with every window that a record with this timestamp belongs to. Sliding windows are visited from the latest to
/// the earliest. A session window has not been merged yet.
pub fn assign_windows(assigner: WindowAssigner, timestamp: i64, mut visit: impl FnMut(TimeWindow)) {
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
        WindowAssigner::Global => visit(TimeWindow::GLOBAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(assigner: WindowAssigner, timestamp: i64) -> Vec<(i64, i64)> {
        let mut windows = Vec::new();
        assign_windows(assigner, timestamp, |window| windows.push((window.start, window.end)));
        windows
    }

    fn tumbling(size_ms: i64, offset_ms: i64) -> WindowAssigner {
        WindowAssigner::Tumbling { size_ms, offset_ms }
    }

    fn sliding(size_ms: i64, slide_ms: i64, offset_ms: i64) -> WindowAssigner {
        WindowAssigner::Sliding { size_ms, slide_ms, offset_ms }
    }

    /// By definition, windows start at the offset plus multiples of the size.
    #[test]
    fn tumbling_windows_are_adjacent_and_aligned_to_the_offset() {
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
    fn a_record_belongs_to_every_sliding_window_that_contains_it() {
        assert_eq!(windows(sliding(3000, 1000, 0), 2500), [(2000, 5000), (1000, 4000), (0, 3000)]);
        assert_eq!(windows(sliding(3000, 1000, 0), -1), [(-1000, 2000), (-2000, 1000), (-3000, 0)]);
        assert_eq!(windows(sliding(3000, 2000, 500), 2499), [(500, 3500)]);
        assert_eq!(windows(sliding(3000, 2000, 500), 2500), [(2500, 5500), (500, 3500)]);
        // If windows leave gaps, a record may belong to none.
        assert_eq!(windows(sliding(1000, 3000, 0), 999), [(0, 1000)]);
        assert_eq!(windows(sliding(1000, 3000, 0), 1000), []);
    }

    #[test]
    fn a_session_starts_at_its_record_and_a_global_window_contains_everything() {
        assert_eq!(windows(WindowAssigner::Session { gap_ms: 3000 }, -7), [(-7, 2993)]);
        assert_eq!(windows(WindowAssigner::Global, -7), [(i64::MIN, i64::MAX)]);
    }

    #[test]
    fn windows_are_clamped_to_the_range_of_timestamps() {
        let [near_max] = windows(tumbling(1000, 0), i64::MAX)[..] else { panic!("one window") };
        assert_eq!(near_max.1, i64::MAX);
        let [near_min] = windows(tumbling(1000, 0), i64::MIN + 1)[..] else { panic!("one window") };
        assert_eq!(near_min.0, i64::MIN);
        let all = windows(sliding(3000, 1000, 0), i64::MAX);
        assert!(all.len() == 3 && all.iter().all(|window| window.1 == i64::MAX));
        assert_eq!(windows(WindowAssigner::Session { gap_ms: 5 }, i64::MAX - 1), [(i64::MAX - 1, i64::MAX)]);
    }
}
