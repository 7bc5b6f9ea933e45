//! The wasmtime engine with its settings, and the ticker that makes deadlines fire.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::bindings;
use super::instance::GuestState;
use crate::error::{self, Result};
use crate::manifest::MEMORY_BYTES_MAX;

/// How often deadlines are looked at: a call runs at most this much longer than its deadline.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// What a sandbox is opened with.
pub struct SandboxOptions {
    /// Keeps compiled code between runs of the process, so that a restart compiles nothing; none: compile anew.
    pub cache_dir: Option<PathBuf>,
    /// Instances alive at once, over all jobs.
    pub instances_max: u32,
}

/// One per process: compiles components and makes instances of them.
pub struct Sandbox {
    pub(super) engine: Engine,
    pub(super) linker: Linker<GuestState>,
    _ticker: Arc<()>,
}

impl Sandbox {
    /// Fails with `sandbox-unavailable` where the machine cannot give what the engine needs (address space for the
    /// pool, a cache folder): never falls back to a slower way in silence.
    pub fn open(options: SandboxOptions) -> Result<Sandbox> {
        let engine = engine(&options).map_err(|cause| error::sandbox_unavailable(format!("{cause:#}")))?;
        let linker = linker(&engine).map_err(|cause| error::internal(format!("linker: {cause:#}")))?;
        let ticker = Arc::new(());
        start_ticker(&engine, &ticker)?;
        Ok(Sandbox { engine, linker, _ticker: ticker })
    }
}

fn engine(options: &SandboxOptions) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(options.instances_max)
        .total_core_instances(options.instances_max.saturating_mul(4))
        .total_memories(options.instances_max)
        .total_tables(options.instances_max.saturating_mul(4))
        .max_memories_per_component(1)
        .max_memory_size(MEMORY_BYTES_MAX)
        .linear_memory_keep_resident(1 << 20);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
    if let Some(dir) = &options.cache_dir {
        let mut cache = CacheConfig::new();
        cache.with_directory(dir);
        config.cache(Some(Cache::new(cache)?));
    }
    Engine::new(&config)
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    bindings::WindowingComponent::add_to_linker::<GuestState, super::import::Host>(&mut linker, |state| state)?;
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
