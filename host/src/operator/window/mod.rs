//! Windows: which records belong together in time, and what is computed of them. The words and semantics are Flink's.
//!
//! A batch of records, or of timers that are due, is one turn or few. First is found out what the turn does to which windows
//! (`step`), then their contents are loaded, the guest is called once for all of them, and everything is staged (`contents`).
//! Invariant: what is kept of a window lies under a key of its own (`span`), and goes when the window is cleaned up.

mod accumulators;
mod assigner;
mod contents;
mod element;
mod evictor;
mod lists;
mod native;
mod pane_step;
mod panes;
mod planning;
mod sessions;
mod span;
mod step;
mod trigger;
mod turning;

use std::cell::Cell;

use contents::Records;
use native::accumulator_schema;
use panes::Cut;
use trigger::{Now, Trigger};

pub use native::{FieldExtractor, native_aggregate};

use super::OperatorFailure;
use super::turns::{Bad, FunctionSettings, Turning, Turns, refused};
use crate::error::{self, Result};
use crate::model::{Batch, Counters, TimeDomain};
use crate::pipeline::{WindowAssigner, WindowSettings};
use crate::state::internal::{
    WINDOW_CONTENTS as CONTENTS, WINDOW_ELEMENTS as ELEMENTS, WINDOW_PANES as PANES, WINDOW_SESSIONS as SESSIONS,
    WINDOW_TRIGGER as TRIGGER,
};
use crate::state::{StateDescription, StateId, StateKind, StateLayout};
use crate::turn::{Guest, OutputBatch, Turn, timer_states};

/// Bytes of elements that a turn takes up, about, where it has a choice; and windows that it begins with.
const ELEMENT_BYTES: usize = 8 << 20;
const WINDOWS_AT_FIRST: usize = 64;
/// Panes that a turn takes up, about, where it has a choice.
const PANES_TOGETHER: usize = 1 << 18;

/// Windows that one record may be added to, each by itself.
pub const WINDOWS_PER_RECORD_MAX: i64 = 1024;

/// What a window's function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowFunction {
    /// Folds records. Its accumulator is the first state that it declares; one that declares none is native.
    Aggregate,
    /// Sees all elements.
    ProcessWindow,
    /// Sees all elements of two inputs.
    CoGroup,
}

impl WindowFunction {
    fn inputs(self) -> usize {
        if self == WindowFunction::CoGroup { 2 } else { 1 }
    }
}

/// What a window operator is made with beside what every operator is.
#[derive(Clone, Debug)]
pub struct WindowOptions {
    pub windows: WindowSettings,
    pub function: WindowFunction,
    /// Whether late records go to the output in front of the dead letters; else they are counted.
    pub emits_late_records: bool,
}

/// The hidden states of a window operator. The accumulator of an aggregate that is a component's function is not among them: the
/// function declares it.
pub fn window_states(windows: &WindowSettings, is_aggregate: bool) -> StateLayout {
    let contents = match &windows.aggregate {
        _ if !is_aggregate || windows.evictor.is_some() => {
            Some(StateDescription::new(ELEMENTS, StateKind::List, "raw", "element"))
        }
        Some(native) => {
            Some(StateDescription::new(CONTENTS, StateKind::Aggregating, "raw", accumulator_schema(native)))
        }
        None => None,
    };
    // Both clocks, and what a trigger may keep: that may change between a savepoint and its restore.
    let trigger = StateDescription::new(TRIGGER, StateKind::Value, "raw", "trigger");
    // Who does not declare these could not go on from them; and panes are what a definition cut them to.
    let sessions = matches!(windows.assigner, WindowAssigner::Session { .. })
        .then(|| StateDescription::new(SESSIONS, StateKind::Value, "raw", "sessions"));
    let panes =
        Cut::of(windows, is_aggregate).map(|cut| StateDescription::new(PANES, StateKind::Value, "raw", &cut.schema()));
    let timers = timer_states(&[TimeDomain::Event, TimeDomain::Processing]);
    contents.into_iter().chain([trigger]).chain(sessions).chain(panes).chain(timers).collect()
}

/// Of how many windows a record becomes a part of its own, where that is more than an operator takes: windows that do not share
/// what they keep. `declares_state` says whether the function keeps states of a window.
pub fn too_many_windows(windows: &WindowSettings, function: WindowFunction, declares_state: bool) -> Option<i64> {
    let WindowAssigner::Sliding { size_ms, slide_ms, .. } = windows.assigner else { return None };
    let is_aggregate = function == WindowFunction::Aggregate;
    let shares = Cut::of(windows, is_aggregate).is_some() && (is_aggregate || !declares_state);
    // Without an overflow: a size may be as large as there is time.
    let each = size_ms / slide_ms + i64::from(size_ms % slide_ms > 0);
    (!shares && each > WINDOWS_PER_RECORD_MAX).then_some(each)
}

/// Whether an image with these states may hold windows of the same definition one by one, of which others would hold the panes:
/// earlier versions shared fewer.
pub fn stores_windows_without_panes(windows: &WindowSettings, is_aggregate: bool, image: &StateLayout) -> bool {
    let has = |name: &str| image.iter().any(|state| state.name == name);
    let shares = Cut::of(windows, is_aggregate).is_some_and(|cut| cut.was_kept_one_by_one(windows));
    shares && has(TRIGGER) && !has(PANES)
}

/// How windows are kept.
struct Definition {
    settings: WindowSettings,
    trigger: Trigger,
    function: WindowFunction,
    contents: StateId,
    keeps_elements: bool,
    kept: StateId,
    sessions: StateId,
    panes: StateId,
    /// Where sliding windows share panes.
    cut: Option<Cut>,
    emits_late_records: bool,
    /// The index of the output for late records.
    late: usize,
    /// Bytes of elements that the largest turn took up since this was looked at.
    loaded_bytes: Cell<usize>,
}

/// Windows in one subtask. See the module.
pub struct WindowOperator {
    turns: Turns,
    windows: Definition,
    /// How many windows fire in one turn where they keep elements: the fewer the larger they are.
    together: usize,
}

impl WindowOperator {
    /// `turn` is stateful and has timers; its layout ends with [`window_states`]. Of `settings.outputs` the last one is that
    /// for late records. Error: `internal` where the layout has not what is needed.
    pub fn new(
        guest: Box<dyn Guest>,
        turn: Turn,
        settings: FunctionSettings,
        options: WindowOptions,
        counters: Counters,
    ) -> Result<WindowOperator> {
        let WindowOptions { windows, function, emits_late_records } = options;
        let keeps_elements = function != WindowFunction::Aggregate || windows.evictor.is_some();
        let declares = turn.layout().first().is_some_and(|state| !state.is_internal());
        // Of panes there are no states of a window, which its function may have.
        let is_aggregate = function == WindowFunction::Aggregate;
        let cut = Cut::of(&windows, is_aggregate).filter(|_| is_aggregate || !declares);
        let is_merging = matches!(windows.assigner, WindowAssigner::Session { .. });
        let windows = Definition {
            trigger: Trigger::new(&windows),
            function,
            contents: match keeps_elements {
                true => turn.internal_state(ELEMENTS)?,
                false if declares => 0,
                false => turn.internal_state(CONTENTS)?,
            },
            keeps_elements,
            kept: turn.internal_state(TRIGGER)?,
            sessions: if is_merging { turn.internal_state(SESSIONS)? } else { 0 },
            panes: if cut.is_some() { turn.internal_state(PANES)? } else { 0 },
            cut,
            emits_late_records,
            late: settings.outputs.saturating_sub(1),
            loaded_bytes: Cell::new(0),
            settings: windows,
        };
        let turn = turn.with_internal_timers();
        let turns = Turns::new(guest, turn, settings, counters);
        Ok(WindowOperator { turns, windows, together: WINDOWS_AT_FIRST })
    }

    /// Has every sliding window keep its own records, so that a test can tell that this makes no difference.
    #[cfg(test)]
    fn without_panes(mut self) -> WindowOperator {
        self.windows.cut = None;
        self
    }
}

impl Turning for WindowOperator {
    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn turns_mut(&mut self) -> &mut Turns {
        &mut self.turns
    }

    fn take(&mut self, input: u32, batch: Batch, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure> {
        let WindowOperator { turns, windows, .. } = self;
        let Some(keys) = batch.keys.clone() else {
            return Err(OperatorFailure::Error(error::internal("windows over records without keys")));
        };
        let received = turns.counters.records_in;
        // After a record that had to wait its turn others of its key are near: looking far ahead would be for nothing.
        let ahead = Cell::new(usize::MAX);
        turns.run_parts(
            batch.len(),
            outputs,
            |turns, range, outputs| {
                let range = range.start..range.end.min(range.start.saturating_add(ahead.get()));
                if let Some(fault) = windows.without_timestamp(&batch, range.clone()) {
                    return Ok(Err(fault));
                }
                let now = Now { watermark: turns.watermark, processing_ms: turns.settings.clock.wall_ms() };
                let (step, end) = windows.plan_records(turns, &batch, &keys, range.clone(), now)?;
                let records = Records { batch: &batch, input };
                if let Some(fault) = windows.turn_over(turns, &step, Some(records), outputs)? {
                    return Ok(Err(fault));
                }
                ahead.set(if end < range.end { 2 * (end - range.start).max(8) } else { usize::MAX });
                Ok(Ok(end))
            },
            |turns, at, fault, outputs| turns.dispose(Bad::record(&batch, at, received, fault), outputs),
        )
    }

    /// The clock of the trigger first: that of the windows cleans up what has not fired.
    fn clocks_at_end(&self) -> [TimeDomain; 2] {
        match self.windows.trigger.clock() {
            TimeDomain::Event => [TimeDomain::Event, TimeDomain::Processing],
            TimeDomain::Processing => [TimeDomain::Processing, TimeDomain::Event],
        }
    }

    fn fire(
        &mut self,
        domain: TimeDomain,
        now_ms: i64,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<bool, OperatorFailure> {
        let WindowOperator { turns, windows, together } = self;
        let most = turns.settings.batch_records;
        let limit = match &windows.cut {
            _ if windows.keeps_elements => most.min(*together),
            // Each of them may take up all panes of a window.
            Some(cut) => most.min((PANES_TOGETHER / cut.panes_of_window()).max(1)),
            None => most,
        };
        let due = turns.turn.due_timers(domain, now_ms, limit).map_err(OperatorFailure::Error)?;
        if due.is_empty() {
            return Ok(false);
        }
        turns.count_fired_at_end(domain, now_ms, due.len())?;
        let processing_ms = match domain {
            TimeDomain::Event => turns.settings.clock.wall_ms(),
            TimeDomain::Processing => now_ms,
        };
        let now = Now { watermark: turns.watermark, processing_ms };
        // What is behind it waits for the next call: an earlier timer may have come in between, or have deleted it.
        let (taken, is_over) = (Cell::new(0), Cell::new(false));
        turns.run_parts(
            due.len(),
            outputs,
            |turns, range, outputs| {
                if is_over.get() {
                    return Ok(Ok(range.end));
                }
                let (step, end) = windows.plan_timers(turns, (domain, &due), range.clone(), now, true)?;
                if let Some(fault) = windows.turn_over(turns, &step, None, outputs)? {
                    return Ok(Err(fault));
                }
                taken.set(end);
                is_over.set(end < due.len());
                Ok(Ok(range.end))
            },
            |turns, at, fault, outputs| {
                windows.meet_window(turns, &due, at, fault, outputs)?;
                let (step, end) = windows.plan_timers(turns, (domain, &due), at..at + 1, now, false)?;
                if let Some(fault) = windows.turn_over(turns, &step, None, outputs)? {
                    return Err(refused(fault.into()));
                }
                taken.set(end);
                is_over.set(true);
                Ok(())
            },
        )?;
        turns.turn.put_back_timers(domain, &due.slice(taken.get()..due.len()));
        *together = match windows.loaded_bytes.take() {
            many if many > ELEMENT_BYTES => (limit / 2).max(1),
            few if few < ELEMENT_BYTES / 4 => limit.saturating_mul(2),
            _ => limit,
        };
        Ok(true)
    }
}

#[cfg(test)]
mod function_tests;
#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod panes_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod scenario_tests;
