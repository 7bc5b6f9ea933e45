//! From records or timers to a step, and from a step to a turn that commits.

use super::panes::{Panes, WALKER};
use super::step::{OfKey, Place};
use super::*;
use crate::model::Windows;
use crate::state::Entries;

/// A timer that a turn registers (true) or deletes: its place, clock and time. A later word counts.
type TimerChanges = HashMap<(u32, TimeDomain, i64), bool>;

impl Definition {
    fn is_merging(&self) -> bool {
        matches!(self.settings.assigner, WindowAssigner::Session { .. })
    }

    /// The fault of a record that has no time, where windows go by the time of records.
    pub(super) fn without_timestamp(&self, batch: &Batch, range: Range<usize>) -> Option<Fault> {
        if self.settings.time == TimeDomain::Processing || self.settings.assigner == WindowAssigner::Global {
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
        let mut step = Step::new(keys.clone(), now);
        let backend = backend(&mut turns.turn)?;
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
        let backend = backend(&mut turns.turn)?;
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

    /// Does a step in a turn of its own, and hands on what comes out of it. A fault comes back; nothing of it stays then.
    pub(super) fn turn_over(
        &self,
        turns: &mut Turns,
        step: &Step,
        records: Option<Records<'_>>,
        outputs: &mut Outputs,
    ) -> Result<Option<Fault>, OperatorFailure> {
        let done = if self.keeps_elements {
            self.turn_over_lists(turns, step, records)?
        } else {
            self.turn_over_accumulators(turns, step, records)?
        };
        let produced = match done {
            Ok(produced) => produced,
            Err(fault) => return Ok(Some(fault)),
        };
        turns.emit(produced, outputs);
        if let Some(Records { batch, .. }) = records
            && self.late_is_read
            && !step.late.is_empty()
        {
            let mut late = Batch::with_capacity(step.late.len(), 0);
            for &index in &step.late {
                late.push(batch.values.value(index as usize), batch.timestamps[index as usize]);
            }
            turns.emit(vec![Output { index: self.late, batch: late }], outputs);
        }
        Ok(None)
    }

    fn turn_over_accumulators(
        &self,
        turns: &mut Turns,
        step: &Step,
        records: Option<Records<'_>>,
    ) -> Result<Result<Vec<Output>, Fault>, OperatorFailure> {
        let backend = backend(&mut turns.turn)?;
        let mut held = Accumulators::load(step, self.contents, backend).map_err(OperatorFailure::Error)?;
        let fires = held.fires(step);
        turns.attempt(None, |guest, turn| {
            let produced = held.compute(step, records, &fires, guest, turn)?;
            let known = if self.is_merging() { &[][..] } else { &held.was_present };
            let index_of = self.stage(turn, step, &[], held.written(), known)?;
            held.stage(step, turn, &index_of);
            Ok(produced)
        })
    }

    fn turn_over_lists(
        &self,
        turns: &mut Turns,
        step: &Step,
        records: Option<Records<'_>>,
    ) -> Result<Result<Vec<Output>, Fault>, OperatorFailure> {
        let at = (self.contents, self.settings.evictor);
        let mut held = Lists::load(step, records, at, backend(&mut turns.turn)?).map_err(OperatorFailure::Error)?;
        let fires = held.fires(step);
        let sees_windows = self.function != WindowFunction::Aggregate;
        // Key `i` of the guest's turn is window `i`.
        let fired: Vec<u32> = if sees_windows { fires.iter().map(|fire| fire.place).collect() } else { Vec::new() };
        let keys = Arc::new(contents::window_keys(step, fired.iter().copied()));
        turns.attempt(sees_windows.then_some(&keys), |guest, turn| {
            let elements = held.elements(step, &fires, self.function.inputs())?;
            let produced = match &elements[..] {
                _ if fires.is_empty() => Vec::new(),
                inputs if sees_windows => {
                    let windows: Windows = contents::windows(step, &fires);
                    guest.process_windows(turn, &windows, inputs)?
                }
                [elements, ..] => contents::aggregate_lists(step, &fires, elements, guest, turn)?,
                [] => Vec::new(),
            };
            let index_of = self.stage(turn, step, &fired, held.written(), &[])?;
            held.stage(step, turn, &index_of);
            Ok(produced)
        })
    }

    /// Stages all but the contents, which `written` has; gives back the index of each place among the turn's keys. `first` are the
    /// places that the turn began with; `known` says of which places the timers are registered already.
    fn stage(
        &self,
        turn: &mut Turn,
        step: &Step,
        first: &[u32],
        written: impl Iterator<Item = u32>,
        known: &[bool],
    ) -> Result<Vec<u32>, Failure> {
        const NONE: u32 = u32::MAX;
        let timers = self.timers(step, known);
        let mut index_of = vec![NONE; step.places.len()];
        (0..).zip(first).for_each(|(index, &place)| index_of[place as usize] = index);
        let is_changed = |&place: &u32| {
            let place = &step.places[place as usize];
            place.is_emptied || place.is_cleared || place.is_kept_changed
        };
        let changed = (0..step.places.len() as u32).filter(is_changed);
        let mut more = Vec::new();
        for place in written.chain(changed).chain(timers.keys().map(|(place, ..)| *place)) {
            if index_of[place as usize] == NONE {
                index_of[place as usize] = (first.len() + more.len()) as u32;
                more.push(place);
            }
        }
        turn.add_keys(&contents::window_keys(step, more.iter().copied()));
        for (place, &index) in step.places.iter().zip(&index_of).filter(|(_, index)| **index != NONE) {
            if place.is_emptied {
                turn.delete(self.contents, index);
            }
            if place.is_kept_changed {
                match place.kept {
                    Some(kept) => turn.put(self.kept, index, &kept.to_le_bytes()),
                    None => turn.delete(self.kept, index),
                }
            }
            if place.is_cleared && self.function != WindowFunction::Aggregate {
                turn.clear_declared(index);
            }
        }
        for ((place, domain, time), is_registered) in timers {
            let key = [index_of[place as usize]];
            match is_registered {
                true => turn.timer_register(domain, &key, &[time])?,
                false => turn.timer_delete(domain, &key, &[time])?,
            }
        }
        self.stage_sets(turn, step);
        if !self.late_is_read && !step.late.is_empty() {
            turn.count(LATE_DROPPED, step.late.len() as u64);
        }
        Ok(index_of)
    }

    /// Stages what is kept of whole keys: their sessions, or their panes.
    fn stage_sets(&self, turn: &mut Turn, step: &Step) {
        let sessions = step.sessions.iter().map(|(sessions, is_changed)| is_changed.then(|| sessions.encode()));
        let panes = step.panes.iter().map(|of_key| of_key.is_changed.then(|| of_key.panes.encode()));
        let (state, sets): (_, Vec<Option<Vec<u8>>>) = match self.is_merging() {
            true => (self.sessions, sessions.collect()),
            false => (self.panes, panes.collect()),
        };
        let changed: Vec<(u32, Vec<u8>)> = (0..).zip(sets).filter_map(|(key, set)| Some((key, set?))).collect();
        let first = turn.add_keys(&some_keys(&step.keys, changed.iter().map(|(key, _)| *key)));
        for (index, (_, bytes)) in (first..).zip(changed) {
            match bytes.is_empty() {
                true => turn.delete(state, index),
                false => turn.put(state, index, &bytes),
            }
        }
    }

    /// The timers that a step registers and deletes.
    fn timers(&self, step: &Step, known: &[bool]) -> TimerChanges {
        let mut timers = TimerChanges::new();
        for (place, change) in &step.timers {
            timers.insert((*place, change.domain, change.time), change.is_registered);
        }
        let end_of = match self.settings.trigger {
            WindowTrigger::ProcessingTime => TimeDomain::Processing,
            _ => TimeDomain::Event,
        };
        // Another clock's timer may be over while the window is not.
        let known = if end_of == self.settings.time { known } else { &[] };
        for (index, place) in (0..).zip(&step.places) {
            if known.get(index as usize).copied().unwrap_or(false) {
                continue;
            }
            if place.needs_end {
                timers.insert((index, end_of, place.window.max_timestamp()), true);
            }
            let cleanup = assigner::cleanup_time(&self.settings, place.window);
            if place.needs_cleanup && cleanup != i64::MAX {
                timers.insert((index, self.settings.time, cleanup), true);
            }
        }
        timers
    }

    /// Has a window that a function fails on meet the operator's disposition.
    pub(super) fn meet_window(
        &self,
        turns: &mut Turns,
        due: &DueTimers,
        at: usize,
        fault: Fault,
        outputs: &mut Outputs,
    ) -> Result<(), OperatorFailure> {
        let of = due.keys.key_of[at] as usize;
        let (key, mut window) = span::read_key(due.keys.distinct.value(of)).map_err(OperatorFailure::Error)?;
        if let Some(cut) = self.cut.as_ref().filter(|_| window == WALKER) {
            window = cut.window_ending_at(due.times[at]);
        }
        let value = format!("{{\"window_start\":{},\"window_end\":{}}}", window.start, window.end);
        let (timestamp, record) = (window.max_timestamp(), turns.counters.records_in);
        turns.dispose(Bad { value: value.as_bytes(), timestamp, key: Some(&key), fault, record }, outputs)
    }
}

fn backend(turn: &mut Turn) -> Result<&mut (dyn StateBackend + 'static), OperatorFailure> {
    turn.backend().ok_or_else(|| OperatorFailure::Error(error::internal("windows without a state backend")))
}

fn load(backend: &mut dyn StateBackend, state: StateId, keys: &Keys) -> Result<Entries, OperatorFailure> {
    backend.load(state, keys).map_err(OperatorFailure::Error)
}

/// The keys that occur in a range of records.
fn keys_in(keys: &Keys, range: Range<usize>) -> Vec<u32> {
    let mut found = vec![false; keys.distinct.len()];
    keys.key_of[range].iter().for_each(|&key| found[key as usize] = true);
    (0..).zip(found).filter(|(_, found)| *found).map(|(key, _)| key).collect()
}

fn some_keys(all: &Keys, some: impl Iterator<Item = u32>) -> Keys {
    let mut keys = Keys::default();
    for key in some {
        keys.distinct.push(all.distinct.value(key as usize));
        keys.groups.push(all.groups[key as usize]);
    }
    keys
}
