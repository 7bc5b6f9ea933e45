//! Limits the number of timers of one key: `limits.timers_per_key`.
//!
//! Timers are stored by time, not by key, and a count per key would take as much memory as the timers. So keys share counters:
//! each counts the registrations of the keys of one key group with the same remainder of their hash, less the timers that fired.
//! Registrations of a timer that exists and deletions by the function are not known without a read, so a counter is an upper
//! bound. Once it has reached the limit, the timers of the key group are read, and only their number is a fault. The counters begin
//! at zero in each attempt, so that a key may have the timers of a restored checkpoint in addition.

use std::collections::BTreeMap;
use std::ops::Range;

use hashbrown::HashMap;

use crate::error::Result;
use crate::model::{KeyGroup, hash_key, time_of_bytes};
use crate::state::{StateBackend, StateId};

/// Number of counters of a subtask.
const COUNTERS: usize = 1 << 14;
/// Number of timers that are read from the backend at once.
const PAGE: usize = 256;

/// One shared counter.
#[derive(Clone, Copy, Default)]
struct SharedCounter {
    /// Upper bound of the number of committed timers of all its keys.
    committed: u32,
    /// Number of timers that the current turn has registered.
    staged: u32,
    /// What the key with most timers lacks to the sum of all keys, as last read.
    others: u32,
}

/// The counters of one clock.
#[derive(Default)]
pub(super) struct TimerCounts {
    first_group: u32,
    per_group: usize,
    counters: Vec<SharedCounter>,
    /// Counters with staged registrations.
    touched: Vec<usize>,
}

impl TimerCounts {
    pub fn new(groups: &Range<u32>) -> TimerCounts {
        let per_group = (COUNTERS / groups.len().max(1)).max(1);
        TimerCounts { first_group: groups.start, per_group, ..TimerCounts::default() }
    }

    fn index(&self, group: KeyGroup, key: &[u8]) -> usize {
        let group = u32::from(group).saturating_sub(self.first_group) as usize;
        // Keys of one group have the same remainder of their hash by the number of groups.
        let within = (hash_key(key) >> 32) as usize % self.per_group;
        group * self.per_group + within
    }

    fn counter(&mut self, index: usize) -> &mut SharedCounter {
        if self.counters.len() <= index {
            self.counters.resize(index + 1, SharedCounter::default());
        }
        &mut self.counters[index]
    }

    /// Counts a staged registration. Returns false if the key may have more timers than the limit, so that they must be read.
    pub fn stage(&mut self, group: KeyGroup, key: &[u8], limit: usize) -> bool {
        let index = self.index(group, key);
        let counter = self.counter(index);
        counter.staged = counter.staged.saturating_add(1);
        let is_first = counter.staged == 1;
        let sum = u64::from(counter.committed) + u64::from(counter.staged);
        let is_below = sum <= limit as u64 + u64::from(counter.others);
        if is_first {
            self.touched.push(index);
        }
        is_below
    }

    /// Adds the staged registrations to the counters.
    pub fn commit(&mut self) {
        for index in self.touched.drain(..) {
            let counter = &mut self.counters[index];
            counter.committed = counter.committed.saturating_add(std::mem::take(&mut counter.staged));
        }
    }

    /// Discards the staged registrations.
    pub fn reset(&mut self) {
        for index in self.touched.drain(..) {
            self.counters[index].staged = 0;
        }
    }

    /// Notes that a timer has fired.
    pub fn note_fired(&mut self, group: KeyGroup, key: &[u8]) {
        let index = self.index(group, key);
        let counter = self.counter(index);
        counter.committed = counter.committed.saturating_sub(1);
    }

    /// Reads the timers of a key group, and returns the number that a key will have after the turn. `staged` are the timers of
    /// the key that the turn registers or deletes. Corrects the counter of the key.
    pub fn measure(
        &mut self,
        backend: &mut dyn StateBackend,
        (state, group, key): (StateId, KeyGroup, &[u8]),
        mut staged: BTreeMap<i64, bool>,
    ) -> Result<usize> {
        let index = self.index(group, key);
        let mut counts: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut unchanged = 0;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = backend.scan_map(state, group, &[], after.as_deref(), PAGE)?;
            for (sub_key, _) in &page {
                let Some((time, owner)) = sub_key.split_first_chunk() else { continue };
                if owner == key {
                    // A deletion stays, and a registration of a timer that exists adds none.
                    let time = time_of_bytes(*time);
                    unchanged += usize::from(staged.get(&time) != Some(&false));
                    staged.remove(&time);
                }
                if self.index(group, owner) == index {
                    match counts.get_mut(owner) {
                        Some(count) => *count += 1,
                        None => drop(counts.insert(owner.to_vec(), 1)),
                    }
                }
            }
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => break,
            }
        }
        let (sum, largest) =
            counts.values().fold((0_u32, 0), |(sum, largest), count| (sum + count, largest.max(*count)));
        let counter = self.counter(index);
        (counter.committed, counter.others) = (sum, sum - largest);
        Ok(unchanged + staged.values().filter(|is_registered| **is_registered).count())
    }
}
