//! Cuts: how a snapshot gets the database as it was at the barrier, while the subtask goes on.
//!
//! At the barrier the subtask seals what its cache has and the database does not into batches: no more is done on its thread.
//! The snapshot's upload, on another thread, makes the cut: it writes the batches, flushes, and links the files. Until it is
//! made the subtask writes to its cache only, so that nothing of what came after the barrier can be in the files.
//!
//! Cuts are made in the order of their barriers, by whoever needs one first: an upload, or the subtask when it can wait no
//! longer. Invariant: batches are written when all cuts before their own are made, whether anybody still wants its snapshot or
//! not. A batch that cannot be written breaks the state for good: every later use fails, and with it the job's attempt.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rocksdb::{DB, WriteBatch, WriteOptions, checkpoint::Checkpoint};

use super::rocksdb::{database_failed, database_size};
use super::rocksdb_image::{FileOrigins, RocksDbSnapshot, SnapshotFolder};
use super::{FileRef, FileStore, SnapshotFormat, StateHandle, StateLayout, StateSize, StateSnapshot};
use crate::clock::random_u64;
use crate::error::{self, Error, Result};

/// The database of a subtask, and its cuts.
pub(super) struct Cuts {
    pub db: DB,
    working_dir: PathBuf,
    without_log: WriteOptions,
    /// In the order of their numbers. The lock is held for moments.
    queue: Mutex<VecDeque<Cut>>,
    /// Held while a cut is made.
    making: Mutex<()>,
    /// Cuts that are not made yet. Only the subtask adds to them.
    unmade: AtomicUsize,
    /// The database has the batches up to this number.
    written: AtomicU64,
    broken: Mutex<Option<Error>>,
}

struct Cut {
    number: u64,
    /// What it sealed; none when that is written.
    batches: Option<Vec<WriteBatch>>,
    /// Nobody waits for an unwanted one.
    wanted: bool,
    made: Option<Result<Linked>>,
}

struct Linked {
    folder: SnapshotFolder,
    size: StateSize,
}

impl Cuts {
    pub fn new(db: DB, working_dir: PathBuf) -> Cuts {
        let mut without_log = WriteOptions::default();
        without_log.disable_wal(true);
        Cuts {
            db,
            working_dir,
            without_log,
            queue: Mutex::default(),
            making: Mutex::default(),
            unmade: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            broken: Mutex::default(),
        }
    }

    /// The database has the batches up to this number.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Whether the subtask may write: all cuts are made. Of use to the subtask only, which alone adds cuts.
    pub fn may_write(&self) -> bool {
        self.unmade.load(Ordering::Acquire) == 0
    }

    /// Fails where a batch was lost.
    pub fn check(&self) -> Result<()> {
        self.broken.lock().clone().map_or(Ok(()), Err)
    }

    /// Writes a batch at once: for the subtask, when it [`may_write`](Cuts::may_write).
    pub fn write(&self, number: u64, batch: WriteBatch) -> Result<()> {
        self.insert(batch)?;
        self.written.store(number, Ordering::Release);
        Ok(())
    }

    fn insert(&self, batch: WriteBatch) -> Result<()> {
        let written = self.db.write_opt(batch, &self.without_log).map_err(|e| database_failed(self.db.path(), &e));
        if let Err(error) = &written {
            self.broken.lock().get_or_insert_with(|| error.clone());
        }
        written
    }

    fn seal(&self, number: u64, batches: Vec<WriteBatch>) {
        self.unmade.fetch_add(1, Ordering::AcqRel);
        self.queue.lock().push_back(Cut { number, batches: Some(batches), wanted: true, made: None });
    }

    /// Makes the cuts before this batch, and writes it where it is sealed.
    pub fn write_up_to(&self, number: u64) -> Result<()> {
        if self.written() < number {
            let _making = self.making.lock();
            while self.written() < number && self.step()? {}
        }
        self.check()
    }

    /// Makes all cuts up to this one.
    pub fn make_up_to(&self, number: u64) -> Result<()> {
        let _making = self.making.lock();
        while self.next_unmade().is_some_and(|next| next <= number) && self.step()? {}
        self.check()
    }

    fn next_unmade(&self) -> Option<u64> {
        self.queue.lock().iter().find(|cut| cut.made.is_none()).map(|cut| cut.number)
    }

    /// Does the next step of the oldest cut that is not made; false where all are. The caller holds `making`.
    fn step(&self) -> Result<bool> {
        let mut queue = self.queue.lock();
        let Some(cut) = queue.iter_mut().find(|cut| cut.made.is_none()) else { return Ok(false) };
        let number = cut.number;
        if let Some(batches) = cut.batches.take() {
            drop(queue);
            batches.into_iter().try_for_each(|batch| self.insert(batch))?;
            self.written.store(number, Ordering::Release);
        } else if cut.wanted {
            drop(queue);
            let linked = self.link();
            self.unmade.fetch_sub(1, Ordering::AcqRel);
            let mut queue = self.queue.lock();
            if let Some(cut) = queue.iter_mut().find(|cut| cut.number == number) {
                cut.made = Some(linked);
            }
            // It may have been abandoned meanwhile.
            queue.retain(|cut| cut.wanted || cut.made.is_none());
        } else {
            queue.retain(|cut| cut.number != number);
            self.unmade.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(true)
    }

    fn link(&self) -> Result<Linked> {
        let failed = |e: rocksdb::Error| database_failed(self.db.path(), &e);
        // Without a log, what is only in memory would be missing from the hard links.
        self.db.flush().map_err(failed)?;
        let folder = SnapshotFolder { path: self.working_dir.join(format!("snapshot-{:016x}", random_u64())) };
        Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(&folder.path)).map_err(failed)?;
        Ok(Linked { folder, size: database_size(&self.db) })
    }

    fn take(&self, number: u64) -> Result<Linked> {
        self.make_up_to(number)?;
        let mut queue = self.queue.lock();
        let at = queue.iter().position(|cut| cut.number == number);
        let made = at.and_then(|at| queue.remove(at)).and_then(|cut| cut.made);
        made.unwrap_or_else(|| Err(error::internal("a snapshot was uploaded twice")))
    }

    /// Nobody wants this cut any more. What it sealed is written all the same, when a later one is made or the subtask needs it.
    fn abandon(&self, number: u64) {
        let mut queue = self.queue.lock();
        queue.retain(|cut| cut.number != number || cut.made.is_none());
        if let Some(cut) = queue.iter_mut().find(|cut| cut.number == number) {
            cut.wanted = false;
        }
    }

    /// Makes the cuts that nobody waits for, up to the first that somebody does.
    pub fn clear_abandoned(&self) -> Result<()> {
        let Some(_making) = self.making.try_lock() else { return Ok(()) };
        let abandoned = || self.queue.lock().iter().find(|cut| cut.made.is_none()).is_some_and(|cut| !cut.wanted);
        while abandoned() && self.step()? {}
        Ok(())
    }
}

/// A snapshot whose cut may not be made yet.
pub(super) struct SealedSnapshot {
    cuts: Arc<Cuts>,
    number: u64,
    format: SnapshotFormat,
    layout: StateLayout,
    origins: Arc<FileOrigins>,
}

impl SealedSnapshot {
    pub fn new(
        cuts: &Arc<Cuts>,
        (number, batches): (u64, Vec<WriteBatch>),
        format: SnapshotFormat,
        layout: StateLayout,
        origins: &Arc<FileOrigins>,
    ) -> SealedSnapshot {
        cuts.seal(number, batches);
        SealedSnapshot { cuts: Arc::clone(cuts), number, format, layout, origins: Arc::clone(origins) }
    }
}

impl StateSnapshot for SealedSnapshot {
    fn upload(self: Box<Self>, store: &dyn FileStore, held: &[FileRef]) -> Result<StateHandle> {
        let Linked { folder, size } = self.cuts.take(self.number)?;
        let (format, layout, origins) = (self.format, self.layout.clone(), Arc::clone(&self.origins));
        // The database may be closed from here on.
        drop(self);
        Box::new(RocksDbSnapshot { folder, format, layout, size, origins }).upload(store, held)
    }
}

impl Drop for SealedSnapshot {
    fn drop(&mut self) {
        self.cuts.abandon(self.number);
    }
}
