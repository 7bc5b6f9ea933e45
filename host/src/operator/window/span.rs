//! A window, and the key under which its state lies: the user's key with the window behind it.

use crate::error::{self, Result};
use crate::state::internal::{read_window_key, write_window_key};

/// From its first millisecond to the one behind its last. An end of `i64::MAX` means all of the time that is left, its last
/// moment included: that of a global window, and of one that would end later than there is time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Window {
    pub start: i64,
    pub end: i64,
}

impl Window {
    pub const GLOBAL: Window = Window { start: i64::MIN, end: i64::MAX };

    /// The last millisecond within.
    pub fn max_timestamp(self) -> i64 {
        if self.end == i64::MAX { i64::MAX } else { self.end.saturating_sub(1) }
    }

    pub fn contains(self, timestamp: i64) -> bool {
        self.start <= timestamp && timestamp <= self.max_timestamp()
    }

    /// Whether they have a moment in common. Two of which one begins where the other ends have none; Flink merges these as well,
    /// but only while the first is in flight, so that it depends on when the watermark came.
    pub fn overlaps(self, other: Window) -> bool {
        self.start <= other.max_timestamp() && other.start <= self.max_timestamp()
    }

    /// The smallest window that holds both.
    pub fn cover(self, other: Window) -> Window {
        Window { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Appends the key of a window's state.
pub(super) fn write_key(buffer: &mut Vec<u8>, key: &[u8], window: Window) {
    write_window_key(buffer, key, window.start, window.end);
}

/// The user's key and the window. Error: `state-failed`.
pub(super) fn read_key(bytes: &[u8]) -> Result<(Vec<u8>, Window)> {
    let (key, start, end) = read_window_key(bytes)
        .ok_or_else(|| error::state_failed("a timer of windows whose key is none of a window"))?;
    Ok((key, Window { start, end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_stand_in_order_of_key_and_start() {
        let window = |start, end| Window { start, end };
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
            write_key(&mut bytes, key, window);
            assert!(before < bytes);
            assert_eq!(read_key(&bytes).unwrap(), (key.to_vec(), window));
            assert_eq!(read_key(&bytes[..bytes.len() - 1]).unwrap_err().code, "state-failed");
            before = bytes;
        }
    }

    #[test]
    fn the_end_of_time_is_within_a_window_that_ends_there() {
        assert_eq!(Window::GLOBAL.max_timestamp(), i64::MAX);
        assert_eq!(Window { start: 0, end: 10 }.max_timestamp(), 9);
        assert!(Window { start: 0, end: i64::MAX }.contains(i64::MAX));
        assert!(!Window { start: 0, end: 10 }.contains(10));
    }
}
