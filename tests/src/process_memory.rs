//! The memory of another process, and commands that run under a limit on it.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Interval at which the peak of a running command is read. The system keeps the peak, so only the last moments of a
/// process are missed.
const INTERVAL: Duration = Duration::from_millis(5);

/// Which memory of a process is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessMemory {
    /// The resident memory now.
    Resident,
    /// The largest resident memory so far.
    Peak,
}

/// Returns the memory of a process, in KiB; `None` once it has ended.
pub fn memory_kib(process: u32, memory: ProcessMemory) -> Option<u64> {
    let field = match memory {
        ProcessMemory::Resident => "VmRSS:",
        ProcessMemory::Peak => "VmHWM:",
    };
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Returns the largest resident memory that a process has had, in bytes; `None` once it has ended.
pub fn peak_memory_bytes(process: u32) -> Option<u64> {
    Some(memory_kib(process, ProcessMemory::Peak)? << 10)
}

/// Sets the peak of a process to its current resident memory, so that later work is measured on its own.
pub fn reset_peak_memory(process: u32) -> io::Result<()> {
    fs::write(format!("/proc/{process}/clear_refs"), "5")
}

/// A command that has ended.
pub struct MeasuredRun {
    pub succeeded: bool,
    pub stdout: String,
    pub stderr: String,
    /// The largest resident memory of the process, in bytes.
    pub peak_bytes: u64,
}

/// Runs a command to its end and measures its memory. Its output goes through files in `dir`. Fails after `timeout`.
pub fn run_measured(command: &mut Command, dir: &Path, timeout: Duration) -> Result<MeasuredRun> {
    let (stdout, stderr) = (dir.join("measured.stdout"), dir.join("measured.stderr"));
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?)
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let mut peak_bytes = 0;
    let status = loop {
        peak_bytes = peak_memory_bytes(child.id()).unwrap_or(0).max(peak_bytes);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > timeout {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{command:?} did not end within {} s", timeout.as_secs());
        }
        sleep(INTERVAL);
    };
    let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(MeasuredRun { succeeded: status.success(), stdout: text(&stdout)?, stderr: text(&stderr)?, peak_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_a_command_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "x=$(head -c 30000000 /dev/zero | tr '\\0' x); sleep 0.2; echo ${#x}"]);
        let run = run_measured(&mut command, dir.path(), Duration::from_secs(60)).unwrap();
        assert!(run.succeeded && run.stdout == "30000000\n", "{}{}", run.stdout, run.stderr);
        assert!(run.peak_bytes > 30_000_000, "{}", run.peak_bytes);
    }
}
