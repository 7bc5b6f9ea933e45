//! Lateness: when a window accepts no more records, and when its state is removed.
//!
//! Only windows in event time have late records. See `operator/late_records.rs` for what happens to them.

use super::time_window::TimeWindow;
use crate::model::TimeDomain;
use crate::pipeline::WindowSettings;

/// The time at which the state of a window is removed, by the clock of the windows.
pub fn cleanup_time(settings: &WindowSettings, window: TimeWindow) -> i64 {
    match settings.time {
        TimeDomain::Event => window.max_timestamp().saturating_add(settings.allowed_lateness_ms),
        TimeDomain::Processing => window.max_timestamp(),
    }
}

/// Whether a window accepts no more records.
pub fn is_window_late(settings: &WindowSettings, window: TimeWindow, watermark: i64) -> bool {
    settings.time == TimeDomain::Event && cleanup_time(settings, window) <= watermark
}

/// Whether a record that no window accepts is late. Otherwise it lies in a gap between two windows.
pub fn is_record_late(settings: &WindowSettings, timestamp: i64, watermark: i64) -> bool {
    settings.time == TimeDomain::Event && timestamp.saturating_add(settings.allowed_lateness_ms) <= watermark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::WindowAssigner;

    /// By definition, a window is late once the watermark has reached its last millisecond plus the lateness.
    #[test]
    fn lateness_counts_from_the_last_millisecond_of_the_window() {
        let assigner = WindowAssigner::Tumbling { size_ms: 1000, offset_ms: 0 };
        let mut settings = WindowSettings::new(assigner, TimeDomain::Event);
        settings.allowed_lateness_ms = 500;
        let window = TimeWindow { start: 0, end: 1000 };
        assert!(!is_window_late(&settings, window, 1498) && is_window_late(&settings, window, 1499));
        assert!(!is_record_late(&settings, 10, 509) && is_record_late(&settings, 10, 510));
        assert_eq!(cleanup_time(&settings, TimeWindow::GLOBAL), i64::MAX);
        settings.time = TimeDomain::Processing;
        assert!(!is_window_late(&settings, window, i64::MAX) && !is_record_late(&settings, 10, i64::MAX));
        assert_eq!(cleanup_time(&settings, window), 999);
    }
}
