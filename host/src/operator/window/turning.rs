//! From a step to a turn that commits.

use std::sync::Arc;

use hashbrown::HashMap;

use super::accumulators::Accumulators;
use super::contents::{self, Records};
use super::lists::{self, Lists};
use super::panes::WALKER;
use super::planning::some_keys;
use super::step::Step;
use super::{Definition, WindowFunction, assigner, span};
use crate::model::{Batch, DueTimers, Fault, TimeDomain, Windows};
use crate::operator::OperatorFailure;
use crate::operator::turns::{Bad, BadKind, LATE_DROPPED, Turns};
use crate::pipeline::WindowTrigger;
use crate::turn::{OutputBatch, Turn, TurnFailure};

/// A timer that a turn registers (true) or deletes: its place, clock and time. A later word counts.
type TimerChanges = HashMap<(u32, TimeDomain, i64), bool>;

impl Definition {
    /// Does a step in a turn of its own, and hands on what comes out of it. A fault comes back; nothing of it stays then.
    pub(super) fn turn_over(
        &self,
        turns: &mut Turns,
        step: &Step,
        records: Option<Records<'_>>,
        outputs: &mut Vec<OutputBatch>,
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
        if !self.emits_late_records {
            turns.counters.records_late += step.late.len() as u64;
        }
        if let Some(Records { batch, .. }) = records
            && self.emits_late_records
            && !step.late.is_empty()
        {
            let mut late = Batch::with_capacity(step.late.len(), 0);
            for &index in &step.late {
                late.push(batch.values.value(index as usize), batch.timestamps[index as usize]);
            }
            turns.emit(vec![OutputBatch { index: self.late, batch: late }], outputs);
        }
        Ok(None)
    }

    fn turn_over_accumulators(
        &self,
        turns: &mut Turns,
        step: &Step,
        records: Option<Records<'_>>,
    ) -> Result<Result<Vec<OutputBatch>, Fault>, OperatorFailure> {
        let mut held = Accumulators::load(step, self.contents, turns.backend()?).map_err(OperatorFailure::Error)?;
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
    ) -> Result<Result<Vec<OutputBatch>, Fault>, OperatorFailure> {
        let at = (self.contents, self.settings.evictor);
        let mut held = Lists::load(step, records, at, turns.backend()?).map_err(OperatorFailure::Error)?;
        self.loaded_bytes.set(self.loaded_bytes.get().max(held.bytes()));
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
                [elements, ..] => lists::aggregate_lists(step, &fires, elements, guest, turn)?,
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
    ) -> Result<Vec<u32>, TurnFailure> {
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
        if !self.emits_late_records && !step.late.is_empty() {
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
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<(), OperatorFailure> {
        let of = due.keys.key_of[at] as usize;
        let (key, mut window) = span::read_key(due.keys.distinct.value(of)).map_err(OperatorFailure::Error)?;
        if let Some(cut) = self.cut.as_ref().filter(|_| window == WALKER) {
            window = cut.window_ending_at(due.times[at]);
        }
        let value = format!("{{\"window_start\":{},\"window_end\":{}}}", window.start, window.end);
        let (timestamp, record) = (window.max_timestamp(), turns.counters.records_in);
        let kind = BadKind::TimerOrWindow;
        turns.dispose(Bad { value: value.as_bytes(), timestamp, key: Some(&key), fault, record, kind }, outputs)
    }
}
