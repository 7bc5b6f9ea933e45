//! Plans records and timers of windows that store their own contents.

use super::turn_plan::{ContentsStage, NO_SLOT, WindowSlot, WindowTurnPlan};
use crate::model::TimeDomain;
use crate::operator::window::assigner::assign_windows;
use crate::operator::window::lateness::{cleanup_time, is_record_late, is_window_late};
use crate::operator::window::time_window::TimeWindow;
use crate::operator::window::trigger::{TimerChange, Trigger, TriggerResult};
use crate::pipeline::{WindowAssigner, WindowSettings};

/// Adds records and timers to a plan.
pub(super) struct WindowPlanner<'a> {
    pub settings: &'a WindowSettings,
    pub trigger: &'a Trigger,
    pub plan: &'a mut WindowTurnPlan,
}

/// A record: its index in the batch, the index of its key, and its timestamp.
pub(super) type PlannedRecord = (u32, u32, i64);

/// A due timer: the slot of its window, its clock and its time.
pub(super) type PlannedTimer = (u32, TimeDomain, i64);

impl WindowPlanner<'_> {
    /// Plans a record. Returns false if it must wait for the next turn; the plan is unchanged then.
    pub fn add_record(&mut self, (index, key, timestamp): PlannedRecord) -> bool {
        let time = match self.settings.time {
            TimeDomain::Event => timestamp,
            TimeDomain::Processing => self.plan.clocks.processing_ms,
        };
        let latest = self.plan.latest[key as usize];
        if latest != NO_SLOT && self.plan.slots[latest as usize].window.contains(time) {
            return self.add_to_latest(latest, index, timestamp);
        }
        let mut windows = Vec::new();
        assign_windows(self.settings.assigner, time, |window| windows.push(window));
        if matches!(self.settings.assigner, WindowAssigner::Session { .. }) {
            return windows.into_iter().all(|new| self.add_to_session((index, key, timestamp), new));
        }
        let watermark = self.plan.clocks.watermark;
        windows.retain(|&window| !is_window_late(self.settings, window, watermark));
        let is_closed = |window: &TimeWindow| {
            self.plan.existing_slot(key, *window).is_some_and(|slot| slot.stage > ContentsStage::Added)
        };
        if windows.iter().any(is_closed) {
            return false;
        }
        if windows.is_empty() && is_record_late(self.settings, time, watermark) {
            self.plan.late.push(index);
        }
        for &window in &windows {
            let slot = self.plan.slot(key, window);
            self.add_to_slot(slot, slot, index, timestamp);
            if windows.len() == 1 && !matches!(self.settings.assigner, WindowAssigner::Sliding { .. }) {
                self.plan.latest[key as usize] = slot;
            }
        }
        true
    }

    /// Adds a record to the window of the key's previous record.
    fn add_to_latest(&mut self, slot: u32, index: u32, timestamp: i64) -> bool {
        if *self.plan.stage(slot) > ContentsStage::Added {
            return false;
        }
        self.add_to_slot(slot, slot, index, timestamp);
        true
    }

    /// Adds a record to the window of `slot`, whose contents are those of the slot `contents`.
    pub(super) fn add_to_slot(&mut self, slot: u32, contents: u32, index: u32, timestamp: i64) {
        *self.plan.stage(contents) = ContentsStage::Added;
        self.plan.adds.push((index, contents));
        let at = &mut self.plan.slots[slot as usize];
        at.needs_cleanup_timer = true;
        if at.needs_end_timer {
            return;
        }
        let timers_before = self.plan.timers.len();
        let trigger = self.trigger;
        let result = self.plan.call_trigger(slot, |context| trigger.on_element(timestamp, context));
        if trigger.fires_at_window_end() {
            self.plan.timers.truncate(timers_before);
            self.plan.slots[slot as usize].needs_end_timer = !result.fires;
        }
        self.apply(slot, contents, result);
    }

    fn apply(&mut self, slot: u32, contents: u32, result: TriggerResult) {
        if result.fires {
            self.plan.fire(slot, &[contents]);
            *self.plan.stage(contents) = ContentsStage::Closed;
            *self.plan.stage(slot) = ContentsStage::Closed;
        }
        if result.purges {
            self.plan.slots[contents as usize].is_emptied = true;
        }
    }

    /// Plans a due timer of a window. Returns false if it must wait for the next turn; the plan is unchanged then. The trigger
    /// decides whether the window fires. `may_fire` is false if the firing has already failed.
    pub fn add_timer(&mut self, (slot, domain, time): PlannedTimer, may_fire: bool) -> bool {
        if *self.plan.stage(slot) == ContentsStage::Closed {
            return false;
        }
        let WindowSlot { key, window, .. } = self.plan.slots[slot as usize];
        self.plan.timers.push((slot, TimerChange { domain, time, is_registered: false }));
        let contents = match self.settings.assigner {
            WindowAssigner::Session { .. } => match self.plan.sessions[key as usize].set.state_window(window) {
                Some(state) => self.plan.slot(key, state),
                // The trigger left this timer behind after a merge.
                None if self.plan.sessions[key as usize].set.is_state_window(window) => return true,
                // The window was not a session when its records were added.
                None => slot,
            },
            _ => slot,
        };
        let trigger = self.trigger;
        let result = self.plan.call_trigger(slot, |context| trigger.on_timer(domain, time, context));
        self.apply(slot, contents, TriggerResult { fires: result.fires && may_fire, ..result });
        let cleanup = cleanup_time(self.settings, window);
        if domain == self.settings.time && time == cleanup {
            self.clean_up(slot, contents);
        } else if cleanup != i64::MAX {
            // Only missing if the windows were defined differently when the records were added.
            self.plan
                .timers
                .push((slot, TimerChange { domain: self.settings.time, time: cleanup, is_registered: true }));
        }
        true
    }

    /// Removes all state of a window.
    fn clean_up(&mut self, slot: u32, contents: u32) {
        let trigger = self.trigger;
        self.plan.call_trigger(slot, |context| trigger.clear(context));
        self.plan.slots[contents as usize].is_emptied = true;
        self.plan.slots[slot as usize].is_cleared = true;
        *self.plan.stage(contents) = ContentsStage::Closed;
        *self.plan.stage(slot) = ContentsStage::Closed;
        let WindowSlot { key, window, .. } = self.plan.slots[slot as usize];
        if let Some(sessions) = self.plan.sessions.get_mut(key as usize) {
            sessions.set.remove(window);
            sessions.is_changed = true;
        }
    }
}
