//! Tests of the cache and the snapshot queue, with and without limits so small that every code path runs.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::backend::{CacheLimits, RocksDbBackend};
use crate::clock::SystemClock;
use crate::model::{KeyGroup, Keys};
use crate::pipeline::StateBackendKind;
use crate::state::testing::{FailingStore, TestStore};
use crate::state::*;

const GROUPS: u32 = 4;
const VALUE: StateId = 0;
const LIST: StateId = 1;
const MAP: StateId = 2;

/// The expected content: values by state, key and sub-key.
type CacheModel = BTreeMap<(StateId, u8, Vec<u8>), Vec<u8>>;

/// A backend, and the model that it is compared with.
struct CachedBackendTest {
    folder: tempfile::TempDir,
    openings: u32,
    /// Whether the cache has tiny limits.
    tight: bool,
    store: TestStore,
    backend: RocksDbBackend,
    model: CacheModel,
}

fn layout() -> StateLayout {
    let of_kind = |(name, kind)| StateDescription::new(name, kind, "postcard", "u64");
    [("value", StateKind::Value), ("list", StateKind::List), ("map", StateKind::Map)].map(of_kind).to_vec()
}

fn name(key: u8) -> Vec<u8> {
    // Each key is a prefix of the next, and consists of the byte that map keys escape.
    vec![0; usize::from(key)]
}

fn group(key: u8) -> KeyGroup {
    KeyGroup::from(key) % GROUPS as KeyGroup
}

fn keys(numbers: impl IntoIterator<Item = u8> + Clone) -> Keys {
    let distinct = numbers.clone().into_iter().map(name).collect::<Vec<_>>();
    Keys { distinct: distinct.iter().collect(), groups: numbers.into_iter().map(group).collect(), key_of: Vec::new() }
}

impl CachedBackendTest {
    fn new(tight: bool) -> CachedBackendTest {
        let folder = tempfile::tempdir().unwrap();
        let backend = backend(&folder.path().join("0"), tight, None);
        CachedBackendTest { folder, openings: 0, tight, store: TestStore::default(), backend, model: CacheModel::new() }
    }

    fn restore(&mut self, handle: &StateHandle, model: &CacheModel) {
        self.openings += 1;
        let path = self.folder.path().join(self.openings.to_string());
        self.backend = backend(&path, self.tight, Some((handle, &self.store)));
        self.model = model.clone();
    }

    fn write(&mut self, state: StateId, key: u8, sub_key: &[u8], change: StateChange<'_>) {
        let write = StateWrite { state, group: group(key), key: &name(key), sub_key, change };
        self.backend.apply(&mut [write].into_iter()).unwrap();
        let place = (state, key, sub_key.to_vec());
        match change {
            StateChange::Put(value) => _ = self.model.insert(place, value.to_vec()),
            StateChange::Append(value) => self.model.entry(place).or_default().extend(value),
            StateChange::Delete => _ = self.model.remove(&place),
            StateChange::DeleteAll => self.model.retain(|(of, other, _), _| (*of, *other) != (state, key)),
        }
    }

    fn snapshot(&mut self) -> (Box<dyn StateSnapshot>, CacheModel) {
        (self.backend.snapshot(SnapshotFormat::RocksDb).unwrap(), self.model.clone())
    }

    fn check(&mut self) {
        for state in [VALUE, LIST] {
            self.check_loaded(state, 0..8);
        }
        for key in 0..8 {
            self.check_scan(key, None, 100);
            self.check_map_entries(key);
        }
    }

    fn check_loaded(&mut self, state: StateId, of: std::ops::Range<u8>) {
        let entries = self.backend.load(state, &keys(of.clone())).unwrap();
        for (at, key) in of.enumerate() {
            let found = entries.present[at].then(|| entries.values.value(at));
            assert_eq!(found, self.model.get(&(state, key, Vec::new())).map(|value| &value[..]), "{state} {key}");
        }
    }

    fn check_map_entries(&mut self, key: u8) {
        let sub_keys: Vec<Vec<u8>> = (0..6).map(|sub_key| vec![sub_key]).collect();
        let entries = self.backend.load_map(MAP, &keys([key]), &[0; 6], &sub_keys.iter().collect()).unwrap();
        for (at, sub_key) in sub_keys.into_iter().enumerate() {
            let found = entries.present[at].then(|| entries.values.value(at));
            assert_eq!(found, self.model.get(&(MAP, key, sub_key)).map(|value| &value[..]), "map {key} {at}");
        }
    }

    fn check_scan(&mut self, key: u8, after: Option<u8>, limit: usize) {
        let after = after.map(|after| vec![after]);
        let found = self.backend.scan_map(MAP, group(key), &name(key), after.as_deref(), limit).unwrap();
        let of_map = self.model.iter().filter(|((state, of, sub_key), _)| {
            (*state, *of) == (MAP, key) && after.as_ref().is_none_or(|after| sub_key > after)
        });
        let expected: Vec<MapEntry> =
            of_map.take(limit).map(|((_, _, sub_key), value)| (sub_key.clone(), value.clone())).collect();
        assert_eq!(found, expected, "map {key} after {after:?}");
    }
}

fn backend(
    working_dir: &std::path::Path,
    tight: bool,
    restore: Option<(&StateHandle, &dyn FileStore)>,
) -> RocksDbBackend {
    let restore =
        restore.into_iter().map(|(handle, store)| RestoreSource { handle, groups: 0..GROUPS, store }).collect();
    let clock = SystemClock::shared();
    let options = StateOptions::empty(StateBackendKind::RocksDb, working_dir.into(), layout(), GROUPS, clock);
    let backend = RocksDbBackend::open(StateOptions { restore, ..options }).unwrap();
    match tight {
        true => backend.with_limits(CacheLimits { bytes: 1500, dirty_entries: 3, dirty_bytes: 100 }),
        false => backend,
    }
}

#[derive(Clone, Debug)]
enum CacheStep {
    Put(u8, Vec<u8>),
    Delete(StateId, u8),
    Append(u8, Vec<u8>),
    PutEntry(u8, u8, Vec<u8>),
    DeleteEntry(u8, u8),
    DeleteAll(u8),
    Load(StateId, u8),
    LoadEntries(u8),
    Scan(u8, Option<u8>, usize),
    Snapshot,
    Upload(usize),
    FailUpload(usize),
    Drop(usize),
    Restore(usize),
}

fn steps() -> impl Strategy<Value = Vec<CacheStep>> {
    let value = || proptest::collection::vec(any::<u8>(), 0..20);
    let (key, sub_key, which) = (|| 0..8u8, || 0..6u8, any::<usize>);
    let step = prop_oneof![
        6 => (key(), value()).prop_map(|(key, value)| CacheStep::Put(key, value)),
        6 => (key(), value()).prop_map(|(key, value)| CacheStep::Append(key, value)),
        6 => (key(), sub_key(), value()).prop_map(|(key, sub_key, value)| CacheStep::PutEntry(key, sub_key, value)),
        3 => (0..2u16, key()).prop_map(|(state, key)| CacheStep::Delete(state, key)),
        3 => (key(), sub_key()).prop_map(|(key, sub_key)| CacheStep::DeleteEntry(key, sub_key)),
        2 => key().prop_map(CacheStep::DeleteAll),
        3 => (0..2u16, key()).prop_map(|(state, key)| CacheStep::Load(state, key)),
        2 => key().prop_map(CacheStep::LoadEntries),
        2 => (key(), proptest::option::of(sub_key()), 0..4usize)
            .prop_map(|(key, after, limit)| CacheStep::Scan(key, after, limit)),
        3 => Just(CacheStep::Snapshot),
        2 => which().prop_map(CacheStep::Upload),
        1 => which().prop_map(CacheStep::FailUpload),
        1 => which().prop_map(CacheStep::Drop),
        1 => which().prop_map(CacheStep::Restore),
    ];
    proptest::collection::vec(step, 0..120)
}

fn run(tight: bool, steps: Vec<CacheStep>) {
    let mut subject = CachedBackendTest::new(tight);
    let mut waiting: Vec<(Box<dyn StateSnapshot>, CacheModel)> = Vec::new();
    let mut handles: Vec<(StateHandle, CacheModel)> = Vec::new();
    let mut held: Vec<FileRef> = Vec::new();
    for step in steps {
        match step {
            CacheStep::Put(key, value) => subject.write(VALUE, key, &[], StateChange::Put(&value)),
            CacheStep::Append(key, value) => subject.write(LIST, key, &[], StateChange::Append(&value)),
            CacheStep::Delete(state, key) => subject.write(state, key, &[], StateChange::Delete),
            CacheStep::PutEntry(key, sub_key, value) => subject.write(MAP, key, &[sub_key], StateChange::Put(&value)),
            CacheStep::DeleteEntry(key, sub_key) => subject.write(MAP, key, &[sub_key], StateChange::Delete),
            CacheStep::DeleteAll(key) => subject.write(MAP, key, &[], StateChange::DeleteAll),
            CacheStep::Load(state, key) => subject.check_loaded(state, key..key + 1),
            CacheStep::LoadEntries(key) => subject.check_map_entries(key),
            CacheStep::Scan(key, after, limit) => subject.check_scan(key, after, limit),
            CacheStep::Snapshot => waiting.push(subject.snapshot()),
            CacheStep::Upload(which) if !waiting.is_empty() => {
                let (snapshot, model) = waiting.remove(which % waiting.len());
                let handle = snapshot.upload(&subject.store, &held).unwrap();
                held = handle.files.clone();
                handles.push((handle, model));
            }
            CacheStep::FailUpload(which) if !waiting.is_empty() => {
                let (snapshot, _) = waiting.remove(which % waiting.len());
                assert_eq!(snapshot.upload(&FailingStore, &[]).unwrap_err().code, "storage-failed");
            }
            CacheStep::Drop(which) if !waiting.is_empty() => drop(waiting.remove(which % waiting.len())),
            CacheStep::Restore(which) if !handles.is_empty() => {
                waiting.clear();
                let (handle, model) = &handles[which % handles.len()];
                subject.restore(handle, model);
            }
            CacheStep::Upload(_) | CacheStep::FailUpload(_) | CacheStep::Drop(_) | CacheStep::Restore(_) => {}
        }
    }
    subject.check();
    while let Some((snapshot, model)) = waiting.pop() {
        handles.push((snapshot.upload(&subject.store, &held).unwrap(), model));
    }
    subject.check();
    for (handle, model) in handles {
        subject.restore(&handle, &model);
        subject.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn a_tiny_cache_behaves_like_the_model(steps in steps()) {
        run(true, steps);
    }

    #[test]
    fn a_large_cache_behaves_like_the_model(steps in steps()) {
        run(false, steps);
    }
}

/// Writes during the upload and a little longer. With `tight` limits, writing has to wait for the snapshot to complete.
fn check_snapshots_under_writes(tight: bool) {
    let mut subject = CachedBackendTest::new(tight);
    let mut handles: Vec<(StateHandle, CacheModel)> = Vec::new();
    for round in 0..20u32 {
        for key in 0..8 {
            subject.write(LIST, key, &[], StateChange::Append(&round.to_le_bytes()));
            subject.write(MAP, key, &[round as u8 % 6], StateChange::Put(b"before the barrier"));
        }
        let (snapshot, model) = subject.snapshot();
        let (uploaded, store) = (AtomicBool::new(false), TestStore::default());
        let store = std::mem::replace(&mut subject.store, store);
        let held: Vec<FileRef> = handles.last().map(|(handle, _)| handle.files.clone()).unwrap_or_default();
        let handle = std::thread::scope(|scope| {
            let upload = scope.spawn(|| {
                let handle = snapshot.upload(&store, &held).unwrap();
                uploaded.store(true, Ordering::Release);
                handle
            });
            let mut number = 0u32;
            while number < 50 || !uploaded.load(Ordering::Acquire) {
                let key = (number % 8) as u8;
                subject.write(LIST, key, &[], StateChange::Append(b"+"));
                subject.write(VALUE, key, &[], StateChange::Put(&number.to_le_bytes()));
                if number.is_multiple_of(7) {
                    subject.write(MAP, key, &[], StateChange::DeleteAll);
                    subject.check_loaded(LIST, key..key + 1);
                    subject.check_scan(key, None, 10);
                }
                number += 1;
            }
            upload.join().unwrap()
        });
        subject.store = store;
        handles.push((handle, model));
    }
    subject.check();
    for (handle, model) in handles {
        subject.restore(&handle, &model);
        subject.check();
    }
}

#[test]
fn a_snapshot_contains_the_state_at_its_barrier_while_writes_continue() {
    check_snapshots_under_writes(false);
}

#[test]
fn a_snapshot_contains_the_state_at_its_barrier_when_writes_must_wait_for_it() {
    check_snapshots_under_writes(true);
}

#[test]
fn writes_after_a_barrier_reach_the_database_only_after_the_snapshot_completes() {
    let mut subject = CachedBackendTest::new(true);
    let (snapshot, _) = subject.snapshot();
    for key in 0..8 {
        subject.write(VALUE, key, &[], StateChange::Put(&[key; 20]));
    }
    let in_database =
        |subject: &CachedBackendTest| subject.backend.database().iterator(::rocksdb::IteratorMode::Start).count();
    assert_eq!(in_database(&subject), 0);
    drop(snapshot);
    subject.write(VALUE, 0, &[], StateChange::Put(b"more"));
    assert!(in_database(&subject) > 0, "an abandoned snapshot does not delay writes");
}

/// The filter of known keys covers all keys of the database, although the cache holds only a fraction of them.
#[test]
fn the_filter_of_known_keys_never_excludes_a_stored_key() {
    let limits = || CacheLimits { bytes: 80 << 10, dirty_entries: 100, dirty_bytes: 10 << 10 };
    let numbers = |from: u32| from..from + 100;
    let keys_of = |from: u32| {
        let names: Vec<[u8; 4]> = numbers(from).map(u32::to_be_bytes).collect();
        let groups = numbers(from).map(|number| (number % GROUPS) as KeyGroup).collect();
        Keys { distinct: names.iter().collect(), groups, key_of: Vec::new() }
    };
    let check = |backend: &mut RocksDbBackend| {
        for from in (0..4000).step_by(100) {
            let found = backend.load(VALUE, &keys_of(from)).unwrap();
            assert!(found.present.iter().all(|&present| present == (from < 3000)), "{from}");
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let mut first = backend(&folder.path().join("0"), false, None).with_limits(limits());
    for from in (0..3000).step_by(100) {
        let keys = keys_of(from);
        let mut writes = (0..100).map(|at| StateWrite {
            state: VALUE,
            group: keys.groups[at],
            key: keys.distinct.value(at),
            sub_key: &[],
            change: StateChange::Put(b"value"),
        });
        first.apply(&mut writes).unwrap();
    }
    check(&mut first);
    let store = TestStore::default();
    for (path, format) in [("1", SnapshotFormat::RocksDb), ("2", SnapshotFormat::Canonical)] {
        let handle = first.snapshot(format).unwrap().upload(&store, &[]).unwrap();
        check(&mut backend(&folder.path().join(path), false, Some((&handle, &store))).with_limits(limits()));
    }
}

#[test]
fn a_database_of_two_hundred_files_keeps_them_open() {
    let mut subject = CachedBackendTest::new(true);
    subject.backend.database().set_options(&[("disable_auto_compactions", "true")]).unwrap();
    for _ in 0..200 {
        (0..5).for_each(|key| subject.write(VALUE, key, &[], StateChange::Put(b"value")));
        subject.snapshot().0.upload(&subject.store, &[]).unwrap();
    }
    let database = subject.backend.database().path().to_owned();
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    assert_eq!(
        open.filter(|file| file.starts_with(&database) && file.extension().is_some_and(|e| e == "sst")).count(),
        200
    );
}

/// The filter of known keys cannot remove a key, so a key that is written again must not be added again.
#[test]
fn clearing_and_refilling_a_map_repeatedly_needs_no_more_memory() {
    let mut subject = CachedBackendTest::new(false);
    let sub_keys: Vec<[u8; 1]> = (0..100).map(|sub_key| [sub_key]).collect();
    let mut round = || {
        subject.write(MAP, 1, &[], StateChange::DeleteAll);
        let found = subject.backend.load_map(MAP, &keys([1]), &[0; 100], &sub_keys.iter().collect()).unwrap();
        assert!(!found.present.contains(&true));
        sub_keys.iter().for_each(|sub_key| subject.write(MAP, 1, sub_key, StateChange::Put(b"value")));
        subject.snapshot();
        subject.backend.cache_bytes()
    };
    let first = round();
    let last = (0..200).map(|_| round()).last().unwrap();
    assert!(last < 2 * first, "memory grew from {first} to {last} bytes");
}
