//! A place in a log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The place of a frame: its segment, and its offset in it. Formatted as `42:1234`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPosition {
    /// Number of the segment.
    pub segment: u64,
    /// Offset in bytes.
    pub offset: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}
