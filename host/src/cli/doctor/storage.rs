//! Whether the data folder can hold checkpoints: writable, enough space, and how long a sync takes.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::finding::Finding;
use crate::cli::print;
use crate::clock::SharedClock;

/// Free space below which a server should not be started.
const SPACE_BYTES_MIN: u64 = 256 << 20;
/// Free space below which there is a warning.
const SPACE_BYTES: u64 = 4 << 30;
/// Number of syncs of which the median is taken.
const SYNCS: usize = 9;
const SYNC_BYTES: usize = 4096;
/// A sync that takes longer delays each checkpoint and each request that waits for one.
const SYNC_TIME: Duration = Duration::from_millis(50);

/// File systems that lose their files, or that are on other machines, by their type numbers in Linux.
const UNSUITABLE: [(u32, &str); 5] = [
    (0x0102_1994, "a tmpfs, which is empty after a restart of the machine"),
    (0x8584_58f6, "a ramfs, which is empty after a restart of the machine"),
    (0x6969, "NFS, where RocksDB and renames are not reliable"),
    (0xff53_4d42, "CIFS, where RocksDB and renames are not reliable"),
    (0xfe53_4d42, "SMB, where RocksDB and renames are not reliable"),
];

/// Checks a data folder, or the folder in which it would be created.
pub fn data_folder(data_dir: &Path, clock: &SharedClock) -> Vec<Finding> {
    const CHECK: &str = "data folder";
    let absolute = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let Some(folder) = absolute.ancestors().find(|folder| folder.exists()) else {
        return vec![Finding::fail(CHECK, format!("{} cannot be found", absolute.display()), "use another --data-dir")];
    };
    let absent = if folder == absolute { "" } else { ", which does not exist yet" };
    let message = format!("{}{absent}", absolute.display());
    let times = match sync_times(folder, clock) {
        Ok(times) => times,
        Err(error) => {
            let remedy = format!("let this user write to {}, or use another --data-dir", folder.display());
            return vec![Finding::fail(CHECK, format!("{message}: {error}"), remedy)];
        }
    };
    let writable = match file_system(folder) {
        Some(unsuitable) => {
            Finding::warn(CHECK, format!("{message}, is on {unsuitable}"), "use a folder on a local disk")
        }
        None => Finding::ok(CHECK, message),
    };
    vec![writable, space(free_bytes(folder)), sync_time(median(times))]
}

/// Writes to a file without a name and syncs it, several times.
fn sync_times(folder: &Path, clock: &SharedClock) -> std::io::Result<Vec<Duration>> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut sync = || {
        let start = clock.monotonic_ns();
        file.write_all(&[0; SYNC_BYTES])?;
        file.sync_data()?;
        Ok(Duration::from_nanos(clock.monotonic_ns().saturating_sub(start)))
    };
    (0..SYNCS).map(|_| sync()).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Returns what is wrong with the file system of a folder.
#[cfg(target_os = "linux")]
fn file_system(folder: &Path) -> Option<&'static str> {
    // The type of the field differs between architectures, the numbers have 32 bits.
    let kind = rustix::fs::statfs(folder).ok()?.f_type as u32;
    UNSUITABLE.iter().find(|(of, _)| *of == kind).map(|(_, why)| *why)
}

#[cfg(not(target_os = "linux"))]
fn file_system(_: &Path) -> Option<&'static str> {
    None
}

/// Checks the free space for checkpoints, state and output.
pub(super) fn space(free: Option<u64>) -> Finding {
    const CHECK: &str = "disk space";
    const REMEDY: &str = "free some, or use a --data-dir on another disk";
    let Some(free) = free else { return Finding::warn(CHECK, "it cannot be read", "check it with `df`") };
    let message = format!("{} free", print::size(free));
    match free {
        ..SPACE_BYTES_MIN => Finding::fail(CHECK, message, REMEDY),
        SPACE_BYTES_MIN..SPACE_BYTES => Finding::warn(CHECK, message, REMEDY),
        _ => Finding::ok(CHECK, message),
    }
}

/// Checks the time of a sync.
pub(super) fn sync_time(time: Duration) -> Finding {
    const CHECK: &str = "disk sync";
    let message = format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    match time > SYNC_TIME {
        true => Finding::warn(CHECK, message, "use a faster disk: each checkpoint waits for several syncs"),
        false => Finding::ok(CHECK, message),
    }
}
