//! The files of one checkpoint, as state backends store and read them.
//!
//! Invariant: each stored file gets a name that no other file has. Must not depend on what a file contains.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::file_read::check_length;
use super::file_sync::{WrittenFile, local_failed};
use super::paths::{checked_path, checkpoint_folder, is_portable_name, shared_folder};
use super::store::CheckpointStorage;
use crate::checkpoint::metadata::CheckpointKind;
use crate::clock::random_u64;
use crate::error::{self, Result};
use crate::model::Interrupt;
use crate::state::{FileRef, FileStore};

/// The largest file that a store copies by itself (a limit of Amazon S3).
const COPY_BYTES_MAX: u64 = 5 << 30;

/// The largest file that is read into memory from a storage to which others may write. Cofferdam begins a new file after
/// 64 MiB, but an entry is not divided.
const FOREIGN_BYTES_MAX: u64 = 256 << 20;

/// Stores and reads the files of one checkpoint. All subtasks may share one object.
pub struct CheckpointFiles {
    storage: CheckpointStorage,
    /// The beginning of the paths of new files.
    prefix: String,
    /// The folder of files that this checkpoint may name without storing them again.
    reusable_folder: Option<String>,
    /// Paths and lengths of the files in that folder of a bucket. Listed on first use.
    listed: OnceLock<HashMap<String, u64>>,
    uploaded_bytes: AtomicU64,
    abandoned: Arc<AtomicBool>,
}

impl CheckpointStorage {
    /// Returns the files of one checkpoint. Errors: `internal` for an unusable job id.
    pub fn files(&self, job: &str, checkpoint: u64, kind: CheckpointKind) -> Result<CheckpointFiles> {
        Ok(match kind {
            CheckpointKind::Savepoint => self.savepoint_files_in(&checkpoint_folder(job, checkpoint, kind)?),
            CheckpointKind::Checkpoint | CheckpointKind::Final => {
                let shared = shared_folder(job)?;
                CheckpointFiles::new(self, format!("{shared}{checkpoint}-"), Some(shared))
            }
        })
    }

    /// Returns the files of a savepoint in any folder.
    pub(in crate::checkpoint) fn savepoint_files_in(&self, folder: &str) -> CheckpointFiles {
        CheckpointFiles::new(self, format!("{folder}/"), None)
    }
}

impl CheckpointFiles {
    fn new(storage: &CheckpointStorage, prefix: String, reusable_folder: Option<String>) -> CheckpointFiles {
        CheckpointFiles {
            storage: storage.clone(),
            prefix,
            reusable_folder,
            listed: OnceLock::new(),
            uploaded_bytes: AtomicU64::new(0),
            abandoned: Arc::default(),
        }
    }

    /// Returns a flag that abandons the checkpoint: once set, storing a file fails with `storage-failed`.
    pub fn abandoned_flag(&self) -> Arc<AtomicBool> {
        self.abandoned.clone()
    }

    /// Returns the number of bytes stored so far.
    pub fn bytes_uploaded(&self) -> u64 {
        self.uploaded_bytes.load(Ordering::Relaxed)
    }

    /// Returns those files of an earlier checkpoint that this checkpoint may name without storing them again, which
    /// [`crate::state::StateSnapshot::upload`] takes as `held`.
    ///
    /// Files of savepoints and of other jobs are never reusable, since their owners decide when they are removed. A savepoint
    /// reuses nothing. A file that is missing or has another length is not reusable either: a checkpoint that names it
    /// could not be restored.
    pub fn reusable(&self, files: &[FileRef]) -> Result<Vec<FileRef>> {
        let Some(folder) = &self.reusable_folder else { return Ok(Vec::new()) };
        let own: Vec<&FileRef> = files.iter().filter(|file| file.path.starts_with(folder)).collect();
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let is_intact = |file: &FileRef, bytes: Option<u64>| bytes == Some(file.bytes);
        let (intact, damaged): (Vec<&FileRef>, Vec<&FileRef>) = match self.storage.root.folder() {
            Some(root) => {
                let bytes = |file: &FileRef| fs::metadata(root.join(&file.path)).ok().map(|found| found.len());
                own.into_iter().partition(|file| is_intact(file, bytes(file)))
            }
            None => {
                let listed = self.listed(folder)?;
                own.into_iter().partition(|file| is_intact(file, listed.get(&file.path).copied()))
            }
        };
        if let Some(file) = damaged.first() {
            let (count, path) = (damaged.len(), &file.path);
            tracing::warn!(
                "{path}: the file is missing or damaged and is stored again; {count} such files in this subtask"
            );
        }
        Ok(intact.into_iter().cloned().collect())
    }

    fn listed(&self, folder: &str) -> Result<&HashMap<String, u64>> {
        if let Some(listed) = self.listed.get() {
            return Ok(listed);
        }
        let listed = self.storage.list_files(folder)?.into_iter().collect();
        Ok(self.listed.get_or_init(|| listed))
    }

    /// Makes files of a claimed checkpoint in `from` the job's own, by giving them names of this checkpoint. Returns `None`
    /// if the storages cannot do that without moving bytes.
    pub fn adopt(&self, from: &CheckpointStorage, files: &[FileRef]) -> Result<Option<Vec<FileRef>>> {
        let mut adopted = Vec::new();
        for file in files {
            let path = from.root.join(&file.path).below(&self.storage.root);
            let Some(path) = path.filter(|_| file.bytes <= COPY_BYTES_MAX) else { return Ok(None) };
            let new_path = self.new_path(&file.name)?;
            self.storage.copy_file(&path, &new_path)?;
            adopted.push(FileRef { path: new_path, ..file.clone() });
        }
        Ok(Some(adopted))
    }

    fn new_path(&self, name: &str) -> Result<String> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(error::storage_failed(format!("{}{name}: the checkpoint was abandoned", self.prefix)));
        }
        match is_portable_name(name) {
            true => Ok(format!("{}{:016x}-{name}", self.prefix, random_u64())),
            false => Err(error::internal(format!("`{name}` cannot be the name of a stored file"))),
        }
    }

    fn stored(&self, name: &str, path: String, written: WrittenFile) -> FileRef {
        let WrittenFile { bytes, crc32c } = written;
        self.uploaded_bytes.fetch_add(bytes, Ordering::Relaxed);
        FileRef { name: name.to_owned(), path, bytes, crc32c }
    }
}

impl FileStore for CheckpointFiles {
    fn put(&self, name: &str, bytes: Bytes) -> Result<FileRef> {
        let path = self.new_path(name)?;
        let written = WrittenFile { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) };
        self.storage.write_synced(&path, bytes)?;
        Ok(self.stored(name, path, written))
    }

    fn put_file(&self, name: &str, local: &Path) -> Result<FileRef> {
        let path = self.new_path(name)?;
        let written = match self.storage.sync_and_link_file(&path, local)? {
            Some(written) => written,
            None => self.storage.copy_synced(&path, local)?,
        };
        Ok(self.stored(name, path, written))
    }

    fn get(&self, file: &FileRef) -> Result<Bytes> {
        if self.storage.is_foreign && file.bytes > FOREIGN_BYTES_MAX {
            return Err(error::checkpoint_corrupt(format!(
                "{}: the file has {} bytes; one that is read as a whole has at most {FOREIGN_BYTES_MAX} in a storage of others",
                file.path, file.bytes
            )));
        }
        let mut bytes = Vec::new();
        self.storage.read_verified(file, |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(bytes.into())
    }

    fn get_file(&self, file: &FileRef, to: &Path) -> Result<()> {
        let mut local = File::create(to).map_err(|e| local_failed(to, &e))?;
        let read = self.storage.read_verified(file, |chunk| local.write_all(chunk).map_err(|e| local_failed(to, &e)));
        if read.is_err() {
            // A damaged copy must not be mistaken for the file.
            let _ = fs::remove_file(to);
        }
        read
    }

    fn foreign(&self) -> Option<&Interrupt> {
        self.storage.is_foreign.then_some(&self.storage.interrupt)
    }

    fn link_file(&self, file: &FileRef, to: &Path) -> Result<bool> {
        self.storage.check_readable(&file.path)?;
        let stored = self.storage.root.join(checked_path(&file.path)?.as_ref());
        if stored.folder().is_none_or(|stored| fs::hard_link(stored, to).is_err()) {
            // If the file is missing, reading it reports that.
            return Ok(false);
        }
        check_length(file, fs::metadata(to).map_err(|e| local_failed(to, &e))?.len())?;
        Ok(true)
    }
}
