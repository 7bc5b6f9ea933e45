//! Opens the files of a snapshot that others may have written in a child process first.
//!
//! RocksDB trusts its files. A manipulated one can crash it or keep it busy for ever, and checksums do not help, since who
//! changes a file can change its checksum. The child has limits of processor time and memory, and its end costs nothing.
//! Files in the server's own storage are not checked: only the server writes there.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rocksdb::{DB, IteratorMode};

use super::database::{COLUMN_FAMILY, files_failed};
use super::options::database_options;
use crate::error::{self, Result};
use crate::model::Interrupt;

/// Name of the hidden command of the `cofferdam` binary.
pub const CHECK_COMMAND: &str = "check-database";

/// Limit on the processor time of the child. Opening a database of a thousand files takes a fraction of a second.
const CPU_SECONDS: u64 = 20;
/// Limit on the memory of the child.
const MEMORY_BYTES: u64 = 2 << 30;
/// The interval at which the parent looks for an interrupt.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Number of polls after which a child that waits instead of working is ended: two minutes.
const POLLS_MAX: u32 = 6000;
/// Number of entries that the child reads.
const ENTRIES_READ: usize = 1000;
/// Length of the reason that the parent reads.
const REASON_BYTES_MAX: u64 = 4096;
/// Exit code: RocksDB reported an error. Stdout contains the reason.
const EXIT_UNREADABLE: u8 = 3;

/// The program that checks files.
static CHECKER: OnceLock<PathBuf> = OnceLock::new();

/// Sets the program whose command [`CHECK_COMMAND`] checks files of others. Without it, they are opened unchecked.
pub fn check_foreign_files_with(program: PathBuf) {
    let _ = CHECKER.set(program);
}

/// Checks the files of a database that others may have written. Errors: `checkpoint-corrupt` if RocksDB cannot read them,
/// `restore-hung` if it does not come to an end, `interrupted`.
pub(super) fn check_foreign_files(folder: &Path, interrupt: &Interrupt) -> Result<()> {
    let Some(checker) = CHECKER.get() else { return Ok(()) };
    let failed = |error: io::Error| files_failed(folder, &error);
    let arguments = [OsString::from(CHECK_COMMAND), "--folder".into(), folder.into()];
    let mut command = Command::new(checker);
    command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = RunningCheck(command.spawn().map_err(failed)?);
    let stdout = child.0.stdout.take();
    let (sender, ended) = crossbeam_channel::bounded(1);
    // The child's stdout is closed when the child has ended.
    std::thread::Builder::new()
        .name("check-database".to_owned())
        .spawn(move || {
            let mut reason = Vec::new();
            if let Some(mut stdout) = stdout {
                let _ = stdout.by_ref().take(REASON_BYTES_MAX).read_to_end(&mut reason);
                let _ = io::copy(&mut stdout, &mut io::sink());
            }
            let _ = sender.send(String::from_utf8_lossy(&reason).into_owned());
        })
        .map_err(failed)?;
    for _ in 0..POLLS_MAX {
        interrupt.check()?;
        match ended.recv_timeout(POLL_INTERVAL) {
            Ok(reason) => return outcome(child.0.wait().map_err(failed)?, reason.trim()),
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
            Err(error) => return Err(failed(io::Error::other(error))),
        }
    }
    Err(hung())
}

fn outcome(status: ExitStatus, reason: &str) -> Result<()> {
    use std::os::unix::process::ExitStatusExt;
    if status.success() {
        return Ok(());
    }
    if status.signal() == Some(rustix::process::Signal::XCPU.as_raw()) {
        return Err(hung());
    }
    Err(error::checkpoint_corrupt(match status.code() {
        Some(_) if !reason.is_empty() => format!("RocksDB cannot open the restored files: {reason}"),
        _ => format!("RocksDB cannot open the restored files: it ended with {status}"),
    }))
}

fn hung() -> error::Error {
    error::restore_hung("RocksDB does not come to an end with the restored files, so they are damaged or manipulated")
        .hint("start from another savepoint or checkpoint; the job is not resumed by itself")
}

/// A child that is killed and reaped when it is dropped.
struct RunningCheck(Child);

impl Drop for RunningCheck {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the hidden command: opens the database in `folder` within limits, and reads its first entries.
pub fn check_database_child(folder: &Path) -> ExitCode {
    // A child without limits would still be killed by its parent.
    let _ = rlimit::Resource::CORE.set(0, 0);
    let _ = rlimit::Resource::CPU.set(CPU_SECONDS, CPU_SECONDS + 1);
    let _ = rlimit::Resource::DATA.set(MEMORY_BYTES, MEMORY_BYTES);
    let watching = std::thread::Builder::new().name("parent".to_owned()).spawn(end_with_parent);
    let checked = watching.map_err(|error| error.to_string()).and_then(|_| read_first_entries(folder));
    match checked {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stdout(), "{why}");
            ExitCode::from(EXIT_UNREADABLE)
        }
    }
}

fn read_first_entries(folder: &Path) -> Result<(), String> {
    let options = database_options(true, None);
    let families = [(COLUMN_FAMILY, options.clone())];
    let db =
        DB::open_cf_with_opts_for_read_only(&options, folder, families, false).map_err(|error| error.to_string())?;
    for entry in db.iterator(IteratorMode::Start).take(ENTRIES_READ) {
        entry.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Exits when the parent closes stdin, to which it writes nothing.
fn end_with_parent() {
    let _ = io::stdin().read(&mut [0]);
    std::process::exit(1);
}
