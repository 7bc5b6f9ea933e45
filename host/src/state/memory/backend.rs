//! The memory backend and its snapshots: one hash table per key group, copied on write.
//!
//! A snapshot clones the `Arc` of each table. The first write to a group while a snapshot holds it copies that group
//! (`Arc::make_mut`). Snapshots are stored in the canonical format. Each applied turn also cleans up a few expired entries,
//! but never in a group that a snapshot shares.

use std::ops::Bound;
use std::sync::Arc;

use super::group_table::GroupTable;
use super::ttl::IncrementalCleanup;
use crate::clock::random_u64;
use crate::error::{self, Result};
use crate::model::{Column, KeyGroup, Keys};
use crate::state::backend::{StateBackend, StateOptions};
use crate::state::canonical::CanonicalWriter;
use crate::state::description::{StateId, StateKind};
use crate::state::entry::{
    EntryCollector, LoadFailure, LoadedEntries, MapEntry, ScanBudget, StateChange, StateSize, StateWrite, StoredEntry,
};
use crate::state::restore::entries::read_entries;
use crate::state::restore::stored_layout::StoredLayout;
use crate::state::snapshot::{FileRef, FileStore, SnapshotFormat, StateHandle, StateSnapshot};
use crate::state::ttl::ExpiryRules;

/// Keyed state of one subtask on the heap.
pub(in crate::state) struct MemoryBackend {
    layout: StoredLayout,
    /// One table per key group of the job. Groups without entries share one empty table.
    groups: Vec<Arc<GroupTable>>,
    size: StateSize,
    /// Seed of the hash of the tables.
    seed: u64,
    /// `None` if no state has a time to live.
    cleanup: Option<IncrementalCleanup>,
}

impl MemoryBackend {
    /// Opens a backend with the entries of `options.restore`. Returns the errors of [`crate::state::open`].
    pub fn open(mut options: StateOptions<'_>) -> Result<MemoryBackend> {
        let restore = std::mem::take(&mut options.restore);
        let layout = StoredLayout::new(&options.layout)?;
        let cleanup = ExpiryRules::new(&layout.stored, options.clock.clone()).map(IncrementalCleanup::new);
        let mut backend = MemoryBackend {
            layout,
            groups: vec![Arc::default(); options.max_parallelism as usize],
            size: StateSize::default(),
            seed: random_u64(),
            cleanup,
        };
        let layout = backend.layout.clone();
        read_entries(&mut options, &restore, &layout, &mut |entry| {
            let StoredEntry { group, state, key, sub_key, value } = entry;
            let change = StateChange::Put(value);
            backend.write(layout.kind(state), StateWrite { state, group, key, sub_key, change })
        })?;
        Ok(backend)
    }

    /// Applies a write whose `state` is a stored id.
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

fn no_such_group(group: KeyGroup) -> error::Error {
    error::internal(format!("key group {group} is not below the job's max_parallelism"))
}

impl StateBackend for MemoryBackend {
    fn load_within(&mut self, state: StateId, keys: &Keys, bytes_max: usize) -> Result<LoadedEntries, LoadFailure> {
        let state = self.layout.stored_id(state)?;
        let mut entries = EntryCollector::new(keys.distinct.len(), bytes_max);
        for (key, &group) in keys.distinct.iter().zip(&keys.groups) {
            let group = self.groups.get(usize::from(group)).ok_or_else(|| no_such_group(group))?;
            entries.push(group.single(self.seed, state, key).map(|single| &single.value[..]))?;
        }
        Ok(entries.into_entries())
    }

    fn load_map_within(
        &mut self,
        state: StateId,
        keys: &Keys,
        (key_of, sub_keys): (&[u32], &Column),
        bytes_max: usize,
    ) -> Result<LoadedEntries, LoadFailure> {
        let state = self.layout.stored_id(state)?;
        let mut entries = EntryCollector::new(sub_keys.len(), bytes_max);
        for (&key, sub_key) in key_of.iter().zip(sub_keys.iter()) {
            let group = keys.groups[key as usize];
            let group = self.groups.get(usize::from(group)).ok_or_else(|| no_such_group(group))?;
            let map = group.map(self.seed, state, keys.distinct.value(key as usize));
            entries.push(map.and_then(|map| map.entries.get(sub_key)).map(|value| &value[..]))?;
        }
        Ok(entries.into_entries())
    }

    fn scan_map_within(
        &mut self,
        (state, group, key): (StateId, KeyGroup, &[u8]),
        after: Option<&[u8]>,
        limit: usize,
        mut budget: ScanBudget,
    ) -> Result<Vec<MapEntry>, LoadFailure> {
        let state = self.layout.stored_id(state)?;
        let group = self.groups.get(usize::from(group)).ok_or_else(|| no_such_group(group))?;
        let Some(map) = group.map(self.seed, state, key) else { return Ok(Vec::new()) };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = map.entries.range::<[u8], _>((start, Bound::Unbounded)).take(limit);
        let entries = entries.map(|(sub_key, value)| {
            budget.admit(sub_key, value)?;
            Ok((sub_key.to_vec(), value.clone()))
        });
        entries.collect()
    }

    fn apply(&mut self, writes: &mut dyn Iterator<Item = StateWrite<'_>>) -> Result<()> {
        // Check every write before the first one takes effect.
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
        if let Some(cleanup) = &mut self.cleanup {
            cleanup.run(count, &mut self.groups, &mut self.size);
        }
        Ok(())
    }

    fn snapshot(&mut self, _format: SnapshotFormat) -> Result<Box<dyn StateSnapshot>> {
        Ok(Box::new(MemorySnapshot { layout: self.layout.clone(), groups: self.groups.clone() }))
    }

    fn size(&self) -> StateSize {
        self.size
    }

    fn charged_bytes(&mut self) -> u64 {
        self.size.memory_bytes()
    }
}

/// The tables of the backend as they were at the barrier.
struct MemorySnapshot {
    layout: StoredLayout,
    groups: Vec<Arc<GroupTable>>,
}

impl StateSnapshot for MemorySnapshot {
    /// Uploads the whole state every time, so `held` is not used.
    fn upload(self: Box<Self>, store: &dyn FileStore, _held: &[FileRef]) -> Result<StateHandle> {
        let MemorySnapshot { layout, groups } = *self;
        let mut writer = CanonicalWriter::new(store);
        for (number, group) in groups.into_iter().enumerate() {
            // Each group is dropped after it is written, so that the backend can modify it in place again.
            group.sorted_entries(number as KeyGroup).into_iter().try_for_each(|entry| writer.push(entry))?;
        }
        let (files, size) = writer.finish()?;
        Ok(StateHandle { format: SnapshotFormat::Canonical, layout: layout.stored, files, size })
    }
}
