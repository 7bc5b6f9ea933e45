//! The host calls `timers.*`, and how operators take due timers.

use std::ops::Range;

use crate::error::Result;
use crate::model::{Column, DueTimers, KeyGroup, Keys, TimeDomain, time_bytes};
use crate::turn::error::{HostCallError, invalid};
use crate::turn::limits::timers_per_key_exceeded;
use crate::turn::staged::timers::{TimerChange, TimerService, TimerTotals, due_timers, timer_state_name};
use crate::turn::transaction::{Turn, backend};

/// Charged for each staged timer in addition to its key.
const TIMER_OVERHEAD_BYTES: usize = 24;

impl Turn {
    /// Opens the timers whose internal states the layout contains, and restores the watermark into `context.watermark`.
    /// `groups` are the key groups of the subtask.
    pub fn with_timers(mut self, groups: Range<u32>) -> Result<Turn> {
        self.restore_watermarks(groups.clone())?;
        self.progress.groups = groups.clone();
        for domain in [TimeDomain::Event, TimeDomain::Processing] {
            let state = self.state_named(timer_state_name(domain));
            if let (Some(state), Some(backend)) = (state, self.backend.as_deref_mut()) {
                let timers = TimerService::open(state, backend, groups.clone())?;
                self.timers[domain as usize] = Some(Box::new(timers));
            }
        }
        Ok(self)
    }

    fn timers(&mut self, domain: TimeDomain) -> Result<&mut TimerService, HostCallError> {
        self.timers[domain as usize]
            .as_deref_mut()
            .ok_or_else(|| invalid(format!("the function does not declare timers in {} time", domain.as_str())))
    }

    /// `timers.add`: registers a timer for `keys[i]` at `times[i]`, for each `i`.
    pub fn timer_register(&mut self, domain: TimeDomain, keys: &[u32], times: &[i64]) -> Result<(), HostCallError> {
        self.stage_timers(domain, keys, times, TimerChange::Registered)
    }

    /// `timers.remove`: deletes the timer of `keys[i]` at `times[i]`, for each `i`.
    pub fn timer_delete(&mut self, domain: TimeDomain, keys: &[u32], times: &[i64]) -> Result<(), HostCallError> {
        self.stage_timers(domain, keys, times, TimerChange::Deleted)
    }

    /// Deletes timers that fire. Does not use up the write limit, since the host deletes them and not the guest.
    pub fn delete_fired_timers(
        &mut self,
        domain: TimeDomain,
        keys: &[u32],
        times: &[i64],
    ) -> Result<(), HostCallError> {
        self.check_keys(keys, times.len())?;
        self.timers(domain)?;
        self.stage_admitted_timers(domain, keys, times, TimerChange::Fired)
    }

    fn stage_timers(
        &mut self,
        domain: TimeDomain,
        keys: &[u32],
        times: &[i64],
        change: TimerChange,
    ) -> Result<(), HostCallError> {
        self.check_keys(keys, times.len())?;
        self.timers(domain)?;
        let key_bytes = |&key: &u32| self.keys.distinct.value(key as usize).len();
        let bytes = keys.iter().map(|key| key_bytes(key) + TIMER_OVERHEAD_BYTES).sum();
        let is_admitted = match change {
            TimerChange::Registered => self.admit_timers(keys.len(), bytes)?,
            TimerChange::Deleted | TimerChange::Fired => self.admit_write(bytes)?,
        };
        if is_admitted { self.stage_admitted_timers(domain, keys, times, change) } else { Ok(()) }
    }

    fn stage_admitted_timers(
        &mut self,
        domain: TimeDomain,
        keys: &[u32],
        times: &[i64],
        change: TimerChange,
    ) -> Result<(), HostCallError> {
        let dictionary = self.keys.clone();
        // The timers of windows and joins are no choice of the function.
        let is_counted = change == TimerChange::Registered && !self.timers_are_internal;
        let limits = self.limits;
        for (&key, &time) in keys.iter().zip(times) {
            let (group, key) = (dictionary.groups[key as usize], dictionary.distinct.value(key as usize));
            let timers = self.timers(domain)?;
            timers.stage(group, time, key, change);
            if is_counted
                && !timers.count_registration(group, key, limits.timers_per_key)
                && self.timers_of_key(domain, group, key)? > limits.timers_per_key
            {
                return Err(timers_per_key_exceeded(&limits, key));
            }
        }
        Ok(())
    }

    /// Reads how many timers a key will have after the turn.
    #[cold]
    fn timers_of_key(&mut self, domain: TimeDomain, group: KeyGroup, key: &[u8]) -> Result<usize, HostCallError> {
        let backend = backend(&mut self.backend)?;
        match self.timers[domain as usize].as_deref_mut() {
            Some(timers) => Ok(timers.timers_of_key(backend, group, key)?),
            None => Ok(0),
        }
    }

    /// Takes up to `limit` timers with a time of at most `now`, in order of their times over all keys.
    ///
    /// Counts them as taken: the caller must delete each of them in a turn that commits, or stop. To fire everything that an
    /// advance of time made due, call it until it returns no timers.
    pub fn due_timers(&mut self, domain: TimeDomain, now: i64, limit: usize) -> Result<DueTimers> {
        let (Some(timers), Some(backend)) = (self.timers[domain as usize].as_deref_mut(), self.backend.as_deref_mut())
        else {
            return Ok(DueTimers::default());
        };
        timers.take_due(backend, now, limit.max(1), |group| self.progress.is_selected(group))
    }

    /// Discards the timer registrations of this turn. Returns their number.
    pub fn drop_registered_timers(&mut self) -> u64 {
        self.timers.iter_mut().flatten().map(|timers| timers.drop_registered()).sum()
    }

    /// Returns a time before which no timer of this clock is due. Returns `None` if there are no timers.
    pub fn next_timer(&self, domain: TimeDomain) -> Option<i64> {
        self.timers[domain as usize].as_ref()?.lower_bound()
    }

    /// Returns what has happened to the timers of a clock. `None` if the operator has none.
    pub fn timer_totals(&self, domain: TimeDomain) -> Option<TimerTotals> {
        Some(self.timers[domain as usize].as_ref()?.totals())
    }

    /// Returns those of `timers` that are still registered. A turn may have deleted others since they were taken.
    pub fn still_registered(&mut self, domain: TimeDomain, timers: &DueTimers) -> Result<DueTimers, HostCallError> {
        let state = self.timers(domain)?.state();
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
        let registered = (0..of.len()).filter(|&index| entries.present[index]).map(|index| {
            let key = of[index] as usize;
            (timers.times[index], timers.keys.distinct.value(key).to_vec(), timers.keys.groups[key])
        });
        Ok(due_timers(registered.collect()))
    }
}
