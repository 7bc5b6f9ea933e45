//! A turn: one guest call and everything it asked for.
//!
//! Invariant: nothing that a guest asks for reaches the state backend before [`Turn::commit`]; [`Turn::abort`] leaves no
//! trace but log lines. The sandbox reaches keyed state through a turn only; it never sees the backend.

mod broadcast;
mod host;
mod list;
mod map;
mod staged;
mod telemetry;
mod timers;
mod value;
mod watermark;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use staged::{Staged, StagedMaps};
use telemetry::MetricChange;
pub(crate) use telemetry::sanitize_text;
pub use telemetry::{LOG_LINE_BYTES_MAX, LOG_LINES_MAX, LogLevel, LogLine, METRIC_NAMES_MAX};
pub use timers::timer_states;
pub use watermark::{GroupWatermarks, SelectedGroups};

use crate::error::Error;
use crate::model::{
    Batch, Column, DueTimers, Fault, FaultCode, JoinedPairs, KeyGroup, Keys, NO_TIMESTAMP, TimeDomain, WindowElements,
    Windows,
};
use crate::state::{StateBackend, StateId, StateKind, StateLayout, TimeToLive, ttl};

/// Bytes that one turn may write where nobody says otherwise.
const WRITE_BYTES_MAX: usize = 16 << 20;

/// The input of most functions, and the first of those that have two.
pub const FIRST_INPUT: u32 = 0;
/// The other one of those that have two; the broadcast one, where it is that.
pub const SECOND_INPUT: u32 = 1;

/// What runs turns: a guest in the sandbox, or (in tests and benchmarks) a native function.
pub trait Guest: Send {
    /// Handles a batch of an input within `turn`. On success the outputs wait for the caller to commit; after a failure the caller
    /// aborts the turn, and the next call finds a guest that remembers nothing.
    fn process(&mut self, _turn: &mut Turn, _input: u32, _batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        Err(not_of_this_kind("process"))
    }

    /// Handles due timers within `turn`, whose keys are theirs; else as [`Guest::process`].
    fn on_timers(&mut self, _turn: &mut Turn, _: TimeDomain, _: &DueTimers) -> Result<Vec<OutputBatch>, TurnFailure> {
        Err(not_of_this_kind("timers"))
    }

    /// Folds value `i` into accumulator `accumulator_of[i]`, in order. The answer has all accumulators anew. One of no bytes does
    /// not exist yet. Imports are refused where `turn` has begun for no keys; it is there for what the guest logs.
    fn add(
        &mut self,
        _turn: &mut Turn,
        _accumulators: &Column,
        _accumulator_of: &[u32],
        _values: &Column,
        _timestamps: &[i64],
    ) -> Result<Column, TurnFailure> {
        Err(not_of_this_kind("aggregate"))
    }

    /// Merges accumulator `i` of `right` into accumulator `i` of `left`.
    fn merge(&mut self, _turn: &mut Turn, _left: &Column, _right: &Column) -> Result<Column, TurnFailure> {
        Err(not_of_this_kind("aggregate"))
    }

    /// The result of each accumulator, which is that of the window with the same index.
    fn finish(&mut self, _turn: &mut Turn, _accumulators: &Column, _windows: &Windows) -> Result<Column, TurnFailure> {
        Err(not_of_this_kind("aggregate"))
    }

    /// Handles windows that fire, with the elements of each of the function's inputs. Key `i` of the turn is window `i`.
    fn process_windows(
        &mut self,
        _: &mut Turn,
        _: &Windows,
        _inputs: &[WindowElements],
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        Err(not_of_this_kind("window"))
    }

    /// Handles pairs of records.
    fn join(&mut self, _: &mut Turn, _: &JoinedPairs) -> Result<Vec<OutputBatch>, TurnFailure> {
        Err(not_of_this_kind("join"))
    }

    /// Rewrites values of state `state`, its place in the function's description, that were stored under the older `schema`:
    /// one for each. Called while a job is restored, before any record; there is no turn.
    fn migrate(&mut self, _state: u32, schema: &str, _values: &Column) -> Result<Column, TurnFailure> {
        Err(Fault::new(FaultCode::GuestError, format!("it does not migrate from `{schema}`")).into())
    }
}

/// The host asks a function only for what its description says, so this is a bug of ours or of a native function.
fn not_of_this_kind(what: &str) -> TurnFailure {
    crate::error::internal(format!("the function does not handle `{what}`")).into()
}

/// Records for one of a function's outputs: 0 is the main one, then its side outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputBatch {
    /// The output that the records leave by.
    pub index: usize,
    pub batch: Batch,
}

/// Why a turn did not succeed: because of the guest, because of us, or because the job is being cancelled.
#[derive(Debug)]
pub enum TurnFailure {
    Fault(Fault),
    Error(Error),
    Cancelled,
}

impl From<Error> for TurnFailure {
    fn from(error: Error) -> TurnFailure {
        TurnFailure::Error(error)
    }
}

impl From<Fault> for TurnFailure {
    fn from(fault: Fault) -> TurnFailure {
        TurnFailure::Fault(fault)
    }
}

/// Why a host function refused a guest's call.
#[derive(Debug)]
pub enum HostCallError {
    /// The arguments make no sense: the fault `invalid-call`.
    InvalidCall(String),
    /// The turn writes more than its limit: the fault `output-exceeded`.
    WriteLimitExceeded { limit: usize },
    /// The state backend failed.
    Error(Error),
}

impl fmt::Display for HostCallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostCallError::InvalidCall(message) => f.write_str(message),
            HostCallError::WriteLimitExceeded { limit } => {
                write!(f, "the turn writes more than {limit} bytes of state and metrics")
            }
            HostCallError::Error(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HostCallError {}

/// What a native operator meets that stages something in a turn.
impl From<HostCallError> for TurnFailure {
    fn from(refusal: HostCallError) -> TurnFailure {
        match refusal {
            HostCallError::Error(error) => TurnFailure::Error(error),
            HostCallError::WriteLimitExceeded { .. } => {
                Fault::new(FaultCode::OutputExceeded, refusal.to_string()).into()
            }
            HostCallError::InvalidCall(message) => crate::error::internal(message).into(),
        }
    }
}

impl From<Error> for HostCallError {
    fn from(error: Error) -> HostCallError {
        HostCallError::Error(error)
    }
}

fn invalid(message: impl Into<String>) -> HostCallError {
    HostCallError::InvalidCall(message.into())
}

/// Where and when turns take place.
#[derive(Clone, Debug)]
pub struct TurnContext {
    pub operator: String,
    pub subtask: u32,
    pub parallelism: u32,
    /// Milliseconds since the Unix epoch; [`NO_TIMESTAMP`] before there is any.
    pub watermark: i64,
    /// Milliseconds since the Unix epoch, at the start of the turn.
    pub processing_time: i64,
    pub seed: u64,
    /// Of the job, after failures, since it was submitted.
    pub restarts: u32,
    pub config: Arc<BTreeMap<String, String>>,
}

impl Default for TurnContext {
    fn default() -> Self {
        TurnContext {
            operator: String::new(),
            subtask: 0,
            parallelism: 1,
            watermark: NO_TIMESTAMP,
            processing_time: 0,
            seed: 0,
            restarts: 0,
            config: Arc::default(),
        }
    }
}

/// See the module. Used again for every turn of a subtask, so that its buffers stay.
#[derive(Default)]
pub struct Turn {
    pub context: TurnContext,
    backend: Option<Box<dyn StateBackend>>,
    layout: StateLayout,
    /// How many states of the layout the function declares; those behind them are the host's own.
    declared: usize,
    keys: Arc<Keys>,
    /// For each state what is staged, unless it is a map.
    staged: Vec<Staged>,
    /// For each state what is staged, if it is a map.
    staged_maps: Vec<StagedMaps>,
    broadcast: Option<Box<broadcast::TurnBroadcast>>,
    /// The key groups of the subtask, where it has timers.
    groups: std::ops::Range<u32>,
    /// Watermarks of groups that are ahead of the subtask, behind a rescale.
    group_watermarks: GroupWatermarks,
    /// Groups whose due timers were being fired when their snapshot was taken, and that have not caught up.
    interrupted: BTreeSet<KeyGroup>,
    /// Whether timers that the watermark has made due may be left.
    is_firing: bool,
    /// The groups whose timers may be due; all where None.
    selected_groups: Option<SelectedGroups>,
    /// Whether the timers are the host's own, which the guest must not touch.
    timers_are_internal: bool,
    /// By their clock, see [`TimeDomain`].
    timers: [Option<Box<timers::Timers>>; 2],
    /// Bytes that this turn may still stage.
    budget: usize,
    write_bytes_max: usize,
    staged_metrics: Vec<(String, MetricChange)>,
    metrics: BTreeMap<String, f64>,
    log: Vec<LogLine>,
    panic: Option<String>,
}

impl Turn {
    /// A turn of a function without keyed state.
    pub fn stateless(context: TurnContext) -> Turn {
        Turn { context, write_bytes_max: WRITE_BYTES_MAX, ..Turn::default() }
    }

    /// A turn over a backend that keeps the states of `layout`.
    pub fn stateful(context: TurnContext, layout: StateLayout, backend: Box<dyn StateBackend>) -> Turn {
        Turn {
            context,
            backend: Some(backend),
            staged: layout.iter().map(|_| Staged::default()).collect(),
            staged_maps: layout.iter().map(|_| StagedMaps::default()).collect(),
            declared: layout.iter().take_while(|state| !state.is_internal()).count(),
            layout,
            write_bytes_max: WRITE_BYTES_MAX,
            ..Turn::default()
        }
    }

    /// Refuses a guest what is the host's own: states that the function does not declare.
    pub fn check_declared(&self, state: u32) -> Result<(), HostCallError> {
        if (state as usize) < self.declared {
            return Ok(());
        }
        Err(invalid(format!("there is no keyed state {state}: the function declares {}", self.declared)))
    }

    /// Refuses a guest timers that are the host's own.
    pub fn check_timers_declared(&self) -> Result<(), HostCallError> {
        if self.timers_are_internal {
            return Err(invalid("the function does not declare timers"));
        }
        Ok(())
    }

    /// Bounds what one turn may write to state and metrics, in bytes.
    pub fn limit_writes(&mut self, bytes: usize) {
        self.write_bytes_max = bytes;
    }

    /// Lifts that bound for the turn that has begun: for what the host's own operators write, which no guest chooses.
    pub fn lift_write_limit(&mut self) {
        self.budget = usize::MAX;
    }

    fn charge(&mut self, bytes: usize) -> Result<(), HostCallError> {
        // A fixed part for each write, so that empty ones cannot be had without end.
        match self.budget.checked_sub(bytes.saturating_add(16)) {
            Some(left) => self.budget = left,
            None => return Err(HostCallError::WriteLimitExceeded { limit: self.write_bytes_max }),
        }
        Ok(())
    }

    /// Begins a turn over a batch with these keys.
    pub fn begin(&mut self, keys: Option<&Arc<Keys>>, watermark: i64, processing_time: i64) {
        self.abort();
        self.log.clear();
        self.budget = self.write_bytes_max;
        self.keys = keys.cloned().unwrap_or_default();
        self.context.watermark = watermark;
        self.context.processing_time = processing_time;
    }

    /// Makes the state writes and metrics take effect. After an error the backend may hold none of them or all, so the
    /// subtask must not go on with it.
    pub fn commit(&mut self) -> Result<(), Error> {
        if let Some(backend) = self.backend.as_mut() {
            let keys = &*self.keys;
            let entries =
                self.staged.iter().enumerate().flat_map(|(state, staged)| staged.writes(state as StateId, keys));
            let maps = self.staged_maps.iter().enumerate();
            let maps = maps.flat_map(|(state, staged)| staged.writes(state as StateId, keys));
            let timers = self.timers.iter().flatten().flat_map(|timers| timers.writes());
            backend.apply(&mut entries.chain(maps).chain(timers))?;
            self.timers.iter_mut().flatten().for_each(|timers| timers.committed());
        }
        if let Some(broadcast) = self.broadcast.as_mut() {
            broadcast.commit();
        }
        for (name, change) in std::mem::take(&mut self.staged_metrics) {
            let metric = self.metrics.entry(name).or_insert(0.0);
            match change {
                MetricChange::Add(value) => *metric += value as f64,
                MetricChange::Set(value) => *metric = value,
            }
        }
        self.reset_staged();
        Ok(())
    }

    /// Forgets what the guest asked for. Log lines stay until the next turn begins.
    pub fn abort(&mut self) {
        self.reset_staged();
        self.staged_metrics.clear();
        self.panic = None;
    }

    fn reset_staged(&mut self) {
        self.staged.iter_mut().for_each(Staged::reset);
        self.staged_maps.iter_mut().for_each(StagedMaps::reset);
        if let Some(broadcast) = self.broadcast.as_mut() {
            broadcast.reset();
        }
        self.timers.iter_mut().flatten().for_each(|timers| timers.reset());
    }

    /// The backend, for snapshots; None for a function without keyed state.
    pub fn backend(&mut self) -> Option<&mut (dyn StateBackend + 'static)> {
        self.backend.as_deref_mut()
    }

    /// The states of the operator.
    pub fn layout(&self) -> &StateLayout {
        &self.layout
    }

    /// The function's own metrics, as committed.
    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.metrics
    }

    /// The lines that this turn wrote, whether it succeeded or not.
    pub fn log_lines(&self) -> &[LogLine] {
        &self.log
    }

    /// The last words of a guest that panicked.
    pub fn take_panic(&mut self) -> Option<String> {
        self.panic.take()
    }

    /// A state by the guest's index, which has to be of one of these kinds.
    fn check_state(&self, state: u32, kinds: &[StateKind]) -> Result<StateId, HostCallError> {
        match self.layout.get(state as usize) {
            Some(description) if kinds.contains(&description.kind) => Ok(state as StateId),
            Some(description) => {
                let (name, kind) = (&description.name, description.kind.as_str());
                Err(invalid(format!("state `{name}` is of kind {kind}, not {}", kinds[0].as_str())))
            }
            None => Err(invalid(format!("there is no state {state}: the function declares {}", self.layout.len()))),
        }
    }

    /// What stands in front of each value that this turn writes to a state.
    fn stamp(&self, state: StateId) -> Stamp {
        Stamp(self.ttl(state).map(|_| ttl::stamp(self.context.processing_time)))
    }

    fn ttl(&self, state: StateId) -> Option<TimeToLive> {
        self.layout[usize::from(state)].ttl
    }

    fn check_key(&self, key: u32) -> Result<(), HostCallError> {
        if (key as usize) < self.keys.distinct.len() {
            return Ok(());
        }
        Err(invalid(format!("there is no key {key}: this turn has {}", self.keys.distinct.len())))
    }

    fn check_keys(&self, keys: &[u32], with: usize) -> Result<(), HostCallError> {
        if keys.len() != with {
            return Err(invalid(format!("{} keys with {with} values", keys.len())));
        }
        keys.iter().try_for_each(|&key| self.check_key(key))
    }
}

/// The time in front of what is staged; nothing where the state has no time to live.
struct Stamp(Option<[u8; ttl::TIME_BYTES]>);

impl Stamp {
    fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |time| time)
    }
}

fn backend(backend: &mut Option<Box<dyn StateBackend>>) -> Result<&mut (dyn StateBackend + 'static), HostCallError> {
    backend.as_deref_mut().ok_or_else(|| invalid("the operator has no keyed state"))
}

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;
