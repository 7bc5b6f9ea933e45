//! Timers that a turn registers and deletes, kept in order until its end.

use crate::bindings::cofferdam::function::types::TimeDomain;
use crate::host::Host;

/// A timer that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// The time for which it was registered, in milliseconds.
    pub time: i64,
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

/// The changes of a turn.
#[derive(Default)]
pub(crate) struct TimerChanges {
    event: Domain,
    processing: Domain,
}

impl TimerChanges {
    fn domain(&mut self, domain: TimeDomain) -> &mut Domain {
        match domain {
            TimeDomain::Event => &mut self.event,
            TimeDomain::Processing => &mut self.processing,
        }
    }

    pub(crate) fn register(&mut self, domain: TimeDomain, key: u32, time: i64) {
        self.domain(domain).push(Change::Register, key, time);
    }

    pub(crate) fn delete(&mut self, domain: TimeDomain, key: u32, time: i64) {
        self.domain(domain).push(Change::Delete, key, time);
    }

    /// Whether the last thing that this turn did to a timer was to delete it.
    pub(crate) fn deleted(&mut self, domain: TimeDomain, key: u32, time: i64) -> bool {
        let domain = self.domain(domain);
        let last = (0..domain.changes.len()).rev().find(|&i| domain.keys[i] == key && domain.times[i] == time);
        last.is_some_and(|i| domain.changes[i] == Change::Delete)
    }

    pub(crate) fn discard(&mut self) {
        self.event.discard();
        self.processing.discard();
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
