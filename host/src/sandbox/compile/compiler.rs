//! Compiles components in a child process with limits on time and memory.
//!
//! The child runs this binary with a hidden command (`compile_child`). It is killed when its result is no longer needed,
//! when the server stops, and when it takes too long. It exits by itself when this process dies. Small components have
//! slots of their own, so they never wait for large ones.
//!
//! Must not depend on the upload of components or on the use of their code.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytesize::ByteSize;
use wasmtime::Engine;

use super::code_cache::{CompileFailure, write_code};
use super::compile_child::{self, CompileLimits, EXIT_FILE, EXIT_INVALID, EXIT_MEMORY};
use crate::clock::SharedClock;
use crate::error::{self, Error, Result};
use crate::sandbox::slots::{HeldSlots, Slots};

/// Maximum size of a small component, in bytes.
const SMALL_BYTES_MAX: u64 = 4 << 20;
/// Number of small components that are compiled at once.
const SMALL_AT_ONCE: usize = 4;
/// Number of large components that are compiled at once.
const LARGE_AT_ONCE: usize = 2;
/// Divisor of the limits for a small component.
const SMALL_SHARE: u32 = 2;
/// Niceness of the compilation of a large component. A small one has normal priority, or it would take minutes beside many
/// busy threads.
const LARGE_NICE: i32 = 5;
/// Ratio of the time limit to the limit of processor time. The child shares the processors and may have a lower priority.
const WALL_FACTOR: u32 = 4;
/// Interval at which the child's status is checked.
const CHILD_CHECK: Duration = Duration::from_millis(5);
/// Maximum number of bytes that are read of the child's output.
const OUTPUT_BYTES_MAX: u64 = 4096;

/// The process in which components are compiled.
#[derive(Clone, Debug)]
pub enum CompileMode {
    /// This process, without limits and without cancellation. Only tests, benchmarks and local commands use it.
    ThisProcess,
    /// A child process. Only for the `cofferdam` binary, which has the hidden command.
    ChildProcess(CompileLimits),
}

/// Compiles components, a limited number at once.
pub(in crate::sandbox) struct Compiler {
    mode: CompileMode,
    clock: SharedClock,
    stopping: AtomicBool,
    small: Slots,
    large: Slots,
}

impl Compiler {
    pub(in crate::sandbox) fn new(mode: CompileMode, clock: SharedClock) -> Compiler {
        let (small, large) = (Slots::new(SMALL_AT_ONCE), Slots::new(LARGE_AT_ONCE));
        Compiler { mode, clock, stopping: AtomicBool::new(false), small, large }
    }

    /// Ends all compilations, now and in the future, with `compile-stopped`.
    pub(in crate::sandbox) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Waits for a free slot. Error: `compile-stopped` if `stopped` returns true before.
    pub(in crate::sandbox) fn take_slot(&self, wasm: &[u8], stopped: &dyn Fn() -> bool) -> Result<HeldSlots> {
        let slots = if is_small(wasm) { &self.small } else { &self.large };
        slots.take(&|| self.is_stopping() || stopped()).ok_or_else(compile_stopped)
    }

    /// Compiles a component to the file `to`. The caller must hold a slot. Errors: `component-invalid`,
    /// `component-too-complex`, and `compile-stopped` once `stopped` returns true.
    pub(in crate::sandbox) fn compile(
        &self,
        engine: &Engine,
        wasm: &[u8],
        to: &Path,
        stopped: &dyn Fn() -> bool,
    ) -> Result<()> {
        match self.mode {
            CompileMode::ThisProcess => write_code(engine, wasm, to).map_err(|failure| match failure {
                CompileFailure::Component(cause) => invalid(&format!("{cause:#}")),
                CompileFailure::File(cause) => code_unwritable(&cause.to_string()),
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
        let unavailable = |cause: std::io::Error| {
            error::sandbox_unavailable(format!("the process that compiles components failed: {cause}"))
        };
        let mut command = Command::new(own_binary().map_err(unavailable)?);
        let nice = if is_small(wasm) { 0 } else { LARGE_NICE };
        command.args(compile_child::arguments(to, limits, nice));
        // The child handles untrusted bytes, so it gets no environment.
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = ChildGuard(command.spawn().map_err(unavailable)?);
        // The child exits when stdin is closed, so stdin stays open until then.
        let mut stdin = child.0.stdin.take();
        if let Some(stdin) = &mut stdin {
            // If the write fails, the child has exited, and its status tells the reason.
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
            std::thread::sleep(CHILD_CHECK);
        };
        outcome(status, &output(child.0.stdout.take()), &output(child.0.stderr.take()), limits)
    }
}

/// Returns whether a component of this size uses the slots of large components.
pub fn is_large_component(bytes: u64) -> bool {
    bytes > SMALL_BYTES_MAX
}

fn is_small(wasm: &[u8]) -> bool {
    !is_large_component(wasm.len() as u64)
}

/// Kills the child when it is dropped.
struct ChildGuard(Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the path of this process's program, even if its file has been replaced.
fn own_binary() -> std::io::Result<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { Ok(own) } else { std::env::current_exe() }
}

/// Reads the output of a child that has exited.
fn output(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.map(|pipe| pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes));
    crate::turn::sanitize_text(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Converts the exit of the child to a result.
fn outcome(status: ExitStatus, stdout: &str, stderr: &str, limits: &CompileLimits) -> Result<()> {
    let memory = || too_complex(&format!("more than {} of memory", ByteSize(limits.memory_bytes)));
    match status.code() {
        Some(0) => Ok(()),
        Some(EXIT_INVALID) => Err(invalid(stdout)),
        Some(EXIT_MEMORY) => Err(memory()),
        Some(EXIT_FILE) => Err(code_unwritable(stdout)),
        _ if compile_child::ran_out_of_cpu(status) => {
            Err(too_complex(&format!("more than {} of processor time", humantime::format_duration(limits.cpu))))
        }
        _ if stderr.contains("memory allocation of") => Err(memory()),
        _ => {
            let last = stderr.lines().last().unwrap_or_default();
            Err(too_complex(&format!("more than the compiler can handle ({status}; {last})")))
        }
    }
}

fn invalid(why: &str) -> Error {
    error::component_invalid(format!("it does not compile: {why}"))
}

fn code_unwritable(why: &str) -> Error {
    error::data_dir_failed(format!("the compiled code cannot be written: {why}"))
}

fn too_complex(what: &str) -> Error {
    error::component_too_complex(format!("its compilation takes {what}"))
        .hint("divide the component into smaller ones, or raise --compile-time or --compile-memory")
}

pub(in crate::sandbox) fn compile_stopped() -> Error {
    error::compile_stopped(
        "the compilation ended early because the client disconnected, the job was cancelled, or the server stopped",
    )
    .hint("push or submit the component again")
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn code(status: i32, stderr: &str) -> (&'static str, String) {
        let limits = CompileLimits { cpu: Duration::from_secs(75), memory_bytes: 512 << 20 };
        let error = outcome(ExitStatus::from_raw(status), "why", stderr, &limits).unwrap_err();
        (error.code, error.message)
    }

    #[test]
    fn every_exit_of_the_child_has_its_error() {
        let exit = |code: i32| code << 8;
        let limits = CompileLimits { cpu: Duration::from_secs(1), memory_bytes: 1 };
        assert!(outcome(ExitStatus::from_raw(0), "", "", &limits).is_ok());
        assert_eq!(code(exit(EXIT_INVALID), ""), ("component-invalid", "it does not compile: why".into()));
        let too_complex = |what: &str| ("component-too-complex", format!("its compilation takes {what}"));
        assert_eq!(code(exit(EXIT_MEMORY), ""), too_complex("more than 512.0 MiB of memory"));
        let abort = rustix::process::Signal::ABORT.as_raw();
        assert_eq!(code(abort, "memory allocation of 9 bytes failed\n"), too_complex("more than 512.0 MiB of memory"));
        let xcpu = rustix::process::Signal::XCPU.as_raw();
        assert_eq!(code(xcpu, ""), too_complex("more than 1m 15s of processor time"));
        assert_eq!(code(abort, "").0, "component-too-complex");
        assert_eq!(code(exit(101), "a panic").0, "component-too-complex");
    }
}
