//! What a step does to windows that share panes: see `panes`.

use super::assigner;
use super::panes::{Cut, WALKER};
use super::span::Window;
use super::step::{NO_PLACE, Step};
use super::trigger::TimerChange;
use crate::manifest::WindowSettings;
use crate::model::TimeDomain;

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
        let latest = self.latest[key as usize];
        if latest != NO_PLACE && self.places[latest as usize].window.contains(by) {
            self.add_to_pane(index, key, latest);
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
        let place = self.place(key, pane);
        self.add_to_pane(index, key, place);
        let is_new = self.panes[key as usize].panes.insert(pane.start);
        let mut again = Vec::new();
        assigner::windows_of(settings.assigner, by, |window| {
            let has_fired = settings.time == TimeDomain::Event && window.max_timestamp() <= self.now.watermark;
            if has_fired && !assigner::is_window_late(settings, window, self.now.watermark) {
                again.push(window);
            }
        });
        for &window in &again {
            self.fire_panes(cut, key, window);
        }
        let of_key = &mut self.panes[key as usize];
        of_key.is_over = !again.is_empty();
        if again.is_empty() {
            self.latest[key as usize] = place;
        }
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
            of_key.panes.elements += 1;
            of_key.is_changed = true;
        }
    }

    /// A window fires with all of its panes.
    fn fire_panes(&mut self, cut: &Cut, key: u32, window: Window) {
        let parts: Vec<i64> = self.panes[key as usize].panes.within(window).to_vec();
        let parts: Vec<u32> = parts.into_iter().map(|start| self.place(key, cut.pane(start))).collect();
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
            for window in cut.windows_ending_at(time, &self.panes[key as usize].panes) {
                self.fire_panes(cut, key, window);
            }
        }
        for start in self.panes[key as usize].panes.remove_over(cut, settings, time) {
            let place = self.place(key, cut.pane(start));
            self.places[place as usize].is_emptied = true;
        }
        let next = self.panes[key as usize].panes.next(cut, settings, time);
        self.set_walker(settings, key, next);
        self.panes[key as usize].is_changed = true;
    }
}
