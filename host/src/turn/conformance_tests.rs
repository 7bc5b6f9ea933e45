//! One test suite for every kind of keyed state over every backend, as functions see it.
//!
//! Accesses go through turns. A manual clock drives the times to live. Restores happen between turns.

mod generated;

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::model::{Column, Keys, group_of_key, hash_key};
use crate::pipeline::StateBackendKind;
use crate::state::testing::TestStore;
use crate::state::{
    self, RestoreSource, SnapshotFormat, StateDescription, StateHandle, StateKind, StateLayout, StateOptions,
    TimeToLive, TtlUpdate,
};

const GROUPS: u32 = 16;
const LIFETIME_MS: i64 = 10;

/// Indexes of the states, one of each kind.
const VALUE: u32 = 0;
const LIST: u32 = 1;
const MAP: u32 = 2;
const REDUCING: u32 = 3;
const AGGREGATING: u32 = 4;

const FOREVER: Option<TimeToLive> = None;
const WRITTEN: Option<TimeToLive> = lifetime(TtlUpdate::CreateAndWrite, false);
const READ: Option<TimeToLive> = lifetime(TtlUpdate::ReadAndWrite, false);
const SHOWN: Option<TimeToLive> = lifetime(TtlUpdate::CreateAndWrite, true);

const fn lifetime(update: TtlUpdate, return_expired: bool) -> Option<TimeToLive> {
    Some(TimeToLive { milliseconds: LIFETIME_MS as u64, update, return_expired })
}

fn layout(ttl: Option<TimeToLive>) -> StateLayout {
    let kinds = [StateKind::Value, StateKind::List, StateKind::Map, StateKind::Reducing, StateKind::Aggregating];
    let describe = |kind: StateKind| {
        let map_key = if kind == StateKind::Map { "raw".to_owned() } else { String::new() };
        StateDescription { map_key, ttl, ..StateDescription::new(kind.as_str(), kind, "raw", "raw") }
    };
    kinds.map(describe).to_vec()
}

fn keys(names: &[&str]) -> Arc<Keys> {
    Arc::new(Keys {
        distinct: names.iter().collect(),
        groups: names.iter().map(|name| group_of_key(hash_key(name.as_bytes()), GROUPS)).collect(),
        key_of: (0..names.len() as u32).collect(),
    })
}

/// A subtask: its turn and its folder.
struct TurnTest {
    kind: StateBackendKind,
    folder: tempfile::TempDir,
    store: TestStore,
    clock: Arc<ManualClock>,
    layout: StateLayout,
    turn: Turn,
}

impl TurnTest {
    fn new(kind: StateBackendKind, ttl: Option<TimeToLive>) -> TurnTest {
        let (folder, clock, layout) = (tempfile::tempdir().unwrap(), Arc::<ManualClock>::default(), layout(ttl));
        let turn = open(kind, folder.path(), &layout, &clock, Vec::new());
        TurnTest { kind, folder, store: TestStore::default(), clock, layout, turn }
    }

    fn now_ms(&self) -> i64 {
        crate::clock::Clock::wall_ms(&*self.clock)
    }

    fn begin(&mut self, names: &[&str]) -> &mut Turn {
        let now_ms = self.now_ms();
        self.turn.begin(Some(&keys(names)), 0, now_ms);
        &mut self.turn
    }

    /// Runs and commits a turn.
    fn turn<R>(&mut self, names: &[&str], run: impl FnOnce(&mut Turn) -> R) -> R {
        let result = run(self.begin(names));
        self.turn.commit().unwrap();
        result
    }

    fn handle(&mut self) -> StateHandle {
        let format = SnapshotFormat::native_of(self.kind);
        self.turn.backend().unwrap().snapshot(format).unwrap().upload(&self.store, &[]).unwrap()
    }

    fn restore(&mut self, handle: &StateHandle) {
        self.turn = Turn::stateless(TurnContext::default());
        let restore = vec![RestoreSource { handle, groups: 0..GROUPS, store: &self.store }];
        self.turn = open(self.kind, self.folder.path(), &self.layout, &self.clock, restore);
    }

    /// Returns the number of entries that the backend holds.
    fn held(&mut self) -> usize {
        let handle = self.handle();
        let handle = RestoreSource { handle: &handle, groups: 0..GROUPS, store: &self.store };
        let mut held = 0;
        state::read_snapshot(&handle, 0..GROUPS, &self.folder.path().join("scratch"), &mut |_| {
            held += 1;
            Ok(())
        })
        .unwrap();
        held
    }
}

fn open(
    kind: StateBackendKind,
    folder: &Path,
    layout: &StateLayout,
    clock: &Arc<ManualClock>,
    restore: Vec<RestoreSource<'_>>,
) -> Turn {
    let empty = StateOptions::empty(kind, folder.join("work"), layout.clone(), GROUPS, clock.clone());
    let backend = state::open(StateOptions { restore, ..empty }).unwrap();
    Turn::stateful(TurnContext::default(), layout.clone(), backend)
}

fn column(values: &[&str]) -> Column {
    values.iter().collect()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Reads a value by the call for one key.
fn value(turn: &mut Turn, state: u32, key: u32) -> Option<String> {
    turn.value_get(state, key).unwrap().map(text)
}

fn some(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some(value.to_string())).collect()
}

/// Reads the values of all keys by the vectorised call.
fn values(turn: &mut Turn, state: u32) -> Vec<Option<String>> {
    let all = turn.value_load(state).unwrap();
    let values = all.values.iter().zip(&all.present);
    values.map(|(value, &present)| present.then(|| text(value.to_vec()))).collect()
}

fn list(turn: &mut Turn, key: u32) -> Vec<String> {
    turn.list_get(LIST, key).unwrap().iter().map(|element| text(element.to_vec())).collect()
}

fn scan(turn: &mut Turn, after: Option<&str>, limit: u32) -> Vec<(String, String)> {
    let entries = turn.map_scan(MAP, 0, after.map(str::as_bytes), limit).unwrap();
    entries.into_iter().map(|(sub_key, value)| (text(sub_key), text(value))).collect()
}

fn pairs(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries.iter().map(|(sub_key, value)| (sub_key.to_string(), value.to_string())).collect()
}

/// Covers values and accumulators: the host treats both alike, since the function folds.
fn values_are_restored(kind: StateBackendKind) {
    for state in [VALUE, REDUCING, AGGREGATING] {
        let mut subject = TurnTest::new(kind, FOREVER);
        let of = ["k1", "k2", "k3"];
        subject.turn(&of[..2], |turn| turn.value_store(state, &[0, 1], &column(&["1", "2"])).unwrap());
        let first = subject.handle();
        subject.turn(&of, |turn| turn.value_store(state, &[0, 1, 2], &column(&["u1", "u2", "u3"])).unwrap());
        let second = subject.handle();

        subject.restore(&first);
        subject.turn(&of, |turn| {
            assert_eq!(values(turn, state), [Some("1".into()), Some("2".into()), None]);
            assert_eq!(value(turn, state, 2), None, "the key was never set");
        });
        subject.restore(&second);
        subject.turn(&of, |turn| {
            assert_eq!(values(turn, state), some(&["u1", "u2", "u3"]));
            turn.value_clear(state, &[1]).unwrap();
            assert_eq!(value(turn, state, 1), None, "cleared in the same turn");
        });
        subject.turn(&of, |turn| {
            assert_eq!(values(turn, state), [Some("u1".into()), None, Some("u3".into())]);
            turn.value_clear(state, &[0, 1, 2]).unwrap();
        });
        assert_eq!(subject.held(), 0);
    }
}

fn lists_are_appended_to_replaced_and_removed(kind: StateBackendKind) {
    let mut subject = TurnTest::new(kind, FOREVER);
    let of = ["key", "another"];
    subject.turn(&of, |turn| {
        assert_eq!(list(turn, 0), [""; 0]);
        turn.list_add(LIST, 0, b"17").unwrap();
        turn.list_add(LIST, 0, b"11").unwrap();
        assert_eq!(list(turn, 0), ["17", "11"]);
    });
    subject.turn(&of, |turn| {
        assert_eq!(list(turn, 0), ["17", "11"]);
        turn.list_set(LIST, 0, &Column::new()).unwrap();
        assert_eq!(list(turn, 0), [""; 0]);
    });
    assert_eq!(subject.held(), 0, "an empty list has no entry");
    subject.turn(&of, |turn| {
        assert_eq!(list(turn, 0), [""; 0]);
        turn.list_set(LIST, 0, &column(&["10", "16"])).unwrap();
    });
    subject.turn(&of, |turn| {
        assert_eq!(list(turn, 0), ["10", "16"]);
        assert_eq!(list(turn, 1), [""; 0]);
        turn.list_append(LIST, &[], &Column::new()).unwrap();
        assert_eq!(list(turn, 0), ["10", "16"]);
    });
    subject.turn(&of, |turn| {
        turn.list_append(LIST, &[1, 1], &column(&["3", "4"])).unwrap();
        turn.list_append(LIST, &[1, 1], &column(&["5", "6"])).unwrap();
        assert_eq!(list(turn, 1), ["3", "4", "5", "6"]);
    });
    let handle = subject.handle();
    subject.restore(&handle);
    subject.turn(&of, |turn| {
        assert_eq!((list(turn, 0), list(turn, 1).join(" ")), (vec!["10".into(), "16".into()], "3 4 5 6".into()));
        turn.list_replace(LIST, &[0, 1], &Column::new(), &[0, 0]).unwrap();
    });
    assert_eq!(subject.held(), 0);
}

fn maps_are_read_in_order_and_include_staged_writes(kind: StateBackendKind) {
    let mut subject = TurnTest::new(kind, FOREVER);
    subject.turn(&["key", "another"], |turn| {
        turn.map_store(MAP, &[0, 0, 0, 1], &column(&["b", "d", "f", "b"]), &column(&["1", "2", "3", "9"])).unwrap();
    });
    subject.begin(&["key", "another"]);
    subject.turn.map_put(MAP, 0, b"c", b"new").unwrap();
    subject.turn.map_put(MAP, 0, b"f", b"changed").unwrap();
    subject.turn.map_remove(MAP, &[0, 0], &column(&["b", "never"])).unwrap();
    let now = pairs(&[("c", "new"), ("d", "2"), ("f", "changed")]);
    assert_eq!(scan(&mut subject.turn, None, 9), now);
    assert_eq!(scan(&mut subject.turn, Some("b"), 2), now[..2]);
    assert_eq!(scan(&mut subject.turn, Some("c"), 1), now[1..2]);
    assert_eq!(scan(&mut subject.turn, None, 0), []);
    let loaded = subject.turn.map_load(MAP, &[0, 1, 0], &column(&["b", "b", "f"])).unwrap();
    assert_eq!((loaded.present, loaded.values), (vec![false, true, true], column(&["", "9", "changed"])));
    subject.turn.map_clear(MAP, &[0]).unwrap();
    subject.turn.map_put(MAP, 0, b"e", b"after").unwrap();
    assert_eq!(scan(&mut subject.turn, None, 9), pairs(&[("e", "after")]));
    assert_eq!(subject.turn.map_get(MAP, 0, b"d").unwrap(), None);
    subject.turn.abort();
    subject.turn(&["key"], |turn| {
        assert_eq!(
            scan(turn, None, 9),
            pairs(&[("b", "1"), ("d", "2"), ("f", "3")]),
            "an aborted turn leaves no trace"
        );
        turn.map_clear(MAP, &[0]).unwrap();
        turn.map_put(MAP, 0, b"e", b"after").unwrap();
    });
    subject.turn(&["key"], |turn| assert_eq!(scan(turn, None, 9), pairs(&[("e", "after")])));
    assert_eq!(subject.held(), 2);
    subject.turn(&["key", "another"], |turn| turn.map_clear(MAP, &[0, 1]).unwrap());
    assert_eq!(subject.held(), 0);
}

/// The map has more entries than a scan reads at once, and the turn has removed many of them.
fn a_scan_continues_until_it_has_enough_entries(kind: StateBackendKind) {
    let names: Vec<String> = (0..1000).map(|number| format!("{number:04}")).collect();
    let sub_keys: Column = names.iter().collect();
    let mut subject = TurnTest::new(kind, WRITTEN);
    subject.turn(&["key"], |turn| {
        turn.map_store(MAP, &[0; 600], &sub_keys.slice(0..600), &sub_keys.slice(0..600)).unwrap()
    });
    subject.clock.set_ms(1);
    subject.turn(&["key"], |turn| {
        turn.map_store(MAP, &[0; 400], &sub_keys.slice(600..1000), &sub_keys.slice(600..1000)).unwrap()
    });
    subject.turn(&["key"], |turn| {
        turn.map_remove(MAP, &[0; 500], &sub_keys.slice(0..500)).unwrap();
        assert_eq!(scan(turn, None, 3).iter().map(|entry| &entry.0[..]).collect::<Vec<_>>(), ["0500", "0501", "0502"]);
        assert_eq!(scan(turn, Some("0400"), 1000).len(), 500);
        assert_eq!(scan(turn, Some("0999"), 1), []);
    });
    subject.clock.set_ms(LIFETIME_MS);
    subject.turn(&["key"], |turn| {
        assert_eq!(scan(turn, None, 1), pairs(&[("0600", "0600")]), "the others have expired");
        assert_eq!(scan(turn, None, u32::MAX).len(), 400);
    });
}

fn expired_entries_are_not_returned(kind: StateBackendKind) {
    let mut subject = TurnTest::new(kind, WRITTEN);
    subject.turn(&["key"], |turn| {
        turn.value_set(VALUE, 0, b"v").unwrap();
        turn.list_add(LIST, 0, b"first").unwrap();
        turn.map_put(MAP, 0, b"a", b"first").unwrap();
    });
    subject.clock.set_ms(LIFETIME_MS - 1);
    subject.turn(&["key"], |turn| {
        assert_eq!((value(turn, VALUE, 0), values(turn, VALUE)), (Some("v".into()), some(&["v"])));
        turn.list_add(LIST, 0, b"second").unwrap();
        turn.map_put(MAP, 0, b"b", b"second").unwrap();
        assert_eq!(list(turn, 0), ["first", "second"]);
    });
    subject.clock.set_ms(LIFETIME_MS);
    let handle = subject.handle();
    for restored in [false, true] {
        if restored {
            subject.restore(&handle);
        }
        subject.turn(&["key"], |turn| {
            assert_eq!((value(turn, VALUE, 0), values(turn, VALUE)), (None, vec![None]));
            assert_eq!(list(turn, 0), ["second"]);
            assert_eq!(turn.list_load(LIST).unwrap(), (column(&["second"]), vec![1]));
            assert_eq!(scan(turn, None, 9), pairs(&[("b", "second")]));
            assert_eq!(turn.map_get(MAP, 0, b"a").unwrap(), None);
        });
    }
    subject.turn(&["key"], |turn| {
        turn.value_set(VALUE, 0, b"again").unwrap();
        assert_eq!(value(turn, VALUE, 0), Some("again".into()));
    });
    subject.turn(&["key"], |turn| assert_eq!(values(turn, VALUE), some(&["again"])));
}

/// Reads every 6 ms with a time to live of 10 ms. A read renews an entry only if its turn commits.
fn reads_renew_entries_if_the_state_says_so(kind: StateBackendKind) {
    for vectorised in [false, true] {
        let mut subject = TurnTest::new(kind, READ);
        subject.turn(&["key"], |turn| {
            turn.value_set(VALUE, 0, b"v").unwrap();
            turn.list_append(LIST, &[0, 0], &column(&["1", "2"])).unwrap();
            turn.map_store(MAP, &[0, 0], &column(&["a", "b"]), &column(&["1", "2"])).unwrap();
        });
        let read = |turn: &mut Turn| match vectorised {
            true => {
                let present = turn.map_load(MAP, &[0], &column(&["a"])).unwrap().present[0];
                (values(turn, VALUE)[0].is_some(), turn.list_load(LIST).unwrap().0.len(), present)
            }
            false => {
                (value(turn, VALUE, 0).is_some(), list(turn, 0).len(), scan(turn, None, 1) == pairs(&[("a", "1")]))
            }
        };
        for now_ms in [6, 12, 18] {
            subject.clock.set_ms(now_ms);
            assert_eq!(subject.turn(&["key"], read), (true, 2, true), "at {now_ms} ms");
        }
        subject.turn(&["key"], |turn| assert_eq!(turn.map_get(MAP, 0, b"b").unwrap(), None, "not read for 18 ms"));
        subject.clock.set_ms(24);
        assert_eq!(read(subject.begin(&["key"])), (true, 2, true));
        subject.turn.abort();
        subject.clock.set_ms(28);
        assert_eq!(subject.turn(&["key"], read), (false, 0, false), "an aborted turn renews nothing");
    }
}

fn expired_entries_are_returned_once_if_the_state_says_so(kind: StateBackendKind) {
    let mut subject = TurnTest::new(kind, SHOWN);
    subject.turn(&["key"], |turn| {
        turn.value_set(VALUE, 0, b"v").unwrap();
        turn.list_add(LIST, 0, b"1").unwrap();
        turn.map_put(MAP, 0, b"a", b"1").unwrap();
    });
    subject.clock.set_ms(LIFETIME_MS);
    // Reads before any commit, since a commit may clean up.
    let turn = subject.begin(&["key"]);
    assert_eq!(values(turn, VALUE), some(&["v"]), "loading all keys returns it each time");
    assert_eq!(
        (value(turn, VALUE, 0), value(turn, VALUE, 0)),
        (Some("v".into()), None),
        "reading one key returns it once"
    );
    assert_eq!(turn.list_load(LIST).unwrap().0.len(), 1);
    assert_eq!((list(turn, 0), list(turn, 0)), (vec!["1".to_owned()], vec![]));
    assert_eq!((scan(turn, None, 9), scan(turn, None, 9)), (pairs(&[("a", "1")]), vec![]));
    turn.abort();
    let turn = subject.begin(&["key"]);
    assert_eq!(turn.map_get(MAP, 0, b"a").unwrap(), Some(b"1".to_vec()), "an aborted turn removes nothing");
    assert_eq!(turn.map_get(MAP, 0, b"a").unwrap(), None);
    assert_eq!((value(turn, VALUE, 0), list(turn, 0).len()), (Some("v".into()), 1));
    turn.commit().unwrap();
    let turn = subject.begin(&["key"]);
    assert_eq!((value(turn, VALUE, 0), list(turn, 0).len(), scan(turn, None, 9)), (None, 0, vec![]));
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
                fn behaves_like_the_model(ttl in generated::lifetimes(), steps in generated::steps()) {
                    generated::behaves_like_the_model(StateBackendKind::$kind, ttl, steps);
                }
            }
        }
    };
    ($($rest:tt)*) => {
        conformance! { Memory, memory, 512: $($rest)* }
        conformance! { RocksDb, rocksdb, 24: $($rest)* }
    };
}

conformance! {
    values_are_restored
    lists_are_appended_to_replaced_and_removed
    maps_are_read_in_order_and_include_staged_writes
    a_scan_continues_until_it_has_enough_entries
    expired_entries_are_not_returned
    reads_renew_entries_if_the_state_says_so
    expired_entries_are_returned_once_if_the_state_says_so
}
