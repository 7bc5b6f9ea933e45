//! Tests of broadcast state: snapshots, reuse of uploaded files, and migration.

use super::testing::TestStore;
use super::*;
use crate::error::Result;
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
struct DoublingMigrator;

impl StateMigrator for DoublingMigrator {
    fn migrate(&mut self, state: StateId, stored: &StateForm, values: &StoredValues) -> Result<Column> {
        assert_eq!((state, &stored.schema[..]), (1, "u32"));
        assert_eq!(values.keys, None);
        assert_eq!(values.sub_keys, Some(["x", "y"].iter().collect()));
        Ok(values.values.iter().map(|value| value.repeat(2)).collect())
    }
}

fn open(layout: StateLayout, handle: Option<(&StateHandle, &TestStore)>) -> Result<BroadcastState> {
    let restored = handle.map(|(handle, store)| RestoreSource { handle, groups: 0..1, store });
    BroadcastState::open(layout, restored.as_ref(), false, &mut DoublingMigrator)
}

#[test]
fn a_snapshot_does_not_see_later_writes() {
    let store = TestStore::default();
    let mut state = open(layout(&[("a", "u64"), ("b", "u64")]), None).unwrap();
    put(&mut state, 0, "y", "1");
    put(&mut state, 1, "x", "2");
    put(&mut state, 0, "", "3");
    let snapshot = state.snapshot();
    put(&mut state, 0, "y", "4");
    state.clear(1);
    let handle = snapshot.upload(&store, &[]).unwrap();
    assert_eq!((handle.size, state.size().entries), (StateSize { entries: 3, bytes: 5 }, 2));
    assert_eq!(state.size(), StateSize { entries: 2, bytes: 3 });
    state.write(0, b"none".into(), None);
    state.write(0, b"y".into(), None);
    assert_eq!(state.size(), StateSize { entries: 1, bytes: 1 });
    put(&mut state, 0, "y", "4");

    // The new layout has another order and one more state.
    let other = layout(&[("c", "u64"), ("b", "u64"), ("a", "u64")]);
    let again = open(other, Some((&handle, &store))).unwrap();
    assert_eq!(entries(&again, 0), []);
    assert_eq!(entries(&again, 1), [("x", "2")]);
    assert_eq!(entries(&again, 2), [("", "3"), ("y", "1")]);
    assert_eq!(again.range(2, Some(b"")).count(), 1);
    let missing = open(layout(&[("a", "u64")]), Some((&handle, &store)));
    assert_eq!(missing.err().unwrap().code, "checkpoint-mismatch");
}

#[test]
fn unchanged_maps_are_not_uploaded_again() {
    let store = TestStore::default();
    let mut state = open(layout(&[("a", "u64")]), None).unwrap();
    put(&mut state, 0, "x", "1");
    let first = state.snapshot().upload(&store, &[]).unwrap();
    assert_eq!(state.snapshot().upload(&store, &first.files).unwrap(), first);
    let elsewhere = TestStore::default();
    let whole = state.snapshot().upload(&elsewhere, &[]).unwrap();
    assert!(elsewhere.get(&whole.files[0]).is_ok(), "a savepoint has its own files");
    put(&mut state, 0, "x", "2");
    let second = state.snapshot().upload(&store, &first.files).unwrap();
    let again = open(layout(&[("a", "u64")]), Some((&second, &store))).unwrap();
    assert_eq!(entries(&again, 0), [("x", "2")]);
}

#[test]
fn values_of_an_older_schema_are_migrated() {
    let store = TestStore::default();
    let mut state = open(layout(&[("b", "u32"), ("a", "u64")]), None).unwrap();
    put(&mut state, 0, "x", "1");
    put(&mut state, 0, "y", "2");
    put(&mut state, 1, "x", "3");
    let handle = state.snapshot().upload(&store, &[]).unwrap();
    let mut newer = layout(&[("a", "u64"), ("b", "u64")]);
    newer[1].reads = vec![ReadableForm { with_sub_keys: true, ..ReadableForm::new("postcard", "u32") }];
    let again = open(newer, Some((&handle, &store))).unwrap();
    assert_eq!(entries(&again, 0), [("x", "3")]);
    assert_eq!(entries(&again, 1), [("x", "11"), ("y", "22")]);
    let refused = open(layout(&[("a", "u64"), ("b", "u64")]), Some((&handle, &store)));
    assert_eq!(refused.err().unwrap().code, "checkpoint-mismatch");
}
