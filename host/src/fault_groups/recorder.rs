//! Records the faults of a job. All its threads share one recorder.

use std::path::PathBuf;

use parking_lot::Mutex;

use super::fault_group::{FaultGroupDetail, FaultStatus};
use super::fault_table::FaultTable;
use super::group_files::GroupFiles;
use super::occurrence::FaultOccurrence;
use crate::clock::SharedClock;

/// The faults of one job.
pub struct FaultRecorder {
    /// Held while files are written, so that a newer state is not overwritten by an older one.
    files: Mutex<GroupFiles>,
    /// `None` until a fault is recorded, and while no attempt runs.
    table: Mutex<Option<FaultTable>>,
    clock: SharedClock,
}

impl FaultRecorder {
    /// Returns the recorder of a job whose faults are stored in this folder.
    pub fn new(folder: PathBuf, clock: SharedClock) -> FaultRecorder {
        FaultRecorder { files: Mutex::new(GroupFiles::new(folder)), table: Mutex::default(), clock }
    }

    /// Records a fault. Only the first one of an attempt reads files.
    pub fn record(&self, occurrence: &FaultOccurrence<'_>) {
        let now_ms = self.clock.wall_ms();
        if self.with_loaded(|table| table.record(occurrence, now_ms)).is_none() {
            // The files are locked first, as everywhere.
            let files = self.files.lock();
            self.table.lock().get_or_insert_with(|| FaultTable::of(files.read())).record(occurrence, now_ms);
        }
    }

    fn with_loaded<T>(&self, run: impl FnOnce(&mut FaultTable) -> T) -> Option<T> {
        self.table.lock().as_mut().map(run)
    }

    /// Stores what has been recorded. A failure is logged, and is repeated with the next call.
    pub fn flush(&self) {
        self.flush_to(&self.files.lock());
    }

    fn flush_to(&self, files: &GroupFiles) {
        let changes = self.with_loaded(FaultTable::take_changes).unwrap_or_default();
        for (number, group) in changes {
            if let Err(error) = files.write(number, group.as_ref()) {
                tracing::warn!("faults of a job cannot be stored: {error}");
                self.with_loaded(|table| table.put_back(number));
            }
        }
    }

    /// Stores everything and frees the memory, because the attempt has ended.
    pub fn close(&self) {
        let files = self.files.lock();
        self.flush_to(&files);
        let mut table = self.table.lock();
        if table.as_ref().is_some_and(FaultTable::is_stored) {
            *table = None;
        }
    }

    /// Returns all groups, newest fault first. They are stored before.
    pub fn groups(&self) -> Vec<FaultGroupDetail> {
        let files = self.files.lock();
        self.flush_to(&files);
        let loaded = self.with_loaded(|table| table.groups().cloned().collect());
        let mut groups: Vec<FaultGroupDetail> = loaded.unwrap_or_else(|| files.read().into_values().collect());
        groups.sort_by(|one, other| {
            other.group.last_seen_ms.cmp(&one.group.last_seen_ms).then_with(|| one.group.id.cmp(&other.group.id))
        });
        groups
    }

    /// Sets the status of a group and stores it. Returns the group, or `None` if there is no such group.
    pub fn set_status(&self, id: &str, status: FaultStatus) -> std::io::Result<Option<FaultGroupDetail>> {
        let files = self.files.lock();
        let mut table = self.table.lock();
        let mut stored = None;
        let groups = match &mut *table {
            Some(loaded) => loaded,
            None => stored.insert(FaultTable::of(files.read())),
        };
        if !groups.set_status(id, status) {
            return Ok(None);
        }
        let group = groups.groups().find(|detail| detail.group.id == id).cloned();
        let mut failure = None;
        for (number, group) in groups.take_changes() {
            if let Err(error) = files.write(number, group.as_ref()) {
                groups.put_back(number);
                failure = Some(error);
            }
        }
        failure.map_or(Ok(group), Err)
    }
}
