//! Plans records of session windows: a record's window merges with the sessions of its key that it overlaps.

use super::turn_plan::ContentsStage;
use super::window_planner::{PlannedRecord, WindowPlanner};
use crate::operator::window::lateness::{cleanup_time, is_window_late};
use crate::operator::window::merging_window_set::SessionMerge;
use crate::operator::window::time_window::TimeWindow;
use crate::operator::window::trigger::TimerChange;

impl WindowPlanner<'_> {
    /// Adds a record, whose window before any merge is `new`. Returns false if the record must wait for the next turn; the plan is
    /// unchanged then, apart from new slots.
    pub(super) fn add_to_session(&mut self, (index, key, timestamp): PlannedRecord, new: TimeWindow) -> bool {
        let merge = self.plan.sessions[key as usize].set.merge_with(new);
        if merge.merged.is_empty() && is_window_late(self.settings, new, self.plan.clocks.watermark) {
            self.plan.late.push(index);
            return true;
        }
        let moves_contents = merge.merged.len() > 1;
        let contents = self.plan.slot(key, merge.session.state);
        let result = self.plan.slot(key, merge.session.window);
        let merged: Vec<(u32, u32)> = merge
            .merged
            .iter()
            .map(|session| (self.plan.slot(key, session.window), self.plan.slot(key, session.state)))
            .collect();
        let last_allowed = if moves_contents { ContentsStage::Merged } else { ContentsStage::Added };
        let must_wait = *self.plan.stage(contents) > last_allowed
            || *self.plan.stage(result) == ContentsStage::Closed
            || merged.iter().any(|&(window, from)| {
                *self.plan.stage(window) == ContentsStage::Closed
                    || moves_contents && *self.plan.stage(from) > ContentsStage::Merged
            });
        if must_wait {
            return false;
        }
        if merge.changes_sessions() {
            self.merge_sessions(result, contents, &merged);
        }
        if merge.merged.is_empty() || merge.changes_sessions() {
            self.update_set(key, &merge);
        }
        self.add_to_slot(result, contents, index, timestamp);
        true
    }

    /// Merges sessions, given by the slots of their window and their contents, into the session of the slot `result`.
    fn merge_sessions(&mut self, result: u32, contents: u32, merged: &[(u32, u32)]) {
        let trigger = self.trigger;
        let states: Vec<Option<i64>> =
            merged.iter().map(|&(window, _)| self.plan.slots[window as usize].trigger_state).collect();
        self.plan.call_trigger(result, |context| trigger.on_merge(states.into_iter(), context));
        for &(window, from) in merged {
            self.plan.call_trigger(window, |context| trigger.clear(context));
            self.delete_cleanup_timer(window);
            let window = &mut self.plan.slots[window as usize];
            (window.needs_end_timer, window.needs_cleanup_timer) = (false, false);
            if from != contents {
                self.plan.merges.push((contents, from));
                *self.plan.stage(from) = ContentsStage::Closed;
            }
        }
    }

    fn delete_cleanup_timer(&mut self, slot: u32) {
        let time = cleanup_time(self.settings, self.plan.slots[slot as usize].window);
        self.plan.timers.push((slot, TimerChange { domain: self.settings.time, time, is_registered: false }));
    }

    fn update_set(&mut self, key: u32, merge: &SessionMerge) {
        let sessions = &mut self.plan.sessions[key as usize];
        sessions.set.apply(merge);
        sessions.is_changed = true;
    }
}
