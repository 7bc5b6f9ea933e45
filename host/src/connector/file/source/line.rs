//! Converts a byte offset in a file to a line number, by reading the file from its start.
//!
//! Used only for error messages, so that normal reading does not count lines.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::decompress::FileInput;
use super::input_access::InputAccess;
use crate::connector::source::RecordLocation;
use crate::format::records::{RecordInput, line_ends};
use crate::pipeline::FileFormat;

/// Largest offset whose line is determined, in bytes. Reading further would take seconds.
pub(super) const SEARCHED_BYTES_MAX: u64 = 1 << 30;

/// Size of one read, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Returns the line, from 1, of a byte of the decompressed file. Returns `None` if the byte is too far from the start, if
/// the file cannot be read, or once `is_cancelled` returns true.
pub(super) fn line_of_byte(
    path: &Path,
    byte: u64,
    access: &InputAccess,
    is_cancelled: &dyn Fn() -> bool,
) -> Option<u64> {
    skip_blank_lines(path, byte, false, access, is_cancelled).map(|(line, _)| line)
}

/// Returns the location of the record that begins at `byte`, or after blank lines there if `format` skips them. Without a
/// line number if [`line_of_byte`] has none.
pub(super) fn record_location(
    path: &Path,
    format: FileFormat,
    byte: u64,
    access: &InputAccess,
    is_cancelled: &dyn Fn() -> bool,
) -> RecordLocation {
    let skips_blank = !matches!(format, FileFormat::Lines | FileFormat::Raw);
    let found = skip_blank_lines(path, byte, skips_blank, access, is_cancelled);
    let (line, byte) = found.map_or((None, byte), |(line, byte)| (Some(line), byte));
    RecordLocation { file: path.display().to_string(), byte, line }
}

/// A byte of a file with its line, from which lines are counted further. The bytes behind it are kept, so that records close to each
/// other cost no read each.
#[derive(Clone, Debug, Default)]
pub(super) struct LineCursor {
    path: PathBuf,
    byte: u64,
    line: u64,
    /// Whether the file is not compressed.
    is_plain: bool,
    /// The content of the file from `chunk_at` on.
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl LineCursor {
    /// Works like [`record_location`] for ascending positions, without reading a file from its start each time. Compressed files
    /// cannot be read from the middle, so they have no lines.
    pub(super) fn location(
        &mut self,
        path: &Path,
        format: FileFormat,
        byte: u64,
        access: &InputAccess,
        is_cancelled: &dyn Fn() -> bool,
    ) -> RecordLocation {
        if self.path != path || self.byte > byte {
            let is_plain = FileInput::open(path, 0, access).is_ok_and(|input| input.is_plain());
            *self = LineCursor { path: path.to_owned(), line: 1, is_plain, ..LineCursor::default() };
        }
        let skips_blank = !matches!(format, FileFormat::Lines | FileFormat::Raw);
        let near = self.is_plain && byte - self.byte <= SEARCHED_BYTES_MAX;
        let found = near.then(|| self.find((byte, skips_blank), access, is_cancelled)).flatten();
        if let Some((line, byte)) = found {
            (self.byte, self.line) = (byte, line);
        }
        let byte = found.map_or(byte, |(_, byte)| byte);
        RecordLocation { file: path.display().to_string(), byte, line: found.map(|(line, _)| line) }
    }

    /// Returns the line of `byte` and `byte` itself, like [`lines_from`], from the kept bytes or from the file.
    fn find(
        &mut self,
        (byte, skips_blank): (u64, bool),
        access: &InputAccess,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Option<(u64, u64)> {
        if let Some(found) = self.find_in_chunk(byte, skips_blank) {
            return Some(found);
        }
        let found = lines_from((self.byte, self.line), &self.path, (byte, skips_blank), access, is_cancelled)?;
        self.chunk.clear();
        self.chunk_at = found.1;
        if let Ok(mut input) = FileInput::open(&self.path, self.chunk_at, access) {
            self.chunk.resize(CHUNK_BYTES, 0);
            let read = input.read_into(&mut self.chunk).unwrap_or(0);
            self.chunk.truncate(read);
        }
        Some(found)
    }

    fn find_in_chunk(&self, byte: u64, skips_blank: bool) -> Option<(u64, u64)> {
        let index = |byte: u64| usize::try_from(byte.checked_sub(self.chunk_at)?).ok();
        let (from, to) = (index(self.byte)?, index(byte)?);
        let mut line = self.line + line_ends(self.chunk.get(from..to)?);
        // The record begins before the end of the kept bytes, or it is not found here.
        for (byte, &next) in (byte..).zip(self.chunk.get(to..)?) {
            if !(skips_blank && matches!(next, b'\n' | b'\r')) {
                return Some((line, byte));
            }
            line += u64::from(next == b'\n');
        }
        None
    }
}

/// Returns the line of `byte` and `byte` itself. If `skips_blank`, first advances over line ends at `byte`.
fn skip_blank_lines(
    path: &Path,
    byte: u64,
    skips_blank: bool,
    access: &InputAccess,
    is_cancelled: &dyn Fn() -> bool,
) -> Option<(u64, u64)> {
    if byte > SEARCHED_BYTES_MAX {
        return None;
    }
    lines_from((0, 1), path, (byte, skips_blank), access, is_cancelled)
}

/// Counts lines from an offset with its line.
fn lines_from(
    (mut offset, mut line): (u64, u64),
    path: &Path,
    (byte, skips_blank): (u64, bool),
    access: &InputAccess,
    is_cancelled: &dyn Fn() -> bool,
) -> Option<(u64, u64)> {
    let mut input = FileInput::open(path, offset, access).ok()?;
    let mut chunk = vec![0; CHUNK_BYTES];
    while offset < byte || skips_blank {
        if is_cancelled() {
            return None;
        }
        let read = match input.read_into(&mut chunk) {
            Ok(0) if offset < byte => return None,
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
            Err(_) => return None,
        };
        let in_front = usize::try_from(byte - offset.min(byte)).unwrap_or(usize::MAX).min(read);
        line += line_ends(chunk.get(..in_front)?);
        offset += in_front as u64;
        for &next in chunk.get(in_front..read)? {
            if !(skips_blank && matches!(next, b'\n' | b'\r')) {
                return Some((line, offset));
            }
            line += u64::from(next == b'\n');
            offset += 1;
        }
    }
    Some((line, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of different lengths, some of them blank, over several chunks.
    #[test]
    fn a_cursor_finds_the_places_that_a_search_from_the_start_finds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.csv");
        let line = |number: usize| match number % 7 {
            0 => "\n".to_owned(),
            3 => "\r\n".to_owned(),
            5 => format!("{}\n", "x".repeat(number * 97 % 9000)),
            _ => format!("{number}\n"),
        };
        let lines: Vec<String> = (0..300).map(line).collect();
        std::fs::write(&path, lines.concat() + "\n\n").unwrap();
        let access = InputAccess::default();
        let begins = lines.iter().scan(0, |end, line| Some(std::mem::replace(end, *end + line.len() as u64)));
        let begins: Vec<u64> = begins.collect();
        for format in [FileFormat::Csv, FileFormat::Lines] {
            for step in [1, 2, 50] {
                let mut cursor = LineCursor::default();
                for &byte in begins.iter().step_by(step).chain(&begins[..3]) {
                    let expected = record_location(&path, format, byte, &access, &|| false);
                    assert_eq!(
                        cursor.location(&path, format, byte, &access, &|| false),
                        expected,
                        "{format:?} by {step}"
                    );
                }
            }
        }
    }
}
