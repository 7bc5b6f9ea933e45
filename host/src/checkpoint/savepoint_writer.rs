//! Writes a savepoint without a job, into a folder that the user names.
//!
//! Invariant: the savepoint exists once [`SavepointWriter::complete`] has returned, and not before. Must not know what the
//! savepoint contains.

use tokio::runtime::Handle;

use super::location::StorageLocation;
use super::metadata::CheckpointMetadata;
use super::storage::paths::is_portable_name;
use super::storage::{CheckpointFiles, CheckpointStorage};
use crate::error::{self, Result};

/// A savepoint that is being written. Complete it or abandon it.
pub struct SavepointWriter {
    storage: CheckpointStorage,
    folder: String,
    files: CheckpointFiles,
}

impl SavepointWriter {
    /// Starts a savepoint in the folder `location`. Errors: `savepoint-exists` if the folder is not empty,
    /// `request-invalid` if its name is not valid, `storage-failed`.
    pub fn create(location: &StorageLocation, runtime: Handle) -> Result<SavepointWriter> {
        let Some((parent, folder)) = location.split_last().filter(|(_, name)| is_portable_name(name)) else {
            return Err(error::request_invalid(format!("{location} cannot be the folder of a savepoint"))
                .hint("use letters, digits, `.`, `_` and `-` in the folder's name, and do not begin it with `.`"));
        };
        let storage = CheckpointStorage::open(&parent, runtime)?;
        if !storage.list_files(&folder)?.is_empty() {
            return Err(error::savepoint_exists(format!("the folder {location} is not empty")));
        }
        fail_point!("state-load.create", error::storage_failed);
        let files = storage.savepoint_files_in(&folder);
        Ok(SavepointWriter { storage, folder, files })
    }

    /// Returns where the files of the savepoint are stored.
    pub fn files(&self) -> &CheckpointFiles {
        &self.files
    }

    /// Completes the savepoint and returns its location. On an error all files written so far are removed.
    pub fn complete(self, metadata: &CheckpointMetadata) -> Result<StorageLocation> {
        let written = self.write_metadata(metadata);
        if written.is_err() {
            self.abandon();
        }
        written
    }

    fn write_metadata(&self, metadata: &CheckpointMetadata) -> Result<StorageLocation> {
        fail_point!("state-load.metadata", error::storage_failed);
        let location = self.storage.write_savepoint_metadata(&self.folder, metadata)?;
        fail_point!("state-load.done");
        Ok(location)
    }

    /// Removes all files written so far.
    pub fn abandon(self) {
        fail_point!("state-load.abandon");
        // Files that cannot be removed are no savepoint without metadata, and the earlier error is the one to report.
        for (path, _) in self.storage.list_files(&self.folder).unwrap_or_default() {
            let _ = self.storage.remove_file(&path);
        }
    }
}
