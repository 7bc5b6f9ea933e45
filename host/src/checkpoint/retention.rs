//! Decides which checkpoints of a job are retired, and which shared files are protected.
//!
//! A job retains its newest complete checkpoints. Invariant: no file is removed that a retained checkpoint, a damaged one
//! or an unfinished one may name; see [`SharedFileProtection`].
//!
//! [`CheckpointStorage::retire`] may be killed at any moment. It removes the metadata of retired checkpoints first, oldest
//! first, and then files that no metadata names any more. An interruption leaves complete checkpoints with all their
//! files, and perhaps unnamed files, which the next call removes. If a loss of power undoes a removal, at most metadata
//! without files reappears, and it is older than all retained checkpoints. Must not touch savepoints.

use std::collections::HashSet;

use super::catalog::{JobFileListing, SharedFile, Verification, unusable_checkpoint};
use super::storage::CheckpointStorage;
use super::storage::paths::METADATA_FILE_NAME;
use crate::error::Result;

/// A checkpoint that is being taken or read, which retirement must spare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfinishedCheckpoint {
    /// Number of the checkpoint.
    pub id: u64,
    /// The complete checkpoint whose files it may name without storing them again.
    pub based_on: Option<u64>,
}

/// The result of [`CheckpointStorage::retire`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetirementSummary {
    /// Ids of the retired checkpoints, oldest first.
    pub checkpoints: Vec<u64>,
    /// Number of shared files removed.
    pub files: u64,
    /// Length of those files, in bytes.
    pub bytes: u64,
    /// The oldest checkpoint that is left, whether it is complete or not. `None` if there is no complete one.
    pub oldest_retained: Option<u64>,
}

/// The files to remove, in the order of the fields.
#[derive(Default)]
struct RetirementPlan {
    /// Ids and metadata files of retired checkpoints.
    metadata_files: Vec<(u64, String)>,
    /// Markers of checkpoints without metadata.
    published_markers: Vec<String>,
    /// Paths and lengths of shared files.
    shared_files: Vec<(String, u64)>,
    /// The newest complete checkpoint: staged files up to its id are leftovers, except those of unfinished checkpoints.
    newest_complete: Option<u64>,
    oldest_retained: Option<u64>,
}

/// The rules by which a shared file is protected from removal.
struct SharedFileProtection<'a> {
    /// Paths that retained checkpoints name.
    named: HashSet<String>,
    /// Ids only grow, so a checkpoint with a larger id may be unfinished without being listed as such.
    newest_complete: u64,
    /// The files that a damaged checkpoint names are unknown, so it protects every file up to its id.
    newest_damaged: Option<u64>,
    unfinished: &'a [UnfinishedCheckpoint],
}

impl SharedFileProtection<'_> {
    fn is_shared_file_protected(&self, path: &str, file: &SharedFile) -> bool {
        let id = file.stored_by;
        // Adopted files have the id 0. They are protected while an unfinished checkpoint builds on them.
        let spares = |one: &UnfinishedCheckpoint| one.id == id || (id == 0 && one.based_on == Some(0));
        id > self.newest_complete
            || Some(id) <= self.newest_damaged
            || self.unfinished.iter().any(spares)
            || self.named.contains(path)
    }
}

impl CheckpointStorage {
    /// Retires the checkpoints of a job that are older than its `keep` (at least 1) newest complete ones, and removes shared
    /// files that nothing protects.
    ///
    /// Spares the unfinished checkpoints and the checkpoints that they are based on. A damaged checkpoint does not count as
    /// complete and is retired when it is old enough. The module head says what an interruption leaves.
    pub fn retire(&self, job: &str, keep: usize, unfinished: &[UnfinishedCheckpoint]) -> Result<RetirementSummary> {
        let plan = self.plan_retirement(job, keep, unfinished)?;
        let mut summary = RetirementSummary { oldest_retained: plan.oldest_retained, ..RetirementSummary::default() };
        for (id, metadata) in &plan.metadata_files {
            fail_point!("retention.metadata", crate::error::storage_failed);
            self.remove_file(metadata)?;
            summary.checkpoints.push(*id);
        }
        fail_point!("retention.markers", crate::error::storage_failed);
        plan.published_markers.iter().try_for_each(|marker| self.remove_file(marker))?;
        for (path, bytes) in &plan.shared_files {
            fail_point!("retention.shared-file", crate::error::storage_failed);
            self.remove_file(path)?;
            summary.files += 1;
            summary.bytes += bytes;
        }
        if let Some(newest) = plan.newest_complete {
            let is_leftover = |id: u64| id <= newest && unfinished.iter().all(|one| one.id != id);
            self.remove_staged_files(job, is_leftover)?;
        }
        Ok(summary)
    }

    fn plan_retirement(&self, job: &str, keep: usize, unfinished: &[UnfinishedCheckpoint]) -> Result<RetirementPlan> {
        let listing = self.list_job_files(job)?;
        let mut retired = Vec::new();
        let mut named = HashSet::new();
        let (mut newest_complete, mut newest_damaged, mut complete) = (None, None, 0);
        for (&id, folder) in listing.checkpoints.iter().rev() {
            let is_base = unfinished.iter().any(|one| one.based_on == Some(id));
            if complete >= keep.max(1) && !is_base {
                retired.push((id, format!("{folder}/{METADATA_FILE_NAME}")));
                continue;
            }
            match self.read_and_verify(folder, &listing, Verification::Lengths) {
                Ok(metadata) => {
                    complete += 1;
                    newest_complete = newest_complete.max(Some(id));
                    named.extend(metadata.files().map(|file| file.path.clone()));
                }
                Err(error) => {
                    unusable_checkpoint(folder, error)?;
                    newest_damaged = newest_damaged.max(Some(id));
                }
            }
        }
        retired.reverse();
        let is_retained = |id: &&u64| retired.iter().all(|(retired, _)| retired != *id);
        let oldest_retained = listing.checkpoints.keys().find(is_retained).copied();
        // Without a complete checkpoint nothing was retired either.
        let Some(newest_complete) = newest_complete else { return Ok(RetirementPlan::default()) };
        let protection = SharedFileProtection { named, newest_complete, newest_damaged, unfinished };
        Ok(RetirementPlan {
            published_markers: markers_without_checkpoint(&listing, &retired, newest_complete),
            shared_files: unprotected_files(&listing, &protection),
            metadata_files: retired,
            newest_complete: Some(newest_complete),
            oldest_retained,
        })
    }
}

/// Returns the markers up to `newest_complete` whose checkpoint is retired or gone.
fn markers_without_checkpoint(
    listing: &JobFileListing,
    retired: &[(u64, String)],
    newest_complete: u64,
) -> Vec<String> {
    let is_kept = |id: &u64| listing.checkpoints.contains_key(id) && retired.iter().all(|(retired, _)| retired != id);
    let markers = listing.published_markers.iter().filter(|(id, _)| **id <= newest_complete && !is_kept(id));
    markers.map(|(_, path)| path.clone()).collect()
}

fn unprotected_files(listing: &JobFileListing, protection: &SharedFileProtection<'_>) -> Vec<(String, u64)> {
    let unprotected = listing.shared.iter().filter(|(path, file)| !protection.is_shared_file_protected(path, file));
    let mut files: Vec<(String, u64)> = unprotected.map(|(path, file)| (path.clone(), file.bytes)).collect();
    files.sort();
    files
}
