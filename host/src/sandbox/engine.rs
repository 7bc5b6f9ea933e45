//! The wasmtime engine: its settings, its limits, and the ticker that drives deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmFeatures};

use crate::error::{self, Result};
use crate::permits::PermitPool;
use crate::pipeline::MEMORY_BYTES_MAX;
use crate::wakeup::Wakeup;

/// Interval at which calls check their deadline, and for a cancel.
const TICK: Duration = Duration::from_millis(4);

/// The same while jobs compete for processors. It bounds how long a call keeps a processor that another job should get.
const CONTENDED_TICK: Duration = Duration::from_millis(1);

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

/// How much of each memory stays in the process when its instance ends, so that the next one need not get it again.
///
/// It is small, because nothing returns it later: after many instances of large functions each place of the pool may hold as much.
const MEMORY_BYTES_KEPT: usize = 256 << 10;

/// Number of free places in the pool that have been used and are not used again while there are unused ones. With more of them, the places
/// of a job that has ended, and what they keep, would add to those of the next one.
const WARM_PLACES_MAX: u32 = 16;

/// How much of each table stays in memory when its instance ends: one page.
const TABLE_BYTES_KEPT: usize = 4096;

/// Number of memories for which the pool reserves address space at most, except that every instance gets one. Each takes
/// 4 GiB, so these are half of the address space of a process.
const MEMORIES_TOTAL: u32 = 1 << 14;

/// Proposals that functions do not need. A component that uses one is refused.
///
/// Threads, shared memory and asynchronous calls would make results depend on timing. 64-bit memories and custom page sizes would
/// change what an instance reserves. The others are not needed by any toolchain for functions.
const REFUSED_PROPOSALS: WasmFeatures = WasmFeatures::THREADS
    .union(WasmFeatures::SHARED_EVERYTHING_THREADS)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::CUSTOM_PAGE_SIZES)
    .union(WasmFeatures::GC)
    .union(WasmFeatures::FUNCTION_REFERENCES)
    .union(WasmFeatures::EXCEPTIONS)
    .union(WasmFeatures::LEGACY_EXCEPTIONS)
    .union(WasmFeatures::STACK_SWITCHING)
    .union(WasmFeatures::WIDE_ARITHMETIC)
    .union(WasmFeatures::CM_ASYNC)
    .union(WasmFeatures::CM_ASYNC_STACKFUL)
    .union(WasmFeatures::CM_MORE_ASYNC_BUILTINS)
    .union(WasmFeatures::CM_THREADING)
    .union(WasmFeatures::CM_ERROR_CONTEXT)
    .union(WasmFeatures::CM_GC)
    .union(WasmFeatures::CM_MAP)
    .union(WasmFeatures::CM64)
    .union(WasmFeatures::CM_FIXED_LENGTH_LISTS)
    .union(WasmFeatures::CM_IMPLEMENTS);

/// Returns the settings that compiled code depends on. Code compiled by one engine with these settings runs in any other.
///
/// The last two make results independent of the processor: see docs/decisions/0078-determinism.md.
fn settings() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_features(REFUSED_PROPOSALS, false)
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32))
        .relaxed_simd_deterministic(true)
        .cranelift_nan_canonicalization(true);
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
        pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(MEMORY_BYTES_KEPT);
    }
    // Returning the page of a small table costs an interrupt of each other processor, which a function that traps for each record
    // would make its neighbours pay for.
    pool.table_keep_resident(TABLE_BYTES_KEPT).max_unused_warm_slots(WARM_PLACES_MAX);
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
pub(super) fn start_ticker(engine: &Engine, calls: &Arc<RunningCalls>, permits: PermitPool) -> Result<Ticker> {
    let alive = Arc::new(());
    let (engine, lives, running) = (engine.weak(), Arc::downgrade(&alive), calls.clone());
    let tick = move || {
        while lives.strong_count() > 0 {
            if running.count.load(Ordering::SeqCst) == 0 {
                running.ticker.wait(Duration::MAX);
                continue;
            }
            std::thread::sleep(if permits.is_contended() { CONTENDED_TICK } else { TICK });
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

    fn compiles(text: &str) -> Result<(), String> {
        let wasm = wat::parse_str(text).unwrap();
        compiling_engine().unwrap().precompile_component(&wasm).map(drop).map_err(|cause| format!("{cause:#}"))
    }

    fn compiles_module(module: &str) -> Result<(), String> {
        compiles(&format!("(component (core module {module}))"))
    }

    #[test]
    fn unneeded_proposals_are_refused() {
        let modules = [
            ("threads", "(memory 1 1 shared)"),
            ("atomics", "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))"),
            ("memory64", "(memory i64 1)"),
            ("64-bit tables", "(table i64 1 funcref)"),
            ("custom page sizes", "(memory 1 (pagesize 1))"),
            ("GC", "(type (struct (field i32)))"),
            ("function references", "(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))"),
            ("exceptions", "(tag $t) (func (throw $t))"),
            ("catching", "(func (try_table (catch_all 0)))"),
            (
                "stack switching",
                "(type $f (func)) (type $c (cont $f)) (func (param (ref $c)) (resume $c (local.get 0)))",
            ),
            ("wide arithmetic", "(func (param i64 i64) (result i64 i64) (i64.mul_wide_u (local.get 0) (local.get 1)))"),
        ];
        for (proposal, module) in modules {
            let refused = compiles_module(module).expect_err(proposal);
            assert!(!refused.is_empty(), "{proposal}");
        }
        let components = [
            ("asynchronous functions", "(component (type (func async)))"),
            ("streams", "(component (type (stream u8)))"),
            ("futures", "(component (type (future u8)))"),
            ("tasks", "(component (core func (canon task.cancel)))"),
            ("error contexts", "(component (core func (canon error-context.drop)))"),
            ("maps", "(component (type (map string u8)))"),
            ("lists of fixed length", "(component (type (list u8 4)))"),
        ];
        for (proposal, text) in components {
            compiles(text).expect_err(proposal);
        }
        // What toolchains emit by default is accepted.
        for (proposal, module) in [
            ("SIMD", "(func (drop (i8x16.splat (i32.const 1))))"),
            ("relaxed SIMD", "(func (drop (i8x16.relaxed_swizzle (v128.const i64x2 1 2) (v128.const i64x2 3 4))))"),
            ("bulk memory", "(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1)))"),
            ("multiple values", "(func (result i32 i32) (i32.const 1) (i32.const 2))"),
            ("tail calls", "(func $f (return_call $f))"),
            ("references to functions", "(table 1 funcref) (func (drop (ref.null func)))"),
        ] {
            compiles_module(module).unwrap_or_else(|cause| panic!("{proposal}: {cause}"));
        }
    }

    /// Runs `run`, which returns the bits of a number.
    fn run(module: &str) -> u64 {
        let text = format!(
            "(component (core module $m {module}) (core instance $i (instantiate $m))
             (func (export \"run\") (result u64) (canon lift (core func $i \"run\"))))"
        );
        let engine = compiling_engine().unwrap();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let instance = Linker::<()>::new(&engine).instantiate(&mut store, &component).unwrap();
        let run = instance.get_typed_func::<(), (u64,)>(&mut store, "run").unwrap();
        run.call(&mut store, ()).unwrap().0
    }

    #[test]
    fn a_number_that_is_no_number_has_the_same_bits_on_every_processor() {
        const NAN: u64 = 0x7ff8_0000_0000_0000;
        // The bits of 0/0 are negative on x86-64 and positive on AArch64; an operand's payload would be kept.
        for number in ["(f64.div (f64.const 0) (f64.const 0))", "(f64.add (f64.const nan:0x4) (f64.const 1))"] {
            let body = format!("(func (export \"run\") (result i64) (i64.reinterpret_f64 {number}))");
            assert_eq!(run(&body), NAN, "{number}");
        }
        let single = "(func (export \"run\") (result i64)
            (i64.extend_i32_u (i32.reinterpret_f32 (f32.sqrt (f32.const -1)))))";
        assert_eq!(run(single), 0x7fc0_0000);
    }

    #[test]
    fn relaxed_simd_gives_the_same_bits_on_every_processor() {
        // A lane index of 0x80 selects nothing, also where the processor would take its lowest bits. Indices above 15 do so as well.
        let swizzle = "(func (export \"run\") (result i64) (i64x2.extract_lane 0 (i8x16.relaxed_swizzle
            (v128.const i8x16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
            (v128.const i8x16 0 16 31 0x80 1 1 1 1 0 0 0 0 0 0 0 0))))";
        assert_eq!(run(swizzle), u64::from_le_bytes([1, 0, 0, 0, 2, 2, 2, 2]));
        // A product and a sum that are rounded once: (1 + 2^-52)^2 - (1 + 2^-51) is 2^-104, and 0 if rounded twice.
        let fused = "(func (export \"run\") (result i64) (i64x2.extract_lane 0 (f64x2.relaxed_madd
            (v128.const f64x2 0x1.0000000000001p0 0) (v128.const f64x2 0x1.0000000000001p0 0)
            (v128.const f64x2 -0x1.0000000000002p0 0))))";
        assert_eq!(f64::from_bits(run(fused)), 2f64.powi(-104));
    }
}
