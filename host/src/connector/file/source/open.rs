//! Opens one input file at an offset, and reads its header.

use std::io;
use std::path::Path;

use super::decompress::FileInput;
use super::input_access::InputAccess;
use super::line::{line_of_byte, record_location};
use crate::access::denied_or;
use crate::connector::undecodable;
use crate::error::{Error, Result, source_encoding, source_failed};
use crate::format::column_names;
use crate::format::records::{Defect, Fill, RecordSplitter};
use crate::format::text_start;
use crate::pipeline::FileFormat;

/// Reads the records of one decompressed file.
pub(super) type FileRecords = RecordSplitter<FileInput>;

/// Opens `path` at `offset`, an offset in its decompressed bytes.
///
/// At offset 0 it skips a byte order mark and, if `header` is set, the first row. Returns the column names of that row.
/// Errors: `source-failed`, `source-encoding`, `record-undecodable`, and `path-denied`, and `interrupted` once the job is interrupted.
pub(super) fn open(
    path: &Path,
    format: FileFormat,
    header: bool,
    offset: u64,
    access: &InputAccess,
) -> Result<(FileRecords, Option<Vec<String>>)> {
    let input = FileInput::open(path, offset, access);
    access.interrupt.check()?;
    let mut reader = RecordSplitter::new(input.map_err(|error| read_error(path, offset, &error))?, format, offset);
    let columns = match header && offset == 0 {
        true => next_record(&mut reader, path, access)?.map(|row| column_names(&row)),
        false => None,
    };
    Ok((reader, columns))
}

/// Returns the error `source-failed` for a failed read at `offset`, or `path-denied`.
pub(super) fn read_error(path: &Path, offset: u64, error: &io::Error) -> Error {
    denied_or(error, || source_failed(format!("reading `{}` failed at byte {offset}: {error}", path.display())))
}

/// Returns the error `source-encoding` for a file in an unsupported encoding.
pub(super) fn foreign(path: &Path, name: &str) -> Error {
    source_encoding(format!("`{}` is {name}, which a source cannot read", path.display())).hint(text_start::hint(name))
}

/// Returns the error `record-undecodable` for a defect in a file, with its line.
pub(super) fn undecodable_record(path: &Path, defect: Defect, access: &InputAccess) -> Error {
    let is_cancelled = || access.interrupt.is_set();
    let line = |byte| line_of_byte(path, byte, access, &is_cancelled);
    let location = record_location(path, FileFormat::Lines, defect.offset(), access, &is_cancelled);
    undecodable::error(&location.with_byte(), defect, line)
}

/// Returns the next record, after as many reads as it takes. A defect in a header is always an error.
fn next_record(reader: &mut FileRecords, path: &Path, access: &InputAccess) -> Result<Option<Vec<u8>>> {
    loop {
        if let Some(record) = reader.next_record() {
            return Ok(Some(record.to_vec()));
        }
        let offset = reader.offset();
        match reader.fill().map_err(|error| read_error(path, offset, &error))? {
            Fill::More | Fill::Nothing => {}
            Fill::End => return Ok(None),
            Fill::Broken(defect) => return Err(undecodable_record(path, defect, access)),
            Fill::Foreign(name) => return Err(foreign(path, name)),
        }
    }
}
