//! Timers: those that a turn registers and deletes, kept in order until its end, and those that a call hands over.
//!
//! Invariant: timers of a call fire in order of time, also those that are registered while it lasts. The host has removed what
//! it handed over, and applies what the turn changed after that; a timer that fired is not there any more when it has. A call
//! fires a bounded number of timers that were registered while it lasts: then it gives the others back to the host. At the end of event
//! time it fires none of them: the host drops them.

use crate::Timestamp;
use crate::bindings::cofferdam::function::types::TimeDomain;
use crate::host::Host;
use std::collections::BTreeSet;

/// Timers that one call fires beside those that the host has handed over.
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

/// The changes of a turn, and the timers that it fires.
#[derive(Default)]
pub(crate) struct TimerChanges {
    event: Domain,
    processing: Domain,
    firing: Option<Firing>,
}

/// The timers of a call. Each is a time and the index of its key.
struct Firing {
    domain: TimeDomain,
    /// What the host handed over, in order of time, the next one last.
    due: Vec<(i64, u32)>,
    /// The time of the last of them, up to which timers that are registered fire in the same call.
    last: Option<i64>,
    /// Registered since the call began, for times up to `last`. The host does not hear of them.
    added: BTreeSet<(i64, u32)>,
    /// Deleted since the call began.
    deleted: BTreeSet<(i64, u32)>,
    /// How many of those that were registered since the call began may still fire.
    left: usize,
}

impl TimerChanges {
    fn domain(&mut self, domain: TimeDomain) -> &mut Domain {
        match domain {
            TimeDomain::Event => &mut self.event,
            TimeDomain::Processing => &mut self.processing,
        }
    }

    /// The timers of the call where they are of this clock and a timer at `time` would come among them.
    fn firing_at(&mut self, domain: TimeDomain, time: i64) -> Option<&mut Firing> {
        self.firing.as_mut().filter(|firing| firing.domain == domain && Some(time) <= firing.last)
    }

    pub(crate) fn register(&mut self, domain: TimeDomain, key: u32, time: i64) {
        match self.firing_at(domain, time) {
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

    /// Begins a call with these timers, which are in order of time. `is_end` says whether event time is at its end.
    pub(crate) fn begin_firing(&mut self, domain: TimeDomain, key_of: &[u32], times: &[i64], is_end: bool) {
        let due: Vec<_> = times.iter().copied().zip(key_of.iter().copied()).rev().collect();
        // No timer comes among those of the end.
        let last = due.first().filter(|_| !is_end).map(|&(time, _)| time);
        let (added, deleted) = (BTreeSet::new(), BTreeSet::new());
        self.firing = Some(Firing { domain, due, last, added, deleted, left: ADDED_MAX });
    }

    /// Gives back to the host what the call would still fire.
    fn give_back(&mut self) {
        let Some(Firing { domain, due, added, deleted, .. }) = self.firing.take() else { return };
        for (time, key) in due.into_iter().filter(|timer| !deleted.contains(timer)).chain(added) {
            self.domain(domain).push(Change::Register, key, time);
        }
    }

    /// The timer that fires next: its time, and the index of its key.
    pub(crate) fn next_due(&mut self) -> Option<(i64, u32)> {
        let firing = self.firing.as_mut()?;
        loop {
            let added = firing.added.first().copied();
            match (firing.due.last(), added) {
                (Some(due), Some(added)) if added.0 < due.0 => break,
                (Some(_), _) => {
                    let due = firing.due.pop()?;
                    if !firing.deleted.contains(&due) {
                        // One that was registered again is the same.
                        firing.added.remove(&due);
                        return Some(due);
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
        let domain = firing.domain;
        // The host may have the same one, too late in its order to be of this call.
        self.domain(domain).push(Change::Delete, key, time);
        Some((time, key))
    }

    pub(crate) fn discard(&mut self) {
        self.event.discard();
        self.processing.discard();
        self.firing = None;
    }

    /// Hands the changes to the host, in order, with one call for each run of the same change.
    pub(crate) fn flush(&mut self, host: &dyn Host) {
        for domain in [TimeDomain::Event, TimeDomain::Processing] {
            let changes = self.domain(domain);
            let mut start = 0;
            for run in changes.changes.chunk_by(|a, b| a == b) {
                let end = start + run.len();
                let (keys, times) = (&changes.keys[start..end], &changes.times[start..end]);
                match run[0] {
                    Change::Register => host.timer_register(domain, keys, times),
                    Change::Delete => host.timer_delete(domain, keys, times),
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

    /// Fires all timers of a call; each of key 0 registers the next one, 10 ms later. The times that fire.
    fn fire(times: &[i64], key_of: &[u32], is_end: bool) -> (Vec<i64>, TimerChanges) {
        let mut changes = TimerChanges::default();
        changes.begin_firing(TimeDomain::Event, key_of, times, is_end);
        let mut fired = Vec::new();
        while let Some((time, key)) = changes.next_due() {
            assert!(fired.len() < 10_000, "the call does not end");
            fired.push(time);
            if key == 0 {
                changes.register(TimeDomain::Event, key, time + 10);
            }
        }
        (fired, changes)
    }

    /// What the host keeps of a call's changes: of several for one timer the last one counts.
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
    fn timers_that_are_registered_in_a_call_fire_among_the_others() {
        let (fired, changes) = fire(&[10, 35], &[0, 1], false);
        assert_eq!(fired, [10, 20, 30, 35]);
        assert_eq!(registered(&changes), BTreeSet::from([(40, 0)]));
    }

    #[test]
    fn a_call_gives_back_what_would_take_too_long() {
        let (fired, changes) = fire(&[10, 1_700_000_000_000], &[0, 1], false);
        let added = ADDED_MAX as i64;
        assert_eq!((fired.len(), fired[fired.len() - 1]), (ADDED_MAX + 1, 10 + 10 * added));
        assert_eq!(registered(&changes), BTreeSet::from([(20 + 10 * added, 0), (1_700_000_000_000, 1)]));
    }

    #[test]
    fn at_the_end_of_event_time_no_timer_fires_that_is_registered_in_the_call() {
        let (fired, changes) = fire(&[10, 1_700_000_000_000], &[0, 1], true);
        assert_eq!(fired, [10, 1_700_000_000_000]);
        assert_eq!(registered(&changes), BTreeSet::from([(20, 0)]), "the host drops it, and counts");
    }
}
