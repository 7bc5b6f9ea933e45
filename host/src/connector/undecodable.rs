//! What a person is told of a record that cannot be decoded, and how often.

use std::io::ErrorKind;
use std::path::Path;

use super::records::{Defect, RECORD_BYTES_MAX, RecordInput, line_ends};
use crate::error::{Error, record_undecodable};
use crate::model::Interrupt;
use crate::pipeline::FileFormat;

/// Of a file, searched for the line of a byte, at most: reading more would hold up the subtask for seconds.
const SEARCHED_BYTES_MAX: u64 = 1 << 30;

/// Skipped records of one source subtask that the log names one by one. Of later ones it names those whose number is a power of two.
const NAMED_MAX: u64 = 8;

const SKIP_HINT: &str = "correct it, or set `on_undecodable = \"skip\"` at the source to leave out such records";

/// `record-undecodable` for what is wrong at `place`; `line` gives the line of another offset.
fn error(place: &str, defect: Defect, line: impl Fn(u64) -> Option<u64>) -> Error {
    let limit = RECORD_BYTES_MAX >> 20;
    let what = match defect {
        Defect::UnclosedQuote { .. } => "the quote that opens here is never closed".to_owned(),
        Defect::EndlessQuote { .. } => format!("the quote that opens here is not closed within {limit} MiB"),
        Defect::TooLong { .. } => format!("the record that begins here is longer than {limit} MiB"),
        Defect::TextBehindQuote { closing, .. } => {
            let closed = line(closing).map_or_else(|| format!("byte {closing}"), |line| format!("line {line}"));
            format!("the quote that opens here is not closed before {closed}, where text follows the next quote")
        }
    };
    record_undecodable(format!("{place}: {what}")).hint(SKIP_HINT)
}

/// `record-undecodable` for a record of a file.
pub(super) fn in_file(path: &Path, defect: Defect) -> Error {
    error(&place_in_file(path, defect.offset()), defect, |offset| line_in_file(path, offset))
}

/// `record-undecodable` for a record of a stream that cannot be read again; `line` gives the line of an offset.
pub(super) fn in_stream(stream: &str, defect: Defect, line: impl Fn(u64) -> Option<u64>) -> Error {
    let offset = defect.offset();
    let line_text = line(offset).map(|line| format!("line {line}, ")).unwrap_or_default();
    error(&format!("{line_text}byte {offset} of what {stream} sent"), defect, line)
}

/// `line 12, byte 345 of FILE`: lines from 1, bytes from 0, both of the decompressed file.
pub(super) fn place_in_file(path: &Path, offset: u64) -> String {
    let line = line_in_file(path, offset).map(|line| format!("line {line}, ")).unwrap_or_default();
    format!("{line}byte {offset} of `{}`", path.display())
}

/// The place of the record that is next behind `offset`, with its line where blank lines are no records.
pub(super) fn place_of_record(path: &Path, offset: u64, format: FileFormat) -> String {
    let blank = match format {
        FileFormat::Lines => 0,
        FileFormat::Csv | FileFormat::Ndjson => blank_bytes(path, offset).unwrap_or(0),
    };
    place_in_file(path, offset + blank)
}

/// Number of line ends, in bytes, that a file goes on with at `offset`.
fn blank_bytes(path: &Path, offset: u64) -> Option<u64> {
    let mut input = super::file::FileInput::open(path, offset, &Interrupt::default()).ok()?;
    let mut ahead = vec![0; 4 << 10];
    let read = input.read_into(&mut ahead).ok()?;
    Some(ahead[..read].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count() as u64)
}

/// The line of a byte of a decompressed file, from 1. None where that cannot be told, or not soon.
fn line_in_file(path: &Path, offset: u64) -> Option<u64> {
    if offset > SEARCHED_BYTES_MAX {
        return None;
    }
    let mut input = super::file::FileInput::open(path, 0, &Interrupt::default()).ok()?;
    let mut chunk = vec![0; 64 << 10];
    let (mut left, mut lines) = (usize::try_from(offset).ok()?, 1);
    while left > 0 {
        let wanted = left.min(chunk.len());
        match input.read_into(&mut chunk[..wanted]) {
            Ok(0) => return None,
            Ok(read) => {
                lines += line_ends(&chunk[..read]);
                left -= read;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return None,
        }
    }
    Some(lines)
}

/// Tells the log of records that are skipped: each of the first ones, then fewer and fewer.
#[derive(Debug, Default)]
pub struct SkipLog {
    skipped: u64,
}

impl SkipLog {
    /// One more record is skipped; `why` is asked only where the log names it.
    pub fn skip(&mut self, source: &str, why: impl FnOnce() -> Error) {
        self.skipped += 1;
        if self.skipped <= NAMED_MAX || self.skipped.is_power_of_two() {
            tracing::warn!(source, skipped = self.skipped, "record skipped: {}", why().message);
        }
    }
}
