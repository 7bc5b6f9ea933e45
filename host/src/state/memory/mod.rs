//! The memory backend: keyed state on the heap.
//!
//! | file | owns |
//! |---|---|
//! | `backend.rs` | the backend and its snapshots |
//! | `group_table.rs` | the hash tables of one key group |
//! | `ttl.rs` | the incremental cleanup of expired entries |

pub(super) mod backend;
mod group_table;
mod ttl;
