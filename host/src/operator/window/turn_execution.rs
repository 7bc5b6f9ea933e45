//! Executes the plan of a turn: loads contents, calls the guest, stages all changes, commits, and emits results and late records.
//!
//! Invariant: either everything that the plan says takes effect, or the turn is rolled back and nothing does.

use std::sync::Arc;

use hashbrown::HashMap;

use super::contents::element_lists::{ElementLists, aggregate_elements};
use super::contents::fired_windows::{AddedRecords, fired_windows, select_keys, state_keys};
use super::contents::window_accumulators::WindowAccumulators;
use super::definition::{WindowDefinition, WindowFunction};
use super::firing::firing_limit::FiringLimit;
use super::lateness::cleanup_time;
use super::plan::turn_plan::WindowTurnPlan;
use crate::model::TimeDomain;
use crate::operator::failure::{OperatorFailure, TurnOutcome};
use crate::operator::turn_runner::runner::TurnRunner;
use crate::pipeline::WindowTrigger;
use crate::state::LoadFailure;
use crate::turn::{OutputBatch, Turn, TurnFailure};

/// Timers by slot, clock and time, with whether the turn registers (true) or deletes them.
type TimerChanges = HashMap<(u32, TimeDomain, i64), bool>;

/// A turn of a window operator.
pub struct WindowTurn<'a> {
    pub windows: &'a WindowDefinition,
    pub plan: &'a WindowTurnPlan,
    pub records: Option<AddedRecords<'a>>,
    /// Notes the size of the elements that the turn loads.
    pub firing_limit: &'a FiringLimit,
}

impl WindowTurn<'_> {
    /// Executes the plan.
    pub fn execute(
        &self,
        runner: &mut TurnRunner,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<TurnOutcome, OperatorFailure> {
        let outcome = if self.windows.stores_elements {
            self.run_on_elements(runner)?
        } else {
            self.run_on_accumulators(runner)?
        };
        let produced = match outcome {
            TurnOutcome::Committed(produced) => produced,
            TurnOutcome::RolledBack(fault) => return Ok(TurnOutcome::RolledBack(fault)),
        };
        runner.emit(produced, outputs);
        if let Some(AddedRecords { batch, .. }) = self.records {
            self.windows.late_records.after_commit(runner, batch, &self.plan.late, outputs);
        }
        Ok(TurnOutcome::Committed(()))
    }

    fn run_on_accumulators(&self, runner: &mut TurnRunner) -> Result<TurnOutcome<Vec<OutputBatch>>, OperatorFailure> {
        let WindowTurn { windows, plan, records, .. } = *self;
        let mut contents = WindowAccumulators::load(plan, windows.contents_state, runner.backend()?)?;
        let firings = contents.nonempty_firings(plan);
        runner.run_turn(None, |guest, turn| {
            let produced = contents.compute(plan, records, (&firings, windows.results.as_ref()), guest, turn)?;
            let has_timers = if windows.is_merging() { &[][..] } else { &contents.existed };
            let index_of = self.stage(turn, &[], contents.written_slots(), has_timers)?;
            contents.stage(plan, turn, &index_of);
            Ok(produced)
        })
    }

    fn run_on_elements(&self, runner: &mut TurnRunner) -> Result<TurnOutcome<Vec<OutputBatch>>, OperatorFailure> {
        let WindowTurn { windows, plan, records, .. } = *self;
        let source = (windows.contents_state, windows.settings.evictor);
        let bytes_max = runner.turn.read_bytes_max();
        let mut contents = match ElementLists::load(plan, records, source, runner.backend()?, bytes_max) {
            Ok(contents) => contents,
            Err(LoadFailure::TooLarge) => return Ok(TurnOutcome::RolledBack(runner.turn.read_too_large())),
            Err(LoadFailure::Error(error)) => return Err(error.into()),
        };
        self.firing_limit.note_loaded(contents.loaded_bytes());
        let firings = contents.nonempty_firings(plan);
        let sees_windows = windows.function != WindowFunction::Aggregate;
        // Key `i` of the guest's turn is window `i`.
        let fired: Vec<u32> =
            if sees_windows { firings.iter().map(|firing| firing.slot).collect() } else { Vec::new() };
        let keys = Arc::new(state_keys(plan, fired.iter().copied()));
        runner.run_turn(sees_windows.then_some(&keys), |guest, turn| {
            let elements = contents.fired_elements(plan, &firings, windows.function.inputs())?;
            let produced = match &elements[..] {
                _ if firings.is_empty() => Vec::new(),
                inputs if sees_windows => guest.process_windows(turn, &fired_windows(plan, &firings), inputs)?,
                [elements, ..] => {
                    aggregate_elements(plan, (&firings, windows.results.as_ref()), elements, guest, turn)?
                }
                [] => Vec::new(),
            };
            let index_of = self.stage(turn, &fired, contents.written_slots(), &[])?;
            contents.stage(plan, turn, &index_of);
            Ok(produced)
        })
    }

    /// Stages everything except the contents of the slots in `written`, and returns the key of each slot in the turn.
    ///
    /// `first` are the slots whose keys the turn began with. `has_timers` says for which slots the timers are registered already.
    fn stage(
        &self,
        turn: &mut Turn,
        first: &[u32],
        written: impl Iterator<Item = u32>,
        has_timers: &[bool],
    ) -> Result<Vec<u32>, TurnFailure> {
        let WindowTurn { windows, plan, .. } = *self;
        let timers = self.timer_changes(has_timers);
        let index_of = self.add_keys(turn, first, written, &timers);
        for (slot, &key) in plan.slots.iter().zip(&index_of).filter(|(_, key)| **key != NO_KEY) {
            if slot.is_emptied {
                turn.delete(windows.contents_state, key);
            }
            if slot.is_trigger_state_changed {
                match slot.trigger_state {
                    Some(state) => turn.put(windows.trigger_state, key, &state.to_le_bytes()),
                    None => turn.delete(windows.trigger_state, key),
                }
            }
            if slot.is_cleared && windows.function != WindowFunction::Aggregate {
                turn.clear_declared(key);
            }
        }
        for ((slot, domain, time), is_registered) in timers {
            let key = [index_of[slot as usize]];
            match is_registered {
                true => turn.timer_register(domain, &key, &[time])?,
                false => turn.timer_delete(domain, &key, &[time])?,
            }
        }
        self.stage_sessions_or_panes(turn);
        windows.late_records.stage_metric(turn, plan.late.len());
        Ok(index_of)
    }

    /// Adds the keys of all slots that change to the turn. Returns the key of each slot, or [`NO_KEY`].
    fn add_keys(
        &self,
        turn: &mut Turn,
        first: &[u32],
        written: impl Iterator<Item = u32>,
        timers: &TimerChanges,
    ) -> Vec<u32> {
        let plan = self.plan;
        let mut index_of = vec![NO_KEY; plan.slots.len()];
        (0..).zip(first).for_each(|(index, &slot)| index_of[slot as usize] = index);
        let is_changed = |&slot: &u32| {
            let slot = &plan.slots[slot as usize];
            slot.is_emptied || slot.is_cleared || slot.is_trigger_state_changed
        };
        let changed = (0..plan.slots.len() as u32).filter(is_changed);
        let mut more = Vec::new();
        for slot in written.chain(changed).chain(timers.keys().map(|(slot, ..)| *slot)) {
            if index_of[slot as usize] == NO_KEY {
                index_of[slot as usize] = (first.len() + more.len()) as u32;
                more.push(slot);
            }
        }
        turn.add_keys(&state_keys(plan, more.iter().copied()));
        index_of
    }

    /// Stages the sessions or the panes of changed keys.
    fn stage_sessions_or_panes(&self, turn: &mut Turn) {
        let WindowTurn { windows, plan, .. } = *self;
        let sessions = plan.sessions.iter().map(|sessions| sessions.is_changed.then(|| sessions.set.encode()));
        let panes = plan.panes.iter().map(|panes| panes.is_changed.then(|| panes.panes.encode()));
        let (state, encoded): (_, Vec<Option<Vec<u8>>>) = match windows.is_merging() {
            true => (windows.session_state, sessions.collect()),
            false => (windows.pane_state, panes.collect()),
        };
        let changed: Vec<(u32, Vec<u8>)> =
            (0..).zip(encoded).filter_map(|(key, encoded)| Some((key, encoded?))).collect();
        let first = turn.add_keys(&select_keys(&plan.keys, changed.iter().map(|(key, _)| *key)));
        for (index, (_, bytes)) in (first..).zip(changed) {
            match bytes.is_empty() {
                true => turn.delete(state, index),
                false => turn.put(state, index, &bytes),
            }
        }
    }

    /// The timers that the turn registers and deletes.
    fn timer_changes(&self, has_timers: &[bool]) -> TimerChanges {
        let WindowTurn { windows, plan, .. } = *self;
        let settings = &windows.settings;
        let mut timers = TimerChanges::new();
        for (slot, change) in &plan.timers {
            timers.insert((*slot, change.domain, change.time), change.is_registered);
        }
        let end_domain = match settings.trigger {
            WindowTrigger::ProcessingTime => TimeDomain::Processing,
            _ => TimeDomain::Event,
        };
        // If the trigger uses the other clock, its timer may have fired although the window is still open.
        let has_timers = if end_domain == settings.time { has_timers } else { &[] };
        for (index, slot) in (0..).zip(&plan.slots) {
            if has_timers.get(index as usize).copied().unwrap_or(false) {
                continue;
            }
            if slot.needs_end_timer {
                timers.insert((index, end_domain, slot.window.max_timestamp()), true);
            }
            let cleanup = cleanup_time(settings, slot.window);
            if slot.needs_cleanup_timer && cleanup != i64::MAX {
                timers.insert((index, settings.time, cleanup), true);
            }
        }
        timers
    }
}

/// Marks a slot that has no key in the turn.
const NO_KEY: u32 = u32::MAX;
