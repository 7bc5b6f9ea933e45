//! Data of timers, windows and joins: due timers, windows with their elements, and pairs of joined records.

use std::ops::Range;
use std::sync::Arc;

use super::batch::slice_keys;
use super::column::Column;
use super::key_group::Keys;

/// The two clocks of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimeDomain {
    /// Event time, which the watermark drives.
    Event,
    /// Processing time: the wall clock.
    Processing,
}

impl TimeDomain {
    /// Returns the name that messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            TimeDomain::Event => "event",
            TimeDomain::Processing => "processing",
        }
    }
}

/// Encodes a time in eight bytes that sort like the times. Part of the durable format.
pub fn time_bytes(time: i64) -> [u8; 8] {
    ((time as u64) ^ (1 << 63)).to_be_bytes()
}

/// Decodes a time. The inverse of [`time_bytes`].
pub fn time_of_bytes(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ (1 << 63)) as i64
}

/// Due timers of one clock, in order of their times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueTimers {
    /// The keys of the timers. `key_of` has one entry per timer.
    pub keys: Arc<Keys>,
    /// The registered times of the timers, in milliseconds since the Unix epoch.
    pub times: Vec<i64>,
}

impl DueTimers {
    /// Returns the number of timers.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Returns whether no timers are due.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Returns the timers in `range`.
    pub fn slice(&self, range: Range<usize>) -> DueTimers {
        DueTimers { keys: Arc::new(slice_keys(&self.keys, range.clone())), times: self.times[range].to_vec() }
    }
}

/// Windows of keys. `keys.key_of`, `starts` and `ends` have one entry per window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// The keys of the windows.
    pub keys: Keys,
    /// First millisecond of each window. `i64::MIN` for a global window.
    pub starts: Vec<i64>,
    /// First millisecond after each window. `i64::MAX` for a global window.
    pub ends: Vec<i64>,
}

impl Windows {
    /// Returns the number of windows.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Returns whether the windows are global. All windows of one operator are, or none.
    pub fn are_global(&self) -> bool {
        self.starts.first() == Some(&i64::MIN) && self.ends.first() == Some(&i64::MAX)
    }

    /// Returns the last millisecond of a window.
    pub fn last_ms(&self, window: usize) -> i64 {
        let end = self.ends[window];
        // A window that ends at the end of time includes it.
        if end == i64::MAX { i64::MAX } else { end.saturating_sub(1) }
    }

    /// Returns whether there are no windows.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

/// The elements of several windows, concatenated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowElements {
    /// The elements.
    pub values: Column,
    /// The timestamp of each element.
    pub timestamps: Vec<i64>,
    /// The end of each window's elements in `values`.
    pub ends: Vec<u32>,
}

/// One side of several joined pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairSide {
    /// The distinct records of this side.
    pub values: Column,
    /// The timestamp of each record.
    pub timestamps: Vec<i64>,
    /// The index in `values` of each pair's record.
    pub value_of: Vec<u32>,
}

/// Pairs of records from two inputs. `keys.key_of` has one entry per pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinedPairs {
    /// The keys of the pairs.
    pub keys: Keys,
    /// Records of the first input.
    pub left: PairSide,
    /// Records of the second input.
    pub right: PairSide,
}
