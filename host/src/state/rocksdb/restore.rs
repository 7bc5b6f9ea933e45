//! Restores the files of a RocksDB snapshot, or reads their entries.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use super::database::{files_failed, read_database, remove_folder};
use super::file_names::{TABLE_EXTENSION, local_name};
use super::foreign_files::check_foreign_files;
use crate::error::{self, Result};
use crate::model::common_groups;
use crate::state::backend::StateOptions;
use crate::state::entry::StoredEntry;
use crate::state::restore::schema_compatibility::is_stored_as_declared;
use crate::state::snapshot::{FileStore, RestoreSource, SnapshotFormat, StateHandle};

/// Removes from `sources` the one whose files the new database takes over without rewriting them.
///
/// Only a RocksDB snapshot with the declared states qualifies. If several qualify, chooses the one with most of the subtask's
/// key groups. Returns `None` if none qualifies.
pub(super) fn take_base<'a>(
    options: &StateOptions<'_>,
    sources: &mut Vec<RestoreSource<'a>>,
) -> Option<RestoreSource<'a>> {
    let shared_groups = |source: &RestoreSource<'_>| common_groups(&options.groups, &source.groups).len();
    let qualifies = |source: &RestoreSource<'_>| {
        source.handle.format == SnapshotFormat::RocksDb
            && is_stored_as_declared(&options.layout, source.handle)
            && shared_groups(source) > 0
    };
    let qualifying = (0..sources.len()).filter(|&index| qualifies(&sources[index]));
    let best = qualifying.max_by_key(|&index| shared_groups(&sources[index]))?;
    Some(sources.remove(best))
}

/// Copies or links the files of a snapshot into `folder`. Returns the stored names of the table files, by local name.
///
/// Errors: `checkpoint-corrupt` if a name is not one that RocksDB gives; `restore-hung`, and the errors of `store`.
pub(super) fn restore_files(
    handle: &StateHandle,
    store: &dyn FileStore,
    folder: &Path,
) -> Result<HashMap<String, String>> {
    let mut restored = HashMap::new();
    let mut seen = HashSet::new();
    for file in &handle.files {
        let local = local_name(&file.name)
            .filter(|local| seen.insert(*local))
            .ok_or_else(|| error::checkpoint_corrupt(format!("`{}` is not a file of a database", file.name)))?;
        fail_point!("database.restore-file", error::state_failed);
        let (path, is_table) = (folder.join(local), local.ends_with(TABLE_EXTENSION));
        // RocksDB never changes a table file, only unlinks it. So a hard link to the stored file is safe.
        if !(is_table && store.link_file(file, &path)?) {
            store.get_file(file, &path)?;
        }
        if is_table {
            restored.insert(local.to_owned(), file.name.clone());
        }
    }
    if let Some(interrupt) = store.foreign() {
        check_foreign_files(folder, interrupt)?;
    }
    Ok(restored)
}

/// Reads the entries of a RocksDB snapshot; see [`crate::state::read_snapshot`].
pub(in crate::state) fn read_rocksdb_snapshot(
    source: &RestoreSource<'_>,
    groups: Range<u32>,
    scratch: &Path,
    visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
) -> Result<()> {
    remove_folder(scratch)?;
    fs::create_dir_all(scratch).map_err(|e| files_failed(scratch, &e))?;
    restore_files(source.handle, source.store, scratch)?;
    let read = read_database(scratch, &source.handle.layout, groups, visit);
    read.and(remove_folder(scratch))
}
