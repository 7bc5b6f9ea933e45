//! Panes: the pieces that sliding windows share, so that a record is taken up once and not once per window.
//!
//! A pane is as long as the greatest common divisor of size and slide, so that every window is made of whole panes. Of each key
//! is kept which panes it has, and one timer, which walks along the ends of its windows. Contents lie under the pane much as
//! under a window.
//!
//! A window of many panes is not put together anew with each slide. Behind its first firing lie, for each of its panes, the
//! accumulator from there to the end of that window (the *rests*), and one that grows with each slide from that end on (the
//! *run*): so a window is one of the rests and the run, until it begins behind them all. Records that come in behind that are
//! rare, and have it begin anew. Invariant: what fires, and with what, is what windows that each hold their own records would fire.

use super::assigner::{self, window_at, window_start};
use super::span::Window;
use crate::error::{self, Result};
use crate::model::TimeDomain;
use crate::pipeline::{WindowAssigner, WindowSettings, WindowTrigger};

/// In a timer's key, where a window stands in that of others: this timer is of all windows of the key. No window ends before
/// it begins.
pub(super) const WALKER: Window = Window { start: i64::MAX, end: i64::MIN };

/// Where the contents of a pane lie: beside those of a window that is as long, which may be left of an earlier definition.
pub(super) fn contents_of(pane: i64) -> Window {
    Window { start: pane, end: i64::MIN + 2 }
}

/// Where the run of a key lies.
pub(super) const RUN: Window = Window { start: i64::MAX, end: i64::MIN + 1 };

/// Where the rest of a window lies that begins with a pane.
pub(super) fn rest_of(pane: i64) -> Window {
    Window { start: pane, end: i64::MIN }
}

/// Panes that a window, and the time for which late records are taken behind it, may have: so many are listed for each key.
const PANES_MAX: i64 = 1 << 17;

/// The same for a function that sees all elements: a turn lists the panes of each window that fires.
const LISTED_PANES_MAX: i64 = 1024;

/// Panes of all windows that one late record may have fire again.
const LATE_PANES_MAX: i64 = 1 << 20;

/// How sliding windows are cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    size: i64,
    slide: i64,
    offset: i64,
    pane: i64,
}

impl Cut {
    /// None where windows do not share panes: another type, and all that looks at a window's records one by one, or changes
    /// one window alone. `is_aggregate` says whether the function folds records.
    pub fn of(settings: &WindowSettings, is_aggregate: bool) -> Option<Cut> {
        let WindowAssigner::Sliding { size_ms: size, slide_ms: slide, offset_ms: offset } = settings.assigner else {
            return None;
        };
        let fires_at_its_end = match settings.time {
            TimeDomain::Event => settings.trigger == WindowTrigger::EventTime,
            TimeDomain::Processing => settings.trigger == WindowTrigger::ProcessingTime,
        };
        let pane = greatest_common_divisor(size, slide);
        let lateness = settings.allowed_lateness_ms;
        let kept = size.saturating_add(lateness) / pane;
        let fired_again = (lateness / slide).saturating_mul(size / pane);
        let kept_max = if is_aggregate { PANES_MAX } else { LISTED_PANES_MAX };
        let is_small = kept <= kept_max && (kept <= LISTED_PANES_MAX || fired_again <= LATE_PANES_MAX);
        let is_shared = fires_at_its_end && !settings.purge && settings.evictor.is_none() && is_small;
        is_shared.then_some(Cut { size, slide, offset, pane })
    }

    /// Whether windows of so many panes have been kept one by one by earlier versions, of which images do not say so.
    pub fn was_kept_one_by_one(&self, settings: &WindowSettings) -> bool {
        self.size.saturating_add(settings.allowed_lateness_ms) / self.pane > LISTED_PANES_MAX
    }

    /// Panes of one window.
    pub fn panes_of_window(&self) -> usize {
        usize::try_from(self.size / self.pane).unwrap_or(usize::MAX)
    }

    /// What the panes of these windows are, for the restore of others.
    pub fn schema(&self) -> String {
        format!("panes of {} every {} from {}", self.size, self.slide, self.offset)
    }

    /// The pane that a timestamp falls into.
    pub fn pane(&self, timestamp: i64) -> Window {
        window_at(window_start(timestamp, self.offset, self.pane), self.pane)
    }

    /// The last window that a timestamp may fall into.
    pub fn last_window(&self, timestamp: i64) -> Window {
        window_at(window_start(timestamp, self.offset, self.slide), self.size)
    }

    /// The first window behind `time` (whose last millisecond is later) that holds a moment of a pane; None where there is none.
    fn first_window_behind(&self, time: i64, pane: i64) -> Option<Window> {
        let (time, pane) = (i128::from(time), i128::from(pane));
        let slide = i128::from(self.slide);
        // The smallest start on the grid above a bound.
        let above = |bound: i128| bound - (bound - i128::from(self.offset)).rem_euclid(slide) + slide;
        let start = above(pane - i128::from(self.size)).max(above(time + 1 - i128::from(self.size)));
        (start <= pane).then(|| window_at(start, self.size))
    }

    /// The window that would end at `time`.
    pub fn window_ending_at(&self, time: i64) -> Window {
        window_at(i128::from(time) + 1 - i128::from(self.size), self.size)
    }

    /// The windows that end at `time` and hold anything, in order of their starts: one, unless it is the end of all time.
    pub fn windows_ending_at(&self, time: i64, panes: &Panes) -> Vec<Window> {
        let (size, slide, offset) = (i128::from(self.size), i128::from(self.slide), i128::from(self.offset));
        let is_on_grid = |start: i128| (start - offset).rem_euclid(slide) == 0;
        let mut windows = Vec::new();
        if time < i64::MAX {
            let start = i128::from(time) + 1 - size;
            windows.extend(is_on_grid(start).then(|| window_at(start, self.size)));
        } else if let Some(&last) = panes.starts.last() {
            // All that would end behind it.
            let earliest = i128::from(i64::MAX) - size;
            let mut start = earliest + (offset - earliest).rem_euclid(slide);
            while start <= i128::from(last) {
                windows.push(window_at(start, self.size));
                start += slide;
            }
        }
        // One that would end with time itself does not end before.
        windows.retain(|&window| window.max_timestamp() == time && !panes.within(window).is_empty());
        windows
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// As it is stored.
const NO_FRONT: Front = Front { boundary: i64::MIN, run_end: i64::MIN };

/// Where rests end and the run begins, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    pub boundary: i64,
    pub run_end: i64,
}

/// What is kept of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Panes {
    /// The time of the key's timer.
    pub timer: Option<i64>,
    pub front: Option<Front>,
    /// How many elements there were, where elements are kept: their order over all panes.
    pub elements: u64,
    /// The starts of the panes that hold anything, ascending.
    pub starts: Vec<i64>,
}

impl Panes {
    /// Notes that a pane holds something. False where it did before.
    pub fn insert(&mut self, start: i64) -> bool {
        match self.starts.binary_search(&start) {
            Ok(_) => false,
            Err(place) => {
                self.starts.insert(place, start);
                true
            }
        }
    }

    /// The panes of a window, in order.
    pub fn within(&self, window: Window) -> &[i64] {
        let first = self.starts.partition_point(|&start| start < window.start);
        let end = self.starts.partition_point(|&start| start <= window.max_timestamp());
        &self.starts[first..end.max(first)]
    }

    /// Takes out the panes that no window needs any more once its clock has reached `time`.
    pub fn remove_over(&mut self, cut: &Cut, settings: &WindowSettings, time: i64) -> Vec<i64> {
        let is_over = |&start: &i64| assigner::cleanup_time(settings, cut.last_window(start)) <= time;
        let over = self.starts.iter().take_while(|start| is_over(start)).count();
        self.starts.drain(..over).collect()
    }

    /// When there is something to do next, behind `time`: the end of a window, or what is kept of the oldest pane goes.
    pub fn next(&self, cut: &Cut, settings: &WindowSettings, time: i64) -> Option<i64> {
        // With lateness there may be many whose windows have all fired.
        let fired = self.starts.partition_point(|&start| cut.last_window(start).max_timestamp() <= time);
        let fires = self.starts[fired..].iter().find_map(|&start| cut.first_window_behind(time, start));
        let over = self.starts.first().map(|&start| assigner::cleanup_time(settings, cut.last_window(start)));
        [fires.map(Window::max_timestamp), over].into_iter().flatten().filter(|&next| next > time).min()
    }

    /// As it is stored. Nothing is stored of a key without panes.
    pub fn encode(&self) -> Vec<u8> {
        if self.starts.is_empty() {
            return Vec::new();
        }
        let timer = self.timer.unwrap_or(i64::MIN);
        let Front { boundary, run_end } = self.front.unwrap_or(NO_FRONT);
        let mut bytes = [timer, boundary, run_end].map(i64::to_le_bytes).concat();
        bytes.extend(self.elements.to_le_bytes());
        bytes.extend(self.starts.iter().flat_map(|start| start.to_le_bytes()));
        bytes
    }

    /// Error: `state-failed` where the bytes are nothing that [`Panes::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Panes> {
        if bytes.is_empty() {
            return Ok(Panes::default());
        }
        match bytes.as_chunks::<8>() {
            ([timer, boundary, run_end, elements, starts @ ..], []) => Ok(Panes {
                timer: Some(i64::from_le_bytes(*timer)).filter(|timer| *timer != i64::MIN),
                front: Some(Front { boundary: i64::from_le_bytes(*boundary), run_end: i64::from_le_bytes(*run_end) })
                    .filter(|front| *front != NO_FRONT),
                elements: u64::from_le_bytes(*elements),
                starts: starts.iter().copied().map(i64::from_le_bytes).collect(),
            }),
            _ => Err(error::state_failed(format!("panes of {} bytes", bytes.len()))),
        }
    }
}
