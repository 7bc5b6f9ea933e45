//! Opens and reads the database of a subtask, and turns errors of RocksDB and the file system into ours.

use std::fs;
use std::ops::Range;
use std::path::Path;

use rocksdb::{DB, Direction, ErrorKind, IteratorMode, ReadOptions, properties};

use super::entry_key::visit_entry;
use super::options::{EXTRA_OPTIONS, database_options};
use crate::error::{self, Error, Result};
use crate::model::KeyGroup;
use crate::state::description::StateLayout;
use crate::state::entry::{StateSize, StoredEntry};
use crate::state::ttl::ExpiryRules;

pub(super) const COLUMN_FAMILY: &str = "default";

/// Read-ahead of an iteration over a whole database.
const READ_AHEAD_BYTES: usize = 2 << 20;

/// Opens the database in `folder`. Returns `checkpoint-corrupt` if `was_restored` and RocksDB cannot read the files, else
/// `state-failed`.
pub(super) fn open_database(folder: &Path, was_restored: bool, expiry: Option<ExpiryRules>) -> Result<DB> {
    fail_point!("database.open", error::state_failed);
    let options = database_options(was_restored, expiry);
    let opened = DB::open_cf_with_opts(&options, folder, [(COLUMN_FAMILY, options.clone())]);
    let opened = opened.and_then(|db| db.set_options(&EXTRA_OPTIONS).map(|()| db));
    opened.map_err(|e| {
        let unreadable = matches!(e.kind(), ErrorKind::Corruption | ErrorKind::InvalidArgument);
        match was_restored && unreadable {
            true => error::checkpoint_corrupt(format!("RocksDB cannot open the restored files: {e}")),
            false => database_failed(folder, &e),
        }
    })
}

/// Calls `visit` for the entries of the database in `folder` whose key group is in `groups`, in order. Opens the database
/// read-only.
pub(super) fn read_database(
    folder: &Path,
    layout: &StateLayout,
    groups: Range<u32>,
    visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
) -> Result<()> {
    let options = database_options(true, None);
    let families = [(COLUMN_FAMILY, options.clone())];
    let db = DB::open_cf_with_opts_for_read_only(&options, folder, families, false).map_err(|e| unreadable(&e))?;
    let mut read_options = ReadOptions::default();
    read_options.fill_cache(false);
    read_options.set_readahead_size(READ_AHEAD_BYTES);
    let Ok(start) = KeyGroup::try_from(groups.start) else { return Ok(()) };
    for entry in db.iterator_opt(IteratorMode::From(&start.to_be_bytes(), Direction::Forward), read_options) {
        let (key, value) = entry.map_err(|e| unreadable(&e))?;
        let group = key.first_chunk::<2>().map(|group| KeyGroup::from_be_bytes(*group));
        if group.is_some_and(|group| u32::from(group) >= groups.end) {
            break;
        }
        visit_entry(&key, &value, layout, visit)?;
    }
    Ok(())
}

/// Returns the size that RocksDB estimates. A deleted or overwritten entry may count until a compaction removes it.
pub(super) fn database_size(db: &DB) -> StateSize {
    let number = |property| db.property_int_value(property).ok().flatten().unwrap_or(0);
    let in_files = number(properties::ESTIMATE_LIVE_DATA_SIZE);
    let in_memory = number(properties::SIZE_ALL_MEM_TABLES);
    StateSize { entries: number(properties::ESTIMATE_NUM_KEYS), bytes: in_files + in_memory }
}

/// Removes a folder with its content. A folder that does not exist is no error.
pub(super) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(files_failed(folder, &e)),
        _ => Ok(()),
    }
}

fn unreadable(error: &rocksdb::Error) -> Error {
    match error.kind() {
        ErrorKind::Corruption | ErrorKind::InvalidArgument => {
            error::checkpoint_corrupt(format!("RocksDB cannot read the files of a snapshot: {error}"))
        }
        _ => error::state_failed(format!("the files of a snapshot cannot be read: {error}")),
    }
}

/// Returns `state-failed` for an error of the database in `folder`.
pub(super) fn database_failed(folder: &Path, error: &rocksdb::Error) -> Error {
    error::state_failed(format!("the state database in {} failed: {error}", folder.display()))
}

/// Returns `state-failed` for an error of the file system.
pub(super) fn files_failed(path: &Path, error: &std::io::Error) -> Error {
    error::state_failed(format!("{}: {error}", path.display()))
}
