//! The data of an instance's store: everything that the host functions of one instance work on.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::deadline::Deadline;
use super::memory_limit::MemoryLimit;
use crate::clock;
use crate::error::Result;
use crate::model::LogLevel;
use crate::permits;
use crate::pipeline::{Grants, GuestLimits};
use crate::sandbox::wasi::WasiEnvironment;
use crate::turn::Turn;

/// Maximum number of WASI resources of one instance. Each takes memory of the host.
const RESOURCES_MAX: usize = 1024;

/// The data of one store.
pub(in crate::sandbox) struct StoreData {
    pub(in crate::sandbox) turn: Turn,
    /// Whether a call is within a turn. Otherwise the imports that need a turn are refused.
    pub(in crate::sandbox) in_turn: bool,
    /// Whether a call did not return, so that the instance must not be used again.
    pub(in crate::sandbox) is_lost: bool,
    pub(in crate::sandbox) deadline: Deadline,
    pub(in crate::sandbox) memory: MemoryLimit,
    pub(in crate::sandbox) environment: WasiEnvironment,
    wasi: WasiCtx,
    resources: ResourceTable,
}

impl WasiView for StoreData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

/// What an instance may use.
#[derive(Clone, Default)]
pub(in crate::sandbox) struct InstanceOptions {
    pub(in crate::sandbox) limits: GuestLimits,
    /// Seed of its random numbers outside of turns.
    pub(in crate::sandbox) seed: u64,
    /// Calls end soon after this is set.
    pub(in crate::sandbox) cancel: Arc<AtomicBool>,
    pub(in crate::sandbox) grants: Arc<Grants>,
}

/// Creates a store with these options. Error: `sandbox-unavailable` if a granted folder cannot be opened.
pub(in crate::sandbox) fn new_store(engine: &Engine, options: &InstanceOptions) -> Result<Store<StoreData>> {
    let InstanceOptions { limits, seed, cancel, grants } = options;
    let environment = WasiEnvironment::new(grants);
    let mut data = StoreData {
        turn: Turn::default(),
        in_turn: false,
        is_lost: false,
        deadline: Deadline::new(cancel.clone()),
        memory: MemoryLimit::new(limits.memory_bytes),
        wasi: environment.context(*seed, grants)?,
        environment,
        resources: ResourceTable::new(),
    };
    data.resources.set_max_capacity(RESOURCES_MAX);
    let mut store = Store::new(engine, data);
    store.limiter(|data| &mut data.memory);
    store.set_hostcall_fuel(hostcall_fuel(limits));
    store.epoch_deadline_callback(|mut store| {
        permits::check();
        Ok(store.data_mut().deadline.tick(clock::thread_cpu_time()))
    });
    Ok(store)
}

/// Starts the deadline of the next call, `budget` of processor time.
pub(in crate::sandbox) fn begin_call(store: &mut Store<StoreData>, budget: Duration) {
    store.data_mut().deadline.begin(budget);
    store.set_epoch_deadline(1);
}

/// Returns the number of bytes that a guest may pass to the host in one call: its output, and room for the lists around it.
fn hostcall_fuel(limits: &GuestLimits) -> usize {
    limits.output_bytes.saturating_mul(2).saturating_add(1 << 20)
}

/// Logs the output and the log lines of a call outside of a turn, which no operator logs.
pub(in crate::sandbox) fn log_lines_outside_turn(store: &mut Store<StoreData>) {
    let data = store.data_mut();
    for line in data.environment.take_output() {
        data.turn.log(LogLevel::Info, line, None);
    }
    for line in data.turn.log_lines() {
        tracing::info!(target: "guest", level = ?line.level, "{}", line.message.trim_end().replace('\n', "\\n"));
    }
}
