//! Removes all files of a job, a single checkpoint, or what a killed process left.
//!
//! Invariant: each removal may be killed at any moment, and the next call finishes it. Metadata is removed first, so that
//! no complete checkpoint ever misses a file. Must not remove what a retained checkpoint or a savepoint names.

use std::collections::HashSet;
use std::fs;

use super::catalog::unusable_checkpoint;
use super::metadata::CheckpointKind;
use super::storage::CheckpointStorage;
use super::storage::paths::{
    METADATA_FILE_NAME, SAVEPOINTS, checkpoint_folder, checkpoint_id_of, job_folder, parse_number, savepoint_id_of,
};
use crate::error::{self, Result};

impl CheckpointStorage {
    /// Removes everything that a job has stored except its savepoints. The job must not be running.
    pub fn remove_job(&self, job: &str) -> Result<()> {
        for folder in self.list_job_files(job)?.checkpoints.values() {
            self.remove_file(&format!("{folder}/{METADATA_FILE_NAME}"))?;
        }
        fail_point!("job-files.files", error::storage_failed);
        for (path, _) in self.list_files(job_folder(job)?)? {
            self.remove_file(&path)?;
        }
        self.remove_staged_files(job, |_| true)
    }

    /// Removes one checkpoint of a job that has ended, and those of its files that no other checkpoint of the job names.
    /// Finishes an interrupted removal even if the metadata is already gone.
    pub(super) fn remove_checkpoint(&self, job: &str, id: u64) -> Result<()> {
        let mut listing = self.list_job_files(job)?;
        if let Some(folder) = listing.checkpoints.remove(&id) {
            self.remove_file(&format!("{folder}/{METADATA_FILE_NAME}"))?;
        }
        if let Some(marker) = listing.published_markers.get(&id) {
            self.remove_file(marker)?;
        }
        let (mut named, mut newest_damaged) = (HashSet::new(), None);
        for (other, folder) in &listing.checkpoints {
            match self.read_metadata(folder) {
                Ok(metadata) => named.extend(metadata.files().map(|file| file.path.clone())),
                Err(error) => {
                    unusable_checkpoint(folder, error)?;
                    newest_damaged = Some(*other);
                }
            }
        }
        for (path, file) in &listing.shared {
            if file.stored_by <= id && Some(file.stored_by) > newest_damaged && !named.contains(path) {
                self.remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Removes savepoints of a job that never got metadata because their process was killed. The job must not be running.
    pub fn remove_unfinished_savepoints(&self, job: &str) -> Result<()> {
        let complete = self.savepoint_folders(job)?;
        for name in self.list_folders(SAVEPOINTS)? {
            let Some(id) = savepoint_id_of(job, &name).filter(|id| !complete.contains_key(id)) else { continue };
            let folder = checkpoint_folder(job, id, CheckpointKind::Savepoint)?;
            for (path, _) in self.list_files(&folder)? {
                self.remove_file(&path)?;
            }
            if let Some(local) = self.root().join(&folder).folder() {
                for entry in fs::read_dir(local).into_iter().flatten().flatten() {
                    if entry.file_name().to_str().and_then(staged_file_name).is_some() {
                        let _ = fs::remove_file(entry.path());
                    }
                }
                let _ = fs::remove_dir(local);
            }
        }
        Ok(())
    }

    /// Removes staged files (`<path>#<number>`, which the store hides) that a killed process left in a local folder, and
    /// folders that are empty then. `is_leftover` is called with the checkpoint's id. Unfinished uploads to a bucket are
    /// invisible and left to the lifecycle rules of the bucket.
    pub(super) fn remove_staged_files(&self, job: &str, is_leftover: impl Fn(u64) -> bool) -> Result<()> {
        let job = self.root().join(job_folder(job)?);
        let Some(job) = job.folder() else { return Ok(()) };
        let failed = |e: std::io::Error| error::storage_failed(format!("{}: {e}", job.display()));
        // A folder that does not exist, or disappears meanwhile, has nothing left to remove.
        for folder in fs::read_dir(job).into_iter().flatten() {
            let folder = folder.map_err(failed)?;
            let folder_id = folder.file_name().to_str().and_then(checkpoint_id_of);
            for entry in fs::read_dir(folder.path()).into_iter().flatten() {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name();
                let Some(name) = name.to_str().and_then(staged_file_name) else { continue };
                let id = folder_id.or_else(|| parse_number(name.split_once('-')?.0));
                if id.is_some_and(&is_leftover) {
                    fs::remove_file(entry.path()).map_err(failed)?;
                }
            }
            if folder_id.is_none_or(&is_leftover) {
                // Fails if the folder is not empty, which is intended. Storing a file creates the folder again.
                let _ = fs::remove_dir(folder.path());
            }
        }
        let _ = fs::remove_dir(job);
        Ok(())
    }
}

/// Returns the name for which a file was staged.
fn staged_file_name(name: &str) -> Option<&str> {
    let (name, number) = name.rsplit_once('#')?;
    parse_number(number).map(|_| name)
}
