//! Reads the entries of a stored snapshot of either format.

use std::ops::Range;
use std::path::Path;

use crate::error::Result;
use crate::state::canonical;
use crate::state::entry::StoredEntry;
use crate::state::rocksdb::restore::read_rocksdb_snapshot;
use crate::state::snapshot::{RestoreSource, SnapshotFormat};

/// Calls `visit` for every entry of a stored snapshot whose key group is in `groups`, ascending by group, state, key and
/// sub-key. State ids are those of the handle's layout.
///
/// `scratch` is a folder for temporary local copies of files. It must be empty or not exist.
pub fn read_snapshot(
    source: &RestoreSource<'_>,
    groups: Range<u32>,
    scratch: &Path,
    visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
) -> Result<()> {
    match source.handle.format {
        SnapshotFormat::Canonical => canonical::read(source, groups, visit),
        SnapshotFormat::RocksDb => read_rocksdb_snapshot(source, groups, scratch, visit),
    }
}
