//! Checkpoints and savepoints where they last: what is in one, where its files are, which are kept.
//!
//! A checkpoint counts when its metadata is durable, and never before: its files are stored first, its metadata last
//! and at once. A damaged one is named and passed over. Knows no job's life cycle, no subtask and no backend.
//!
//! ```text
//! <root>/<job>/chk-<id>/manifest                     a complete checkpoint
//! <root>/<job>/chk-<id>/published                    its sinks have published what it promises
//! <root>/<job>/shared/<id>-<random>-<name>           a file that checkpoint <id> stored; later ones may name it too
//! <root>/savepoints/<job>-<id>/manifest              a savepoint: names files of its own folder only
//! <root>/savepoints/<job>-<id>/published
//! <root>/savepoints/<job>-<id>/<random>-<name>
//! ```
//!
//! A checkpoint's metadata names files by their paths below the root, a savepoint's by their names in its own folder,
//! which can be moved or copied anywhere, into another storage too.

mod format_1;
mod format_2;
mod location;
mod metadata;
mod retention;
mod savepoint_writer;
mod storage;
mod stored_checkpoint;

#[cfg(test)]
mod checkpoint_tests;
#[cfg(test)]
mod file_link_tests;
#[cfg(test)]
mod interruption_tests;
#[cfg(test)]
mod testing;

pub use location::{StorageLocation, utf8_path};
pub use metadata::{CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
pub use retention::{RetirementSummary, UnfinishedCheckpoint, UnusableCheckpoint, Verification};
pub use savepoint_writer::SavepointWriter;
pub use storage::{CheckpointFiles, CheckpointStorage, METADATA_FILE_NAME};
pub use stored_checkpoint::{StoredCheckpoint, remove_savepoint};
