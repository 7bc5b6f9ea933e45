//! One step: what a turn over some records or timers does to windows, found out before anything is done.
//!
//! Invariant: of one window's contents a step first merges, then adds, then fires, then empties. A record or timer for which
//! that order would not do ends the step before it, so that a turn needs each kind of guest call once, for all windows together.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use super::assigner;
use super::panes::Panes;
use super::sessions::Sessions;
use super::span::Window;
use super::trigger::{Now, TimerChange, Trigger, Triggered, Verdict};
use crate::model::{Keys, TimeDomain};
use crate::pipeline::{WindowAssigner, WindowSettings};

/// How far a window's contents have come in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Untouched,
    Merged,
    Added,
    Over,
}

/// A window of a key that a step touches.
pub(super) struct Place {
    /// Index into [`Step::keys`].
    pub key: u32,
    pub window: Window,
    stage: Stage,
    /// What the trigger keeps of the window.
    pub kept: Option<i64>,
    pub is_kept_changed: bool,
    /// Whether the trigger asks for a timer at the end of the window, as it does for any record in it.
    pub needs_end: bool,
    /// Whether a record has come in, so that the window has to be cleaned up.
    pub needs_cleanup: bool,
    /// Whether the contents go, behind all else.
    pub is_emptied: bool,
    /// Whether all that is kept of the window goes.
    pub is_cleared: bool,
}

/// A window that fires with the contents of one place, or of several together.
#[derive(Clone)]
pub(super) struct Fire {
    pub place: u32,
    /// Of [`Step::parts`].
    pub parts: Range<usize>,
}

/// An accumulator that is to be that of `left` merged with that of `right`, or the one of them that is there.
#[derive(Clone, Copy)]
pub(super) struct Derived {
    pub into: u32,
    pub left: u32,
    pub right: u32,
}

/// The panes of a key.
#[derive(Clone, Default)]
pub(super) struct OfKey {
    pub panes: Panes,
    pub is_changed: bool,
    /// Whether windows of the key have fired with the last record: no other may come in before that is done.
    pub is_over: bool,
    /// The pane that the last record went to, and its place.
    pub latest: Option<(Window, u32)>,
}

/// See the module.
pub(super) struct Step {
    pub keys: Arc<Keys>,
    pub now: Now,
    places_of: HashMap<(u32, Window), u32>,
    pub places: Vec<Place>,
    /// For each key the place that its last record went to.
    latest: Vec<u32>,
    /// The sets of windows of keys whose windows merge, each with whether it has changed. Else empty.
    pub sessions: Vec<(Sessions, bool)>,
    /// Accumulators that are merged of others, which stay: one round behind the other, within one all at once.
    pub derived: Vec<Vec<Derived>>,
    /// The panes of each key, where windows share panes. Else empty.
    pub panes: Vec<OfKey>,
    /// Whether elements need an order over all panes.
    pub orders_elements: bool,
    /// Contents that move: into the first place from the second.
    pub merges: Vec<(u32, u32)>,
    /// Records, by their index, and where they go.
    pub adds: Vec<(u32, u32)>,
    /// For each of `adds` its place among the elements of its key, where they need one. Else empty.
    pub order: Vec<u64>,
    /// The places that fires are put together from.
    pub parts: Vec<u32>,
    pub fires: Vec<Fire>,
    pub late: Vec<u32>,
    /// For a place, in the order in which triggers asked for it.
    pub timers: Vec<(u32, TimerChange)>,
}

pub(super) const NO_PLACE: u32 = u32::MAX;

impl Step {
    pub fn new(keys: Arc<Keys>, now: Now) -> Step {
        Step {
            latest: vec![NO_PLACE; keys.distinct.len()],
            keys,
            now,
            places_of: HashMap::new(),
            places: Vec::new(),
            sessions: Vec::new(),
            derived: Vec::new(),
            panes: Vec::new(),
            orders_elements: false,
            merges: Vec::new(),
            adds: Vec::new(),
            order: Vec::new(),
            parts: Vec::new(),
            fires: Vec::new(),
            late: Vec::new(),
            timers: Vec::new(),
        }
    }

    /// The place of a window, made where there is none.
    pub fn place(&mut self, key: u32, window: Window) -> u32 {
        let next = self.places.len() as u32;
        let place = *self.places_of.entry((key, window)).or_insert(next);
        if place == next {
            self.places.push(Place {
                key,
                window,
                stage: Stage::Untouched,
                kept: None,
                is_kept_changed: false,
                needs_end: false,
                needs_cleanup: false,
                is_emptied: false,
                is_cleared: false,
            });
        }
        place
    }

    fn stage(&mut self, place: u32) -> &mut Stage {
        &mut self.places[place as usize].stage
    }

    /// Has the trigger look at a place.
    fn triggered<T>(&mut self, place: u32, look: impl FnOnce(&mut Triggered<'_>) -> T) -> T {
        let mut changes = Vec::new();
        let now = self.now;
        let at = &mut self.places[place as usize];
        let before = at.kept;
        let verdict = look(&mut Triggered { window: at.window, now, kept: &mut at.kept, timers: &mut changes });
        at.is_kept_changed |= at.kept != before;
        self.timers.extend(changes.into_iter().map(|change| (place, change)));
        verdict
    }

    fn delete_cleanup(&mut self, place: u32, settings: &WindowSettings) {
        let time = assigner::cleanup_time(settings, self.places[place as usize].window);
        self.timers.push((place, TimerChange { domain: settings.time, time, is_registered: false }));
    }

    /// Takes record `index` of a key up; false where it has to wait for the next step, and then nothing has changed.
    pub fn record(
        &mut self,
        settings: &WindowSettings,
        trigger: &Trigger,
        (index, key, timestamp): (u32, u32, i64),
    ) -> bool {
        let by = match settings.time {
            TimeDomain::Event => timestamp,
            TimeDomain::Processing => self.now.processing_ms,
        };
        let latest = self.latest[key as usize];
        if latest != NO_PLACE && self.places[latest as usize].window.contains(by) {
            return self.again(trigger, latest, index, timestamp);
        }
        let mut windows = Vec::new();
        assigner::windows_of(settings.assigner, by, |window| windows.push(window));
        if matches!(settings.assigner, WindowAssigner::Session { .. }) {
            return windows.into_iter().all(|new| self.join(settings, trigger, (index, key, timestamp), new));
        }
        windows.retain(|&window| !assigner::is_window_late(settings, window, self.now.watermark));
        let over = |window: &Window| {
            self.places_of.get(&(key, *window)).is_some_and(|&place| self.places[place as usize].stage > Stage::Added)
        };
        if windows.iter().any(over) {
            return false;
        }
        if windows.is_empty() && assigner::is_element_late(settings, by, self.now.watermark) {
            self.late.push(index);
        }
        for &window in &windows {
            let place = self.place(key, window);
            self.add(trigger, place, place, index, timestamp);
            if windows.len() == 1 && !matches!(settings.assigner, WindowAssigner::Sliding { .. }) {
                self.latest[key as usize] = place;
            }
        }
        true
    }

    /// A record of the same window as the one before it.
    fn again(&mut self, trigger: &Trigger, place: u32, index: u32, timestamp: i64) -> bool {
        if *self.stage(place) > Stage::Added {
            return false;
        }
        self.add(trigger, place, place, index, timestamp);
        true
    }

    fn add(&mut self, trigger: &Trigger, place: u32, contents: u32, index: u32, timestamp: i64) {
        *self.stage(contents) = Stage::Added;
        self.adds.push((index, contents));
        let at = &mut self.places[place as usize];
        at.needs_cleanup = true;
        if at.needs_end {
            return;
        }
        let before = self.timers.len();
        let verdict = self.triggered(place, |on| trigger.on_element(timestamp, on));
        if trigger.is_by_end() {
            self.timers.truncate(before);
            self.places[place as usize].needs_end = !verdict.fires;
        }
        self.judge(place, contents, verdict);
    }

    /// A window fires with the contents of these places.
    pub fn fire(&mut self, place: u32, parts: &[u32]) {
        let start = self.parts.len();
        self.parts.extend_from_slice(parts);
        self.fires.push(Fire { place, parts: start..self.parts.len() });
    }

    /// The places that a window fires with.
    pub fn parts_of(&self, fire: &Fire) -> &[u32] {
        &self.parts[fire.parts.clone()]
    }

    fn judge(&mut self, place: u32, contents: u32, verdict: Verdict) {
        if verdict.fires {
            self.fire(place, &[contents]);
            *self.stage(contents) = Stage::Over;
            *self.stage(place) = Stage::Over;
        }
        if verdict.purges {
            self.places[contents as usize].is_emptied = true;
        }
    }

    /// A record whose window merges with those that it overlaps.
    fn join(
        &mut self,
        settings: &WindowSettings,
        trigger: &Trigger,
        (index, key, timestamp): (u32, u32, i64),
        new: Window,
    ) -> bool {
        let joined = self.sessions[key as usize].0.joined(new);
        if joined.merged.is_empty() && assigner::is_window_late(settings, new, self.now.watermark) {
            self.late.push(index);
            return true;
        }
        let moves = joined.merged.len() > 1;
        let contents = self.place(key, joined.session.state);
        let result = self.place(key, joined.session.window);
        let merged: Vec<(u32, u32)> = joined
            .merged
            .iter()
            .map(|session| (self.place(key, session.window), self.place(key, session.state)))
            .collect();
        let contents_end = if moves { Stage::Merged } else { Stage::Added };
        let waits = *self.stage(contents) > contents_end
            || *self.stage(result) == Stage::Over
            || merged.iter().any(|&(window, from)| {
                *self.stage(window) == Stage::Over || moves && *self.stage(from) > Stage::Merged
            });
        if waits {
            return false;
        }
        if joined.merges() {
            let kept: Vec<Option<i64>> = merged.iter().map(|&(window, _)| self.places[window as usize].kept).collect();
            self.triggered(result, |on| trigger.on_merge(kept.into_iter(), on));
            for &(window, from) in &merged {
                self.triggered(window, |on| trigger.clear(on));
                self.delete_cleanup(window, settings);
                let window = &mut self.places[window as usize];
                (window.needs_end, window.needs_cleanup) = (false, false);
                if from != contents {
                    self.merges.push((contents, from));
                    *self.stage(from) = Stage::Over;
                }
            }
        }
        if joined.merged.is_empty() || joined.merges() {
            let (sessions, is_changed) = &mut self.sessions[key as usize];
            sessions.join(&joined);
            *is_changed = true;
        }
        self.add(trigger, result, contents, index, timestamp);
        true
    }

    /// Takes up a timer of a window that is due; false where it has to wait for the next step. Whether it `fires` is the
    /// trigger's to say, unless the firing failed before.
    pub fn timer(
        &mut self,
        settings: &WindowSettings,
        trigger: &Trigger,
        (place, domain, time): (u32, TimeDomain, i64),
        may_fire: bool,
    ) -> bool {
        if *self.stage(place) == Stage::Over {
            return false;
        }
        let Place { key, window, .. } = self.places[place as usize];
        self.timers.push((place, TimerChange { domain, time, is_registered: false }));
        let contents = match settings.assigner {
            WindowAssigner::Session { .. } => match self.sessions[key as usize].0.state_of(window) {
                Some(state) => self.place(key, state),
                // A trigger did not clean up behind a merge.
                None if self.sessions[key as usize].0.is_state(window) => return true,
                // It was no session when its records came.
                None => place,
            },
            _ => place,
        };
        let verdict = self.triggered(place, |on| trigger.on_timer(domain, time, on));
        self.judge(place, contents, Verdict { fires: verdict.fires && may_fire, ..verdict });
        let cleanup = assigner::cleanup_time(settings, window);
        if domain == settings.time && time == cleanup {
            self.triggered(place, |on| trigger.clear(on));
            self.places[contents as usize].is_emptied = true;
            self.places[place as usize].is_cleared = true;
            *self.stage(contents) = Stage::Over;
            *self.stage(place) = Stage::Over;
            if let Some((sessions, is_changed)) = self.sessions.get_mut(key as usize) {
                sessions.retire(window);
                *is_changed = true;
            }
        } else if cleanup != i64::MAX {
            // It is there already, unless the windows were defined otherwise when the record came.
            self.timers.push((place, TimerChange { domain: settings.time, time: cleanup, is_registered: true }));
        }
        true
    }
}
