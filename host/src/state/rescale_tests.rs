//! Restores under another parallelism, backend or schema: no entry is lost, none is duplicated.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::canonical::CanonicalWriter;
use super::testing::TestStore;
use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::error::Result;
use crate::model::{Column, group_of_key, groups_of_subtask, hash_key};
use crate::pipeline::StateBackendKind;

mod rows;

/// Name of the state, key and sub-key.
type EntryAddress = (String, Vec<u8>, Vec<u8>);
/// The expected entries.
type StateContents = BTreeMap<EntryAddress, Vec<u8>>;

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
struct RescaledOperator {
    max_parallelism: u32,
    backend: StateBackendKind,
    layout: StateLayout,
    subtasks: Vec<Box<dyn StateBackend>>,
    /// The working folders of the subtasks.
    _folder: tempfile::TempDir,
}

/// Snapshots of all subtasks of one operator.
struct OperatorSnapshots {
    store: TestStore,
    of_subtasks: Vec<StateHandle>,
}

impl RescaledOperator {
    fn open(
        max_parallelism: u32,
        parallelism: u32,
        backend: StateBackendKind,
        layout: &StateLayout,
        handles: Option<&OperatorSnapshots>,
    ) -> RescaledOperator {
        let folder = tempfile::tempdir().unwrap();
        let open = |subtask| {
            let options = StateOptions {
                groups: groups_of_subtask(subtask, parallelism, max_parallelism),
                restore: handles.map(|handles| handles.all(max_parallelism)).unwrap_or_default(),
                ..StateOptions::empty(
                    backend,
                    folder.path().join(subtask.to_string()),
                    layout.clone(),
                    max_parallelism,
                    // The entries of the tests have update times near 0.
                    Arc::new(ManualClock::default()),
                )
            };
            super::open(options).unwrap()
        };
        let subtasks = (0..parallelism).map(open).collect();
        RescaledOperator { max_parallelism, backend, layout: layout.clone(), subtasks, _folder: folder }
    }

    fn put(&mut self, contents: &StateContents) {
        for ((state, key, sub_key), value) in contents {
            let group = group_of_key(hash_key(key), self.max_parallelism);
            let parallelism = self.subtasks.len() as u32;
            let owner = crate::model::subtask_of_group(group, parallelism, self.max_parallelism);
            let state = self.layout.iter().position(|known| known.name == *state).unwrap() as StateId;
            let write = StateWrite { state, group, key, sub_key, change: StateChange::Put(value) };
            self.subtasks[owner as usize].apply(&mut std::iter::once(write)).unwrap();
        }
    }

    fn handles(&mut self, native: bool) -> OperatorSnapshots {
        let store = TestStore::default();
        let format = if native { SnapshotFormat::native_of(self.backend) } else { SnapshotFormat::Canonical };
        let handle =
            |subtask: &mut Box<dyn StateBackend>| subtask.snapshot(format).unwrap().upload(&store, &[]).unwrap();
        let of_subtasks = self.subtasks.iter_mut().map(handle).collect();
        OperatorSnapshots { store, of_subtasks }
    }

    /// Returns the entries of all subtasks. Checks that each entry is only in the subtask that owns its key group.
    fn contents(&mut self) -> StateContents {
        let handles = self.handles(false);
        let mut contents = StateContents::new();
        for handle in handles.all(self.max_parallelism) {
            let all = 0..self.max_parallelism;
            let scratch = tempfile::tempdir().unwrap();
            read_snapshot(&handle, all, scratch.path(), &mut |entry| {
                assert!(
                    handle.groups.contains(&u32::from(entry.group)),
                    "group {} of {:?}",
                    entry.group,
                    handle.groups
                );
                assert_eq!(entry.group, group_of_key(hash_key(entry.key), self.max_parallelism));
                let state = handle.handle.layout[usize::from(entry.state)].name.clone();
                let address = (state, entry.key.to_vec(), entry.sub_key.to_vec());
                assert_eq!(contents.insert(address, entry.value.to_vec()), None, "two subtasks contain the same entry");
                Ok(())
            })
            .unwrap();
        }
        contents
    }
}

impl OperatorSnapshots {
    /// Returns the snapshots of all subtasks. A subtask needs only some of them, and must ignore the rest.
    fn all(&self, max_parallelism: u32) -> Vec<RestoreSource<'_>> {
        let parallelism = self.of_subtasks.len() as u32;
        let restored = |(subtask, handle)| {
            let groups = groups_of_subtask(subtask, parallelism, max_parallelism);
            RestoreSource { handle, groups, store: &self.store as &dyn FileStore }
        };
        (0..parallelism).zip(&self.of_subtasks).map(restored).collect()
    }
}

fn backends() -> impl Strategy<Value = StateBackendKind> {
    prop_oneof![Just(StateBackendKind::Memory), Just(StateBackendKind::RocksDb)]
}

fn contents() -> impl Strategy<Value = StateContents> {
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
        let mut expected = StateContents::new();
        let mut handles: Option<OperatorSnapshots> = None;
        for ((parallelism, backend, native, more), order) in steps.into_iter().zip(orders) {
            let parallelism = parallelism.min(max_parallelism);
            let mut operator = RescaledOperator::open(max_parallelism, parallelism, backend, &layout(&order), handles.as_ref());
            prop_assert_eq!(operator.contents(), expected.clone());
            operator.put(&more);
            expected.extend(more);
            prop_assert_eq!(operator.contents(), expected.clone());
            handles = Some(operator.handles(native));
        }
    }
}

/// Multiplies decimal numbers by ten, and records its calls.
#[derive(Default)]
struct TenfoldMigrator {
    asked: Vec<(StateId, String, usize)>,
    /// The keys and sub-keys of the values, where the form asks for them.
    located: Vec<(StateId, Vec<u8>, Vec<u8>)>,
}

impl StateMigrator for TenfoldMigrator {
    fn migrate(&mut self, state: StateId, stored: &StateForm, stored_values: &StoredValues) -> Result<Column> {
        let StoredValues { keys, sub_keys, values } = stored_values;
        self.asked.push((state, stored.schema.clone(), values.len()));
        if let (Some(keys), Some(sub_keys)) = (keys, sub_keys) {
            assert_eq!((keys.len(), sub_keys.len()), (values.len(), values.len()));
            let located = keys.iter().zip(sub_keys.iter());
            self.located.extend(located.map(|(key, sub_key)| (state, key.to_vec(), sub_key.to_vec())));
        }
        Ok(values.iter().map(|value| [value, b"0"].concat()).collect::<Vec<_>>().iter().collect())
    }
}

const KINDS: [StateKind; 5] =
    [StateKind::Value, StateKind::Reducing, StateKind::Aggregating, StateKind::List, StateKind::Map];
const HOUR: TimeToLive =
    TimeToLive { milliseconds: 3_600_000, update: TtlUpdate::CreateAndWrite, return_expired: false };

/// Returns a layout with one state of each kind.
fn one_state_per_kind(schema: &str, ttl: Option<TimeToLive>) -> StateLayout {
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

fn one_entry_per_kind(elements: &[&[u8]], time_ms: Option<i64>) -> StateContents {
    let entry = |kind: StateKind| {
        let sub_key = if kind == StateKind::Map { b"sub".to_vec() } else { Vec::new() };
        ((kind.as_str().to_owned(), b"key".to_vec(), sub_key), stored(kind, elements, time_ms))
    };
    KINDS.map(entry).into_iter().collect()
}

/// Restores the entries of an operator with layout `old` into one with layout `new`, for all backends and formats.
fn for_all_backends(
    old: &StateLayout,
    contents: &StateContents,
    new: &StateLayout,
    check: impl Fn(Result<StateContents>, TenfoldMigrator),
) {
    for (before, native, after) in [
        (StateBackendKind::Memory, false, StateBackendKind::Memory),
        (StateBackendKind::RocksDb, true, StateBackendKind::RocksDb),
        (StateBackendKind::RocksDb, false, StateBackendKind::RocksDb),
        (StateBackendKind::RocksDb, true, StateBackendKind::Memory),
    ] {
        let mut operator = RescaledOperator::open(4, 1, before, old, None);
        operator.put(contents);
        let handles = operator.handles(native);
        let folder = tempfile::tempdir().unwrap();
        let mut tenfold = TenfoldMigrator::default();
        let clock = Arc::new(ManualClock::default());
        clock.set_ms(77);
        let options = StateOptions {
            restore: handles.all(4),
            migrate: Some(&mut tenfold),
            allow_unclaimed: true,
            ..StateOptions::empty(after, folder.path().join("work"), new.clone(), 4, clock)
        };
        let opened = super::open(options).map(|backend| {
            let subtasks = vec![backend];
            let mut operator =
                RescaledOperator { max_parallelism: 4, backend: after, layout: new.clone(), subtasks, _folder: folder };
            operator.contents()
        });
        check(opened, tenfold);
    }
}

#[test]
fn migrated_values_keep_their_update_time() {
    for ttl in [None, Some(HOUR)] {
        let time_ms = ttl.map(|_| 5);
        let old = one_state_per_kind("old", ttl);
        let mut new = one_state_per_kind("new", ttl);
        let located = ReadableForm { with_keys: true, with_sub_keys: true, ..ReadableForm::new("raw", "old") };
        let reads = [ReadableForm::new("raw", "older"), ReadableForm::new("json", "old"), located];
        new.iter_mut().for_each(|state| state.reads = reads.to_vec());
        for_all_backends(&old, &one_entry_per_kind(&[b"1", b"", b"3"], time_ms), &new, |contents, tenfold| {
            assert_eq!(contents.unwrap(), one_entry_per_kind(&[b"10", b"0", b"30"], time_ms));
            let asked = |state| (state, "old".to_owned(), if state == 3 { 3 } else { 1 });
            assert_eq!(tenfold.asked, (0..5).map(asked).collect::<Vec<_>>());
            let located = |state: StateId| {
                let sub_key = if state == 4 { b"sub".to_vec() } else { Vec::new() };
                vec![(state, b"key".to_vec(), sub_key); if state == 3 { 3 } else { 1 }]
            };
            assert_eq!(tenfold.located, (0..5).flat_map(located).collect::<Vec<_>>(), "an element has its list's key");
        });
    }
}

#[test]
fn a_time_to_live_can_be_added_and_removed() {
    let (without, with) = (one_state_per_kind("s", None), one_state_per_kind("s", Some(HOUR)));
    let elements: [&[u8]; 2] = [b"a", b"bc"];
    for_all_backends(&without, &one_entry_per_kind(&elements, None), &with, |contents, tenfold| {
        assert_eq!(contents.unwrap(), one_entry_per_kind(&elements, Some(77)));
        assert!(tenfold.asked.is_empty());
    });
    for_all_backends(&with, &one_entry_per_kind(&elements, Some(5)), &without, |contents, _| {
        assert_eq!(contents.unwrap(), one_entry_per_kind(&elements, None));
    });
}

#[test]
fn an_unknown_schema_is_refused_before_anything_is_migrated() {
    let mut new = one_state_per_kind("new", None);
    new[0].reads = vec![ReadableForm::new("json", "old")];
    new[1].reads = vec![ReadableForm::new("raw", "old")];
    for_all_backends(
        &one_state_per_kind("old", None),
        &one_entry_per_kind(&[b"1"], None),
        &new,
        |contents, tenfold| {
            let error = contents.unwrap_err();
            assert_eq!(error.code, "checkpoint-mismatch");
            for part in ["`value`", "`old`", "`new`"] {
                assert!(error.message.contains(part), "{error}");
            }
            assert!(error.hint.unwrap().contains("migrate"));
            assert!(tenfold.asked.is_empty());
        },
    );
}

#[test]
fn undeclared_states_are_dropped_if_allowed() {
    let old = layout(&["v1", "v2", "l1", "m1"]);
    let new = layout(&["m1", "v2"]);
    let entry = |state: &str, sub_key: &str| ((state.to_owned(), b"key".to_vec(), sub_key.into()), state.into());
    let all = [entry("v1", ""), entry("v2", ""), entry("l1", ""), entry("m1", "sub")];
    for_all_backends(&old, &all.into(), &new, |contents, _| {
        assert_eq!(contents.unwrap(), [entry("v2", ""), entry("m1", "sub")].into());
    });
}

/// Returns no values.
struct LosingMigrator;

impl StateMigrator for LosingMigrator {
    fn migrate(&mut self, _state: StateId, _stored: &StateForm, _values: &StoredValues) -> Result<Column> {
        Ok(Column::new())
    }
}

#[test]
fn a_migration_that_loses_values_is_refused() {
    let store = TestStore::default();
    let mut writer = CanonicalWriter::new(&store);
    writer.push(StoredEntry { group: 0, state: 0, key: b"k", sub_key: b"", value: b"v" }).unwrap();
    let (files, size) = writer.finish().unwrap();
    let handle =
        StateHandle { format: SnapshotFormat::Canonical, layout: one_state_per_kind("old", None), files, size };
    let mut new = one_state_per_kind("new", None);
    new.iter_mut().for_each(|state| state.reads = vec![ReadableForm::new("raw", "old")]);
    let folder = tempfile::tempdir().unwrap();
    let open = |migrate| {
        let options =
            StateOptions::empty(StateBackendKind::Memory, folder.path().into(), new.clone(), 1, SystemClock::shared());
        let restore = vec![RestoreSource { handle: &handle, groups: 0..1, store: &store }];
        super::open(StateOptions { restore, migrate, ..options }).err().unwrap()
    };
    for error in [open(None), open(Some(&mut LosingMigrator))] {
        assert_eq!(error.code, "state-migration-failed", "{error}");
    }
}
