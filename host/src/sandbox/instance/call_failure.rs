//! The outcome of a failed call into a component, and how wasmtime's error becomes a fault, an error or a cancel.

use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::store_data::StoreData;
use crate::error;
use crate::model::{Fault, FaultCode};
use crate::pipeline::GuestLimits;
use crate::turn::{GuestPanic, HostCallError, TurnFailure, sanitize_backtrace, sanitize_text};

/// The reason why a call into a component failed.
#[derive(Debug)]
pub(in crate::sandbox) enum CallFailure {
    /// The guest failed.
    Fault(Fault),
    /// The host failed.
    Error(error::Error),
    /// The job is cancelled.
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

impl From<Fault> for CallFailure {
    fn from(fault: Fault) -> CallFailure {
        CallFailure::Fault(fault)
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

/// Returns the fault of a call that returned too many bytes.
pub(in crate::sandbox) fn output_exceeded(limits: &GuestLimits) -> Fault {
    Fault::new(
        FaultCode::OutputExceeded,
        format!("the call returns more than limits.output, {} bytes", limits.output_bytes),
    )
}

/// Converts an error of wasmtime to the failure of a call. The instance is lost.
pub(in crate::sandbox) fn classify(
    cause: &wasmtime::Error,
    store: &mut Store<StoreData>,
    limits: &GuestLimits,
) -> CallFailure {
    store.data_mut().is_lost = true;
    if let Some(full) = cause.downcast_ref::<PoolConcurrencyLimitError>() {
        // The host lacks capacity. This must not count as a fault, or a record would be skipped because of it.
        return CallFailure::Error(error::sandbox_unavailable(format!("the pool has no free instance: {full}")));
    }
    let data = store.data_mut();
    let panic = data.turn.take_panic();
    let memory_refused = data.memory.take_refused();
    let mut fault = match (cause.downcast_ref::<HostCallError>(), cause.downcast_ref::<Trap>()) {
        (Some(HostCallError::Error(error)), _) => return CallFailure::Error(error.clone()),
        (Some(refusal @ HostCallError::InvalidCall(_)), _) => Fault::new(FaultCode::InvalidCall, refusal.to_string()),
        (Some(HostCallError::LimitExceeded(fault)), _) => fault.clone(),
        (_, Some(Trap::Interrupt)) if data.deadline.was_cancelled() => return CallFailure::Cancelled,
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
            let message = format!("the component needs more memory than limits.memory, {} bytes", limits.memory_bytes);
            Fault::new(FaultCode::MemoryExceeded, message)
        }
        _ if cause.root_cause().to_string().contains("fuel allocated for hostcalls") => output_exceeded(limits),
        (_, trap) => match panic {
            Some(GuestPanic { message, backtrace }) => {
                Fault::new(FaultCode::GuestPanic, message).with_backtrace(backtrace)
            }
            None => trap_fault(cause, trap, data.environment.stderr_tail().map(sanitize_text)),
        },
    };
    // The guest's own backtrace says more than the names of its WebAssembly functions.
    if let (true, Some(backtrace)) = (fault.backtrace.is_empty(), cause.downcast_ref::<WasmBacktrace>()) {
        fault.backtrace = sanitize_backtrace(backtrace.frames().iter().map(frame_text));
    }
    CallFailure::Fault(fault)
}

fn frame_text(frame: &wasmtime::FrameInfo) -> String {
    match frame.func_name() {
        Some(name) => wasmtime_demangle(name),
        None => format!("function {}", frame.func_index()),
    }
}

/// Returns the fault of a trap that the guest did not explain with `log.panic`. `stderr` is what it wrote there last.
///
/// A runtime that aborts or exits has written its reason to stderr. Other traps surprise the runtime, too, so what it wrote before
/// only accompanies their own reason.
fn trap_fault(cause: &wasmtime::Error, trap: Option<&Trap>, stderr: Option<String>) -> Fault {
    let exited = cause.downcast_ref::<I32Exit>();
    let has_aborted = exited.is_some() || matches!(trap, Some(Trap::UnreachableCodeReached));
    let reason = match (exited, trap) {
        (Some(I32Exit(status)), _) => format!("the component exited with status {status}"),
        (_, Some(trap)) => trap.to_string(),
        (_, None) => format!("{:#}", cause.root_cause()),
    };
    match stderr {
        Some(stderr) if has_aborted => Fault::new(FaultCode::GuestPanic, stderr),
        Some(stderr) => Fault::new(FaultCode::GuestTrap, format!("{reason}; its last output on stderr: {stderr}")),
        None => Fault::new(FaultCode::GuestTrap, reason),
    }
}

fn wasmtime_demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}
