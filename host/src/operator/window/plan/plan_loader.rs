//! Plans the turns over records and due timers: reads the state that decides what they do to windows, then plans them one by one.
//!
//! Invariant: planning only reads state. The turn that follows the plan makes all changes.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use super::pane_planner::PanePlanner;
use super::turn_plan::{PlannedPanes, PlannedSessions, WindowSlot, WindowTurnPlan};
use super::window_planner::{PlannedTimer, WindowPlanner};
use crate::error::{self, Result};
use crate::model::{Batch, DueTimers, Keys, TimeDomain};
use crate::operator::window::assigner::assign_windows;
use crate::operator::window::contents::fired_windows::{select_keys, state_keys};
use crate::operator::window::definition::WindowDefinition;
use crate::operator::window::merging_window_set::MergingWindowSet;
use crate::operator::window::panes::key_panes::KeyPanes;
use crate::operator::window::panes::pane_layout::PANE_TIMER;
use crate::operator::window::time_window::read_state_key;
use crate::operator::window::trigger::TurnClocks;
use crate::pipeline::WindowAssigner;
use crate::state::StateBackend;

/// Approximate number of additions of a record to a window in one turn.
const ADDS_MAX: usize = 1 << 16;

/// Plans turns of a window operator.
pub struct PlanLoader<'a> {
    pub windows: &'a WindowDefinition,
    pub backend: &'a mut dyn StateBackend,
    pub clocks: TurnClocks,
}

impl PlanLoader<'_> {
    /// Plans as many records of a range as one turn handles. Returns the plan and the index after its last record.
    pub fn plan_records(
        &mut self,
        batch: &Batch,
        keys: &Arc<Keys>,
        range: Range<usize>,
    ) -> Result<(WindowTurnPlan, usize)> {
        let WindowDefinition { settings, trigger, .. } = self.windows;
        let range = range.start..range.end.min(range.start.saturating_add(self.records_max()));
        let mut plan = WindowTurnPlan::new(keys.clone(), self.clocks);
        let record = |index: usize| (index as u32, keys.key_of[index], batch.timestamps[index]);
        if self.windows.is_merging() {
            self.load_sessions(&mut plan, keys_in(keys, range.clone()))?;
        }
        if let Some(layout) = &self.windows.panes {
            self.load_panes(&mut plan, keys_in(keys, range.clone()))?;
            let mut planner = PanePlanner { settings, layout, plan: &mut plan };
            let end = range.clone().find(|&index| !planner.add_record(record(index))).unwrap_or(range.end);
            return Ok((plan, end));
        }
        if trigger.is_stateful() {
            self.create_slots(&mut plan, batch, keys, range.clone());
            self.load_trigger_states(&mut plan)?;
        }
        let mut planner = WindowPlanner { settings, trigger, plan: &mut plan };
        let end = range.clone().find(|&index| !planner.add_record(record(index))).unwrap_or(range.end);
        Ok((plan, end))
    }

    /// Plans as many due timers of a range as one turn handles. Returns the plan and the index after its last timer. `may_fire` is
    /// false if the windows must be cleaned up only, because their firing has failed.
    pub fn plan_timers(
        &mut self,
        (domain, due): (TimeDomain, &DueTimers),
        range: Range<usize>,
        may_fire: bool,
    ) -> Result<(WindowTurnPlan, usize)> {
        let WindowDefinition { settings, trigger, .. } = self.windows;
        let (mut plan, timers) = self.new_timer_plan((domain, due), range.clone())?;
        let (mut earliest_new, mut seen) = (i64::MAX, 0);
        for (index, timer) in range.clone().zip(timers) {
            let WindowSlot { key, window, .. } = plan.slots[timer.0 as usize];
            if timer.2 > earliest_new {
                return Ok((plan, index));
            }
            if let Some(layout) = self.windows.panes.as_ref().filter(|_| window == PANE_TIMER) {
                PanePlanner { settings, layout, plan: &mut plan }.add_timer(key, timer.2, may_fire);
            } else if !(WindowPlanner { settings, trigger, plan: &mut plan }).add_timer(timer, may_fire) {
                return Ok((plan, index));
            }
            let new = plan.timers[seen..].iter().map(|(_, change)| *change);
            let new = new.filter(|change| change.is_registered && change.domain == domain);
            earliest_new = new.map(|change| change.time).fold(earliest_new, i64::min);
            seen = plan.timers.len();
        }
        Ok((plan, range.end))
    }

    /// A plan with a slot for each timer of a range, and with the state that the timers need. Returns the timers with their slots.
    fn new_timer_plan(
        &mut self,
        (domain, due): (TimeDomain, &DueTimers),
        range: Range<usize>,
    ) -> Result<(WindowTurnPlan, Vec<PlannedTimer>)> {
        let mut keys = Keys::default();
        let mut key_indexes: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut timers = Vec::with_capacity(range.len());
        for index in range {
            let timer_key = due.keys.key_of[index] as usize;
            let (key, window) = read_state_key(due.keys.distinct.value(timer_key))?;
            let next = keys.groups.len() as u32;
            let key = *key_indexes.entry(key).or_insert_with_key(|key| {
                keys.distinct.push(key);
                keys.groups.push(due.keys.groups[timer_key]);
                next
            });
            timers.push((key, window, due.times[index]));
        }
        let mut plan = WindowTurnPlan::new(Arc::new(keys), self.clocks);
        let all_keys = || (0..plan.keys.distinct.len() as u32).collect::<Vec<u32>>();
        let (session_keys, pane_keys) =
            (self.windows.is_merging().then(all_keys), self.windows.panes.map(|_| all_keys()));
        if let Some(keys) = session_keys {
            self.load_sessions(&mut plan, keys)?;
        }
        if let Some(keys) = pane_keys {
            self.load_panes(&mut plan, keys)?;
        }
        let timers = timers.into_iter().map(|(key, window, time)| (plan.slot(key, window), domain, time)).collect();
        if self.windows.trigger.is_stateful() {
            self.load_trigger_states(&mut plan)?;
        }
        Ok((plan, timers))
    }

    /// Largest number of records in one turn: a turn holds in memory every window that they may be added to.
    fn records_max(&self) -> usize {
        match self.windows.settings.assigner {
            WindowAssigner::Sliding { size_ms, slide_ms, .. } if self.windows.panes.is_none() => {
                let windows = usize::try_from(size_ms / slide_ms).unwrap_or(usize::MAX);
                (ADDS_MAX / windows.max(1)).max(1)
            }
            _ => usize::MAX,
        }
    }

    /// Creates the slots of all windows that the records may be added to. Those of sessions exist already.
    fn create_slots(&self, plan: &mut WindowTurnPlan, batch: &Batch, keys: &Keys, range: Range<usize>) {
        if self.windows.is_merging() {
            return;
        }
        let settings = &self.windows.settings;
        for index in range {
            let time = match settings.time {
                TimeDomain::Event => batch.timestamps[index],
                TimeDomain::Processing => self.clocks.processing_ms,
            };
            assign_windows(settings.assigner, time, |window| {
                plan.slot(keys.key_of[index], window);
            });
        }
    }

    fn load_sessions(&mut self, plan: &mut WindowTurnPlan, keys: Vec<u32>) -> Result<()> {
        plan.sessions = vec![PlannedSessions::default(); plan.keys.distinct.len()];
        let entries = self.backend.load(self.windows.session_state, &select_keys(&plan.keys, keys.iter().copied()))?;
        for (&key, set) in keys.iter().zip(entries.values.iter()) {
            plan.sessions[key as usize].set = MergingWindowSet::decode(set)?;
        }
        if self.windows.trigger.is_stateful() {
            for key in keys {
                let windows: Vec<_> = plan.sessions[key as usize].set.iter().map(|session| session.window).collect();
                for window in windows {
                    plan.slot(key, window);
                }
            }
        }
        Ok(())
    }

    fn load_panes(&mut self, plan: &mut WindowTurnPlan, keys: Vec<u32>) -> Result<()> {
        plan.panes = vec![PlannedPanes::default(); plan.keys.distinct.len()];
        plan.orders_elements = self.windows.stores_elements;
        let entries = self.backend.load(self.windows.pane_state, &select_keys(&plan.keys, keys.iter().copied()))?;
        for (key, panes) in keys.into_iter().zip(entries.values.iter()) {
            plan.panes[key as usize].panes = KeyPanes::decode(panes)?;
        }
        Ok(())
    }

    /// Loads the trigger states of all slots.
    fn load_trigger_states(&mut self, plan: &mut WindowTurnPlan) -> Result<()> {
        let keys = state_keys(plan, 0..plan.slots.len() as u32);
        let entries = self.backend.load(self.windows.trigger_state, &keys)?;
        for (slot, (value, is_present)) in plan.slots.iter_mut().zip(entries.values.iter().zip(entries.present)) {
            if is_present {
                let bytes = <[u8; 8]>::try_from(value);
                let bytes = bytes.map_err(|_| error::state_failed("the state of a trigger does not have 8 bytes"))?;
                slot.trigger_state = Some(i64::from_le_bytes(bytes));
            }
        }
        Ok(())
    }
}

/// The keys of a range of records, each once.
fn keys_in(keys: &Keys, range: Range<usize>) -> Vec<u32> {
    let mut occurs = vec![false; keys.distinct.len()];
    keys.key_of[range].iter().for_each(|&key| occurs[key as usize] = true);
    (0..).zip(occurs).filter(|(_, occurs)| *occurs).map(|(key, _)| key).collect()
}
