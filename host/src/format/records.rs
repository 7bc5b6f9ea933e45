//! Splits a stream of bytes into records: lines, CSV rows, lines of JSON.
//!
//! Keeps the offset behind the last record, so that reading can continue from there. A record without a proper end is a
//! [`Defect`]. The caller either stops at it or skips its line with [`RecordSplitter::skip`]. Knows nothing of files,
//! sockets or batches.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use super::text_start::{TextStart, classify};
use crate::pipeline::FileFormat;

/// Size of the longest allowed record with its line end, in bytes.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// Size of one read, in bytes.
pub const CHUNK_BYTES: usize = 256 << 10;

/// The input of a [`RecordSplitter`].
pub trait RecordInput {
    /// Reads like [`Read::read`].
    fn read_into(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Whether the last read returned the first bytes of a text. The very first read always does, and need not report it.
    fn begins_text(&self) -> bool {
        false
    }
}

impl<R: Read> RecordInput for R {
    fn read_into(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.read(into)
    }
}

/// The outcome of [`RecordSplitter::fill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// More bytes were read. They may complete a record.
    More,
    /// The input has ended, and all its records have been returned.
    End,
    /// No bytes are available now.
    Nothing,
    /// The next record is defective. The result stays the same until [`RecordSplitter::skip`] is called.
    Broken(Defect),
    /// A text in an unsupported encoding begins here. The result stays the same.
    Foreign(&'static str),
}

/// The reason why the next record cannot be decoded. Offsets are byte offsets in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A quoted CSV field is still open at the end of the input.
    UnclosedQuote { quote: u64 },
    /// A quoted CSV field is still open after [`RECORD_BYTES_MAX`].
    EndlessQuote { quote: u64 },
    /// Text follows a quoted CSV field that contains line ends: its closing quote probably opened another field.
    TextBehindQuote { quote: u64, closing: u64 },
    /// The record that begins here is longer than [`RECORD_BYTES_MAX`].
    TooLong { start: u64 },
}

impl Defect {
    /// Returns the offset at which to look for the mistake.
    pub fn offset(self) -> u64 {
        match self {
            Defect::UnclosedQuote { quote }
            | Defect::EndlessQuote { quote }
            | Defect::TextBehindQuote { quote, .. }
            | Defect::TooLong { start: quote } => quote,
        }
    }
}

/// Splits a stream into records.
///
/// CSV rows follow the crate `csv`. A quote counts only at the start of a field, and a quoted field may contain line ends.
/// `\n`, `\r` and `\r\n` end a row, and blank lines are skipped. Unlike in that crate, a quoted field that contains line
/// ends must be followed by a comma or by the end of its row.
pub struct RecordSplitter<R> {
    input: R,
    format: FileFormat,
    buffer: Vec<u8>,
    /// Start of the next record in `buffer`. Everything before it has been returned.
    start: usize,
    /// End of the valid bytes in `buffer`.
    end: usize,
    /// Position up to which the end of the next record has been searched for.
    scanned: usize,
    /// Whether `scanned` is inside a quoted field.
    quoted: bool,
    /// Position in `buffer` of the last opening quote.
    quote: usize,
    ended: bool,
    /// Stream offset of `buffer[start]`, or of the line that is being skipped.
    offset: u64,
    /// Whether a text begins at `start` and has not been classified yet.
    begins: bool,
    foreign: Option<&'static str>,
    defect: Option<Defect>,
    /// Position in `buffer` from which a line is being skipped.
    skipping: Option<usize>,
    /// Number of bytes of that line that have left `buffer`.
    skipped_bytes: u64,
    skipped: u64,
    /// Number of line ends in front of `buffer`, if lines are counted.
    lines: Option<u64>,
}

impl<R: RecordInput> RecordSplitter<R> {
    /// Continues at `offset`, to which `input` must already be positioned. A text begins at offset 0.
    pub fn new(input: R, format: FileFormat, offset: u64) -> RecordSplitter<R> {
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

    /// Returns the input.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// Also counts lines, for an input that cannot be read again to find them.
    pub fn counting_lines(self) -> RecordSplitter<R> {
        RecordSplitter { lines: Some(0), ..self }
    }

    /// Returns the line, from 1, of an offset within the next record. Returns `None` if lines are not counted.
    pub fn line_of(&self, offset: u64) -> Option<u64> {
        let behind = offset.saturating_sub(self.offset + self.skipped_bytes);
        let index = self.start.saturating_add(usize::try_from(behind).ok()?).min(self.end);
        Some(self.lines? + line_ends(&self.buffer[..index]) + 1)
    }

    fn count_lines(&mut self, to: usize) {
        if let Some(lines) = &mut self.lines {
            *lines += line_ends(&self.buffer[..to]);
        }
    }

    /// Returns the offset behind the last record that was returned or skipped, in bytes of the decompressed stream.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of records skipped since the last call.
    pub fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Returns the next complete record in the buffer, without its line end. On `None`, call [`RecordSplitter::fill`].
    #[inline]
    pub fn next_record(&mut self) -> Option<&[u8]> {
        let range = match self.format {
            FileFormat::Lines | FileFormat::Ndjson | FileFormat::Raw | FileFormat::Avro => self.next_line(),
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
            if end > start || matches!(self.format, FileFormat::Lines | FileFormat::Raw) {
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
                    // The next byte decides whether this is a doubled quote.
                    None if !self.ended => {
                        self.scanned += found;
                        return None;
                    }
                    after => {
                        let closing = self.scanned + found;
                        if !matches!(after, None | Some(b',' | b'\n' | b'\r')) && self.has_wrong_text_behind(closing) {
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

    /// Whether text after the quote at `closing` is a defect: it is if the field contains line ends.
    #[cold]
    fn has_wrong_text_behind(&mut self, closing: usize) -> bool {
        let holds_line_ends = memchr2(b'\n', b'\r', &self.buffer[self.quote..closing]).is_some();
        if holds_line_ends {
            self.scanned = closing;
            let (quote, closing) = (self.offset_of(self.quote), self.offset_of(closing));
            self.defect = Some(Defect::TextBehindQuote { quote, closing });
        }
        holds_line_ends
    }

    /// Returns the last record of an input that ended without a line end.
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

    /// Reads more bytes into the buffer. Call it when [`RecordSplitter::next_record`] has returned `None`.
    pub fn fill(&mut self) -> io::Result<Fill> {
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
            match classify(&self.buffer[self.start..self.end], self.ended) {
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
        self.skip_line();
        Ok(Fill::More)
    }

    /// Reads once from the input. Returns `None` if no bytes are available now.
    fn read(&mut self) -> io::Result<Option<usize>> {
        loop {
            match self.input.read_into(&mut self.buffer[self.end..]) {
                Ok(read) => return Ok(Some(read)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The read timed out. `ErrorKind::TimedOut` differs: the peer of the connection does not answer.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves the remaining bytes to the front of the buffer, and enlarges the buffer if it is full.
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

    /// Returns the first bytes of the record whose defect [`RecordSplitter::fill`] reported: up to the end of the defect's line, and at
    /// most `max` bytes.
    pub fn defective(&self, max: usize) -> &[u8] {
        let from = match self.defect {
            None => return &[],
            Some(Defect::TooLong { .. }) => self.scanned,
            Some(_) => self.quote,
        };
        let line_end = memchr2(b'\n', b'\r', &self.buffer[from.min(self.end)..self.end]);
        let end = line_end.map_or(self.end, |found| from + found);
        &self.buffer[self.start..end.min(self.start.saturating_add(max)).max(self.start)]
    }

    /// Skips the record whose defect [`RecordSplitter::fill`] reported, up to the end of the defect's line. Reading
    /// continues with the next line.
    pub fn skip(&mut self) {
        let Some(defect) = self.defect.take() else { return };
        self.skipping = Some(match defect {
            Defect::TooLong { .. } => self.scanned,
            _ => self.quote,
        });
        self.skip_line();
    }

    /// Skips the part of a line that is in the buffer. At the end of the line, counts it and moves the offset.
    fn skip_line(&mut self) {
        let Some(from) = self.skipping else { return };
        let ahead = &self.buffer[from..self.end];
        let found = match self.format {
            FileFormat::Csv => memchr2(b'\n', b'\r', ahead),
            FileFormat::Lines | FileFormat::Ndjson | FileFormat::Raw | FileFormat::Avro => memchr(b'\n', ahead),
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

/// Returns the number of line ends in `bytes`.
pub fn line_ends(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}
