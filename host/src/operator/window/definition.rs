//! The definition of a window operator: its settings, its function and its internal states.
//!
//! The names and schemas of the internal states are part of the durable format.

use std::sync::Arc;

use super::native_aggregate::accumulator_schema;
use super::panes::pane_layout::PaneLayout;
use super::trigger::Trigger;
use crate::error::Result;
use crate::model::TimeDomain;
use crate::model::row::RowSchema;
use crate::operator::late_records::LateRecordHandling;
use crate::pipeline::{WindowAssigner, WindowSettings};
use crate::state::internal::{
    WINDOW_CONTENTS as CONTENTS, WINDOW_ELEMENTS as ELEMENTS, WINDOW_PANES as PANES, WINDOW_SESSIONS as SESSIONS,
    WINDOW_TRIGGER as TRIGGER,
};
use crate::state::{StateDescription, StateId, StateKind, StateLayout};
use crate::turn::{Turn, timer_states};

/// Largest number of windows that one record may be added to separately.
pub const WINDOWS_PER_RECORD_MAX: i64 = 1024;

/// The kind of a window operator's function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowFunction {
    /// Folds records into an accumulator, which is the first state that it declares. A native aggregate declares no state.
    Aggregate,
    /// Sees all elements.
    ProcessWindow,
    /// Sees all elements of two inputs.
    CoGroup,
}

impl WindowFunction {
    /// Number of inputs.
    pub(super) fn inputs(self) -> usize {
        if self == WindowFunction::CoGroup { 2 } else { 1 }
    }
}

/// The options of a window operator.
#[derive(Clone, Debug)]
pub struct WindowOptions {
    /// The windows as the pipeline file defines them.
    pub windows: WindowSettings,
    pub function: WindowFunction,
    /// Whether late records go to their output. Otherwise they are counted.
    pub emits_late_records: bool,
    /// The schema of the results of an aggregate if they are rows.
    pub results: Option<Arc<RowSchema>>,
}

/// The internal states of a window operator. The accumulator of a component's aggregate is not among them, because the function
/// declares it. `inputs` are the rows that each input reads.
pub fn window_states(windows: &WindowSettings, is_aggregate: bool, inputs: &[Option<Arc<RowSchema>>]) -> StateLayout {
    let contents = match &windows.aggregate {
        _ if !is_aggregate || windows.evictor.is_some() => {
            let elements = StateDescription::new(ELEMENTS, StateKind::List, "raw", "element");
            Some(elements.with_rows(inputs.to_vec()))
        }
        Some(native) => {
            Some(StateDescription::new(CONTENTS, StateKind::Aggregating, "raw", accumulator_schema(native)))
        }
        None => None,
    };
    // Timers of both clocks and a trigger state are always declared: the trigger may change between a savepoint and its restore.
    let trigger = StateDescription::new(TRIGGER, StateKind::Value, "raw", "trigger");
    let sessions = matches!(windows.assigner, WindowAssigner::Session { .. })
        .then(|| StateDescription::new(SESSIONS, StateKind::Value, "raw", "sessions"));
    let panes = PaneLayout::of(windows, is_aggregate)
        .map(|layout| StateDescription::new(PANES, StateKind::Value, "raw", &layout.schema()));
    let timers = timer_states(&[TimeDomain::Event, TimeDomain::Processing]);
    contents.into_iter().chain([trigger]).chain(sessions).chain(panes).chain(timers).collect()
}

/// The number of windows that each record would be added to separately, if it exceeds [`WINDOWS_PER_RECORD_MAX`].
/// `declares_state` says whether the function declares states of a window.
pub fn too_many_windows(windows: &WindowSettings, function: WindowFunction, declares_state: bool) -> Option<i64> {
    let WindowAssigner::Sliding { size_ms, slide_ms, .. } = windows.assigner else { return None };
    let is_aggregate = function == WindowFunction::Aggregate;
    let shares_panes = PaneLayout::of(windows, is_aggregate).is_some() && (is_aggregate || !declares_state);
    // The size may be close to `i64::MAX`, so do not add to it.
    let per_record = size_ms / slide_ms + i64::from(size_ms % slide_ms > 0);
    (!shares_panes && per_record > WINDOWS_PER_RECORD_MAX).then_some(per_record)
}

/// Whether a snapshot with these states may store windows separately although the same definition shares panes now. Earlier
/// versions shared panes in fewer cases.
pub fn stores_windows_without_panes(windows: &WindowSettings, is_aggregate: bool, snapshot: &StateLayout) -> bool {
    let has = |name: &str| snapshot.iter().any(|state| state.name == name);
    let layout = PaneLayout::of(windows, is_aggregate);
    let was_stored_without_panes = layout.is_some_and(|layout| layout.was_stored_without_panes(windows));
    was_stored_without_panes && has(TRIGGER) && !has(PANES)
}

/// How the windows of an operator work and where their state is.
pub struct WindowDefinition {
    pub settings: WindowSettings,
    pub trigger: Trigger,
    pub function: WindowFunction,
    /// The state of accumulators or elements.
    pub contents_state: StateId,
    /// Whether windows store elements, and not accumulators.
    pub stores_elements: bool,
    pub trigger_state: StateId,
    /// Only valid if windows merge.
    pub session_state: StateId,
    /// Only valid if windows share panes.
    pub pane_state: StateId,
    /// Set if windows share panes.
    pub panes: Option<PaneLayout>,
    pub late_records: LateRecordHandling,
    /// The schema of the results of an aggregate if they are rows.
    pub results: Option<Arc<RowSchema>>,
}

impl WindowDefinition {
    /// Error: `internal` if the layout of `turn` lacks a state.
    pub fn new(turn: &Turn, options: WindowOptions) -> Result<WindowDefinition> {
        let WindowOptions { windows: settings, function, emits_late_records, results } = options;
        let is_aggregate = function == WindowFunction::Aggregate;
        let stores_elements = !is_aggregate || settings.evictor.is_some();
        let declares_state = turn.layout().first().is_some_and(|state| !state.is_internal());
        // A function with states of a window needs windows of its own.
        let panes = PaneLayout::of(&settings, is_aggregate).filter(|_| is_aggregate || !declares_state);
        let is_merging = matches!(settings.assigner, WindowAssigner::Session { .. });
        Ok(WindowDefinition {
            trigger: Trigger::new(&settings),
            function,
            contents_state: match stores_elements {
                true => turn.internal_state(ELEMENTS)?,
                false if declares_state => 0,
                false => turn.internal_state(CONTENTS)?,
            },
            stores_elements,
            trigger_state: turn.internal_state(TRIGGER)?,
            session_state: if is_merging { turn.internal_state(SESSIONS)? } else { 0 },
            pane_state: if panes.is_some() { turn.internal_state(PANES)? } else { 0 },
            panes,
            late_records: LateRecordHandling::new(emits_late_records),
            results,
            settings,
        })
    }

    /// Whether windows of a key merge.
    pub fn is_merging(&self) -> bool {
        matches!(self.settings.assigner, WindowAssigner::Session { .. })
    }
}
