//! Splits a stream of bytes into records: lines, CSV rows, lines of JSON. Keeps the offset behind the last record, so
//! that reading can go on from there. Knows nothing of files, sockets or batches.
//!
//! A record without a proper end is a [`Defect`]. The caller either stops there or has its line left out by
//! [`RecordSplitter::skip`].

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use super::text_start::{TextStart, inspect};
use crate::pipeline::FileFormat;

/// The longest record, with its line end, in bytes.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;

/// How much is read at once, in bytes.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// What is split into records.
pub(super) trait RecordInput {
    /// As [`Read::read`].
    fn read_into(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Whether the bytes of the last read are the first ones of a text, apart from the very first read.
    fn begins_text(&self) -> bool {
        false
    }
}

impl<R: Read> RecordInput for R {
    fn read_into(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.read(into)
    }
}

/// What [`RecordSplitter::fill`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// There may be more records now.
    More,
    /// The input has ended, and all its records were given out.
    End,
    /// The input has nothing now.
    Nothing,
    /// The next record is defective: [`RecordSplitter::skip`] leaves it out, and without that the answer stays the same.
    Broken(Defect),
    /// A text begins here that is in no encoding a source reads. It stays so.
    Foreign(&'static str),
}

/// Why there is no next record. Offsets are of the stream, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// A quoted field of CSV has no end before the end of the input.
    UnclosedQuote { quote: u64 },
    /// A quoted field of CSV has no end within [`RECORD_BYTES_MAX`].
    EndlessQuote { quote: u64 },
    /// A quoted field of CSV that holds line ends is followed by text: its closing quote opened another field.
    TextBehindQuote { quote: u64, closing: u64 },
    /// The record that begins here is longer than [`RECORD_BYTES_MAX`].
    TooLong { start: u64 },
}

impl Defect {
    /// Where a person should look.
    pub(super) fn offset(self) -> u64 {
        match self {
            Defect::UnclosedQuote { quote }
            | Defect::EndlessQuote { quote }
            | Defect::TextBehindQuote { quote, .. }
            | Defect::TooLong { start: quote } => quote,
        }
    }
}

/// See the module. A row of CSV is found as the crate `csv` finds it: a quote counts at the start of a field only, a
/// quoted field may hold line ends, `\n`, `\r` and `\r\n` end a row, and blank lines are no rows. Unlike there, a quoted
/// field that holds line ends must end in front of a comma or the end of its row.
pub(super) struct RecordSplitter<R> {
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
    /// Where the last quoted field opened in `buffer`.
    quote: usize,
    ended: bool,
    /// The stream's offset of `buffer[start]`, or of the line that is being left out.
    offset: u64,
    /// What is at `start` are the first bytes of a text, not yet judged.
    begins: bool,
    foreign: Option<&'static str>,
    defect: Option<Defect>,
    /// From here in `buffer` a line is being left out.
    skipping: Option<usize>,
    /// Bytes of that line that are no longer in `buffer`.
    skipped_bytes: u64,
    skipped: u64,
    /// Line ends in front of `buffer`, where they are counted.
    lines: Option<u64>,
}

impl<R: RecordInput> RecordSplitter<R> {
    /// Reads on from `offset`, where `input` already stands. At offset 0 a text begins.
    pub(super) fn new(input: R, format: FileFormat, offset: u64) -> RecordSplitter<R> {
        RecordSplitter {
            input,
            format,
            buffer: vec![0; CHUNK_BYTES],
            start: 0,
            end: 0,
            scanned: 0,
            quoted: false,
            quote: 0,
            ended: false,
            offset,
            begins: offset == 0,
            foreign: None,
            defect: None,
            skipping: None,
            skipped_bytes: 0,
            skipped: 0,
            lines: None,
        }
    }

    /// Counts lines as well, for an input that cannot be read again to find them.
    pub(super) fn counting_lines(self) -> RecordSplitter<R> {
        RecordSplitter { lines: Some(0), ..self }
    }

    /// The line of an offset within the record that is next, from 1, where lines are counted.
    pub(super) fn line_of(&self, offset: u64) -> Option<u64> {
        let behind = offset.saturating_sub(self.offset + self.skipped_bytes);
        let index = self.start.saturating_add(usize::try_from(behind).ok()?).min(self.end);
        Some(self.lines? + line_ends(&self.buffer[..index]) + 1)
    }

    fn count_lines(&mut self, to: usize) {
        if let Some(lines) = &mut self.lines {
            *lines += line_ends(&self.buffer[..to]);
        }
    }

    /// The offset behind the last record that was given out or left out, in bytes of the (decompressed) stream.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Number of records left out since the last call.
    pub(super) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// The next record that is whole in the buffer, without its line end. None: call [`RecordSplitter::fill`].
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
                    after => {
                        let closing = self.scanned + found;
                        if !matches!(after, None | Some(b',' | b'\n' | b'\r')) && self.is_text_wrong_behind(closing) {
                            return None;
                        }
                        self.quoted = false;
                        self.scanned = closing + 1;
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
                self.quote = at;
                self.scanned = at + 1;
            } else {
                self.advance(at + 1);
                return Some(start..at);
            }
        }
        self.last()
    }

    /// Whether the quote at `closing`, which text follows, cannot be the end of the field: one that holds line ends.
    #[cold]
    fn is_text_wrong_behind(&mut self, closing: usize) -> bool {
        let holds_line_ends = memchr2(b'\n', b'\r', &self.buffer[self.quote..closing]).is_some();
        if holds_line_ends {
            self.scanned = closing;
            let (quote, closing) = (self.offset_of(self.quote), self.offset_of(closing));
            self.defect = Some(Defect::TextBehindQuote { quote, closing });
        }
        holds_line_ends
    }

    /// What is left when the input has ended without a line end.
    fn last(&mut self) -> Option<Range<usize>> {
        if !self.ended || self.start == self.end {
            return None;
        }
        if self.quoted {
            self.defect = Some(Defect::UnclosedQuote { quote: self.offset_of(self.quote) });
            return None;
        }
        let range = self.start..self.end;
        self.advance(self.end);
        Some(range)
    }

    fn offset_of(&self, index: usize) -> u64 {
        self.offset + self.skipped_bytes + index.saturating_sub(self.start) as u64
    }

    fn advance(&mut self, to: usize) {
        self.offset += (to - self.start) as u64;
        self.start = to;
        self.scanned = to;
        self.quoted = false;
    }

    /// Reads more into the buffer. To be called when [`RecordSplitter::next`] has given nothing.
    pub(super) fn fill(&mut self) -> io::Result<Fill> {
        if let Some(foreign) = self.foreign {
            return Ok(Fill::Foreign(foreign));
        }
        if let Some(defect) = self.defect {
            return Ok(Fill::Broken(defect));
        }
        if self.ended {
            return Ok(Fill::End);
        }
        self.make_room();
        if self.end == self.buffer.len() {
            self.defect = Some(self.too_long());
            return self.fill();
        }
        loop {
            let was_empty = self.start == self.end;
            let Some(read) = self.read()? else { return Ok(Fill::Nothing) };
            self.end += read;
            self.ended = read == 0;
            self.begins |= was_empty && self.skipping.is_none() && self.input.begins_text();
            if !self.begins {
                break;
            }
            match inspect(&self.buffer[self.start..self.end], self.ended) {
                TextStart::Undecided => {}
                TextStart::Text { mark } => {
                    self.begins = false;
                    self.advance(self.start + mark);
                    break;
                }
                TextStart::Foreign(name) => {
                    self.foreign = Some(name);
                    return Ok(Fill::Foreign(name));
                }
            }
        }
        self.leave_out();
        Ok(Fill::More)
    }

    /// One read of the input; none where it has nothing now.
    fn read(&mut self) -> io::Result<Option<usize>> {
        loop {
            match self.input.read_into(&mut self.buffer[self.end..]) {
                Ok(read) => return Ok(Some(read)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A read that timed out. `TimedOut` is another thing: a connection whose other side does not answer.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves what was not given out to the front of the buffer, and makes the buffer larger where it is full.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.count_lines(self.start);
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.scanned -= self.start;
            self.quote = self.quote.saturating_sub(self.start);
            self.start = 0;
        }
        if self.end == self.buffer.len() && self.end < RECORD_BYTES_MAX {
            self.buffer.resize((self.end * 2).min(RECORD_BYTES_MAX), 0);
        }
    }

    fn too_long(&self) -> Defect {
        match self.quoted {
            true => Defect::EndlessQuote { quote: self.offset_of(self.quote) },
            false => Defect::TooLong { start: self.offset },
        }
    }

    /// Leaves out the record with the defect that [`RecordSplitter::fill`] told, up to the end of the line in which the defect is.
    /// Reading goes on with the next line.
    pub(super) fn skip(&mut self) {
        let Some(defect) = self.defect.take() else { return };
        self.skipping = Some(match defect {
            Defect::TooLong { .. } => self.scanned,
            _ => self.quote,
        });
        self.leave_out();
    }

    /// Goes on to leave out a line, as far as it is in the buffer. It counts, and the offset moves, at its end.
    fn leave_out(&mut self) {
        let Some(from) = self.skipping else { return };
        let ahead = &self.buffer[from..self.end];
        let found = match self.format {
            FileFormat::Csv => memchr2(b'\n', b'\r', ahead),
            FileFormat::Lines | FileFormat::Ndjson => memchr(b'\n', ahead),
        };
        let to = match found {
            Some(found) => from + found + 1,
            None if self.ended => self.end,
            None => {
                self.count_lines(self.end);
                self.skipped_bytes += (self.end - self.start) as u64;
                (self.start, self.end, self.scanned, self.quoted) = (0, 0, 0, false);
                self.skipping = Some(0);
                return;
            }
        };
        self.offset += std::mem::take(&mut self.skipped_bytes);
        self.skipping = None;
        self.skipped += 1;
        self.advance(to);
    }
}

/// Number of line ends in `bytes`.
pub(super) fn line_ends(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
