//! A snapshot of a database: completes it, and uploads its files or converts them to the canonical format.
//!
//! Table files that the storage already contains are not uploaded again; see `file_names.rs`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::database::{files_failed, read_database};
use super::file_names::{TABLE_EXTENSION, TableFileNames};
use super::snapshot_queue::{LinkedFiles, SnapshotQueue};
use crate::error::Result;
use crate::model::KeyGroup;
use crate::state::canonical::CanonicalWriter;
use crate::state::description::StateLayout;
use crate::state::snapshot::{FileRef, FileStore, SnapshotFormat, StateHandle, StateSnapshot};

const LOG_EXTENSION: &str = ".log";

/// A snapshot in the [`SnapshotQueue`]. Dropping it before the upload abandons it.
pub(super) struct RocksDbSnapshot {
    pub queue: Arc<SnapshotQueue>,
    /// Number of the snapshot in the queue.
    pub number: u64,
    pub format: SnapshotFormat,
    pub layout: StateLayout,
    pub names: Arc<TableFileNames>,
}

impl StateSnapshot for RocksDbSnapshot {
    fn upload(self: Box<Self>, store: &dyn FileStore, held: &[FileRef]) -> Result<StateHandle> {
        let linked = self.queue.take(self.number)?;
        let (format, layout, names) = (self.format, self.layout.clone(), Arc::clone(&self.names));
        // The links suffice for the upload, so the database may be closed from here on.
        drop(self);
        match format {
            SnapshotFormat::Canonical => upload_canonical(&linked, layout, store),
            SnapshotFormat::RocksDb => upload_files(&linked, layout, &names, store, held),
        }
    }
}

impl Drop for RocksDbSnapshot {
    fn drop(&mut self) {
        self.queue.abandon(self.number);
    }
}

fn upload_files(
    linked: &LinkedFiles,
    layout: StateLayout,
    names: &TableFileNames,
    store: &dyn FileStore,
    held: &[FileRef],
) -> Result<StateHandle> {
    let held: HashMap<&str, &FileRef> = held.iter().map(|file| (&file.name[..], file)).collect();
    let mut files = Vec::new();
    for (local, path, bytes) in local_files(&linked.folder.path)? {
        if !local.ends_with(TABLE_EXTENSION) {
            files.push(store.put_file(&local, &path)?);
            continue;
        }
        let name = names.stored_name(&local);
        files.push(match held.get(&name[..]) {
            Some(file) if file.bytes == bytes => (*file).clone(),
            _ => store.put_file(&name, &path)?,
        });
    }
    Ok(StateHandle { format: SnapshotFormat::RocksDb, layout, files, size: linked.size })
}

fn upload_canonical(linked: &LinkedFiles, layout: StateLayout, store: &dyn FileStore) -> Result<StateHandle> {
    let mut writer = CanonicalWriter::new(store);
    let all_groups = 0..u32::from(KeyGroup::MAX) + 1;
    read_database(&linked.folder.path, &layout, all_groups, &mut |entry| writer.push(entry))?;
    let (files, size) = writer.finish()?;
    Ok(StateHandle { format: SnapshotFormat::Canonical, layout, files, size })
}

/// Returns name, path and length of the files in `folder`, sorted by name. Omits the write-ahead log, which RocksDB creates
/// even if nothing is ever written to it.
fn local_files(folder: &Path) -> Result<Vec<(String, PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| files_failed(folder, &e))? {
        let entry = entry.map_err(|e| files_failed(folder, &e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(LOG_EXTENSION) {
            continue;
        }
        let length = entry.metadata().map_err(|e| files_failed(&entry.path(), &e))?.len();
        files.push((name, entry.path(), length));
    }
    files.sort();
    Ok(files)
}
