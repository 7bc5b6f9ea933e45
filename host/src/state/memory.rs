//! State on the heap: one hash table per key group, shared with a snapshot until the group is written to again.
//!
//! A snapshot clones the handles of the tables; the first write to a group while a snapshot lives copies that group
//! (`Arc::make_mut`). Durable form: see [`super::memory_file`].

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::layout::StoredLayout;
use super::memory_file::{self, FILE_NAME};
use super::{
    Change, Entries, FileRef, FileStore, StateBackend, StateId, StateImage, StateOptions, StateSize, StateSnapshot,
    Write,
};
use crate::clock::random_u64;
use crate::error::{self, Result};
use crate::manifest::StateBackendKind;
use crate::model::{KeyGroup, Keys};

/// One entry of any state.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// As it is stored; see [`StoredLayout`].
    pub state: StateId,
    pub key: Box<[u8]>,
    pub value: Vec<u8>,
}

impl Entry {
    fn bytes(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }
}

pub(super) type Group = HashTable<Entry>;

/// See the module.
pub(super) struct MemoryBackend {
    layout: StoredLayout,
    /// One per key group of the job; those that nothing was ever written to share one empty table.
    groups: Vec<Arc<Group>>,
    size: StateSize,
    /// Keys of a group agree in the remainder of their `hash_key`, so the tables hash on their own. The seed is random,
    /// so that nobody can choose keys that collide; nothing that leaves the backend depends on it.
    seed: u64,
}

impl MemoryBackend {
    pub fn open(options: StateOptions<'_>) -> Result<MemoryBackend> {
        let image = options.restore.map(|(image, _)| image);
        let empty = Arc::new(Group::new());
        let mut backend = MemoryBackend {
            layout: StoredLayout::new(options.backend, &options.layout, image)?,
            groups: vec![empty; options.max_parallelism as usize],
            size: StateSize::default(),
            seed: random_u64(),
        };
        if let Some((image, store)) = options.restore {
            let [file] = &image.files[..] else {
                let count = image.files.len();
                return Err(error::checkpoint_corrupt(format!("an image of memory state has {count} files, not 1")));
            };
            let states = image.layout.len();
            let bytes = store.get(file)?;
            memory_file::decode(&bytes, options.max_parallelism, states, |group, state, key, value| {
                backend.write(state, group, key, Change::Put(value))
            })
            .map_err(|error| error.context(&file.path))?;
        }
        Ok(backend)
    }

    fn hash(seed: u64, state: StateId, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, seed ^ u64::from(state))
    }

    fn write(&mut self, state: StateId, group: KeyGroup, key: &[u8], change: Change<'_>) -> Result<()> {
        let seed = self.seed;
        let table = self.groups.get_mut(usize::from(group)).ok_or_else(|| no_such_group(group))?;
        let table = Arc::make_mut(table);
        let hash = MemoryBackend::hash(seed, state, key);
        let is_it = |entry: &Entry| entry.state == state && *entry.key == *key;
        let value = match change {
            Change::Delete => {
                if let Ok(entry) = table.find_entry(hash, is_it) {
                    let (entry, _) = entry.remove();
                    self.size.entries -= 1;
                    self.size.bytes -= entry.bytes();
                }
                return Ok(());
            }
            Change::Put(value) | Change::Append(value) => value,
        };
        match table.entry(hash, is_it, |entry| MemoryBackend::hash(seed, entry.state, &entry.key)) {
            Slot::Occupied(mut entry) => {
                let held = &mut entry.get_mut().value;
                if let Change::Put(_) = change {
                    self.size.bytes -= held.len() as u64;
                    held.clear();
                }
                held.extend_from_slice(value);
                self.size.bytes += value.len() as u64;
            }
            Slot::Vacant(slot) => {
                let entry = Entry { state, key: key.into(), value: value.to_vec() };
                self.size.entries += 1;
                self.size.bytes += entry.bytes();
                slot.insert(entry);
            }
        }
        Ok(())
    }
}

fn no_such_group(group: KeyGroup) -> error::Error {
    error::internal(format!("key group {group} is not below the job's max_parallelism"))
}

impl StateBackend for MemoryBackend {
    fn load(&mut self, state: StateId, keys: &Keys) -> Result<Entries> {
        let state = self.layout.stored_id(state)?;
        let mut entries = Entries::with_capacity(keys.distinct.len());
        for (key, &group) in keys.distinct.iter().zip(&keys.groups) {
            let table = self.groups.get(usize::from(group)).ok_or_else(|| no_such_group(group))?;
            let hash = MemoryBackend::hash(self.seed, state, key);
            let found = table.find(hash, |entry| entry.state == state && *entry.key == *key);
            entries.push(found.map(|entry| &entry.value[..]))?;
        }
        Ok(entries)
    }

    fn apply(&mut self, writes: &mut dyn Iterator<Item = Write<'_>>) -> Result<()> {
        // Everything that can be wrong with a write is checked before the first takes effect.
        let writes: Vec<Write<'_>> = writes.collect();
        for write in &writes {
            self.layout.stored_id(write.state)?;
            if usize::from(write.group) >= self.groups.len() {
                return Err(no_such_group(write.group));
            }
        }
        for write in writes {
            self.write(self.layout.stored_id(write.state)?, write.group, write.key, write.change)?;
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Box<dyn StateSnapshot>> {
        Ok(Box::new(MemorySnapshot { layout: self.layout.clone(), groups: self.groups.clone(), size: self.size }))
    }

    fn size(&self) -> StateSize {
        self.size
    }
}

struct MemorySnapshot {
    layout: StoredLayout,
    groups: Vec<Arc<Group>>,
    size: StateSize,
}

impl StateSnapshot for MemorySnapshot {
    /// The state is one file, written whole each time: `held` cannot help.
    fn upload(self: Box<Self>, store: &dyn FileStore, _held: &[FileRef]) -> Result<StateImage> {
        let MemorySnapshot { layout, groups, size } = *self;
        let bytes = memory_file::encode(&groups, size)?;
        // From here on the backend writes in place again.
        drop(groups);
        let file = store.put(FILE_NAME, Bytes::from(bytes))?;
        Ok(StateImage { backend: StateBackendKind::Memory, layout: layout.stored, files: vec![file], size })
    }
}
