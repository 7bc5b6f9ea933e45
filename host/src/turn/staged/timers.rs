//! The timers of one clock: staged changes, and the queue of committed timers.
//!
//! A timer is an entry of an internal map state. There is one map per key group, with an empty key. The sub-key is the time,
//! then the key of the records, so that the timers of a group are ordered by time. So timers are state like any other: stored
//! by both backends, part of snapshots, and moved with their key group.
//!
//! The memory holds only one time per key group that has timers: a lower bound of their times.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use super::timer_counts::TimerCounts;
use crate::error::{self, Result};
use crate::model::{DueTimers, KeyGroup, Keys, TimeDomain, time_bytes, time_of_bytes};
use crate::state::internal::{EVENT_TIMERS, PROCESSING_TIMERS, WATERMARK};
use crate::state::{StateBackend, StateChange, StateDescription, StateId, StateKind, StateLayout, StateWrite};

/// Length of the time that begins a sub-key.
const TIME_BYTES: usize = size_of::<i64>();

/// Minimum number of timers to read from one group at once.
const PAGE_MIN: usize = 16;

/// Returns the internal states for timers of these clocks. Event-time timers also need the state of the watermark.
pub fn timer_states(domains: &[TimeDomain]) -> StateLayout {
    let timers = |domain: &TimeDomain| {
        let state = StateDescription::new(timer_state_name(*domain), StateKind::Map, "raw", "timer");
        StateDescription { map_key: "raw".into(), ..state }
    };
    let watermark = || StateDescription::new(WATERMARK, StateKind::Value, "raw", "watermark");
    let watermark = domains.contains(&TimeDomain::Event).then(watermark);
    domains.iter().map(timers).chain(watermark).collect()
}

/// Returns the name of the internal state for timers of this clock.
pub(in crate::turn) fn timer_state_name(domain: TimeDomain) -> &'static str {
    match domain {
        TimeDomain::Event => EVENT_TIMERS,
        TimeDomain::Processing => PROCESSING_TIMERS,
    }
}

/// What has happened to the timers of one clock since the attempt began. The number of pending timers is not known: a registration
/// may be of a timer that exists, and a deletion of one that does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerTotals {
    /// Committed registrations.
    pub registered: u64,
    /// Timers that were due and were taken to fire.
    pub fired: u64,
}

impl TimerTotals {
    /// Adds the totals of another subtask or attempt.
    pub fn add(&mut self, other: &TimerTotals) {
        self.registered += other.registered;
        self.fired += other.fired;
    }
}

/// The timers of one clock.
pub(in crate::turn) struct TimerService {
    state: StateId,
    queue: TimerQueue,
    /// Staged changes in the order of the calls. A later change of the same timer wins.
    staged: Vec<StagedTimer>,
    /// The sub-keys of the staged changes, concatenated.
    sub_keys: Vec<u8>,
    counts: TimerCounts,
    totals: TimerTotals,
    /// The clock's time when timers were taken last.
    taken_at: i64,
    /// Registrations that wait until the clock has advanced. A timer that registers itself for its own time would otherwise be due
    /// again at once, so that the advance would never end.
    deferred: Vec<DeferredTimer>,
}

/// A registration that a firing timer has made for a time that the firing has passed.
struct DeferredTimer {
    group: KeyGroup,
    time: i64,
    /// The clock's time. The timer is due once the clock is later.
    until: i64,
}

/// The staged registration or deletion of a timer.
struct StagedTimer {
    group: KeyGroup,
    time: i64,
    /// Position in [`TimerService::sub_keys`].
    sub_key: Range<usize>,
    change: TimerChange,
}

/// A change of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::turn) enum TimerChange {
    Registered,
    /// The function deletes the timer, which may not exist.
    Deleted,
    /// The timer fires and is deleted.
    Fired,
}

/// A lower bound of the times of the committed timers, for each group that has timers.
#[derive(Default)]
struct TimerQueue {
    lower_bounds: Vec<Option<i64>>,
    /// The same, ordered by time.
    order: BTreeSet<(i64, KeyGroup)>,
    /// The sub-key of the last timer taken from each group. The next read starts after it: a database would have to skip all
    /// deleted entries before it, and many timers may have the same time.
    taken: HashMap<KeyGroup, Vec<u8>>,
}

impl TimerQueue {
    /// Sets the lower bound of a group. `None` means that the group has no timers.
    #[inline]
    fn set_lower_bound(&mut self, group: KeyGroup, time: Option<i64>) {
        let index = usize::from(group);
        if self.lower_bounds.len() <= index {
            self.lower_bounds.resize(index + 1, None);
        }
        if let Some(before) = std::mem::replace(&mut self.lower_bounds[index], time) {
            self.order.remove(&(before, group));
        }
        self.order.extend(time.map(|time| (time, group)));
    }

    /// Notes a registered timer.
    #[inline]
    fn add(&mut self, group: KeyGroup, time: i64) {
        if self.taken.get(&group).is_some_and(|taken| taken[..] >= time_bytes(time)[..]) {
            self.taken.remove(&group);
        }
        self.lower(group, time);
    }

    /// Returns the sub-key after which to read the timers of a group. `None` means from the start. `lower_bound` is that of
    /// the group.
    #[inline]
    fn resume_after(&self, group: KeyGroup, lower_bound: i64) -> Option<Vec<u8>> {
        match self.taken.get(&group) {
            Some(taken) if taken.starts_with(&time_bytes(lower_bound)) => Some(taken.clone()),
            // Timers of the millisecond before the bound are deferred. Hardly any key is larger than this one.
            _ => Some([&time_bytes(lower_bound.checked_sub(1)?)[..], &[0xff; 64]].concat()),
        }
    }

    /// Lowers the lower bound of a group to `time`, if it is higher.
    #[inline]
    fn lower(&mut self, group: KeyGroup, time: i64) {
        let lower_bound = self.lower_bounds.get(usize::from(group)).copied().flatten();
        if lower_bound.is_none_or(|lower_bound| time < lower_bound) {
            self.set_lower_bound(group, Some(time));
        }
    }
}

/// Returns the time and the key of a timer.
#[inline]
fn read_sub_key(sub_key: &[u8]) -> Result<(i64, &[u8])> {
    let (time, key) = sub_key.split_first_chunk().ok_or_else(|| error::state_failed("a stored timer has no time"))?;
    Ok((time_of_bytes(*time), key))
}

impl TimerService {
    /// Opens the timers in `state`. Reads the first timer of each group.
    pub fn open(state: StateId, backend: &mut dyn StateBackend, groups: Range<u32>) -> Result<TimerService> {
        let mut queue = TimerQueue::default();
        let counts = TimerCounts::new(&groups);
        for group in groups {
            let group = group as KeyGroup;
            if let Some((sub_key, _)) = backend.scan_map(state, group, &[], None, 1)?.first() {
                queue.set_lower_bound(group, Some(read_sub_key(sub_key)?.0));
            }
        }
        Ok(TimerService {
            state,
            queue,
            staged: Vec::new(),
            sub_keys: Vec::new(),
            counts,
            totals: TimerTotals::default(),
            taken_at: i64::MIN,
            deferred: Vec::new(),
        })
    }

    /// The internal state that contains the timers.
    pub fn state(&self) -> StateId {
        self.state
    }

    /// Returns a lower bound of the times of all timers, or `None` if there are no timers.
    pub fn lower_bound(&self) -> Option<i64> {
        let first = self.queue.order.first().map(|(time, _)| *time);
        self.deferred.first().map(|timer| timer.until.saturating_add(1)).into_iter().chain(first).min()
    }

    /// Returns what has happened to the timers.
    pub fn totals(&self) -> TimerTotals {
        self.totals
    }

    /// Makes a timer due again that [`TimerService::take_due`] returned.
    pub fn put_back(&mut self, group: KeyGroup, time: i64) {
        self.totals.fired = self.totals.fired.saturating_sub(1);
        self.queue.add(group, time);
    }

    /// Stages a change of a timer.
    #[inline]
    pub fn stage(&mut self, group: KeyGroup, time: i64, key: &[u8], change: TimerChange) {
        let start = self.sub_keys.len();
        self.sub_keys.extend_from_slice(&time_bytes(time));
        self.sub_keys.extend_from_slice(key);
        self.staged.push(StagedTimer { group, time, sub_key: start..self.sub_keys.len(), change });
    }

    /// Counts a registration that was staged. Returns whether the key certainly has at most `limit` timers.
    #[inline]
    pub fn count_registration(&mut self, group: KeyGroup, key: &[u8], limit: usize) -> bool {
        self.counts.stage(group, key, limit)
    }

    /// Reads how many timers a key will have after the turn.
    pub fn timers_of_key(&mut self, backend: &mut dyn StateBackend, group: KeyGroup, key: &[u8]) -> Result<usize> {
        let of_key = |staged: &&StagedTimer| {
            staged.group == group && self.sub_keys[staged.sub_key.clone()].get(TIME_BYTES..) == Some(key)
        };
        let staged = self.staged.iter().filter(of_key);
        let changes = staged.map(|staged| (staged.time, staged.change == TimerChange::Registered)).collect();
        self.counts.measure(backend, (self.state, group, key), changes)
    }

    /// Returns whether a staged registration is not later than all timers of its key that fire in this turn.
    fn is_passed(&self, staged: &StagedTimer) -> bool {
        let key = |timer: &StagedTimer| self.sub_keys[timer.sub_key.clone()].get(TIME_BYTES..);
        let is_fired = |other: &&StagedTimer| {
            other.change == TimerChange::Fired && other.group == staged.group && key(other) == key(staged)
        };
        self.staged.iter().filter(is_fired).map(|fired| fired.time).min().is_some_and(|min| staged.time <= min)
    }

    /// Returns the writes to commit.
    pub fn writes(&self) -> impl Iterator<Item = StateWrite<'_>> {
        self.staged.iter().map(|staged| StateWrite {
            state: self.state,
            group: staged.group,
            key: &[],
            sub_key: &self.sub_keys[staged.sub_key.clone()],
            change: match staged.change {
                TimerChange::Registered => StateChange::Put(&[]),
                TimerChange::Deleted | TimerChange::Fired => StateChange::Delete,
            },
        })
    }

    /// Adds the committed registrations to the queue. Call it after the writes were applied.
    pub fn finish_commit(&mut self) {
        self.counts.commit();
        let fired = self.staged.iter().filter(|staged| staged.change == TimerChange::Fired);
        let last_fired = fired.map(|fired| fired.time).max();
        for staged in &self.staged {
            let StagedTimer { group, time, sub_key, change } = staged;
            self.totals.registered += u64::from(*change == TimerChange::Registered);
            match change {
                TimerChange::Registered if last_fired.is_some_and(|last| *time <= last) && self.is_passed(staged) => {
                    self.deferred.push(DeferredTimer { group: *group, time: *time, until: self.taken_at });
                }
                TimerChange::Registered => self.queue.add(*group, *time),
                TimerChange::Fired => self.counts.note_fired(*group, &self.sub_keys[sub_key.clone()][TIME_BYTES..]),
                TimerChange::Deleted => {}
            }
        }
        self.reset();
    }

    /// Discards the staged registrations, but not the deletions. Returns their number.
    pub fn drop_registered(&mut self) -> u64 {
        let before = self.staged.len();
        self.staged.retain(|staged| staged.change != TimerChange::Registered);
        (before - self.staged.len()) as u64
    }

    /// Discards all staged changes.
    pub fn reset(&mut self) {
        self.staged.clear();
        self.sub_keys.clear();
        self.counts.reset();
    }

    /// Takes up to `limit` timers with a time of at most `now` out of the queue, in order of their times. Considers only
    /// groups for which `is_selected` returns true.
    ///
    /// Reads one page of each due group. A group may have more due timers than its page: timers of other groups that are later
    /// than the end of that page must wait.
    pub fn take_due(
        &mut self,
        backend: &mut dyn StateBackend,
        now: i64,
        limit: usize,
        is_selected: impl Fn(KeyGroup) -> bool,
    ) -> Result<DueTimers> {
        self.taken_at = now;
        for timer in self.deferred.extract_if(.., |timer| timer.until < now) {
            self.queue.add(timer.group, timer.time);
        }
        let due = self.queue.order.iter().take_while(|(time, _)| *time <= now);
        let groups: Vec<(i64, KeyGroup)> = due.filter(|(_, group)| is_selected(*group)).copied().collect();
        let page = (2 * limit / groups.len().max(1)).max(PAGE_MIN);
        let mut due: Vec<(i64, Vec<u8>, KeyGroup)> = Vec::new();
        // The smallest end of a full page. Later timers must wait.
        let mut horizon = i64::MAX;
        for (lower_bound, group) in groups {
            let after = self.queue.resume_after(group, lower_bound);
            let entries = backend.scan_map(self.state, group, &[], after.as_deref(), page)?;
            let is_page_full = entries.len() == page;
            let mut next = None;
            for (sub_key, _) in entries {
                let (time, key) = read_sub_key(&sub_key)?;
                if time > now {
                    next = Some(time);
                    break;
                }
                due.push((time, key.to_vec(), group));
            }
            if is_page_full && next.is_none() {
                let last = due.last().map_or(lower_bound, |(time, ..)| *time);
                horizon = horizon.min(last);
                next = Some(last);
            }
            self.queue.set_lower_bound(group, next);
        }
        due.sort_unstable();
        let count = due.partition_point(|(time, ..)| *time <= horizon).min(limit);
        for (time, _, group) in due.drain(count..) {
            self.queue.lower(group, time);
        }
        for (time, key, group) in &due {
            let taken = self.queue.taken.entry(*group).or_default();
            taken.clear();
            taken.extend_from_slice(&time_bytes(*time));
            taken.extend_from_slice(key);
        }
        self.totals.fired += due.len() as u64;
        Ok(due_timers(due))
    }
}

/// Builds [`DueTimers`] from (time, key, key group). Timers of the same key share one entry of the key dictionary.
pub(in crate::turn) fn due_timers(due: Vec<(i64, Vec<u8>, KeyGroup)>) -> DueTimers {
    let mut indexes = HashMap::with_capacity(due.len());
    let (mut keys, mut times) = (Keys::default(), Vec::with_capacity(due.len()));
    for (time, key, group) in &due {
        let index = *indexes.entry(&key[..]).or_insert_with(|| {
            keys.distinct.push(key);
            keys.groups.push(*group);
            keys.groups.len() as u32 - 1
        });
        keys.key_of.push(index);
        times.push(*time);
    }
    DueTimers { keys: Arc::new(keys), times }
}
