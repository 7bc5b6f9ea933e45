//! Finds a record in its file again, for a person who looks for it: the line on which it begins.
//!
//! Reads the file a second time. For records that failed only, so that reading itself keeps no count of lines.

use std::path::Path;

use super::super::RecordLocation;
use super::super::records::Fill;
use super::list::{FileRecords, InputFile, UnusableEntries, list, open};
use crate::model::Interrupt;
use crate::pipeline::FileFormat;

/// How much of the input is read for one record, in bytes. A place further on is given by its byte.
const READ_BYTES_MAX: u64 = 1 << 30;

/// Records between two looks at cancellation.
const LOOK_EVERY: u64 = 1 << 14;

/// The place of a record: `nth` behind `offset`, from 0.
pub(super) fn place_behind(
    path: &Path,
    (format, header): (FileFormat, bool),
    offset: u64,
    nth: usize,
    interrupt: &Interrupt,
    is_cancelled: &dyn Fn() -> bool,
) -> Option<RecordLocation> {
    let (mut reader, _) = open(path, format, header, offset, interrupt).ok()?;
    for _ in 0..nth {
        next(&mut reader, |_| ())?;
    }
    let begin = reader.offset();
    next(&mut reader, |_| Some(place(path, format, begin, is_cancelled)))?
}

/// The place of the first record of `input`, a file or folder, that is `value`.
pub(in crate::connector) fn find(
    input: &Path,
    format: FileFormat,
    header: bool,
    value: &[u8],
    is_cancelled: &dyn Fn() -> bool,
) -> Option<RecordLocation> {
    let mut bytes_left = READ_BYTES_MAX;
    for InputFile { path, .. } in list(input, UnusableEntries::PassOver).ok()? {
        let (mut reader, _) = open(&path, format, header, 0, &Interrupt::default()).ok()?;
        let mut records = 0_u64;
        loop {
            let begin = reader.offset();
            let Some(is_found) = next(&mut reader, |record| record == value) else { break };
            if is_found {
                return Some(place(&path, format, begin, is_cancelled));
            }
            records += 1;
            if reader.offset() > bytes_left || (records.is_multiple_of(LOOK_EVERY) && is_cancelled()) {
                return None;
            }
        }
        bytes_left = bytes_left.saturating_sub(reader.offset());
    }
    None
}

/// The place of the record that begins at `byte`, or behind blank lines and the rest of a line end there.
fn place(path: &Path, format: FileFormat, byte: u64, is_cancelled: &dyn Fn() -> bool) -> RecordLocation {
    let found = if byte > READ_BYTES_MAX { None } else { line_at(path, format, byte, is_cancelled) };
    let (line, byte) = found.map_or((None, byte), |(line, byte)| (Some(line), byte));
    RecordLocation { file: path.display().to_string(), byte, line }
}

/// The line, from 1, and the byte where a record begins.
fn line_at(path: &Path, format: FileFormat, byte: u64, is_cancelled: &dyn Fn() -> bool) -> Option<(u64, u64)> {
    let (mut reader, _) = open(path, FileFormat::Lines, false, 0, &Interrupt::default()).ok()?;
    let mut number = 0_u64;
    loop {
        let begin = reader.offset();
        let behind = usize::try_from(byte.saturating_sub(begin)).unwrap_or(usize::MAX);
        // A blank line is a record of plain lines only. Elsewhere the record is what comes next.
        let starts = |line: &[u8]| {
            let rest = line.get(behind..)?;
            let blank = rest.iter().take_while(|byte| **byte == b'\r').count();
            (blank < rest.len() || format == FileFormat::Lines).then_some(begin.max(byte) + blank as u64)
        };
        let start = next(&mut reader, starts)?;
        number += 1;
        if let Some(start) = start {
            return Some((number, start));
        }
        if number.is_multiple_of(LOOK_EVERY) && is_cancelled() {
            return None;
        }
    }
}

/// What `see` says of the next record, however many reads it takes. None at the end, and where it cannot be read.
fn next<T>(reader: &mut FileRecords, see: impl Fn(&[u8]) -> T) -> Option<T> {
    loop {
        if let Some(record) = reader.next() {
            return Some(see(record));
        }
        match reader.fill().ok()? {
            Fill::More | Fill::Nothing => {}
            Fill::End | Fill::Broken(_) | Fill::Foreign(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: (FileFormat, bool) = (FileFormat::Csv, true);
    const ROWS: &str = "\u{feff}a,b\r\n1,\"x\ny\"\r\n\r\n\n2,z\r\n3,w";

    fn write(name: &str, text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn the_line_of_a_row_counts_the_header_blank_lines_and_quoted_line_ends() {
        let (_folder, path) = write("a.csv", ROWS);
        let lines: Vec<_> = (0..4)
            .map(|nth| place_behind(&path, CSV, 0, nth, &Interrupt::default(), &|| false).and_then(|place| place.line))
            .collect();
        assert_eq!(lines, [Some(2), Some(6), Some(7), None]);
        let behind_the_first = ROWS.find("\r\n\r\n").unwrap() as u64 + 1;
        let place = place_behind(&path, CSV, behind_the_first, 1, &Interrupt::default(), &|| false).unwrap();
        assert_eq!((place.line, place.file), (Some(7), path.display().to_string()));
        assert_eq!(place.byte, ROWS.find("3,w").unwrap() as u64);
    }

    #[test]
    fn a_record_is_found_by_its_value_in_the_files_of_a_folder() {
        let (folder, _) = write("a.ndjson", "{}\n\n{\"n\":1}\n");
        std::fs::write(folder.path().join("b.ndjson"), "\n{\"n\":2}\n").unwrap();
        let find = |value: &str| find(folder.path(), FileFormat::Ndjson, false, value.as_bytes(), &|| false);
        let line = |value| find(value).map(|place| (place.file.ends_with("b.ndjson"), place.line));
        assert_eq!(line("{\"n\":1}"), Some((false, Some(3))));
        assert_eq!(line("{\"n\":2}"), Some((true, Some(2))));
        assert_eq!(line("{\"n\":3}"), None);
    }

    #[test]
    fn every_line_of_plain_lines_is_a_record() {
        let (_folder, path) = write("a.txt", "one\n\n\nfour\n");
        let line = |nth| {
            place_behind(&path, (FileFormat::Lines, false), 0, nth, &Interrupt::default(), &|| false).unwrap().line
        };
        assert_eq!((0..4).map(line).collect::<Vec<_>>(), [Some(1), Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn a_cancel_ends_the_search() {
        let (_folder, path) = write("a.txt", &"x\n".repeat(3 * LOOK_EVERY as usize));
        assert_eq!(find(&path, FileFormat::Lines, false, b"y", &|| true), None);
        let place =
            place_behind(&path, (FileFormat::Lines, false), 0, 2 * LOOK_EVERY as usize, &Interrupt::default(), &|| {
                true
            })
            .unwrap();
        assert_eq!((place.line, place.byte), (None, 4 * LOOK_EVERY));
    }
}
