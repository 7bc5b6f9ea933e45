//! Lists the files of a file source.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::access::{AccessPolicy, denied_or};
use crate::error::{Error, Result, source_failed, source_missing};

/// How to handle an entry of a folder that cannot be an input file: a broken link, or a name that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnusableEntries {
    /// The listing fails with an error that names the entry.
    Refuse,
    /// The entry is logged and skipped, so that an entry that appears while a job runs does not fail the job.
    Skip,
}

/// An input file.
#[derive(Debug)]
pub(super) struct InputFile {
    /// The name of the file in its folder.
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// Returns the file `path`, or the files of the folder `path` in order of their names.
///
/// Skips nested folders and names that begin with `.` or `_` (hidden files and unfinished output).
pub(super) fn list(path: &Path, policy: &AccessPolicy, unusable: UnusableEntries) -> Result<Vec<InputFile>> {
    let failed = |error: io::Error| unreadable(path, &error);
    policy.check_path(path).map_err(failed)?;
    let kind = fs::metadata(path).map_err(failed)?;
    if !kind.is_dir() && !kind.is_file() {
        // Opening a pipe or a device may block forever, and neither can be read again from a position.
        return Err(source_missing(format!("the input `{}` is neither a file nor a folder", path.display()))
            .hint("set `path` of the source to a file or a folder"));
    }
    if !kind.is_dir() {
        return Ok(vec![InputFile { name: file_name(path)?, path: path.to_owned() }]);
    }
    let mut files = Vec::new();
    let folder = policy.pin_folder(path).map_err(failed)?;
    for name in folder.names().map_err(failed)? {
        let path = path.join(name);
        let first = path.file_name().and_then(|name| name.as_encoded_bytes().first());
        if matches!(first, Some(b'.' | b'_')) {
            continue;
        }
        match input_file(path, policy) {
            Ok(file) => files.extend(file),
            Err(error) if unusable == UnusableEntries::Refuse => return Err(error),
            Err(error) => tracing::warn!("input skipped: {}", error.message),
        }
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

/// Returns an entry of a folder, or `None` if it is not a file.
fn input_file(path: PathBuf, policy: &AccessPolicy) -> Result<Option<InputFile>> {
    if path.is_symlink() && path.exists() {
        policy.check_path(&path).map_err(|error| unreadable(&path, &error))?;
    }
    match fs::metadata(&path) {
        Ok(kind) if !kind.is_file() => Ok(None),
        Ok(_) => Ok(Some(InputFile { name: file_name(&path)?, path })),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            Err(source_missing(format!("the input `{}` is a link to a file that does not exist", path.display()))
                .hint("remove the link, or rename it: names that begin with `.` or `_` are skipped"))
        }
        // The file was removed after the folder was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => source_missing(format!("the input `{}` does not exist", path.display()))
            .hint("create it, or correct `path` of the source"),
        _ => denied_or(error, || source_failed(format!("the input `{}` cannot be read: {error}", path.display()))),
    }
}

fn file_name(path: &Path) -> Result<String> {
    match path.file_name().map(|name| name.to_str()) {
        Some(Some(name)) => Ok(name.to_owned()),
        _ => Err(source_failed(format!("the input `{}` has a name that is not UTF-8", path.display()))
            .hint("rename the file: checkpoints store the names of input files as UTF-8")),
    }
}
