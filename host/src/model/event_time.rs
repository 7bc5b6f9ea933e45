//! What event time adds to batches: due timers, windows with their elements, pairs of joined records.

use std::ops::Range;
use std::sync::Arc;

use super::batch::slice_keys;
use super::{Column, Keys};

/// The two clocks of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimeDomain {
    Event,
    Processing,
}

impl TimeDomain {
    pub fn as_str(self) -> &'static str {
        match self {
            TimeDomain::Event => "event",
            TimeDomain::Processing => "processing",
        }
    }
}

/// A time in eight bytes that sort as times do. Part of the durable format.
pub fn time_bytes(time: i64) -> [u8; 8] {
    ((time as u64) ^ (1 << 63)).to_be_bytes()
}

/// The time that [`time_bytes`] wrote.
pub fn time_of_bytes(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ (1 << 63)) as i64
}

/// Timers that are due, of one clock, in order of their time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueTimers {
    /// `key_of` has one entry per timer.
    pub keys: Arc<Keys>,
    /// The times for which they were registered, in milliseconds.
    pub times: Vec<i64>,
}

impl DueTimers {
    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Timers `range` as timers of their own.
    pub fn slice(&self, range: Range<usize>) -> DueTimers {
        DueTimers { keys: Arc::new(slice_keys(&self.keys, range.clone())), times: self.times[range].to_vec() }
    }
}

/// Windows of keys. `keys.key_of`, `starts` and `ends` have one entry per window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    pub keys: Keys,
    /// The first millisecond; of a global window `i64::MIN`.
    pub starts: Vec<i64>,
    /// The first millisecond behind; of a global window `i64::MAX`.
    pub ends: Vec<i64>,
}

impl Windows {
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

/// The elements of several windows, one window behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowElements {
    pub values: Column,
    /// One per value.
    pub timestamps: Vec<i64>,
    /// For each window the index behind its last element.
    pub ends: Vec<u32>,
}

/// One side of several pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairSide {
    /// Values that occur, each once.
    pub values: Column,
    /// One per value.
    pub timestamps: Vec<i64>,
    /// For each pair the index of its value.
    pub value_of: Vec<u32>,
}

/// Records of two inputs that belong together. `keys.key_of` has one entry per pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinedPairs {
    pub keys: Keys,
    pub left: PairSide,
    pub right: PairSide,
}
