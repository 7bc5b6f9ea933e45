//! Finds a record in its file again, to report the line on which it begins.
//!
//! Reads the file a second time, for failed records only, so that normal reading does not count lines. The search ends
//! when the job is cancelled.

use std::path::Path;

use super::input_access::InputAccess;
use super::line::{SEARCHED_BYTES_MAX, record_location};
use super::list::{InputFile, UnusableEntries, list};
use super::open::{FileRecords, open};
use crate::access::AccessPolicy;
use crate::connector::source::RecordLocation;
use crate::format::records::Fill;
use crate::pipeline::FileFormat;

/// Number of records between two checks for a cancellation.
const CANCEL_CHECK_RECORDS: u64 = 1 << 14;

/// Returns the location of record `nth`, from 0, behind `offset`.
pub(super) fn location_behind(
    path: &Path,
    (format, header): (FileFormat, bool),
    offset: u64,
    nth: usize,
    access: &InputAccess,
    is_cancelled: &dyn Fn() -> bool,
) -> Option<RecordLocation> {
    let (mut reader, _) = open(path, format, header, offset, access).ok()?;
    for _ in 0..nth {
        next(&mut reader, |_| ())?;
    }
    let begin = reader.offset();
    next(&mut reader, |_| Some(record_location(path, format, begin, access, is_cancelled)))?
}

/// Returns the offset at which each of these records begins. `nths` are their numbers behind `offset`, from 0, in ascending order. The
/// result is shorter if the file cannot be read again.
pub(super) fn offsets_behind(
    path: &Path,
    (format, header): (FileFormat, bool),
    offset: u64,
    nths: &[usize],
    access: &InputAccess,
) -> Vec<u64> {
    let mut offsets = Vec::with_capacity(nths.len());
    let Ok((mut reader, _)) = open(path, format, header, offset, access) else { return offsets };
    let mut number = 0;
    for &nth in nths {
        while number < nth {
            if next(&mut reader, |_| ()).is_none() {
                return offsets;
            }
            number += 1;
        }
        offsets.push(reader.offset());
    }
    offsets
}

/// Returns the location of the first record in `input`, a file or folder, for which `is_match` returns true. It gets each record with
/// the columns of its file.
pub(in crate::connector) fn find_record(
    input: &Path,
    policy: &AccessPolicy,
    (format, header): (FileFormat, bool),
    is_match: &mut dyn FnMut(&[u8], &[String]) -> bool,
    is_cancelled: &dyn Fn() -> bool,
) -> Option<RecordLocation> {
    let access = InputAccess::uninterrupted(policy);
    let mut bytes_left = SEARCHED_BYTES_MAX;
    for InputFile { path, .. } in list(input, policy, UnusableEntries::Skip).ok()? {
        let (mut reader, columns) = open(&path, format, header, 0, &access).ok()?;
        let columns = columns.unwrap_or_default();
        let mut records = 0_u64;
        loop {
            let begin = reader.offset();
            let Some(is_found) = next(&mut reader, |record| is_match(record, &columns)) else { break };
            if is_found {
                return Some(record_location(&path, format, begin, &access, is_cancelled));
            }
            records += 1;
            if reader.offset() > bytes_left || (records.is_multiple_of(CANCEL_CHECK_RECORDS) && is_cancelled()) {
                return None;
            }
        }
        bytes_left = bytes_left.saturating_sub(reader.offset());
    }
    None
}

/// Applies `see` to the next record. Returns `None` at the end of the input, and if the record cannot be read.
fn next<T>(reader: &mut FileRecords, mut see: impl FnMut(&[u8]) -> T) -> Option<T> {
    loop {
        if let Some(record) = reader.next_record() {
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
            .map(|nth| {
                location_behind(&path, CSV, 0, nth, &InputAccess::default(), &|| false)
                    .and_then(|location| location.line)
            })
            .collect();
        assert_eq!(lines, [Some(2), Some(6), Some(7), None]);
        let behind_the_first = ROWS.find("\r\n\r\n").unwrap() as u64 + 1;
        let location = location_behind(&path, CSV, behind_the_first, 1, &InputAccess::default(), &|| false).unwrap();
        assert_eq!((location.line, location.file), (Some(7), path.display().to_string()));
        assert_eq!(location.byte, ROWS.find("3,w").unwrap() as u64);
    }

    #[test]
    fn a_record_is_found_by_its_value_in_a_folder_of_files() {
        let (folder, _) = write("a.ndjson", "{}\n\n{\"n\":1}\n");
        std::fs::write(folder.path().join("b.ndjson"), "\n{\"n\":2}\n").unwrap();
        let find = |value: &str| {
            let mut is_match = |record: &[u8], _: &[String]| record == value.as_bytes();
            find_record(folder.path(), &AccessPolicy::default(), (FileFormat::Ndjson, false), &mut is_match, &|| false)
        };
        let line = |value| find(value).map(|location| (location.file.ends_with("b.ndjson"), location.line));
        assert_eq!(line("{\"n\":1}"), Some((false, Some(3))));
        assert_eq!(line("{\"n\":2}"), Some((true, Some(2))));
        assert_eq!(line("{\"n\":3}"), None);
    }

    #[test]
    fn every_line_of_plain_lines_is_a_record() {
        let (_folder, path) = write("a.txt", "one\n\n\nfour\n");
        let line = |nth| {
            location_behind(&path, (FileFormat::Lines, false), 0, nth, &InputAccess::default(), &|| false).unwrap().line
        };
        assert_eq!((0..4).map(line).collect::<Vec<_>>(), [Some(1), Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn a_cancel_ends_the_search() {
        let (_folder, path) = write("a.txt", &"x\n".repeat(3 * CANCEL_CHECK_RECORDS as usize));
        assert_eq!(
            find_record(
                &path,
                &AccessPolicy::default(),
                (FileFormat::Lines, false),
                &mut |record, _| record == b"y",
                &|| true
            ),
            None
        );
        let location = location_behind(
            &path,
            (FileFormat::Lines, false),
            0,
            2 * CANCEL_CHECK_RECORDS as usize,
            &InputAccess::default(),
            &|| true,
        )
        .unwrap();
        assert_eq!((location.line, location.byte), (None, 4 * CANCEL_CHECK_RECORDS));
    }
}
