//! One checkpoint or savepoint by its location, in whichever storage: read to begin a job with, listed, removed.
//!
//! A savepoint is found wherever its folder was moved; a checkpoint where it was taken, or where the whole folder of its
//! job was moved. What is removed is what a metadata names, and nothing else of a folder that a person pointed at.

use std::fs;

use tokio::runtime::Handle;

use super::location::StorageLocation;
use super::metadata::{CheckpointKind, CheckpointMetadata};
use super::retention::{Verification, number};
use super::storage::{CheckpointStorage, METADATA_FILE_NAME, PUBLISHED_NAME, checkpoint_folder, within};
use crate::error::{self, Error, Result};
use crate::model::Interrupt;

/// A checkpoint or savepoint that was read. The paths in its metadata begin at the root of its storage. Committables are
/// those that are not known to be published.
#[derive(Clone)]
pub struct StoredCheckpoint {
    pub metadata: CheckpointMetadata,
    pub storage: CheckpointStorage,
}

impl StoredCheckpoint {
    /// Reads the checkpoint or savepoint in the folder `location`, and checks that it is whole. Errors: `savepoint-not-found`,
    /// `checkpoint-corrupt`, `storage-failed`.
    pub fn open(location: &StorageLocation, runtime: Handle, verify: Verification) -> Result<StoredCheckpoint> {
        StoredCheckpoint::open_unless(location, runtime, verify, &Interrupt::default())
    }

    /// The same, but reading its files ends with `interrupted` once the flag is set, here and by whoever reads them later.
    pub fn open_unless(
        location: &StorageLocation,
        runtime: Handle,
        verify: Verification,
        interrupt: &Interrupt,
    ) -> Result<StoredCheckpoint> {
        let (storage, folder) = find(location, runtime.clone())?.ok_or_else(|| not_found(location))?;
        let mut metadata = storage.decode_metadata(&folder)?;
        storage.forget_published(&folder, &mut metadata)?;
        let storage = match metadata.kind {
            CheckpointKind::Savepoint => storage,
            CheckpointKind::Checkpoint | CheckpointKind::Final => {
                let own = checkpoint_folder(&metadata.job_id, metadata.checkpoint_id, metadata.kind);
                match around_job(location) {
                    Some((root, job, id)) if own.is_ok_and(|own| own == format!("{job}/chk-{id}")) => {
                        CheckpointStorage::at(&root, runtime)?
                    }
                    _ => return Err(moved_alone(location, &metadata)),
                }
            }
        };
        let storage = storage.interruptible(interrupt);
        storage.verify(&metadata, verify)?;
        Ok(StoredCheckpoint { metadata, storage })
    }

    /// Removes what a job claimed and needs no more: of a savepoint all; of a checkpoint its metadata, and its files as far
    /// as no other checkpoint of the job that took it names them. May be killed at any moment; the next call goes on. One
    /// that is gone already is no error.
    pub fn remove(location: &StorageLocation, runtime: Handle) -> Result<()> {
        if let Some((storage, folder)) = find(location, runtime.clone())? {
            let metadata = storage.decode_metadata(&folder)?;
            if metadata.kind == CheckpointKind::Savepoint {
                return remove_files(&storage, &folder, &metadata);
            }
        }
        match around_job(location) {
            Some((root, job, id)) if exists(&root) => {
                CheckpointStorage::at(&root, runtime)?.remove_checkpoint(&job, id)
            }
            _ => Ok(()),
        }
    }
}

/// Removes a savepoint. May be killed at any moment: what is left is damaged and named as such, and the next call goes on.
/// Errors: `savepoint-not-found`, also for a checkpoint, `checkpoint-corrupt`, `storage-failed`.
pub fn remove_savepoint(location: &StorageLocation, runtime: Handle) -> Result<()> {
    let (storage, folder) = find(location, runtime)?.ok_or_else(|| not_found(location))?;
    remove_savepoint_in(&storage, &folder)
}

pub(super) fn remove_savepoint_in(storage: &CheckpointStorage, folder: &str) -> Result<()> {
    let location = storage.root().join(folder);
    if !storage.exists(&within(folder, METADATA_FILE_NAME))? {
        return Err(not_found(&location));
    }
    let metadata = storage
        .decode_metadata(folder)
        .map_err(|error| error.hint("what its metadata named is not known any more: remove the folder by hand"))?;
    match metadata.kind {
        CheckpointKind::Savepoint => remove_files(storage, folder, &metadata),
        CheckpointKind::Checkpoint | CheckpointKind::Final => {
            let message = format!("{location} is a checkpoint of job {}, not a savepoint", metadata.job_id);
            Err(error::savepoint_not_found(message).hint("checkpoints are removed with their job"))
        }
    }
}

/// The metadata goes last: for as long as there is a file there is somebody who knows of it. Nobody else needs these files.
fn remove_files(storage: &CheckpointStorage, folder: &str, metadata: &CheckpointMetadata) -> Result<()> {
    for file in metadata.files() {
        storage.remove(&file.path)?;
    }
    storage.remove(&within(folder, PUBLISHED_NAME))?;
    storage.remove(&within(folder, METADATA_FILE_NAME))
}

/// The storage around a folder that has a metadata, and the folder's path in it.
fn find(location: &StorageLocation, runtime: Handle) -> Result<Option<(CheckpointStorage, String)>> {
    let (around, folder) = location.split_last().unwrap_or_else(|| (location.clone(), String::new()));
    if !exists(&around) {
        return Ok(None);
    }
    let storage = CheckpointStorage::at(&around, runtime)?;
    let there = storage.exists(&within(&folder, METADATA_FILE_NAME))?;
    Ok(there.then_some((storage, folder)))
}

/// Whether there can be something: a folder that is not there can hold nothing, a bucket is asked.
fn exists(location: &StorageLocation) -> bool {
    location.folder().is_none_or(|folder| fs::exists(folder).unwrap_or(true))
}

/// Of a checkpoint's location: the root of its storage, the job, the checkpoint's id.
fn around_job(location: &StorageLocation) -> Option<(StorageLocation, String, u64)> {
    let (job, checkpoint) = location.split_last()?;
    let (root, job) = job.split_last()?;
    Some((root, job, checkpoint.strip_prefix("chk-").and_then(number)?))
}

fn not_found(location: &StorageLocation) -> Error {
    error::savepoint_not_found(format!("there is no savepoint or checkpoint at {location}"))
        .hint("name its folder, the one with the file `manifest`, by an absolute path or s3://bucket/...")
}

fn moved_alone(location: &StorageLocation, metadata: &CheckpointMetadata) -> Error {
    let CheckpointMetadata { job_id, checkpoint_id, .. } = metadata;
    let message =
        format!("{location}: it is checkpoint {checkpoint_id} of job {job_id}, whose files are not beside it");
    error::checkpoint_corrupt(message)
        .hint(format!("move the whole folder `{job_id}`, or take a savepoint, which can be moved alone"))
}
