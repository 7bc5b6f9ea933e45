//! Keyed state: the trait that both backends keep, and what a snapshot of one is.
//!
//! One backend belongs to one subtask of one keyed operator; it holds the key groups that the subtask owns and is used
//! by its thread alone. Only committed turns write to it. It knows nothing of guests, turns or checkpoint manifests.

mod layout;
pub mod list;
mod memory;
mod memory_file;
mod rocksdb;
mod rocksdb_image;

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod test_store;

pub use layout::check_against;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{self, Result};
use crate::manifest::StateBackendKind;
use crate::model::{Column, KeyGroup, Keys};

/// A state by its place in the operator's [`StateLayout`].
pub type StateId = u16;

/// Kinds of state that this version keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateKind {
    /// One value.
    Value,
    /// Elements in order, stored as [`list::push_element`] writes them one behind the other, so that bytes appended to bytes
    /// are a list appended to a list.
    List,
}

/// What the checkpoint remembers about a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDescription {
    pub name: String,
    pub kind: StateKind,
    pub codec: String,
    /// Fingerprint of the values' type.
    pub schema: String,
}

/// The states of an operator; a [`StateId`] is an index into it.
pub type StateLayout = Vec<StateDescription>;

/// What a committed turn does to one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    Put(&'a [u8]),
    /// Appends to the bytes that are there; like `Put` where there are none.
    Append(&'a [u8]),
    Delete,
}

/// One write of a committed turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    pub state: StateId,
    pub group: KeyGroup,
    pub key: &'a [u8],
    pub change: Change<'a>,
}

/// The entries of some keys: `present[i]` tells whether key `i` has one (its value is empty otherwise).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    pub present: Vec<bool>,
    pub values: Column,
}

/// How much a backend holds. An estimate where counting would cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSize {
    pub entries: u64,
    pub bytes: u64,
}

/// Where a subtask keeps its keyed state while it runs.
pub trait StateBackend: Send {
    /// Reads one state of all of `keys.distinct`, in order.
    fn load(&mut self, state: StateId, keys: &Keys) -> Result<Entries>;

    /// Applies the writes of one turn, all or none of them.
    fn apply(&mut self, writes: &mut dyn Iterator<Item = Write<'_>>) -> Result<()>;

    /// Fixes the state as it is now. The synchronous part of a checkpoint: it must not copy the state; what costs
    /// happens in [`StateSnapshot::upload`], while the backend goes on.
    fn snapshot(&mut self) -> Result<Box<dyn StateSnapshot>>;

    fn size(&self) -> StateSize;
}

/// A state as it was at a barrier, not yet in the checkpoint storage.
pub trait StateSnapshot: Send {
    /// Writes to `store` the files of the image which are not among `held`, and names them all. `held` are the files of
    /// the newest complete checkpoint of the same subtask; they stay in the storage at least until this one is complete.
    fn upload(self: Box<Self>, store: &dyn FileStore, held: &[FileRef]) -> Result<StateImage>;
}

/// The state of one subtask in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateImage {
    pub backend: StateBackendKind,
    pub layout: StateLayout,
    pub files: Vec<FileRef>,
    pub size: StateSize,
}

/// A file in the checkpoint storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileRef {
    /// What the backend calls it, such as `000012.sst`.
    pub name: String,
    /// Where the storage holds it, below the storage's root.
    pub path: String,
    pub bytes: u64,
    pub crc32c: u32,
}

/// The checkpoint storage, as far as a backend needs it.
pub trait FileStore: Send + Sync {
    /// Stores bytes, durably.
    fn put(&self, name: &str, bytes: Bytes) -> Result<FileRef>;
    /// Stores a local file, durably.
    fn put_file(&self, name: &str, path: &Path) -> Result<FileRef>;
    /// Reads a file, and checks its length and checksum (`checkpoint-corrupt`).
    fn get(&self, file: &FileRef) -> Result<Bytes>;
    /// Reads a file to a local path, and checks it likewise.
    fn get_file(&self, file: &FileRef, to: &Path) -> Result<()>;
}

/// What a backend is opened with.
pub struct StateOptions<'a> {
    pub backend: StateBackendKind,
    /// A folder for the running state of this subtask alone; whatever it holds is from before and worth nothing.
    pub working_dir: PathBuf,
    pub layout: StateLayout,
    pub max_parallelism: u32,
    /// What to begin with.
    pub restore: Option<(&'a StateImage, &'a dyn FileStore)>,
}

/// Opens a backend, empty or with what `restore` says; empties the working folder first.
///
/// Errors: `checkpoint-mismatch` where the image is of another backend or its states do not fit the layout,
/// `checkpoint-corrupt` where its files are not what was written, `storage-failed` and `state-failed` where files
/// cannot be read or written.
pub fn open(options: StateOptions<'_>) -> Result<Box<dyn StateBackend>> {
    match options.backend {
        StateBackendKind::Memory => Ok(Box::new(memory::MemoryBackend::open(options)?)),
        StateBackendKind::RocksDb => Ok(Box::new(rocksdb::RocksDbBackend::open(options)?)),
    }
}

impl Entries {
    fn with_capacity(keys: usize) -> Entries {
        Entries { present: Vec::with_capacity(keys), values: Column::with_capacity(keys, 0) }
    }

    /// Appends the entry of the next key. A column ends at 4 GiB; what would not fit is an error, not a wrapped offset.
    fn push(&mut self, value: Option<&[u8]>) -> Result<()> {
        let value_or_nothing = value.unwrap_or_default();
        if self.values.bytes().len() + value_or_nothing.len() > u32::MAX as usize {
            return Err(error::state_failed("the state of the keys of one batch is larger than 4 GiB"));
        }
        self.present.push(value.is_some());
        self.values.push(value_or_nothing);
        Ok(())
    }
}
