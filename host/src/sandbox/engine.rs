//! The wasmtime engine with its settings, and the ticker that makes deadlines fire.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::bindings;
use super::capacity::Slots;
use super::code_cache::CodeCache;
use super::compiler::{CompileMode, Compiler};
use super::instance::StoreData;
use crate::clock::{SharedClock, SystemClock};
use crate::error::{self, Result};
use crate::pipeline::MEMORY_BYTES_MAX;

/// How often the engine looks at deadlines.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Instances beside those of operators. A component is described in one of them, so an upload never takes an operator's.
const DESCRIBING_INSTANCES: u32 = 8;

/// Core modules that one component may instantiate. `wit-component` makes three of a Rust function.
pub(super) const CORE_INSTANCES_MAX: u32 = 32;

/// Tables of one component, over all of its core modules.
pub(super) const TABLES_MAX: u32 = 4;

/// Elements of one table.
pub(super) const TABLE_ELEMENTS_MAX: usize = 1 << 16;

/// Linear memories of one component, over all of its core modules.
pub(super) const MEMORIES_MAX: u32 = 1;

/// What a sandbox is opened with.
pub struct SandboxOptions {
    /// Keeps compiled code between runs of the process. Without it, every load compiles.
    pub cache_dir: Option<PathBuf>,
    /// Instances that operators may have alive at once, over all jobs.
    pub instances_max: u32,
    pub compile_in: CompileMode,
    pub clock: SharedClock,
}

impl SandboxOptions {
    /// Compiles in this process and keeps no compiled code: for tests, benchmarks and commands about one's own components.
    pub fn in_this_process(instances_max: u32) -> SandboxOptions {
        SandboxOptions {
            cache_dir: None,
            instances_max,
            compile_in: CompileMode::ThisProcess,
            clock: SystemClock::shared(),
        }
    }
}

/// One per process: compiles components and makes instances of them.
pub struct Sandbox {
    pub(super) engine: Engine,
    pub(super) linker: Linker<StoreData>,
    pub(super) cache: CodeCache,
    pub(super) compiler: Compiler,
    /// Taken while a component is described.
    pub(super) describing: Slots,
    _ticker: Arc<()>,
}

impl Sandbox {
    /// Fails with `sandbox-unavailable` where the machine cannot give what the engine needs (address space for the
    /// pool, a cache folder): never falls back to a slower way in silence.
    pub fn open(options: SandboxOptions) -> Result<Sandbox> {
        let engine =
            pooling_engine(options.instances_max).map_err(|cause| error::sandbox_unavailable(format!("{cause:#}")))?;
        let linker = linker(&engine).map_err(|cause| error::internal(format!("linker: {cause:#}")))?;
        let ticker = Arc::new(());
        start_ticker(&engine, &ticker)?;
        Ok(Sandbox {
            engine,
            linker,
            cache: CodeCache::open(options.cache_dir)?,
            compiler: Compiler::new(options.compile_in, options.clock),
            describing: Slots::new(DESCRIBING_INSTANCES as usize),
            _ticker: ticker,
        })
    }

    /// Ends every compile that is in progress, and refuses further ones with `compile-stopped`: the process is to end.
    pub fn stop_compiling(&self) {
        self.compiler.stop();
    }

    /// Removes compiled code of components that are not among `known`, which are SHA-256 digests in hex.
    pub fn keep_code_of(&self, known: &dyn Fn(&str) -> bool) {
        self.cache.retain(known);
    }

    /// Removes the compiled code of one component.
    pub fn forget_code_of(&self, sha256: &str) {
        self.cache.remove(sha256);
    }
}

/// The settings that decide what compiled code looks like. Code of one engine with them runs in every other one.
fn settings() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
    config
}

fn pooling_engine(instances_max: u32) -> wasmtime::Result<Engine> {
    let components = instances_max.saturating_add(DESCRIBING_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    // Each total is that of as many components as there may be, so that none of them runs out before the instances do.
    pool.total_component_instances(components)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .total_core_instances(components.saturating_mul(CORE_INSTANCES_MAX))
        .max_memories_per_component(MEMORIES_MAX)
        .total_memories(components.saturating_mul(MEMORIES_MAX))
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .total_tables(components.saturating_mul(TABLES_MAX))
        .max_memory_size(MEMORY_BYTES_MAX)
        .linear_memory_keep_resident(1 << 20);
    let mut config = settings();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// An engine that compiles and runs nothing: it reserves no address space.
pub(super) fn compiling_engine() -> wasmtime::Result<Engine> {
    Engine::new(&settings())
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<StoreData>> {
    let mut linker = Linker::new(engine);
    bindings::WindowingComponent::add_to_linker::<StoreData, super::import::ImportHost>(&mut linker, |state| state)?;
    super::wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Ticks until the sandbox and every engine of it are gone.
fn start_ticker(engine: &Engine, alive: &Arc<()>) -> Result<()> {
    let (engine, alive) = (engine.weak(), Arc::downgrade(alive));
    let tick = move || {
        while alive.strong_count() > 0 {
            std::thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    };
    std::thread::Builder::new()
        .name("epoch".into())
        .spawn(tick)
        .map(drop)
        .map_err(|cause| error::sandbox_unavailable(format!("no thread for deadlines: {cause}")))
}
