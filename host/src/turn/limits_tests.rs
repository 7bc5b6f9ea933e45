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

struct NoMigration;

impl StateMigrator for NoMigration {
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
            BroadcastState::open(vec![description("rules", StateKind::Broadcast)], None, false, &mut NoMigration);
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
