//! Reads the files that a sink prepared for a checkpoint from the checkpoint's storage.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempPath;

use crate::checkpoint::{CheckpointFiles, CheckpointMetadata, CheckpointStorage};
use crate::connector::OutputFiles;
use crate::error::{self, Error, Result};
use crate::state::{FileRef, FileStore};

/// Where sinks have left the files that they prepared for a checkpoint: by node and name.
pub type LocalOutput = BTreeMap<(String, String), Arc<TempPath>>;

/// A complete checkpoint with the local files of its output.
#[derive(Clone)]
pub struct PublishableCheckpoint {
    /// The metadata.
    pub metadata: Arc<CheckpointMetadata>,
    /// Where the sinks left the files that they prepared.
    pub local: Arc<LocalOutput>,
}

/// The files of one sink in one checkpoint.
pub struct OutputReader<'a> {
    /// The stored files by name.
    stored: BTreeMap<String, FileRef>,
    files: CheckpointFiles,
    sink: String,
    /// Where the files may still be on this machine.
    local: &'a LocalOutput,
    /// Folder for a file that is being read. It may not exist yet.
    folder: PathBuf,
}

impl<'a> OutputReader<'a> {
    /// Creates the reader for a sink. It reads files through `folder`.
    pub fn new(
        storage: &CheckpointStorage,
        metadata: &CheckpointMetadata,
        sink: &str,
        local: &'a LocalOutput,
        folder: &Path,
    ) -> Result<OutputReader<'a>> {
        let output = metadata.subtasks(sink).iter().flat_map(|subtask| &subtask.output);
        Ok(OutputReader {
            stored: output.map(|file| (file.name.clone(), file.clone())).collect(),
            files: storage.files(&metadata.job_id, metadata.checkpoint_id, metadata.kind)?,
            sink: sink.to_owned(),
            local,
            folder: folder.join(sink),
        })
    }
}

impl OutputFiles for OutputReader<'_> {
    fn open(&self, name: &str) -> Result<File> {
        let local = self.local.get(&(self.sink.clone(), name.to_owned()));
        if let Some(file) = local.and_then(|path| File::open(&**path).ok()) {
            return Ok(file);
        }
        let stored = self.stored.get(name).ok_or_else(|| {
            error::checkpoint_corrupt(format!("the checkpoint has no file `{name}`, which its output names"))
        })?;
        let failed = |cause: std::io::Error| failed_at(&self.folder, &cause);
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let path = self.folder.join("part");
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(failed(cause)),
            _ => {}
        }
        if !self.files.link_file(stored, &path)? {
            self.files.get_file(stored, &path)?;
        }
        let file = File::open(&path).map_err(failed)?;
        // The open file stays readable.
        fs::remove_file(&path).map_err(failed)?;
        Ok(file)
    }
}

fn failed_at(path: &Path, cause: &std::io::Error) -> Error {
    error::storage_failed(format!("{}: {cause}", path.display()))
}
