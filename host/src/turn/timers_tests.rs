//! Tests of timers over both backends: their order, their uniqueness per key and time, and their place in snapshots.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::clock::SystemClock;
use crate::model::{DueTimers, KeyGroup, Keys, TimeDomain, group_of_key, hash_key};
use crate::pipeline::StateBackendKind;
use crate::state::testing::TestStore;
use crate::state::{self, RestoreSource, SnapshotFormat, StateHandle, StateOptions};

const GROUPS: u32 = 5;
const EVENT: TimeDomain = TimeDomain::Event;

fn keys_of(names: &[u8]) -> Arc<Keys> {
    let mut keys = Keys::default();
    for name in names {
        // Number 0 gives the empty key.
        let key = if *name == 0 { Vec::new() } else { vec![*name; usize::from(*name)] };
        keys.groups.push(group_of_key(hash_key(&key), GROUPS));
        keys.distinct.push(&key);
    }
    Arc::new(keys)
}

fn open(backend: StateBackendKind, folder: &Path, restore: Vec<RestoreSource<'_>>, groups: Range<u32>) -> Turn {
    let layout = timer_states(&[TimeDomain::Event, TimeDomain::Processing]);
    let options = StateOptions::empty(backend, folder.to_path_buf(), layout.clone(), GROUPS, SystemClock::shared());
    let backend = state::open(StateOptions { restore, groups: groups.clone(), ..options }).unwrap();
    Turn::stateful(TurnContext::default(), layout, backend).with_timers(groups).unwrap()
}

fn names(due: &DueTimers) -> Vec<(i64, Vec<u8>)> {
    let key = |&at: &u32| due.keys.distinct.value(at as usize).to_vec();
    due.times.iter().copied().zip(due.keys.key_of.iter().map(key)).collect()
}

/// Takes all due timers, `limit` at a time, and deletes them as an operator does.
fn fire(turn: &mut Turn, now: i64, limit: usize) -> Vec<(i64, Vec<u8>)> {
    let mut fired = Vec::new();
    loop {
        let due = turn.due_timers(EVENT, now, limit).unwrap();
        if due.is_empty() {
            return fired;
        }
        assert!(due.len() <= limit);
        turn.begin(Some(&due.keys), now, 0);
        turn.timer_delete(EVENT, &due.keys.key_of, &due.times).unwrap();
        turn.commit().unwrap();
        fired.extend(names(&due));
    }
}

#[derive(Clone, Debug)]
enum TimerStep {
    Register(u8, i64),
    Delete(u8, i64),
    /// Discards all changes since the last commit.
    Abort,
    Fire(i64, usize),
    Restore,
}

fn step() -> impl Strategy<Value = TimerStep> {
    let time = prop_oneof![8 => -20i64..20, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    prop_oneof![
        10 => (0u8..4, time.clone()).prop_map(|(key, time)| TimerStep::Register(key, time)),
        3 => (0u8..4, time.clone()).prop_map(|(key, time)| TimerStep::Delete(key, time)),
        1 => Just(TimerStep::Abort),
        3 => (time, 1usize..40).prop_map(|(now, limit)| TimerStep::Fire(now, limit)),
        1 => Just(TimerStep::Restore),
    ]
}

fn handle(turn: &mut Turn, store: &TestStore) -> StateHandle {
    let snapshot = turn.backend().unwrap().snapshot(SnapshotFormat::Canonical).unwrap();
    snapshot.upload(store, &[]).unwrap()
}

fn follow(backend: StateBackendKind, steps: &[TimerStep]) {
    let folder = tempfile::tempdir().unwrap();
    let store = TestStore::default();
    let mut places = 0..;
    let mut place = || folder.path().join(format!("{}", places.next().unwrap()));
    let mut turn = open(backend, &place(), Vec::new(), 0..GROUPS);
    let mut model: BTreeSet<(i64, Vec<u8>)> = BTreeSet::new();
    let mut open_model = model.clone();
    let keys = keys_of(&[0, 1, 2, 3]);
    turn.begin(Some(&keys), 0, 0);
    for step in steps {
        let key = |key: u8| keys.distinct.value(usize::from(key)).to_vec();
        match *step {
            TimerStep::Register(name, time) => {
                turn.timer_register(EVENT, &[name.into()], &[time]).unwrap();
                open_model.insert((time, key(name)));
            }
            TimerStep::Delete(name, time) => {
                turn.timer_delete(EVENT, &[name.into()], &[time]).unwrap();
                open_model.remove(&(time, key(name)));
            }
            TimerStep::Abort => {
                turn.abort();
                turn.begin(Some(&keys), 0, 0);
                open_model = model.clone();
            }
            TimerStep::Fire(now, limit) => {
                turn.commit().unwrap();
                assert_eq!(turn.next_timer(TimeDomain::Processing), None);
                let fired = fire(&mut turn, now, limit);
                let later = open_model.iter().filter(|(time, _)| *time > now).cloned().collect();
                let expected: Vec<_> = open_model.iter().filter(|(time, _)| *time <= now).cloned().collect();
                let mut in_order = fired.clone();
                in_order.sort_by_key(|(time, _)| *time);
                assert_eq!(fired, in_order, "timers fire in the order of their times");
                in_order.sort();
                assert_eq!(in_order, expected);
                model = later;
                open_model = model.clone();
                turn.begin(Some(&keys), 0, 0);
            }
            TimerStep::Restore => {
                turn.commit().unwrap();
                model = open_model.clone();
                let handle = handle(&mut turn, &store);
                drop(turn);
                let restored = RestoreSource { handle: &handle, groups: 0..GROUPS, store: &store };
                turn = open(backend, &place(), vec![restored], 0..GROUPS);
                turn.begin(Some(&keys), 0, 0);
            }
        }
    }
    turn.commit().unwrap();
    let mut rest = fire(&mut turn, i64::MAX, 3);
    rest.sort();
    assert_eq!(rest, open_model.into_iter().collect::<Vec<_>>());
    assert_eq!(turn.next_timer(EVENT), None);
    for group in 0..GROUPS {
        let left = turn.backend().unwrap().scan_map(0, group as KeyGroup, &[], None, 1).unwrap();
        assert!(left.is_empty(), "fired timers are deleted");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn timers_in_memory_behave_like_an_ordered_set(steps in prop::collection::vec(step(), 1..60)) {
        follow(StateBackendKind::Memory, &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn timers_in_rocksdb_behave_like_an_ordered_set(steps in prop::collection::vec(step(), 1..60)) {
        follow(StateBackendKind::RocksDb, &steps);
    }
}

#[test]
fn timers_move_with_their_key_group() {
    let folder = tempfile::tempdir().unwrap();
    let store = TestStore::default();
    let mut turn = open(StateBackendKind::Memory, folder.path(), Vec::new(), 0..GROUPS);
    let keys = keys_of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    turn.begin(Some(&keys), 0, 0);
    turn.timer_register(EVENT, &(0..10).collect::<Vec<_>>(), &[5; 10]).unwrap();
    turn.commit().unwrap();
    let handle = handle(&mut turn, &store);
    let mut fired = Vec::new();
    for groups in [0..2, 2..GROUPS] {
        let restored = RestoreSource { handle: &handle, groups: 0..GROUPS, store: &store };
        let place = folder.path().join(format!("{}", groups.start));
        let mut part = open(StateBackendKind::RocksDb, &place, vec![restored], groups.clone());
        assert_eq!(part.next_timer(EVENT), Some(5));
        let of_part = fire(&mut part, 5, 100);
        assert!(of_part.iter().all(|(_, key)| groups.contains(&u32::from(group_of_key(hash_key(key), GROUPS)))));
        fired.extend(of_part);
    }
    fired.sort();
    let mut all: Vec<_> = keys.distinct.iter().map(|key| (5, key.to_vec())).collect();
    all.sort();
    assert_eq!(fired, all);
}

#[test]
fn a_subtask_restores_the_smallest_watermark_of_its_groups() {
    let (folder, store) = (tempfile::tempdir().unwrap(), TestStore::default());
    let handles = [(0..2, 7), (2..GROUPS, -3)].map(|(groups, watermark)| {
        let place = folder.path().join(format!("from-{}", groups.start));
        let mut turn = open(StateBackendKind::Memory, &place, Vec::new(), groups.clone());
        assert_eq!(turn.context.watermark, i64::MIN, "no watermark before the first");
        turn.persist_watermark(watermark).unwrap();
        (handle(&mut turn, &store), groups)
    });
    for (groups, expected) in [(0..2, 7), (1..4, -3), (3..GROUPS, -3)] {
        let restored =
            handles.iter().map(|(handle, groups)| RestoreSource { handle, groups: groups.clone(), store: &store });
        let place = folder.path().join(format!("to-{}", groups.start));
        let turn = open(StateBackendKind::RocksDb, &place, restored.collect(), groups);
        assert_eq!(turn.context.watermark, expected);
    }
}

/// Otherwise, records that a barrier overtook before the first watermark would be late after the restore.
#[test]
fn a_subtask_starts_without_a_watermark_if_one_of_its_groups_has_none() {
    let (folder, store) = (tempfile::tempdir().unwrap(), TestStore::default());
    let handles = [(0..2, Some(7)), (2..GROUPS, None)].map(|(groups, watermark)| {
        let place = folder.path().join(format!("from-{}", groups.start));
        let mut turn = open(StateBackendKind::Memory, &place, Vec::new(), groups.clone());
        watermark.into_iter().for_each(|watermark| turn.persist_watermark(watermark).unwrap());
        (handle(&mut turn, &store), groups)
    });
    for (groups, expected) in [(0..2, 7), (1..3, i64::MIN), (2..GROUPS, i64::MIN), (0..GROUPS, i64::MIN)] {
        let restored =
            handles.iter().map(|(handle, groups)| RestoreSource { handle, groups: groups.clone(), store: &store });
        let place = folder.path().join(format!("to-{}-{}", groups.start, groups.end));
        let turn = open(StateBackendKind::RocksDb, &place, restored.collect(), groups);
        assert_eq!(turn.context.watermark, expected);
    }
}

#[test]
fn still_registered_omits_timers_that_were_deleted_after_they_were_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut turn = open(StateBackendKind::RocksDb, folder.path(), Vec::new(), 0..GROUPS);
    let keys = keys_of(&[1, 2]);
    turn.begin(Some(&keys), 0, 0);
    turn.timer_register(EVENT, &[0, 0, 1], &[3, 4, 4]).unwrap();
    turn.commit().unwrap();
    assert_eq!(turn.timer_totals(EVENT), Some(TimerTotals { registered: 3, fired: 0 }));
    let due = turn.due_timers(EVENT, 10, 10).unwrap();
    assert_eq!(turn.timer_totals(EVENT), Some(TimerTotals { registered: 3, fired: 3 }));
    turn.begin(Some(&keys), 0, 0);
    turn.timer_register(EVENT, &[0], &[90]).unwrap();
    turn.abort();
    turn.begin(Some(&keys), 0, 0);
    turn.timer_delete(EVENT, &[0], &[4]).unwrap();
    turn.commit().unwrap();
    assert_eq!(
        turn.timer_totals(EVENT),
        Some(TimerTotals { registered: 3, fired: 3 }),
        "an aborted registration is none"
    );
    assert_eq!(names(&turn.still_registered(EVENT, &due).unwrap()), [(3, vec![1]), (4, vec![2, 2])]);
}

#[test]
fn timers_of_one_time_are_taken_once_per_registration() {
    for backend in [StateBackendKind::Memory, StateBackendKind::RocksDb] {
        let folder = tempfile::tempdir().unwrap();
        let mut turn = open(backend, folder.path(), Vec::new(), 0..GROUPS);
        let numbers: Vec<u8> = (0..100).collect();
        let keys = keys_of(&numbers);
        let every: Vec<u32> = (0..100).collect();
        turn.begin(Some(&keys), 0, 0);
        turn.timer_register(EVENT, &every, &[5; 100]).unwrap();
        turn.commit().unwrap();
        let mut fired = Vec::new();
        let take = |turn: &mut Turn, limit| {
            let due = turn.due_timers(EVENT, 5, limit).unwrap();
            turn.begin(Some(&due.keys), 5, 0);
            turn.timer_delete(EVENT, &due.keys.key_of, &due.times).unwrap();
            turn.commit().unwrap();
            names(&due)
        };
        for _ in 0..4 {
            fired.extend(take(&mut turn, 10));
        }
        // Registers three fired timers again. Their sub-keys precede the last taken one.
        turn.begin(Some(&keys), 0, 0);
        turn.timer_register(EVENT, &[0, 1, 2], &[5; 3]).unwrap();
        turn.commit().unwrap();
        // Timers that were taken but not handled become due again.
        let due = turn.due_timers(EVENT, 5, 10).unwrap();
        turn.put_back_timers(EVENT, &due);
        loop {
            let taken = take(&mut turn, 7);
            if taken.is_empty() {
                break;
            }
            fired.extend(taken);
        }
        fired.sort();
        let again = numbers.iter().chain(&[0, 1, 2]).map(|name| keys.distinct.value(usize::from(*name)).to_vec());
        let mut expected: Vec<_> = again.map(|key| (5, key)).collect();
        expected.sort();
        assert_eq!(fired, expected);
    }
}

/// Fires the due timers in turns in which each timer registers another one. Returns the times of each turn.
fn fire_and_register(turn: &mut Turn, now: i64, register: impl Fn(i64) -> i64) -> Vec<Vec<i64>> {
    let mut fired = Vec::new();
    loop {
        let due = turn.due_timers(EVENT, now, 4).unwrap();
        if due.is_empty() {
            return fired;
        }
        assert!(fired.len() < 100, "the advance does not end");
        turn.begin(Some(&due.keys), now, 0);
        turn.delete_fired_timers(EVENT, &due.keys.key_of, &due.times).unwrap();
        let times: Vec<i64> = due.times.iter().map(|time| register(*time)).collect();
        turn.timer_register(EVENT, &due.keys.key_of, &times).unwrap();
        turn.commit().unwrap();
        fired.push(due.times);
    }
}

#[test]
fn a_timer_that_registers_itself_for_its_own_time_waits_for_the_next_advance() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, name) in [(StateBackendKind::Memory, "memory"), (StateBackendKind::RocksDb, "rocksdb")] {
        let mut turn = open(kind, &folder.path().join(name), Vec::new(), 0..GROUPS);
        turn.begin(Some(&keys_of(&[1])), 0, 0);
        turn.timer_register(EVENT, &[0], &[5]).unwrap();
        turn.commit().unwrap();
        assert_eq!(fire_and_register(&mut turn, 7, |time| time), [[5]]);
        assert_eq!(turn.next_timer(EVENT), Some(8), "it is due once the clock has advanced");
        assert_eq!(fire_and_register(&mut turn, 7, |time| time), [[0; 0]; 0], "the clock has not advanced");
        assert_eq!(fire_and_register(&mut turn, 8, |time| time - 3), [[5]], "a time before its own waits, too");
        assert_eq!(fire_and_register(&mut turn, 9, |time| time), [[2]]);
        // Later times up to the clock's are due at once, in order.
        assert_eq!(fire_and_register(&mut turn, 10, |time| time + 4), [[2], [6], [10]]);
        assert_eq!(fire_and_register(&mut turn, 14, |time| time + 100), [[14]]);
    }
}

#[test]
fn timers_of_several_keys_that_register_themselves_end_the_advance() {
    let folder = tempfile::tempdir().unwrap();
    let mut turn = open(StateBackendKind::Memory, folder.path(), Vec::new(), 0..GROUPS);
    turn.begin(Some(&keys_of(&[1, 2, 3, 4, 5, 6])), 0, 0);
    turn.timer_register(EVENT, &[0, 1, 2, 3, 4, 5], &[1, 2, 3, 3, 4, 9]).unwrap();
    turn.commit().unwrap();
    for now in [5, 6, 7] {
        let fired: Vec<i64> = fire_and_register(&mut turn, now, |time| time).into_iter().flatten().collect();
        assert_eq!(fired, [1, 2, 3, 3, 4], "each fires once with each advance");
    }
}

#[test]
fn timers_of_an_undeclared_clock_are_refused() {
    let layout = timer_states(&[EVENT]);
    let folder = tempfile::tempdir().unwrap();
    let kind = StateBackendKind::Memory;
    let options = StateOptions::empty(kind, folder.path().to_path_buf(), layout.clone(), GROUPS, SystemClock::shared());
    let backend = state::open(options).unwrap();
    let mut turn = Turn::stateful(TurnContext::default(), layout, backend).with_timers(0..GROUPS).unwrap();
    turn.begin(Some(&keys_of(&[1])), 0, 0);
    assert!(matches!(
        turn.timer_register(TimeDomain::Processing, &[0], &[1]),
        Err(HostCallError::InvalidCall(message)) if message.contains("processing")
    ));
    assert!(matches!(turn.timer_register(EVENT, &[1], &[1]), Err(HostCallError::InvalidCall(_))), "no such key");
    assert!(
        matches!(turn.check_declared(0), Err(HostCallError::InvalidCall(_))),
        "the state of the timers is internal"
    );
}
