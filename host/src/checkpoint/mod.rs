//! Stores checkpoints and savepoints durably: their contents, their files, and which of them are kept.
//!
//! Invariant: a checkpoint is complete once its metadata is durable, and not before. All its files are stored first, its
//! metadata last and atomically. A damaged checkpoint is named and an earlier one is used.
//! This module must not depend on a job's life cycle, on subtasks or on a particular state backend.
//!
//! ```text
//! <root>/<job>/chk-<id>/manifest                     the metadata of a complete checkpoint
//! <root>/<job>/chk-<id>/published                    marker: the sinks have published what the metadata promises
//! <root>/<job>/shared/<id>-<random>-<name>           a file that checkpoint <id> stored; later ones may name it too
//! <root>/savepoints/<job>-<id>/manifest              the metadata of a savepoint: names files of its own folder only
//! <root>/savepoints/<job>-<id>/published
//! <root>/savepoints/<job>-<id>/<random>-<name>
//! ```
//!
//! The metadata of a checkpoint names files by their paths below the root. The metadata of a savepoint names files by
//! their names in its own folder, so that the folder can be moved or copied anywhere, into another storage too.
//!
//! | file | contents |
//! |---|---|
//! | `location` | where a storage is: a folder or an S3 bucket |
//! | `metadata/` | what a checkpoint consists of, and the format of its metadata file |
//! | `storage/` | files: stored and synced, read and verified, with their paths below the root |
//! | `catalog` | which checkpoints exist, and the newest one that a job can restore |
//! | `retention` | which checkpoints and shared files are retired, and which are protected |
//! | `removal` | removes all files of a job, one claimed checkpoint, or leftovers of a killed process |
//! | `savepoint_writer` | writes a savepoint without a job |
//! | `stored_checkpoint` | opens or removes one checkpoint or savepoint by its location |

mod catalog;
mod location;
mod metadata;
mod removal;
mod retention;
mod savepoint_writer;
mod storage;
mod stored_checkpoint;

#[cfg(test)]
mod catalog_tests;
#[cfg(test)]
mod removal_tests;
#[cfg(test)]
mod retention_tests;
#[cfg(test)]
mod stored_checkpoint_tests;
#[cfg(test)]
mod testing;

pub use catalog::{ListedSavepoint, UnusableCheckpoint, Verification};
pub use location::{StorageLocation, utf8_path};
pub use metadata::{CheckpointKind, CheckpointMetadata, OperatorMetadata, OperatorVersion, SubtaskMetadata};
pub use retention::{RetirementSummary, UnfinishedCheckpoint};
pub use savepoint_writer::SavepointWriter;
pub use storage::{CheckpointFiles, CheckpointStorage, METADATA_FILE_NAME};
pub use stored_checkpoint::{StoredCheckpoint, remove_savepoint};
