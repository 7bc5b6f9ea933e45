//! Keyed state and broadcast state of operators.
//!
//! | file | owns |
//! |---|---|
//! | `backend.rs`, `open.rs` | the [`StateBackend`] interface, and the choice of its implementation |
//! | `description.rs`, `entry.rs` | what an operator declares; the entries that it reads and writes |
//! | `list.rs`, `ttl.rs`, `ordered_key.rs` | durable encodings of lists, of times to live, and of keys |
//! | `internal.rs` | states that belong to the host: timers, windows, watermarks |
//! | `snapshot.rs`, `canonical.rs` | what a checkpoint stores of a state; its backend-independent format |
//! | `restore/` | reads stored state: schema compatibility, migration, change of parallelism |
//! | `memory/`, `rocksdb/` | the two backends |
//! | `broadcast.rs` | broadcast state, which lives in memory and needs no backend |
//!
//! Invariant: only committed turns write to a state. The module knows nothing of guests, turns or checkpoint metadata.

mod backend;
mod broadcast;
pub mod canonical;
mod description;
mod entry;
pub mod internal;
pub mod list;
mod memory;
mod open;
mod ordered_key;
mod restore;
mod rocksdb;
mod row_values;
mod snapshot;
pub mod ttl;

#[cfg(test)]
mod broadcast_tests;
#[cfg(test)]
mod canonical_tests;
#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod rescale_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use backend::{StateBackend, StateMigrator, StateOptions, StoredValues};
pub use broadcast::{BroadcastMap, BroadcastState};
pub use description::{
    ReadableForm, StateDescription, StateForm, StateId, StateKind, StateLayout, TimeToLive, TtlUpdate,
};
pub use entry::{
    DatabaseLoad, EntryCollector, LoadFailure, LoadedEntries, MapEntry, ScanBudget, StateChange, StateSize, StateWrite,
    StoredEntry, TooLarge,
};
pub use open::open;
pub use ordered_key::{read_ordered, write_ordered};
pub use restore::{check_schema_compatibility, read_snapshot};
pub use rocksdb::{
    DEFAULT_MEMORY_BYTES, DatabaseMemory, check_database_child, check_foreign_files_with, database_memory,
    set_memory_limit,
};
pub use row_values::ValueRows;
pub use snapshot::{FileRef, FileStore, RestoreSource, SnapshotFormat, StateHandle, StateSnapshot};
