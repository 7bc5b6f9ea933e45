//! Compares random sequences of changes, snapshots and restores with a plain map from addresses to bytes.

use std::collections::BTreeMap;

use super::*;

/// Keys and sub-keys. They are prefixes of each other, or contain the bytes of the end mark.
const NAMES: [&[u8]; 8] = [b"", b"\0", b"\0\0", b"\0\xff", b"a", b"a\0", b"a\0\xff", b"ab"];
const STATES: [&str; 4] = ["a", "b", "list", "map"];
const MAP: StateId = 3;

#[derive(Clone, Debug)]
pub(super) enum BackendStep {
    Put(StateId, usize, Vec<u8>),
    Append(StateId, usize, Vec<u8>),
    Delete(StateId, usize),
    PutInMap(usize, usize, Vec<u8>),
    DeleteInMap(usize, usize),
    ClearMap(usize),
    Snapshot(SnapshotFormat),
    Upload,
    Restore(usize),
}

/// The expected content: values by state, key and sub-key.
type BackendModel = BTreeMap<(StateId, Vec<u8>, Vec<u8>), Vec<u8>>;

pub(super) fn steps() -> impl Strategy<Value = Vec<BackendStep>> {
    let value = || proptest::collection::vec(any::<u8>(), 0..8);
    let name = || 0..NAMES.len();
    let step = prop_oneof![
        6 => (0..MAP, name(), value()).prop_map(|(state, key, value)| BackendStep::Put(state, key, value)),
        6 => (0..MAP, name(), value()).prop_map(|(state, key, value)| BackendStep::Append(state, key, value)),
        4 => (0..MAP, name()).prop_map(|(state, key)| BackendStep::Delete(state, key)),
        9 => (name(), name(), value()).prop_map(|(key, sub_key, value)| BackendStep::PutInMap(key, sub_key, value)),
        3 => (name(), name()).prop_map(|(key, sub_key)| BackendStep::DeleteInMap(key, sub_key)),
        1 => name().prop_map(BackendStep::ClearMap),
        1 => prop_oneof![Just(SnapshotFormat::Canonical), Just(SnapshotFormat::RocksDb)].prop_map(BackendStep::Snapshot),
        1 => Just(BackendStep::Upload),
        1 => any::<usize>().prop_map(BackendStep::Restore),
    ];
    proptest::collection::vec(step, 0..80)
}

/// Runs the steps. Snapshots are uploaded some steps after they were taken, and reuse files of earlier ones.
pub(super) fn behaves_like_the_model(kind: StateBackendKind, steps: Vec<BackendStep>) {
    let mut state = BackendTest::new(kind, &STATES);
    let mut model = BackendModel::new();
    let mut waiting: Vec<(Box<dyn StateSnapshot>, BackendModel)> = Vec::new();
    let mut handles: Vec<(StateHandle, BackendModel)> = Vec::new();
    for step in steps {
        match step {
            BackendStep::Snapshot(format) => waiting.push((state.backend.snapshot(format).unwrap(), model.clone())),
            BackendStep::Upload => upload_oldest(&state, &mut waiting, &mut handles),
            BackendStep::Restore(which) if !handles.is_empty() => {
                let (handle, of) = handles[which % handles.len()].clone();
                waiting.clear();
                state.restore(&handle, &STATES).unwrap();
                model = of;
            }
            BackendStep::Restore(_) => {}
            change => apply_change(&mut state, &mut model, change),
        }
    }
    check_content(&mut state, &model);
    while !waiting.is_empty() {
        upload_oldest(&state, &mut waiting, &mut handles);
    }
    for (handle, of) in &handles {
        state.restore(handle, &STATES).unwrap();
        check_content(&mut state, of);
        check_entries(&state, handle, of);
    }
    if let Some((handle, of)) = handles.last().filter(|_| kind == StateBackendKind::RocksDb) {
        move_there_and_back(&mut state, handle, of);
    }
}

/// Restores the snapshot into the memory backend, and that backend's snapshot into this one.
fn move_there_and_back(state: &mut BackendTest, handle: &StateHandle, model: &BackendModel) {
    let mut other = BackendTest::new(StateBackendKind::Memory, &STATES);
    other.backend = open(options(other.kind, other.work(), layout(&STATES), Some((handle, &state.store)))).unwrap();
    check_content(&mut other, model);
    let handle = other.handle(&[]);
    std::mem::swap(&mut state.store, &mut other.store);
    state.restore(&handle, &STATES).unwrap();
    check_content(state, model);
}

fn apply_change(state: &mut BackendTest, model: &mut BackendModel, change: BackendStep) {
    let at = |state, key: usize| (state, NAMES[key].to_vec(), Vec::new());
    let in_map = |key: usize, sub_key: usize| (MAP, NAMES[key].to_vec(), NAMES[sub_key].to_vec());
    match change {
        BackendStep::Put(id, key, value) => {
            state.apply_map(id, NAMES[key], b"", StateChange::Put(&value));
            model.insert(at(id, key), value);
        }
        BackendStep::Append(id, key, value) => {
            state.apply_map(id, NAMES[key], b"", StateChange::Append(&value));
            model.entry(at(id, key)).or_default().extend(value);
        }
        BackendStep::Delete(id, key) => {
            state.apply_map(id, NAMES[key], b"", StateChange::Delete);
            model.remove(&at(id, key));
        }
        BackendStep::PutInMap(key, sub_key, value) => {
            state.apply_map(MAP, NAMES[key], NAMES[sub_key], StateChange::Put(&value));
            model.insert(in_map(key, sub_key), value);
        }
        BackendStep::DeleteInMap(key, sub_key) => {
            state.apply_map(MAP, NAMES[key], NAMES[sub_key], StateChange::Delete);
            model.remove(&in_map(key, sub_key));
        }
        BackendStep::ClearMap(key) => {
            state.apply_map(MAP, NAMES[key], b"", StateChange::DeleteAll);
            model.retain(|(id, held, _), _| *id != MAP || held != NAMES[key]);
        }
        BackendStep::Snapshot(_) | BackendStep::Upload | BackendStep::Restore(_) => unreachable!("not a change"),
    }
}

fn upload_oldest(
    state: &BackendTest,
    waiting: &mut Vec<(Box<dyn StateSnapshot>, BackendModel)>,
    handles: &mut Vec<(StateHandle, BackendModel)>,
) {
    if waiting.is_empty() {
        return;
    }
    let (snapshot, of) = waiting.remove(0);
    let held = handles.last().map(|(handle, _)| handle.files.clone()).unwrap_or_default();
    handles.push((snapshot.upload(&state.store, &held).unwrap(), of));
}

/// Compares the state with the model through each way of reading.
fn check_content(state: &mut BackendTest, model: &BackendModel) {
    let groups = NAMES.iter().map(|key| group_of(key)).collect();
    let keys = Keys { distinct: NAMES.iter().collect(), groups, key_of: Vec::new() };
    let of: Vec<u32> = (0..NAMES.len() as u32).flat_map(|key| [key; NAMES.len()]).collect();
    let sub_keys: Column = of.iter().enumerate().map(|(at, _)| NAMES[at % NAMES.len()]).collect();
    for id in 0..MAP {
        let entries = state.backend.load(id, &keys).unwrap();
        for (at, key) in NAMES.iter().enumerate() {
            let expected = model.get(&(id, key.to_vec(), Vec::new()));
            assert_eq!(found(&entries, at), expected.map(Vec::as_slice), "state {id}, key {key:?}");
        }
    }
    let entries = state.backend.load_map(MAP, &keys, &of, &sub_keys).unwrap();
    for (at, (&key, sub_key)) in of.iter().zip(sub_keys.iter()).enumerate() {
        let expected = model.get(&(MAP, NAMES[key as usize].to_vec(), sub_key.to_vec()));
        assert_eq!(found(&entries, at), expected.map(Vec::as_slice), "key {key}, sub-key {sub_key:?}");
    }
    for key in NAMES {
        let expected: Vec<MapEntry> = model
            .iter()
            .filter(|((id, held, _), _)| *id == MAP && held == key)
            .map(|((_, _, sub_key), value)| (sub_key.clone(), value.clone()))
            .collect();
        for limit in [1, 3, usize::MAX] {
            assert_eq!(scan(state, key, limit), expected, "pages of {limit} of key {key:?}");
        }
    }
    if state.kind == StateBackendKind::Memory {
        let bytes = model.iter().map(|((_, key, sub_key), value)| key.len() + sub_key.len() + value.len());
        let size = StateSize { entries: model.len() as u64, bytes: bytes.sum::<usize>() as u64 };
        assert_eq!(state.backend.size(), size);
    }
}

fn found(entries: &LoadedEntries, at: usize) -> Option<&[u8]> {
    assert!(entries.present[at] || entries.values.value(at).is_empty());
    entries.present[at].then(|| entries.values.value(at))
}

/// Scans a whole map page by page.
fn scan(state: &mut BackendTest, key: &[u8], limit: usize) -> Vec<MapEntry> {
    let mut entries: Vec<MapEntry> = Vec::new();
    loop {
        let after = entries.last().map(|(sub_key, _)| sub_key.clone());
        let page = state.backend.scan_map(MAP, group_of(key), key, after.as_deref(), limit).unwrap();
        assert!(page.len() <= limit);
        let is_last = page.len() < limit;
        entries.extend(page);
        if is_last {
            return entries;
        }
    }
}

/// Checks that the snapshot contains exactly the entries of the model, in order.
fn check_entries(state: &BackendTest, handle: &StateHandle, model: &BackendModel) {
    let mut expected: Vec<_> =
        model.iter().map(|((id, key, sub_key), value)| (group_of(key), *id, key, sub_key, value)).collect();
    expected.sort();
    let mut expected = expected.into_iter();
    let folder = tempfile::tempdir().unwrap();
    let handle = RestoreSource { handle, groups: 0..GROUPS, store: &state.store };
    read_snapshot(&handle, 0..GROUPS, &folder.path().join("scratch"), &mut |entry| {
        let (group, state, key, sub_key, value) = expected.next().unwrap();
        assert_eq!(entry, StoredEntry { group, state, key, sub_key, value });
        Ok(())
    })
    .unwrap();
    assert_eq!(expected.next(), None);
}
