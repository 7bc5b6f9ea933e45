//! A part from the barrier that ended it until it is durable under its pending name.

use std::fs::File;
use std::sync::Arc;

use parking_lot::Mutex;

use super::sink_folder::SinkFolder;
use super::sink_part::{SinkPart, unwritable};
use crate::error::{Result, sink_unwritable};

/// A part that is complete. The sink and the uploads of several checkpoints may share it.
pub(super) struct SealedPart {
    pub(super) part: SinkPart,
    /// The name that the file has until it is synced.
    open_name: String,
    file: File,
    folder: SinkFolder,
    state: Mutex<SealedPartState>,
}

/// How far a sealed part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SealedPartState {
    /// Not synced to disk yet.
    Unsynced,
    /// Durable under its pending name.
    Pending,
    /// The sync failed. Another one could succeed although bytes are lost.
    Failed,
}

impl SealedPart {
    pub(super) fn new(part: SinkPart, file: File, open_name: &str, folder: &SinkFolder) -> Arc<SealedPart> {
        let (open_name, folder) = (open_name.to_owned(), folder.clone());
        Arc::new(SealedPart { part, open_name, file, folder, state: Mutex::new(SealedPartState::Unsynced) })
    }

    /// Returns how far the part is, without waiting for an upload that works on it.
    pub(super) fn state(&self) -> SealedPartState {
        self.state.try_lock().map_or(SealedPartState::Unsynced, |state| *state)
    }

    /// Error: `sink-unwritable` if the sync of the part failed.
    pub(super) fn check(&self) -> Result<()> {
        match self.state() {
            SealedPartState::Failed => Err(self.failed()),
            SealedPartState::Unsynced | SealedPartState::Pending => Ok(()),
        }
    }

    /// Syncs the part to disk and gives it its pending name, unless that is done already.
    pub(super) fn finish(&self) -> Result<()> {
        let mut state = self.state.lock();
        match *state {
            SealedPartState::Pending => return Ok(()),
            SealedPartState::Failed => return Err(self.failed()),
            SealedPartState::Unsynced => {}
        }
        let finished = self.make_pending();
        *state = if finished.is_ok() { SealedPartState::Pending } else { SealedPartState::Failed };
        finished
    }

    fn make_pending(&self) -> Result<()> {
        let pending = self.folder.pending_path();
        fail_point!("sink.sync", sink_unwritable);
        self.file.sync_all().map_err(|error| unwritable(&pending.join(&self.open_name), &error))?;
        fail_point!("sink.rename", sink_unwritable);
        let renamed = self.folder.rename_to_pending(&self.open_name, &self.part.name);
        renamed.map_err(|error| unwritable(&pending.join(&self.part.name), &error))?;
        fail_point!("sink.sync-pending", sink_unwritable);
        self.folder.sync_pending().map_err(|error| unwritable(&pending, &error))
    }

    fn failed(&self) -> crate::error::Error {
        let path = self.folder.pending_path().join(&self.open_name);
        sink_unwritable(format!("`{}` could not be synced to disk", path.display()))
    }
}
