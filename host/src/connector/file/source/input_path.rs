//! The settings of a file source, and the paths of its files.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::pipeline::{FileFormat, UndecodablePolicy};

/// The settings of a file source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::connector) struct FileSettings {
    pub(in crate::connector) path: PathBuf,
    pub(in crate::connector) format: FileFormat,
    pub(in crate::connector) header: bool,
    pub(in crate::connector) on_undecodable: UndecodablePolicy,
    /// Whether all files must have the same header.
    pub(in crate::connector) one_header: bool,
}

/// The input of a source: a file, or a folder of files.
pub(super) struct InputPath {
    pub(super) path: PathBuf,
    /// The name of the file, or `None` if the input is a folder.
    file: Option<OsString>,
}

impl InputPath {
    pub(super) fn new(path: PathBuf) -> InputPath {
        let file = path.file_name().filter(|_| !path.is_dir()).map(OsStr::to_owned);
        InputPath { path, file }
    }

    /// Returns the path of the file with this name.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        match &self.file {
            Some(file) if file == name => self.path.clone(),
            _ => self.path.join(name),
        }
    }
}
