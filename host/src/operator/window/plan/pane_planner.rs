//! Plans records of windows that share panes. See `panes/` for the algorithm.

use super::turn_plan::WindowTurnPlan;
use super::window_planner::PlannedRecord;
use crate::model::TimeDomain;
use crate::operator::window::assigner::assign_windows;
use crate::operator::window::lateness::{is_record_late, is_window_late};
use crate::operator::window::panes::due_panes::next_due;
use crate::operator::window::panes::pane_layout::{
    PANE_TIMER, PaneLayout, RUNNING_TOTAL, pane_contents_key, suffix_key,
};
use crate::operator::window::time_window::TimeWindow;
use crate::operator::window::trigger::TimerChange;
use crate::pipeline::WindowSettings;

/// Adds records and timers to a plan.
pub(super) struct PanePlanner<'a> {
    pub settings: &'a WindowSettings,
    pub layout: &'a PaneLayout,
    pub plan: &'a mut WindowTurnPlan,
}

impl PanePlanner<'_> {
    /// Plans a record. Returns false if it must wait for the next turn; the plan is unchanged then.
    pub fn add_record(&mut self, (index, key, timestamp): PlannedRecord) -> bool {
        let clocks = self.plan.clocks;
        let time = match self.settings.time {
            TimeDomain::Event => timestamp,
            TimeDomain::Processing => clocks.processing_ms,
        };
        if let Some((pane, slot)) = self.plan.panes[key as usize].latest
            && pane.contains(time)
        {
            self.add_to_pane(index, key, slot);
            return true;
        }
        let last = self.layout.last_window(time);
        if !last.contains(time) || is_window_late(self.settings, last, clocks.watermark) {
            if is_record_late(self.settings, time, clocks.watermark) {
                self.plan.late.push(index);
            }
            return true;
        }
        if self.plan.panes[key as usize].has_fired {
            return false;
        }
        let pane = self.layout.pane(time);
        let slot = self.plan.slot(key, pane_contents_key(pane.start));
        self.add_to_pane(index, key, slot);
        self.discard_derived(key, pane.start);
        let is_new = self.plan.panes[key as usize].panes.insert(pane.start);
        let fired_again = self.windows_to_fire_again(time);
        for &window in &fired_again {
            self.fire_from_panes(key, window);
        }
        let planned = &mut self.plan.panes[key as usize];
        planned.has_fired = !fired_again.is_empty();
        planned.latest = fired_again.is_empty().then_some((pane, slot));
        if is_new {
            self.move_timer_forward(key);
        }
        true
    }

    fn add_to_pane(&mut self, index: u32, key: u32, slot: u32) {
        self.plan.adds.push((index, slot));
        let planned = &mut self.plan.panes[key as usize];
        if self.plan.orders_elements {
            self.plan.element_numbers.push(planned.panes.elements);
            planned.panes.elements = planned.panes.elements.wrapping_add(1);
            planned.is_changed = true;
        }
    }

    /// The windows that have fired already and fire again because a late record with this timestamp was added.
    fn windows_to_fire_again(&self, time: i64) -> Vec<TimeWindow> {
        let watermark = self.plan.clocks.watermark;
        let mut windows = Vec::new();
        // A window that reaches beyond the watermark has not fired. Without allowed lateness, a window that has fired is closed.
        let may_have_fired = self.settings.time == TimeDomain::Event && time <= watermark;
        if may_have_fired && self.settings.allowed_lateness_ms > 0 {
            assign_windows(self.settings.assigner, time, |window| {
                if window.max_timestamp() <= watermark && !is_window_late(self.settings, window, watermark) {
                    windows.push(window);
                }
            });
        }
        windows
    }

    /// Discards the suffixes and the running total of a key if they include the pane, to which a record is added.
    fn discard_derived(&mut self, key: u32, pane: i64) {
        let panes = &mut self.plan.panes[key as usize].panes;
        let Some(derived) = panes.derived.filter(|derived| pane < derived.total_end) else { return };
        panes.derived = None;
        let suffixes: Vec<i64> = panes.starts.iter().copied().filter(|&start| start < derived.suffixes_end).collect();
        for window in suffixes.into_iter().map(suffix_key).chain([RUNNING_TOTAL]) {
            self.empty(key, window);
        }
        self.plan.panes[key as usize].is_changed = true;
    }

    /// Moves the key's timer to an earlier time if its new pane needs that.
    fn move_timer_forward(&mut self, key: u32) {
        let handled = match self.settings.time {
            TimeDomain::Event => self.plan.clocks.watermark,
            // A window that ends in this millisecond has not fired yet.
            TimeDomain::Processing => self.plan.clocks.processing_ms.saturating_sub(1),
        };
        let planned = &mut self.plan.panes[key as usize];
        planned.is_changed = true;
        if let Some(next) = next_due(&planned.panes, self.layout, self.settings, handled)
            && planned.panes.timer.is_none_or(|timer| next < timer)
        {
            self.set_timer(key, Some(next));
        }
    }

    /// Removes the contents of a slot at the end of the turn.
    pub(super) fn empty(&mut self, key: u32, window: TimeWindow) {
        let slot = self.plan.slot(key, window);
        self.plan.slots[slot as usize].is_emptied = true;
    }

    /// Fires a window with the contents of all of its panes.
    pub(super) fn fire_from_panes(&mut self, key: u32, window: TimeWindow) {
        let panes: Vec<i64> = self.plan.panes[key as usize].panes.within(window).to_vec();
        let contents: Vec<u32> = panes.into_iter().map(|start| self.plan.slot(key, pane_contents_key(start))).collect();
        let slot = self.plan.slot(key, window);
        self.plan.fire(slot, &contents);
    }

    /// Moves or deletes the timer of a key.
    pub(super) fn set_timer(&mut self, key: u32, time: Option<i64>) {
        let slot = self.plan.slot(key, PANE_TIMER);
        let domain = self.settings.time;
        let before = std::mem::replace(&mut self.plan.panes[key as usize].panes.timer, time);
        for (time, is_registered) in [(before, false), (time, true)] {
            self.plan.timers.extend(time.map(|time| (slot, TimerChange { domain, time, is_registered })));
        }
    }
}
