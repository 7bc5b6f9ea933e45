//! Loads components: validates, compiles, links and describes them.

use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::{self, Linker};

use super::bindings::FullComponent;
use super::compile::{CodeCache, CodeCacheFolder, CompileMode, Compiler, compile_stopped};
use super::component::Component;
use super::description::{self, ComponentDescription};
use super::engine::{DESCRIBING_INSTANCES, RunningCalls, Ticker, pooling_engine, start_ticker};
use super::exports::LinkedComponent;
use super::function_sizes;
use super::imports::ImportHost;
use super::instance::{CallFailure, InstanceOptions, LiveInstance, StoreData};
use super::slots::Slots;
use super::validate::{self, CONTRACT};
use super::wasi;
use crate::clock::{SharedClock, SystemClock};
use crate::error::{self, Result};
use crate::model::DurationHistogram;
use crate::permits::PermitPool;

/// The options of a sandbox.
pub struct SandboxOptions {
    /// Where compiled code is kept between runs of the process.
    pub code_cache: CodeCacheFolder,
    /// Maximum number of live instances of operators, over all jobs.
    pub instances_max: u32,
    /// The process that compiles components.
    pub compile_in: CompileMode,
    /// The clock that limits the time of a compilation.
    pub clock: SharedClock,
    /// The permits of the threads that call guests.
    pub permits: PermitPool,
}

impl SandboxOptions {
    /// Returns options that compile in this process and keep no compiled code. For tests, benchmarks and local commands.
    pub fn in_this_process(instances_max: u32) -> SandboxOptions {
        SandboxOptions {
            code_cache: CodeCacheFolder::None,
            instances_max,
            compile_in: CompileMode::ThisProcess,
            clock: SystemClock::shared(),
            permits: PermitPool::of_machine(SystemClock::shared()),
        }
    }
}

/// What a sandbox has compiled since it was opened.
#[derive(Clone, Debug, Default)]
pub struct CompileTotals {
    /// How long the compilations took that succeeded, without the wait for a slot.
    pub completed: DurationHistogram,
    /// How long the others took until they failed.
    pub failed: DurationHistogram,
    /// Components whose compiled code was in the cache.
    pub cache_hits: u64,
}

/// Compiles components and instantiates them. There is one per process.
pub struct Sandbox {
    engine: Engine,
    linker: Linker<StoreData>,
    cache: CodeCache,
    compiler: Compiler,
    compiled: Mutex<CompileTotals>,
    clock: SharedClock,
    /// Limits how many components are described at once.
    describing: Slots,
    calls: Arc<RunningCalls>,
    _ticker: Ticker,
}

impl Sandbox {
    /// Opens the sandbox. Error: `sandbox-unavailable` if the machine lacks the address space for the instance pool or the
    /// cache folder. It never silently falls back to a slower method.
    pub fn open(options: SandboxOptions) -> Result<Sandbox> {
        let engine =
            pooling_engine(options.instances_max).map_err(|cause| error::sandbox_unavailable(format!("{cause:#}")))?;
        let linker = linker(&engine).map_err(|cause| error::internal(format!("linker: {cause:#}")))?;
        let calls = Arc::<RunningCalls>::default();
        let ticker = start_ticker(&engine, &calls, options.permits)?;
        Ok(Sandbox {
            engine,
            linker,
            cache: CodeCache::open(options.code_cache)?,
            compiler: Compiler::new(options.compile_in, options.clock.clone()),
            compiled: Mutex::default(),
            clock: options.clock,
            describing: Slots::new(DESCRIBING_INSTANCES as usize),
            calls,
            _ticker: ticker,
        })
    }

    /// Ends all running compilations and refuses new ones with `compile-stopped`, because the process is shutting down.
    pub fn stop_compiling(&self) {
        self.compiler.stop();
    }

    /// Returns what was compiled since the sandbox was opened.
    pub fn compile_totals(&self) -> CompileTotals {
        self.compiled.lock().clone()
    }

    /// Removes the compiled code of all components for which `known` returns false. It is called with SHA-256 digests in hex.
    pub fn keep_code_of(&self, known: &dyn Fn(&str) -> bool) {
        self.cache.retain(known);
    }

    /// Removes the compiled code of one component.
    pub fn forget_code_of(&self, sha256: &str) {
        self.cache.remove(&self.engine, sha256);
    }
}

impl Sandbox {
    /// Validates, compiles and describes a component. Errors have a code that begins with `component-`, and leave nothing
    /// behind.
    pub fn load(&self, bytes: &[u8]) -> Result<Component> {
        self.load_unless(bytes, &|| false)
    }

    /// Works like [`Sandbox::load`], but ends with `compile-stopped` soon after `stopped` returns true. Uses compiled code
    /// from the cache if it exists.
    pub fn load_unless(&self, bytes: &[u8], stopped: &dyn Fn() -> bool) -> Result<Component> {
        let wasi_parts = validate::check(bytes)?;
        let component = self.compiled(bytes, stopped)?;
        let wrong_world = |cause: wasmtime::Error| error::component_wrong_world(format!("{cause:#}"));
        let linked = self.linker.instantiate_pre(&component).map_err(wrong_world)?;
        let linked = LinkedComponent::new(linked, self.calls.clone()).map_err(wrong_world)?;
        let description = self.describe(&linked, stopped)?;
        for function in &description.functions {
            for (interface, why) in function.interfaces() {
                if !linked.exports(interface) {
                    let message =
                        format!("function `{}` {why}, which needs the export `{CONTRACT}{interface}`", function.name);
                    return Err(error::component_description(message)
                        .hint("export the interface, or build the component with an SDK, which does"));
                }
            }
        }
        Ok(Component::new(linked, wasi_parts, description))
    }

    fn compiled(&self, bytes: &[u8], stopped: &dyn Fn() -> bool) -> Result<component::Component> {
        let sha256 = hex::encode(Sha256::digest(bytes));
        if let Some(component) = self.cached(&sha256) {
            return Ok(component);
        }
        function_sizes::check(bytes)?;
        let _slot = self.compiler.take_slot(bytes, stopped)?;
        // Another load of the same component may have compiled it while this one waited.
        if let Some(component) = self.cached(&sha256) {
            return Ok(component);
        }
        let (file, begun_ns) = (self.cache.new_file()?, self.clock.monotonic_ns());
        let compiled = self.compiler.compile(&self.engine, bytes, file.path(), stopped);
        let elapsed_ns = self.clock.monotonic_ns().saturating_sub(begun_ns);
        self.count_compilation(compiled.is_ok(), elapsed_ns);
        compiled?;
        let ms = elapsed_ns / 1_000_000;
        tracing::debug!(sha256, ms, "component compiled");
        self.cache.keep(&self.engine, &sha256, file)
    }

    fn count_compilation(&self, is_completed: bool, elapsed_ns: u64) {
        let mut totals = self.compiled.lock();
        let histogram = if is_completed { &mut totals.completed } else { &mut totals.failed };
        histogram.observe(elapsed_ns as f64 / 1e9);
    }

    fn cached(&self, sha256: &str) -> Option<component::Component> {
        let component = self.cache.load(&self.engine, sha256, &*self.clock)?;
        self.compiled.lock().cache_hits += 1;
        Some(component)
    }

    /// Calls `describe` of a component, in an instance beyond those of operators.
    fn describe(&self, linked: &LinkedComponent, stopped: &dyn Fn() -> bool) -> Result<ComponentDescription> {
        let _instance = self.describing.take(stopped).ok_or_else(compile_stopped)?;
        let _call = self.calls.begin();
        let described = LiveInstance::start(linked, &InstanceOptions::default()).and_then(|mut live| live.describe());
        match described {
            Ok(description) => description::check(description),
            Err(CallFailure::Error(error)) => Err(error),
            Err(failed) => Err(error::component_description(format!("its function `describe` failed: {failed}"))),
        }
    }
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<StoreData>> {
    let mut linker = Linker::new(engine);
    FullComponent::add_to_linker::<StoreData, ImportHost>(&mut linker, |data| data)?;
    wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}
