//! How far the publication of a sink is. The sink's subtasks, its committer and the job share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Limit on the parts of a sink that wait for their publication.
const PARTS_MAX: u64 = 20_000;

/// The progress of one sink in one attempt. Clones share it.
#[derive(Clone, Default)]
pub struct SinkProgress(Arc<ProgressState>);

#[derive(Default)]
struct ProgressState {
    /// One more than the last epoch known to be published; 0 if none is known.
    published: AtomicU64,
    /// Bytes of complete checkpoints that are not published.
    backlog_bytes: AtomicU64,
    /// Bytes that subtasks hold and do not know to be published, including those of no checkpoint yet.
    held_bytes: AtomicU64,
    /// Parts that subtasks hold and do not know to be published. Each is named by every checkpoint.
    held_parts: AtomicU64,
    /// Limit on the bytes held while a publication is open; 0 for none.
    limit_bytes: AtomicU64,
    /// The last checkpoint whose barrier subtasks must let through.
    due_checkpoint: AtomicU64,
    trouble: Mutex<Option<PublishTrouble>>,
}

/// Why a publication does not get on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishTrouble {
    /// When it began, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// The last error.
    pub message: String,
}

impl SinkProgress {
    /// Returns the last epoch that is known to be published.
    pub fn published(&self) -> Option<u64> {
        self.0.published.load(Ordering::Acquire).checked_sub(1)
    }

    /// Records that an epoch is published.
    pub fn set_published(&self, epoch: u64) {
        self.0.published.fetch_max(epoch.saturating_add(1), Ordering::AcqRel);
    }

    /// Returns the bytes of complete checkpoints that are not published.
    pub fn backlog_bytes(&self) -> u64 {
        self.0.backlog_bytes.load(Ordering::Relaxed)
    }

    /// Sets the bytes of complete checkpoints that are not published.
    pub fn set_backlog_bytes(&self, bytes: u64) {
        self.0.backlog_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Sets the limit on the bytes held while a publication is open.
    pub fn set_limit_bytes(&self, bytes: u64) {
        self.0.limit_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that a subtask holds.
    pub fn hold(&self, bytes: u64) {
        self.0.held_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that a subtask no longer holds.
    pub fn release(&self, bytes: u64) {
        let held = &self.0.held_bytes;
        let _ = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(bytes)));
    }

    /// Counts a part that a subtask holds.
    pub fn hold_part(&self) {
        self.0.held_parts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts parts that a subtask no longer holds.
    pub fn release_parts(&self, parts: u64) {
        let held = &self.0.held_parts;
        let _ = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(parts)));
    }

    /// Returns whether the sink must not take more records. It has to wait for an open publication, which needs nothing of the sink.
    pub fn is_full(&self) -> bool {
        let (limit, backlog) = (self.0.limit_bytes.load(Ordering::Relaxed), self.backlog_bytes());
        let is_over = self.0.held_bytes.load(Ordering::Relaxed).max(backlog) >= limit;
        limit > 0 && backlog > 0 && (is_over || self.0.held_parts.load(Ordering::Relaxed) >= PARTS_MAX)
    }

    /// Lets subtasks take records until they have handled the barrier of a checkpoint, however full the sink is.
    pub fn let_pass(&self, checkpoint: u64) {
        self.0.due_checkpoint.fetch_max(checkpoint, Ordering::Relaxed);
    }

    /// Returns whether a subtask whose last checkpoint was `prepared` must take records.
    pub fn must_pass(&self, prepared: u64) -> bool {
        self.0.due_checkpoint.load(Ordering::Relaxed) > prepared
    }

    /// Notes that a publication does not get on.
    pub fn note_trouble(&self, message: String, now_ms: i64) {
        let mut trouble = self.0.trouble.lock();
        let since_ms = trouble.as_ref().map_or(now_ms, |earlier| earlier.since_ms);
        *trouble = Some(PublishTrouble { since_ms, message });
    }

    /// Notes that publications get on. Returns the trouble that has ended.
    pub fn end_trouble(&self) -> Option<PublishTrouble> {
        self.0.trouble.lock().take()
    }

    /// Returns why a publication does not get on, if so.
    pub fn trouble(&self) -> Option<PublishTrouble> {
        self.0.trouble.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_waits_only_for_an_open_publication() {
        let progress = SinkProgress::default();
        progress.hold(100);
        assert!(!progress.is_full(), "no limit");
        progress.set_limit_bytes(100);
        assert!(!progress.is_full(), "nothing would end the wait");
        progress.set_backlog_bytes(1);
        assert!(progress.is_full());
        progress.release(1);
        assert!(!progress.is_full());
        progress.set_backlog_bytes(100);
        assert!(progress.is_full());
        progress.release(1000);
        progress.set_backlog_bytes(1);
        (0..PARTS_MAX).for_each(|_| progress.hold_part());
        assert!(progress.is_full(), "too many small parts");
        progress.release_parts(1);
        assert!(!progress.is_full());
    }

    #[test]
    fn a_barrier_passes_a_full_sink() {
        let progress = SinkProgress::default();
        assert!(!progress.must_pass(0));
        progress.let_pass(7);
        progress.let_pass(5);
        assert!(progress.must_pass(6) && !progress.must_pass(7));
    }

    #[test]
    fn an_epoch_that_is_published_stays_so() {
        let progress = SinkProgress::default();
        assert_eq!(progress.published(), None);
        progress.set_published(0);
        assert_eq!(progress.published(), Some(0));
        progress.set_published(9);
        progress.set_published(8);
        assert_eq!(progress.published(), Some(9));
    }
}
