//! The newest lines of one operator.

use std::collections::VecDeque;

use super::line_memory::LineMemory;
use crate::model::LogLevel;

/// Largest number of kept lines of an operator.
const LINES_MAX: usize = 1000;
/// Largest size of the kept lines of an operator, in bytes.
const BYTES_MAX: usize = 1 << 20;
/// Largest size of the text of a kept line, in bytes. The rest is cut off.
pub const KEPT_LINE_BYTES_MAX: usize = 8 * 1024;

/// A kept line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptLine {
    /// Orders the lines of a job. Grows also over restarts of the process.
    pub number: u64,
    /// When the line was written, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The severity.
    pub level: LogLevel,
    /// The subtask that wrote the line.
    pub subtask: Option<u32>,
    /// Index in its batch of the record that the line is about.
    pub record: Option<u64>,
    /// Code of the fault that the line is about.
    pub code: Option<&'static str>,
    /// Number of lines that were suppressed before this one.
    pub suppressed: u64,
    /// The text.
    pub message: Box<str>,
}

impl KeptLine {
    /// Returns the memory that the line takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<KeptLine>() + self.message.len()
    }
}

/// The newest lines of one operator, oldest first. The owner gives the memory back by [`LineRing::truncate`].
#[derive(Default)]
pub struct LineRing {
    lines: VecDeque<KeptLine>,
    bytes: usize,
    /// Number of the newest line that is not kept any more.
    newest_dropped: u64,
}

impl LineRing {
    /// Appends a line, in place of the oldest ones if there is no room. Does not keep it if other rings use all memory.
    pub fn push(&mut self, line: KeptLine, memory: &LineMemory) {
        let bytes = line.bytes();
        self.truncate(LINES_MAX - 1, BYTES_MAX.saturating_sub(bytes), memory);
        while !memory.take(bytes) {
            if !self.drop_oldest(memory) {
                self.newest_dropped = line.number;
                return;
            }
        }
        self.bytes += bytes;
        self.lines.push_back(line);
    }

    /// Drops the oldest lines until at most this many lines and bytes are left.
    pub fn truncate(&mut self, lines_max: usize, bytes_max: usize, memory: &LineMemory) {
        while self.lines.len() > lines_max || self.bytes > bytes_max {
            if !self.drop_oldest(memory) {
                return;
            }
        }
    }

    fn drop_oldest(&mut self, memory: &LineMemory) -> bool {
        let Some(line) = self.lines.pop_front() else { return false };
        let bytes = line.bytes();
        self.bytes -= bytes;
        memory.give(bytes);
        self.newest_dropped = line.number;
        true
    }

    /// Returns the lines behind the line `after`, oldest first.
    pub fn behind(&self, after: u64) -> impl Iterator<Item = &KeptLine> {
        let start = self.lines.partition_point(|line| line.number <= after);
        self.lines.range(start..)
    }

    /// Returns all lines, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &KeptLine> {
        self.lines.iter().rev()
    }

    /// Returns whether a line behind `after` was dropped.
    pub fn has_dropped_behind(&self, after: u64) -> bool {
        self.newest_dropped > after
    }
}
