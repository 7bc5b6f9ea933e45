//! A savepoint that no job takes: its files are written into a folder of a person's choice.

use tokio::runtime::Handle;

use super::location::StorageLocation;
use super::metadata::CheckpointMetadata;
use super::storage::{CheckpointFiles, CheckpointStorage, is_plain};
use crate::error::{self, Result};

/// See the module. It is there once it is completed, and not before.
pub struct SavepointWriter {
    storage: CheckpointStorage,
    folder: String,
    files: CheckpointFiles,
}

impl SavepointWriter {
    /// Errors: `savepoint-exists` where there is something already, `request-invalid` for a name that cannot be a folder's.
    pub fn create(location: &StorageLocation, runtime: Handle) -> Result<SavepointWriter> {
        let Some((around, folder)) = location.split_last().filter(|(_, name)| is_plain(name)) else {
            return Err(error::request_invalid(format!("{location} cannot be a savepoint's folder"))
                .hint("its name has letters, digits, and . _ - not at its beginning"));
        };
        let storage = CheckpointStorage::open(&around, runtime)?;
        if !storage.list(&folder)?.is_empty() {
            return Err(error::savepoint_exists(format!("there is something already at {location}")));
        }
        let files = storage.files_in(&folder);
        Ok(SavepointWriter { storage, folder, files })
    }

    /// Where its files go.
    pub fn files(&self) -> &CheckpointFiles {
        &self.files
    }

    /// Makes it complete, and tells where it is. What was written is removed where that fails.
    pub fn complete(self, metadata: &CheckpointMetadata) -> Result<StorageLocation> {
        let written = self.storage.write_savepoint(&self.folder, metadata);
        if written.is_err() {
            self.abandon();
        }
        written
    }

    /// Removes what was written so far.
    pub fn abandon(self) {
        // What cannot be removed is no savepoint without a metadata, and the error that led here is the one to tell.
        for (path, _) in self.storage.list(&self.folder).unwrap_or_default() {
            let _ = self.storage.remove(&path);
        }
    }
}
