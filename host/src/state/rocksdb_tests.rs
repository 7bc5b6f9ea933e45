//! The cache in front of RocksDB, and its cuts: with limits so small that everything that may happen does.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::rocksdb::{Limits, RocksDbBackend};
use super::testing::{BrokenStore, TestStore};
use super::*;
use crate::clock::SystemClock;

const GROUPS: u32 = 4;
const VALUE: StateId = 0;
const LIST: StateId = 1;
const MAP: StateId = 2;

type Model = BTreeMap<(StateId, u8, Vec<u8>), Vec<u8>>;

struct Subject {
    folder: tempfile::TempDir,
    openings: u32,
    tight: bool,
    store: TestStore,
    backend: RocksDbBackend,
    model: Model,
}

fn layout() -> StateLayout {
    let of_kind = |(name, kind)| StateDescription::new(name, kind, "postcard", "u64");
    [("value", StateKind::Value), ("list", StateKind::List), ("map", StateKind::Map)].map(of_kind).to_vec()
}

fn name(key: u8) -> Vec<u8> {
    // Keys of which one begins the other, with the bytes that keys of maps are escaped for.
    vec![0; usize::from(key)]
}

fn group(key: u8) -> KeyGroup {
    KeyGroup::from(key) % GROUPS as KeyGroup
}

fn keys(of: impl IntoIterator<Item = u8> + Clone) -> Keys {
    let distinct = of.clone().into_iter().map(name).collect::<Vec<_>>();
    Keys { distinct: distinct.iter().collect(), groups: of.into_iter().map(group).collect(), key_of: Vec::new() }
}

impl Subject {
    fn new(tight: bool) -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let backend = backend(&folder.path().join("0"), tight, None);
        Subject { folder, openings: 0, tight, store: TestStore::default(), backend, model: Model::new() }
    }

    fn restore(&mut self, image: &StateHandle, model: &Model) {
        self.openings += 1;
        let path = self.folder.path().join(self.openings.to_string());
        self.backend = backend(&path, self.tight, Some((image, &self.store)));
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

    fn snapshot(&mut self) -> (Box<dyn StateSnapshot>, Model) {
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
        restore.into_iter().map(|(image, store)| RestoreSource { handle: image, groups: 0..GROUPS, store }).collect();
    let clock = SystemClock::shared();
    let options = StateOptions::empty(StateBackendKind::RocksDb, working_dir.into(), layout(), GROUPS, clock);
    let backend = RocksDbBackend::open(StateOptions { restore, ..options }).unwrap();
    match tight {
        true => backend.limited(Limits { cache: 1500, dirty_entries: 3, dirty_bytes: 100 }),
        false => backend,
    }
}

#[derive(Clone, Debug)]
enum Step {
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

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = || proptest::collection::vec(any::<u8>(), 0..20);
    let (key, sub_key, which) = (|| 0..8u8, || 0..6u8, any::<usize>);
    let step = prop_oneof![
        6 => (key(), value()).prop_map(|(key, value)| Step::Put(key, value)),
        6 => (key(), value()).prop_map(|(key, value)| Step::Append(key, value)),
        6 => (key(), sub_key(), value()).prop_map(|(key, sub_key, value)| Step::PutEntry(key, sub_key, value)),
        3 => (0..2u16, key()).prop_map(|(state, key)| Step::Delete(state, key)),
        3 => (key(), sub_key()).prop_map(|(key, sub_key)| Step::DeleteEntry(key, sub_key)),
        2 => key().prop_map(Step::DeleteAll),
        3 => (0..2u16, key()).prop_map(|(state, key)| Step::Load(state, key)),
        2 => key().prop_map(Step::LoadEntries),
        2 => (key(), proptest::option::of(sub_key()), 0..4usize)
            .prop_map(|(key, after, limit)| Step::Scan(key, after, limit)),
        3 => Just(Step::Snapshot),
        2 => which().prop_map(Step::Upload),
        1 => which().prop_map(Step::FailUpload),
        1 => which().prop_map(Step::Drop),
        1 => which().prop_map(Step::Restore),
    ];
    proptest::collection::vec(step, 0..120)
}

fn run(tight: bool, steps: Vec<Step>) {
    let mut subject = Subject::new(tight);
    let mut waiting: Vec<(Box<dyn StateSnapshot>, Model)> = Vec::new();
    let mut images: Vec<(StateHandle, Model)> = Vec::new();
    let mut held: Vec<FileRef> = Vec::new();
    for step in steps {
        match step {
            Step::Put(key, value) => subject.write(VALUE, key, &[], StateChange::Put(&value)),
            Step::Append(key, value) => subject.write(LIST, key, &[], StateChange::Append(&value)),
            Step::Delete(state, key) => subject.write(state, key, &[], StateChange::Delete),
            Step::PutEntry(key, sub_key, value) => subject.write(MAP, key, &[sub_key], StateChange::Put(&value)),
            Step::DeleteEntry(key, sub_key) => subject.write(MAP, key, &[sub_key], StateChange::Delete),
            Step::DeleteAll(key) => subject.write(MAP, key, &[], StateChange::DeleteAll),
            Step::Load(state, key) => subject.check_loaded(state, key..key + 1),
            Step::LoadEntries(key) => subject.check_map_entries(key),
            Step::Scan(key, after, limit) => subject.check_scan(key, after, limit),
            Step::Snapshot => waiting.push(subject.snapshot()),
            Step::Upload(which) if !waiting.is_empty() => {
                let (snapshot, model) = waiting.remove(which % waiting.len());
                let image = snapshot.upload(&subject.store, &held).unwrap();
                held = image.files.clone();
                images.push((image, model));
            }
            Step::FailUpload(which) if !waiting.is_empty() => {
                let (snapshot, _) = waiting.remove(which % waiting.len());
                assert_eq!(snapshot.upload(&BrokenStore, &[]).unwrap_err().code, "storage-failed");
            }
            Step::Drop(which) if !waiting.is_empty() => drop(waiting.remove(which % waiting.len())),
            Step::Restore(which) if !images.is_empty() => {
                waiting.clear();
                let (image, model) = &images[which % images.len()];
                subject.restore(image, model);
            }
            Step::Upload(_) | Step::FailUpload(_) | Step::Drop(_) | Step::Restore(_) => {}
        }
    }
    subject.check();
    while let Some((snapshot, model)) = waiting.pop() {
        images.push((snapshot.upload(&subject.store, &held).unwrap(), model));
    }
    subject.check();
    for (image, model) in images {
        subject.restore(&image, &model);
        subject.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn a_cache_that_hardly_holds_anything(steps in steps()) {
        run(true, steps);
    }

    #[test]
    fn a_cache_that_holds_everything(steps in steps()) {
        run(false, steps);
    }
}

/// The subtask writes for as long as the upload takes, and a little longer, with limits that make it wait for the cut.
fn an_image_is_of_its_barrier(tight: bool) {
    let mut subject = Subject::new(tight);
    let mut images: Vec<(StateHandle, Model)> = Vec::new();
    for round in 0..20u32 {
        for key in 0..8 {
            subject.write(LIST, key, &[], StateChange::Append(&round.to_le_bytes()));
            subject.write(MAP, key, &[round as u8 % 6], StateChange::Put(b"in front of the barrier"));
        }
        let (snapshot, model) = subject.snapshot();
        let (uploaded, store) = (AtomicBool::new(false), TestStore::default());
        let store = std::mem::replace(&mut subject.store, store);
        let held: Vec<FileRef> = images.last().map(|(image, _)| image.files.clone()).unwrap_or_default();
        let image = std::thread::scope(|scope| {
            let upload = scope.spawn(|| {
                let image = snapshot.upload(&store, &held).unwrap();
                uploaded.store(true, Ordering::Release);
                image
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
        images.push((image, model));
    }
    subject.check();
    for (image, model) in images {
        subject.restore(&image, &model);
        subject.check();
    }
}

#[test]
fn an_image_is_of_its_barrier_while_writing_goes_on() {
    an_image_is_of_its_barrier(false);
}

#[test]
fn an_image_is_of_its_barrier_while_writing_has_to_wait() {
    an_image_is_of_its_barrier(true);
}

#[test]
fn writes_behind_a_barrier_stay_out_of_the_database_until_the_cut_is_made() {
    let mut subject = Subject::new(true);
    let (snapshot, _) = subject.snapshot();
    for key in 0..8 {
        subject.write(VALUE, key, &[], StateChange::Put(&[key; 20]));
    }
    let in_database = |subject: &Subject| subject.backend.database().iterator(::rocksdb::IteratorMode::Start).count();
    assert_eq!(in_database(&subject), 0);
    drop(snapshot);
    subject.write(VALUE, 0, &[], StateChange::Put(b"more"));
    assert!(in_database(&subject) > 0, "an abandoned cut holds nothing up");
}

/// Of a database that began empty it is known which keys it cannot have; a cache of a fraction of them keeps that.
#[test]
fn no_key_is_taken_for_one_that_the_database_cannot_have() {
    let limits = || Limits { cache: 80 << 10, dirty_entries: 100, dirty_bytes: 10 << 10 };
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
    let mut first = backend(&folder.path().join("0"), false, None).limited(limits());
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
        let image = first.snapshot(format).unwrap().upload(&store, &[]).unwrap();
        check(&mut backend(&folder.path().join(path), false, Some((&image, &store))).limited(limits()));
    }
}

#[test]
fn a_database_of_two_hundred_files_keeps_them_open() {
    let mut subject = Subject::new(true);
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

/// What is known of a database's keys has no way to forget any: one that comes again must not be counted again.
#[test]
fn a_map_that_is_emptied_and_filled_again_and_again_takes_no_more_room() {
    let mut subject = Subject::new(false);
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
    assert!(last < 2 * first, "{first} bytes became {last}");
}
