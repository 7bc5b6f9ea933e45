//! Checks the input of a file source before a job starts, and reads the names of its columns.

use std::io;
use std::path::Path;

use super::decompress::FileInput;
use super::input_access::InputAccess;
use super::input_path::{FileSettings, InputPath};
use super::list::{InputFile, UnusableEntries, list};
use super::open::{foreign, open, read_error};
use super::remaining_files::{PositionSummary, summarize};
use crate::access::PipelinePaths;
use crate::connector::source::SourceCheck;
use crate::error::{Error, Result, source_failed, source_missing};
use crate::format::records::RecordInput;
use crate::format::text_start::{self, TextStart};
use crate::format::{RecordDecoder, SourceDecoding};
use crate::pipeline::FileFormat;

/// Number of bytes that identify the encoding of a file.
const PROBED_BYTES: usize = 16;

/// Returns the names of the columns, if the files are CSV with a header.
///
/// At submit it checks every file. For an attempt that continues from positions it opens one remaining file, and only if
/// the positions do not contain the columns.
pub(in crate::connector) fn check(
    settings: &FileSettings,
    paths: &PipelinePaths,
    check: SourceCheck<'_>,
) -> Result<Option<Vec<String>>> {
    let FileSettings { path, format, header, .. } = settings;
    let (path, access) = (paths.join(path), InputAccess::uninterrupted(&paths.policy));
    access.check(&path)?;
    let positions = match check {
        SourceCheck::Submit => return check_all(&path, *format, *header, &access, UnusableEntries::Refuse),
        SourceCheck::Attempt { positions: [] } => {
            return check_all(&path, *format, *header, &access, UnusableEntries::Skip);
        }
        SourceCheck::Attempt { positions } => positions,
    };
    let PositionSummary { columns, first } = summarize(positions)?;
    if columns.is_some() || !header {
        return Ok(columns);
    }
    // If no file remains, any file has the columns, and it is no error if all files are gone.
    let first = match first {
        Some(name) => Some(InputPath::new(path).file(&name)),
        None => list(&path, &paths.policy, UnusableEntries::Skip)
            .ok()
            .and_then(|files| Some(files.into_iter().next()?.path)),
    };
    let columns =
        first.map(|path| open(&path, *format, true, 0, &access)).transpose()?.and_then(|(_, columns)| columns);
    Ok(columns)
}

/// Reads the first bytes of a file, to detect one that cannot be opened or has an unsupported encoding.
fn probe(path: &Path, access: &InputAccess) -> Result<()> {
    let failed = |error: io::Error| read_error(path, 0, &error);
    let mut input = FileInput::open(path, 0, access).map_err(failed)?;
    let (mut first, mut read) = ([0; PROBED_BYTES], 0);
    while read < first.len() {
        match input.read_into(&mut first[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    match text_start::classify(&first[..read], true) {
        TextStart::Foreign(name) => Err(foreign(path, name)),
        TextStart::Text { .. } | TextStart::Undecided => Ok(()),
    }
}

/// Checks that the input exists and can be opened, and returns the columns in the first header.
fn check_all(
    path: &Path,
    format: FileFormat,
    header: bool,
    access: &InputAccess,
    unusable: UnusableEntries,
) -> Result<Option<Vec<String>>> {
    let files = list(path, &access.policy, unusable)?;
    if files.is_empty() {
        return Err(source_missing(format!("the input folder `{}` contains no files", path.display()))
            .hint("add input files: nested folders and names that begin with `.` or `_` are skipped"));
    }
    let mut first = None;
    for InputFile { path, .. } in &files {
        if format != FileFormat::Csv || !header {
            probe(path, access)?;
            continue;
        }
        let (_, columns) = open(path, format, true, 0, access)?;
        first = first.or(columns);
    }
    Ok(first)
}

/// Checks at submit that the header of each file has the needed columns, and that all headers are the same if the source passes on
/// records as they are, which do not name their columns. Errors: `source-failed`, `source-encoding`, `record-undecodable`.
pub(in crate::connector) fn check_headers(
    settings: &FileSettings,
    paths: &PipelinePaths,
    decoding: &SourceDecoding,
) -> Result<()> {
    if settings.format != FileFormat::Csv || !settings.header || decoding.settings.columns.is_some() {
        return Ok(());
    }
    let access = InputAccess::uninterrupted(&paths.policy);
    let files = list(&paths.join(&settings.path), &paths.policy, UnusableEntries::Skip)?;
    let failed = |path: &Path, why: String| source_failed(format!("the file `{}`: {why}", path.display()));
    let mut first: Option<(&Path, Vec<String>)> = None;
    for InputFile { path, .. } in &files {
        let (_, Some(columns)) = open(path, settings.format, true, 0, &access)? else { continue };
        match &first {
            Some((_, known)) if *known == columns => continue,
            Some((other, _)) if decoding.wants_raw => return Err(other_header(path, other)),
            _ => {}
        }
        let compiled = RecordDecoder::compile(decoding, true).and_then(|mut decoder| decoder.set_columns(&columns));
        compiled.map_err(|why| {
            failed(path, why)
                .hint("correct the header, or let the functions that read the source declare the field as optional")
        })?;
        first = first.or(Some((path, columns)));
    }
    Ok(())
}

fn other_header(path: &Path, other: &Path) -> Error {
    let (path, other) = (path.display(), other.display());
    source_failed(format!("the header of `{path}` differs from the header of `{other}`"))
        .hint("use a separate folder and source for each kind of file")
}
