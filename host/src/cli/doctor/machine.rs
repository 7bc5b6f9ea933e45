//! The limits of the machine or container: open files, memory, and its clock.

use std::fs;
use std::path::{Component, Path};

use jiff::Timestamp;

use super::finding::Finding;
use crate::cli::print;

/// Number of open files below which a server with many jobs fails. RocksDB keeps its files open.
const OPEN_FILES: u64 = 65_536;
/// Number of open files below which even a few jobs fail.
const OPEN_FILES_MIN: u64 = 4096;
/// Memory that a server needs besides its state backends.
const MEMORY_BYTES_BESIDE_STATE: u64 = 512 << 20;
/// A clock that is before this moment, 2026-01-01, is wrong.
const EARLIEST_MS: i64 = 1_767_225_600_000;

/// Returns the largest number of files that this process may open.
pub fn open_files_max() -> Option<u64> {
    // `main` has raised the soft limit to the hard one, as it does for a server.
    rlimit::getrlimit(rlimit::Resource::NOFILE).ok().map(|(soft, _)| soft)
}

/// Checks the limit on open files.
pub fn open_files(max: Option<u64>) -> Finding {
    const CHECK: &str = "open files";
    const REMEDY: &str = "raise the hard limit: `ulimit -Hn`, or LimitNOFILE=1048576 in a systemd unit";
    match max {
        None => Finding::warn(CHECK, "the limit cannot be read", REMEDY),
        Some(max) if max < OPEN_FILES_MIN => Finding::fail(CHECK, format!("at most {max}"), REMEDY),
        Some(max) if max < OPEN_FILES => Finding::warn(CHECK, format!("at most {max}, enough for a few jobs"), REMEDY),
        Some(max) => Finding::ok(CHECK, format!("at most {max}")),
    }
}

/// Returns the memory that this process may use: that of the machine, or a smaller limit of its control group.
///
/// `root` is the root folder, whose `proc` and `sys` are read.
pub fn memory_bytes_max(root: &Path) -> Option<u64> {
    let total = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        match controllers {
            "" => group_limits(&root.join("sys/fs/cgroup"), path, "memory.max"),
            // Version 1.
            _ if controllers.split(',').any(|name| name == "memory") => {
                group_limits(&root.join("sys/fs/cgroup/memory"), path, "memory.limit_in_bytes")
            }
            _ => Vec::new(),
        }
    });
    total.into_iter().chain(limits).min()
}

/// Returns the limits of a control group and of those that contain it.
fn group_limits(mount: &Path, group: &str, file: &str) -> Vec<u64> {
    let names: Vec<_> = Path::new(group)
        .components()
        .filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
        .collect();
    let folders =
        (0..=names.len()).map(|depth| names.iter().take(depth).fold(mount.to_owned(), |at, name| at.join(name)));
    let limits = folders.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok());
    limits.collect()
}

/// Checks that the state backends leave enough memory for everything else.
pub fn memory(max: Option<u64>, state_memory: u64) -> Finding {
    const CHECK: &str = "memory";
    let Some(max) = max else {
        return Finding::warn(CHECK, "its size cannot be read", "check that it is more than --state-memory");
    };
    let message = format!("{}, of which state backends may use {}", print::size(max), print::size(state_memory));
    let remedy = "give the machine or container more, or use a smaller --state-memory";
    match max.checked_sub(state_memory) {
        None => Finding::fail(CHECK, message, remedy),
        Some(rest) if rest < MEMORY_BYTES_BESIDE_STATE => Finding::warn(CHECK, message, remedy),
        Some(_) => Finding::ok(CHECK, message),
    }
}

/// Checks that the clock is plausible.
pub fn clock(now_ms: i64) -> Finding {
    const CHECK: &str = "clock";
    let now = Timestamp::from_millisecond(now_ms).map_or_else(|_| now_ms.to_string(), |now| format!("{now:.0}"));
    match now_ms < EARLIEST_MS {
        true => Finding::fail(CHECK, format!("it is {now} by the clock"), "set it, for instance by an NTP client"),
        false => Finding::ok(CHECK, now),
    }
}
