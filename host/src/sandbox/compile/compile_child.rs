//! The child process that compiles one component: its command line and its main function.
//!
//! The child limits its own resources before it reads anything. It reads the component from stdin. The parent keeps stdin
//! open while it lives, and the child exits when stdin is closed. The exit code reports the outcome, stdout the reason.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use bytesize::ByteSize;

use super::code_cache::{CompileFailure, write_code};
use crate::sandbox::engine::compiling_engine;

/// Name of the hidden command of the `cofferdam` binary.
pub const COMPILE_COMMAND: &str = "compile-component";

/// Exit code: the component does not compile. Stdout contains the reason.
pub(in crate::sandbox) const EXIT_INVALID: i32 = 3;
/// Exit code: the compiler ran out of memory.
pub(in crate::sandbox) const EXIT_MEMORY: i32 = 4;
/// Exit code: the code cannot be written. Stdout contains the reason.
pub(in crate::sandbox) const EXIT_FILE: i32 = 5;
/// Exit code: the parent process is gone.
const EXIT_ORPHANED: i32 = 6;

/// Stack of the main thread of the child, in bytes. Without a limit, it could grow beyond the limit of its memory.
#[cfg(unix)]
const STACK_BYTES: u64 = 8 << 20;

/// Maximum number of open files of the child. It needs its pipes, the code, and what its threads open.
#[cfg(unix)]
const FILES_MAX: u64 = 64;

/// Maximum length of the reason on stdout, in characters.
const REASON_CHARS_MAX: usize = 1000;

/// Limits of the compilation of one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time over all threads of the compiler.
    pub cpu: Duration,
    /// Memory of the child process, in bytes.
    pub memory_bytes: u64,
}

impl CompileLimits {
    /// Default of [`CompileLimits::cpu`].
    pub const CPU: Duration = Duration::from_secs(300);
    /// Default of [`CompileLimits::memory_bytes`].
    pub const MEMORY: ByteSize = ByteSize::gib(2);
}

/// Returns the command line of a child that compiles to the file `to`.
pub(in crate::sandbox) fn arguments(to: &Path, limits: &CompileLimits, nice: i32) -> Vec<OsString> {
    let cpu_seconds = limits.cpu.as_secs().max(1);
    let flag = |name: &str, value: String| [OsString::from(name), OsString::from(value)];
    let mut arguments = vec![OsString::from(COMPILE_COMMAND), "--out".into(), to.into()];
    arguments.extend(flag("--cpu-seconds", cpu_seconds.to_string()));
    arguments.extend(flag("--memory-bytes", limits.memory_bytes.to_string()));
    arguments.extend(flag("--nice", nice.to_string()));
    arguments
}

/// Runs the hidden command: compiles the component on stdin to the file `to`, within these limits.
pub fn compile_child(to: &Path, cpu_seconds: u64, memory_bytes: u64, nice: i32) -> ExitCode {
    let failed = |code: i32, why: String| {
        // The parent reads the pipe when the child has ended, so the reason must fit into the pipe.
        let why: String = why.chars().take(REASON_CHARS_MAX).collect();
        let _ = writeln!(io::stdout(), "{why}");
        exit_code(code)
    };
    if let Err(error) = limit(cpu_seconds, memory_bytes, nice) {
        return failed(EXIT_FILE, format!("the limits cannot be set: {error}"));
    }
    let wasm = match read_component() {
        Ok(wasm) => wasm,
        Err(error) => return failed(EXIT_FILE, format!("the component cannot be read: {error}")),
    };
    let watching = std::thread::Builder::new().name("parent".into()).spawn(end_with_parent);
    if let Err(error) = watching {
        return failed(EXIT_FILE, format!("the thread that watches the parent cannot be started: {error}"));
    }
    let written = match compiling_engine() {
        Ok(engine) => write_code(&engine, &wasm, to),
        Err(cause) => Err(CompileFailure::Component(cause)),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(CompileFailure::File(cause)) => failed(EXIT_FILE, cause.to_string()),
        Err(CompileFailure::Component(cause)) if is_out_of_memory(&cause) => exit_code(EXIT_MEMORY),
        Err(CompileFailure::Component(cause)) => failed(EXIT_INVALID, format!("{cause:#}")),
    }
}

/// Exits when the parent closes stdin. No more bytes come, so the read returns only then.
fn end_with_parent() {
    let _ = io::stdin().read(&mut [0]);
    std::process::exit(EXIT_ORPHANED);
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Reads the length of the component, then the component.
fn read_component() -> io::Result<Vec<u8>> {
    let mut stdin = io::stdin().lock();
    let mut length = [0; 8];
    stdin.read_exact(&mut length)?;
    let mut wasm = Vec::new();
    let length = u64::from_le_bytes(length);
    let read = stdin.by_ref().take(length).read_to_end(&mut wasm)? as u64;
    if read == length { Ok(wasm) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn is_out_of_memory(cause: &wasmtime::Error) -> bool {
    let text = format!("{cause:#}").to_lowercase();
    ["out of memory", "cannot allocate memory", "os error 12"].iter().any(|words| text.contains(words))
}

/// Limits the processor time, the writable memory and the files of this process, disables core dumps, and lowers its priority.
#[cfg(unix)]
fn limit(cpu_seconds: u64, memory_bytes: u64, nice: i32) -> io::Result<()> {
    use rlimit::Resource;
    // A process may lower a hard limit, never raise it.
    let lower = |resource: Resource, soft: u64, hard: u64| {
        let (_, highest) = resource.get()?;
        resource.set(soft.min(highest), hard.min(highest))
    };
    lower(Resource::CORE, 0, 0)?;
    // The soft limit is the smaller one, because its signal identifies the cause.
    lower(Resource::CPU, cpu_seconds, cpu_seconds.saturating_add(1))?;
    lower(Resource::DATA, memory_bytes, memory_bytes)?;
    lower(Resource::STACK, STACK_BYTES, STACK_BYTES)?;
    // The code fits into the memory of the process. A larger file would be a defect of the compiler.
    lower(Resource::FSIZE, memory_bytes, memory_bytes)?;
    lower(Resource::NOFILE, FILES_MAX, FILES_MAX)?;
    // A failure to lower the priority is no reason to reject a component.
    let _ = rustix::process::setpriority_process(None, nice);
    Ok(())
}

#[cfg(not(unix))]
fn limit(_: u64, _: u64, _: i32) -> io::Result<()> {
    Ok(())
}

/// Returns whether the limit of processor time ended a child.
#[cfg(unix)]
pub(in crate::sandbox) fn ran_out_of_cpu(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(rustix::process::Signal::XCPU.as_raw())
}

#[cfg(not(unix))]
pub(in crate::sandbox) fn ran_out_of_cpu(_: ExitStatus) -> bool {
    false
}
