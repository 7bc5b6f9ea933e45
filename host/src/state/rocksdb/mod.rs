//! The RocksDB backend: one database per subtask, behind a write-back cache.
//!
//! ```text
//! turn --load, apply--> WriteBackCache --dirty entries--> WriteBatch --> memtable --> table files
//! barrier: flush all dirty entries into batches, enqueue a pending snapshot
//! upload:  write those batches, flush the memtable, hard-link the table files, store the files that are new
//! ```
//!
//! The database has no write-ahead log: durability comes from checkpoints. The working folder contains the database in `db`
//! and one folder of hard links per snapshot that is being uploaded.
//!
//! | file | owns |
//! |---|---|
//! | `backend.rs` | the backend: reads and writes through the cache, and keeps it within its limits |
//! | `write_back_cache.rs`, `known_keys.rs` | the cache; the filter of keys that the database may contain |
//! | `snapshot_queue.rs`, `snapshot.rs` | snapshots between barrier and upload; the upload |
//! | `restore.rs`, `file_names.rs` | restored files; the names under which table files are stored |
//! | `foreign_files.rs` | a child process that opens files of others before this process does |
//! | `entry_key.rs` | the durable encoding of the database's keys |
//! | `database.rs`, `options.rs`, `ttl.rs` | opening the database; its tuning; dropping expired entries in compactions |
//! | `database_load.rs` | files, compactions and stalls, for monitoring |
//! | `memory_limit.rs` | the memory that all databases of the process share |

pub(super) mod backend;
mod database;
mod database_load;
mod entry_key;
mod file_names;
mod foreign_files;
mod known_keys;
mod memory_limit;
mod options;
pub(super) mod restore;
mod snapshot;
mod snapshot_queue;
mod ttl;
mod write_back_cache;

#[cfg(test)]
mod backend_tests;

pub use foreign_files::{check_database_child, check_foreign_files_with};
pub use memory_limit::{DEFAULT_MEMORY_BYTES, DatabaseMemory, database_memory, set_memory_limit};
