//! Compiles components, in a child process within limits of time and memory.
//!
//! The child is this binary again, with a hidden command (`compile_child.rs`). It is killed when its result is not wanted any
//! more, when the server stops, and when it takes too long; it ends by itself when this process dies. Small components have
//! places of their own, so that they never wait behind large ones.
//!
//! Must not know who uploads a component, nor what becomes of its code.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytesize::ByteSize;
use wasmtime::Engine;

use super::capacity::{HeldSlots, Slots};
use super::code_cache::{CompileFailure, write_code};
use super::compile_child::{self, EXIT_FILE, EXIT_INVALID, EXIT_MEMORY};
use crate::clock::SharedClock;
use crate::error::{self, Error, Result};

/// A component of up to so many bytes is a small one.
const SMALL_BYTES_MAX: u64 = 4 << 20;
const SMALL_AT_ONCE: usize = 4;
const LARGE_AT_ONCE: usize = 2;
/// What a small component has of the limits: one part of so many.
const SMALL_SHARE: u32 = 2;
/// How much a large component gives way to jobs. A small one does not: beside many busy threads it would take minutes.
const LARGE_NICE: i32 = 5;
/// The child may take so many times its processor time, since it runs beside everything else and at a lower priority.
const WALL_FACTOR: u32 = 4;
/// How often the child is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes of the child's words that are read.
const WORDS_BYTES_MAX: u64 = 4096;

/// Where components are compiled.
#[derive(Clone, Debug)]
pub enum CompileMode {
    /// For tests and benchmarks: without limits, and never cut short.
    ThisProcess,
    /// In a process of its own. Only for the `cofferdam` binary, which has the hidden command.
    ChildProcess(CompileLimits),
}

/// What the compilation of one component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time, over all of the compiler's threads.
    pub cpu: Duration,
    pub memory_bytes: u64,
}

impl CompileLimits {
    pub const CPU: Duration = Duration::from_secs(300);
    pub const MEMORY: ByteSize = ByteSize::gib(2);
}

/// See the module.
pub(super) struct Compiler {
    place: CompileMode,
    clock: SharedClock,
    stopping: AtomicBool,
    small: Slots,
    large: Slots,
}

impl Compiler {
    pub(super) fn new(place: CompileMode, clock: SharedClock) -> Compiler {
        let (small, large) = (Slots::new(SMALL_AT_ONCE), Slots::new(LARGE_AT_ONCE));
        Compiler { place, clock, stopping: AtomicBool::new(false), small, large }
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Waits for a place to compile in. Error: `compile-stopped` where `stopped` says so first.
    pub(super) fn take_place(&self, wasm: &[u8], stopped: &dyn Fn() -> bool) -> Result<HeldSlots> {
        let places = if is_small(wasm) { &self.small } else { &self.large };
        places.take(&|| self.is_stopping() || stopped()).ok_or_else(compile_stopped)
    }

    /// Compiles a component to the file `to`; the caller holds a place. Errors: `component-invalid`, `component-too-complex`,
    /// and `compile-stopped` where `stopped` says so.
    pub(super) fn compile(&self, engine: &Engine, wasm: &[u8], to: &Path, stopped: &dyn Fn() -> bool) -> Result<()> {
        match self.place {
            CompileMode::ThisProcess => write_code(engine, wasm, to).map_err(|failure| match failure {
                CompileFailure::Component(cause) => invalid(&format!("{cause:#}")),
                CompileFailure::File(cause) => no_file(&cause.to_string()),
            }),
            CompileMode::ChildProcess(limits) => {
                let share = if is_small(wasm) { SMALL_SHARE } else { 1 };
                let limits =
                    CompileLimits { cpu: limits.cpu / share, memory_bytes: limits.memory_bytes / u64::from(share) };
                self.compile_in_child(&limits, wasm, to, &|| self.is_stopping() || stopped())
            }
        }
    }

    fn compile_in_child(
        &self,
        limits: &CompileLimits,
        wasm: &[u8],
        to: &Path,
        stopped: &dyn Fn() -> bool,
    ) -> Result<()> {
        let unavailable =
            |cause: std::io::Error| error::sandbox_unavailable(format!("no process to compile in: {cause}"));
        let mut command = Command::new(own_binary().map_err(unavailable)?);
        let nice = if is_small(wasm) { 0 } else { LARGE_NICE };
        command.args(compile_child::arguments(to, limits, nice));
        // It handles bytes that nobody trusts: it gets nothing that it does not need.
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = ChildGuard(command.spawn().map_err(unavailable)?);
        // The child ends when this is closed, so it stays open until the child has ended.
        let mut stdin = child.0.stdin.take();
        if let Some(stdin) = &mut stdin {
            // Where it fails the child is gone, and its status says why.
            let _ = stdin.write_all(&(wasm.len() as u64).to_le_bytes()).and_then(|()| stdin.write_all(wasm));
        }
        let wall = limits.cpu.saturating_mul(WALL_FACTOR);
        let begun_ns = self.clock.monotonic_ns();
        let status = loop {
            if let Some(status) = child.0.try_wait().map_err(unavailable)? {
                break status;
            }
            if stopped() {
                return Err(compile_stopped());
            }
            if Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(begun_ns)) > wall {
                return Err(too_complex(&format!("longer than {}", humantime::format_duration(wall))));
            }
            std::thread::sleep(LOOK);
        };
        verdict(status, &words(child.0.stdout.take()), &words(child.0.stderr.take()), limits)
    }
}

/// Whether a component of so many bytes is compiled in the places of large ones.
pub fn is_large_component(bytes: u64) -> bool {
    bytes > SMALL_BYTES_MAX
}

fn is_small(wasm: &[u8]) -> bool {
    !is_large_component(wasm.len() as u64)
}

struct ChildGuard(Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This process's own program, even where its file was replaced since it started.
fn own_binary() -> std::io::Result<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { Ok(own) } else { std::env::current_exe() }
}

/// What an ended child left in a pipe.
fn words(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.map(|pipe| pipe.take(WORDS_BYTES_MAX).read_to_end(&mut bytes));
    crate::turn::sanitize_text(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// What the end of the child says of the component.
fn verdict(status: ExitStatus, said: &str, complained: &str, limits: &CompileLimits) -> Result<()> {
    let memory = || too_complex(&format!("more than {} of memory", ByteSize(limits.memory_bytes)));
    match status.code() {
        Some(0) => Ok(()),
        Some(EXIT_INVALID) => Err(invalid(said)),
        Some(EXIT_MEMORY) => Err(memory()),
        Some(EXIT_FILE) => Err(no_file(said)),
        _ if compile_child::ran_out_of_cpu(status) => {
            Err(too_complex(&format!("more than {} of processor time", humantime::format_duration(limits.cpu))))
        }
        _ if complained.contains("memory allocation of") => Err(memory()),
        _ => {
            let last = complained.lines().last().unwrap_or_default();
            Err(too_complex(&format!("more than the compiler survives ({status}; {last})")))
        }
    }
}

fn invalid(why: &str) -> Error {
    error::component_invalid(format!("it does not compile: {why}"))
}

fn no_file(why: &str) -> Error {
    error::data_dir_failed(format!("the compiled code cannot be written: {why}"))
}

fn too_complex(what: &str) -> Error {
    error::component_too_complex(format!("compiling it takes {what}"))
        .hint("divide it into smaller components, or raise --compile-time or --compile-memory")
}

pub(super) fn compile_stopped() -> Error {
    error::compile_stopped("the component was still to be compiled when its client hung up, its job was cancelled, or the server was stopped")
        .hint("push or submit it again")
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn code(status: i32, complained: &str) -> (&'static str, String) {
        let limits = CompileLimits { cpu: Duration::from_secs(75), memory_bytes: 512 << 20 };
        let error = verdict(ExitStatus::from_raw(status), "why", complained, &limits).unwrap_err();
        (error.code, error.message)
    }

    #[test]
    fn every_end_of_the_compiler_says_what_is_wrong() {
        let exit = |code: i32| code << 8;
        let limits = CompileLimits { cpu: Duration::from_secs(1), memory_bytes: 1 };
        assert!(verdict(ExitStatus::from_raw(0), "", "", &limits).is_ok());
        assert_eq!(code(exit(EXIT_INVALID), ""), ("component-invalid", "it does not compile: why".into()));
        let too_complex = |what: &str| ("component-too-complex", format!("compiling it takes {what}"));
        assert_eq!(code(exit(EXIT_MEMORY), ""), too_complex("more than 512.0 MiB of memory"));
        let abort = rustix::process::Signal::ABORT.as_raw();
        assert_eq!(code(abort, "memory allocation of 9 bytes failed\n"), too_complex("more than 512.0 MiB of memory"));
        let xcpu = rustix::process::Signal::XCPU.as_raw();
        assert_eq!(code(xcpu, ""), too_complex("more than 1m 15s of processor time"));
        assert_eq!(code(abort, "").0, "component-too-complex");
        assert_eq!(code(exit(101), "a panic").0, "component-too-complex");
    }
}
