//! The pending snapshots of a database: how a snapshot gets the state at its barrier while the subtask continues.
//!
//! 1. At the barrier, the subtask flushes its dirty cache entries into write batches and enqueues them as a pending snapshot.
//!    Nothing else happens on its thread.
//! 2. The upload, on another thread, *completes* the snapshot: it writes the batches, flushes the memtable, and creates hard
//!    links to the files.
//! 3. Until then the subtask writes only to its cache, so that no later write can get into the linked files.
//!
//! Snapshots complete in the order of their barriers. The thread that first needs one completes it: an upload, or the
//! subtask if it cannot wait longer. An abandoned snapshot needs no links, but its batches are still written.
//!
//! Invariant: a batch is written only after all snapshots before it have completed or were abandoned. If a batch cannot be
//! written, the state is broken: every later call fails, and with it the attempt of the job.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rocksdb::{DB, WriteBatch, WriteOptions, checkpoint::Checkpoint};

use super::database::{database_failed, database_size};
use crate::clock::random_u64;
use crate::error::{self, Error, Result};
use crate::state::entry::StateSize;

/// The database of a subtask, and its pending snapshots.
pub(super) struct SnapshotQueue {
    pub db: DB,
    working_dir: PathBuf,
    without_log: WriteOptions,
    /// Snapshots in the order of their barriers. The lock is never held during I/O.
    queue: Mutex<VecDeque<PendingSnapshot>>,
    /// Held while a snapshot is being completed.
    completing: Mutex<()>,
    /// Number of snapshots that have not completed. Only the subtask increases it.
    incomplete: AtomicUsize,
    /// The database contains the batches up to this number.
    written: AtomicU64,
    /// The first failed write.
    broken: Mutex<Option<Error>>,
}

/// A snapshot between its barrier and the end of its upload.
struct PendingSnapshot {
    /// Number of the last batch that the snapshot contains.
    number: u64,
    /// Batches to write first. `None` once they are written.
    batches: Option<Vec<WriteBatch>>,
    /// Whether its upload was dropped.
    is_abandoned: bool,
    /// The linked files, once the snapshot has completed.
    completed: Option<Result<LinkedFiles>>,
}

/// Hard links to the files of a snapshot.
pub(super) struct LinkedFiles {
    pub folder: SnapshotFolder,
    /// Size of the state.
    pub size: StateSize,
}

/// A folder of hard links. Dropping it removes the folder.
pub(super) struct SnapshotFolder {
    pub path: PathBuf,
}

impl Drop for SnapshotFolder {
    fn drop(&mut self) {
        // If this fails, the next opening removes the whole working folder.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl SnapshotQueue {
    pub fn new(db: DB, working_dir: PathBuf) -> SnapshotQueue {
        let mut without_log = WriteOptions::default();
        without_log.disable_wal(true);
        SnapshotQueue {
            db,
            working_dir,
            without_log,
            queue: Mutex::default(),
            completing: Mutex::default(),
            incomplete: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            broken: Mutex::default(),
        }
    }

    /// Returns the number of the last batch that the database contains.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Returns whether all snapshots have completed, so that the subtask may write. Only the subtask may rely on it, since
    /// only the subtask enqueues snapshots.
    pub fn may_write(&self) -> bool {
        self.incomplete.load(Ordering::Acquire) == 0
    }

    /// Returns the error of a failed write, if any.
    pub fn check(&self) -> Result<()> {
        self.broken.lock().clone().map_or(Ok(()), Err)
    }

    /// Writes a batch of the subtask. Call it only if [`may_write`](SnapshotQueue::may_write) returns true.
    pub fn write(&self, number: u64, batch: WriteBatch) -> Result<()> {
        self.write_batch(batch)?;
        self.written.store(number, Ordering::Release);
        Ok(())
    }

    fn write_batch(&self, batch: WriteBatch) -> Result<()> {
        fail_point!("database.write", error::state_failed);
        let result = self.db.write_opt(batch, &self.without_log).map_err(|e| database_failed(self.db.path(), &e));
        if let Err(error) = &result {
            self.broken.lock().get_or_insert_with(|| error.clone());
        }
        result
    }

    /// Adds a snapshot that contains the batches up to `number`. `batches` are those that are not written yet.
    pub fn enqueue(&self, number: u64, batches: Vec<WriteBatch>) {
        self.incomplete.fetch_add(1, Ordering::AcqRel);
        let batches = Some(batches);
        self.queue.lock().push_back(PendingSnapshot { number, batches, is_abandoned: false, completed: None });
    }

    /// Completes snapshots until the database contains the batch `number`, if the batch belongs to a pending snapshot.
    pub fn write_up_to(&self, number: u64) -> Result<()> {
        if self.written() < number {
            let _completing = self.completing.lock();
            while self.written() < number && self.advance()? {}
        }
        self.check()
    }

    /// Completes all snapshots up to `number`.
    pub fn complete_up_to(&self, number: u64) -> Result<()> {
        let _completing = self.completing.lock();
        while self.next_incomplete().is_some_and(|next| next <= number) && self.advance()? {}
        self.check()
    }

    fn next_incomplete(&self) -> Option<u64> {
        self.queue.lock().iter().find(|snapshot| snapshot.completed.is_none()).map(|snapshot| snapshot.number)
    }

    /// Executes the next step of the oldest incomplete snapshot: writes its batches, then links its files. Returns false if
    /// all snapshots have completed. The caller must hold `completing`.
    fn advance(&self) -> Result<bool> {
        let mut queue = self.queue.lock();
        let oldest = queue.iter_mut().find(|snapshot| snapshot.completed.is_none());
        let Some(snapshot) = oldest else { return Ok(false) };
        let number = snapshot.number;
        if let Some(batches) = snapshot.batches.take() {
            drop(queue);
            batches.into_iter().try_for_each(|batch| self.write_batch(batch))?;
            self.written.store(number, Ordering::Release);
        } else if snapshot.is_abandoned {
            queue.retain(|snapshot| snapshot.number != number);
            self.incomplete.fetch_sub(1, Ordering::AcqRel);
        } else {
            drop(queue);
            let linked = self.link_files();
            self.incomplete.fetch_sub(1, Ordering::AcqRel);
            let mut queue = self.queue.lock();
            if let Some(snapshot) = queue.iter_mut().find(|snapshot| snapshot.number == number) {
                snapshot.completed = Some(linked);
            }
            // The snapshot may have been abandoned meanwhile.
            queue.retain(|snapshot| !snapshot.is_abandoned || snapshot.completed.is_none());
        }
        Ok(true)
    }

    fn link_files(&self) -> Result<LinkedFiles> {
        let failed = |e: rocksdb::Error| database_failed(self.db.path(), &e);
        // There is no write-ahead log, so the links would miss what is only in the memtable.
        fail_point!("database.flush", error::state_failed);
        self.db.flush().map_err(failed)?;
        fail_point!("database.link", error::state_failed);
        let folder = SnapshotFolder { path: self.working_dir.join(format!("snapshot-{:016x}", random_u64())) };
        Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(&folder.path)).map_err(failed)?;
        Ok(LinkedFiles { folder, size: database_size(&self.db) })
    }

    /// Completes a snapshot, removes it from the queue, and returns its files.
    pub fn take(&self, number: u64) -> Result<LinkedFiles> {
        self.complete_up_to(number)?;
        let mut queue = self.queue.lock();
        let index = queue.iter().position(|snapshot| snapshot.number == number);
        let completed = index.and_then(|index| queue.remove(index)).and_then(|snapshot| snapshot.completed);
        completed.unwrap_or_else(|| Err(error::internal("a snapshot was uploaded twice")))
    }

    /// Abandons a snapshot. Its batches are still written, when a later snapshot completes or the subtask needs them.
    pub fn abandon(&self, number: u64) {
        let mut queue = self.queue.lock();
        queue.retain(|snapshot| snapshot.number != number || snapshot.completed.is_none());
        if let Some(snapshot) = queue.iter_mut().find(|snapshot| snapshot.number == number) {
            snapshot.is_abandoned = true;
        }
    }

    /// Completes abandoned snapshots at the front of the queue. Does nothing while another thread is completing a snapshot.
    pub fn complete_abandoned(&self) -> Result<()> {
        let Some(_completing) = self.completing.try_lock() else { return Ok(()) };
        let is_next_abandoned = || {
            let queue = self.queue.lock();
            queue.iter().find(|snapshot| snapshot.completed.is_none()).is_some_and(|snapshot| snapshot.is_abandoned)
        };
        while is_next_abandoned() && self.advance()? {}
        Ok(())
    }
}
