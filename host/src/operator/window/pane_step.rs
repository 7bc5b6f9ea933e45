//! What a step does to windows that share panes: see `panes`.

use super::assigner;
use super::panes::{Cut, Front, RUN, WALKER, contents_of, rest_of};
use super::span::Window;
use super::step::{Derived, NO_PLACE, Step};
use super::trigger::TimerChange;
use crate::model::TimeDomain;
use crate::pipeline::WindowSettings;

/// Windows of so few panes are put together as they are.
const FEW_PANES: usize = 4;

impl Step {
    /// Takes record `index` of a key up; false where it has to wait for the next step, and then nothing has changed.
    pub fn record_in_pane(
        &mut self,
        settings: &WindowSettings,
        cut: &Cut,
        (index, key, timestamp): (u32, u32, i64),
    ) -> bool {
        let (by, behind) = match settings.time {
            TimeDomain::Event => (timestamp, self.now.watermark),
            // A window that ends now has not fired yet.
            TimeDomain::Processing => (self.now.processing_ms, self.now.processing_ms.saturating_sub(1)),
        };
        if let Some((pane, place)) = self.panes[key as usize].latest
            && pane.contains(by)
        {
            self.add_to_pane(index, key, place);
            return true;
        }
        let last = cut.last_window(by);
        if !last.contains(by) || assigner::is_window_late(settings, last, self.now.watermark) {
            if assigner::is_element_late(settings, by, self.now.watermark) {
                self.late.push(index);
            }
            return true;
        }
        if self.panes[key as usize].is_over {
            return false;
        }
        let pane = cut.pane(by);
        let place = self.place(key, contents_of(pane.start));
        self.add_to_pane(index, key, place);
        self.forget_derived(key, pane.start);
        let is_new = self.panes[key as usize].panes.insert(pane.start);
        let mut again = Vec::new();
        // No window has fired that reaches behind the watermark. Without lateness one that has fired is over.
        if settings.time == TimeDomain::Event && by <= self.now.watermark && settings.allowed_lateness_ms > 0 {
            assigner::windows_of(settings.assigner, by, |window| {
                let has_fired = window.max_timestamp() <= self.now.watermark;
                if has_fired && !assigner::is_window_late(settings, window, self.now.watermark) {
                    again.push(window);
                }
            });
        }
        for &window in &again {
            self.fire_panes(key, window);
        }
        let of_key = &mut self.panes[key as usize];
        of_key.is_over = !again.is_empty();
        of_key.latest = again.is_empty().then_some((pane, place));
        if is_new {
            of_key.is_changed = true;
            let next = of_key.panes.next(cut, settings, behind);
            if let Some(next) = next
                && of_key.panes.timer.is_none_or(|timer| next < timer)
            {
                self.set_walker(settings, key, Some(next));
            }
        }
        true
    }

    fn add_to_pane(&mut self, index: u32, key: u32, place: u32) {
        self.adds.push((index, place));
        let of_key = &mut self.panes[key as usize];
        if self.orders_elements {
            self.order.push(of_key.panes.elements);
            of_key.panes.elements = of_key.panes.elements.wrapping_add(1);
            of_key.is_changed = true;
        }
    }

    /// A window fires at its end: with what its key has prepared of it, where it has many panes. See `panes`.
    fn fire_slide(&mut self, key: u32, window: Window) {
        let starts: Vec<i64> = self.panes[key as usize].panes.within(window).to_vec();
        if self.orders_elements || starts.len() <= FEW_PANES {
            return self.fire_panes(key, window);
        }
        let place = self.place(key, window);
        let run = self.place(key, RUN);
        let front = self.panes[key as usize].panes.front.filter(|front| window.start < front.boundary);
        let Some(front) = front else {
            let rest = self.derive_rests(key, &starts);
            self.places[run as usize].is_emptied = true;
            self.panes[key as usize].panes.front = Some(Front { boundary: window.end, run_end: window.end });
            return self.fire(place, &[rest]);
        };
        let new: Vec<i64> = starts.iter().copied().filter(|&start| start >= front.run_end).collect();
        for (round, start) in new.into_iter().enumerate() {
            let right = self.place(key, contents_of(start));
            self.derive(round, Derived { into: run, left: run, right });
        }
        self.panes[key as usize].panes.front = Some(Front { run_end: window.end, ..front });
        let mut rests = starts.iter().copied().filter(|&start| start < front.boundary);
        let parts = match (rests.next(), rests.next()) {
            (None, _) => vec![run],
            // Of the last one the pane is the rest.
            (Some(last), None) => vec![self.place(key, contents_of(last)), run],
            (Some(first), Some(_)) => vec![self.place(key, rest_of(first)), run],
        };
        self.fire(place, &parts);
    }

    /// These windows, in order of their starts, fire at the end of time, which all of them reach. Each is a rest of the first one.
    fn fire_at_the_end_of_time(&mut self, key: u32, windows: &[Window]) {
        let Some(&first) = windows.first() else { return };
        let starts: Vec<i64> = self.panes[key as usize].panes.within(first).to_vec();
        if self.orders_elements || starts.len() <= FEW_PANES {
            return windows.iter().for_each(|&window| self.fire_panes(key, window));
        }
        self.derive_rests(key, &starts);
        // What was derived before does not hold any longer, and none of it is needed again.
        self.panes[key as usize].panes.front = Some(Front { boundary: i64::MAX, run_end: i64::MAX });
        for &window in windows {
            let place = self.place(key, window);
            match self.panes[key as usize].panes.within(window) {
                [] => {}
                [pane] => {
                    let pane = contents_of(*pane);
                    let part = self.place(key, pane);
                    self.fire(place, &[part]);
                }
                [pane, ..] => {
                    let rest = rest_of(*pane);
                    let part = self.place(key, rest);
                    self.fire(place, &[part]);
                }
            }
        }
    }

    /// Derives for each pane of a window what the window holds from there on; gives back that of the first.
    fn derive_rests(&mut self, key: u32, starts: &[i64]) -> u32 {
        let mut behind = NO_PLACE;
        for (round, &start) in starts.iter().rev().enumerate() {
            let pane = self.place(key, contents_of(start));
            behind = match round {
                0 => pane,
                _ => {
                    let rest = self.place(key, rest_of(start));
                    self.derive(round - 1, Derived { into: rest, left: pane, right: behind });
                    rest
                }
            };
        }
        behind
    }

    fn derive(&mut self, round: usize, derived: Derived) {
        if self.derived.len() <= round {
            self.derived.resize_with(round + 1, Vec::new);
        }
        self.derived[round].push(derived);
    }

    /// A record comes into a pane: what was derived of it does not hold any longer.
    fn forget_derived(&mut self, key: u32, pane: i64) {
        let panes = &mut self.panes[key as usize].panes;
        let Some(front) = panes.front.filter(|front| pane < front.run_end) else { return };
        panes.front = None;
        let rests: Vec<i64> = panes.starts.iter().copied().filter(|&start| start < front.boundary).collect();
        for window in rests.into_iter().map(rest_of).chain([RUN]) {
            self.empty(key, window);
        }
        self.panes[key as usize].is_changed = true;
    }

    fn empty(&mut self, key: u32, window: Window) {
        let place = self.place(key, window);
        self.places[place as usize].is_emptied = true;
    }

    /// A window fires with all of its panes.
    fn fire_panes(&mut self, key: u32, window: Window) {
        let parts: Vec<i64> = self.panes[key as usize].panes.within(window).to_vec();
        let parts: Vec<u32> = parts.into_iter().map(|start| self.place(key, contents_of(start))).collect();
        let place = self.place(key, window);
        self.fire(place, &parts);
    }

    /// Has the timer of a key stand elsewhere, or nowhere.
    fn set_walker(&mut self, settings: &WindowSettings, key: u32, time: Option<i64>) {
        let place = self.place(key, WALKER);
        let before = std::mem::replace(&mut self.panes[key as usize].panes.timer, time);
        for (time, is_registered) in [(before, false), (time, true)] {
            self.timers.extend(time.map(|time| (place, TimerChange { domain: settings.time, time, is_registered })));
        }
    }

    /// The timer of a key is due: fires the windows that end with it, and forgets the panes that are over.
    pub fn walk(&mut self, settings: &WindowSettings, cut: &Cut, key: u32, time: i64, may_fire: bool) {
        if self.panes[key as usize].panes.timer != Some(time) {
            let place = self.place(key, WALKER);
            self.timers.push((place, TimerChange { domain: settings.time, time, is_registered: false }));
            return;
        }
        if may_fire {
            let windows = cut.windows_ending_at(time, &self.panes[key as usize].panes);
            match time {
                i64::MAX => self.fire_at_the_end_of_time(key, &windows),
                _ => windows.into_iter().for_each(|window| self.fire_slide(key, window)),
            }
        }
        for start in self.panes[key as usize].panes.remove_over(cut, settings, time) {
            self.empty(key, contents_of(start));
            if self.panes[key as usize].panes.front.is_some_and(|front| start < front.boundary) {
                self.empty(key, rest_of(start));
            }
        }
        if self.panes[key as usize].panes.starts.is_empty() && self.panes[key as usize].panes.front.take().is_some() {
            self.empty(key, RUN);
        }
        let next = self.panes[key as usize].panes.next(cut, settings, time);
        self.set_walker(settings, key, next);
        self.panes[key as usize].is_changed = true;
    }
}
