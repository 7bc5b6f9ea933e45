//! A window of time, and the key under which its state is stored: the user's key, followed by the window.
//!
//! The key format is durable; `state/internal.rs` defines it.

use crate::error::{self, Result};
use crate::state::internal::{read_window_key, write_window_key};

/// A window from its first millisecond up to, but excluding, its end.
///
/// An end of `i64::MAX` includes the last moment of time. The global window has this end, and so does a window that would end
/// after the largest timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeWindow {
    pub start: i64,
    pub end: i64,
}

impl TimeWindow {
    pub const GLOBAL: TimeWindow = TimeWindow { start: i64::MIN, end: i64::MAX };

    /// The last millisecond in the window.
    pub fn max_timestamp(self) -> i64 {
        if self.end == i64::MAX { i64::MAX } else { self.end.saturating_sub(1) }
    }

    pub fn contains(self, timestamp: i64) -> bool {
        self.start <= timestamp && timestamp <= self.max_timestamp()
    }

    /// Whether the windows have a moment in common. Windows that only touch do not overlap.
    ///
    /// Flink merges windows that touch, but only while the first is in flight: its result depends on when the watermark arrives.
    pub fn overlaps(self, other: TimeWindow) -> bool {
        self.start <= other.max_timestamp() && other.start <= self.max_timestamp()
    }

    /// The smallest window that contains both.
    pub fn cover(self, other: TimeWindow) -> TimeWindow {
        TimeWindow { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Appends the key under which the state of a window is stored.
pub fn write_state_key(buffer: &mut Vec<u8>, key: &[u8], window: TimeWindow) {
    write_window_key(buffer, key, window.start, window.end);
}

/// The user's key and the window of a state key. Error: `state-failed` if the bytes are not such a key.
pub fn read_state_key(bytes: &[u8]) -> Result<(Vec<u8>, TimeWindow)> {
    let (key, start, end) =
        read_window_key(bytes).ok_or_else(|| error::state_failed("a timer of a window has a key without a window"))?;
    Ok((key, TimeWindow { start, end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_keys_round_trip_and_sort_by_key_and_start() {
        let window = |start, end| TimeWindow { start, end };
        let ordered = [
            (&b"a"[..], window(i64::MIN, -5)),
            (b"a", window(-5, 5)),
            (b"a", window(0, i64::MAX)),
            (b"a\0", window(0, 1)),
            (b"b", window(0, 1)),
        ];
        let mut before = Vec::new();
        for (key, window) in ordered {
            let mut bytes = Vec::new();
            write_state_key(&mut bytes, key, window);
            assert!(before < bytes);
            assert_eq!(read_state_key(&bytes).unwrap(), (key.to_vec(), window));
            assert_eq!(read_state_key(&bytes[..bytes.len() - 1]).unwrap_err().code, "state-failed");
            before = bytes;
        }
    }

    #[test]
    fn the_end_of_time_is_in_a_window_that_ends_there() {
        assert_eq!(TimeWindow::GLOBAL.max_timestamp(), i64::MAX);
        assert_eq!(TimeWindow { start: 0, end: 10 }.max_timestamp(), 9);
        assert!(TimeWindow { start: 0, end: i64::MAX }.contains(i64::MAX));
        assert!(!TimeWindow { start: 0, end: 10 }.contains(10));
    }
}
