//! Writes to keyed state that wait for their turn's commit. Buffers are used again from turn to turn; what is left in one
//! is never seen by a key that the turn has not touched.

use std::collections::BTreeMap;

use crate::model::Keys;
use crate::state::{StateChange, StateId, StateWrite};

/// What a turn wants to write to one state: for each key of the batch a change and its bytes.
#[derive(Default)]
pub(super) struct Staged {
    changes: Vec<StagedChange>,
    bytes: Vec<Vec<u8>>,
    touched: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StagedChange {
    #[default]
    None,
    Put,
    Append,
    Delete,
}

/// Buffers above this size are given back between turns.
const BUFFER_KEPT_BYTES: usize = 4096;

impl Staged {
    /// The change of a key and its buffer, noted as touched.
    fn touch(&mut self, key: u32) -> (&mut StagedChange, &mut Vec<u8>) {
        let at = key as usize;
        if self.changes.len() <= at {
            self.changes.resize(at + 1, StagedChange::None);
            self.bytes.resize_with(at + 1, Vec::new);
        }
        if self.changes[at] == StagedChange::None {
            self.touched.push(key);
            self.bytes[at].clear();
        }
        (&mut self.changes[at], &mut self.bytes[at])
    }

    pub(super) fn put(&mut self, key: u32, stamp: &[u8], value: &[u8]) {
        let (change, bytes) = self.touch(key);
        *change = StagedChange::Put;
        bytes.clear();
        bytes.extend_from_slice(stamp);
        bytes.extend_from_slice(value);
    }

    pub(super) fn delete(&mut self, key: u32) {
        let (change, bytes) = self.touch(key);
        *change = StagedChange::Delete;
        bytes.clear();
    }

    /// The buffer to append to.
    pub(super) fn append(&mut self, key: u32) -> &mut Vec<u8> {
        let (change, bytes) = self.touch(key);
        *change = match *change {
            StagedChange::None | StagedChange::Append => StagedChange::Append,
            StagedChange::Put | StagedChange::Delete => StagedChange::Put,
        };
        bytes
    }

    pub(super) fn get(&self, key: usize) -> (StagedChange, &[u8]) {
        match self.changes.get(key) {
            // The buffer of an untouched key holds what an earlier turn left.
            None | Some(StagedChange::None) => (StagedChange::None, &[]),
            Some(&change) => (change, &self.bytes[key]),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// What a commit writes. `keys` are those of the turn.
    pub(super) fn writes<'a>(&'a self, state: StateId, keys: &'a Keys) -> impl Iterator<Item = StateWrite<'a>> {
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

    pub(super) fn reset(&mut self) {
        for &key in &self.touched {
            self.changes[key as usize] = StagedChange::None;
            if self.bytes[key as usize].capacity() > BUFFER_KEPT_BYTES {
                self.bytes[key as usize] = Vec::new();
            }
        }
        self.touched.clear();
    }
}

/// What a turn wants to write to one map state.
#[derive(Default)]
pub(super) struct StagedMaps {
    /// For each key of the batch, as far as one was touched.
    maps: Vec<StagedMap>,
    touched: Vec<u32>,
}

/// What a turn wants to write to the map of one key.
#[derive(Default)]
pub(super) struct StagedMap {
    is_touched: bool,
    /// Whether nothing counts of what was committed.
    pub(super) is_cleared: bool,
    /// Entries to put, and those to remove.
    pub(super) changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl StagedMaps {
    fn touch(&mut self, key: u32) -> &mut StagedMap {
        let at = key as usize;
        if self.maps.len() <= at {
            self.maps.resize_with(at + 1, StagedMap::default);
        }
        let map = &mut self.maps[at];
        if !map.is_touched {
            map.is_touched = true;
            self.touched.push(key);
        }
        map
    }

    pub(super) fn put(&mut self, key: u32, sub_key: &[u8], stamp: &[u8], value: &[u8]) {
        self.touch(key).changes.insert(sub_key.to_vec(), Some([stamp, value].concat()));
    }

    pub(super) fn remove(&mut self, key: u32, sub_key: &[u8]) {
        self.touch(key).changes.insert(sub_key.to_vec(), None);
    }

    pub(super) fn clear(&mut self, key: u32) {
        self.touch(key).clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// The staged map of a key, where there is one.
    pub(super) fn of(&self, key: u32) -> Option<&StagedMap> {
        self.maps.get(key as usize).filter(|map| map.is_touched)
    }

    /// What a commit writes. `keys` are those of the turn.
    pub(super) fn writes<'a>(&'a self, state: StateId, keys: &'a Keys) -> impl Iterator<Item = StateWrite<'a>> {
        let touched = self.touched.iter().map(|&key| (key as usize, &self.maps[key as usize]));
        touched.flat_map(move |(key, map)| {
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

    pub(super) fn reset(&mut self) {
        for key in self.touched.drain(..) {
            self.maps[key as usize] = StagedMap::default();
        }
    }
}

impl StagedMap {
    /// Nothing counts any more, neither what was committed nor what the turn wrote.
    pub(super) fn clear(&mut self) {
        self.is_cleared = true;
        self.changes.clear();
    }

    /// What the turn made of an entry: a value, nothing, or (None) what was committed.
    pub(super) fn get(&self, sub_key: &[u8]) -> Option<Option<&[u8]>> {
        match self.changes.get(sub_key) {
            Some(change) => Some(change.as_deref()),
            None => self.is_cleared.then_some(None),
        }
    }
}
