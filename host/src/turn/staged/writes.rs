//! Staged writes to keyed state.
//!
//! Buffers are reused from turn to turn. Invariant: a key that the current turn has not touched never exposes what an earlier
//! turn left in its buffer.

use std::collections::BTreeMap;

use crate::model::Keys;
use crate::state::{StateChange, StateId, StateWrite};

/// Staged writes to one state: for each key of the batch a change and its bytes.
#[derive(Default)]
pub(in crate::turn) struct StagedWrites {
    changes: Vec<StagedChange>,
    bytes: Vec<Vec<u8>>,
    /// Number of appended elements of each key.
    elements: Vec<u32>,
    /// Keys with a change, in the order of their first change.
    touched: Vec<u32>,
}

/// The staged change of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::turn) enum StagedChange {
    #[default]
    None,
    Put,
    Append,
    Delete,
}

/// Buffers above this size are freed between turns.
const BUFFER_KEPT_BYTES: usize = 4096;

impl StagedWrites {
    /// Returns the change of a key and its buffer, and notes the key as touched.
    fn touch(&mut self, key: u32) -> (&mut StagedChange, &mut Vec<u8>) {
        let index = key as usize;
        if self.changes.len() <= index {
            self.changes.resize(index + 1, StagedChange::None);
            self.bytes.resize_with(index + 1, Vec::new);
            self.elements.resize(index + 1, 0);
        }
        if self.changes[index] == StagedChange::None {
            self.touched.push(key);
            self.bytes[index].clear();
            self.elements[index] = 0;
        }
        (&mut self.changes[index], &mut self.bytes[index])
    }

    /// Stages the value of a key: `stamp`, then `value`.
    pub fn put(&mut self, key: u32, stamp: &[u8], value: &[u8]) {
        let (change, bytes) = self.touch(key);
        *change = StagedChange::Put;
        bytes.clear();
        bytes.extend_from_slice(stamp);
        bytes.extend_from_slice(value);
    }

    /// Stages the removal of a key's entry.
    pub fn delete(&mut self, key: u32) {
        let (change, bytes) = self.touch(key);
        *change = StagedChange::Delete;
        bytes.clear();
        self.elements[key as usize] = 0;
    }

    /// Returns the buffer to append an element to.
    pub fn append(&mut self, key: u32) -> &mut Vec<u8> {
        let (change, _) = self.touch(key);
        *change = match *change {
            StagedChange::None | StagedChange::Append => StagedChange::Append,
            StagedChange::Put | StagedChange::Delete => StagedChange::Put,
        };
        self.elements[key as usize] += 1;
        &mut self.bytes[key as usize]
    }

    /// Returns the number of elements that were appended to the list of a key.
    pub fn elements(&self, key: u32) -> u64 {
        match self.changes.get(key as usize) {
            None | Some(StagedChange::None) => 0,
            Some(_) => self.elements[key as usize].into(),
        }
    }

    /// Returns the keys with a change, in the order of their first change.
    pub fn touched(&self) -> &[u32] {
        &self.touched
    }

    /// Returns the change of a key and its bytes.
    pub fn get(&self, key: usize) -> (StagedChange, &[u8]) {
        match self.changes.get(key) {
            // The buffer of an untouched key contains bytes of an earlier turn.
            None | Some(StagedChange::None) => (StagedChange::None, &[]),
            Some(&change) => (change, &self.bytes[key]),
        }
    }

    /// Returns whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Returns the writes to commit. `keys` are the keys of the turn.
    pub fn writes<'a>(&'a self, state: StateId, keys: &'a Keys) -> impl Iterator<Item = StateWrite<'a>> {
        self.touched.iter().filter_map(move |&key| {
            let key = key as usize;
            let (change, bytes) = self.get(key);
            let change = match change {
                StagedChange::None => return None,
                StagedChange::Put => StateChange::Put(bytes),
                StagedChange::Append => StateChange::Append(bytes),
                StagedChange::Delete => StateChange::Delete,
            };
            Some(StateWrite { state, group: keys.groups[key], key: keys.distinct.value(key), sub_key: &[], change })
        })
    }

    /// Discards all staged writes.
    pub fn reset(&mut self) {
        for &key in &self.touched {
            self.changes[key as usize] = StagedChange::None;
            if self.bytes[key as usize].capacity() > BUFFER_KEPT_BYTES {
                self.bytes[key as usize] = Vec::new();
            }
        }
        self.touched.clear();
    }
}

/// Staged writes to one map state, for all keys of the batch.
#[derive(Default)]
pub(in crate::turn) struct StagedMaps {
    /// The staged map of each key, up to the highest touched key.
    maps: Vec<StagedMap>,
    touched: Vec<u32>,
}

/// Staged writes to the map of one key.
#[derive(Default)]
pub(in crate::turn) struct StagedMap {
    is_touched: bool,
    /// Whether the committed entries of the map are to be deleted.
    pub is_cleared: bool,
    /// Values to put by sub-key. `None` removes the entry.
    pub changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Bytes of all puts since the map was cleared, also of those that were replaced.
    pub put_bytes: usize,
}

/// The staged change of one entry of a map.
pub(in crate::turn) enum StagedMapEntry<'a> {
    /// Nothing: the committed entry counts.
    Unchanged,
    /// The entry is put.
    Put(&'a [u8]),
    /// The entry is removed.
    Removed,
}

impl<'a> StagedMapEntry<'a> {
    /// Returns the staged value, or `committed` if the entry is unchanged.
    #[inline]
    pub fn or_committed(self, committed: impl FnOnce() -> Option<&'a [u8]>) -> Option<&'a [u8]> {
        match self {
            StagedMapEntry::Unchanged => committed(),
            StagedMapEntry::Put(value) => Some(value),
            StagedMapEntry::Removed => None,
        }
    }
}

impl StagedMaps {
    fn touch(&mut self, key: u32) -> &mut StagedMap {
        let index = key as usize;
        if self.maps.len() <= index {
            self.maps.resize_with(index + 1, StagedMap::default);
        }
        let map = &mut self.maps[index];
        if !map.is_touched {
            map.is_touched = true;
            self.touched.push(key);
        }
        map
    }

    /// Stages an entry: `stamp`, then `value`.
    pub fn put(&mut self, key: u32, sub_key: &[u8], stamp: &[u8], value: &[u8]) {
        let map = self.touch(key);
        map.put_bytes += sub_key.len() + stamp.len() + value.len();
        map.changes.insert(sub_key.to_vec(), Some([stamp, value].concat()));
    }

    /// Stages the removal of an entry.
    pub fn remove(&mut self, key: u32, sub_key: &[u8]) {
        self.touch(key).changes.insert(sub_key.to_vec(), None);
    }

    /// Stages the removal of all entries of a key.
    pub fn clear(&mut self, key: u32) {
        self.touch(key).clear();
    }

    /// Returns whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Returns the keys with staged writes, and their maps.
    pub fn touched(&self) -> impl Iterator<Item = (u32, &StagedMap)> {
        self.touched.iter().map(|&key| (key, &self.maps[key as usize]))
    }

    /// Returns the staged map of a key, if the turn has touched it.
    pub fn of(&self, key: u32) -> Option<&StagedMap> {
        self.maps.get(key as usize).filter(|map| map.is_touched)
    }

    /// Returns the writes to commit. `keys` are the keys of the turn.
    pub fn writes<'a>(&'a self, state: StateId, keys: &'a Keys) -> impl Iterator<Item = StateWrite<'a>> {
        self.touched().flat_map(move |(key, map)| {
            let key = key as usize;
            let clear = map.is_cleared.then_some((&[][..], StateChange::DeleteAll));
            let changes = map.changes.iter().map(|(sub_key, value)| {
                (&sub_key[..], value.as_ref().map_or(StateChange::Delete, |value| StateChange::Put(value)))
            });
            clear.into_iter().chain(changes).map(move |(sub_key, change)| StateWrite {
                state,
                group: keys.groups[key],
                key: keys.distinct.value(key),
                sub_key,
                change,
            })
        })
    }

    /// Discards all staged writes.
    pub fn reset(&mut self) {
        for key in self.touched.drain(..) {
            self.maps[key as usize] = StagedMap::default();
        }
    }
}

impl StagedMap {
    /// Stages the removal of all entries, including those that the turn has put.
    pub fn clear(&mut self) {
        self.is_cleared = true;
        self.changes.clear();
        self.put_bytes = 0;
    }

    /// Returns what is staged for an entry.
    pub fn get(&self, sub_key: &[u8]) -> StagedMapEntry<'_> {
        match self.changes.get(sub_key) {
            Some(Some(value)) => StagedMapEntry::Put(value),
            Some(None) => StagedMapEntry::Removed,
            None if self.is_cleared => StagedMapEntry::Removed,
            None => StagedMapEntry::Unchanged,
        }
    }
}
