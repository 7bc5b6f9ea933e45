//! [`Turn`]: staged effects, and their commit or abort.
//!
//! A subtask uses one `Turn` for all its turns, so that buffers are reused. The `impl` blocks in `host_calls/`,
//! `native_operator.rs` and `watermark.rs` add what guests and operators call.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{HostCallError, invalid};
use super::group_watermarks::EventTimeProgress;
use super::known_sizes::KeySizes;
use super::limits::{TurnBudget, TurnLimits};
use super::shared_limits::SharedLimits;
use super::staged::broadcast::StagedBroadcast;
use super::staged::telemetry::{GuestPanic, LogLine, TurnTelemetry};
use super::staged::timers::TimerService;
use super::staged::writes::{StagedMaps, StagedWrites};
use crate::clock::random_u64;
use crate::error::Error;
use crate::model::{Fault, KeyGroup, Keys, NO_TIMESTAMP, TurnPositions, UserMetrics};
use crate::namespace_usage::Charge;
use crate::state::{StateBackend, StateId, StateKind, StateLayout, TimeToLive, ttl};

/// Where and when a turn runs.
#[derive(Clone, Debug)]
pub struct TurnContext {
    /// Id of the operator in the pipeline.
    pub operator: String,
    /// Index of the subtask. Guests do not see it, because their results must not depend on it.
    pub subtask: u32,
    /// Milliseconds since the Unix epoch; [`NO_TIMESTAMP`] before the first watermark.
    pub watermark: i64,
    /// Milliseconds since the Unix epoch, at the start of the turn.
    pub processing_time: i64,
    /// Seed of the guest's random numbers.
    pub seed: u64,
    /// Records of this input, or timers, windows or pairs, that the subtask has handled before this turn.
    pub position: u64,
    /// Configuration of the operator in the pipeline file.
    pub config: Arc<BTreeMap<String, String>>,
}

impl Default for TurnContext {
    fn default() -> Self {
        TurnContext {
            operator: String::new(),
            subtask: 0,
            watermark: NO_TIMESTAMP,
            processing_time: 0,
            seed: 0,
            position: 0,
            config: Arc::default(),
        }
    }
}

/// One call of a function and its staged effects. See the module documentation of `turn`.
#[derive(Default)]
pub struct Turn {
    /// Where and when the current turn runs.
    pub context: TurnContext,
    /// Items that the subtask has handled. Checkpoints keep it. The operator advances it.
    pub positions: TurnPositions,
    pub(super) backend: Option<Box<dyn StateBackend>>,
    pub(super) layout: StateLayout,
    /// Number of states that the function declares. The internal states follow them in the layout.
    pub(super) declared: usize,
    /// Keys of the current turn.
    pub(super) keys: Arc<Keys>,
    /// Staged writes of each state that is not a map.
    pub(super) staged: Vec<StagedWrites>,
    /// Staged writes of each state that is a map.
    pub(super) staged_maps: Vec<StagedMaps>,
    pub(super) broadcast: Option<Box<StagedBroadcast>>,
    /// Timers of each clock; the index is the [`crate::model::TimeDomain`].
    pub(super) timers: [Option<Box<TimerService>>; 2],
    /// Whether the timers are internal, so that the guest must not use them.
    pub(super) timers_are_internal: bool,
    pub(super) progress: EventTimeProgress,
    pub(super) telemetry: TurnTelemetry,
    pub(super) limits: TurnLimits,
    pub(super) budget: TurnBudget,
    pub(super) shared: Arc<SharedLimits>,
    /// Sizes of the lists and maps of single keys.
    pub(super) key_sizes: KeySizes,
    /// Bytes of state of this subtask that are charged to the operator.
    pub(super) charged_bytes: u64,
    /// The same, charged to the namespace.
    pub(super) namespace_charge: Charge,
}

impl Turn {
    /// Returns a turn of a function without keyed state.
    pub fn stateless(context: TurnContext) -> Turn {
        Turn { context, ..Turn::default() }
    }

    /// Returns a turn over a backend that was opened with `layout`.
    pub fn stateful(context: TurnContext, layout: StateLayout, backend: Box<dyn StateBackend>) -> Turn {
        Turn {
            context,
            backend: Some(backend),
            staged: layout.iter().map(|_| StagedWrites::default()).collect(),
            staged_maps: layout.iter().map(|_| StagedMaps::default()).collect(),
            key_sizes: KeySizes::new(random_u64(), &TurnLimits::default()),
            declared: layout.iter().take_while(|state| !state.is_internal()).count(),
            layout,
            ..Turn::default()
        }
    }

    /// Refuses a call on a state that the function does not declare.
    pub fn check_declared(&self, state: u32) -> Result<(), HostCallError> {
        if (state as usize) < self.declared {
            return Ok(());
        }
        Err(invalid(format!("keyed state {state} does not exist: the function declares {}", self.declared)))
    }

    /// Refuses a call on timers if the function does not declare timers.
    pub fn check_timers_declared(&self) -> Result<(), HostCallError> {
        if self.timers_are_internal {
            return Err(invalid("the function does not declare timers"));
        }
        Ok(())
    }

    /// Sets the limits of the following turns.
    pub fn set_limits(&mut self, limits: TurnLimits) {
        self.limits = limits;
        self.key_sizes.set_limits(&limits);
    }

    /// Shares limits with the other subtasks of the operator.
    pub fn share_limits(&mut self, shared: Arc<SharedLimits>) {
        self.namespace_charge = shared.namespace_charge();
        self.shared = shared;
    }

    /// Returns the limits that the subtasks of the operator share.
    pub fn shared_limits(&self) -> &Arc<SharedLimits> {
        &self.shared
    }

    /// Sets whether the following turns handle several items, which can be divided if the turn is too large.
    pub fn set_divisible(&mut self, is_divisible: bool) {
        self.budget.set_divisible(is_divisible);
    }

    /// Returns the fault of the current turn if it exceeds a limit per turn. It must not be committed. If it has several items,
    /// it is to be divided, and the fault does not count.
    pub fn too_large(&self) -> Option<&Fault> {
        self.budget.too_large()
    }

    /// Removes the limits per turn for the rest of the current turn. For native operators, whose writes no guest controls.
    pub fn lift_write_limit(&mut self) {
        self.budget.lift();
    }

    /// Charges a write to the turn. Returns whether to stage it: the writes of a turn that is too large are dropped.
    #[inline]
    pub(super) fn admit_write(&mut self, bytes: usize) -> Result<bool, HostCallError> {
        self.budget.admit_write(bytes, &self.limits)
    }

    /// Charges timers to the turn, which take `bytes` of state. Returns whether to stage them.
    pub(super) fn admit_timers(&mut self, timers: usize, bytes: usize) -> Result<bool, HostCallError> {
        self.budget.admit_timers(timers, bytes, &self.limits)
    }

    /// Begins a turn over a batch with these keys. Aborts the previous turn if it was not committed.
    pub fn begin(&mut self, keys: Option<&Arc<Keys>>, watermark: i64, processing_time: i64) {
        self.abort();
        self.telemetry.clear_log();
        self.budget.begin(&self.limits);
        self.keys = keys.cloned().unwrap_or_default();
        self.context.watermark = watermark;
        self.context.processing_time = processing_time;
    }

    /// Applies all staged effects.
    ///
    /// After an error, the backend may contain all writes or none. Error: `state-exceeded` if the state of the operator is too
    /// large. The subtask must not continue to use it.
    pub fn commit(&mut self) -> Result<(), Error> {
        if let Some(backend) = self.backend.as_mut() {
            let keys = &*self.keys;
            let entries =
                self.staged.iter().enumerate().flat_map(|(state, staged)| staged.writes(state as StateId, keys));
            let maps = self.staged_maps.iter().enumerate();
            let maps = maps.flat_map(|(state, staged)| staged.writes(state as StateId, keys));
            let timers = self.timers.iter().flatten().flat_map(|timers| timers.writes());
            backend.apply(&mut entries.chain(maps).chain(timers))?;
            self.timers.iter_mut().flatten().for_each(|timers| timers.finish_commit());
        }
        if let Some(broadcast) = self.broadcast.as_mut() {
            broadcast.commit();
        }
        self.telemetry.commit_metrics();
        self.update_key_sizes();
        self.reset_staged_state();
        self.charge_state()
    }

    /// Charges the size of the state to the operator and the namespace, if it has changed much. Errors: `state-exceeded`,
    /// `quota-exceeded`.
    fn charge_state(&mut self) -> Result<(), Error> {
        let keyed = self.backend.as_mut().map_or(0, |backend| backend.charged_bytes());
        let broadcast = self.broadcast.as_ref().map_or(0, |broadcast| broadcast.state.charged_bytes());
        let (before, after) = (self.charged_bytes, keyed + broadcast);
        if after.abs_diff(before) <= self.shared.state_step_bytes() {
            return Ok(());
        }
        self.charged_bytes = after;
        self.namespace_charge.set(after);
        self.shared.change_state(before, after)?;
        // A state that shrinks is not at fault.
        if after > before { self.namespace_charge.check() } else { Ok(()) }
    }

    /// Discards all staged effects. Log lines stay until the next turn begins.
    pub fn abort(&mut self) {
        self.reset_staged_state();
        self.telemetry.discard_staged();
    }

    fn reset_staged_state(&mut self) {
        self.staged.iter_mut().for_each(StagedWrites::reset);
        self.staged_maps.iter_mut().for_each(StagedMaps::reset);
        if let Some(broadcast) = self.broadcast.as_mut() {
            broadcast.reset();
        }
        self.timers.iter_mut().flatten().for_each(|timers| timers.reset());
    }

    /// Returns the backend, for snapshots. `None` if the function has no keyed state.
    pub fn backend(&mut self) -> Option<&mut (dyn StateBackend + 'static)> {
        self.backend.as_deref_mut()
    }

    /// Returns the key group of the turn's first key, if the turn has keys.
    pub fn first_group(&self) -> Option<KeyGroup> {
        self.keys.groups.first().copied()
    }

    /// Returns the states of the operator, including its internal states.
    pub fn layout(&self) -> &StateLayout {
        &self.layout
    }

    /// Returns the committed values of the function's metrics.
    pub fn metrics(&self) -> &UserMetrics {
        self.telemetry.metrics()
    }

    /// Returns the log lines of the current turn, also if it was aborted.
    pub fn log_lines(&self) -> &[LogLine] {
        self.telemetry.log_lines()
    }

    /// Returns the panic that the guest reported in the current turn, if any.
    pub fn take_panic(&mut self) -> Option<GuestPanic> {
        self.telemetry.take_panic()
    }

    /// Checks that the guest's state index denotes a state of one of these kinds.
    pub(super) fn check_state(&self, state: u32, kinds: &[StateKind]) -> Result<StateId, HostCallError> {
        match self.layout.get(state as usize) {
            Some(description) if kinds.contains(&description.kind) => Ok(state as StateId),
            Some(description) => {
                let (name, kind) = (&description.name, description.kind.as_str());
                Err(invalid(format!("state `{name}` is of kind {kind}, not {}", kinds[0].as_str())))
            }
            None => Err(invalid(format!("state {state} does not exist: the function declares {}", self.layout.len()))),
        }
    }

    /// Returns the update time that precedes each value written to a state in this turn.
    pub(super) fn stamp(&self, state: StateId) -> TtlStamp {
        TtlStamp(self.ttl(state).map(|_| ttl::stamp(self.context.processing_time)))
    }

    pub(super) fn ttl(&self, state: StateId) -> Option<TimeToLive> {
        self.layout[usize::from(state)].ttl
    }

    /// Checks that the turn has a key with this index.
    pub(super) fn check_key(&self, key: u32) -> Result<(), HostCallError> {
        if (key as usize) < self.keys.distinct.len() {
            return Ok(());
        }
        Err(invalid(format!("key {key} does not exist: this turn has {}", self.keys.distinct.len())))
    }

    /// Checks that the turn has all these keys, and that their number equals the number of values.
    pub(super) fn check_keys(&self, keys: &[u32], values: usize) -> Result<(), HostCallError> {
        if keys.len() != values {
            return Err(invalid(format!("the call has {} keys but {values} values", keys.len())));
        }
        keys.iter().try_for_each(|&key| self.check_key(key))
    }
}

/// The update time that precedes a staged value. Empty if the state has no time to live.
pub(super) struct TtlStamp(Option<[u8; ttl::TIME_BYTES]>);

impl TtlStamp {
    pub fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |time| time)
    }
}

/// Returns the backend, or refuses the call if the operator has no keyed state.
pub(super) fn backend(
    backend: &mut Option<Box<dyn StateBackend>>,
) -> Result<&mut (dyn StateBackend + 'static), HostCallError> {
    backend.as_deref_mut().ok_or_else(|| invalid("the operator has no keyed state"))
}
