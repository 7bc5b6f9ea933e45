//! The log of one source: what was accepted for it, on the disk.
//!
//! [`IngestLog::append`] queues a request for the writer; the request may be answered once the returned receiver has its outcome.
//! Subtasks of the source read by `log_cursor` and tell what they no longer need by `attached_reader`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::append_queue::{AcceptedRequest, AppendQueue};
use super::frame::EncodedFrame;
use super::key_file::{KEY_FILE_EXTENSION, read_keys};
use super::key_index::{KeptRequest, KeyIndex, KeyLookup};
use super::log_contents::{LogContents, SegmentExtent};
use super::log_disk::LogDisk;
use super::log_position::LogPosition;
use super::log_shared::{LogLimits, LogShared};
use super::log_writer::{ActiveSegment, CloseOnExit, SegmentLogWriter};
use super::segment::{self, RecoveredSegment, SEGMENT_HEADER_BYTES, SegmentHeader, segment_path};
use crate::clock::{self, SharedClock};
use crate::error::{Result, ingest_failed, internal};
use crate::log_limit::LogLimit;

/// The log of one source. Closed when it is dropped.
pub struct IngestLog {
    pub(super) shared: Arc<LogShared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// A request that was taken.
pub enum AppendedRequest {
    /// The records will be durable when the receiver has its outcome.
    Waiting(oneshot::Receiver<Result<AcceptedRequest>>),
    /// An earlier request with the same key was accepted.
    Replayed(AcceptedRequest),
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendRefusal {
    /// Too much is unread, or waits for the disk.
    BacklogFull {
        /// When to try again.
        retry_after_s: u64,
    },
    /// A request with the same key waits for the disk.
    KeyInProgress,
    /// A request with the same key had another body.
    KeyReused,
    /// The server stops.
    Closed,
}

impl IngestLog {
    /// Opens the log in a folder, or creates it. Reads all segments. Errors: `ingest-failed`; `ingest-corrupt` with segment and offset
    /// if anything but the end of the last segment is damaged.
    pub fn open(folder: &Path, limits: LogLimits, clock: SharedClock, disk: Arc<dyn LogDisk>) -> Result<IngestLog> {
        create_folder(folder).map_err(|error| segment::failed(folder, "cannot be created", &error))?;
        segment::remove_unfinished(folder)?;
        let numbers = segment::numbers(folder, "log")?;
        let mut recovery = FoundLog::default();
        recovery.read(folder, &numbers)?;
        let (active, salt) = match recovery.segments.last() {
            Some(last) => (continue_segment(folder, last, &*disk)?, last.header.salt),
            None => first_segment(folder, limits.segment_bytes, &*disk)?,
        };
        let (next_sequence, next_record) = (recovery.next_sequence, recovery.next_record);
        let contents = LogContents::new(recovery.extents(active.number), next_sequence, next_record);
        let mut keys = KeyIndex::new(salt, limits.dedup_ms, limits.keys_max);
        recovery.keys.iter().for_each(|request| keys.accept(request));
        let shared = Arc::new(LogShared {
            folder: folder.to_owned(),
            salt,
            clock,
            disk,
            queue: Mutex::new(AppendQueue::new(keys)),
            writer: Default::default(),
            backlog: AtomicU64::new(contents.backlog()),
            contents: Mutex::new(contents),
            backlog_max: AtomicU64::new(limits.backlog_max),
            segment_bytes: AtomicU64::new(limits.segment_bytes),
            keys_max: AtomicU64::new(limits.keys_max as u64),
            removal: Mutex::default(),
        });
        let failures = LogLimit::new(5, 1);
        let writer = SegmentLogWriter { shared: shared.clone(), active, next_sequence, next_record, failures };
        let close = CloseOnExit(shared.clone());
        let thread = std::thread::Builder::new().name("ingest".to_owned()).spawn(move || {
            let _close = close;
            writer.run();
        });
        let thread = thread.map_err(|error| internal(format!("the thread `ingest` cannot be started: {error}")))?;
        Ok(IngestLog { shared, writer: Mutex::new(Some(thread)) })
    }

    /// Returns the secret number that [`EncodedFrame::encode`] needs.
    pub fn salt(&self) -> u64 {
        self.shared.salt
    }

    /// Changes the limits.
    pub fn set_limits(&self, limits: &LogLimits) {
        let LogLimits { segment_bytes, backlog_max, dedup_ms, keys_max } = *limits;
        self.shared.segment_bytes.store(segment_bytes, Ordering::Relaxed);
        self.shared.backlog_max.store(backlog_max, Ordering::Relaxed);
        self.shared.keys_max.store(keys_max as u64, Ordering::Relaxed);
        self.shared.queue.lock().keys.set_limits(dedup_ms, keys_max);
    }

    /// Queues a request for the disk. Never blocks for long.
    pub fn append(&self, frame: &EncodedFrame) -> Result<AppendedRequest, AppendRefusal> {
        let shared = &*self.shared;
        let mut queue = shared.queue.lock();
        if let Some(key) = frame.key {
            match queue.keys.look_up(key, frame.received_ms) {
                KeyLookup::Unknown => {}
                KeyLookup::InProgress => return Err(AppendRefusal::KeyInProgress),
                KeyLookup::OtherBody => return Err(AppendRefusal::KeyReused),
                KeyLookup::Accepted(KeptRequest { position, records, .. }) => {
                    return Ok(AppendedRequest::Replayed(AcceptedRequest { position, records }));
                }
            }
        }
        if queue.is_closed {
            return Err(AppendRefusal::Closed);
        }
        let (backlog, backlog_max) =
            (shared.backlog.load(Ordering::Relaxed), shared.backlog_max.load(Ordering::Relaxed));
        if backlog >= backlog_max {
            drop(queue);
            // A tenth of the limit should be free then, so that not every request is refused again.
            let excess = backlog - backlog_max + backlog_max / 10;
            let retry_after_s = shared.contents.lock().drain_seconds(excess);
            return Err(AppendRefusal::BacklogFull { retry_after_s });
        }
        if !queue.has_room(frame.len()) {
            return Err(AppendRefusal::BacklogFull { retry_after_s: 1 });
        }
        if let Some(key) = frame.key {
            queue.keys.begin(key);
        }
        let outcome = queue.push(frame);
        drop(queue);
        shared.writer.wake();
        Ok(AppendedRequest::Waiting(outcome))
    }

    /// Returns the position behind the last durable request.
    pub fn end(&self) -> LogPosition {
        self.shared.contents.lock().end()
    }

    /// Returns the bytes that no complete checkpoint covers.
    pub fn backlog(&self) -> u64 {
        self.shared.backlog.load(Ordering::Relaxed)
    }

    /// Makes what waits durable, and ends the writer. Further requests are refused.
    pub fn close(&self) {
        self.shared.queue.lock().is_closed = true;
        self.shared.writer.wake();
        if let Some(thread) = self.writer.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Drop for IngestLog {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the files of a log contain.
#[derive(Default)]
struct FoundLog {
    segments: Vec<RecoveredSegment>,
    /// The keys, oldest first.
    keys: Vec<KeptRequest>,
    next_sequence: u64,
    next_record: u64,
}

impl FoundLog {
    /// Reads all files. `numbers` are those of the segments.
    fn read(&mut self, folder: &Path, numbers: &[u64]) -> Result<()> {
        for segment in segment::numbers(folder, KEY_FILE_EXTENSION)? {
            // The process may have ended between the two steps of a removal.
            if !numbers.contains(&segment) {
                self.keys.extend(read_keys(folder, segment)?);
            }
        }
        for (index, &number) in numbers.iter().enumerate() {
            let keys = &mut self.keys;
            let is_last = index + 1 == numbers.len();
            let recovered = segment::recover(folder, number, is_last, |offset, frame, payload| {
                keys.extend(payload.key.map(|key| KeptRequest {
                    key,
                    received_ms: payload.received_ms,
                    position: LogPosition { segment: number, offset },
                    records: frame.records,
                }));
            })?;
            self.check_continuity(folder, &recovered)?;
            (self.next_sequence, self.next_record) = (recovered.next_sequence, recovered.next_record);
            self.segments.push(recovered);
        }
        Ok(())
    }

    /// Checks that a segment follows the one before it.
    fn check_continuity(&self, folder: &Path, next: &RecoveredSegment) -> Result<()> {
        let Some(before) = self.segments.last() else { return Ok(()) };
        let (header, expected) = (&next.header, before.header.number + 1);
        let follows = header.number == expected
            && header.salt == before.header.salt
            && (header.first_sequence, header.first_record) == (before.next_sequence, before.next_record);
        match follows {
            true => Ok(()),
            false => Err(segment::damaged(
                &segment_path(folder, before.header.number),
                before.end,
                &format!("segment {} does not follow this segment: records in between are missing", header.number),
            )),
        }
    }

    /// Returns the segments, with an empty one of the number `active` if there are none.
    fn extents(&self, active: u64) -> BTreeMap<u64, SegmentExtent> {
        if self.segments.is_empty() {
            let extent = SegmentExtent { first_sequence: 0, first_record: 0, base: 0, end: SEGMENT_HEADER_BYTES };
            return BTreeMap::from([(active, extent)]);
        }
        let mut base = 0;
        let extent = |segment: &RecoveredSegment| {
            let SegmentHeader { number, first_sequence, first_record, .. } = segment.header;
            let extent = SegmentExtent { first_sequence, first_record, base, end: segment.end };
            base += segment.end;
            (number, extent)
        };
        self.segments.iter().map(extent).collect()
    }
}

/// Creates the first segment of a log. Returns it and the salt of the log.
fn first_segment(folder: &Path, reserved: u64, disk: &dyn LogDisk) -> Result<(ActiveSegment, u64)> {
    let (number, salt, end) = (1, clock::random_u64(), SEGMENT_HEADER_BYTES);
    let header = SegmentHeader { number, salt, first_sequence: 0, first_record: 0 };
    let file = segment::create(folder, &header, reserved, disk)
        .map_err(|error| segment::failed(&segment_path(folder, number), "cannot be created", &error))?;
    Ok((ActiveSegment { number, file, end, reserved, is_dirty: false }, salt))
}

/// Opens the last segment to append to it, without what a crash left behind its end.
fn continue_segment(folder: &Path, last: &RecoveredSegment, disk: &dyn LogDisk) -> Result<ActiveSegment> {
    let path = segment_path(folder, last.header.number);
    let open = || {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let reserved = file.metadata()?.len();
        if last.is_torn {
            disk.truncate(&file, last.end)?;
            fail_point!("ingest.cut", io::Error::other);
            disk.preallocate(&file, reserved)?;
        }
        // The frames may have been written by a process that ended before it synced them.
        file.sync_all()?;
        Ok(ActiveSegment { number: last.header.number, file, end: last.end, reserved, is_dirty: false })
    };
    if last.is_torn {
        tracing::info!(segment = %path.display(), offset = last.end, "an incomplete request was cut off the log");
    }
    open().map_err(|error: io::Error| ingest_failed(format!("{} cannot be opened: {error}", path.display())))
}

/// Creates a folder and those above it durably.
fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folder(parent)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => segment::sync_folder(parent)?,
        }
    }
    Ok(())
}
