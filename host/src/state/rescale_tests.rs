//! Images brought to other subtasks, backends and forms: nothing is lost, nothing is doubled.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::canonical::CanonicalWriter;
use super::testing::TestStore;
use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::model::{group_of_key, groups_of_subtask, hash_key};

/// An entry's state by its name, its key and sub-key.
type Address = (String, Vec<u8>, Vec<u8>);
type Contents = BTreeMap<Address, Vec<u8>>;

fn layout(names: &[&str]) -> StateLayout {
    let describe = |name: &&str| {
        let kind = match &name[..1] {
            "l" => StateKind::List,
            "m" => StateKind::Map,
            _ => StateKind::Value,
        };
        StateDescription::new(name, kind, "postcard", "u64")
    };
    names.iter().map(describe).collect()
}

/// All subtasks of an operator.
struct Operator {
    max_parallelism: u32,
    backend: StateBackendKind,
    layout: StateLayout,
    subtasks: Vec<Box<dyn StateBackend>>,
    /// Where they keep their files; gone with them.
    _folder: tempfile::TempDir,
}

/// Images of all subtasks of one operator.
struct Images {
    store: TestStore,
    of_subtasks: Vec<StateHandle>,
}

impl Operator {
    fn open(
        max_parallelism: u32,
        parallelism: u32,
        backend: StateBackendKind,
        layout: &StateLayout,
        images: Option<&Images>,
    ) -> Operator {
        let folder = tempfile::tempdir().unwrap();
        let open = |subtask| {
            let options = StateOptions {
                groups: groups_of_subtask(subtask, parallelism, max_parallelism),
                restore: images.map(|images| images.all(max_parallelism)).unwrap_or_default(),
                ..StateOptions::empty(
                    backend,
                    folder.path().join(subtask.to_string()),
                    layout.clone(),
                    max_parallelism,
                    // Times to live have begun at times near 0.
                    Arc::new(ManualClock::default()),
                )
            };
            super::open(options).unwrap()
        };
        let subtasks = (0..parallelism).map(open).collect();
        Operator { max_parallelism, backend, layout: layout.clone(), subtasks, _folder: folder }
    }

    fn put(&mut self, contents: &Contents) {
        for ((state, key, sub_key), value) in contents {
            let group = group_of_key(hash_key(key), self.max_parallelism);
            let parallelism = self.subtasks.len() as u32;
            let owner = crate::model::subtask_of_group(group, parallelism, self.max_parallelism);
            let state = self.layout.iter().position(|known| known.name == *state).unwrap() as StateId;
            let write = StateWrite { state, group, key, sub_key, change: StateChange::Put(value) };
            self.subtasks[owner as usize].apply(&mut std::iter::once(write)).unwrap();
        }
    }

    fn images(&mut self, native: bool) -> Images {
        let store = TestStore::default();
        let format = if native { SnapshotFormat::native_of(self.backend) } else { SnapshotFormat::Canonical };
        let image =
            |subtask: &mut Box<dyn StateBackend>| subtask.snapshot(format).unwrap().upload(&store, &[]).unwrap();
        let of_subtasks = self.subtasks.iter_mut().map(image).collect();
        Images { store, of_subtasks }
    }

    /// What the subtasks hold together. Each entry is in one only, the one that owns its group.
    fn contents(&mut self) -> Contents {
        let images = self.images(false);
        let mut contents = Contents::new();
        for image in images.all(self.max_parallelism) {
            let all = 0..self.max_parallelism;
            let scratch = tempfile::tempdir().unwrap();
            read_snapshot(&image, all, scratch.path(), &mut |entry| {
                assert!(image.groups.contains(&u32::from(entry.group)), "group {} of {:?}", entry.group, image.groups);
                assert_eq!(entry.group, group_of_key(hash_key(entry.key), self.max_parallelism));
                let state = image.handle.layout[usize::from(entry.state)].name.clone();
                let address = (state, entry.key.to_vec(), entry.sub_key.to_vec());
                assert_eq!(contents.insert(address, entry.value.to_vec()), None, "an entry is held twice");
                Ok(())
            })
            .unwrap();
        }
        contents
    }
}

impl Images {
    /// Those of all subtasks: more than most need, which must make no difference.
    fn all(&self, max_parallelism: u32) -> Vec<RestoreSource<'_>> {
        let parallelism = self.of_subtasks.len() as u32;
        let restored = |(subtask, image)| {
            let groups = groups_of_subtask(subtask, parallelism, max_parallelism);
            RestoreSource { handle: image, groups, store: &self.store as &dyn FileStore }
        };
        (0..parallelism).zip(&self.of_subtasks).map(restored).collect()
    }
}

fn backends() -> impl Strategy<Value = StateBackendKind> {
    prop_oneof![Just(StateBackendKind::Memory), Just(StateBackendKind::RocksDb)]
}

fn contents() -> impl Strategy<Value = Contents> {
    let bytes = || prop::collection::vec(prop_oneof![Just(0_u8), Just(255), any::<u8>()], 0..4);
    let address = (prop::sample::select(vec!["v", "l", "m"]), bytes(), bytes()).prop_map(|(state, key, sub_key)| {
        let sub_key = if state == "m" { sub_key } else { Vec::new() };
        (state.to_owned(), key, sub_key)
    });
    prop::collection::btree_map(address, bytes(), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn state_survives_any_change_of_parallelism_backend_and_format(
        max_parallelism in 1_u32..40,
        steps in prop::collection::vec((1_u32..9, backends(), any::<bool>(), contents()), 3),
    ) {
        let orders = [["v", "l", "m"], ["m", "v", "l"], ["l", "m", "v"]];
        let mut expected = Contents::new();
        let mut images: Option<Images> = None;
        for ((parallelism, backend, native, more), order) in steps.into_iter().zip(orders) {
            let parallelism = parallelism.min(max_parallelism);
            let mut operator = Operator::open(max_parallelism, parallelism, backend, &layout(&order), images.as_ref());
            prop_assert_eq!(operator.contents(), expected.clone());
            operator.put(&more);
            expected.extend(more);
            prop_assert_eq!(operator.contents(), expected.clone());
            images = Some(operator.images(native));
        }
    }
}

/// Multiplies by ten, and remembers what it was asked.
#[derive(Default)]
struct Tenfold {
    asked: Vec<(StateId, String, usize)>,
}

impl StateMigrator for Tenfold {
    fn migrate(&mut self, state: StateId, schema: &str, values: &Column) -> Result<Column> {
        self.asked.push((state, schema.to_owned(), values.len()));
        Ok(values.iter().map(|value| [value, b"0"].concat()).collect::<Vec<_>>().iter().collect())
    }
}

const KINDS: [StateKind; 5] =
    [StateKind::Value, StateKind::Reducing, StateKind::Aggregating, StateKind::List, StateKind::Map];
const HOUR: TimeToLive =
    TimeToLive { milliseconds: 3_600_000, update: TtlUpdate::CreateAndWrite, return_expired: false };

/// An operator with one state of each kind, and the bytes of an entry with these elements.
fn of_kinds(schema: &str, ttl: Option<TimeToLive>) -> StateLayout {
    let describe =
        |kind: StateKind| StateDescription { ttl, ..StateDescription::new(kind.as_str(), kind, "raw", schema) };
    KINDS.map(describe).to_vec()
}

fn stored(kind: StateKind, elements: &[&[u8]], time_ms: Option<i64>) -> Vec<u8> {
    let timed = |element: &[u8]| [time_ms.map(ttl::stamp).as_ref().map_or(&[][..], |time| &time[..]), element].concat();
    let mut bytes = Vec::new();
    match kind {
        StateKind::List => elements.iter().for_each(|element| list::push_element(&mut bytes, &[], &timed(element))),
        _ => bytes = timed(elements[0]),
    }
    bytes
}

fn one_of_each(elements: &[&[u8]], time_ms: Option<i64>) -> Contents {
    let entry = |kind: StateKind| {
        let sub_key = if kind == StateKind::Map { b"sub".to_vec() } else { Vec::new() };
        ((kind.as_str().to_owned(), b"key".to_vec(), sub_key), stored(kind, elements, time_ms))
    };
    KINDS.map(entry).into_iter().collect()
}

/// Restores what an operator with `old` wrote into one with `new`, over all backends and formats.
fn over_all(old: &StateLayout, contents: &Contents, new: &StateLayout, check: impl Fn(Result<Contents>, Tenfold)) {
    for (before, native, after) in [
        (StateBackendKind::Memory, false, StateBackendKind::Memory),
        (StateBackendKind::RocksDb, true, StateBackendKind::RocksDb),
        (StateBackendKind::RocksDb, false, StateBackendKind::RocksDb),
        (StateBackendKind::RocksDb, true, StateBackendKind::Memory),
    ] {
        let mut operator = Operator::open(4, 1, before, old, None);
        operator.put(contents);
        let images = operator.images(native);
        let folder = tempfile::tempdir().unwrap();
        let mut tenfold = Tenfold::default();
        let clock = Arc::new(ManualClock::default());
        clock.set_ms(77);
        let options = StateOptions {
            restore: images.all(4),
            migrate: Some(&mut tenfold),
            allow_unclaimed: true,
            ..StateOptions::empty(after, folder.path().join("work"), new.clone(), 4, clock)
        };
        let opened = super::open(options).map(|backend| {
            let subtasks = vec![backend];
            let mut operator =
                Operator { max_parallelism: 4, backend: after, layout: new.clone(), subtasks, _folder: folder };
            operator.contents()
        });
        check(opened, tenfold);
    }
}

#[test]
fn values_of_an_older_schema_are_migrated_and_keep_their_time() {
    for ttl in [None, Some(HOUR)] {
        let time_ms = ttl.map(|_| 5);
        let old = of_kinds("old", ttl);
        let mut new = of_kinds("new", ttl);
        new.iter_mut().for_each(|state| state.previous = vec!["older".into(), "old".into()]);
        over_all(&old, &one_of_each(&[b"1", b"", b"3"], time_ms), &new, |contents, tenfold| {
            assert_eq!(contents.unwrap(), one_of_each(&[b"10", b"0", b"30"], time_ms));
            let asked = |state| (state, "old".to_owned(), if state == 3 { 3 } else { 1 });
            assert_eq!(tenfold.asked, (0..5).map(asked).collect::<Vec<_>>());
        });
    }
}

#[test]
fn a_time_to_live_is_added_and_taken_away() {
    let (without, with) = (of_kinds("s", None), of_kinds("s", Some(HOUR)));
    let elements: [&[u8]; 2] = [b"a", b"bc"];
    over_all(&without, &one_of_each(&elements, None), &with, |contents, tenfold| {
        assert_eq!(contents.unwrap(), one_of_each(&elements, Some(77)));
        assert!(tenfold.asked.is_empty());
    });
    over_all(&with, &one_of_each(&elements, Some(5)), &without, |contents, _| {
        assert_eq!(contents.unwrap(), one_of_each(&elements, None));
    });
}

#[test]
fn a_schema_that_nobody_reads_is_refused_before_anything() {
    let mut new = of_kinds("new", None);
    new[1].previous = vec!["old".into()];
    over_all(&of_kinds("old", None), &one_of_each(&[b"1"], None), &new, |contents, tenfold| {
        let error = contents.unwrap_err();
        assert_eq!(error.code, "checkpoint-mismatch");
        for part in ["`value`", "`old`", "`new`"] {
            assert!(error.message.contains(part), "{error}");
        }
        assert!(error.hint.unwrap().contains("migrate"));
        assert!(tenfold.asked.is_empty());
    });
}

#[test]
fn states_that_are_not_declared_are_dropped() {
    let old = layout(&["v1", "v2", "l1", "m1"]);
    let new = layout(&["m1", "v2"]);
    let entry = |state: &str, sub_key: &str| ((state.to_owned(), b"key".to_vec(), sub_key.into()), state.into());
    let all = [entry("v1", ""), entry("v2", ""), entry("l1", ""), entry("m1", "sub")];
    over_all(&old, &all.into(), &new, |contents, _| {
        assert_eq!(contents.unwrap(), [entry("v2", ""), entry("m1", "sub")].into());
    });
}

/// Gives one value too few.
struct Forgetful;

impl StateMigrator for Forgetful {
    fn migrate(&mut self, _state: StateId, _schema: &str, _values: &Column) -> Result<Column> {
        Ok(Column::new())
    }
}

#[test]
fn a_migration_that_loses_values_is_refused() {
    let store = TestStore::default();
    let mut writer = CanonicalWriter::new(&store);
    writer.push(StoredEntry { group: 0, state: 0, key: b"k", sub_key: b"", value: b"v" }).unwrap();
    let (files, size) = writer.finish().unwrap();
    let image = StateHandle { format: SnapshotFormat::Canonical, layout: of_kinds("old", None), files, size };
    let mut new = of_kinds("new", None);
    new.iter_mut().for_each(|state| state.previous = vec!["old".into()]);
    let folder = tempfile::tempdir().unwrap();
    let open = |migrate| {
        let options =
            StateOptions::empty(StateBackendKind::Memory, folder.path().into(), new.clone(), 1, SystemClock::shared());
        let restore = vec![RestoreSource { handle: &image, groups: 0..1, store: &store }];
        super::open(StateOptions { restore, migrate, ..options }).err().unwrap()
    };
    for error in [open(None), open(Some(&mut Forgetful))] {
        assert_eq!(error.code, "state-migration-failed", "{error}");
    }
}
