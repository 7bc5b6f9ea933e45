//! Timers in a turn: what it registers and deletes, and the queue of what is committed.
//!
//! A timer is an entry of a hidden map state that has one map per key group (its key is empty): the sub-key is the time, then
//! the key, so that a group's timers stand in order of their time. They are state as any other is: in both backends, in images,
//! moved with their group. In memory is only, for each group that has timers, a time before which it has none.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use super::watermark::watermark_state;
use super::{HostCallError, Turn, backend, invalid};
use crate::error::{self, Result};
use crate::model::{Column, DueTimers, KeyGroup, Keys, TimeDomain, time_bytes, time_of_bytes};
use crate::state::internal::{EVENT_TIMERS as EVENT, PROCESSING_TIMERS as PROCESSING};
use crate::state::{StateBackend, StateChange, StateDescription, StateId, StateKind, StateLayout, StateWrite};

/// Timers read of one group at once, at least.
const PAGE_MIN: usize = 16;

/// The hidden states in which timers of these clocks are kept; with those of event time stands the watermark.
pub fn timer_states(domains: &[TimeDomain]) -> StateLayout {
    let state = |domain: &TimeDomain| {
        let schema = "timer";
        let state = StateDescription::new(name_of(*domain), StateKind::Map, "raw", schema);
        StateDescription { map_key: "raw".into(), ..state }
    };
    let watermark = domains.contains(&TimeDomain::Event).then(watermark_state);
    domains.iter().map(state).chain(watermark).collect()
}

fn name_of(domain: TimeDomain) -> &'static str {
    match domain {
        TimeDomain::Event => EVENT,
        TimeDomain::Processing => PROCESSING,
    }
}

/// The timers of one clock.
pub(super) struct Timers {
    state: StateId,
    queue: Queue,
    /// In the order in which they were asked for: a later one counts.
    staged: Vec<Staged>,
    /// The sub-keys of what is staged, one behind the other.
    sub_keys: Vec<u8>,
}

struct Staged {
    group: KeyGroup,
    time: i64,
    sub_key: Range<usize>,
    is_registered: bool,
}

/// For each group that has timers, a time before which it has none.
#[derive(Default)]
struct Queue {
    first_of: Vec<Option<i64>>,
    order: BTreeSet<(i64, KeyGroup)>,
    /// Of a group the sub-key of the last timer that was taken, behind which to go on: in front of it a database has to pass over
    /// all that was deleted, and many timers may have the same time.
    taken: HashMap<KeyGroup, Vec<u8>>,
}

impl Queue {
    fn set(&mut self, group: KeyGroup, first: Option<i64>) {
        let at = usize::from(group);
        if self.first_of.len() <= at {
            self.first_of.resize(at + 1, None);
        }
        if let Some(before) = std::mem::replace(&mut self.first_of[at], first) {
            self.order.remove(&(before, group));
        }
        self.order.extend(first.map(|first| (first, group)));
    }

    /// A timer of this time is there, perhaps again.
    fn add(&mut self, group: KeyGroup, time: i64) {
        if self.taken.get(&group).is_some_and(|taken| taken[..] >= time_bytes(time)[..]) {
            self.taken.remove(&group);
        }
        self.lower(group, time);
    }

    /// Behind which sub-key the timers of a group are to be read, the first of which is not before `first`.
    fn behind(&self, group: KeyGroup, first: i64) -> Option<Vec<u8>> {
        match self.taken.get(&group) {
            Some(taken) if taken.starts_with(&time_bytes(first)) => Some(taken.clone()),
            _ => Some(time_bytes(first.checked_sub(1)?).to_vec()),
        }
    }

    fn lower(&mut self, group: KeyGroup, time: i64) {
        let first = self.first_of.get(usize::from(group)).copied().flatten();
        if first.is_none_or(|first| time < first) {
            self.set(group, Some(time));
        }
    }
}

/// The time and the key of a timer.
fn read_sub_key(sub_key: &[u8]) -> Result<(i64, &[u8])> {
    let (time, key) = sub_key.split_first_chunk().ok_or_else(|| error::state_failed("a timer without its time"))?;
    Ok((time_of_bytes(*time), key))
}

impl Timers {
    /// Finds the first timer of each group.
    fn open(state: StateId, backend: &mut dyn StateBackend, groups: Range<u32>) -> Result<Timers> {
        let mut queue = Queue::default();
        for group in groups {
            let group = group as KeyGroup;
            if let Some((sub_key, _)) = backend.scan_map(state, group, &[], None, 1)?.first() {
                queue.set(group, Some(read_sub_key(sub_key)?.0));
            }
        }
        Ok(Timers { state, queue, staged: Vec::new(), sub_keys: Vec::new() })
    }

    /// A timer of this time is there again.
    pub(super) fn add(&mut self, group: KeyGroup, time: i64) {
        self.queue.add(group, time);
    }

    fn stage(&mut self, group: KeyGroup, time: i64, key: &[u8], is_registered: bool) {
        let start = self.sub_keys.len();
        self.sub_keys.extend_from_slice(&time_bytes(time));
        self.sub_keys.extend_from_slice(key);
        self.staged.push(Staged { group, time, sub_key: start..self.sub_keys.len(), is_registered });
    }

    pub(super) fn writes(&self) -> impl Iterator<Item = StateWrite<'_>> {
        self.staged.iter().map(|staged| StateWrite {
            state: self.state,
            group: staged.group,
            key: &[],
            sub_key: &self.sub_keys[staged.sub_key.clone()],
            change: if staged.is_registered { StateChange::Put(&[]) } else { StateChange::Delete },
        })
    }

    /// What was staged has been written.
    pub(super) fn committed(&mut self) {
        for staged in self.staged.iter().filter(|staged| staged.is_registered) {
            self.queue.add(staged.group, staged.time);
        }
        self.reset();
    }

    fn drop_registered(&mut self) -> u64 {
        let before = self.staged.len();
        self.staged.retain(|staged| !staged.is_registered);
        (before - self.staged.len()) as u64
    }

    pub(super) fn reset(&mut self) {
        self.staged.clear();
        self.sub_keys.clear();
    }

    /// See [`Turn::due_timers`].
    fn due(
        &mut self,
        backend: &mut dyn StateBackend,
        (now, limit): (i64, usize),
        is_selected: impl Fn(KeyGroup) -> bool,
    ) -> Result<DueTimers> {
        let due = self.queue.order.iter().take_while(|(first, _)| *first <= now);
        let groups: Vec<(i64, KeyGroup)> = due.filter(|(_, group)| is_selected(*group)).copied().collect();
        let page = (2 * limit / groups.len().max(1)).max(PAGE_MIN);
        let mut due: Vec<(i64, Vec<u8>, KeyGroup)> = Vec::new();
        // A group of which more is due than was read: what is behind its page must wait for it.
        let mut horizon = i64::MAX;
        for (first, group) in groups {
            let behind = self.queue.behind(group, first);
            let entries = backend.scan_map(self.state, group, &[], behind.as_deref(), page)?;
            let is_cut = entries.len() == page;
            let mut next = None;
            for (sub_key, _) in entries {
                let (time, key) = read_sub_key(&sub_key)?;
                if time > now {
                    next = Some(time);
                    break;
                }
                due.push((time, key.to_vec(), group));
            }
            if is_cut && next.is_none() {
                let last = due.last().map_or(first, |(time, ..)| *time);
                horizon = horizon.min(last);
                next = Some(last);
            }
            self.queue.set(group, next);
        }
        due.sort_unstable();
        let within = due.partition_point(|(time, ..)| *time <= horizon).min(limit);
        for (time, _, group) in due.drain(within..) {
            self.queue.lower(group, time);
        }
        for (time, key, group) in &due {
            let taken = self.queue.taken.entry(*group).or_default();
            taken.clear();
            taken.extend_from_slice(&time_bytes(*time));
            taken.extend_from_slice(key);
        }
        Ok(with_dictionary(due))
    }
}

/// Timers of the same key get one place in the dictionary.
fn with_dictionary(due: Vec<(i64, Vec<u8>, KeyGroup)>) -> DueTimers {
    let mut places = HashMap::with_capacity(due.len());
    let (mut keys, mut times) = (Keys::default(), Vec::with_capacity(due.len()));
    for (time, key, group) in &due {
        let place = *places.entry(&key[..]).or_insert_with(|| {
            keys.distinct.push(key);
            keys.groups.push(*group);
            keys.groups.len() as u32 - 1
        });
        keys.key_of.push(place);
        times.push(*time);
    }
    DueTimers { keys: Arc::new(keys), times }
}

impl Turn {
    /// Gives it the timers that the layout has hidden states for, and the watermark to go on from (`context.watermark`).
    /// `groups` are those of the subtask.
    pub fn with_timers(mut self, groups: Range<u32>) -> Result<Turn> {
        self.restore_watermarks(groups.clone())?;
        self.groups = groups.clone();
        for domain in [TimeDomain::Event, TimeDomain::Processing] {
            if let (Some(state), Some(backend)) = (self.state_named(name_of(domain)), self.backend.as_deref_mut()) {
                self.timers[domain as usize] = Some(Box::new(Timers::open(state, backend, groups.clone())?));
            }
        }
        Ok(self)
    }

    fn timers(&mut self, domain: TimeDomain) -> Result<&mut Timers, HostCallError> {
        self.timers[domain as usize]
            .as_deref_mut()
            .ok_or_else(|| invalid(format!("the function does not declare timers in {} time", domain.as_str())))
    }

    /// `timers.register`.
    pub fn timer_register(&mut self, domain: TimeDomain, keys: &[u32], times: &[i64]) -> Result<(), HostCallError> {
        self.stage_timers(domain, keys, times, true)
    }

    /// `timers.delete`.
    pub fn timer_delete(&mut self, domain: TimeDomain, keys: &[u32], times: &[i64]) -> Result<(), HostCallError> {
        self.stage_timers(domain, keys, times, false)
    }

    /// Deletes timers that fire: the host does, so that nothing of what the guest may write is spent on it.
    pub fn delete_fired_timers(
        &mut self,
        domain: TimeDomain,
        keys: &[u32],
        times: &[i64],
    ) -> Result<(), HostCallError> {
        let budget = std::mem::replace(&mut self.budget, usize::MAX);
        let staged = self.stage_timers(domain, keys, times, false);
        self.budget = budget;
        staged
    }

    fn stage_timers(
        &mut self,
        domain: TimeDomain,
        keys: &[u32],
        times: &[i64],
        is_registered: bool,
    ) -> Result<(), HostCallError> {
        self.check_keys(keys, times.len())?;
        self.timers(domain)?;
        let bytes = keys.iter().map(|&key| self.keys.distinct.value(key as usize).len() + 24).sum();
        self.charge(bytes)?;
        let (dictionary, timers) = (self.keys.clone(), self.timers(domain)?);
        for (&key, &time) in keys.iter().zip(times) {
            let key = key as usize;
            timers.stage(dictionary.groups[key], time, dictionary.distinct.value(key), is_registered);
        }
        Ok(())
    }

    /// Up to `limit` timers whose time is not behind `now`, in order of their time over all keys, and counts them as taken: the
    /// caller deletes each in a turn that commits, or does not go on. Of one whole advance it is asked until there are none.
    pub fn due_timers(&mut self, domain: TimeDomain, now: i64, limit: usize) -> Result<DueTimers> {
        let Some(mut timers) = self.timers[domain as usize].take() else { return Ok(DueTimers::default()) };
        let mut held = self.backend.take();
        let due = match held.as_deref_mut() {
            Some(backend) => timers.due(backend, (now, limit.max(1)), |group| self.is_selected(group)),
            None => Ok(DueTimers::default()),
        };
        (self.timers[domain as usize], self.backend) = (Some(timers), held);
        due
    }

    /// Takes back the timers that this turn has registered. Returns their number.
    pub fn drop_registered_timers(&mut self) -> u64 {
        self.timers.iter_mut().flatten().map(|timers| timers.drop_registered()).sum()
    }

    /// A time before which no timer of this clock is due. None where there is no timer.
    pub fn next_timer(&self, domain: TimeDomain) -> Option<i64> {
        let timers = self.timers[domain as usize].as_ref()?;
        timers.queue.order.first().map(|(first, _)| *first)
    }

    /// Those of `timers` that are still registered: what was taken together may have been deleted by a turn since.
    pub fn still_registered(&mut self, domain: TimeDomain, timers: &DueTimers) -> Result<DueTimers, HostCallError> {
        let state = self.timers(domain)?.state;
        let of: Vec<u32> = timers.keys.key_of.clone();
        let mut sub_keys = Column::with_capacity(of.len(), 0);
        for (&key, &time) in of.iter().zip(&timers.times) {
            sub_keys.push_with(|bytes| {
                bytes.extend_from_slice(&time_bytes(time));
                bytes.extend_from_slice(timers.keys.distinct.value(key as usize));
            });
        }
        // All timers of a group are entries of one map, whose key is empty.
        let groups = Keys {
            distinct: timers.keys.groups.iter().map(|_| &[][..]).collect(),
            groups: timers.keys.groups.clone(),
            key_of: Vec::new(),
        };
        let entries = backend(&mut self.backend)?.load_map(state, &groups, &of, &sub_keys)?;
        let held = (0..of.len()).filter(|&at| entries.present[at]);
        let held = held.map(|at| {
            let key = of[at] as usize;
            (timers.times[at], timers.keys.distinct.value(key).to_vec(), timers.keys.groups[key])
        });
        Ok(with_dictionary(held.collect()))
    }
}

#[cfg(test)]
#[path = "timers_tests.rs"]
mod tests;
