//! The files of the checkpoint storage.
//!
//! A storage is a folder of this machine or a prefix in a bucket of an S3-compatible store. Invariant: a stored file is
//! there completely and durably, or not at all, and has a length and a checksum that reading verifies.
//! Must not decide which checkpoints exist or are kept.
//!
//! All methods block on the given runtime. Call them on plain threads or in `spawn_blocking`, never in an async task.
//! Errors: `storage-failed` with the path if the storage fails; `checkpoint-corrupt` with the path if a file is missing or
//! its content is not what was written.

mod checkpoint_files;
#[cfg(any(test, feature = "fail-points"))]
mod faulty_store;
mod file_read;
mod file_sync;
mod folder_sync;
mod metadata_file;
pub(super) mod paths;
mod store;

#[cfg(test)]
mod checkpoint_files_tests;
#[cfg(test)]
mod faulty_store_tests;

pub use checkpoint_files::CheckpointFiles;
pub use paths::METADATA_FILE_NAME;
pub use store::CheckpointStorage;
