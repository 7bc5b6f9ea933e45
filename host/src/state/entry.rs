//! Entries of keyed state: how turns write them and what backends return.
//!
//! Plain data. Values are opaque bytes here: [`super::list`] and [`super::ttl`] define their encoding.

use serde::{Deserialize, Serialize};

use super::description::StateId;
use crate::error::{self, Error};
use crate::model::{Column, KeyGroup};

/// How a committed turn changes one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChange<'a> {
    /// Sets the value.
    Put(&'a [u8]),
    /// Appends to the stored bytes, or sets them if the key has no entry. Not for maps.
    Append(&'a [u8]),
    /// Removes the entry.
    Delete,
    /// Removes all entries of the key from a map. Ignores the sub-key.
    DeleteAll,
}

/// One write of a committed turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateWrite<'a> {
    /// State to write to.
    pub state: StateId,
    /// Key group of `key`.
    pub group: KeyGroup,
    /// Key of the entry.
    pub key: &'a [u8],
    /// Sub-key within a map. Empty for other kinds.
    pub sub_key: &'a [u8],
    /// The change.
    pub change: StateChange<'a>,
}

/// One entry as it is stored. A whole list is one entry; each element of a map is an entry of its own. The value of a state
/// with a time to live includes the time of its last update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredEntry<'a> {
    /// Key group of `key`.
    pub group: KeyGroup,
    /// State that the entry belongs to.
    pub state: StateId,
    /// Key of the entry.
    pub key: &'a [u8],
    /// Sub-key within a map. Empty for other kinds.
    pub sub_key: &'a [u8],
    /// Stored bytes.
    pub value: &'a [u8],
}

/// What the database of a subtask shows of its work. Backends without one have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseLoad {
    /// Number of its table files.
    pub files: u64,
    /// Bytes of these files.
    pub file_bytes: u64,
    /// Bytes that compactions are estimated to have to rewrite.
    pub pending_compaction_bytes: u64,
    /// Number of compactions that run.
    pub running_compactions: u64,
    /// How often writes were delayed or stopped since it was opened.
    pub write_stalls: u64,
    /// Bytes of its write-back cache.
    pub cache_bytes: u64,
}

impl DatabaseLoad {
    /// Adds the load of another database.
    pub fn add(&mut self, other: &DatabaseLoad) {
        self.files += other.files;
        self.file_bytes += other.file_bytes;
        self.pending_compaction_bytes += other.pending_compaction_bytes;
        self.running_compactions += other.running_compactions;
        self.write_stalls += other.write_stalls;
        self.cache_bytes += other.cache_bytes;
    }
}

/// Sub-key and value of an entry of a map.
pub type MapEntry = (Vec<u8>, Vec<u8>);

/// The entries of several keys. `present[i]` tells whether key `i` has an entry; its value is empty if not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedEntries {
    /// Whether each key has an entry.
    pub present: Vec<bool>,
    /// The value of each key.
    pub values: Column,
}

/// The result of a read is larger than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Why a read with a limit failed.
#[derive(Debug)]
pub enum LoadFailure {
    /// The result is larger than the limit.
    TooLarge,
    /// The backend failed.
    Error(Error),
}

impl From<Error> for LoadFailure {
    fn from(error: Error) -> LoadFailure {
        LoadFailure::Error(error)
    }
}

impl From<TooLarge> for LoadFailure {
    fn from(_: TooLarge) -> LoadFailure {
        LoadFailure::TooLarge
    }
}

/// For reads by the host, which have no other limit.
impl From<LoadFailure> for Error {
    fn from(failure: LoadFailure) -> Error {
        match failure {
            LoadFailure::TooLarge => error::state_failed("the state of the keys of one batch is larger than 4 GiB"),
            LoadFailure::Error(error) => error,
        }
    }
}

/// The number of bytes that a read without another limit may return: the 4 GiB that a column can hold.
pub const LOADED_BYTES_MAX: usize = u32::MAX as usize;

/// Charged for each entry that a scan returns in addition to its bytes.
const SCANNED_ENTRY_BYTES: usize = 64;

/// Collects entries up to a limit of bytes. It never allocates much more than the limit.
#[derive(Debug)]
pub struct EntryCollector {
    entries: LoadedEntries,
    bytes_left: usize,
}

impl EntryCollector {
    /// Returns a collector for this many keys. The limit is at most [`LOADED_BYTES_MAX`].
    pub fn new(keys: usize, bytes_max: usize) -> EntryCollector {
        let keys = keys.min(bytes_max);
        let entries = LoadedEntries { present: Vec::with_capacity(keys), values: Column::with_capacity(keys, 0) };
        EntryCollector { entries, bytes_left: bytes_max.min(LOADED_BYTES_MAX) }
    }

    /// Appends the entry of the next key.
    #[inline]
    pub fn push(&mut self, value: Option<&[u8]>) -> Result<(), TooLarge> {
        let value_or_nothing = value.unwrap_or_default();
        self.bytes_left = self.bytes_left.checked_sub(value_or_nothing.len()).ok_or(TooLarge)?;
        self.entries.present.push(value.is_some());
        self.entries.values.push(value_or_nothing);
        Ok(())
    }

    /// Appends the entry of the next key, which consists of two parts.
    pub fn push_joined(&mut self, first: &[u8], second: &[u8]) -> Result<(), TooLarge> {
        self.bytes_left = self.bytes_left.checked_sub(first.len() + second.len()).ok_or(TooLarge)?;
        self.entries.present.push(true);
        self.entries.values.push_with(|buffer| {
            buffer.extend_from_slice(first);
            buffer.extend_from_slice(second);
        });
        Ok(())
    }

    /// Returns the collected entries.
    pub fn into_entries(self) -> LoadedEntries {
        self.entries
    }
}

/// The bytes that a scan may still return.
#[derive(Clone, Copy, Debug)]
pub struct ScanBudget(usize);

impl ScanBudget {
    /// Returns a budget of `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> ScanBudget {
        ScanBudget(bytes_max)
    }

    /// Charges an entry.
    #[inline]
    pub fn admit(&mut self, sub_key: &[u8], value: &[u8]) -> Result<(), TooLarge> {
        self.0 = self.0.checked_sub(sub_key.len() + value.len() + SCANNED_ENTRY_BYTES).ok_or(TooLarge)?;
        Ok(())
    }
}

/// Size of a state. An estimate where counting would be expensive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSize {
    /// Number of entries.
    pub entries: u64,
    /// Bytes of keys, sub-keys and values.
    pub bytes: u64,
}

/// Memory that an entry takes in addition to its bytes, charged to the limit of an operator's state.
const ENTRY_OVERHEAD_BYTES: u64 = 96;

impl StateSize {
    /// Returns the memory that entries of this size take.
    pub fn memory_bytes(self) -> u64 {
        self.bytes.saturating_add(self.entries.saturating_mul(ENTRY_OVERHEAD_BYTES))
    }
}

impl std::ops::Add for StateSize {
    type Output = StateSize;

    fn add(self, other: StateSize) -> StateSize {
        StateSize { entries: self.entries + other.entries, bytes: self.bytes + other.bytes }
    }
}
