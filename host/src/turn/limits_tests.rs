//! Tests of the limits of a turn, over both backends.

use std::sync::Arc;

use super::*;
use crate::clock::SystemClock;
use crate::model::{Column, FaultCode, Keys, TimeDomain, group_of_key, hash_key};
use crate::pipeline::StateBackendKind;
use crate::state::{self, BroadcastState, StateDescription, StateForm, StateId, StateKind, StateLayout, StateMigrator};
use crate::state::{StateOptions, StoredValues};

const VALUE: u32 = 0;
const LIST: u32 = 1;
const MAP: u32 = 2;
const BROADCAST: u32 = 3;
const MIB: usize = 1 << 20;

struct NoStateMigration;

impl StateMigrator for NoStateMigration {
    fn migrate(&mut self, _: StateId, _: &StateForm, _: &StoredValues) -> crate::error::Result<Column> {
        panic!("nothing is restored")
    }
}

fn description(name: &str, kind: StateKind) -> StateDescription {
    StateDescription { map_key: "raw".into(), ..StateDescription::new(name, kind, "raw", "raw") }
}

fn each_backend(limits: TurnLimits, test: impl Fn(&mut Turn)) {
    for backend in [StateBackendKind::Memory, StateBackendKind::RocksDb] {
        let dir = tempfile::tempdir().unwrap();
        let kinds = [("value", StateKind::Value), ("list", StateKind::List), ("map", StateKind::Map)];
        let mut layout: StateLayout = kinds.into_iter().map(|(name, kind)| description(name, kind)).collect();
        layout.extend(timer_states(&[TimeDomain::Event]));
        let options =
            StateOptions::empty(backend, dir.path().join("state"), layout.clone(), 128, SystemClock::shared());
        let broadcast =
            BroadcastState::open(vec![description("rules", StateKind::Broadcast)], None, false, &mut NoStateMigration);
        let turn = Turn::stateful(TurnContext::default(), layout, state::open(options).unwrap());
        let mut turn = turn.with_timers(0..128).unwrap().with_broadcast(broadcast.unwrap());
        turn.set_limits(limits);
        test(&mut turn);
    }
}

fn keys(names: &[&str]) -> Arc<Keys> {
    Arc::new(Keys {
        distinct: names.iter().collect(),
        groups: names.iter().map(|name| group_of_key(hash_key(name.as_bytes()), 128)).collect(),
        key_of: (0..names.len() as u32).collect(),
    })
}

fn begin(turn: &mut Turn, names: &[&str]) {
    turn.begin(Some(&keys(names)), 0, 0);
}

/// Returns the code of the fault with which a call was refused.
fn code<T>(result: Result<T, HostCallError>) -> Option<FaultCode> {
    match result {
        Ok(_) => None,
        Err(HostCallError::LimitExceeded(fault)) => Some(fault.code),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_read_of_more_than_the_memory_of_the_guest_is_refused() {
    let limits = TurnLimits { memory: 4 * MIB, ..TurnLimits::default() };
    each_backend(limits, |turn| {
        let large = vec![7; MIB];
        for round in 0..6_u8 {
            turn.begin(Some(&keys(&["a", "b"])), 0, 0);
            turn.allow_broadcast_writes(true);
            turn.map_put(MAP, 0, &[round], &large).unwrap();
            turn.broadcast_put(BROADCAST, vec![round], large.clone()).unwrap();
            turn.list_add(LIST, 0, &large).unwrap();
            turn.commit().unwrap();
        }
        let memory = Some(FaultCode::MemoryExceeded);
        let sub_keys = |sub_key: u8, count: usize| (0..count).map(|_| [sub_key]).collect::<Column>();
        // Twice: from the database, and from the staged writes.
        for _ in 0..2 {
            assert_eq!(code(turn.map_load(MAP, &[0; 5000], &sub_keys(3, 5000))), memory);
            assert_eq!(code(turn.broadcast_load(BROADCAST, &sub_keys(3, 5000))), memory);
            assert_eq!(turn.map_load(MAP, &[0; 3], &sub_keys(3, 3)).unwrap().values.bytes().len(), 3 * MIB);
            assert_eq!(code(turn.map_scan(MAP, 0, None, u32::MAX)), memory);
            assert_eq!(code(turn.broadcast_scan(BROADCAST, None, u32::MAX)), memory);
            assert_eq!(turn.map_scan(MAP, 0, Some(&[2]), 3).unwrap().len(), 3, "a page would be larger");
            assert_eq!(turn.broadcast_scan(BROADCAST, Some(&[1]), 3).unwrap().len(), 3);
            assert_eq!(code(turn.list_get(LIST, 0)), memory);
            assert_eq!(code(turn.list_load(LIST)), memory);
            turn.begin(Some(&keys(&["a", "b"])), 0, 0);
            turn.allow_broadcast_writes(true);
            turn.map_put(MAP, 0, &[3], &large).unwrap();
            turn.broadcast_put(BROADCAST, vec![3], large.clone()).unwrap();
        }
        turn.list_set(LIST, 0, &Column::new()).unwrap();
        turn.commit().unwrap();
        begin(turn, &["a"]);
        assert!(turn.list_get(LIST, 0).unwrap().is_empty(), "a list that is too large to read can be cleared");
    });
}

#[test]
fn a_read_that_names_too_many_entries_is_refused() {
    each_backend(TurnLimits { memory: MIB, ..TurnLimits::default() }, |turn| {
        begin(turn, &["a"]);
        let sub_keys: Column = (0..20_000).map(|_| *b"none").collect();
        assert_eq!(code(turn.map_load(MAP, &[0; 20_000], &sub_keys)), Some(FaultCode::MemoryExceeded));
        assert_eq!(code(turn.broadcast_load(BROADCAST, &sub_keys)), Some(FaultCode::MemoryExceeded));
        turn.abort();
        for start in (0..20_000_u32).step_by(1000) {
            begin(turn, &["a"]);
            (start..start + 1000).for_each(|n| turn.map_put(MAP, 0, &n.to_be_bytes(), b"").unwrap());
            turn.commit().unwrap();
        }
        begin(turn, &["a"]);
        assert_eq!(code(turn.map_scan(MAP, 0, None, u32::MAX)), Some(FaultCode::MemoryExceeded));
        assert_eq!(turn.map_scan(MAP, 0, None, 10_000).unwrap().len(), 10_000);
    });
}

#[test]
fn a_turn_over_several_items_goes_on_after_it_has_become_too_large() {
    each_backend(TurnLimits { state_per_turn: 1000, ..TurnLimits::default() }, |turn| {
        turn.set_divisible(true);
        begin(turn, &["a"]);
        turn.value_set(VALUE, 0, &[1; 600]).unwrap();
        assert!(turn.too_large().is_none());
        turn.value_set(VALUE, 0, &[2; 600]).unwrap();
        assert_eq!(turn.too_large().unwrap().code, FaultCode::StateExceeded);
        assert_eq!(turn.value_get(VALUE, 0).unwrap(), Some(vec![1; 600]), "further writes are dropped");
        let endless = (0..100).find(|_| turn.list_add(LIST, 0, &[3; 600]).is_err());
        assert!(endless.is_some_and(|writes| writes < 10), "a guest that writes for ever is interrupted");
        turn.set_divisible(false);
        begin(turn, &["a"]);
        assert!(turn.too_large().is_none());
        assert_eq!(code(turn.map_put(MAP, 0, b"", &[1; 1000])), Some(FaultCode::StateExceeded));
        assert!(turn.value_set(VALUE, 0, &[1; 10]).is_ok(), "the budget is not used up by a refused write");
    });
}

#[test]
fn the_timers_of_a_turn_are_limited() {
    each_backend(TurnLimits { timers_per_turn: 3, ..TurnLimits::default() }, |turn| {
        begin(turn, &["a"]);
        turn.timer_register(TimeDomain::Event, &[0; 3], &[1, 2, 3]).unwrap();
        assert_eq!(code(turn.timer_register(TimeDomain::Event, &[0], &[4])), Some(FaultCode::TimersExceeded));
        turn.timer_delete(TimeDomain::Event, &[0; 3], &[1, 2, 3]).unwrap();
        turn.set_divisible(true);
        begin(turn, &["a"]);
        turn.timer_register(TimeDomain::Event, &[0; 4], &[1, 2, 3, 4]).unwrap();
        assert_eq!(turn.too_large().unwrap().code, FaultCode::TimersExceeded);
        turn.abort();
        assert_eq!(turn.next_timer(TimeDomain::Event), None);
    });
}

/// Runs one turn over the key `a`. Returns the fault of a call that was refused, and then aborts the turn.
fn in_turn(turn: &mut Turn, calls: impl FnOnce(&mut Turn) -> Result<(), HostCallError>) -> Option<crate::model::Fault> {
    begin(turn, &["a"]);
    match calls(turn) {
        Ok(()) => {
            turn.commit().unwrap();
            None
        }
        Err(HostCallError::LimitExceeded(fault)) => {
            turn.abort();
            Some(fault)
        }
        Err(error) => panic!("{error}"),
    }
}

/// Returns the number of turns that were committed before the first fault, which must be `state-exceeded` and name the state.
fn turns_before_fault(
    turn: &mut Turn,
    state: &str,
    mut calls: impl FnMut(&mut Turn, u32) -> Result<(), HostCallError>,
) -> u32 {
    for number in 0..1000 {
        if let Some(fault) = in_turn(turn, |turn| calls(turn, number)) {
            assert_eq!(fault.code, FaultCode::StateExceeded);
            assert!(fault.message.contains(&format!("state `{state}` of key `a`")), "{}", fault.message);
            return number;
        }
    }
    panic!("no fault")
}

#[test]
fn the_bytes_of_one_state_of_one_key_are_limited() {
    each_backend(TurnLimits { state_per_key: 10_000, ..TurnLimits::default() }, |turn| {
        assert!(in_turn(turn, |turn| turn.value_set(VALUE, 0, &[0; 10_000])).is_none());
        let fault = in_turn(turn, |turn| turn.value_set(VALUE, 0, &[0; 10_001])).unwrap();
        assert_eq!(fault.message, "state `value` of key `a` would exceed limits.state_per_key, 9.8 KiB");
        // Each element takes 4 bytes more.
        let append = |turn: &mut Turn, _| turn.list_add(LIST, 0, &[0; 96]);
        assert_eq!(turns_before_fault(turn, "list", append), 100);
        let all = (0..100).map(|_| [0; 96]).collect::<Column>();
        assert!(in_turn(turn, |turn| turn.list_set(LIST, 0, &all)).is_none(), "as many bytes as the limit");
        assert!(in_turn(turn, |turn| turn.list_set(LIST, 0, &Column::new())).is_none());
        assert_eq!(turns_before_fault(turn, "list", append), 100, "after the list was cleared");
        let put = |turn: &mut Turn, number: u32| turn.map_put(MAP, 0, &number.to_be_bytes(), &[0; 96]);
        assert_eq!(turns_before_fault(turn, "map", put), 100);
        let replace = |turn: &mut Turn, number: u32| turn.map_put(MAP, 0, &(number % 100).to_be_bytes(), &[1; 96]);
        assert!((0..300).all(|number| in_turn(turn, |turn| replace(turn, number)).is_none()));
        assert!(in_turn(turn, |turn| turn.map_clear(MAP, &[0])).is_none());
        assert_eq!(turns_before_fault(turn, "map", put), 100, "after the map was cleared");
    });
}

#[test]
fn the_elements_of_a_list_are_limited() {
    each_backend(TurnLimits { list_elements: 100, ..TurnLimits::default() }, |turn| {
        assert_eq!(turns_before_fault(turn, "list", |turn, _| turn.list_add(LIST, 0, b"")), 100);
        let column = |elements| (0..elements).map(|_| b"x").collect::<Column>();
        assert!(in_turn(turn, |turn| turn.list_set(LIST, 0, &column(99))).is_none());
        assert!(in_turn(turn, |turn| turn.list_append(LIST, &[0, 0], &column(2))).is_some());
        assert!(in_turn(turn, |turn| turn.list_append(LIST, &[0], &column(1))).is_none());
        let fault = in_turn(turn, |turn| turn.list_replace(LIST, &[0], &column(101), &[101])).unwrap();
        assert_eq!(fault.message, "state `list` of key `a` would exceed limits.list_elements, 100 elements");
    });
}

#[test]
fn the_timers_of_a_key_are_limited() {
    each_backend(TurnLimits { timers_per_key: 100, ..TurnLimits::default() }, |turn| {
        let event = TimeDomain::Event;
        let register = |turn: &mut Turn, time: i64| in_turn(turn, |turn| turn.timer_register(event, &[0], &[time]));
        // A timer for the same time is the same timer.
        assert!((0..1000).all(|time| register(turn, time % 100).is_none()));
        let fault = register(turn, 100).unwrap();
        assert_eq!(fault.code, FaultCode::TimersExceeded);
        assert_eq!(fault.message, "key `a` would have more timers than limits.timers_per_key, 100");
        assert!(register(turn, 99).is_none());
        assert!(in_turn(turn, |turn| turn.timer_delete(event, &[0], &[7])).is_none());
        assert!(register(turn, 100).is_none() && register(turn, 101).is_some());
        // Fired timers do not count.
        for _ in 0..10 {
            let due = turn.due_timers(event, 1000, 10).unwrap();
            assert!(in_turn(turn, |turn| turn.delete_fired_timers(event, &due.keys.key_of, &due.times)).is_none());
        }
        assert!((1000..1100).all(|time| register(turn, time).is_none()) && register(turn, 1100).is_some());
        // Other keys have their own number.
        let names: Vec<String> = (0..500).map(|n| format!("k{n}")).collect();
        turn.begin(Some(&keys(&names.iter().map(String::as_str).collect::<Vec<_>>())), 0, 0);
        let all: Vec<u32> = (0..500).collect();
        (0..5).for_each(|time| turn.timer_register(event, &all, &[time; 500]).unwrap());
        turn.commit().unwrap();
    });
}
