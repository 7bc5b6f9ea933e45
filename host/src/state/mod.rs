//! Keyed state: the trait that both backends keep, and what a snapshot of one is.
//!
//! One backend belongs to one subtask of one keyed operator; it holds the key groups that the subtask owns and is used
//! by its thread alone. Only committed turns write to it. It knows nothing of guests, turns or checkpoint manifests.

mod broadcast;
pub mod canonical;
pub mod internal;
mod known_keys;
mod layout;
pub mod list;
mod memory;
mod memory_ttl;
mod restore;
mod rocksdb;
mod rocksdb_cache;
mod rocksdb_cut;
mod rocksdb_image;
mod rocksdb_ttl;
pub mod ttl;

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod rescale_tests;
#[cfg(test)]
mod rocksdb_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use broadcast::{BroadcastMap, BroadcastState};
pub use layout::check_schema_compatibility;

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::SharedClock;
use crate::error::{self, Result};
use crate::model::{Column, Interrupt, KeyGroup, Keys};
use crate::pipeline::StateBackendKind;

/// A state by its place in the operator's [`StateLayout`].
pub type StateId = u16;

/// Kinds of state. The order is part of the durable format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateKind {
    /// One value.
    Value,
    /// Elements in order, stored as [`list::push_element`] writes them one behind the other, so that bytes appended to bytes
    /// are a list appended to a list.
    List,
    /// Values under sub-keys, in order of the sub-keys' bytes. Each is an entry of its own.
    Map,
    /// One value: the accumulator, of the values' own type. The function folds.
    Reducing,
    /// One value: the accumulator. The function folds.
    Aggregating,
    /// A map that belongs to no key, and that every subtask holds whole. No backend keeps it.
    Broadcast,
}

impl StateKind {
    pub fn as_str(self) -> &'static str {
        match self {
            StateKind::Value => "value",
            StateKind::List => "list",
            StateKind::Map => "map",
            StateKind::Reducing => "reducing",
            StateKind::Aggregating => "aggregating",
            StateKind::Broadcast => "broadcast",
        }
    }
}

/// When an entry's time to live begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TtlUpdate {
    CreateAndWrite,
    ReadAndWrite,
}

/// How long an entry lives, in processing time. What is stored begins with the time of its last update: see [`ttl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeToLive {
    pub milliseconds: u64,
    pub update: TtlUpdate,
    /// Whether an expired entry that is not cleaned up yet may be read, once.
    pub return_expired: bool,
}

/// What the checkpoint remembers about a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDescription {
    pub name: String,
    pub kind: StateKind,
    pub codec: String,
    /// Fingerprint of the values' type.
    pub schema: String,
    /// Of a map: how sub-keys are written, such as `ordered:u64`. Else empty.
    pub map_key: String,
    pub ttl: Option<TimeToLive>,
    /// Fingerprints of older forms that the function can migrate. A matter of the function, not of what is stored.
    #[serde(skip)]
    pub previous: Vec<String>,
}

impl StateDescription {
    /// A state without a time to live, and without older forms.
    pub fn new(name: &str, kind: StateKind, codec: &str, schema: &str) -> StateDescription {
        StateDescription {
            name: name.into(),
            kind,
            codec: codec.into(),
            schema: schema.into(),
            map_key: String::new(),
            ttl: None,
            previous: Vec::new(),
        }
    }

    /// Whether it is the host's own: timers, what windows hold. No function can declare such a name.
    pub fn is_internal(&self) -> bool {
        self.name.starts_with('@')
    }
}

/// The states of an operator; a [`StateId`] is an index into it.
pub type StateLayout = Vec<StateDescription>;

/// What a committed turn does to one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChange<'a> {
    Put(&'a [u8]),
    /// Appends to the bytes that are there; like `Put` where there are none. Not for maps.
    Append(&'a [u8]),
    Delete,
    /// Of a map: deletes all entries of the key; the sub-key says nothing.
    DeleteAll,
}

/// One write of a committed turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateWrite<'a> {
    pub state: StateId,
    pub group: KeyGroup,
    pub key: &'a [u8],
    /// Of a map; else empty.
    pub sub_key: &'a [u8],
    pub change: StateChange<'a>,
}

/// One entry of a state, as it is stored: a list is one entry, each entry of a map one of its own, and a state with a time
/// to live has its times in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredEntry<'a> {
    pub group: KeyGroup,
    pub state: StateId,
    pub key: &'a [u8],
    /// Of a map; else empty.
    pub sub_key: &'a [u8],
    pub value: &'a [u8],
}

/// The entries of some keys: `present[i]` tells whether key `i` has one (its value is empty otherwise).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedEntries {
    pub present: Vec<bool>,
    pub values: Column,
}

/// How much a backend holds. An estimate where counting would cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSize {
    pub entries: u64,
    pub bytes: u64,
}

impl std::ops::Add for StateSize {
    type Output = StateSize;

    fn add(self, other: StateSize) -> StateSize {
        StateSize { entries: self.entries + other.entries, bytes: self.bytes + other.bytes }
    }
}

/// Where a subtask keeps its keyed state while it runs.
pub trait StateBackend: Send {
    /// Reads one state of all of `keys.distinct`, in order. Not for maps.
    fn load(&mut self, state: StateId, keys: &Keys) -> Result<LoadedEntries>;

    /// Reads of a map the entry `sub_keys[i]` of key `keys.distinct[of[i]]`, for each `i`. `of` is within the keys.
    fn load_map(&mut self, state: StateId, keys: &Keys, of: &[u32], sub_keys: &Column) -> Result<LoadedEntries>;

    /// Reads up to `limit` entries of the map of one key, ascending by sub-key, beginning behind `after`.
    fn scan_map(
        &mut self,
        state: StateId,
        group: KeyGroup,
        key: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<MapEntry>>;

    /// Applies the writes of one turn, all or none of them.
    fn apply(&mut self, writes: &mut dyn Iterator<Item = StateWrite<'_>>) -> Result<()>;

    /// Fixes the state as it is now. The synchronous part of a checkpoint: it must not copy the state; what costs
    /// happens in [`StateSnapshot::upload`], while the backend goes on. A backend that does not write `format` natively
    /// converts in `upload`.
    fn snapshot(&mut self, format: SnapshotFormat) -> Result<Box<dyn StateSnapshot>>;

    fn size(&self) -> StateSize;
}

/// A state as it was at a barrier, not yet in the checkpoint storage.
pub trait StateSnapshot: Send {
    /// Writes to `store` the files of the image which are not among `held`, and names them all. `held` are the files of
    /// the newest complete checkpoint of the same subtask; they stay in the storage at least until this one is complete.
    fn upload(self: Box<Self>, store: &dyn FileStore, held: &[FileRef]) -> Result<StateHandle>;
}

/// How the files of an image are written. The order is part of the durable format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotFormat {
    /// Sorted entries: see [`canonical`]. Any backend, at any parallelism, reads it; the memory backend writes no other.
    Canonical,
    /// The files of a RocksDB database: see [`rocksdb_image`]. Written incrementally.
    RocksDb,
}

impl SnapshotFormat {
    /// What a backend writes fastest.
    pub fn native_of(backend: StateBackendKind) -> SnapshotFormat {
        match backend {
            StateBackendKind::Memory => SnapshotFormat::Canonical,
            StateBackendKind::RocksDb => SnapshotFormat::RocksDb,
        }
    }
}

/// The state of one subtask in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHandle {
    pub format: SnapshotFormat,
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
    /// Stores a local file, durably. Nothing may change its bytes any more: a storage in the same file system keeps the file
    /// itself, under a second name.
    fn put_file(&self, name: &str, path: &Path) -> Result<FileRef>;
    /// Reads a file, and checks its length and checksum (`checkpoint-corrupt`).
    fn get(&self, file: &FileRef) -> Result<Bytes>;
    /// Reads a file to a local path, and checks it likewise.
    fn get_file(&self, file: &FileRef, to: &Path) -> Result<()>;
    /// Gives a file a second name at a local path, where the storage is in the same file system; nothing may change its bytes
    /// there. Checks its length alone: its checksum was checked when its image was chosen, or nobody wanted that. False
    /// where it cannot be done; then nothing was.
    fn link_file(&self, _file: &FileRef, _to: &Path) -> Result<bool> {
        Ok(false)
    }
}

/// What a backend is opened with.
pub struct StateOptions<'a> {
    pub backend: StateBackendKind,
    /// A folder for the running state of this subtask alone; whatever it holds is from before and worth nothing.
    pub working_dir: PathBuf,
    pub layout: StateLayout,
    pub max_parallelism: u32,
    /// The key groups that the subtask owns. Entries of others are not restored.
    pub groups: Range<u32>,
    /// What to begin with: the images of those subtasks that held any of `groups`; none for an empty state.
    pub restore: Vec<RestoreSource<'a>>,
    /// Drop the states that `layout` does not name, instead of refusing them.
    pub allow_unclaimed: bool,
    /// Rewrites values of an older schema; see [`StateDescription::previous`].
    pub migrate: Option<&'a mut dyn StateMigrator>,
    /// For the cleaning up of expired entries.
    pub clock: SharedClock,
    /// Ends the restore with `interrupted`.
    pub interrupt: Interrupt,
}

impl<'a> StateOptions<'a> {
    /// Of a subtask that owns all key groups and begins with nothing.
    pub fn empty(
        backend: StateBackendKind,
        working_dir: PathBuf,
        layout: StateLayout,
        max_parallelism: u32,
        clock: SharedClock,
    ) -> StateOptions<'a> {
        let groups = 0..max_parallelism;
        StateOptions {
            backend,
            working_dir,
            layout,
            max_parallelism,
            groups,
            restore: Vec::new(),
            allow_unclaimed: false,
            migrate: None,
            clock,
            interrupt: Interrupt::default(),
        }
    }
}

/// The image of one subtask, for a restore.
#[derive(Clone)]
pub struct RestoreSource<'a> {
    pub handle: &'a StateHandle,
    /// The key groups that the subtask owned.
    pub groups: Range<u32>,
    pub store: &'a dyn FileStore,
}

/// The function that knows older forms of its values.
pub trait StateMigrator {
    /// Rewrites values of state `state` (an index into the operator's layout) that were stored under `schema`: values,
    /// elements of lists, values of maps, accumulators. The answer has one for each.
    fn migrate(&mut self, state: StateId, schema: &str, values: &Column) -> Result<Column>;
}

/// An entry of a map: its sub-key and value.
pub type MapEntry = (Vec<u8>, Vec<u8>);

/// Sets what all RocksDB databases of the process may take of memory together, in bytes. The first call counts, before the
/// first backend is opened. Half is for the caches of hot entries, which the open databases share equally; a quarter for what
/// is not written to a file yet; the rest for blocks that were read.
pub fn set_memory_limit(bytes: usize) {
    rocksdb::set_memory_limit(bytes);
}

/// What [`set_memory_limit`] says where nobody does.
pub const DEFAULT_MEMORY_BYTES: usize = rocksdb::DEFAULT_MEMORY_BYTES;

/// Opens a backend, empty or with what `restore` says; empties the working folder first.
///
/// Errors: `checkpoint-mismatch` where the states of an image do not fit the layout, `checkpoint-corrupt` where its files
/// are not what was written, what [`StateMigrator::migrate`] says and `state-migration-failed`, `storage-failed` and
/// `state-failed` where files cannot be read or written.
pub fn open(options: StateOptions<'_>) -> Result<Box<dyn StateBackend>> {
    match options.backend {
        StateBackendKind::Memory => Ok(Box::new(memory::MemoryBackend::open(options)?)),
        StateBackendKind::RocksDb => Ok(Box::new(rocksdb::RocksDbBackend::open(options)?)),
    }
}

/// Hands every entry of an image whose group is in `groups` to `visit`, ascending (group, state, key, sub-key). The ids of
/// states are those of `image.layout`. `scratch` is an empty folder, or none yet, for files that have to be local.
pub fn read_snapshot(
    image: &RestoreSource<'_>,
    groups: Range<u32>,
    scratch: &Path,
    visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
) -> Result<()> {
    match image.handle.format {
        SnapshotFormat::Canonical => canonical::read(image, groups, visit),
        SnapshotFormat::RocksDb => rocksdb_image::read(image, groups, scratch, visit),
    }
}

/// Appends `key` so that bytes may follow and the whole still sorts as (key, what follows): a 0 is written as 0 255, the end
/// as 0 0. Part of the durable format.
pub fn write_ordered(buffer: &mut Vec<u8>, key: &[u8]) {
    for &byte in key {
        buffer.push(byte);
        if byte == 0 {
            buffer.push(255);
        }
    }
    buffer.extend_from_slice(&[0, 0]);
}

/// What [`write_ordered`] wrote, and what follows it. None where the bytes are nothing that it writes.
pub fn read_ordered(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut key = Vec::new();
    let mut rest = bytes;
    loop {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        if byte == 0 {
            let (&mark, behind) = rest.split_first()?;
            rest = behind;
            match mark {
                0 => return Some((key, rest)),
                255 => {}
                _ => return None,
            }
        }
        key.push(byte);
    }
}

impl LoadedEntries {
    pub fn with_capacity(keys: usize) -> LoadedEntries {
        LoadedEntries { present: Vec::with_capacity(keys), values: Column::with_capacity(keys, 0) }
    }

    /// Appends the entry of the next key. A column ends at 4 GiB; what would not fit is an error, not a wrapped offset.
    pub fn push(&mut self, value: Option<&[u8]>) -> Result<()> {
        let value_or_nothing = value.unwrap_or_default();
        if self.values.bytes().len() + value_or_nothing.len() > u32::MAX as usize {
            return Err(error::state_failed("the state of the keys of one batch is larger than 4 GiB"));
        }
        self.present.push(value.is_some());
        self.values.push(value_or_nothing);
        Ok(())
    }
}
