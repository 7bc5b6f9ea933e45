//! Splits a stream of bytes into records: lines, CSV rows, lines of JSON. Keeps the offset behind the last record, so
//! that reading can go on from there. Knows nothing of files, sockets or batches.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use memchr::{memchr, memchr3};

use crate::manifest::FileFormat;

/// The longest record, with its line end, in bytes.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;

/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// What [`Records::fill`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    More,
    /// The input has ended; [`Records::next`] gives what is left.
    End,
    /// The input has nothing now: a read timed out.
    Nothing,
    /// The next record is longer than [`RECORD_BYTES_MAX`].
    TooLong,
}

/// See the module. A row of CSV is found as the crate `csv` finds it: a quote counts at the start of a field only, a
/// quoted field may hold line ends, `\n`, `\r` and `\r\n` end a row, and blank lines are no rows.
pub(super) struct Records<R> {
    input: R,
    format: FileFormat,
    buffer: Vec<u8>,
    /// Where the next record begins in `buffer`; what is before was given out.
    start: usize,
    /// Up to here `buffer` has been read.
    end: usize,
    /// Up to here the next record has been looked through for its end.
    scanned: usize,
    /// `scanned` is within a quoted field.
    quoted: bool,
    ended: bool,
    /// The stream's offset of `buffer[start]`.
    offset: u64,
}

impl<R: Read> Records<R> {
    /// Reads on from `offset`, where `input` already stands.
    pub(super) fn new(input: R, format: FileFormat, offset: u64) -> Records<R> {
        let buffer = vec![0; CHUNK_BYTES];
        Records { input, format, buffer, start: 0, end: 0, scanned: 0, quoted: false, ended: false, offset }
    }

    /// The offset behind the last record that was given out, in bytes of the (decompressed) stream.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record that is whole in the buffer, without its line end. None: call [`Records::fill`], unless that
    /// has said [`Fill::End`] before.
    #[inline]
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let range = match self.format {
            FileFormat::Lines | FileFormat::Ndjson => self.next_line(),
            FileFormat::Csv => self.next_row(),
        };
        range.map(|range| &self.buffer[range])
    }

    #[inline]
    fn next_line(&mut self) -> Option<Range<usize>> {
        while let Some(found) = memchr(b'\n', &self.buffer[self.scanned..self.end]) {
            let (start, newline) = (self.start, self.scanned + found);
            let carriage = newline > start && self.buffer[newline - 1] == b'\r';
            let end = newline - usize::from(carriage);
            self.advance(newline + 1);
            if end > start || self.format == FileFormat::Lines {
                return Some(start..end);
            }
        }
        self.scanned = self.end;
        self.last()
    }

    #[inline]
    fn next_row(&mut self) -> Option<Range<usize>> {
        while self.scanned == self.start && self.start < self.end && matches!(self.buffer[self.start], b'\n' | b'\r') {
            self.advance(self.start + 1);
        }
        while self.scanned < self.end {
            let ahead = &self.buffer[self.scanned..self.end];
            if self.quoted {
                let Some(found) = memchr(b'"', ahead) else {
                    self.scanned = self.end;
                    break;
                };
                match ahead.get(found + 1) {
                    Some(b'"') => self.scanned += found + 2,
                    // Whether it is a doubled quote, the byte after it will tell.
                    None if !self.ended => {
                        self.scanned += found;
                        return None;
                    }
                    _ => {
                        self.quoted = false;
                        self.scanned += found + 1;
                    }
                }
                continue;
            }
            let Some(found) = memchr3(b'"', b'\n', b'\r', ahead) else {
                self.scanned = self.end;
                break;
            };
            let (start, at) = (self.start, self.scanned + found);
            if ahead[found] == b'"' {
                self.quoted = at == start || self.buffer[at - 1] == b',';
                self.scanned = at + 1;
            } else {
                self.advance(at + 1);
                return Some(start..at);
            }
        }
        self.last()
    }

    /// What is left when the input has ended without a line end.
    fn last(&mut self) -> Option<Range<usize>> {
        if !self.ended || self.start == self.end {
            return None;
        }
        let range = self.start..self.end;
        self.advance(self.end);
        Some(range)
    }

    fn advance(&mut self, to: usize) {
        self.offset += (to - self.start) as u64;
        self.start = to;
        self.scanned = to;
        self.quoted = false;
    }

    /// Reads more into the buffer, with one read of the input.
    pub(super) fn fill(&mut self) -> io::Result<Fill> {
        if self.ended {
            return Ok(Fill::End);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            if self.end >= RECORD_BYTES_MAX {
                return Ok(Fill::TooLong);
            }
            self.buffer.resize((self.end * 2).min(RECORD_BYTES_MAX), 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(Fill::End);
                }
                Ok(read) => {
                    self.end += read;
                    return Ok(Fill::More);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(Fill::Nothing);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Steps over `mark` where the input goes on with it: a byte order mark.
    pub(super) fn skip_mark(&mut self, mark: &[u8]) -> io::Result<()> {
        while self.end - self.start < mark.len() {
            if self.fill()? != Fill::More {
                break;
            }
        }
        if self.buffer[self.start..self.end].starts_with(mark) {
            self.advance(self.start + mark.len());
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
