//! A subtask's registration with its log: what its checkpoints cover, and the removal of segments that nothing needs.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::key_file::{KEY_FILE_EXTENSION, key_file_path, read_keys, write_keys};
use super::key_index::KeptRequest;
use super::log_contents::SegmentExtent;
use super::log_position::LogPosition;
use super::log_shared::LogShared;
use super::segment::{self, segment_path, sync_folder};
use crate::error::{Result, ingest_failed};
use crate::wakeup::Wakeup;

/// A subtask that reads a log. Detached when it is dropped.
pub(super) struct AttachedReader {
    shared: Arc<LogShared>,
    id: u64,
}

impl AttachedReader {
    /// Attaches a subtask that reads from `position` on. New records wake it.
    pub(super) fn attach(
        shared: &Arc<LogShared>,
        subtask: u32,
        parallelism: u32,
        position: LogPosition,
        wakeup: Wakeup,
    ) -> AttachedReader {
        let mut contents = shared.contents.lock();
        let id = contents.attach(subtask, parallelism, position, wakeup);
        shared.backlog.store(contents.backlog(), Ordering::Relaxed);
        drop(contents);
        AttachedReader { shared: shared.clone(), id }
    }

    /// Notes that a complete checkpoint contains everything that the subtask has before `position`.
    pub(super) fn cover(&self, position: LogPosition) {
        let mut contents = self.shared.contents.lock();
        contents.cover(self.id, position, self.shared.clock.monotonic_ns());
        self.shared.backlog.store(contents.backlog(), Ordering::Relaxed);
    }

    /// Notes that all retained checkpoints contain everything that the subtask has before `position`. Removes segments that no
    /// subtask needs, on a thread of its own.
    pub(super) fn release(&self, position: LogPosition) {
        let segments = self.shared.contents.lock().release(self.id, position);
        if segments.is_empty() {
            return;
        }
        let shared = self.shared.clone();
        let kept = segments.clone();
        let thread = std::thread::Builder::new().name("ingest-remove".to_owned());
        if let Err(error) = thread.spawn(move || remove(&shared, segments)) {
            tracing::warn!(%error, "segments cannot be removed now");
            self.shared.contents.lock().put_back(&kept);
        }
    }
}

impl Drop for AttachedReader {
    fn drop(&mut self) {
        self.shared.contents.lock().detach(self.id);
    }
}

/// Removes segments, oldest first. Stops at the first that cannot be removed, so that no gap arises.
fn remove(shared: &LogShared, mut segments: Vec<(u64, SegmentExtent)>) {
    let _one_at_a_time = shared.removal.lock();
    while let Some((number, _)) = segments.first() {
        if let Err(error) = remove_segment(shared, *number) {
            tracing::warn!(%error, "segments of a log cannot be removed now");
            shared.contents.lock().put_back(&segments);
            return;
        }
        segments.remove(0);
    }
    if let Err(error) = remove_expired_keys(shared) {
        tracing::warn!(%error, "expired idempotency keys cannot be removed now");
    }
}

/// Stores the keys of a segment elsewhere, then removes it.
fn remove_segment(shared: &LogShared, number: u64) -> Result<()> {
    let folder = &shared.folder;
    let oldest_ms = oldest_key_ms(shared);
    let mut keys = Vec::new();
    segment::recover(folder, number, false, |offset, frame, payload| {
        let position = LogPosition { segment: number, offset };
        let (received_ms, records) = (payload.received_ms, frame.records);
        let kept = payload.key.map(|key| KeptRequest { key, received_ms, position, records });
        keys.extend(kept.filter(|kept| kept.received_ms > oldest_ms));
    })?;
    let remove = || {
        if !keys.is_empty() {
            write_keys(folder, number, shared.salt, &keys)?;
        }
        fail_point!("ingest.remove", io::Error::other);
        fs::remove_file(segment_path(folder, number))?;
        fail_point!("ingest.removed");
        sync_folder(folder)
    };
    remove().map_err(|error: io::Error| {
        ingest_failed(format!("{} cannot be removed: {error}", segment_path(folder, number).display()))
    })
}

/// Removes files whose keys have expired, or that precede as many keys as are kept.
fn remove_expired_keys(shared: &LogShared) -> Result<()> {
    let (folder, oldest_ms) = (&shared.folder, oldest_key_ms(shared));
    let mut room = shared.keys_max.load(Ordering::Relaxed);
    for segment in segment::numbers(folder, KEY_FILE_EXTENSION)?.into_iter().rev() {
        let keys = read_keys(folder, segment)?;
        if room == 0 || keys.iter().all(|kept| kept.received_ms <= oldest_ms) {
            let path = key_file_path(folder, segment);
            fail_point!("ingest.expire", ingest_failed);
            fs::remove_file(&path).map_err(|error| segment::failed(&path, "cannot be removed", &error))?;
        }
        room = room.saturating_sub(keys.len() as u64);
    }
    Ok(())
}

/// Returns the time before which keys have expired.
fn oldest_key_ms(shared: &LogShared) -> i64 {
    let kept_ms = shared.queue.lock().keys.kept_ms();
    shared.clock.wall_ms().saturating_sub(kept_ms)
}
