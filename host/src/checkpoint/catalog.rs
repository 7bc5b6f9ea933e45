//! The catalogue of a job's checkpoints: which exist, which are damaged, and which one a restore uses.
//!
//! Invariant: a damaged checkpoint is named and an earlier one is used; a storage that fails is an error and never taken
//! for a damaged checkpoint. Must not change the storage.

use std::collections::{BTreeMap, HashMap};

use super::location::StorageLocation;
use super::metadata::{CheckpointKind, CheckpointMetadata};
use super::storage::CheckpointStorage;
use super::storage::paths::{
    METADATA_FILE_NAME, PUBLISHED_MARKER_NAME, SAVEPOINTS, checkpoint_folder, checkpoint_id_of, job_folder,
    parse_number, savepoint_id_of,
};
use crate::error::{self, Error, Result};
use crate::state::FileRef;

/// A damaged checkpoint or savepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableCheckpoint {
    /// Its folder, below the storage's root.
    pub path: String,
    /// Description of the damage.
    pub reason: String,
}

/// How thoroughly a checkpoint is verified before it counts as usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Every file exists and has its length. Costs one listing.
    Lengths,
    /// In addition, every file has its checksum. Reads all files.
    Checksums,
}

/// A savepoint in the storage.
#[derive(Debug)]
pub struct ListedSavepoint {
    /// The id that the savepoint has among the job's checkpoints.
    pub id: u64,
    /// The folder of the savepoint.
    pub location: StorageLocation,
    /// The metadata, or why it cannot be read.
    pub metadata: Result<CheckpointMetadata>,
}

/// The files that a job has in the storage, except those of savepoints.
#[derive(Default)]
pub(super) struct JobFileListing {
    /// Folders of the checkpoints that have metadata, by id.
    pub checkpoints: BTreeMap<u64, String>,
    /// Marker files of published checkpoints, by id.
    pub published_markers: BTreeMap<u64, String>,
    /// Shared files by path.
    pub shared: HashMap<String, SharedFile>,
}

/// A file that a checkpoint stored, and that later checkpoints may name too.
pub(super) struct SharedFile {
    /// The checkpoint that stored the file.
    pub stored_by: u64,
    pub bytes: u64,
}

impl CheckpointStorage {
    /// Returns the newest checkpoint or savepoint of a job that can be restored, and the newer ones that are damaged.
    ///
    /// Savepoints count because sinks publish on them: a restore of an older checkpoint would publish again what a savepoint
    /// has published. Returns `None` if the job never completed a checkpoint and has no usable savepoint.
    /// Errors: `checkpoint-none-usable` if the job has checkpoints and all are damaged; `storage-failed`.
    pub fn newest_usable(
        &self,
        job: &str,
        verification: Verification,
    ) -> Result<Option<(CheckpointMetadata, Vec<UnusableCheckpoint>)>> {
        let listing = self.list_job_files(job)?;
        let mut folders = self.savepoint_folders(job)?;
        folders.extend(listing.checkpoints.iter().map(|(id, folder)| (*id, folder.clone())));
        let mut unusable = Vec::new();
        for folder in folders.values().rev() {
            match self.read_and_verify(folder, &listing, verification) {
                Ok(mut metadata) => {
                    self.clear_published_committables(folder, &mut metadata)?;
                    return Ok(Some((metadata, unusable)));
                }
                Err(error) => unusable.push(unusable_checkpoint(folder, error)?),
            }
        }
        if listing.checkpoints.is_empty() {
            return Ok(None);
        }
        let reasons: Vec<String> = unusable.iter().map(|one| format!("{}: {}", one.path, one.reason)).collect();
        Err(error::checkpoint_none_usable(format!(
            "all checkpoints of job {job} are damaged: {}",
            reasons.join("; ")
        ))
        .hint("restore the storage from a backup, or submit the pipeline again with --from SAVEPOINT or --ignore-state"))
    }

    /// Returns whether a restart of a job would begin from the savepoint at `location`, which may lie in any storage.
    pub fn restarts_from(&self, job: &str, location: &StorageLocation) -> Result<bool> {
        let Some((folder, name)) = location.split_last() else { return Ok(false) };
        let Some(id) = savepoint_id_of(job, &name) else { return Ok(false) };
        if folder.canonical() != self.root().join(SAVEPOINTS).canonical() {
            return Ok(false);
        }
        match self.newest_usable(job, Verification::Lengths) {
            Ok(newest) => Ok(newest.is_some_and(|(metadata, _)| metadata.checkpoint_id == id)),
            // Nothing can be restored, whatever is removed.
            Err(error) if error.code == "checkpoint-none-usable" => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the folders of a job's savepoints that have metadata, by id.
    pub(super) fn savepoint_folders(&self, job: &str) -> Result<BTreeMap<u64, String>> {
        let mut found = BTreeMap::new();
        for name in self.list_folders(SAVEPOINTS)? {
            let (Some(id), folder) = (savepoint_id_of(job, &name), format!("{SAVEPOINTS}/{name}")) else { continue };
            let metadata = format!("{folder}/{METADATA_FILE_NAME}");
            if self.list_files(&folder)?.iter().any(|(path, _)| *path == metadata) {
                found.insert(id, folder);
            }
        }
        Ok(found)
    }

    /// Returns the usable checkpoints of a job, newest first, and the damaged ones. Verifies lengths only.
    pub fn checkpoints(&self, job: &str) -> Result<(Vec<CheckpointMetadata>, Vec<UnusableCheckpoint>)> {
        let listing = self.list_job_files(job)?;
        let (mut usable, mut unusable) = (Vec::new(), Vec::new());
        for folder in listing.checkpoints.values().rev() {
            match self.read_and_verify(folder, &listing, Verification::Lengths) {
                Ok(metadata) => usable.push(metadata),
                Err(error) => unusable.push(unusable_checkpoint(folder, error)?),
            }
        }
        Ok((usable, unusable))
    }

    /// Returns the savepoints that a job has in this storage, oldest first.
    pub fn savepoints(&self, job: &str) -> Result<Vec<ListedSavepoint>> {
        let found = self.savepoint_folders(job)?.into_iter();
        let list = |(id, folder): (u64, String)| ListedSavepoint {
            id,
            location: self.root().join(&folder),
            metadata: self.read_metadata(&folder),
        };
        Ok(found.map(list).collect())
    }

    /// Returns the largest id of which a checkpoint or savepoint of the job has left any trace, including damaged and
    /// unfinished ones. The next id must be larger.
    pub fn highest_id(&self, job: &str) -> Result<Option<u64>> {
        let listing = self.list_job_files(job)?;
        let stored = listing.shared.values().map(|file| file.stored_by);
        let folders = self.list_folders(job_folder(job)?)?;
        let checkpoints = folders.iter().filter_map(|name| checkpoint_id_of(name));
        let savepoint_folders = self.list_folders(SAVEPOINTS)?;
        let savepoints = savepoint_folders.iter().filter_map(|name| savepoint_id_of(job, name));
        Ok(stored.chain(checkpoints).chain(savepoints).max())
    }

    /// Lists the files of a job, except those of savepoints.
    pub(super) fn list_job_files(&self, job: &str) -> Result<JobFileListing> {
        let mut listing = JobFileListing::default();
        for (path, bytes) in self.list_files(job_folder(job)?)? {
            let Some(below) = path.strip_prefix(job).and_then(|rest| rest.strip_prefix('/')) else { continue };
            match below.split_once('/') {
                Some(("shared", name)) => {
                    if let Some(stored_by) = name.split_once('-').and_then(|(id, _)| parse_number(id)) {
                        listing.shared.insert(path, SharedFile { stored_by, bytes });
                    }
                }
                Some((folder, METADATA_FILE_NAME)) => {
                    let Some(id) = checkpoint_id_of(folder) else { continue };
                    listing.checkpoints.insert(id, checkpoint_folder(job, id, CheckpointKind::Checkpoint)?);
                }
                Some((folder, PUBLISHED_MARKER_NAME)) => {
                    let Some(id) = checkpoint_id_of(folder) else { continue };
                    listing.published_markers.insert(id, path);
                }
                _ => {}
            }
        }
        Ok(listing)
    }

    /// Reads the metadata in a folder, and verifies all files that it names.
    pub(super) fn read_and_verify(
        &self,
        folder: &str,
        listing: &JobFileListing,
        verification: Verification,
    ) -> Result<CheckpointMetadata> {
        let metadata = self.read_metadata(folder)?;
        let is_listed = |file: &FileRef| listing.shared.get(&file.path).is_some_and(|found| found.bytes == file.bytes);
        match verification {
            Verification::Checksums => self.verify_checksums(metadata.files())?,
            Verification::Lengths => {
                metadata.files().filter(|file| !is_listed(file)).try_for_each(|file| self.verify_length(file))?
            }
        }
        Ok(metadata)
    }

    /// Verifies all files that the metadata names.
    pub(super) fn verify(&self, metadata: &CheckpointMetadata, verification: Verification) -> Result<()> {
        metadata.files().try_for_each(|file| match verification {
            Verification::Checksums => self.read_verified(file, |_| Ok(())),
            Verification::Lengths => self.verify_length(file),
        })
    }
}

/// Turns an error that means damage into an [`UnusableCheckpoint`], and returns any other error.
pub(super) fn unusable_checkpoint(folder: &str, error: Error) -> Result<UnusableCheckpoint> {
    match error.kind {
        error::ErrorKind::Corrupt => Ok(UnusableCheckpoint { path: folder.to_owned(), reason: error.message }),
        _ => Err(error),
    }
}
