//! Opens a checkpoint storage, and lists, copies and removes its files.
//!
//! Must not know what the files contain. Files are written in `file_sync` and read in `file_read`.

use std::fs::File;
use std::future::Future;
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

    /// Opens the storage at `root` without creating anything.
    pub(in crate::checkpoint) fn open_existing(root: &StorageLocation, runtime: Handle) -> Result<CheckpointStorage> {
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
        self.before_change()?;
        fail_point!("storage.copy", error::storage_failed);
        self.block_on(self.store.copy(&source, &target)).map_err(|e| self.read_failed(from, &e))
    }

    /// Removes a file. A file that does not exist is not an error.
    pub(in crate::checkpoint) fn remove_file(&self, path: &str) -> Result<()> {
        self.before_change()?;
        fail_point!("storage.remove", error::storage_failed);
        match self.block_on(self.store.delete(&checked_path(path)?)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed(path, &e)),
        }
    }

    /// Must be called before each change. A process may be killed between any two changes; tests simulate that here.
    pub(super) fn before_change(&self) -> Result<()> {
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
