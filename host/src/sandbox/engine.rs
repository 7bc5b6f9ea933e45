//! The wasmtime engine: its settings, its limits, and the ticker that drives deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::error::{self, Result};
use crate::pipeline::MEMORY_BYTES_MAX;
use crate::wakeup::Wakeup;

/// Interval at which the engine checks deadlines.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Number of instances beyond those of operators. Components are described in them, so an upload never takes the instance of
/// an operator.
pub(super) const DESCRIBING_INSTANCES: u32 = 8;

/// Maximum number of core modules that one component may instantiate. `wit-component` uses three for a Rust function, and
/// `componentize-py` about 40 for one in Python.
pub(super) const CORE_INSTANCES_MAX: u32 = 64;

/// Maximum number of tables of one component, over all of its core modules.
pub(super) const TABLES_MAX: u32 = 4;

/// Maximum number of elements of one table.
pub(super) const TABLE_ELEMENTS_MAX: usize = 1 << 16;

/// Maximum number of linear memories of one component, over all of its core modules. A function needs one; adapters of some
/// toolchains have memories of their own.
pub(super) const MEMORIES_MAX: u32 = 4;

/// Number of memories for which the pool reserves address space at most, except that every instance gets one. Each takes
/// 4 GiB, so these are half of the address space of a process.
const MEMORIES_TOTAL: u32 = 1 << 14;

/// Returns the settings that compiled code depends on. Code compiled by one engine with these settings runs in any other.
fn settings() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
    config
}

/// Creates the engine that runs components, with a pool for `instances_max` instances of operators.
pub(super) fn pooling_engine(instances_max: u32) -> wasmtime::Result<Engine> {
    let components = instances_max.saturating_add(DESCRIBING_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    // Each total allows the maximum number of components, so that none of them runs out before the instances do. Memories are the
    // exception: see `total_memories`.
    pool.total_component_instances(components)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .total_core_instances(components.saturating_mul(CORE_INSTANCES_MAX))
        .max_memories_per_component(MEMORIES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .total_memories(total_memories(components))
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .total_tables(components.saturating_mul(TABLES_MAX))
        .max_memory_size(MEMORY_BYTES_MAX);
    // Without a scan for the pages that were written, an instance that ends would make all of this resident. Most of it is a
    // stack that was never used.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(1 << 20);
    }
    let mut config = settings();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Returns the number of memories in the pool. Up to 4000 instances may have [`MEMORIES_MAX`] memories each. In a larger pool
/// they share what the address space has room for, so that components with several memories can run out of them.
fn total_memories(components: u32) -> u32 {
    components.saturating_mul(MEMORIES_MAX).min(MEMORIES_TOTAL).max(components)
}

/// Creates an engine that only compiles. It reserves no address space.
pub(super) fn compiling_engine() -> wasmtime::Result<Engine> {
    Engine::new(&settings())
}

/// The calls of guests that are in progress. Deadlines are ticked only while there are some.
#[derive(Default)]
pub(super) struct RunningCalls {
    count: AtomicUsize,
    /// Wakes the ticker.
    ticker: Wakeup,
}

impl RunningCalls {
    /// Counts a call until the returned value is dropped.
    pub(super) fn begin(&self) -> RunningCall<'_> {
        if self.count.fetch_add(1, Ordering::SeqCst) == 0 {
            self.ticker.wake();
        }
        RunningCall(self)
    }
}

/// A call in progress.
pub(super) struct RunningCall<'a>(&'a RunningCalls);

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The thread that ticks. It ends soon after this is dropped.
pub(super) struct Ticker {
    calls: Arc<RunningCalls>,
    /// `None` while it is being dropped.
    alive: Option<Arc<()>>,
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.alive = None;
        self.calls.ticker.wake();
    }
}

/// Starts the thread that ticks while `calls` are in progress.
pub(super) fn start_ticker(engine: &Engine, calls: &Arc<RunningCalls>) -> Result<Ticker> {
    let alive = Arc::new(());
    let (engine, lives, running) = (engine.weak(), Arc::downgrade(&alive), calls.clone());
    let tick = move || {
        while lives.strong_count() > 0 {
            if running.count.load(Ordering::SeqCst) == 0 {
                running.ticker.wait(Duration::MAX);
                continue;
            }
            std::thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    };
    std::thread::Builder::new()
        .name("epoch".into())
        .spawn(tick)
        .map(|_| Ticker { calls: calls.clone(), alive: Some(alive) })
        .map_err(|cause| error::sandbox_unavailable(format!("the thread for deadlines cannot be started: {cause}")))
}

#[cfg(test)]
mod tests {
    use wasmtime::Store;
    use wasmtime::component::{Component, Linker};

    use super::*;

    #[test]
    fn every_instance_may_have_as_many_parts_as_a_python_function() {
        assert_eq!([1, 1008, 4096, 20_000].map(total_memories), [4, 4032, 16_384, 20_000]);
        let instances = "(core instance (instantiate $m))".repeat(CORE_INSTANCES_MAX as usize - MEMORIES_MAX as usize);
        let memories = "(core instance (instantiate $p))".repeat(MEMORIES_MAX as usize);
        let text = format!("(component (core module $m) (core module $p (memory 1)) {instances} {memories})");
        let engine = pooling_engine(2).unwrap();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let linker = Linker::<()>::new(&engine);
        let mut stores: Vec<_> = (0..2 + DESCRIBING_INSTANCES).map(|_| Store::new(&engine, ())).collect();
        for store in &mut stores {
            linker.instantiate(store, &component).unwrap();
        }
        assert!(linker.instantiate(Store::new(&engine, ()), &component).is_err(), "the pool is full");
    }
}
