//! Snapshots of state: what a subtask takes at a barrier, and what a checkpoint stores of it.
//!
//! ```text
//! barrier:  StateBackend::snapshot  ->  StateSnapshot          (synchronous, on the subtask's thread)
//! upload:   StateSnapshot::upload   ->  StateHandle, FileRefs  (asynchronous, to a FileStore)
//! restore:  RestoreSource = StateHandle + its key groups + its FileStore
//! ```
//!
//! Knows nothing of checkpoint metadata: `checkpoint` implements [`FileStore`].

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::description::StateLayout;
use super::entry::StateSize;
use crate::error::Result;
use crate::model::Interrupt;
use crate::pipeline::StateBackendKind;

/// The state of a subtask as it was at a barrier. Its files are not in the checkpoint storage yet.
pub trait StateSnapshot: Send {
    /// Stores those files of the snapshot that are not in `held`, and returns the handle of all of them.
    ///
    /// `held` are the files of the newest complete checkpoint of the same subtask. They stay in the storage at least until
    /// this checkpoint is complete.
    fn upload(self: Box<Self>, store: &dyn FileStore, held: &[FileRef]) -> Result<StateHandle>;
}

/// Format of the files of a snapshot. The order of the variants is part of the durable format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotFormat {
    /// Sorted entries: see [`super::canonical`]. Every backend reads it, at any parallelism. The memory backend writes only
    /// this format.
    Canonical,
    /// The files of a RocksDB database, uploaded incrementally: see `state/rocksdb/`.
    RocksDb,
}

impl SnapshotFormat {
    /// Returns the format that `backend` writes fastest.
    pub fn native_of(backend: StateBackendKind) -> SnapshotFormat {
        match backend {
            StateBackendKind::Memory => SnapshotFormat::Canonical,
            StateBackendKind::RocksDb => SnapshotFormat::RocksDb,
        }
    }
}

/// The stored state of one subtask in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHandle {
    /// Format of the files.
    pub format: SnapshotFormat,
    /// The states that the files contain, by stored id.
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub layout: StateLayout,
    /// The files.
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub files: Vec<FileRef>,
    /// Size of the state.
    pub size: StateSize,
}

/// A file in the checkpoint storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileRef {
    /// Name that the backend gave the file, such as `000012.sst`.
    pub name: String,
    /// Path of the file, relative to the root of the storage.
    pub path: String,
    /// Length of the file.
    pub bytes: u64,
    /// CRC-32C of the file.
    pub crc32c: u32,
}

/// The part of the checkpoint storage that a backend needs.
pub trait FileStore: Send + Sync {
    /// Stores bytes durably.
    fn put(&self, name: &str, bytes: Bytes) -> Result<FileRef>;
    /// Stores a local file durably. The file must not change afterwards: a storage in the same file system stores a hard
    /// link to it.
    fn put_file(&self, name: &str, path: &Path) -> Result<FileRef>;
    /// Reads a file. Returns `checkpoint-corrupt` if its length or checksum is wrong.
    fn get(&self, file: &FileRef) -> Result<Bytes>;
    /// Copies a file to a local path, with the same checks as [`FileStore::get`].
    fn get_file(&self, file: &FileRef, to: &Path) -> Result<()>;
    /// Creates a hard link to a file at a local path, if the storage is in the same file system. The linked file must not be
    /// changed. Checks only the length; the checksum is checked when a checkpoint is chosen for the restore, if at all.
    ///
    /// Returns false, without any effect, if the storage cannot link.
    fn link_file(&self, _file: &FileRef, _to: &Path) -> Result<bool> {
        Ok(false)
    }
    /// Returns what ends the reading of files, if others than this host may have written them. Then a native library must not
    /// read them unchecked.
    fn foreign(&self) -> Option<&Interrupt> {
        None
    }
}

/// The stored state of one subtask as the source of a restore.
#[derive(Clone)]
pub struct RestoreSource<'a> {
    /// The stored state.
    pub handle: &'a StateHandle,
    /// The key groups that the subtask owned.
    pub groups: Range<u32>,
    /// The storage that contains the files.
    pub store: &'a dyn FileStore,
}
