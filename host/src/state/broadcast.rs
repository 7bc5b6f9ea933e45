//! Broadcast state: maps that belong to no key, which every subtask of an operator holds whole and alike.
//!
//! No backend keeps it; it is low in volume and lives in memory. Only committed turns write to it. Its image is canonical:
//! the entries of each map under key group 0 and the empty key.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use super::canonical::{self, CanonicalWriter};
use super::layout::{check_schema_compatibility, is_same_form, place_of};
use super::restore::migrate_values;
use super::{
    FileRef, FileStore, RestoreSource, SnapshotFormat, StateDescription, StateHandle, StateId, StateLayout,
    StateMigrator, StateSize, StateSnapshot, StoredEntry,
};
use crate::error::Result;

/// One map, in order of its sub-keys.
pub type BroadcastMap = BTreeMap<Vec<u8>, Vec<u8>>;

/// See the module.
#[derive(Default)]
pub struct BroadcastState {
    layout: StateLayout,
    /// One for each state of the layout. Shared with snapshots, and copied when it is written next.
    maps: Vec<Arc<BroadcastMap>>,
    size: StateSize,
    uploaded: Arc<Mutex<Option<Uploaded>>>,
}

/// An image, and the maps that it is of.
struct Uploaded {
    maps: Vec<Arc<BroadcastMap>>,
    image: StateHandle,
}

impl BroadcastState {
    /// The states of `layout`, empty or as an image has them. `migrate` rewrites values of an older schema; a state is named
    /// to it by its place in `layout`.
    ///
    /// Errors: `checkpoint-mismatch` where the image does not fit the layout, `checkpoint-corrupt` where its files are not what
    /// was written, what `migrate` says and `state-migration-failed`.
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
            let places: Vec<_> = stored.iter().map(|state| place_of(&layout, &state.name)).collect();
            canonical::read(restored, restored.groups.clone(), &mut |entry| {
                let place = places.get(usize::from(entry.state)).copied().flatten();
                if let Some(map) = place.and_then(|place| maps.get_mut(place)) {
                    map.insert(entry.sub_key.to_vec(), entry.value.to_vec());
                }
                Ok(())
            })?;
            rewrite(&layout, stored, &mut maps, migrate)?;
        }
        let size = maps.iter().map(size_of).fold(StateSize::default(), |sum, size| sum + size);
        Ok(BroadcastState { layout, maps: maps.into_iter().map(Arc::new).collect(), size, uploaded: Arc::default() })
    }

    /// The states, one for each map.
    pub fn layout(&self) -> &StateLayout {
        &self.layout
    }

    /// The value under a sub-key.
    pub fn get(&self, map: usize, sub_key: &[u8]) -> Option<&[u8]> {
        self.maps.get(map)?.get(sub_key).map(Vec::as_slice)
    }

    /// The entries behind `after`, ascending.
    pub fn range(&self, map: usize, after: Option<&[u8]>) -> impl Iterator<Item = (&[u8], &[u8])> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.maps.get(map).map(|map| map.range::<[u8], _>((start, Bound::Unbounded)));
        entries.into_iter().flatten().map(|(sub_key, value)| (sub_key.as_slice(), value.as_slice()))
    }

    /// Sets the value under a sub-key, or removes it. What a snapshot holds of the map stays as it is.
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

    /// Removes all entries of a map, likewise.
    pub fn clear(&mut self, map: usize) {
        let Some(map) = self.maps.get_mut(map) else { return };
        let cleared = size_of(map);
        self.size.entries -= cleared.entries;
        self.size.bytes -= cleared.bytes;
        *map = Arc::default();
    }

    /// Fixes the state as it is now, without copying it.
    pub fn snapshot(&self) -> Box<dyn StateSnapshot> {
        let (layout, maps, uploaded) = (self.layout.clone(), self.maps.clone(), self.uploaded.clone());
        Box::new(Snapshot { layout, maps, uploaded })
    }

    pub fn size(&self) -> StateSize {
        self.size
    }
}

fn size_of(map: &BroadcastMap) -> StateSize {
    let bytes = map.iter().map(|(sub_key, value)| (sub_key.len() + value.len()) as u64).sum();
    StateSize { entries: map.len() as u64, bytes }
}

/// Has the maps rewritten that were stored under another schema.
fn rewrite(
    layout: &StateLayout,
    stored: &StateLayout,
    maps: &mut [BroadcastMap],
    migrate: &mut dyn StateMigrator,
) -> Result<()> {
    for (place, (state, map)) in layout.iter().zip(maps).enumerate() {
        let older = |old: &&StateDescription| old.name == state.name && !is_same_form(old, state);
        let Some(old) = stored.iter().find(older).filter(|_| !map.is_empty()) else { continue };
        let values = map.values().map(Vec::as_slice);
        let migrated = migrate_values(migrate, place as StateId, &state.name, &old.schema, values)?;
        map.values_mut().zip(migrated.iter()).for_each(|(value, new)| *value = new.to_vec());
    }
    Ok(())
}

struct Snapshot {
    layout: StateLayout,
    maps: Vec<Arc<BroadcastMap>>,
    uploaded: Arc<Mutex<Option<Uploaded>>>,
}

impl StateSnapshot for Snapshot {
    fn upload(self: Box<Self>, store: &dyn FileStore, held: &[FileRef]) -> Result<StateHandle> {
        let Snapshot { layout, maps, uploaded } = *self;
        let unchanged = |uploaded: &&Uploaded| {
            let same = uploaded.maps.iter().zip(&maps).all(|(old, new)| Arc::ptr_eq(old, new));
            same && uploaded.image.files.iter().all(|file| held.contains(file))
        };
        if let Some(uploaded) = uploaded.lock().as_ref().filter(unchanged) {
            return Ok(uploaded.image.clone());
        }
        let mut writer = CanonicalWriter::new(store);
        for (state, map) in maps.iter().enumerate() {
            for (sub_key, value) in map.iter() {
                writer.push(StoredEntry { group: 0, state: state as StateId, key: &[], sub_key, value })?;
            }
        }
        let (files, size) = writer.finish()?;
        let image = StateHandle { format: SnapshotFormat::Canonical, layout, files, size };
        *uploaded.lock() = Some(Uploaded { maps, image: image.clone() });
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::super::StateKind;
    use super::super::testing::TestStore;
    use super::*;
    use crate::model::Column;

    fn layout(names: &[(&str, &str)]) -> StateLayout {
        let state = |(name, schema): &(&str, &str)| StateDescription {
            map_key: "ordered:string".into(),
            ..StateDescription::new(name, StateKind::Broadcast, "postcard", schema)
        };
        names.iter().map(state).collect()
    }

    fn entries(state: &BroadcastState, map: usize) -> Vec<(&str, &str)> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        state.range(map, None).map(|(key, value)| (text(key), text(value))).collect()
    }

    fn put(state: &mut BroadcastState, map: usize, key: &str, value: &str) {
        state.write(map, key.into(), Some(value.into()));
    }

    /// Doubles every value of schema `u32`.
    struct Double;

    impl StateMigrator for Double {
        fn migrate(&mut self, state: StateId, schema: &str, values: &Column) -> Result<Column> {
            assert_eq!((state, schema), (1, "u32"));
            Ok(values.iter().map(|value| value.repeat(2)).collect())
        }
    }

    fn open(layout: StateLayout, image: Option<(&StateHandle, &TestStore)>) -> Result<BroadcastState> {
        let restored = image.map(|(image, store)| RestoreSource { handle: image, groups: 0..1, store });
        BroadcastState::open(layout, restored.as_ref(), false, &mut Double)
    }

    #[test]
    fn an_image_is_what_was_there_when_it_was_fixed() {
        let store = TestStore::default();
        let mut state = open(layout(&[("a", "u64"), ("b", "u64")]), None).unwrap();
        put(&mut state, 0, "y", "1");
        put(&mut state, 1, "x", "2");
        put(&mut state, 0, "", "3");
        let snapshot = state.snapshot();
        put(&mut state, 0, "y", "4");
        state.clear(1);
        let image = snapshot.upload(&store, &[]).unwrap();
        assert_eq!((image.size, state.size().entries), (StateSize { entries: 3, bytes: 5 }, 2));
        assert_eq!(state.size(), StateSize { entries: 2, bytes: 3 });
        state.write(0, b"none".into(), None);
        state.write(0, b"y".into(), None);
        assert_eq!(state.size(), StateSize { entries: 1, bytes: 1 });
        put(&mut state, 0, "y", "4");

        // The states stand in another order, and there is one more.
        let other = layout(&[("c", "u64"), ("b", "u64"), ("a", "u64")]);
        let again = open(other, Some((&image, &store))).unwrap();
        assert_eq!(entries(&again, 0), []);
        assert_eq!(entries(&again, 1), [("x", "2")]);
        assert_eq!(entries(&again, 2), [("", "3"), ("y", "1")]);
        assert_eq!(again.range(2, Some(b"")).count(), 1);
        let missing = open(layout(&[("a", "u64")]), Some((&image, &store)));
        assert_eq!(missing.err().unwrap().code, "checkpoint-mismatch");
    }

    #[test]
    fn what_is_held_and_did_not_change_is_not_uploaded_again() {
        let store = TestStore::default();
        let mut state = open(layout(&[("a", "u64")]), None).unwrap();
        put(&mut state, 0, "x", "1");
        let first = state.snapshot().upload(&store, &[]).unwrap();
        assert_eq!(state.snapshot().upload(&store, &first.files).unwrap(), first);
        let elsewhere = TestStore::default();
        let whole = state.snapshot().upload(&elsewhere, &[]).unwrap();
        assert!(elsewhere.get(&whole.files[0]).is_ok(), "a savepoint has files of its own");
        put(&mut state, 0, "x", "2");
        let second = state.snapshot().upload(&store, &first.files).unwrap();
        let again = open(layout(&[("a", "u64")]), Some((&second, &store))).unwrap();
        assert_eq!(entries(&again, 0), [("x", "2")]);
    }

    #[test]
    fn values_of_an_older_schema_are_rewritten() {
        let store = TestStore::default();
        let mut state = open(layout(&[("b", "u32"), ("a", "u64")]), None).unwrap();
        put(&mut state, 0, "x", "1");
        put(&mut state, 0, "y", "2");
        put(&mut state, 1, "x", "3");
        let image = state.snapshot().upload(&store, &[]).unwrap();
        let mut newer = layout(&[("a", "u64"), ("b", "u64")]);
        newer[1].previous = vec!["u32".into()];
        let again = open(newer, Some((&image, &store))).unwrap();
        assert_eq!(entries(&again, 0), [("x", "3")]);
        assert_eq!(entries(&again, 1), [("x", "11"), ("y", "22")]);
        let refused = open(layout(&[("a", "u64"), ("b", "u64")]), Some((&image, &store)));
        assert_eq!(refused.err().unwrap().code, "checkpoint-mismatch");
    }
}
