//! Timers: the changes of a turn, in order, and the due timers of a call.
//!
//! Invariant: the timers of a call fire in the order of their times, also those that are registered during the call. The host has removed
//! the due timers before the call and applies the changes after it. A call fires a bounded number of timers that were registered during the
//! call, and returns the others to the host. A timer that is registered for the time of the firing timer, or an earlier one, never fires
//! in the same call: the host fires it when time advances again. At the end of event time it fires none of them; the host drops them.

use crate::Timestamp;
use crate::bindings::cofferdam::function::types::TimeDomain;
use crate::host::Host;
use std::collections::BTreeSet;

/// Number of timers that one call fires in addition to the due ones.
const ADDED_MAX: usize = 1024;

/// A timer that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// The time for which it was registered.
    pub time: Timestamp,
    /// The clock on which it was registered.
    pub domain: TimeDomain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Register,
    Delete,
}

/// The changes of one clock.
#[derive(Default)]
struct Domain {
    changes: Vec<Change>,
    keys: Vec<u32>,
    times: Vec<i64>,
}

/// The changes of a turn, and the timers that are firing.
#[derive(Default)]
pub(crate) struct TimerChanges {
    event: Domain,
    processing: Domain,
    firing: Option<Firing>,
}

/// A timer that fires in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) time: i64,
    /// The index of its key.
    pub(crate) key: u32,
    /// Its index in the call, or `None` if it was registered during the call.
    pub(crate) item: Option<u32>,
}

/// The timers of a call. A timer is a time and the index of its key.
struct Firing {
    domain: TimeDomain,
    /// The due timers that have not fired yet, latest first.
    due: Vec<(i64, u32)>,
    /// The number of due timers at the beginning of the call.
    due_count: usize,
    /// The time of the last due timer. Timers that are registered for a time up to it fire in the same call.
    last: Option<i64>,
    /// Timers registered since the call began, for times up to `last`. The host does not know of them.
    added: BTreeSet<(i64, u32)>,
    /// Timers deleted since the call began.
    deleted: BTreeSet<(i64, u32)>,
    /// Number of timers in `added` that may still fire in this call.
    left: usize,
    /// The timer that fires now.
    current: Option<(i64, u32)>,
}

impl TimerChanges {
    fn domain(&mut self, domain: TimeDomain) -> &mut Domain {
        match domain {
            TimeDomain::Event => &mut self.event,
            TimeDomain::Processing => &mut self.processing,
        }
    }

    /// Returns the timers of the call if a timer of this clock at `time` fires in the same call.
    fn firing_at(&mut self, domain: TimeDomain, key: u32, time: i64) -> Option<&mut Firing> {
        let firing = self.firing.as_mut().filter(|firing| firing.domain == domain)?;
        let is_passed = firing.current.is_some_and(|(now, of_key)| of_key == key && time <= now);
        (Some(time) <= firing.last && !is_passed).then_some(firing)
    }

    pub(crate) fn register(&mut self, domain: TimeDomain, key: u32, time: i64) {
        match self.firing_at(domain, key, time) {
            Some(firing) => drop(firing.added.insert((time, key))),
            None => self.domain(domain).push(Change::Register, key, time),
        }
    }

    pub(crate) fn delete(&mut self, domain: TimeDomain, key: u32, time: i64) {
        if let Some(firing) = self.firing.as_mut().filter(|firing| firing.domain == domain) {
            firing.added.remove(&(time, key));
            firing.deleted.insert((time, key));
        }
        self.domain(domain).push(Change::Delete, key, time);
    }

    /// Begins a call with these timers, which are in the order of their times. `is_end` says whether event time has ended.
    pub(crate) fn begin_firing(&mut self, domain: TimeDomain, key_of: &[u32], times: &[i64], is_end: bool) {
        let due: Vec<_> = times.iter().copied().zip(key_of.iter().copied()).rev().collect();
        // At the end of event time no timer joins the due ones.
        let last = due.first().filter(|_| !is_end).map(|&(time, _)| time);
        let (added, deleted) = (BTreeSet::new(), BTreeSet::new());
        self.firing =
            Some(Firing { domain, due_count: due.len(), due, last, added, deleted, left: ADDED_MAX, current: None });
    }

    /// Returns the timers that have not fired to the host.
    fn give_back(&mut self) {
        let Some(Firing { domain, due, added, deleted, .. }) = self.firing.take() else { return };
        for (time, key) in due.into_iter().filter(|timer| !deleted.contains(timer)).chain(added) {
            self.domain(domain).push(Change::Register, key, time);
        }
    }

    /// Returns the timer that fires next.
    pub(crate) fn next_due(&mut self) -> Option<Due> {
        let firing = self.firing.as_mut()?;
        loop {
            let added = firing.added.first().copied();
            match (firing.due.last(), added) {
                (Some(due), Some(added)) if added.0 < due.0 => break,
                (Some(_), _) => {
                    let due = firing.due.pop()?;
                    if !firing.deleted.contains(&due) {
                        // A timer that was registered again is the same timer.
                        firing.added.remove(&due);
                        firing.current = Some(due);
                        let item = firing.due_count - firing.due.len() - 1;
                        return Some(Due { time: due.0, key: due.1, item: Some(item as u32) });
                    }
                }
                (None, Some(_)) => break,
                (None, None) => {
                    self.firing = None;
                    return None;
                }
            }
        }
        if firing.left == 0 {
            self.give_back();
            return None;
        }
        firing.left -= 1;
        let (time, key) = firing.added.pop_first()?;
        firing.current = Some((time, key));
        let domain = firing.domain;
        // The host may have the same timer, but not among the due ones.
        self.domain(domain).push(Change::Delete, key, time);
        Some(Due { time, key, item: None })
    }

    pub(crate) fn discard(&mut self) {
        self.event.discard();
        self.processing.discard();
        self.firing = None;
    }

    /// Hands the changes to the host in order, with one call for each run of equal changes.
    pub(crate) fn flush(&mut self, host: &dyn Host) {
        for domain in [TimeDomain::Event, TimeDomain::Processing] {
            let changes = self.domain(domain);
            let mut start = 0;
            for run in changes.changes.chunk_by(|a, b| a == b) {
                let end = start + run.len();
                let (keys, times) = (&changes.keys[start..end], &changes.times[start..end]);
                match run[0] {
                    Change::Register => host.timer_add(domain, keys, times),
                    Change::Delete => host.timer_remove(domain, keys, times),
                }
                start = end;
            }
            changes.discard();
        }
    }
}

impl Domain {
    fn push(&mut self, change: Change, key: u32, time: i64) {
        self.changes.push(change);
        self.keys.push(key);
        self.times.push(time);
    }

    fn discard(&mut self) {
        self.changes.clear();
        self.keys.clear();
        self.times.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fires all timers of a call and returns their times. Each timer of key 0 registers another one 10 ms later.
    fn fire(times: &[i64], key_of: &[u32], is_end: bool) -> (Vec<i64>, TimerChanges) {
        let mut changes = TimerChanges::default();
        changes.begin_firing(TimeDomain::Event, key_of, times, is_end);
        let mut fired = Vec::new();
        while let Some(Due { time, key, .. }) = changes.next_due() {
            assert!(fired.len() < 10_000, "the call does not end");
            fired.push(time);
            if key == 0 {
                changes.register(TimeDomain::Event, key, time + 10);
            }
        }
        (fired, changes)
    }

    /// Returns the timers that the host has after the call's changes. The last change of a timer counts.
    fn registered(changes: &TimerChanges) -> BTreeSet<(i64, u32)> {
        let mut timers = BTreeSet::new();
        let Domain { changes, keys, times } = &changes.event;
        for ((change, &key), &time) in changes.iter().zip(keys).zip(times) {
            match change {
                Change::Register => timers.insert((time, key)),
                Change::Delete => timers.remove(&(time, key)),
            };
        }
        timers
    }

    #[test]
    fn timers_registered_in_a_call_fire_in_order_with_the_others() {
        let (fired, changes) = fire(&[10, 35], &[0, 1], false);
        assert_eq!(fired, [10, 20, 30, 35]);
        assert_eq!(registered(&changes), BTreeSet::from([(40, 0)]));
    }

    #[test]
    fn a_call_returns_the_timers_beyond_its_limit_to_the_host() {
        let (fired, changes) = fire(&[10, 1_700_000_000_000], &[0, 1], false);
        let added = ADDED_MAX as i64;
        assert_eq!((fired.len(), fired[fired.len() - 1]), (ADDED_MAX + 1, 10 + 10 * added));
        assert_eq!(registered(&changes), BTreeSet::from([(20 + 10 * added, 0), (1_700_000_000_000, 1)]));
    }

    #[test]
    fn a_timer_registered_for_its_own_or_an_earlier_time_does_not_fire_in_the_call() {
        let mut changes = TimerChanges::default();
        changes.begin_firing(TimeDomain::Event, &[0, 0, 1], &[10, 20, 30], false);
        let mut fired = Vec::new();
        while let Some(Due { time, key, .. }) = changes.next_due() {
            fired.push((time, key));
            changes.register(TimeDomain::Event, key, time);
            changes.register(TimeDomain::Event, key, time - 5);
        }
        assert_eq!(fired, [(10, 0), (20, 0), (30, 1)]);
        assert_eq!(registered(&changes), BTreeSet::from([(5, 0), (10, 0), (15, 0), (20, 0), (25, 1), (30, 1)]));
    }

    #[test]
    fn at_the_end_of_event_time_a_timer_registered_in_the_call_does_not_fire() {
        let (fired, changes) = fire(&[10, 1_700_000_000_000], &[0, 1], true);
        assert_eq!(fired, [10, 1_700_000_000_000]);
        assert_eq!(registered(&changes), BTreeSet::from([(20, 0)]), "the host drops and counts it");
    }
}
