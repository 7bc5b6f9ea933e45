//! Converts a byte offset in a file to a line number, by reading the file from its start.
//!
//! Used only for error messages, so that normal reading does not count lines.

use std::io::ErrorKind;
use std::path::Path;

use super::decompress::FileInput;
use crate::connector::source::RecordLocation;
use crate::format::records::{RecordInput, line_ends};
use crate::model::Interrupt;
use crate::pipeline::FileFormat;

/// Largest offset whose line is determined, in bytes. Reading further would take seconds.
pub(super) const SEARCHED_BYTES_MAX: u64 = 1 << 30;

/// Size of one read, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Returns the line, from 1, of a byte of the decompressed file. Returns `None` if the byte is too far from the start, if
/// the file cannot be read, or once `is_cancelled` returns true.
pub(super) fn line_of_byte(path: &Path, byte: u64, is_cancelled: &dyn Fn() -> bool) -> Option<u64> {
    skip_blank_lines(path, byte, false, is_cancelled).map(|(line, _)| line)
}

/// Returns the location of the record that begins at `byte`, or after blank lines there if `format` skips them. Without a
/// line number if [`line_of_byte`] has none.
pub(super) fn record_location(
    path: &Path,
    format: FileFormat,
    byte: u64,
    is_cancelled: &dyn Fn() -> bool,
) -> RecordLocation {
    let found = skip_blank_lines(path, byte, !matches!(format, FileFormat::Lines | FileFormat::Raw), is_cancelled);
    let (line, byte) = found.map_or((None, byte), |(line, byte)| (Some(line), byte));
    RecordLocation { file: path.display().to_string(), byte, line }
}

/// Returns the line of `byte` and `byte` itself. If `skips_blank`, first advances over line ends at `byte`.
fn skip_blank_lines(path: &Path, byte: u64, skips_blank: bool, is_cancelled: &dyn Fn() -> bool) -> Option<(u64, u64)> {
    if byte > SEARCHED_BYTES_MAX {
        return None;
    }
    let mut input = FileInput::open(path, 0, &Interrupt::default()).ok()?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut offset, mut line) = (0, 1);
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
