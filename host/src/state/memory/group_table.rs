//! The entries of one key group in memory: one hash table for single values and one for maps.
//!
//! Keys of a group have the same remainder of `hash_key`, so the tables use a hash of their own. Its seed is random, so that
//! input cannot be crafted to collide. The seed does not affect anything that leaves the backend.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::model::KeyGroup;
use crate::state::description::StateId;
use crate::state::entry::{StateChange, StateSize, StateWrite, StoredEntry};

/// The entry of one key in a state that is not a map.
#[derive(Clone, Debug)]
pub(super) struct SingleEntry {
    /// Stored id of the state.
    pub state: StateId,
    pub key: Box<[u8]>,
    pub value: Vec<u8>,
}

/// The entries of one key in a map. There is at least one.
#[derive(Clone, Debug)]
pub(super) struct MapEntries {
    /// Stored id of the state.
    pub state: StateId,
    pub key: Box<[u8]>,
    pub entries: BTreeMap<Box<[u8]>, Vec<u8>>,
}

/// The entries of one key group.
#[derive(Clone, Default)]
pub(super) struct GroupTable {
    pub singles: HashTable<SingleEntry>,
    pub maps: HashTable<MapEntries>,
}

#[inline]
fn hash(seed: u64, state: StateId, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, seed ^ u64::from(state))
}

impl GroupTable {
    /// Applies a write to a state that is not a map, and updates `size`.
    #[inline]
    pub fn write_single(&mut self, write: StateWrite<'_>, seed: u64, size: &mut StateSize) {
        let StateWrite { state, key, change, .. } = write;
        let key_hash = hash(seed, state, key);
        let is_match = |single: &SingleEntry| single.state == state && *single.key == *key;
        let value = match change {
            StateChange::Delete | StateChange::DeleteAll => {
                if let Ok(single) = self.singles.find_entry(key_hash, is_match) {
                    let (single, _) = single.remove();
                    subtract_entry(size, &single.key, &[], &single.value);
                }
                return;
            }
            StateChange::Put(value) | StateChange::Append(value) => value,
        };
        match self.singles.entry(key_hash, is_match, |single| hash(seed, single.state, &single.key)) {
            TableEntry::Occupied(mut single) => {
                let stored = &mut single.get_mut().value;
                if let StateChange::Put(_) = change {
                    size.bytes -= stored.len() as u64;
                    stored.clear();
                }
                stored.extend_from_slice(value);
                size.bytes += value.len() as u64;
            }
            TableEntry::Vacant(slot) => {
                size.entries += 1;
                size.bytes += (key.len() + value.len()) as u64;
                slot.insert(SingleEntry { state, key: key.into(), value: value.to_vec() });
            }
        }
    }

    /// Applies a write to a map, and updates `size`.
    #[inline]
    pub fn write_map(&mut self, write: StateWrite<'_>, seed: u64, size: &mut StateSize) {
        let StateWrite { state, key, sub_key, change, .. } = write;
        let key_hash = hash(seed, state, key);
        let is_match = |map: &MapEntries| map.state == state && *map.key == *key;
        let (StateChange::Put(value) | StateChange::Append(value)) = change else {
            let Ok(mut map) = self.maps.find_entry(key_hash, is_match) else { return };
            let entries = &mut map.get_mut().entries;
            if change == StateChange::DeleteAll {
                entries.iter().for_each(|(sub_key, value)| subtract_entry(size, key, sub_key, value));
                entries.clear();
            } else if let Some(value) = entries.remove(sub_key) {
                subtract_entry(size, key, sub_key, &value);
            }
            if entries.is_empty() {
                map.remove();
            }
            return;
        };
        let slot = self.maps.entry(key_hash, is_match, |map| hash(seed, map.state, &map.key));
        let mut map = slot.or_insert_with(|| MapEntries { state, key: key.into(), entries: BTreeMap::new() });
        let entries = &mut map.get_mut().entries;
        if let Some(stored) = entries.get_mut(sub_key) {
            size.bytes -= stored.len() as u64;
            stored.clear();
            stored.extend_from_slice(value);
            size.bytes += value.len() as u64;
        } else {
            entries.insert(sub_key.into(), value.to_vec());
            size.entries += 1;
            size.bytes += (key.len() + sub_key.len() + value.len()) as u64;
        }
    }

    /// Returns the entry of a key in a state that is not a map.
    #[inline]
    pub fn single(&self, seed: u64, state: StateId, key: &[u8]) -> Option<&SingleEntry> {
        self.singles.find(hash(seed, state, key), |single| single.state == state && *single.key == *key)
    }

    /// Returns the map entries of a key.
    #[inline]
    pub fn map(&self, seed: u64, state: StateId, key: &[u8]) -> Option<&MapEntries> {
        self.maps.find(hash(seed, state, key), |map| map.state == state && *map.key == *key)
    }

    /// Returns all entries in ascending order. `group` is the number of this key group.
    pub fn sorted_entries(&self, group: KeyGroup) -> Vec<StoredEntry<'_>> {
        let mut entries: Vec<StoredEntry<'_>> = Vec::with_capacity(self.singles.len());
        for SingleEntry { state, key, value } in &self.singles {
            entries.push(StoredEntry { group, state: *state, key, sub_key: &[], value });
        }
        for MapEntries { state, key, entries: map } in &self.maps {
            entries.extend(map.iter().map(|(sub_key, value)| StoredEntry {
                group,
                state: *state,
                key,
                sub_key,
                value,
            }));
        }
        entries.sort_unstable();
        entries
    }
}

/// Subtracts a removed entry from `size`.
pub(super) fn subtract_entry(size: &mut StateSize, key: &[u8], sub_key: &[u8], value: &[u8]) {
    size.entries -= 1;
    size.bytes -= (key.len() + sub_key.len() + value.len()) as u64;
}
