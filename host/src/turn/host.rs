//! What the host's own operators do in a turn beside what a guest may: they know how their states are stored, and what they
//! write is not bounded, since no guest chooses it.

use std::sync::Arc;

use super::Turn;
use super::telemetry::MetricChange;
use crate::error::{self, Result};
use crate::model::{DueTimers, Keys, TimeDomain};
use crate::state::{StateId, StateKind, list};

impl Turn {
    /// Keeps the timers from the guest: they are the host's.
    pub fn with_internal_timers(self) -> Turn {
        Turn { timers_are_internal: true, ..self }
    }

    /// The place of a state by its name.
    pub fn state_named(&self, name: &str) -> Option<StateId> {
        self.layout.iter().position(|state| state.name == name).map(|state| state as StateId)
    }

    /// The place of a state that the host's own operator cannot do without. Error: `internal`.
    pub fn internal_state(&self, name: &str) -> Result<StateId> {
        self.state_named(name).ok_or_else(|| error::internal(format!("an operator without its state {name}")))
    }

    /// Ends the guest's part of a turn: puts more keys behind those that it began with, and gives back the index of the first.
    /// None of them is a key of the turn already.
    pub fn add_keys(&mut self, keys: &Keys) -> u32 {
        self.budget = usize::MAX;
        let first = self.keys.distinct.len() as u32;
        if first == 0 {
            self.keys = Arc::new(keys.clone());
        } else {
            let all = Arc::make_mut(&mut self.keys);
            all.distinct.extend_from(&keys.distinct, 0..keys.distinct.len());
            all.groups.extend_from_slice(&keys.groups);
        }
        first
    }

    /// Sets what is stored of a key; the state is no map and has no time to live.
    pub fn put(&mut self, state: StateId, key: u32, stored: &[u8]) {
        self.staged[usize::from(state)].put(key, &[], stored);
    }

    /// Appends an element to what is stored of a key; the state is a list without a time to live.
    pub fn append_element(&mut self, state: StateId, key: u32, element: &[u8]) {
        list::push_element(self.staged[usize::from(state)].append(key), &[], element);
    }

    /// Deletes what is stored of a key; the state is no map.
    pub fn delete(&mut self, state: StateId, key: u32) {
        self.staged[usize::from(state)].delete(key);
    }

    /// Deletes what a key has in all states that the function declares.
    pub fn clear_declared(&mut self, key: u32) {
        for state in 0..self.declared {
            match self.layout[state].kind {
                StateKind::Map => self.staged_maps[state].clear(key),
                _ => self.staged[state].delete(key),
            }
        }
    }

    /// Adds to a counter of the host's own.
    pub fn count(&mut self, name: &str, more: u64) {
        self.staged_metrics.push((name.to_owned(), MetricChange::Add(more)));
    }

    /// Gives back timers that [`Turn::due_timers`] took and nobody handled.
    pub fn put_back_timers(&mut self, domain: TimeDomain, timers: &DueTimers) {
        if let Some(queue) = self.timers[domain as usize].as_deref_mut() {
            for (&key, &time) in timers.keys.key_of.iter().zip(&timers.times) {
                queue.add(timers.keys.groups[key as usize], time);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::pipeline::StateBackendKind;
    use crate::state::{self, StateDescription, StateOptions};
    use crate::turn::{TurnContext, timer_states};

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
    fn keys_may_come_in_behind_the_guest_and_what_it_staged_stays_where_it_was() {
        let mut turn = turn();
        turn.limit_writes(100);
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
    fn timers_of_the_host_are_kept_from_the_guest_and_come_again_when_put_back() {
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
}
