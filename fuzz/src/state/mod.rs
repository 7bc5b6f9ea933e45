//! The part of the host's module `state` that needs no backend: see its table of contents.

pub mod canonical;
mod description;
mod entry;
pub mod internal;
pub mod list;
mod ordered_key;
mod row_values;
mod snapshot;
pub mod ttl;

use std::ops::Range;
use std::path::Path;

pub use description::{
    ReadableForm, StateDescription, StateForm, StateId, StateKind, StateLayout, TimeToLive, TtlUpdate,
};
pub use entry::{LoadedEntries, MapEntry, StateChange, StateSize, StateWrite, StoredEntry};
pub use ordered_key::{read_ordered, write_ordered};
pub use row_values::ValueRows;
pub use snapshot::{FileRef, FileStore, RestoreSource, SnapshotFormat, StateHandle, StateSnapshot};

/// Reads a canonical snapshot, as the host's function of this name does.
pub fn read_snapshot(
    source: &RestoreSource<'_>,
    groups: Range<u32>,
    _scratch: &Path,
    visit: &mut dyn FnMut(StoredEntry<'_>) -> crate::error::Result<()>,
) -> crate::error::Result<()> {
    canonical::read(source, groups, visit)
}
