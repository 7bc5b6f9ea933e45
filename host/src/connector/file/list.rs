//! The files of a file source, and what is known of them before anything is read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::csv_row;
use super::super::records::{Fill, RecordInput, RecordSplitter};
use super::super::text_start::{self, TextStart};
use super::super::undecodable;
use super::input::FileInput;
use crate::error::{Error, Result, source_encoding, source_failed, source_missing};
use crate::model::Interrupt;
use crate::pipeline::{FileFormat, ValueFormat};

/// Bytes that tell what a file holds.
const PROBED_BYTES: usize = 16;

/// What becomes of an entry of a folder that cannot be an input file: a link to nothing, a name that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnusableEntries {
    /// It is an error that names the entry.
    Refuse,
    /// It is named in the log and passed over. So an entry that appears while a job runs does not end the job.
    PassOver,
}

/// A file by its name in its folder.
#[derive(Debug)]
pub(super) struct InputFile {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// `path` itself, or the files of the folder `path` in order of their names. Names that begin with `.` or `_` are
/// passed over (hidden files, unfinished output), and so are folders within it.
pub(super) fn list(path: &Path, odd: UnusableEntries) -> Result<Vec<InputFile>> {
    let failed = |error: io::Error| unreadable(path, &error);
    let kind = fs::metadata(path).map_err(failed)?;
    if !kind.is_dir() && !kind.is_file() {
        // To open a pipe or a device may block for ever, and neither can be read again from a position.
        return Err(source_missing(format!("the input `{}` is neither a file nor a folder", path.display())));
    }
    if !kind.is_dir() {
        return Ok(vec![InputFile { name: file_name(path)?, path: path.to_owned() }]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let first = path.file_name().and_then(|name| name.as_encoded_bytes().first());
        if matches!(first, Some(b'.' | b'_')) {
            continue;
        }
        match input_file(path) {
            Ok(file) => files.extend(file),
            Err(error) if odd == UnusableEntries::Refuse => return Err(error),
            Err(error) => tracing::warn!("passed over: {}", error.message),
        }
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

/// An entry of a folder; none where it is no file.
fn input_file(path: PathBuf) -> Result<Option<InputFile>> {
    match fs::metadata(&path) {
        Ok(kind) if !kind.is_file() => Ok(None),
        Ok(_) => Ok(Some(InputFile { name: file_name(&path)?, path })),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            Err(source_missing(format!("the input `{}` is a link to a file that does not exist", path.display()))
                .hint("remove the link, or rename it: names that begin with `.` or `_` are passed over"))
        }
        // It was removed since the folder was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => source_missing(format!("the input `{}` does not exist", path.display())),
        _ => source_failed(format!("the input `{}` cannot be read: {error}", path.display())),
    }
}

fn file_name(path: &Path) -> Result<String> {
    match path.file_name().map(|name| name.to_str()) {
        Some(Some(name)) => Ok(name.to_owned()),
        _ => Err(source_failed(format!("the input `{}` has a name that is not UTF-8", path.display()))
            .hint("rename it: positions in checkpoints hold the names of files")),
    }
}

/// A file being read, decompressed.
pub(super) type FileRecords = RecordSplitter<FileInput>;

/// Opens `path` to be read on from `offset`, an offset in its decompressed bytes. At its start, the byte order mark and,
/// with `header`, the first row are stepped over. Gives the columns that this row names. Error: `interrupted`, among others.
pub(super) fn open(
    path: &Path,
    format: FileFormat,
    header: bool,
    offset: u64,
    interrupt: &Interrupt,
) -> Result<(FileRecords, Option<Vec<String>>)> {
    let input = FileInput::open(path, offset, interrupt);
    interrupt.check()?;
    let mut reader = RecordSplitter::new(input.map_err(|error| read_error(path, offset, &error))?, format, offset);
    let columns = match header && offset == 0 {
        true => next_record(&mut reader, path)?.map(|row| columns(&row)),
        false => None,
    };
    Ok((reader, columns))
}

fn columns(row: &[u8]) -> Vec<String> {
    csv_row::columns(row).iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// `source-failed` at a place of a file.
pub(super) fn read_error(path: &Path, offset: u64, error: &io::Error) -> Error {
    source_failed(format!("reading `{}` failed at byte {offset}: {error}", path.display()))
}

/// `source-encoding`.
pub(super) fn foreign(path: &Path, name: &str) -> Error {
    source_encoding(format!("`{}` is {name}, which a source does not read", path.display()))
        .hint(text_start::hint(name))
}

/// The next record, however many reads it takes. What cannot be decoded of a header is always an error.
fn next_record(reader: &mut FileRecords, path: &Path) -> Result<Option<Vec<u8>>> {
    loop {
        if let Some(record) = reader.next() {
            return Ok(Some(record.to_vec()));
        }
        let offset = reader.offset();
        match reader.fill().map_err(|error| read_error(path, offset, &error))? {
            Fill::More | Fill::Nothing => {}
            Fill::End => return Ok(None),
            Fill::Broken(defect) => return Err(undecodable::in_file(path, defect)),
            Fill::Foreign(name) => return Err(foreign(path, name)),
        }
    }
}

/// Reads the first bytes of a file, so that one that cannot be opened or is in a foreign encoding is known.
fn probe(path: &Path) -> Result<()> {
    let failed = |error: io::Error| read_error(path, 0, &error);
    let mut input = FileInput::open(path, 0, &Interrupt::default()).map_err(failed)?;
    let (mut first, mut read) = ([0; PROBED_BYTES], 0);
    while read < first.len() {
        match input.read_into(&mut first[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    match text_start::inspect(&first[..read], true) {
        TextStart::Foreign(name) => Err(foreign(path, name)),
        TextStart::Text { .. } | TextStart::Undecided => Ok(()),
    }
}

/// Checks that there is input and that it can be opened, and tells its format. With a header, every file must have the
/// same one, since a record does not tell which file it came from.
pub(super) fn check_all(path: &Path, format: FileFormat, header: bool, odd: UnusableEntries) -> Result<ValueFormat> {
    let files = list(path, odd)?;
    if files.is_empty() {
        return Err(source_missing(format!("the input folder `{}` holds no files", path.display()))
            .hint("names that begin with `.` or `_` are passed over, and so are folders"));
    }
    let mut first: Option<(&Path, Vec<String>)> = None;
    for InputFile { path, .. } in &files {
        if format != FileFormat::Csv || !header {
            probe(path)?;
            continue;
        }
        let (_, Some(columns)) = open(path, format, true, 0, &Interrupt::default())? else { continue };
        match &first {
            None => first = Some((path, columns)),
            Some((_, names)) if *names == columns => {}
            Some((other, _)) => return Err(other_header(path, other)),
        }
    }
    Ok(described(format, first.map(|(_, columns)| columns)))
}

fn other_header(path: &Path, other: &Path) -> Error {
    let (path, other) = (path.display(), other.display());
    source_failed(format!("the header of `{path}` is not that of `{other}`"))
        .hint("give each kind of file a folder and a source of its own")
}

/// How the host looks into records of a format.
pub(super) fn described(format: FileFormat, columns: Option<Vec<String>>) -> ValueFormat {
    match format {
        FileFormat::Lines => ValueFormat::Raw,
        FileFormat::Ndjson => ValueFormat::Json,
        FileFormat::Csv => ValueFormat::Csv(columns),
    }
}
