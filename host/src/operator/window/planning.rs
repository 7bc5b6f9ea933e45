//! From records or timers to a step: reads what a step has to know of windows before it can say what becomes of them.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use super::panes::{Panes, WALKER};
use super::sessions::Sessions;
use super::step::{OfKey, Place, Step};
use super::trigger::Now;
use super::{Definition, assigner, contents, span};
use crate::error;
use crate::model::{Batch, DueTimers, Fault, FaultCode, Keys, NO_TIMESTAMP, TimeDomain};
use crate::operator::OperatorFailure;
use crate::operator::turns::Turns;
use crate::pipeline::WindowAssigner;
use crate::state::{LoadedEntries, StateBackend, StateId};

/// How often records of one turn are added to windows, about.
const ADDS_MAX: usize = 1 << 16;

impl Definition {
    pub(super) fn is_merging(&self) -> bool {
        matches!(self.settings.assigner, WindowAssigner::Session { .. })
    }

    /// The fault of a record that has no time, where windows go by the time of records.
    pub(super) fn without_timestamp(&self, batch: &Batch, range: Range<usize>) -> Option<Fault> {
        if !self.settings.needs_timestamps() {
            return None;
        }
        let is_missing = batch.timestamps[range].contains(&NO_TIMESTAMP);
        let message = "the record has no event timestamp, by which it would get into a window";
        is_missing.then(|| Fault::new(FaultCode::TimestampMissing, message))
    }

    /// As many records of a range as one turn takes, and the index behind them.
    pub(super) fn plan_records(
        &self,
        turns: &mut Turns,
        batch: &Batch,
        keys: &Arc<Keys>,
        range: Range<usize>,
        now: Now,
    ) -> Result<(Step, usize), OperatorFailure> {
        let range = range.start..range.end.min(range.start.saturating_add(self.records_max()));
        let mut step = Step::new(keys.clone(), now);
        let backend = turns.backend()?;
        if self.is_merging() {
            self.load_sessions(&mut step, keys_in(keys, range.clone()).into_iter(), backend)?;
        }
        if let Some(cut) = &self.cut {
            self.load_panes(&mut step, keys_in(keys, range.clone()).into_iter(), backend)?;
            for index in range.clone() {
                let record = (index as u32, keys.key_of[index], batch.timestamps[index]);
                if !step.record_in_pane(&self.settings, cut, record) {
                    return Ok((step, index));
                }
            }
            return Ok((step, range.end));
        }
        if self.trigger.is_stateful() {
            for index in range.clone() {
                let key = keys.key_of[index];
                let by = match self.settings.time {
                    TimeDomain::Event => batch.timestamps[index],
                    TimeDomain::Processing => now.processing_ms,
                };
                if !self.is_merging() {
                    assigner::windows_of(self.settings.assigner, by, |window| {
                        step.place(key, window);
                    });
                }
            }
            self.load_kept(&mut step, backend)?;
        }
        for index in range.clone() {
            let record = (index as u32, keys.key_of[index], batch.timestamps[index]);
            if !step.record(&self.settings, &self.trigger, record) {
                return Ok((step, index));
            }
        }
        Ok((step, range.end))
    }

    /// Records of one turn, by the windows that each of them may fall into: a turn has all of these in memory.
    fn records_max(&self) -> usize {
        match self.settings.assigner {
            WindowAssigner::Sliding { size_ms, slide_ms, .. } if self.cut.is_none() => {
                let windows = usize::try_from(size_ms / slide_ms).unwrap_or(usize::MAX);
                (ADDS_MAX / windows.max(1)).max(1)
            }
            _ => usize::MAX,
        }
    }

    /// As many timers of a range as one turn takes, and the index behind them.
    pub(super) fn plan_timers(
        &self,
        turns: &mut Turns,
        (domain, due): (TimeDomain, &DueTimers),
        range: Range<usize>,
        now: Now,
        may_fire: bool,
    ) -> Result<(Step, usize), OperatorFailure> {
        let mut keys = Keys::default();
        let mut places: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut timers = Vec::with_capacity(range.len());
        for at in range.clone() {
            let of = due.keys.key_of[at] as usize;
            let (key, window) = span::read_key(due.keys.distinct.value(of)).map_err(OperatorFailure::Error)?;
            let next = keys.groups.len() as u32;
            let place = *places.entry(key).or_insert_with_key(|key| {
                keys.distinct.push(key);
                keys.groups.push(due.keys.groups[of]);
                next
            });
            timers.push((place, window, due.times[at]));
        }
        let mut step = Step::new(Arc::new(keys), now);
        let backend = turns.backend()?;
        if self.is_merging() {
            let every = 0..step.keys.distinct.len() as u32;
            self.load_sessions(&mut step, every, backend)?;
        }
        if self.cut.is_some() {
            let every = 0..step.keys.distinct.len() as u32;
            self.load_panes(&mut step, every, backend)?;
        }
        let timers: Vec<(u32, TimeDomain, i64)> =
            timers.into_iter().map(|(key, window, time)| (step.place(key, window), domain, time)).collect();
        if self.trigger.is_stateful() {
            self.load_kept(&mut step, backend)?;
        }
        let (mut earliest, mut seen) = (i64::MAX, 0);
        for (at, timer) in range.clone().zip(timers) {
            let Place { key, window, .. } = step.places[timer.0 as usize];
            if timer.2 > earliest {
                return Ok((step, at));
            }
            if let Some(cut) = self.cut.as_ref().filter(|_| window == WALKER) {
                step.walk(&self.settings, cut, key, timer.2, may_fire);
            } else if !step.timer(&self.settings, &self.trigger, timer, may_fire) {
                return Ok((step, at));
            }
            let new = step.timers[seen..].iter().map(|(_, change)| *change);
            let new = new.filter(|change| change.is_registered && change.domain == domain);
            earliest = new.map(|change| change.time).fold(earliest, i64::min);
            seen = step.timers.len();
        }
        Ok((step, range.end))
    }

    fn load_sessions(
        &self,
        step: &mut Step,
        keys: impl Iterator<Item = u32>,
        backend: &mut dyn StateBackend,
    ) -> Result<(), OperatorFailure> {
        step.sessions = vec![(Sessions::default(), false); step.keys.distinct.len()];
        let keys: Vec<u32> = keys.collect();
        let entries = load(backend, self.sessions, &some_keys(&step.keys, keys.iter().copied()))?;
        for (&key, set) in keys.iter().zip(entries.values.iter()) {
            step.sessions[key as usize].0 = Sessions::decode(set).map_err(OperatorFailure::Error)?;
        }
        if self.trigger.is_stateful() {
            for key in keys {
                let windows: Vec<_> = step.sessions[key as usize].0.iter().map(|session| session.window).collect();
                for window in windows {
                    step.place(key, window);
                }
            }
        }
        Ok(())
    }

    fn load_panes(
        &self,
        step: &mut Step,
        keys: impl Iterator<Item = u32>,
        backend: &mut dyn StateBackend,
    ) -> Result<(), OperatorFailure> {
        step.panes = vec![OfKey::default(); step.keys.distinct.len()];
        step.orders_elements = self.keeps_elements;
        let keys: Vec<u32> = keys.collect();
        let entries = load(backend, self.panes, &some_keys(&step.keys, keys.iter().copied()))?;
        for (key, panes) in keys.into_iter().zip(entries.values.iter()) {
            step.panes[key as usize].panes = Panes::decode(panes).map_err(OperatorFailure::Error)?;
        }
        Ok(())
    }

    /// What the trigger keeps of all places.
    fn load_kept(&self, step: &mut Step, backend: &mut dyn StateBackend) -> Result<(), OperatorFailure> {
        let entries = load(backend, self.kept, &contents::window_keys(step, 0..step.places.len() as u32))?;
        for (place, (value, is_present)) in step.places.iter_mut().zip(entries.values.iter().zip(entries.present)) {
            if is_present {
                let bytes = <[u8; 8]>::try_from(value);
                let bytes = bytes.map_err(|_| error::state_failed("what a trigger keeps has 8 bytes"));
                place.kept = Some(i64::from_le_bytes(bytes.map_err(OperatorFailure::Error)?));
            }
        }
        Ok(())
    }
}

fn load(backend: &mut dyn StateBackend, state: StateId, keys: &Keys) -> Result<LoadedEntries, OperatorFailure> {
    backend.load(state, keys).map_err(OperatorFailure::Error)
}

/// The keys that occur in a range of records.
fn keys_in(keys: &Keys, range: Range<usize>) -> Vec<u32> {
    let mut found = vec![false; keys.distinct.len()];
    keys.key_of[range].iter().for_each(|&key| found[key as usize] = true);
    (0..).zip(found).filter(|(_, found)| *found).map(|(key, _)| key).collect()
}

pub(super) fn some_keys(all: &Keys, some: impl Iterator<Item = u32>) -> Keys {
    let mut keys = Keys::default();
    for key in some {
        keys.distinct.push(all.distinct.value(key as usize));
        keys.groups.push(all.groups[key as usize]);
    }
    keys
}
