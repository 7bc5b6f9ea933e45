//! Reading stored state back, at any parallelism, into any backend, and under changed declarations.
//!
//! | file | owns |
//! |---|---|
//! | `schema_compatibility.rs` | whether stored states fit what the operator declares |
//! | `stored_layout.rs` | the mapping from an operator's states to the ids in stored entries |
//! | `migration.rs` | calls the function to rewrite values of an older schema |
//! | `read_snapshot.rs` | reads the entries of a stored snapshot, as they are |
//! | `entries.rs` | reads the entries of a subtask in the form that the operator declares now |
//!
//! Invariant: compatibility is checked before any entry is read.

pub(super) mod entries;
pub(super) mod migration;
pub(super) mod read_snapshot;
pub(super) mod schema_compatibility;
pub(super) mod stored_layout;

pub use read_snapshot::read_snapshot;
pub use schema_compatibility::check_schema_compatibility;
