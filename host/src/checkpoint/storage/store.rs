//! Opens a checkpoint storage, and lists, copies and removes its files.
//!
//! Must not know what the files contain. Files are written in `file_sync` and read in `file_read`.

use std::fs::{self, File};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::runtime::Handle;

use super::folder_sync::{create_folder_synced, open_folder_synced};
use super::paths::{SAVEPOINTS, checked_path};
use crate::access::{AccessPolicy, denied_or};
use crate::checkpoint::location::StorageLocation;
use crate::error::{self, Error, Result};
use crate::model::Interrupt;

/// How long requests to a store in the network are retried before they fail.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// The checkpoints and savepoints of all jobs at one location. Cheap to clone.
#[derive(Clone)]
pub struct CheckpointStorage {
    pub(in crate::checkpoint) store: Arc<dyn ObjectStore>,
    runtime: Handle,
    pub(super) root: StorageLocation,
    /// Ends the reading of files.
    pub(super) interrupt: Interrupt,
    /// Whether others may write to the storage, so that links in it are followed only within it.
    pub(super) is_foreign: bool,
    /// How many changes succeed before the storage fails, for tests of interrupted removals.
    #[cfg(test)]
    pub(in crate::checkpoint) changes_left: Arc<AtomicU64>,
}

impl CheckpointStorage {
    /// Opens the storage at `root` without any call over the network.
    ///
    /// Creates a folder that does not exist. A bucket must exist; the usual environment variables say how to reach it
    /// (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, ...).
    pub fn open(root: &StorageLocation, runtime: Handle) -> Result<CheckpointStorage> {
        if let Some(folder) = root.folder() {
            create_folder_synced(folder).map_err(|e| error::storage_failed(format!("{root}: {e}")))?;
        }
        CheckpointStorage::open_existing(root, runtime)
    }

    /// Opens a storage that a user chose, and to which others may write: see [`CheckpointStorage::open_foreign`]. Creates a
    /// folder that does not exist, if `policy` allows it. Errors: `path-denied`, `storage-failed`.
    pub fn open_chosen(root: &StorageLocation, policy: &AccessPolicy, runtime: Handle) -> Result<CheckpointStorage> {
        if policy.allow_list().is_none() {
            return CheckpointStorage::open(root, runtime);
        }
        if let Some(folder) = root.folder() {
            let failed = |e: std::io::Error| denied_or(&e, || error::storage_failed(format!("{root}: {e}")));
            policy.create_folder(folder).and_then(|created| created.folder.sync()).map_err(failed)?;
        }
        CheckpointStorage::open_foreign(root, runtime)
    }

    /// Opens a storage whose files others may have written, without creating anything. No link leads out of it, and files
    /// that are read as a whole have a limit.
    pub(in crate::checkpoint) fn open_foreign(root: &StorageLocation, runtime: Handle) -> Result<CheckpointStorage> {
        Ok(CheckpointStorage { is_foreign: true, ..CheckpointStorage::open_existing(root, runtime)? })
    }

    /// Opens the storage at `root` without creating anything.
    fn open_existing(root: &StorageLocation, runtime: Handle) -> Result<CheckpointStorage> {
        let failed = |e: object_store::Error| error::storage_failed(format!("{root}: {e}"));
        let (store, root): (Arc<dyn ObjectStore>, _) = match root {
            StorageLocation::Folder(folder) => {
                (Arc::new(open_folder_synced(folder).map_err(failed)?), root.clone().canonical())
            }
            StorageLocation::S3 { bucket, key } => {
                let retry = RetryConfig { retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
                let store = builder.build().map_err(failed)?;
                match key.is_empty() {
                    true => (Arc::new(store), root.clone()),
                    false => (Arc::new(PrefixStore::new(store, checked_path(key)?)), root.clone()),
                }
            }
        };
        Ok(CheckpointStorage::with_store(store, root, runtime))
    }

    /// Uses a store whose paths begin at `root`.
    pub(in crate::checkpoint) fn with_store(
        store: Arc<dyn ObjectStore>,
        root: StorageLocation,
        runtime: Handle,
    ) -> CheckpointStorage {
        #[cfg(feature = "fail-points")]
        let store = super::faulty_store::with_faults_of_process(store);
        CheckpointStorage {
            store,
            runtime,
            root,
            interrupt: Interrupt::default(),
            is_foreign: false,
            #[cfg(test)]
            changes_left: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// Returns the same storage, but reading its files ends with `interrupted` once `interrupt` is set. The chunk being read
    /// is read to its end.
    pub fn interruptible(self, interrupt: &Interrupt) -> CheckpointStorage {
        CheckpointStorage { interrupt: interrupt.clone(), ..self }
    }

    /// Returns the location of the storage; for a folder its canonical path.
    pub fn root(&self) -> &StorageLocation {
        &self.root
    }

    /// Checks that the storage can be reached and that a folder can be synced, so that a job fails when it is submitted and
    /// not at its first checkpoint. Errors: `storage-failed`.
    pub fn check_available(&self) -> Result<()> {
        self.list_folders(SAVEPOINTS)?;
        let Some(folder) = self.root.folder() else { return Ok(()) };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| {
            error::storage_failed(format!("the folder {} cannot be synced: {e}", self.root))
                .hint("checkpoints must be durable: choose a folder on a file system that supports fsync for folders")
        })
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Whether the storage has a file at `path`.
    pub(in crate::checkpoint) fn file_exists(&self, path: &str) -> Result<bool> {
        self.check_readable(path)?;
        match self.block_on(self.store.head(&checked_path(path)?)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.failed(path, &e)),
        }
    }

    /// Returns the paths and lengths of all files below a folder.
    pub(in crate::checkpoint) fn list_files(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let prefix = checked_path(folder)?;
        let listed = self.store.list(Some(&prefix)).map_ok(|meta| (meta.location.to_string(), meta.size));
        self.block_on(listed.try_collect()).map_err(|e| self.failed(folder, &e))
    }

    /// Returns the names of the folders in a folder, including empty ones.
    pub(in crate::checkpoint) fn list_folders(&self, folder: &str) -> Result<Vec<String>> {
        let prefix = checked_path(folder)?;
        let listed =
            self.block_on(self.store.list_with_delimiter(Some(&prefix))).map_err(|e| self.failed(folder, &e))?;
        Ok(listed.common_prefixes.iter().filter_map(|path| path.filename()).map(str::to_owned).collect())
    }

    /// Lets the storage make a second file with the same content; no bytes pass through this process. In a folder both names
    /// refer to the same bytes on disk until one of them is removed.
    pub(super) fn copy_file(&self, from: &str, to: &str) -> Result<()> {
        let (source, target) = (checked_path(from)?, checked_path(to)?);
        self.check_readable(from)?;
        self.before_change(to)?;
        fail_point!("storage.copy", error::storage_failed);
        self.block_on(self.store.copy(&source, &target)).map_err(|e| self.read_failed(from, &e))
    }

    /// Removes a file. A file that does not exist is not an error.
    pub(in crate::checkpoint) fn remove_file(&self, path: &str) -> Result<()> {
        self.before_change(path)?;
        fail_point!("storage.remove", error::storage_failed);
        match self.block_on(self.store.delete(&checked_path(path)?)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed(path, &e)),
        }
    }

    /// Checks a file that is about to be read: it is a regular file, so that opening it does not block, and no link leads out
    /// of a foreign storage. A missing file passes; reading it fails. Errors: `checkpoint-corrupt`, `path-denied`.
    pub(super) fn check_readable(&self, path: &str) -> Result<()> {
        let location = self.root.join(checked_path(path)?.as_ref());
        let Some(file) = location.folder() else { return Ok(()) };
        match fs::metadata(file) {
            Ok(found) if found.is_file() => self.check_within(path, file),
            Ok(_) => Err(error::checkpoint_corrupt(format!("{path}: it is not a regular file"))),
            Err(_) => Ok(()),
        }
    }

    /// Checks that no link on the existing part of a path leads out of a foreign storage.
    fn check_within(&self, path: &str, file: &Path) -> Result<()> {
        let Some(root) = self.root.folder().filter(|_| self.is_foreign) else { return Ok(()) };
        match file.ancestors().find_map(|existing| existing.canonicalize().ok()) {
            Some(real) if real.starts_with(root) => Ok(()),
            _ => {
                let message = format!("{}: a link leads out of the storage {}", path, self.root);
                Err(error::path_denied(message).hint("copy the files into the storage instead of linking to them"))
            }
        }
    }

    /// Must be called before each change of a file. A process may be killed between any two changes; tests simulate that
    /// here. Error: `path-denied`.
    pub(super) fn before_change(&self, path: &str) -> Result<()> {
        if self.is_foreign
            && let Some(folder) = self.root.join(path).folder().and_then(Path::parent)
        {
            self.check_within(path, folder)?;
        }
        #[cfg(test)]
        if self.changes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
            return Err(error::storage_failed("killed here"));
        }
        Ok(())
    }

    pub(super) fn failed(&self, path: &str, error: &object_store::Error) -> Error {
        error::storage_failed(format!("{}: {error}", self.root.join(path)))
    }

    /// Returns the error for a file that cannot be read: a missing file is a damaged checkpoint.
    pub(super) fn read_failed(&self, path: &str, error: &object_store::Error) -> Error {
        match error {
            object_store::Error::NotFound { .. } => error::checkpoint_corrupt(format!("{path}: the file is missing")),
            error => self.failed(path, error),
        }
    }
}
