//! Entries of keyed state: how turns write them and what backends return.
//!
//! Plain data. Values are opaque bytes here: [`super::list`] and [`super::ttl`] define their encoding.

use serde::{Deserialize, Serialize};

use super::description::StateId;
use crate::error::{self, Result};
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

impl LoadedEntries {
    /// Returns an empty result with room for this many keys.
    pub fn with_capacity(keys: usize) -> LoadedEntries {
        LoadedEntries { present: Vec::with_capacity(keys), values: Column::with_capacity(keys, 0) }
    }

    /// Appends the entry of the next key. Returns `state-failed` if the values would exceed the 4 GiB that a column can hold.
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

/// Size of a state. An estimate where counting would be expensive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSize {
    /// Number of entries.
    pub entries: u64,
    /// Bytes of keys, sub-keys and values.
    pub bytes: u64,
}

impl std::ops::Add for StateSize {
    type Output = StateSize;

    fn add(self, other: StateSize) -> StateSize {
        StateSize { entries: self.entries + other.entries, bytes: self.bytes + other.bytes }
    }
}
