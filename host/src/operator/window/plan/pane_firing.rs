//! Plans firings of windows that share panes, from panes, suffixes and running totals. See `panes/` for the algorithm.

use super::pane_planner::PanePlanner;
use super::turn_plan::{AccumulatorMerge, NO_SLOT};
use crate::operator::window::panes::due_panes::{next_due, remove_expired_panes};
use crate::operator::window::panes::key_panes::DerivedAccumulators;
use crate::operator::window::panes::pane_layout::{PANE_TIMER, RUNNING_TOTAL, pane_contents_key, suffix_key};
use crate::operator::window::time_window::TimeWindow;
use crate::operator::window::trigger::TimerChange;

/// A window of at most this many panes is merged from its panes each time.
const FEW_PANES: usize = 4;

impl PanePlanner<'_> {
    /// Plans the due timer of a key: fires the windows that end at `time`, and removes expired panes. `may_fire` is false if the
    /// firing has already failed.
    pub fn add_timer(&mut self, key: u32, time: i64, may_fire: bool) {
        if self.plan.panes[key as usize].panes.timer != Some(time) {
            let slot = self.plan.slot(key, PANE_TIMER);
            self.plan.timers.push((slot, TimerChange { domain: self.settings.time, time, is_registered: false }));
            return;
        }
        if may_fire {
            let windows = self.layout.windows_ending_at(time, &self.plan.panes[key as usize].panes);
            match time {
                i64::MAX => self.fire_at_end_of_time(key, &windows),
                _ => windows.into_iter().for_each(|window| self.fire_slide(key, window)),
            }
        }
        let panes = &mut self.plan.panes[key as usize].panes;
        for start in remove_expired_panes(panes, self.layout, self.settings, time) {
            self.empty(key, pane_contents_key(start));
            if self.plan.panes[key as usize].panes.derived.is_some_and(|derived| start < derived.suffixes_end) {
                self.empty(key, suffix_key(start));
            }
        }
        let panes = &mut self.plan.panes[key as usize].panes;
        if panes.starts.is_empty() && panes.derived.take().is_some() {
            self.empty(key, RUNNING_TOTAL);
        }
        let next = next_due(&self.plan.panes[key as usize].panes, self.layout, self.settings, time);
        self.set_timer(key, next);
        self.plan.panes[key as usize].is_changed = true;
    }

    /// Fires a window at its end. A window of many panes is merged from a suffix and the running total.
    fn fire_slide(&mut self, key: u32, window: TimeWindow) {
        let starts: Vec<i64> = self.plan.panes[key as usize].panes.within(window).to_vec();
        if self.plan.orders_elements || starts.len() <= FEW_PANES {
            return self.fire_from_panes(key, window);
        }
        let slot = self.plan.slot(key, window);
        let total = self.plan.slot(key, RUNNING_TOTAL);
        let derived = self.plan.panes[key as usize].panes.derived.filter(|derived| window.start < derived.suffixes_end);
        let Some(derived) = derived else {
            let suffix = self.derive_suffixes(key, &starts);
            self.plan.slots[total as usize].is_emptied = true;
            self.plan.panes[key as usize].panes.derived =
                Some(DerivedAccumulators { suffixes_end: window.end, total_end: window.end });
            return self.plan.fire(slot, &[suffix]);
        };
        let new: Vec<i64> = starts.iter().copied().filter(|&start| start >= derived.total_end).collect();
        for (round, start) in new.into_iter().enumerate() {
            let right = self.plan.slot(key, pane_contents_key(start));
            self.derive(round, AccumulatorMerge { into: total, left: total, right });
        }
        self.plan.panes[key as usize].panes.derived = Some(DerivedAccumulators { total_end: window.end, ..derived });
        let mut suffixes = starts.iter().copied().filter(|&start| start < derived.suffixes_end);
        let contents = match (suffixes.next(), suffixes.next()) {
            (None, _) => vec![total],
            // The suffix of the last pane is the pane itself.
            (Some(last), None) => vec![self.plan.slot(key, pane_contents_key(last)), total],
            (Some(first), Some(_)) => vec![self.plan.slot(key, suffix_key(first)), total],
        };
        self.plan.fire(slot, &contents);
    }

    /// Fires windows that all end at the end of time, ordered by start. Each of them is a suffix of the first.
    fn fire_at_end_of_time(&mut self, key: u32, windows: &[TimeWindow]) {
        let Some(&first) = windows.first() else { return };
        let starts: Vec<i64> = self.plan.panes[key as usize].panes.within(first).to_vec();
        if self.plan.orders_elements || starts.len() <= FEW_PANES {
            return windows.iter().for_each(|&window| self.fire_from_panes(key, window));
        }
        self.derive_suffixes(key, &starts);
        // No later window can use what was derived before.
        self.plan.panes[key as usize].panes.derived =
            Some(DerivedAccumulators { suffixes_end: i64::MAX, total_end: i64::MAX });
        for &window in windows {
            let slot = self.plan.slot(key, window);
            let contents = match self.plan.panes[key as usize].panes.within(window) {
                [] => continue,
                [pane] => pane_contents_key(*pane),
                [pane, ..] => suffix_key(*pane),
            };
            let contents = self.plan.slot(key, contents);
            self.plan.fire(slot, &[contents]);
        }
    }

    /// Derives, for each pane of a window, the suffix that starts with it. Returns the slot of the first suffix.
    fn derive_suffixes(&mut self, key: u32, starts: &[i64]) -> u32 {
        let mut following = NO_SLOT;
        for (round, &start) in starts.iter().rev().enumerate() {
            let pane = self.plan.slot(key, pane_contents_key(start));
            following = match round {
                0 => pane,
                _ => {
                    let suffix = self.plan.slot(key, suffix_key(start));
                    self.derive(round - 1, AccumulatorMerge { into: suffix, left: pane, right: following });
                    suffix
                }
            };
        }
        following
    }

    fn derive(&mut self, round: usize, merge: AccumulatorMerge) {
        let rounds = &mut self.plan.merge_rounds;
        if rounds.len() <= round {
            rounds.resize_with(round + 1, Vec::new);
        }
        rounds[round].push(merge);
    }
}
