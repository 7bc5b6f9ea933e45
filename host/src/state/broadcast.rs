//! Broadcast state: maps that belong to no key. Every subtask of an operator holds an identical copy.
//!
//! Broadcast state is small, so it lives in memory and needs no backend. Only committed turns write to it. Its snapshot has
//! the canonical format, with all entries under key group 0 and the empty key.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use super::backend::StateMigrator;
use super::canonical::{self, CanonicalWriter};
use super::description::{StateDescription, StateId, StateLayout};
use super::entry::{StateSize, StoredEntry};
use super::restore::migration::{StoredValue, migrate_values};
use super::restore::schema_compatibility::{check_schema_compatibility, has_same_schema, index_of_state};
use super::row_values::RowConversion;
use super::snapshot::{FileRef, FileStore, RestoreSource, SnapshotFormat, StateHandle, StateSnapshot};
use crate::error::Result;

/// One broadcast map, ordered by sub-key.
pub type BroadcastMap = BTreeMap<Vec<u8>, Vec<u8>>;

/// All broadcast states of an operator.
#[derive(Default)]
pub struct BroadcastState {
    layout: StateLayout,
    /// One map per state of the layout. Shared with snapshots, and copied by the next write.
    maps: Vec<Arc<BroadcastMap>>,
    size: StateSize,
    uploaded: Arc<Mutex<Option<UploadedMaps>>>,
}

/// The most recently uploaded maps and their handle.
struct UploadedMaps {
    maps: Vec<Arc<BroadcastMap>>,
    handle: StateHandle,
}

impl BroadcastState {
    /// Opens the states of `layout`, empty or restored. `migrate` rewrites values of older forms; it gets the index of the
    /// state in `layout`.
    ///
    /// Errors: `checkpoint-mismatch` if the stored states do not fit the layout, `checkpoint-corrupt` if the stored files are
    /// damaged, `state-migration-failed`, and the errors of `migrate`.
    pub fn open(
        layout: StateLayout,
        restore: Option<&RestoreSource<'_>>,
        allow_unclaimed: bool,
        migrate: &mut dyn StateMigrator,
    ) -> Result<BroadcastState> {
        let mut maps = vec![BroadcastMap::new(); layout.len()];
        if let Some(restored) = restore {
            check_schema_compatibility(&layout, restored.handle, allow_unclaimed)?;
            let stored = &restored.handle.layout;
            let indexes: Vec<_> = stored.iter().map(|state| index_of_state(&layout, &state.name)).collect();
            canonical::read(restored, restored.groups.clone(), &mut |entry| {
                let index = indexes.get(usize::from(entry.state)).copied().flatten();
                if let Some(map) = index.and_then(|index| maps.get_mut(index)) {
                    map.insert(entry.sub_key.to_vec(), entry.value.to_vec());
                }
                Ok(())
            })?;
            migrate_maps(&layout, stored, &mut maps, migrate)?;
        }
        let size = maps.iter().map(size_of).fold(StateSize::default(), |sum, size| sum + size);
        Ok(BroadcastState { layout, maps: maps.into_iter().map(Arc::new).collect(), size, uploaded: Arc::default() })
    }

    /// Returns the states. Map `i` belongs to state `i`.
    pub fn layout(&self) -> &StateLayout {
        &self.layout
    }

    /// Returns the value under a sub-key.
    pub fn get(&self, map: usize, sub_key: &[u8]) -> Option<&[u8]> {
        self.maps.get(map)?.get(sub_key).map(Vec::as_slice)
    }

    /// Returns the entries after the sub-key `after`, in ascending order.
    pub fn range(&self, map: usize, after: Option<&[u8]>) -> impl Iterator<Item = (&[u8], &[u8])> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.maps.get(map).map(|map| map.range::<[u8], _>((start, Bound::Unbounded)));
        entries.into_iter().flatten().map(|(sub_key, value)| (sub_key.as_slice(), value.as_slice()))
    }

    /// Sets the value under a sub-key, or removes it. Snapshots keep the previous content.
    pub fn write(&mut self, map: usize, sub_key: Vec<u8>, value: Option<Vec<u8>>) {
        let Some(map) = self.maps.get_mut(map).map(Arc::make_mut) else { return };
        let (key_bytes, value_bytes) = (sub_key.len() as u64, value.as_ref().map(|value| value.len() as u64));
        let before = match value {
            Some(value) => map.insert(sub_key, value),
            None => map.remove(&sub_key),
        };
        if let Some(before) = before {
            self.size.entries -= 1;
            self.size.bytes -= key_bytes + before.len() as u64;
        }
        if let Some(value_bytes) = value_bytes {
            self.size.entries += 1;
            self.size.bytes += key_bytes + value_bytes;
        }
    }

    /// Removes all entries of a map. Snapshots keep the previous content.
    pub fn clear(&mut self, map: usize) {
        let Some(map) = self.maps.get_mut(map) else { return };
        let cleared = size_of(map);
        self.size.entries -= cleared.entries;
        self.size.bytes -= cleared.bytes;
        *map = Arc::default();
    }

    /// Takes a snapshot of the current state without copying it.
    pub fn snapshot(&self) -> Box<dyn StateSnapshot> {
        let (layout, maps, uploaded) = (self.layout.clone(), self.maps.clone(), self.uploaded.clone());
        Box::new(BroadcastSnapshot { layout, maps, uploaded })
    }

    /// Returns the bytes of memory that all maps take.
    pub fn charged_bytes(&self) -> u64 {
        self.size.memory_bytes()
    }

    /// Returns the size of all maps.
    pub fn size(&self) -> StateSize {
        self.size
    }
}

fn size_of(map: &BroadcastMap) -> StateSize {
    let bytes = map.iter().map(|(sub_key, value)| (sub_key.len() + value.len()) as u64).sum();
    StateSize { entries: map.len() as u64, bytes }
}

/// Migrates the maps that were stored in an older form.
fn migrate_maps(
    layout: &StateLayout,
    stored: &StateLayout,
    maps: &mut [BroadcastMap],
    migrate: &mut dyn StateMigrator,
) -> Result<()> {
    for (index, (state, map)) in layout.iter().zip(maps).enumerate() {
        let older = |old: &&StateDescription| old.name == state.name && !has_same_schema(old, state);
        let Some(old) = stored.iter().find(older).filter(|_| !map.is_empty()) else { continue };
        let stored = map.iter().map(|(sub_key, value)| StoredValue { key: &[], sub_key, value });
        let migrated = match (state.readable_form_of(old), RowConversion::between(old, state)) {
            (Some(older), _) => migrate_values(migrate, index as StateId, &state.name, older, stored)?,
            (None, Ok(Some(rows))) => rows.convert_all(&state.name, stored.map(|stored| stored.value))?,
            (None, _) => continue,
        };
        map.values_mut().zip(migrated.iter()).for_each(|(value, new)| *value = new.to_vec());
    }
    Ok(())
}

struct BroadcastSnapshot {
    layout: StateLayout,
    maps: Vec<Arc<BroadcastMap>>,
    uploaded: Arc<Mutex<Option<UploadedMaps>>>,
}

impl StateSnapshot for BroadcastSnapshot {
    fn upload(self: Box<Self>, store: &dyn FileStore, held: &[FileRef]) -> Result<StateHandle> {
        let BroadcastSnapshot { layout, maps, uploaded } = *self;
        let unchanged = |uploaded: &&UploadedMaps| {
            let same = uploaded.maps.iter().zip(&maps).all(|(old, new)| Arc::ptr_eq(old, new));
            same && uploaded.handle.files.iter().all(|file| held.contains(file))
        };
        if let Some(uploaded) = uploaded.lock().as_ref().filter(unchanged) {
            return Ok(uploaded.handle.clone());
        }
        let mut writer = CanonicalWriter::new(store);
        for (state, map) in maps.iter().enumerate() {
            for (sub_key, value) in map.iter() {
                writer.push(StoredEntry { group: 0, state: state as StateId, key: &[], sub_key, value })?;
            }
        }
        let (files, size) = writer.finish()?;
        let handle = StateHandle { format: SnapshotFormat::Canonical, layout, files, size };
        *uploaded.lock() = Some(UploadedMaps { maps, handle: handle.clone() });
        Ok(handle)
    }
}
