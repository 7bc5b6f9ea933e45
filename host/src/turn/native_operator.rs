//! Additional methods of a turn for native operators, such as windows and joins.
//!
//! Native operators write the stored bytes of their internal states themselves. Their writes are not limited, since no guest controls
//! them.

use std::sync::Arc;

use super::limits::memory_exceeded;
use super::transaction::Turn;
use crate::error::{self, Result};
use crate::model::{DueTimers, Fault, Keys, TimeDomain};
use crate::state::{StateId, StateKind, list};

impl Turn {
    /// Bytes of state that the operator may load for one turn: a guest could not hold more.
    pub fn read_bytes_max(&self) -> usize {
        self.limits.memory
    }

    /// Returns the fault of a turn whose load exceeded [`Turn::read_bytes_max`]. If the turn has several items, it is to be divided,
    /// and the fault does not count.
    pub fn read_too_large(&mut self) -> Fault {
        self.budget.mark_too_large(memory_exceeded(&self.limits))
    }

    /// Marks the timers as internal, so that the guest cannot use them.
    pub fn with_internal_timers(self) -> Turn {
        Turn { timers_are_internal: true, ..self }
    }

    /// Returns the index of the state called `name`.
    pub fn state_named(&self, name: &str) -> Option<StateId> {
        self.layout.iter().position(|state| state.name == name).map(|state| state as StateId)
    }

    /// Returns the index of an internal state, or `internal` if the operator does not have it.
    pub fn internal_state(&self, name: &str) -> Result<StateId> {
        self.state_named(name).ok_or_else(|| error::internal(format!("the operator has no state {name}")))
    }

    /// Adds keys to the turn and lifts its write limit, after the guest's part of the turn has ended. Returns the index of the
    /// first added key. The turn must not have any of the keys yet.
    pub fn add_keys(&mut self, keys: &Keys) -> u32 {
        self.lift_write_limit();
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

    /// Stages the stored bytes of a key. The state must not be a map and must have no time to live.
    pub fn put(&mut self, state: StateId, key: u32, stored: &[u8]) {
        self.staged[usize::from(state)].put(key, &[], stored);
    }

    /// Stages a list element of a key. The state must be a list without a time to live.
    pub fn append_element(&mut self, state: StateId, key: u32, element: &[u8]) {
        list::push_element(self.staged[usize::from(state)].append(key), &[], element);
    }

    /// Stages the removal of a key's entry. The state must not be a map.
    pub fn delete(&mut self, state: StateId, key: u32) {
        self.staged[usize::from(state)].delete(key);
    }

    /// Stages the removal of all entries of a key in the states that the function declares.
    pub fn clear_declared(&mut self, key: u32) {
        for state in 0..self.declared {
            match self.layout[state].kind {
                StateKind::Map => self.staged_maps[state].clear(key),
                _ => self.staged[state].delete(key),
            }
        }
    }

    /// Stages an addition to a counter of the host.
    pub fn count(&mut self, name: &str, more: u64) {
        self.telemetry.stage_host_counter(name, more);
    }

    /// Makes timers due again that [`Turn::due_timers`] returned but that were not handled.
    pub fn put_back_timers(&mut self, domain: TimeDomain, timers: &DueTimers) {
        if let Some(service) = self.timers[domain as usize].as_deref_mut() {
            for (&key, &time) in timers.keys.key_of.iter().zip(&timers.times) {
                service.put_back(timers.keys.groups[key as usize], time);
            }
        }
    }
}
