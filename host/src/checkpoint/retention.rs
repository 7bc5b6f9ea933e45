//! Which checkpoints are there, which one a job goes on from, and which are removed.
//!
//! [`CheckpointStorage::retire`] may be killed at any moment. It removes the manifests of retired checkpoints first,
//! the oldest first, and only then files that no metadata names any more: what is left at any moment is complete
//! checkpoints with all their files, and perhaps files that nobody names, which the next call finds again. A removal
//! that a loss of power undoes brings back at most a metadata whose files are gone, older than the retained ones.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;

use super::location::StorageLocation;
use super::metadata::{CheckpointKind, CheckpointMetadata};
use super::storage::{
    CheckpointStorage, METADATA_FILE_NAME, PUBLISHED_NAME, SAVEPOINTS, checkpoint_folder, job_folder,
};
use crate::error::{self, Error, Result};
use crate::state::FileRef;

/// A checkpoint that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableCheckpoint {
    /// Its folder, below the storage's root.
    pub path: String,
    pub why: String,
}

/// How much of a checkpoint is looked at before it counts as usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Every file is there and has its length. Costs one listing.
    Lengths,
    /// And has its checksum. Reads everything.
    Checksums,
}

/// A checkpoint that is being taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfinishedCheckpoint {
    pub id: u64,
    /// The complete checkpoint whose files it may name without storing them again.
    pub based_on: Option<u64>,
}

/// What [`CheckpointStorage::retire`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetirementSummary {
    /// Oldest first.
    pub checkpoints: Vec<u64>,
    pub files: u64,
    pub bytes: u64,
}

/// What a job has in the storage, apart from its savepoints.
#[derive(Default)]
struct StoredFileListing {
    /// Folders of the checkpoints that have a metadata, by id.
    checkpoints: BTreeMap<u64, String>,
    /// The files that mark checkpoints as published, by id.
    published: BTreeMap<u64, String>,
    /// The files that checkpoints stored: by which, and their length.
    shared: HashMap<String, (u64, u64)>,
}

/// What to remove, in this order: manifests, then files.
#[derive(Default)]
pub(super) struct RetirementPlan {
    /// Id and path of the metadata.
    pub manifests: Vec<(u64, String)>,
    /// Marks of checkpoints whose metadata is gone by then.
    marks: Vec<String>,
    /// Path and length.
    pub files: Vec<(String, u64)>,
    /// Half-stored files of checkpoints up to this one may go, except of those in progress.
    staged_up_to: Option<u64>,
}

impl CheckpointStorage {
    /// The newest checkpoint or savepoint of a job that can be used, and those newer ones that cannot. A savepoint counts
    /// because sinks publish on it: going back behind it would take back what it published, and whoever goes on from it
    /// would miss that. None where the job has no checkpoint that was ever complete, and no usable savepoint. Errors:
    /// `checkpoint-none-usable` where it has some, all of them damaged; `storage-failed`, where it cannot be told.
    pub fn newest_usable(
        &self,
        job: &str,
        verify: Verification,
    ) -> Result<Option<(CheckpointMetadata, Vec<UnusableCheckpoint>)>> {
        let listing = self.listing(job)?;
        let mut folders = self.savepoints_of(job)?;
        folders.extend(listing.checkpoints.iter().map(|(id, folder)| (*id, folder.clone())));
        let mut skipped = Vec::new();
        for folder in folders.values().rev() {
            match self.examine(folder, &listing, verify) {
                Ok(mut metadata) => {
                    self.forget_published(folder, &mut metadata)?;
                    return Ok(Some((metadata, skipped)));
                }
                Err(error) => skipped.push(passed_over(folder, error)?),
            }
        }
        if listing.checkpoints.is_empty() {
            return Ok(None);
        }
        let each: Vec<String> = skipped.iter().map(|one| format!("{}: {}", one.path, one.why)).collect();
        Err(error::checkpoint_none_usable(format!("no checkpoint of job {job} can be used: {}", each.join("; ")))
            .hint("restore the storage from a backup, or submit the pipeline anew: --from a savepoint, or with --ignore-state"))
    }

    /// The folders of a job's savepoints that have a metadata, by id.
    fn savepoints_of(&self, job: &str) -> Result<BTreeMap<u64, String>> {
        let mut found = BTreeMap::new();
        for name in self.folders(SAVEPOINTS)? {
            let (Some(id), folder) = (savepoint_of(job, &name), format!("{SAVEPOINTS}/{name}")) else { continue };
            let metadata = format!("{folder}/{METADATA_FILE_NAME}");
            if self.list(&folder)?.iter().any(|(path, _)| *path == metadata) {
                found.insert(id, folder);
            }
        }
        Ok(found)
    }

    /// The complete checkpoints of a job, newest first, and those that are damaged.
    pub fn checkpoints(&self, job: &str) -> Result<(Vec<CheckpointMetadata>, Vec<UnusableCheckpoint>)> {
        let listing = self.listing(job)?;
        let (mut complete, mut skipped) = (Vec::new(), Vec::new());
        for folder in listing.checkpoints.values().rev() {
            match self.examine(folder, &listing, Verification::Lengths) {
                Ok(metadata) => complete.push(metadata),
                Err(error) => skipped.push(passed_over(folder, error)?),
            }
        }
        Ok((complete, skipped))
    }

    /// The savepoints of a job in this storage, oldest first: id, location, and the metadata or why it cannot be read.
    #[allow(clippy::type_complexity)]
    pub fn savepoints(&self, job: &str) -> Result<Vec<(u64, StorageLocation, Result<CheckpointMetadata>)>> {
        let found = self.savepoints_of(job)?.into_iter();
        Ok(found.map(|(id, folder)| (id, self.root().join(&folder), self.read_metadata(&folder))).collect())
    }

    /// Removes savepoints of a job that never got a metadata, since their process was killed. The job must not be running.
    pub fn remove_unfinished_savepoints(&self, job: &str) -> Result<()> {
        let complete = self.savepoints_of(job)?;
        for name in self.folders(SAVEPOINTS)? {
            let Some(id) = savepoint_of(job, &name).filter(|id| !complete.contains_key(id)) else { continue };
            let folder = checkpoint_folder(job, id, CheckpointKind::Savepoint)?;
            for (path, _) in self.list(&folder)? {
                self.remove(&path)?;
            }
            if let Some(local) = self.root().join(&folder).folder() {
                for entry in fs::read_dir(local).into_iter().flatten().flatten() {
                    let name = entry.file_name();
                    if name.to_str().and_then(|name| number(name.rsplit_once('#')?.1)).is_some() {
                        let _ = fs::remove_file(entry.path());
                    }
                }
                let _ = fs::remove_dir(local);
            }
        }
        Ok(())
    }

    /// The largest id that a checkpoint or savepoint of the job has left a trace of, damaged and unfinished ones
    /// included. The next one must be larger.
    pub fn highest_id(&self, job: &str) -> Result<Option<u64>> {
        let listing = self.listing(job)?;
        let stored = listing.shared.values().map(|(id, _)| *id);
        let folders = self.folders(job_folder(job)?)?;
        let begun = folders.iter().filter_map(|name| number(name.strip_prefix("chk-")?));
        let savepoints = self.folders(SAVEPOINTS)?;
        let saved = savepoints.iter().filter_map(|name| savepoint_of(job, name));
        Ok(stored.chain(begun).chain(saved).max())
    }

    /// Removes what a job needs no more: checkpoints older than the `keep` (at least 1) newest complete ones, and
    /// files that no remaining metadata names. Spares everything of the checkpoints in progress and of those that they
    /// are based on. A damaged checkpoint counts for nothing and goes with the ones of its age; while it is there, no
    /// file that it may name is removed. See the module for what an interruption leaves.
    pub fn retire(&self, job: &str, keep: usize, in_progress: &[UnfinishedCheckpoint]) -> Result<RetirementSummary> {
        let plan = self.plan_retirement(job, keep, in_progress)?;
        let mut retired = RetirementSummary::default();
        for (id, metadata) in &plan.manifests {
            self.remove(metadata)?;
            retired.checkpoints.push(*id);
        }
        plan.marks.iter().try_for_each(|mark| self.remove(mark))?;
        for (path, bytes) in &plan.files {
            self.remove(path)?;
            retired.files += 1;
            retired.bytes += bytes;
        }
        if let Some(last) = plan.staged_up_to {
            let is_over = |id: u64| id <= last && in_progress.iter().all(|one| one.id != id);
            self.remove_staged(job, is_over)?;
        }
        Ok(retired)
    }

    pub(super) fn plan_retirement(
        &self,
        job: &str,
        keep: usize,
        in_progress: &[UnfinishedCheckpoint],
    ) -> Result<RetirementPlan> {
        let listing = self.listing(job)?;
        let mut plan = RetirementPlan::default();
        let mut needed = HashSet::new();
        let (mut newest_complete, mut newest_damaged, mut complete) = (None, None, 0);
        for (&id, folder) in listing.checkpoints.iter().rev() {
            let is_base = in_progress.iter().any(|one| one.based_on == Some(id));
            if complete >= keep.max(1) && !is_base {
                plan.manifests.push((id, format!("{folder}/{METADATA_FILE_NAME}")));
                continue;
            }
            match self.examine(folder, &listing, Verification::Lengths) {
                Ok(metadata) => {
                    complete += 1;
                    newest_complete = newest_complete.max(Some(id));
                    needed.extend(metadata.files().map(|file| file.path.clone()));
                }
                Err(error) => {
                    passed_over(folder, error)?;
                    newest_damaged = newest_damaged.max(Some(id));
                }
            }
        }
        plan.manifests.reverse();
        // Ids only grow: what is above the newest complete checkpoint may be in progress without our knowing.
        let Some(last) = newest_complete else { return Ok(RetirementPlan::default()) };
        // What the job adopted was stored by none of its checkpoints, and has the id 0; it goes when none in progress builds on it.
        let spares = |one: &UnfinishedCheckpoint, id| one.id == id || (id == 0 && one.based_on == Some(0));
        let is_over =
            |id: u64| id <= last && Some(id) > newest_damaged && !in_progress.iter().any(|one| spares(one, id));
        let unneeded = listing.shared.iter().filter(|(path, (id, _))| is_over(*id) && !needed.contains(*path));
        let is_kept =
            |id: &u64| listing.checkpoints.contains_key(id) && plan.manifests.iter().all(|(retired, _)| retired != id);
        let marks = listing.published.iter().filter(|(id, _)| **id <= last && !is_kept(id));
        plan.marks = marks.map(|(_, path)| path.clone()).collect();
        plan.files = unneeded.map(|(path, (_, bytes))| (path.clone(), *bytes)).collect();
        plan.files.sort();
        plan.staged_up_to = Some(last);
        Ok(plan)
    }

    /// Removes all that a job has stored, apart from its savepoints; manifests first. The job must not be running.
    pub fn remove_job(&self, job: &str) -> Result<()> {
        for folder in self.listing(job)?.checkpoints.values() {
            self.remove(&format!("{folder}/{METADATA_FILE_NAME}"))?;
        }
        for (path, _) in self.list(job_folder(job)?)? {
            self.remove(&path)?;
        }
        self.remove_staged(job, |_| true)
    }

    /// Removes one checkpoint of a job that has ended, and those files of it that no other checkpoint of the job names. Its
    /// metadata goes first; a call that was killed is gone on with by the next, also where the metadata is gone already.
    pub(super) fn remove_checkpoint(&self, job: &str, id: u64) -> Result<()> {
        let mut listing = self.listing(job)?;
        if let Some(folder) = listing.checkpoints.remove(&id) {
            self.remove(&format!("{folder}/{METADATA_FILE_NAME}"))?;
        }
        if let Some(mark) = listing.published.get(&id) {
            self.remove(mark)?;
        }
        let (mut needed, mut newest_damaged) = (HashSet::new(), None);
        for (other, folder) in &listing.checkpoints {
            match self.read_metadata(folder) {
                Ok(metadata) => needed.extend(metadata.files().map(|file| file.path.clone())),
                Err(error) => {
                    passed_over(folder, error)?;
                    newest_damaged = Some(*other);
                }
            }
        }
        for (path, (stored_by, _)) in &listing.shared {
            if *stored_by <= id && Some(*stored_by) > newest_damaged && !needed.contains(path) {
                self.remove(path)?;
            }
        }
        Ok(())
    }

    fn listing(&self, job: &str) -> Result<StoredFileListing> {
        let mut listing = StoredFileListing::default();
        for (path, bytes) in self.list(job_folder(job)?)? {
            let Some(below) = path.strip_prefix(job).and_then(|rest| rest.strip_prefix('/')) else { continue };
            match below.split_once('/') {
                Some(("shared", name)) => {
                    if let Some(id) = name.split_once('-').and_then(|(id, _)| number(id)) {
                        listing.shared.insert(path, (id, bytes));
                    }
                }
                Some((folder, name @ (METADATA_FILE_NAME | PUBLISHED_NAME))) => {
                    let Some(id) = folder.strip_prefix("chk-").and_then(number) else { continue };
                    match name {
                        METADATA_FILE_NAME => {
                            let folder = checkpoint_folder(job, id, CheckpointKind::Checkpoint)?;
                            listing.checkpoints.insert(id, folder);
                        }
                        _ => drop(listing.published.insert(id, path)),
                    }
                }
                _ => {}
            }
        }
        Ok(listing)
    }

    /// Reads a metadata, and checks that all its files are there.
    fn examine(&self, folder: &str, listing: &StoredFileListing, verify: Verification) -> Result<CheckpointMetadata> {
        let metadata = self.read_metadata(folder)?;
        let is_listed = |file: &FileRef| listing.shared.get(&file.path).is_some_and(|(_, bytes)| *bytes == file.bytes);
        match verify {
            Verification::Checksums => self.read_all(metadata.files())?,
            Verification::Lengths => {
                metadata.files().filter(|file| !is_listed(file)).try_for_each(|file| self.check_present(file))?
            }
        }
        Ok(metadata)
    }

    /// Checks that all files that a metadata names are there.
    pub(super) fn verify(&self, metadata: &CheckpointMetadata, verify: Verification) -> Result<()> {
        metadata.files().try_for_each(|file| match verify {
            Verification::Checksums => self.read(file, |_| Ok(())),
            Verification::Lengths => self.check_present(file),
        })
    }

    /// Removes what a killed process left in a local folder of files that were being stored (`<path>#<number>`, which the
    /// store hides). What it left in a bucket is for the bucket's own rules: it is seen by nobody.
    fn remove_staged(&self, job: &str, is_over: impl Fn(u64) -> bool) -> Result<()> {
        let job = self.root().join(job_folder(job)?);
        let Some(job) = job.folder() else { return Ok(()) };
        let failed = |e: std::io::Error| error::storage_failed(format!("{}: {e}", job.display()));
        // A folder that does not exist, or goes meanwhile, has nothing left to remove.
        for folder in fs::read_dir(job).into_iter().flatten() {
            let folder = folder.map_err(failed)?;
            let folder_name = folder.file_name();
            let folder_id = folder_name.to_str().and_then(|name| number(name.strip_prefix("chk-")?));
            for entry in fs::read_dir(folder.path()).into_iter().flatten() {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name();
                let Some((name, staged)) = name.to_str().and_then(|name| name.rsplit_once('#')) else { continue };
                let id = folder_id.or_else(|| number(name.split_once('-')?.0));
                if number(staged).is_some() && id.is_some_and(&is_over) {
                    fs::remove_file(entry.path()).map_err(failed)?;
                }
            }
            if folder_id.is_none_or(&is_over) {
                // Fails where it holds something, which is right. Storing a file makes its folder again.
                let _ = fs::remove_dir(folder.path());
            }
        }
        let _ = fs::remove_dir(job);
        Ok(())
    }
}

/// A damaged checkpoint is passed over; a storage that fails is not a damaged checkpoint.
fn passed_over(folder: &str, error: Error) -> Result<UnusableCheckpoint> {
    match error.kind {
        error::ErrorKind::Corrupt => Ok(UnusableCheckpoint { path: folder.to_owned(), why: error.message }),
        _ => Err(error),
    }
}

/// The id in the name of a savepoint's folder, where it is one of this job.
fn savepoint_of(job: &str, name: &str) -> Option<u64> {
    name.strip_prefix(job)?.strip_prefix('-').and_then(number)
}

/// A number as we write it: digits without a leading zero.
pub(super) fn number(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|number: &u64| number.to_string() == digits)
}
