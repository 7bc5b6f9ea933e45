//! Tests of what native operators do in turns.

use std::sync::Arc;

use super::*;
use crate::clock::SystemClock;
use crate::model::{Keys, TimeDomain};
use crate::pipeline::StateBackendKind;
use crate::state::{self, StateDescription, StateKind, StateOptions};

fn keys(names: &[&str]) -> Arc<Keys> {
    let groups = vec![0; names.len()];
    Arc::new(Keys { distinct: names.iter().collect(), groups, key_of: Vec::new() })
}

fn turn() -> Turn {
    let value = StateDescription::new("value", StateKind::Value, "raw", "");
    let map = StateDescription { map_key: "raw".into(), ..StateDescription::new("map", StateKind::Map, "raw", "") };
    let list = StateDescription::new("@list", StateKind::List, "raw", "");
    let layout: Vec<_> = [value, map, list].into_iter().chain(timer_states(&[TimeDomain::Event])).collect();
    let (kind, clock) = (StateBackendKind::Memory, SystemClock::shared());
    let options = StateOptions::empty(kind, Default::default(), layout.clone(), 1, clock);
    Turn::stateful(TurnContext::default(), layout, state::open(options).unwrap()).with_timers(0..1).unwrap()
}

#[test]
fn adding_keys_keeps_the_writes_that_the_guest_has_staged() {
    let mut turn = turn();
    turn.set_limits(TurnLimits { state_per_turn: 100, ..TurnLimits::default() });
    turn.begin(Some(&keys(&["a"])), 0, 0);
    turn.value_set(0, 0, b"of a").unwrap();
    turn.map_put(1, 0, b"sub", b"").unwrap();
    assert_eq!(turn.add_keys(&keys(&["b", "c"])), 1);
    turn.put(0, 1, &[b'x'; 1000]);
    turn.append_element(2, 2, b"element");
    turn.commit().unwrap();
    turn.begin(Some(&keys(&["b", "a", "c"])), 0, 0);
    assert_eq!(turn.value_get(0, 0).unwrap().unwrap().len(), 1000);
    assert_eq!(turn.value_get(0, 1).unwrap().unwrap(), b"of a");
    assert_eq!(turn.list_get(2, 2).unwrap().value(0), b"element");
    turn.clear_declared(1);
    turn.delete(2, 2);
    turn.commit().unwrap();
    turn.begin(Some(&keys(&["a", "c"])), 0, 0);
    assert_eq!(turn.value_get(0, 0).unwrap(), None);
    assert_eq!(turn.map_get(1, 0, b"sub").unwrap(), None);
    assert!(turn.list_get(2, 1).unwrap().is_empty());
}

#[test]
fn internal_timers_are_hidden_from_the_guest_and_can_be_put_back() {
    let mut turn = turn();
    assert!(turn.check_timers_declared().is_ok());
    turn = turn.with_internal_timers();
    assert!(turn.check_timers_declared().is_err());
    turn.begin(Some(&keys(&["a", "b"])), 0, 0);
    turn.timer_register(TimeDomain::Event, &[0, 1], &[5, 6]).unwrap();
    turn.commit().unwrap();
    let due = turn.due_timers(TimeDomain::Event, 10, 10).unwrap();
    assert_eq!(due.times, [5, 6]);
    assert_eq!(turn.next_timer(TimeDomain::Event), None);
    turn.put_back_timers(TimeDomain::Event, &due.slice(1..2));
    assert_eq!(turn.next_timer(TimeDomain::Event), Some(6));
}
