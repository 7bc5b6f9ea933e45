//! Opens or removes one checkpoint or savepoint by its location, in any storage.
//!
//! A savepoint is found wherever its folder was moved. A checkpoint is found in its original place, or in the moved folder
//! of its job. Invariant: a removal removes only files that the metadata names, and no other file in the folder.
//! Must not depend on the job that uses the checkpoint.

use std::fs;

use tokio::runtime::Handle;

use super::catalog::Verification;
use super::location::StorageLocation;
use super::metadata::{CheckpointKind, CheckpointMetadata};
use super::storage::CheckpointStorage;
use super::storage::paths::{METADATA_FILE_NAME, PUBLISHED_MARKER_NAME, checkpoint_folder, checkpoint_id_of, within};
use crate::error::{self, Error, Result};
use crate::model::Interrupt;

/// A verified checkpoint or savepoint.
#[derive(Clone)]
pub struct StoredCheckpoint {
    /// The metadata, with paths that begin at the root of `storage`. Committables known to be published are cleared.
    pub metadata: CheckpointMetadata,
    /// The storage of the checkpoint's files.
    pub storage: CheckpointStorage,
}

impl StoredCheckpoint {
    /// Opens and verifies the checkpoint or savepoint in the folder `location`. Errors: `savepoint-not-found`,
    /// `checkpoint-corrupt`, `storage-failed`.
    pub fn open(location: &StorageLocation, runtime: Handle, verification: Verification) -> Result<StoredCheckpoint> {
        StoredCheckpoint::open_interruptible(location, runtime, verification, &Interrupt::default())
    }

    /// Like [`StoredCheckpoint::open`], but reading files, here and later through `storage`, ends with `interrupted` once
    /// `interrupt` is set.
    pub fn open_interruptible(
        location: &StorageLocation,
        runtime: Handle,
        verification: Verification,
        interrupt: &Interrupt,
    ) -> Result<StoredCheckpoint> {
        let (storage, folder) = find_metadata(location, runtime.clone())?.ok_or_else(|| not_found(location))?;
        let mut metadata = storage.read_moved_metadata(&folder)?;
        storage.clear_published_committables(&folder, &mut metadata)?;
        let storage = match metadata.kind {
            CheckpointKind::Savepoint => storage,
            CheckpointKind::Checkpoint | CheckpointKind::Final => {
                let own = checkpoint_folder(&metadata.job_id, metadata.checkpoint_id, metadata.kind);
                match split_checkpoint_location(location) {
                    Some((root, job, id)) if own.is_ok_and(|own| own == format!("{job}/chk-{id}")) => {
                        CheckpointStorage::open_foreign(&root, runtime)?
                    }
                    _ => return Err(moved_without_files(location, &metadata)),
                }
            }
        };
        let storage = storage.interruptible(interrupt);
        storage.verify(&metadata, verification)?;
        Ok(StoredCheckpoint { metadata, storage })
    }

    /// Returns the folder around everything that opening `location` may read: the location, or the storage of a checkpoint.
    pub fn outermost_folder(location: &StorageLocation) -> StorageLocation {
        split_checkpoint_location(location).map_or_else(|| location.clone(), |(root, _, _)| root)
    }

    /// Removes a checkpoint or savepoint that a job claimed and no longer needs. A savepoint is removed with all its files, a
    /// checkpoint with the files that no other checkpoint of its job names.
    ///
    /// May be killed at any moment; the next call finishes the removal. A location without a checkpoint is not an error.
    pub fn remove(location: &StorageLocation, runtime: Handle) -> Result<()> {
        fail_point!("claimed.remove", error::storage_failed);
        if let Some((storage, folder)) = find_metadata(location, runtime.clone())? {
            let metadata = storage.read_moved_metadata(&folder)?;
            if metadata.kind == CheckpointKind::Savepoint {
                return remove_savepoint_files(&storage, &folder, &metadata);
            }
        }
        match split_checkpoint_location(location) {
            Some((root, job, id)) if may_exist(&root) => {
                CheckpointStorage::open_foreign(&root, runtime)?.remove_checkpoint(&job, id)
            }
            _ => Ok(()),
        }
    }
}

/// Removes a savepoint. May be killed at any moment: the rest is reported as damaged, and the next call finishes the removal.
/// Errors: `savepoint-not-found`, also for a checkpoint; `checkpoint-corrupt`; `storage-failed`.
pub fn remove_savepoint(location: &StorageLocation, runtime: Handle) -> Result<()> {
    let (storage, folder) = find_metadata(location, runtime)?.ok_or_else(|| not_found(location))?;
    remove_savepoint_in(&storage, &folder)
}

pub(super) fn remove_savepoint_in(storage: &CheckpointStorage, folder: &str) -> Result<()> {
    let location = storage.root().join(folder);
    if !storage.file_exists(&within(folder, METADATA_FILE_NAME))? {
        return Err(not_found(&location));
    }
    let metadata = storage
        .read_moved_metadata(folder)
        .map_err(|error| error.hint("the files of the savepoint are unknown: remove its folder by hand"))?;
    match metadata.kind {
        CheckpointKind::Savepoint => remove_savepoint_files(storage, folder, &metadata),
        CheckpointKind::Checkpoint | CheckpointKind::Final => {
            let message = format!("{location} is a checkpoint of job {}, not a savepoint", metadata.job_id);
            Err(error::savepoint_not_found(message).hint("checkpoints are removed together with their job"))
        }
    }
}

/// Removes the metadata last, so that an interrupted removal can still find the remaining files. No other checkpoint needs
/// the files of a savepoint.
fn remove_savepoint_files(storage: &CheckpointStorage, folder: &str, metadata: &CheckpointMetadata) -> Result<()> {
    for file in metadata.files() {
        storage.remove_file(&file.path)?;
    }
    fail_point!("savepoint.remove-marker", error::storage_failed);
    storage.remove_file(&within(folder, PUBLISHED_MARKER_NAME))?;
    fail_point!("savepoint.remove-metadata", error::storage_failed);
    storage.remove_file(&within(folder, METADATA_FILE_NAME))
}

/// Returns the storage around a folder that has metadata, and the path of the folder in it.
fn find_metadata(location: &StorageLocation, runtime: Handle) -> Result<Option<(CheckpointStorage, String)>> {
    let (parent, folder) = location.split_last().unwrap_or_else(|| (location.clone(), String::new()));
    if !may_exist(&parent) {
        return Ok(None);
    }
    let storage = CheckpointStorage::open_foreign(&parent, runtime)?;
    let has_metadata = storage.file_exists(&within(&folder, METADATA_FILE_NAME))?;
    Ok(has_metadata.then_some((storage, folder)))
}

/// Whether there may be something at a location; always true for a bucket.
fn may_exist(location: &StorageLocation) -> bool {
    location.folder().is_none_or(|folder| fs::exists(folder).unwrap_or(true))
}

/// Splits the location of a checkpoint into the root of its storage, the job and the checkpoint's id.
fn split_checkpoint_location(location: &StorageLocation) -> Option<(StorageLocation, String, u64)> {
    let (job, checkpoint) = location.split_last()?;
    let (root, job) = job.split_last()?;
    Some((root, job, checkpoint_id_of(&checkpoint)?))
}

fn not_found(location: &StorageLocation) -> Error {
    error::savepoint_not_found(format!("there is no savepoint or checkpoint at {location}"))
        .hint("name the folder that contains the file `manifest`, by an absolute path or s3://bucket/...")
}

fn moved_without_files(location: &StorageLocation, metadata: &CheckpointMetadata) -> Error {
    let CheckpointMetadata { job_id, checkpoint_id, .. } = metadata;
    error::checkpoint_corrupt(format!(
        "{location} is checkpoint {checkpoint_id} of job {job_id}, but its files are not beside it"
    ))
    .hint(format!("move the whole folder `{job_id}`, or take a savepoint, which can be moved on its own"))
}
