//! The child process that compiles one component: what its command line says, and what it does.
//!
//! It limits itself before it reads anything. The component comes by stdin, which stays open for as long as the parent lives:
//! its end ends the child. Its exit code says how it went, and its stdout why.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{ExitCode, ExitStatus};

use super::code_cache::{CompileFailure, write_code};
use super::compiler::CompileLimits;
use super::engine::compiling_engine;

/// The hidden command of the `cofferdam` binary.
pub const COMPILE_COMMAND: &str = "compile-component";

/// The component does not compile; stdout says why.
pub(super) const EXIT_INVALID: i32 = 3;
/// There was not enough memory.
pub(super) const EXIT_MEMORY: i32 = 4;
/// The code cannot be written; stdout says why.
pub(super) const EXIT_FILE: i32 = 5;
/// The parent is gone.
const EXIT_ORPHANED: i32 = 6;

/// The command line of a child that compiles to the file `to`.
pub(super) fn arguments(to: &Path, limits: &CompileLimits, nice: i32) -> Vec<OsString> {
    let cpu_seconds = limits.cpu.as_secs().max(1);
    let flag = |name: &str, value: String| [OsString::from(name), OsString::from(value)];
    let mut arguments = vec![OsString::from(COMPILE_COMMAND), "--out".into(), to.into()];
    arguments.extend(flag("--cpu-seconds", cpu_seconds.to_string()));
    arguments.extend(flag("--memory-bytes", limits.memory_bytes.to_string()));
    arguments.extend(flag("--nice", nice.to_string()));
    arguments
}

/// Carries out the hidden command.
pub fn compile_child(to: &Path, cpu_seconds: u64, memory_bytes: u64, nice: i32) -> ExitCode {
    let failed = |code: i32, why: String| {
        let _ = writeln!(io::stdout(), "{why}");
        exit_code(code)
    };
    if let Err(error) = limit(cpu_seconds, memory_bytes, nice) {
        return failed(EXIT_FILE, format!("no limits: {error}"));
    }
    let wasm = match read_component() {
        Ok(wasm) => wasm,
        Err(error) => return failed(EXIT_FILE, format!("no component: {error}")),
    };
    let watching = std::thread::Builder::new().name("parent".into()).spawn(end_with_parent);
    if let Err(error) = watching {
        return failed(EXIT_FILE, format!("no thread: {error}"));
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

/// Nothing more comes by stdin: the read returns when the other end is closed.
fn end_with_parent() {
    let _ = io::stdin().read(&mut [0]);
    std::process::exit(EXIT_ORPHANED);
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The component, behind its length.
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

/// Limits this process: processor time, memory that can be written to, no core dump, and its priority.
#[cfg(unix)]
fn limit(cpu_seconds: u64, memory_bytes: u64, nice: i32) -> io::Result<()> {
    use rlimit::Resource;
    Resource::CORE.set(0, 0)?;
    // The signal of the soft limit says what happened.
    Resource::CPU.set(cpu_seconds, cpu_seconds.saturating_add(1))?;
    Resource::DATA.set(memory_bytes, memory_bytes)?;
    // A compiler that is as important as everything else is no reason to refuse a component.
    let _ = rustix::process::setpriority_process(None, nice);
    Ok(())
}

#[cfg(not(unix))]
fn limit(_: u64, _: u64, _: i32) -> io::Result<()> {
    Ok(())
}

/// Whether a child was ended by its limit of processor time.
#[cfg(unix)]
pub(super) fn ran_out_of_cpu(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(rustix::process::Signal::XCPU.as_raw())
}

#[cfg(not(unix))]
pub(super) fn ran_out_of_cpu(_: ExitStatus) -> bool {
    false
}
