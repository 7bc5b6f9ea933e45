//! A component alive in one subtask, within its limits. Disposable: a fault drops it, and the next turn gets a fresh one.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wasmtime::component::ResourceTable;
use wasmtime::{PoolConcurrencyLimitError, ResourceLimiter, Store, Trap, WasmBacktrace};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::bindings::cofferdam::function::types;
use super::bindings::exports::cofferdam::function::{function as wit, join as wit_join, window as wit_window};
use super::component::Component;
use super::deadline::Deadline;
use super::engine::TABLE_ELEMENTS_MAX;
use super::exports::{ComponentExports, LinkedComponent};
use super::wasi::WasiEnvironment;
use crate::error;
use crate::model::{
    Batch, Column, DueTimers, Fault, FaultCode, JoinedPairs, Keys, PairSide, TimeDomain, WindowElements, Windows,
};
use crate::pipeline::GuestLimits;
use crate::turn::{Guest, HostCallError, LogLevel, OutputBatch, Turn, TurnFailure, sanitize_text};

/// Lines of a guest's call stack that a fault keeps.
const BACKTRACE_LINES_MAX: usize = 32;

/// Characters of a function's name in a backtrace; the name is the component's, and may be of any length.
const FRAME_CHARS_MAX: usize = 256;

/// WASI resources that one instance may hold. Each takes memory of the host's.
const RESOURCES_MAX: usize = 1024;

/// The store's data: what the host functions of one instance work on.
pub(super) struct StoreData {
    pub(super) turn: Turn,
    pub(super) in_turn: bool,
    pub(super) deadline: Deadline,
    memory: MemoryLimit,
    ambient: WasiEnvironment,
    wasi: WasiCtx,
    resources: ResourceTable,
}

impl WasiView for StoreData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

/// Bounds memory and tables, and remembers that it refused.
struct MemoryLimit {
    bytes_max: usize,
    refused: bool,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.refused |= desired > self.bytes_max;
        Ok(desired <= self.bytes_max)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

/// The store and bindings of a live component.
pub(super) struct LiveInstance {
    store: Store<StoreData>,
    exports: ComponentExports,
}

/// One subtask's guest: an instance that stays warm for as long as it behaves.
pub struct Instance {
    component: Component,
    function: u32,
    outputs: usize,
    limits: GuestLimits,
    seed: u64,
    /// Throw the instance away after every turn.
    fresh: bool,
    /// Set when the job is cancelled: it ends a call.
    cancel: Arc<AtomicBool>,
    alive: Option<LiveInstance>,
}

impl Instance {
    /// A guest that runs function `function` of the component. Nothing is instantiated before the first turn.
    pub fn new(component: Component, function: u32, limits: GuestLimits, seed: u64, fresh: bool) -> Instance {
        let outputs =
            component.description().functions.get(function as usize).map_or(1, |function| function.outputs.len());
        Instance { component, function, outputs, limits, seed, fresh, cancel: Arc::default(), alive: None }
    }

    /// Ends a call soon after `cancel` is set.
    pub fn cancelled_by(mut self, cancel: Arc<AtomicBool>) -> Instance {
        self.cancel = cancel;
        self
    }

    /// A live component; the fault is about its start.
    pub(super) fn start(
        pre: &LinkedComponent,
        limits: GuestLimits,
        seed: u64,
        cancel: Arc<AtomicBool>,
    ) -> Result<LiveInstance, CallFailure> {
        let ambient = WasiEnvironment::default();
        let mut state = StoreData {
            turn: Turn::default(),
            in_turn: false,
            deadline: Deadline::new(cancel),
            memory: MemoryLimit { bytes_max: limits.memory_bytes, refused: false },
            wasi: ambient.context(seed),
            ambient,
            resources: ResourceTable::new(),
        };
        state.resources.set_max_capacity(RESOURCES_MAX);
        let mut store = Store::new(pre.instance.component().engine(), state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(fuel(&limits));
        Deadline::install(&mut store);
        Deadline::begin(&mut store, limits.deadline);
        let instantiated = pre.instance.instantiate(&mut store);
        match instantiated.and_then(|instance| pre.load(&mut store, &instance)) {
            Ok(exports) => Ok(LiveInstance { store, exports }),
            Err(cause) => Err(classify(&cause, &mut store, &limits)),
        }
    }

    fn start_own(&self) -> Result<LiveInstance, CallFailure> {
        Instance::start(self.component.pre(), self.limits, self.seed, self.cancel.clone())
    }

    /// One call within `turn`: the instance is there for it, its imports reach the turn, and whatever goes wrong takes the
    /// instance with it.
    fn within<T>(
        &mut self,
        turn: &mut Turn,
        call: impl FnOnce(&Instance, &mut Store<StoreData>, &ComponentExports) -> Result<T, CallFailure>,
    ) -> Result<T, TurnFailure> {
        let mut alive = match self.alive.take() {
            Some(alive) => alive,
            None => self.start_own()?,
        };
        alive.store.data().ambient.set_time(turn.context.processing_time);
        std::mem::swap(&mut alive.store.data_mut().turn, turn);
        alive.store.data_mut().in_turn = true;
        let LiveInstance { store, exports } = &mut alive;
        Deadline::begin(store, self.limits.deadline);
        // A refusal that an earlier call survived says nothing of this one.
        store.data_mut().memory.refused = false;
        let result = call(self, store, exports);
        alive.store.data_mut().in_turn = false;
        std::mem::swap(&mut alive.store.data_mut().turn, turn);
        for line in alive.store.data().ambient.take_output() {
            turn.log(LogLevel::Info, line, None);
        }
        if result.is_ok() && !self.fresh {
            self.alive = Some(alive);
        }
        Ok(result?)
    }

    /// What a call returned: what the guest says, or why there is nothing. `items` is what a failure counts its record in.
    fn returned<T>(
        &self,
        store: &mut Store<StoreData>,
        returned: wasmtime::Result<Result<T, types::Failure>>,
        items: usize,
    ) -> Result<T, CallFailure> {
        match returned {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(types::Failure { message, record })) => {
                let message = match record {
                    Some(record) if items > 1 => format!("{message} (record {record} of the batch)"),
                    _ => message,
                };
                Err(CallFailure::Fault(Fault::new(FaultCode::GuestError, sanitize_text(message))))
            }
            Err(cause) => Err(classify(&cause, store, &self.limits)),
        }
    }

    /// A column that a call returned, which has to have `len` values.
    fn check_column(&self, column: types::ColumnResult, len: usize) -> Result<Column, CallFailure> {
        let column = checked_column(column)?;
        if column.len() != len {
            let message = format!("{} values were returned for {len}", column.len());
            return Err(CallFailure::Fault(Fault::new(FaultCode::InvalidOutput, message)));
        }
        if column.bytes().len() + column.offsets().len() * 4 > self.limits.output_bytes {
            return Err(CallFailure::Fault(output_exceeded(&self.limits)));
        }
        Ok(column)
    }

    /// Guest bytes become batches, or a fault that says what is wrong with them.
    fn check_outputs(&self, outputs: Vec<types::Output>) -> Result<Vec<OutputBatch>, Fault> {
        let invalid =
            |index: u32, what: String| Fault::new(FaultCode::InvalidOutput, format!("output {index}: {what}"));
        let mut bytes = 0usize;
        let mut checked = Vec::with_capacity(outputs.len());
        for output in outputs {
            let index = output.index;
            if index as usize >= self.outputs {
                return Err(invalid(index, format!("the function has {} outputs", self.outputs)));
            }
            let column = |column: types::ColumnResult| {
                Column::from_parts(column.bytes, column.offsets).map_err(|defect| invalid(index, defect.to_string()))
            };
            let values = column(output.values)?;
            let chosen_keys = output.keys.map(column).transpose()?;
            let of_keys = chosen_keys.as_ref().map_or(0, |keys| keys.bytes().len() + keys.offsets().len() * 4);
            let of_values = values.bytes().len() + values.offsets().len() * 4 + output.timestamps.len() * 8;
            bytes = bytes.saturating_add(of_values + of_keys);
            if values.len() != output.timestamps.len() {
                return Err(invalid(
                    index,
                    format!("{} values with {} timestamps", values.len(), output.timestamps.len()),
                ));
            }
            if let Some(keys) = chosen_keys.as_ref().filter(|keys| keys.len() != values.len()) {
                return Err(invalid(index, format!("{} values with {} keys", values.len(), keys.len())));
            }
            checked.push(OutputBatch {
                index: index as usize,
                batch: Batch { values, timestamps: output.timestamps, chosen_keys, keys: None },
            });
        }
        if bytes > self.limits.output_bytes {
            return Err(output_exceeded(&self.limits));
        }
        Ok(checked)
    }
}

impl LiveInstance {
    pub(super) fn describe(&mut self) -> Result<wit::ComponentDescription, CallFailure> {
        Deadline::begin(&mut self.store, GuestLimits::default().deadline);
        let described = self.exports.function.call_describe(&mut self.store);
        let described = described.map_err(|cause| classify(&cause, &mut self.store, &GuestLimits::default()));
        show_lines(&mut self.store);
        described
    }
}

impl Guest for Instance {
    fn process(&mut self, turn: &mut Turn, input: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let none;
            let keys = match &batch.keys {
                Some(keys) => &**keys,
                None => {
                    none = Keys::default();
                    &none
                }
            };
            let batch_param = batch_param(batch, keys);
            let returned = exports.function.call_process(&mut *store, this.function, input, batch_param);
            let outputs = this.returned(store, returned, batch.len())?;
            this.check_outputs(outputs).map_err(CallFailure::Fault)
        })
    }

    fn on_timers(
        &mut self,
        turn: &mut Turn,
        domain: TimeDomain,
        timers: &DueTimers,
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let domain = match domain {
                TimeDomain::Event => types::TimeDomain::Event,
                TimeDomain::Processing => types::TimeDomain::Processing,
            };
            let (keys, key_of) = (column_param(&timers.keys.distinct), &timers.keys.key_of[..]);
            let due = wit::DueTimers { domain, keys, key_of, times: &timers.times };
            let returned = exports.function.call_on_timers(&mut *store, this.function, due);
            let outputs = this.returned(store, returned, timers.len())?;
            this.check_outputs(outputs).map_err(CallFailure::Fault)
        })
    }

    fn add(
        &mut self,
        turn: &mut Turn,
        accumulators: &Column,
        accumulator_of: &[u32],
        values: &Column,
        timestamps: &[i64],
    ) -> Result<Column, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let aggregate = exported(&exports.aggregate)?;
            let (held, values_param) = (column_param(accumulators), column_param(values));
            let function = this.function;
            let returned = aggregate.call_add(&mut *store, function, held, accumulator_of, values_param, timestamps);
            let column = this.returned(store, returned, values.len())?;
            this.check_column(column, accumulators.len())
        })
    }

    fn merge(&mut self, turn: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let aggregate = exported(&exports.aggregate)?;
            let (left_param, right_param) = (column_param(left), column_param(right));
            let returned = aggregate.call_merge(&mut *store, this.function, left_param, right_param);
            let column = this.returned(store, returned, left.len())?;
            this.check_column(column, left.len())
        })
    }

    fn finish(&mut self, turn: &mut Turn, accumulators: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let aggregate = exported(&exports.aggregate)?;
            let held = column_param(accumulators);
            let returned = aggregate.call_finish(&mut *store, this.function, held, windows_param(windows));
            let column = this.returned(store, returned, accumulators.len())?;
            this.check_column(column, accumulators.len())
        })
    }

    fn process_windows(
        &mut self,
        turn: &mut Turn,
        windows: &Windows,
        inputs: &[WindowElements],
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let window = exported(&exports.window)?;
            let params: Vec<_> = inputs.iter().map(elements_param).collect();
            let returned = window.call_process(&mut *store, this.function, windows_param(windows), &params);
            let outputs = this.returned(store, returned, windows.len())?;
            this.check_outputs(outputs).map_err(CallFailure::Fault)
        })
    }

    fn join(&mut self, turn: &mut Turn, pairs: &JoinedPairs) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let join = exported(&exports.join)?;
            let count = pairs.keys.key_of.len();
            let param = wit_join::Pairs {
                keys: column_param(&pairs.keys.distinct),
                key_of: &pairs.keys.key_of,
                left: side_param(&pairs.left),
                right: side_param(&pairs.right),
            };
            let returned = join.call_process(&mut *store, this.function, param);
            let outputs = this.returned(store, returned, count)?;
            this.check_outputs(outputs).map_err(CallFailure::Fault)
        })
    }

    /// A fresh instance, which is dropped again: imports are refused, since there is no turn.
    fn migrate(&mut self, state: u32, schema: &str, values: &Column) -> Result<Column, TurnFailure> {
        let LiveInstance { mut store, exports } = self.start_own()?;
        Deadline::begin(&mut store, self.limits.deadline);
        let returned = exports.function.call_migrate(&mut store, self.function, state, schema, column_param(values));
        let returned = self.returned(&mut store, returned, 0);
        show_lines(&mut store);
        Ok(checked_column(returned?)?)
    }
}

/// An interface that the description promised; see `component.rs`, which checks it.
fn exported<T>(interface: &Option<T>) -> Result<&T, CallFailure> {
    interface.as_ref().ok_or_else(|| CallFailure::Error(error::internal("the component does not export the interface")))
}

fn checked_column(column: types::ColumnResult) -> Result<Column, CallFailure> {
    Column::from_parts(column.bytes, column.offsets)
        .map_err(|defect| CallFailure::Fault(Fault::new(FaultCode::InvalidOutput, defect.to_string())))
}

/// How a call into wasm went wrong.
#[derive(Debug)]
pub(super) enum CallFailure {
    Fault(Fault),
    Error(error::Error),
    /// The job is being cancelled.
    Cancelled,
}

impl std::fmt::Display for CallFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallFailure::Fault(fault) => fault.fmt(f),
            CallFailure::Error(error) => error.fmt(f),
            CallFailure::Cancelled => f.write_str("the call was cancelled"),
        }
    }
}

impl From<CallFailure> for TurnFailure {
    fn from(failed: CallFailure) -> TurnFailure {
        match failed {
            CallFailure::Fault(fault) => TurnFailure::Fault(fault),
            CallFailure::Error(error) => TurnFailure::Error(error),
            CallFailure::Cancelled => TurnFailure::Cancelled,
        }
    }
}

/// Logs what a guest wrote outside of a turn, where no operator does.
fn show_lines(store: &mut Store<StoreData>) {
    let state = store.data_mut();
    for line in state.ambient.take_output() {
        state.turn.log(LogLevel::Info, line, None);
    }
    for line in state.turn.log_lines() {
        tracing::info!(target: "guest", level = ?line.level, "{}", line.message.trim_end().replace('\n', "\\n"));
    }
}

/// Bytes that a guest may hand over in one call: its output, and room for the lists around it.
fn fuel(limits: &GuestLimits) -> usize {
    limits.output_bytes.saturating_mul(2).saturating_add(1 << 20)
}

fn output_exceeded(limits: &GuestLimits) -> Fault {
    Fault::new(
        FaultCode::OutputExceeded,
        format!("the call hands over more than limits.output, {} bytes", limits.output_bytes),
    )
}

fn classify(cause: &wasmtime::Error, store: &mut Store<StoreData>, limits: &GuestLimits) -> CallFailure {
    if let Some(full) = cause.downcast_ref::<PoolConcurrencyLimitError>() {
        // Not the guest's fault: a record must not be skipped because other instances are many.
        return CallFailure::Error(error::sandbox_unavailable(format!("no room for one more instance: {full}")));
    }
    let state = store.data_mut();
    let panic = state.turn.take_panic();
    let memory_refused = std::mem::take(&mut state.memory.refused);
    let mut fault = match (cause.downcast_ref::<HostCallError>(), cause.downcast_ref::<Trap>()) {
        (Some(HostCallError::Error(error)), _) => return CallFailure::Error(error.clone()),
        (Some(refusal @ HostCallError::InvalidCall(_)), _) => Fault::new(FaultCode::InvalidCall, refusal.to_string()),
        (Some(refusal @ HostCallError::WriteLimitExceeded { .. }), _) => {
            Fault::new(FaultCode::OutputExceeded, refusal.to_string())
        }
        (_, Some(Trap::Interrupt)) if state.deadline.was_cancelled() => return CallFailure::Cancelled,
        (_, Some(Trap::Interrupt)) => {
            let deadline = humantime::format_duration(limits.deadline);
            Fault::new(
                FaultCode::DeadlineExceeded,
                format!("the call took more processor time than limits.deadline, {deadline}"),
            )
        }
        (_, Some(Trap::StackOverflow)) => {
            Fault::new(FaultCode::StackOverflow, "the call nested deeper than the stack allows")
        }
        _ if memory_refused => {
            let message = format!("the component wanted more memory than limits.memory, {} bytes", limits.memory_bytes);
            Fault::new(FaultCode::MemoryExceeded, message)
        }
        _ if cause.root_cause().to_string().contains("fuel allocated for hostcalls") => output_exceeded(limits),
        (_, trap) => match (panic.or_else(|| last_words(trap, &state.ambient)), trap) {
            (Some(message), _) => Fault::new(FaultCode::GuestPanic, message),
            (None, Some(trap)) => Fault::new(FaultCode::GuestTrap, trap.to_string()),
            (None, None) => Fault::new(FaultCode::GuestTrap, format!("{:#}", cause.root_cause())),
        },
    };
    if let Some(backtrace) = cause.downcast_ref::<WasmBacktrace>() {
        let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
            Some(name) => sanitize_text(wasmtime_demangle(name)).chars().take(FRAME_CHARS_MAX).collect(),
            None => format!("function {}", frame.func_index()),
        };
        fault.backtrace = backtrace.frames().iter().take(BACKTRACE_LINES_MAX).map(name).collect();
    }
    CallFailure::Fault(fault)
}

/// The words of a runtime that writes them to stderr before it aborts.
fn last_words(trap: Option<&Trap>, ambient: &WasiEnvironment) -> Option<String> {
    let aborted = matches!(trap, Some(Trap::UnreachableCodeReached));
    aborted.then(|| ambient.complaint()).flatten().map(sanitize_text)
}

fn wasmtime_demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

fn batch_param<'a>(batch: &'a Batch, keys: &'a Keys) -> wit::Batch<'a> {
    wit::Batch {
        values: column_param(&batch.values),
        timestamps: &batch.timestamps,
        keys: column_param(&keys.distinct),
        key_of: &keys.key_of,
    }
}

fn windows_param(windows: &Windows) -> types::Windows<'_> {
    types::Windows {
        keys: column_param(&windows.keys.distinct),
        key_of: &windows.keys.key_of,
        starts: &windows.starts,
        ends: &windows.ends,
    }
}

fn elements_param(elements: &WindowElements) -> wit_window::Elements<'_> {
    wit_window::Elements {
        values: column_param(&elements.values),
        timestamps: &elements.timestamps,
        ends: &elements.ends,
    }
}

fn side_param(side: &PairSide) -> wit_join::Side<'_> {
    wit_join::Side { values: column_param(&side.values), timestamps: &side.timestamps, value_of: &side.value_of }
}

fn column_param(column: &Column) -> types::ColumnParam<'_> {
    types::ColumnParam { bytes: column.bytes(), offsets: column.offsets() }
}
