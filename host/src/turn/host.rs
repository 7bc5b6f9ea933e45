//! What the host's own operators do in a turn beside what a guest may: they know how their states are stored, and what they
//! write is not bounded, since no guest chooses it.

use std::sync::Arc;

use super::Turn;
use super::telemetry::MetricChange;
use crate::model::{DueTimers, Keys, TimeDomain};
use crate::state::{StateId, StateKind, list};

impl Turn {
    /// Keeps the timers from the guest: they are the host's.
    pub fn with_internal_timers(self) -> Turn {
        Turn { timers_are_internal: true, ..self }
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
                queue.lower(timers.keys.groups[key as usize], time);
            }
        }
    }
}
