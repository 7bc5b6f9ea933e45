//! Changes, images and restores in any order, against a plain map from addresses to bytes.

use std::collections::BTreeMap;

use super::*;

/// Of keys and of sub-keys: they continue one another, and hold the bytes by which an end is marked.
const NAMES: [&[u8]; 8] = [b"", b"\0", b"\0\0", b"\0\xff", b"a", b"a\0", b"a\0\xff", b"ab"];
const STATES: [&str; 4] = ["a", "b", "list", "map"];
const MAP: StateId = 3;

#[derive(Clone, Debug)]
pub(super) enum Step {
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

/// State, key, sub-key.
type Model = BTreeMap<(StateId, Vec<u8>, Vec<u8>), Vec<u8>>;

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = || proptest::collection::vec(any::<u8>(), 0..8);
    let name = || 0..NAMES.len();
    let step = prop_oneof![
        6 => (0..MAP, name(), value()).prop_map(|(state, key, value)| Step::Put(state, key, value)),
        6 => (0..MAP, name(), value()).prop_map(|(state, key, value)| Step::Append(state, key, value)),
        4 => (0..MAP, name()).prop_map(|(state, key)| Step::Delete(state, key)),
        9 => (name(), name(), value()).prop_map(|(key, sub_key, value)| Step::PutInMap(key, sub_key, value)),
        3 => (name(), name()).prop_map(|(key, sub_key)| Step::DeleteInMap(key, sub_key)),
        1 => name().prop_map(Step::ClearMap),
        1 => prop_oneof![Just(SnapshotFormat::Canonical), Just(SnapshotFormat::RocksDb)].prop_map(Step::Snapshot),
        1 => Just(Step::Upload),
        1 => any::<usize>().prop_map(Step::Restore),
    ];
    proptest::collection::vec(step, 0..80)
}

/// Runs the steps; snapshots are uploaded some steps after they were taken, and held files reused.
pub(super) fn behaves_like_the_model(kind: StateBackendKind, steps: Vec<Step>) {
    let mut state = Subject::new(kind, &STATES);
    let mut model = Model::new();
    let mut waiting: Vec<(Box<dyn StateSnapshot>, Model)> = Vec::new();
    let mut images: Vec<(StateHandle, Model)> = Vec::new();
    for step in steps {
        match step {
            Step::Snapshot(format) => waiting.push((state.backend.snapshot(format).unwrap(), model.clone())),
            Step::Upload => upload_oldest(&state, &mut waiting, &mut images),
            Step::Restore(which) if !images.is_empty() => {
                let (image, of) = images[which % images.len()].clone();
                waiting.clear();
                state.restore(&image, &STATES).unwrap();
                model = of;
            }
            Step::Restore(_) => {}
            change => make(&mut state, &mut model, change),
        }
    }
    check_against(&mut state, &model);
    while !waiting.is_empty() {
        upload_oldest(&state, &mut waiting, &mut images);
    }
    for (image, of) in &images {
        state.restore(image, &STATES).unwrap();
        check_against(&mut state, of);
        check_entries(&state, image, of);
    }
    if let Some((image, of)) = images.last().filter(|_| kind == StateBackendKind::RocksDb) {
        move_there_and_back(&mut state, image, of);
    }
}

/// To the other backend, and back by an image of its own.
fn move_there_and_back(state: &mut Subject, image: &StateHandle, model: &Model) {
    let mut other = Subject::new(StateBackendKind::Memory, &STATES);
    other.backend = open(options(other.kind, other.work(), layout(&STATES), Some((image, &state.store)))).unwrap();
    check_against(&mut other, model);
    let image = other.image(&[]);
    std::mem::swap(&mut state.store, &mut other.store);
    state.restore(&image, &STATES).unwrap();
    check_against(state, model);
}

fn make(state: &mut Subject, model: &mut Model, change: Step) {
    let at = |state, key: usize| (state, NAMES[key].to_vec(), Vec::new());
    let in_map = |key: usize, sub_key: usize| (MAP, NAMES[key].to_vec(), NAMES[sub_key].to_vec());
    match change {
        Step::Put(id, key, value) => {
            state.apply_map(id, NAMES[key], b"", StateChange::Put(&value));
            model.insert(at(id, key), value);
        }
        Step::Append(id, key, value) => {
            state.apply_map(id, NAMES[key], b"", StateChange::Append(&value));
            model.entry(at(id, key)).or_default().extend(value);
        }
        Step::Delete(id, key) => {
            state.apply_map(id, NAMES[key], b"", StateChange::Delete);
            model.remove(&at(id, key));
        }
        Step::PutInMap(key, sub_key, value) => {
            state.apply_map(MAP, NAMES[key], NAMES[sub_key], StateChange::Put(&value));
            model.insert(in_map(key, sub_key), value);
        }
        Step::DeleteInMap(key, sub_key) => {
            state.apply_map(MAP, NAMES[key], NAMES[sub_key], StateChange::Delete);
            model.remove(&in_map(key, sub_key));
        }
        Step::ClearMap(key) => {
            state.apply_map(MAP, NAMES[key], b"", StateChange::DeleteAll);
            model.retain(|(id, held, _), _| *id != MAP || held != NAMES[key]);
        }
        Step::Snapshot(_) | Step::Upload | Step::Restore(_) => unreachable!("no change"),
    }
}

fn upload_oldest(
    state: &Subject,
    waiting: &mut Vec<(Box<dyn StateSnapshot>, Model)>,
    images: &mut Vec<(StateHandle, Model)>,
) {
    if waiting.is_empty() {
        return;
    }
    let (snapshot, of) = waiting.remove(0);
    let held = images.last().map(|(image, _)| image.files.clone()).unwrap_or_default();
    images.push((snapshot.upload(&state.store, &held).unwrap(), of));
}

/// Through each way to read.
fn check_against(state: &mut Subject, model: &Model) {
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

/// A whole map, page by page.
fn scan(state: &mut Subject, key: &[u8], limit: usize) -> Vec<MapEntry> {
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

/// The image holds the model and nothing else, in order.
fn check_entries(state: &Subject, image: &StateHandle, model: &Model) {
    let mut expected: Vec<_> =
        model.iter().map(|((id, key, sub_key), value)| (group_of(key), *id, key, sub_key, value)).collect();
    expected.sort();
    let mut expected = expected.into_iter();
    let folder = tempfile::tempdir().unwrap();
    let image = RestoreSource { handle: image, groups: 0..GROUPS, store: &state.store };
    read_snapshot(&image, 0..GROUPS, &folder.path().join("scratch"), &mut |entry| {
        let (group, state, key, sub_key, value) = expected.next().unwrap();
        assert_eq!(entry, StoredEntry { group, state, key, sub_key, value });
        Ok(())
    })
    .unwrap();
    assert_eq!(expected.next(), None);
}
