//! The writer of a log: one thread that makes groups of requests durable.
//!
//! While a group is on its way to the disk, the next one gathers. So the number of syncs adapts to the load without a timer.
//!
//! Invariant: a request is answered after its group was synced, and readers see its records then. A group that cannot be written or
//! synced is cut off again before another one is written.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::append_queue::{AcceptedRequest, FrameGroup};
use super::frame::FrameHeader;
use super::key_index::KeptRequest;
use super::log_disk::LogDisk;
use super::log_position::LogPosition;
use super::log_shared::LogShared;
use super::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader, segment_path};
use crate::error::{Error, ingest_failed, internal};
use crate::log_limit::LogLimit;

/// The last segment, to which frames are appended.
pub(super) struct ActiveSegment {
    pub(super) number: u64,
    pub(super) file: File,
    /// Offset behind the last synced frame.
    pub(super) end: u64,
    /// Reserved size.
    pub(super) reserved: u64,
    /// Whether bytes may follow the end, because a write or a sync failed.
    pub(super) is_dirty: bool,
}

/// Writes the groups of one log.
pub(super) struct SegmentLogWriter {
    pub(super) shared: Arc<LogShared>,
    pub(super) active: ActiveSegment,
    pub(super) next_sequence: u64,
    pub(super) next_record: u64,
    pub(super) failures: LogLimit,
}

impl SegmentLogWriter {
    /// Writes groups until the log is closed and nothing waits.
    pub(super) fn run(mut self) {
        loop {
            let (group, is_closed) = {
                let mut queue = self.shared.queue.lock();
                (queue.next_group(), queue.is_closed)
            };
            match group {
                Some(group) => self.handle(group),
                None if is_closed => return,
                None => self.shared.writer.wait(Duration::MAX),
            }
        }
    }

    fn handle(&mut self, mut group: FrameGroup) {
        match self.store(&mut group) {
            Ok(start) => self.publish(group, start),
            Err(error) => self.fail(group, &error),
        }
    }

    /// Makes a group durable. Returns its position.
    fn store(&mut self, group: &mut FrameGroup) -> io::Result<LogPosition> {
        let disk = self.shared.disk.clone();
        self.repair(&*disk)?;
        let bytes = group.bytes.len() as u64;
        if self.active.end + bytes > self.active.reserved {
            self.make_room(&*disk, bytes)?;
        }
        let (mut sequence, mut record) = (self.next_sequence, self.next_record);
        for frame in &group.frames {
            let Some(bytes) = group.bytes.get_mut(frame.start..) else { continue };
            FrameHeader::place(bytes, self.shared.salt, self.next_sequence, sequence, record);
            sequence += 1;
            record += u64::from(frame.records);
        }
        let start = self.active.end;
        fail_point!("ingest.append", io::Error::other);
        self.active.is_dirty = true;
        disk.write_at(&self.active.file, &group.bytes, start)?;
        fail_point!("ingest.sync", io::Error::other);
        disk.sync(&self.active.file)?;
        fail_point!("ingest.synced", io::Error::other);
        self.active.is_dirty = false;
        self.active.end += bytes;
        (self.next_sequence, self.next_record) = (sequence, record);
        Ok(LogPosition { segment: self.active.number, offset: start })
    }

    /// Cuts off what a failed write or sync may have left. The system may have dropped unsynced bytes after a failure, so that a
    /// repeated sync proves nothing.
    fn repair(&mut self, disk: &dyn LogDisk) -> io::Result<()> {
        if self.active.is_dirty {
            disk.truncate(&self.active.file, self.active.end)?;
            self.active.reserved = self.active.end;
            fail_point!("ingest.repair", io::Error::other);
            disk.sync(&self.active.file)?;
            self.active.is_dirty = false;
        }
        Ok(())
    }

    /// Begins the next segment, or enlarges one that is empty or was cut.
    fn make_room(&mut self, disk: &dyn LogDisk, bytes: u64) -> io::Result<()> {
        let segment_bytes = self.shared.segment_bytes.load(Ordering::Relaxed);
        let wanted = segment_bytes.max(SEGMENT_HEADER_BYTES + bytes);
        if self.active.end == SEGMENT_HEADER_BYTES || self.active.end + bytes <= segment_bytes {
            let wanted = wanted.max(self.active.end + bytes);
            disk.preallocate(&self.active.file, wanted)?;
            self.active.reserved = wanted;
            return Ok(());
        }
        if self.active.reserved != self.active.end {
            disk.truncate(&self.active.file, self.active.end)?;
            self.active.reserved = self.active.end;
        }
        disk.sync(&self.active.file)?;
        fail_point!("ingest.roll", io::Error::other);
        let number = self.active.number + 1;
        let (salt, first_sequence, first_record) = (self.shared.salt, self.next_sequence, self.next_record);
        let header = SegmentHeader { number, salt, first_sequence, first_record };
        let file = segment::create(&self.shared.folder, &header, wanted, disk)?;
        self.active = ActiveSegment { number, file, end: SEGMENT_HEADER_BYTES, reserved: wanted, is_dirty: false };
        self.shared.contents.lock().add_segment(number);
        Ok(())
    }

    /// Shows a durable group to the readers, and answers its requests.
    fn publish(&mut self, group: FrameGroup, start: LogPosition) {
        let shared = &self.shared;
        {
            let mut contents = shared.contents.lock();
            contents.extend(self.active.end, self.next_sequence, self.next_record);
            shared.backlog.store(contents.backlog(), Ordering::Relaxed);
        }
        let position =
            |frame_start: usize| LogPosition { segment: start.segment, offset: start.offset + frame_start as u64 };
        {
            let mut queue = shared.queue.lock();
            for frame in &group.frames {
                if let Some(key) = frame.key {
                    let (received_ms, position) = (frame.received_ms, position(frame.start));
                    queue.keys.accept(&KeptRequest { key, received_ms, position, records: frame.records });
                }
            }
            queue.reuse(group.bytes);
        }
        fail_point!("ingest.answer");
        for frame in group.frames {
            // The client may have gone. Its records are accepted nevertheless.
            let accepted = AcceptedRequest { position: position(frame.start), records: frame.records };
            let _ = frame.answer.send(Ok(accepted));
        }
    }

    /// Answers the requests of a group that is not durable.
    fn fail(&mut self, group: FrameGroup, cause: &io::Error) {
        let error = write_error(&segment_path(&self.shared.folder, self.active.number), cause);
        if let Some(suppressed) = self.failures.admit(self.shared.clock.monotonic_ns()) {
            tracing::error!(%error, suppressed, "requests cannot be stored");
        }
        let keys = group.frames.iter().filter_map(|frame| frame.key);
        let mut queue = self.shared.queue.lock();
        keys.for_each(|key| queue.keys.abandon(key));
        drop(queue);
        for frame in group.frames {
            let _ = frame.answer.send(Err(error.clone()));
        }
    }
}

/// Closes the queue when the writer ends, also by a panic, so that no request waits for ever.
pub(super) struct CloseOnExit(pub(super) Arc<LogShared>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        let mut groups = Vec::new();
        {
            let mut queue = self.0.queue.lock();
            queue.is_closed = true;
            groups.extend(std::iter::from_fn(|| queue.next_group()));
        }
        for frame in groups.into_iter().flat_map(|group| group.frames) {
            let _ = frame.answer.send(Err(internal("the writer of the log has ended")));
        }
    }
}

fn write_error(path: &Path, cause: &io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ingest_failed(format!("the disk is full: {} cannot be written", path.display()))
                .hint("free space on the disk of the data folder; the request can be sent again")
        }
        _ => ingest_failed(format!("{} cannot be written: {cause}", path.display()))
            .hint("check the disk of the data folder; the request can be sent again"),
    }
}
