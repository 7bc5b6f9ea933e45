//! State on the heap: one hash table per key group, shared with a snapshot until the group is written to again.
//!
//! A snapshot clones the handles of the tables; the first write to a group while a snapshot lives copies that group
//! (`Arc::make_mut`). Durable form: see [`super::canonical`]. What has expired is dropped a few entries at a time, with each
//! turn that is applied, and never from a group that a snapshot shares.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::canonical::CanonicalWriter;
use super::layout::StoredLayout;
use super::memory_ttl::CleanUp;
use super::restore::read_entries;
use super::ttl::Expiry;
use super::{
    FileRef, FileStore, LoadedEntries, MapEntry, SnapshotFormat, StateBackend, StateChange, StateHandle, StateId,
    StateKind, StateOptions, StateSize, StateSnapshot, StateWrite, StoredEntry,
};
use crate::clock::random_u64;
use crate::error::{self, Result};
use crate::model::{Column, KeyGroup, Keys};

/// The entry of one key in a state that is no map.
#[derive(Clone, Debug)]
pub(super) struct Single {
    /// As it is stored; see [`StoredLayout`].
    pub state: StateId,
    pub key: Box<[u8]>,
    pub value: Vec<u8>,
}

/// The entries of one key in a map, at least one.
#[derive(Clone, Debug)]
pub(super) struct Map {
    pub state: StateId,
    pub key: Box<[u8]>,
    pub entries: BTreeMap<Box<[u8]>, Vec<u8>>,
}

/// A key group.
#[derive(Clone, Default)]
pub(super) struct Group {
    pub singles: HashTable<Single>,
    pub maps: HashTable<Map>,
}

/// See the module.
pub(super) struct MemoryBackend {
    layout: StoredLayout,
    /// One per key group of the job; those that nothing was ever written to share one empty table.
    groups: Vec<Arc<Group>>,
    size: StateSize,
    /// Keys of a group agree in the remainder of their `hash_key`, so the tables hash on their own. The seed is random,
    /// so that nobody can choose keys that collide; nothing that leaves the backend depends on it.
    seed: u64,
    /// None where no state has a time to live.
    clean_up: Option<CleanUp>,
}

impl MemoryBackend {
    pub fn open(mut options: StateOptions<'_>) -> Result<MemoryBackend> {
        let restore = std::mem::take(&mut options.restore);
        let layout = StoredLayout::new(&options.layout)?;
        let clean_up = Expiry::new(&layout.stored, options.clock.clone()).map(CleanUp::new);
        let mut backend = MemoryBackend {
            layout,
            groups: vec![Arc::default(); options.max_parallelism as usize],
            size: StateSize::default(),
            seed: random_u64(),
            clean_up,
        };
        let layout = backend.layout.clone();
        read_entries(&mut options, &restore, &layout, &mut |entry| {
            let StoredEntry { group, state, key, sub_key, value } = entry;
            backend
                .write(layout.kind(state), StateWrite { state, group, key, sub_key, change: StateChange::Put(value) })
        })?;
        Ok(backend)
    }

    fn hash(seed: u64, state: StateId, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, seed ^ u64::from(state))
    }

    /// Writes to a stored state.
    fn write(&mut self, kind: StateKind, write: StateWrite<'_>) -> Result<()> {
        let group = self.groups.get_mut(usize::from(write.group)).ok_or_else(|| no_such_group(write.group))?;
        let group = Arc::make_mut(group);
        match kind {
            StateKind::Map => group.write_map(write, self.seed, &mut self.size),
            _ => group.write_single(write, self.seed, &mut self.size),
        }
        Ok(())
    }
}

impl Group {
    fn write_single(&mut self, write: StateWrite<'_>, seed: u64, size: &mut StateSize) {
        let StateWrite { state, key, change, .. } = write;
        let hash = MemoryBackend::hash(seed, state, key);
        let is_it = |single: &Single| single.state == state && *single.key == *key;
        let value = match change {
            StateChange::Delete | StateChange::DeleteAll => {
                if let Ok(single) = self.singles.find_entry(hash, is_it) {
                    let (single, _) = single.remove();
                    forget(size, &single.key, &[], &single.value);
                }
                return;
            }
            StateChange::Put(value) | StateChange::Append(value) => value,
        };
        match self.singles.entry(hash, is_it, |single| MemoryBackend::hash(seed, single.state, &single.key)) {
            Slot::Occupied(mut single) => {
                let held = &mut single.get_mut().value;
                if let StateChange::Put(_) = change {
                    size.bytes -= held.len() as u64;
                    held.clear();
                }
                held.extend_from_slice(value);
                size.bytes += value.len() as u64;
            }
            Slot::Vacant(slot) => {
                size.entries += 1;
                size.bytes += (key.len() + value.len()) as u64;
                slot.insert(Single { state, key: key.into(), value: value.to_vec() });
            }
        }
    }

    fn write_map(&mut self, write: StateWrite<'_>, seed: u64, size: &mut StateSize) {
        let StateWrite { state, key, sub_key, change, .. } = write;
        let hash = MemoryBackend::hash(seed, state, key);
        let is_it = |map: &Map| map.state == state && *map.key == *key;
        let (StateChange::Put(value) | StateChange::Append(value)) = change else {
            let Ok(mut map) = self.maps.find_entry(hash, is_it) else { return };
            let entries = &mut map.get_mut().entries;
            if change == StateChange::DeleteAll {
                entries.iter().for_each(|(sub_key, value)| forget(size, key, sub_key, value));
                entries.clear();
            } else if let Some(value) = entries.remove(sub_key) {
                forget(size, key, sub_key, &value);
            }
            if entries.is_empty() {
                map.remove();
            }
            return;
        };
        let slot = self.maps.entry(hash, is_it, |map| MemoryBackend::hash(seed, map.state, &map.key));
        let mut map = slot.or_insert_with(|| Map { state, key: key.into(), entries: BTreeMap::new() });
        let entries = &mut map.get_mut().entries;
        if let Some(held) = entries.get_mut(sub_key) {
            size.bytes -= held.len() as u64;
            held.clear();
            held.extend_from_slice(value);
            size.bytes += value.len() as u64;
        } else {
            entries.insert(sub_key.into(), value.to_vec());
            size.entries += 1;
            size.bytes += (key.len() + sub_key.len() + value.len()) as u64;
        }
    }

    fn single(&self, seed: u64, state: StateId, key: &[u8]) -> Option<&Single> {
        let hash = MemoryBackend::hash(seed, state, key);
        self.singles.find(hash, |single| single.state == state && *single.key == *key)
    }

    fn map(&self, seed: u64, state: StateId, key: &[u8]) -> Option<&Map> {
        let hash = MemoryBackend::hash(seed, state, key);
        self.maps.find(hash, |map| map.state == state && *map.key == *key)
    }

    /// All entries in order.
    fn entries(&self, group: KeyGroup) -> Vec<StoredEntry<'_>> {
        let mut entries: Vec<StoredEntry<'_>> = Vec::with_capacity(self.singles.len());
        for single in &self.singles {
            entries.push(StoredEntry {
                group,
                state: single.state,
                key: &single.key,
                sub_key: &[],
                value: &single.value,
            });
        }
        for Map { state, key, entries: map } in &self.maps {
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

/// An entry that was removed.
pub(super) fn forget(size: &mut StateSize, key: &[u8], sub_key: &[u8], value: &[u8]) {
    size.entries -= 1;
    size.bytes -= (key.len() + sub_key.len() + value.len()) as u64;
}

fn no_such_group(group: KeyGroup) -> error::Error {
    error::internal(format!("key group {group} is not below the job's max_parallelism"))
}

impl StateBackend for MemoryBackend {
    fn load(&mut self, state: StateId, keys: &Keys) -> Result<LoadedEntries> {
        let state = self.layout.stored_id(state)?;
        let mut entries = LoadedEntries::with_capacity(keys.distinct.len());
        for (key, &group) in keys.distinct.iter().zip(&keys.groups) {
            let group = self.groups.get(usize::from(group)).ok_or_else(|| no_such_group(group))?;
            entries.push(group.single(self.seed, state, key).map(|single| &single.value[..]))?;
        }
        Ok(entries)
    }

    fn load_map(&mut self, state: StateId, keys: &Keys, of: &[u32], sub_keys: &Column) -> Result<LoadedEntries> {
        let state = self.layout.stored_id(state)?;
        let mut entries = LoadedEntries::with_capacity(sub_keys.len());
        for (&of, sub_key) in of.iter().zip(sub_keys.iter()) {
            let group = keys.groups[of as usize];
            let group = self.groups.get(usize::from(group)).ok_or_else(|| no_such_group(group))?;
            let map = group.map(self.seed, state, keys.distinct.value(of as usize));
            entries.push(map.and_then(|map| map.entries.get(sub_key)).map(|value| &value[..]))?;
        }
        Ok(entries)
    }

    fn scan_map(
        &mut self,
        state: StateId,
        group: KeyGroup,
        key: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<MapEntry>> {
        let state = self.layout.stored_id(state)?;
        let group = self.groups.get(usize::from(group)).ok_or_else(|| no_such_group(group))?;
        let Some(map) = group.map(self.seed, state, key) else { return Ok(Vec::new()) };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = map.entries.range::<[u8], _>((start, Bound::Unbounded)).take(limit);
        Ok(entries.map(|(sub_key, value)| (sub_key.to_vec(), value.clone())).collect())
    }

    fn apply(&mut self, writes: &mut dyn Iterator<Item = StateWrite<'_>>) -> Result<()> {
        // Everything that can be wrong with a write is checked before the first takes effect.
        let writes: Vec<StateWrite<'_>> = writes.collect();
        for write in &writes {
            self.layout.stored_id(write.state)?;
            if usize::from(write.group) >= self.groups.len() {
                return Err(no_such_group(write.group));
            }
        }
        let count = writes.len();
        for write in writes {
            let state = self.layout.stored_id(write.state)?;
            self.write(self.layout.kind(state), StateWrite { state, ..write })?;
        }
        if let Some(clean_up) = &mut self.clean_up {
            clean_up.step(count, &mut self.groups, &mut self.size);
        }
        Ok(())
    }

    fn snapshot(&mut self, _format: SnapshotFormat) -> Result<Box<dyn StateSnapshot>> {
        Ok(Box::new(MemorySnapshot { layout: self.layout.clone(), groups: self.groups.clone() }))
    }

    fn size(&self) -> StateSize {
        self.size
    }
}

struct MemorySnapshot {
    layout: StoredLayout,
    groups: Vec<Arc<Group>>,
}

impl StateSnapshot for MemorySnapshot {
    /// The state is written whole each time: `held` cannot help.
    fn upload(self: Box<Self>, store: &dyn FileStore, _held: &[FileRef]) -> Result<StateHandle> {
        let MemorySnapshot { layout, groups } = *self;
        let mut writer = CanonicalWriter::new(store);
        for (number, group) in groups.into_iter().enumerate() {
            // Dropped group by group: from then on the backend writes in place again.
            group.entries(number as KeyGroup).into_iter().try_for_each(|entry| writer.push(entry))?;
        }
        let (files, size) = writer.finish()?;
        Ok(StateHandle { format: SnapshotFormat::Canonical, layout: layout.stored, files, size })
    }
}
