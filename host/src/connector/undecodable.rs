//! Records that cannot be decoded: the error that describes one, and the log of those that are skipped.
//!
//! Knows nothing of files: the caller supplies the line of a byte offset.

use crate::error::{Error, record_undecodable};
use crate::format::records::{Defect, RECORD_BYTES_MAX};

/// Number of skipped records that one source subtask logs individually. After that it logs the 16th, the 32nd and so on.
const NAMED_MAX: u64 = 8;

const SKIP_HINT: &str = "correct the input, or set `on_undecodable = \"skip\"` at the source to skip such records";

/// Returns the error `record-undecodable` for a defect at `location`. `line` returns the line of a byte offset.
pub(super) fn error(location: &str, defect: Defect, line: impl Fn(u64) -> Option<u64>) -> Error {
    record_undecodable(format!("{location}: {}", reason(defect, &line))).hint(SKIP_HINT)
}

/// Returns why a part of an input is no record. `line` returns the line of a byte offset.
pub(super) fn reason(defect: Defect, line: &dyn Fn(u64) -> Option<u64>) -> String {
    let limit = RECORD_BYTES_MAX >> 20;
    match defect {
        Defect::UnclosedQuote { .. } => "the quote that opens here is never closed".to_owned(),
        Defect::EndlessQuote { .. } => format!("the quote that opens here is not closed within {limit} MiB"),
        Defect::TooLong { .. } => format!("the record that begins here is longer than {limit} MiB"),
        Defect::TextBehindQuote { closing, .. } => {
            let closed = line(closing).map_or_else(|| format!("byte {closing}"), |line| format!("line {line}"));
            format!("the quote that opens here is not closed before {closed}, where text follows the next quote")
        }
    }
}

/// Returns the error `record-undecodable` for a defect in a stream that cannot be read again.
pub(super) fn in_stream(stream: &str, defect: Defect, line: impl Fn(u64) -> Option<u64>) -> Error {
    let offset = defect.offset();
    let line_text = line(offset).map(|line| format!("line {line}, ")).unwrap_or_default();
    error(&format!("{line_text}byte {offset} of the data from {stream}"), defect, line)
}

/// Logs skipped records: each of the first ones, then ever fewer.
#[derive(Debug, Default)]
pub struct SkipLog {
    skipped: u64,
}

impl SkipLog {
    /// Counts one skipped record. Calls `why` only if this record is logged.
    pub fn skip(&mut self, source: &str, why: impl FnOnce() -> Error) {
        self.skipped += 1;
        if self.skipped <= NAMED_MAX || self.skipped.is_power_of_two() {
            tracing::warn!(source, undecodable = self.skipped, "record not decoded: {}", why().message);
        }
    }
}
