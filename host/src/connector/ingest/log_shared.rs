//! The state that the users of a log, its writer and its readers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::append_queue::AppendQueue;
use super::log_contents::LogContents;
use super::log_disk::LogDisk;
use crate::clock::SharedClock;
use crate::wakeup::Wakeup;

/// The limits of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Size of a segment, in bytes.
    pub segment_bytes: u64,
    /// Bytes that no complete checkpoint covers, beyond which requests are refused.
    pub backlog_max: u64,
    /// How long idempotency keys are kept, in milliseconds.
    pub dedup_ms: i64,
    /// Number of idempotency keys, at most.
    pub keys_max: usize,
}

impl Default for LogLimits {
    fn default() -> LogLimits {
        LogLimits { segment_bytes: 64 << 20, backlog_max: 1 << 30, dedup_ms: 24 * 3600 * 1000, keys_max: 1_000_000 }
    }
}

/// The shared state of a log. Lock `queue` before `contents`, if both.
pub(super) struct LogShared {
    pub(super) folder: PathBuf,
    /// Secret number that all checksums begin with.
    pub(super) salt: u64,
    pub(super) clock: SharedClock,
    pub(super) disk: Arc<dyn LogDisk>,
    pub(super) queue: Mutex<AppendQueue>,
    /// Wakes the writer.
    pub(super) writer: Wakeup,
    pub(super) contents: Mutex<LogContents>,
    /// [`LogContents::backlog`], for requests.
    pub(super) backlog: AtomicU64,
    pub(super) backlog_max: AtomicU64,
    pub(super) segment_bytes: AtomicU64,
    /// Number of idempotency keys, at most.
    pub(super) keys_max: AtomicU64,
    /// Held while segments are removed.
    pub(super) removal: Mutex<()>,
}
