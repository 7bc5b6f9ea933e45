//! One test suite for all backends: the promises of the `StateBackend` trait.
//!
//! `turn/conformance_tests.rs` tests kinds of state and times to live as functions see them.

mod expiry;
mod generated;

use std::fs;
use std::path::PathBuf;

use expiry::{expired_entries_are_cleaned_up, groups_shared_with_a_snapshot_are_not_cleaned_up};
use proptest::prelude::*;

use super::testing::{FailingStore, TestStore};
use super::*;
use crate::clock::SystemClock;
use crate::error::Result;
use crate::model::{Column, KeyGroup, Keys, group_of_key, hash_key};
use crate::pipeline::StateBackendKind;

const GROUPS: u32 = 16;

fn layout(names: &[&str]) -> StateLayout {
    let describe = |name: &&str| {
        let kind = match *name {
            name if name.starts_with("list") => StateKind::List,
            name if name.starts_with("map") => StateKind::Map,
            _ => StateKind::Value,
        };
        StateDescription::new(name, kind, "postcard", "u64")
    };
    names.iter().map(describe).collect()
}

fn keys(keys: &[&str]) -> Keys {
    Keys { distinct: keys.iter().collect(), groups: keys.iter().map(|key| group(key)).collect(), key_of: Vec::new() }
}

fn group(key: &str) -> KeyGroup {
    group_of(key.as_bytes())
}

fn group_of(key: &[u8]) -> KeyGroup {
    group_of_key(hash_key(key), GROUPS)
}

/// The state of a subtask in its own folder.
struct BackendTest {
    kind: StateBackendKind,
    folder: tempfile::TempDir,
    store: TestStore,
    backend: Box<dyn StateBackend>,
}

impl BackendTest {
    fn new(kind: StateBackendKind, names: &[&str]) -> BackendTest {
        let folder = tempfile::tempdir().unwrap();
        let backend = open(options(kind, folder.path().join("work"), layout(names), None)).unwrap();
        BackendTest { kind, folder, store: TestStore::default(), backend }
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn put(&mut self, state: StateId, key: &str, value: &str) {
        self.apply(&[(state, key, StateChange::Put(value.as_bytes()))]);
    }

    fn append(&mut self, state: StateId, key: &str, value: &str) {
        self.apply(&[(state, key, StateChange::Append(value.as_bytes()))]);
    }

    fn delete(&mut self, state: StateId, key: &str) {
        self.apply(&[(state, key, StateChange::Delete)]);
    }

    fn apply(&mut self, writes: &[(StateId, &str, StateChange<'_>)]) {
        let mut writes = writes.iter().map(|&(state, key, change)| StateWrite {
            state,
            group: group(key),
            key: key.as_bytes(),
            sub_key: &[],
            change,
        });
        self.backend.apply(&mut writes).unwrap();
    }

    fn apply_map(&mut self, state: StateId, key: &[u8], sub_key: &[u8], change: StateChange<'_>) {
        let write = StateWrite { state, group: group_of(key), key, sub_key, change };
        self.backend.apply(&mut std::iter::once(write)).unwrap();
    }

    fn load(&mut self, state: StateId, of: &[&str]) -> Vec<Option<String>> {
        let entries = self.backend.load(state, &keys(of)).unwrap();
        assert_eq!((entries.present.len(), entries.values.len()), (of.len(), of.len()));
        let value = |(value, present): (&[u8], &bool)| {
            assert!(*present || value.is_empty());
            present.then(|| String::from_utf8(value.to_vec()).unwrap())
        };
        entries.values.iter().zip(&entries.present).map(value).collect()
    }

    fn snapshot(&mut self) -> Result<Box<dyn StateSnapshot>> {
        self.backend.snapshot(SnapshotFormat::native_of(self.kind))
    }

    fn handle(&mut self, held: &[FileRef]) -> StateHandle {
        self.snapshot().unwrap().upload(&self.store, held).unwrap()
    }

    /// Closes the database, which would write into its working folder while another one is opened there.
    fn close(&mut self) {
        let none = self.folder.path().join("none");
        self.backend = open(options(StateBackendKind::Memory, none, vec![], None)).unwrap();
    }

    /// Restores a snapshot in the same working folder, as a restarted subtask does.
    fn restore(&mut self, handle: &StateHandle, names: &[&str]) -> Result<()> {
        self.close();
        self.backend = open(options(self.kind, self.work(), layout(names), Some((handle, &self.store))))?;
        Ok(())
    }
}

fn options<'a>(
    backend: StateBackendKind,
    working_dir: PathBuf,
    layout: StateLayout,
    restore: Option<(&'a StateHandle, &'a dyn FileStore)>,
) -> StateOptions<'a> {
    let restore =
        restore.into_iter().map(|(handle, store)| RestoreSource { handle, groups: 0..GROUPS, store }).collect();
    StateOptions { restore, ..StateOptions::empty(backend, working_dir, layout, GROUPS, SystemClock::shared()) }
}

fn some(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some(value.to_string())).collect()
}

fn loads_return_applied_changes(kind: StateBackendKind) {
    let mut state = BackendTest::new(kind, &["value", "list"]);
    state.put(0, "a", "1");
    state.put(0, "b", "");
    state.append(1, "a", "x");
    state.append(1, "a", "yz");
    state.append(1, "b", "");
    assert_eq!(state.load(0, &["b", "none", "a"]), [Some("".into()), None, Some("1".into())]);
    assert_eq!(state.load(1, &["a", "b"]), some(&["xyz", ""]));
    state.delete(0, "a");
    state.delete(1, "a");
    state.delete(1, "never there");
    state.append(1, "a", "new");
    assert_eq!(state.load(0, &["a", "b"]), [None, Some("".into())]);
    assert_eq!(state.load(1, &["a"]), some(&["new"]));
    assert_eq!(state.load(0, &[]), []);
}

fn a_restore_ends_when_it_is_interrupted(kind: StateBackendKind) {
    // A canonical snapshot, because files of RocksDB are taken over without a loop that could be interrupted.
    let mut state = BackendTest::new(StateBackendKind::Memory, &["value"]);
    state.put(0, "a", "1");
    let handle = state.handle(&[]);
    let restored = options(kind, state.work(), layout(&["value"]), Some((&handle, &state.store)));
    restored.interrupt.set();
    assert_eq!(open(restored).err().unwrap().code, "interrupted");
}

fn a_turn_applies_in_order(kind: StateBackendKind) {
    let mut state = BackendTest::new(kind, &["value"]);
    let (put, append) = (StateChange::Put, StateChange::Append);
    state.apply(&[
        (0, "k", append(b"lost")),
        (0, "k", put(b"1")),
        (0, "k", append(b"2")),
        (0, "k", StateChange::Delete),
        (0, "k", append(b"3")),
        (0, "k", append(b"4")),
        (0, "other", put(b"5")),
    ]);
    assert_eq!(state.load(0, &["k", "other"]), some(&["34", "5"]));
}

fn a_turn_with_an_invalid_write_has_no_effect(kind: StateBackendKind) {
    let mut state = BackendTest::new(kind, &["value"]);
    let write =
        |state| StateWrite { state, group: group("k"), key: b"k", sub_key: &[], change: StateChange::Put(b"1") };
    let error = state.backend.apply(&mut [write(0), write(1)].into_iter()).unwrap_err();
    assert_eq!(error.code, "internal");
    assert_eq!(state.load(0, &["k"]), [None]);
}

fn snapshots_do_not_see_later_changes(kind: StateBackendKind) {
    let mut state = BackendTest::new(kind, &["value"]);
    state.put(0, "k1", "1");
    state.put(0, "k2", "2");
    let first = state.snapshot().unwrap();
    state.put(0, "k1", "u1");
    state.put(0, "k2", "u2");
    state.put(0, "k3", "u3");
    let second = state.snapshot().unwrap();
    state.delete(0, "k1");
    let first = first.upload(&state.store, &[]).unwrap();
    let second = second.upload(&state.store, &first.files).unwrap();
    let of = ["k1", "k2", "k3"];
    state.restore(&first, &["value"]).unwrap();
    assert_eq!(state.load(0, &of), [Some("1".into()), Some("2".into()), None]);
    state.restore(&second, &["value"]).unwrap();
    assert_eq!(state.load(0, &of), some(&["u1", "u2", "u3"]));
}

fn restored_states_are_matched_by_name(kind: StateBackendKind) {
    let mut state = BackendTest::new(kind, &["a", "b"]);
    state.put(0, "k", "of a");
    state.put(1, "k", "of b");
    let handle = state.handle(&[]);
    state.restore(&handle, &["new", "b", "a"]).unwrap();
    assert_eq!(state.load(0, &["k"]), [None]);
    assert_eq!(state.load(1, &["k"]), some(&["of b"]));
    assert_eq!(state.load(2, &["k"]), some(&["of a"]));
    state.put(0, "k", "of new");
    let handle = state.handle(&handle.files);
    state.restore(&handle, &["a", "new", "b"]).unwrap();
    let values: Vec<_> = (0..3).map(|id| state.load(id, &["k"]).remove(0).unwrap()).collect();
    assert_eq!(values, ["of a", "of new", "of b"]);
}

fn an_incompatible_layout_is_refused(kind: StateBackendKind) {
    let mut state = BackendTest::new(kind, &["a", "b"]);
    let handle = state.handle(&[]);
    let refuse = |kind, layout| {
        let folder = tempfile::tempdir().unwrap();
        let restore = Some((&handle, &state.store as &dyn FileStore));
        let error = open(options(kind, folder.path().into(), layout, restore)).err().unwrap();
        assert_eq!(error.code, "checkpoint-mismatch");
        error.message
    };
    assert!(refuse(kind, layout(&["a"])).contains("`b`"));
    let mut changed = layout(&["a", "b"]);
    changed[1].schema = "u32".into();
    let message = refuse(kind, changed);
    assert!(message.contains("`u64`") && message.contains("`u32`"), "{message}");
    let mut changed = layout(&["a", "b"]);
    changed[0].kind = StateKind::List;
    let message = refuse(kind, changed);
    assert!(message.contains("kind value") && message.contains("kind list"), "{message}");
}

fn a_damaged_snapshot_is_refused(kind: StateBackendKind) {
    let mut state = BackendTest::new(kind, &["a"]);
    state.put(0, "k", "value");
    let handle = state.handle(&[]);
    for damaged in 0..handle.files.len() {
        let mut bytes = state.store.get(&handle.files[damaged]).unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes.truncate(middle);
        let mut handle = handle.clone();
        let original = state.store.get(&handle.files[damaged]).unwrap();
        state.store.replace(&mut handle.files[damaged], bytes);
        let outcome = state.restore(&handle, &["a"]);
        // RocksDB opens without its OPTIONS file, so it does not notice a damaged one.
        if !handle.files[damaged].name.starts_with("OPTIONS") {
            assert_eq!(outcome.unwrap_err().code, "checkpoint-corrupt", "{}", handle.files[damaged].name);
        }
        state.store.replace(&mut handle.files[damaged], original.to_vec());
        let mut missing = handle.clone();
        missing.files[damaged].path.push('x');
        assert_eq!(state.restore(&missing, &["a"]).unwrap_err().code, "checkpoint-corrupt");
        let mut renamed = handle.clone();
        renamed.files[damaged].name = "../x".into();
        if kind == StateBackendKind::RocksDb {
            assert_eq!(state.restore(&renamed, &["a"]).unwrap_err().code, "checkpoint-corrupt");
        }
    }
    let mut nameless = handle.clone();
    nameless.files.clear();
    assert_eq!(state.restore(&nameless, &["a"]).unwrap_err().code, "checkpoint-corrupt");
}

fn a_failed_upload_leaves_the_state_usable(kind: StateBackendKind) {
    let mut state = BackendTest::new(kind, &["a"]);
    state.put(0, "k", "1");
    let snapshot = state.snapshot().unwrap();
    assert_eq!(snapshot.upload(&FailingStore, &[]).unwrap_err().code, "storage-failed");
    drop(state.snapshot().unwrap());
    state.append(0, "k", "2");
    let handle = state.handle(&[]);
    state.restore(&handle, &["a"]).unwrap();
    assert_eq!(state.load(0, &["k"]), some(&["12"]));
    state.close();
    let error = open(options(kind, state.work(), layout(&["a"]), Some((&handle, &FailingStore)))).err().unwrap();
    assert_eq!(error.code, "storage-failed");
}

fn opening_empties_the_working_folder(kind: StateBackendKind) {
    let mut state = BackendTest::new(kind, &["a"]);
    state.put(0, "k", "1");
    state.handle(&[]);
    drop(state.backend);
    let work = state.folder.path().join("work");
    state.backend = open(options(kind, work, layout(&["a"]), None)).unwrap();
    assert_eq!(state.load(0, &["k"]), [None]);
}

/// Uses keys and sub-keys that are prefixes of each other, or contain the bytes of the end mark.
fn maps_are_ordered_and_separate(kind: StateBackendKind) {
    let mut state = BackendTest::new(kind, &["map", "map of another"]);
    let names: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"\0\xff", b"a", b"a\0"];
    for (number, key) in names.iter().enumerate() {
        for sub_key in names.iter().rev() {
            state.apply_map(0, key, sub_key, StateChange::Put(&[number as u8]));
        }
    }
    let scan = |state: &mut BackendTest, key: &[u8], after: Option<&[u8]>, limit| -> Vec<MapEntry> {
        state.backend.scan_map(0, group_of(key), key, after, limit).unwrap()
    };
    let all = |number: u8| names.map(|sub_key| (sub_key.to_vec(), vec![number])).to_vec();
    for (number, key) in names.iter().enumerate() {
        assert_eq!(scan(&mut state, key, None, usize::MAX), all(number as u8));
        assert_eq!(scan(&mut state, key, Some(b""), 2), all(number as u8)[1..3]);
        assert_eq!(scan(&mut state, key, Some(b"\0\xfe"), 1), all(number as u8)[3..4]);
        assert_eq!(scan(&mut state, key, Some(b"a\0"), 1), []);
    }
    state.apply_map(0, b"\0", b"the sub-key is ignored", StateChange::DeleteAll);
    state.apply_map(0, b"a", b"\0", StateChange::Delete);
    state.apply_map(0, b"never there", b"", StateChange::Delete);
    assert_eq!(scan(&mut state, b"\0", None, usize::MAX), []);
    assert_eq!(scan(&mut state, b"", None, usize::MAX), all(0));
    assert_eq!(scan(&mut state, b"\0\0", None, usize::MAX), all(2));
    assert_eq!(scan(&mut state, b"a", None, 2), [(b"".to_vec(), vec![4]), (b"\0\0".to_vec(), vec![4])]);
    assert_eq!(state.backend.scan_map(1, group_of(b"a"), b"a", None, 9).unwrap(), [], "another state");
}

fn the_size_is_reported(kind: StateBackendKind) {
    let mut state = BackendTest::new(kind, &["a"]);
    assert_eq!(state.backend.size().entries, 0);
    for key in 0..100 {
        state.put(0, &format!("key {key:03}"), "0123456789");
    }
    let handle = state.handle(&[]);
    assert_eq!(state.backend.size().entries, 100);
    assert!(state.backend.size().bytes > 0);
    assert_eq!(handle.size, state.backend.size());
    state.restore(&handle, &["a"]).unwrap();
    assert_eq!(state.backend.size().entries, 100);
}

macro_rules! conformance {
    ($kind:ident, $module:ident, $cases:literal: $($test:ident)*) => {
        mod $module {
            use super::*;

            $(#[test]
            fn $test() {
                super::$test(StateBackendKind::$kind);
            })*

            proptest! {
                #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases($cases) })]
                #[test]
                fn behaves_like_the_model(steps in generated::steps()) {
                    generated::behaves_like_the_model(StateBackendKind::$kind, steps);
                }
            }
        }
    };
    ($($rest:tt)*) => {
        conformance! { Memory, memory, 256: $($rest)* }
        conformance! { RocksDb, rocksdb, 12: $($rest)* }
    };
}

conformance! {
    loads_return_applied_changes
    a_restore_ends_when_it_is_interrupted
    a_turn_applies_in_order
    a_turn_with_an_invalid_write_has_no_effect
    snapshots_do_not_see_later_changes
    restored_states_are_matched_by_name
    an_incompatible_layout_is_refused
    a_damaged_snapshot_is_refused
    a_failed_upload_leaves_the_state_usable
    opening_empties_the_working_folder
    the_size_is_reported
    maps_are_ordered_and_separate
    expired_entries_are_cleaned_up
    groups_shared_with_a_snapshot_are_not_cleaned_up
}

#[test]
fn equal_states_in_memory_give_equal_snapshot_bytes() {
    let file = |order: &[&str]| {
        let mut state = BackendTest::new(StateBackendKind::Memory, &["a"]);
        for key in order {
            state.put(0, key, key);
        }
        let handle = state.handle(&[]);
        state.store.get(&handle.files[0]).unwrap()
    };
    assert_eq!(file(&["a", "b", "c", "d"]), file(&["d", "b", "a", "c"]));
}

#[test]
fn rocksdb_uploads_a_table_file_once() {
    let mut state = BackendTest::new(StateBackendKind::RocksDb, &["a"]);
    state.put(0, "k1", "1");
    let first = state.handle(&[]);
    state.put(0, "k2", "2");
    let before = state.store.count();
    let second = state.handle(&first.files);
    let tables = |handle: &StateHandle| -> Vec<FileRef> {
        handle.files.iter().filter(|file| file.name.ends_with(".sst")).cloned().collect()
    };
    assert_eq!(tables(&first).len(), 1);
    assert_eq!(tables(&second).len(), 2);
    assert!(tables(&second).contains(&tables(&first)[0]));
    let others = second.files.len() - 2;
    assert_eq!(state.store.count() - before, 1 + others, "one new table file, and the files that are always uploaded");

    // After a restore, restored files are reused, and new files with the same numbers are not confused with them.
    state.restore(&first, &["a"]).unwrap();
    state.put(0, "k2", "3");
    let third = state.handle(&second.files);
    assert!(tables(&third).contains(&tables(&first)[0]));
    let new: Vec<_> = tables(&third).into_iter().filter(|file| !tables(&first).contains(file)).collect();
    assert!(!new.is_empty() && new.iter().all(|file| !second.files.contains(file)), "{new:?}");
    state.restore(&third, &["a"]).unwrap();
    assert_eq!(state.load(0, &["k1", "k2"]), some(&["1", "3"]));
}

#[test]
fn rocksdb_removes_the_folder_of_a_snapshot() {
    let mut state = BackendTest::new(StateBackendKind::RocksDb, &["a"]);
    let folders = |state: &BackendTest| fs::read_dir(state.work()).unwrap().count();
    let snapshot = state.snapshot().unwrap();
    snapshot.upload(&state.store, &[]).unwrap();
    assert_eq!(folders(&state), 1);
    // The second upload also completes the first snapshot and creates its folder, which is removed with that snapshot.
    let (first, second) = (state.snapshot().unwrap(), state.snapshot().unwrap());
    second.upload(&state.store, &[]).unwrap();
    assert_eq!(folders(&state), 2);
    drop(first);
    assert_eq!(folders(&state), 1);
    let snapshot = state.snapshot().unwrap();
    assert!(snapshot.upload(&FailingStore, &[]).is_err());
    drop(state.snapshot().unwrap());
    assert_eq!(folders(&state), 1);
}

#[test]
fn rocksdb_never_reuses_a_file_of_another_database() {
    let image_of = |value: &str, held: &[FileRef]| {
        let mut state = BackendTest::new(StateBackendKind::RocksDb, &["a"]);
        state.put(0, "k", value);
        (state.handle(held), state)
    };
    let table = |handle: &StateHandle| handle.files.iter().find(|file| file.name.ends_with(".sst")).unwrap().clone();
    let number = |file: &FileRef| file.name.split_once('-').unwrap().1.to_owned();
    let (first, _first_state) = image_of("1", &[]);
    let (second, _second_state) = image_of("2", &[]);
    // Same number and same length: only the session differs.
    let held = FileRef { bytes: table(&second).bytes, ..table(&first) };
    let (third, mut state) = image_of("2", std::slice::from_ref(&held));
    assert_eq!(number(&table(&third)), number(&held));
    assert_ne!(table(&third), held);
    state.restore(&third, &["a"]).unwrap();
    assert_eq!(state.load(0, &["k"]), some(&["2"]));
}
