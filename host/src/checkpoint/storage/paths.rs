//! Names and paths below the root of a checkpoint storage; `checkpoint/mod.rs` draws the layout.
//!
//! Invariant: no path leads out of the storage. Paths in metadata are untrusted and pass [`checked_path`] before each use.
//! Must not access the storage.

use object_store::path::Path as StorePath;

use crate::checkpoint::metadata::{CheckpointKind, CheckpointMetadata};
use crate::error::{self, Result};

/// The name of the metadata's file in the folder of its checkpoint or savepoint. The name is part of the durable format.
pub const METADATA_FILE_NAME: &str = "manifest";

/// The name of the marker file beside the metadata: the sinks have published what the metadata promises.
pub(in crate::checkpoint) const PUBLISHED_MARKER_NAME: &str = "published";

/// The folder of all savepoints.
pub(in crate::checkpoint) const SAVEPOINTS: &str = "savepoints";

/// Returns the path of the file `name` in `folder`; an empty folder is the root.
pub(in crate::checkpoint) fn within(folder: &str, name: &str) -> String {
    match folder.is_empty() {
        true => name.to_owned(),
        false => format!("{folder}/{name}"),
    }
}

/// Checks that an untrusted path names something below the storage's root. Errors: `checkpoint-corrupt`.
pub(super) fn checked_path(path: &str) -> Result<StorePath> {
    match StorePath::parse(path) {
        Ok(parsed) if !parsed.is_root() => Ok(parsed),
        _ => Err(error::checkpoint_corrupt(format!("`{path}` is not the path of a stored file"))),
    }
}

/// Whether a name is one path segment of characters that every file system accepts.
pub(in crate::checkpoint) fn is_portable_name(name: &str) -> bool {
    let is_portable = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_portable)
}

/// Returns the folder of everything that a job stores, except its savepoints. Errors: `internal` for an unusable id.
pub(in crate::checkpoint) fn job_folder(job: &str) -> Result<&str> {
    match is_portable_name(job) && job != SAVEPOINTS {
        true => Ok(job),
        false => Err(error::internal(format!("`{job}` cannot be the id of a job"))),
    }
}

/// Returns the folder of the files that the checkpoints of a job share, with a slash at its end.
pub(super) fn shared_folder(job: &str) -> Result<String> {
    Ok(format!("{}/shared/", job_folder(job)?))
}

/// Returns the folder of a checkpoint's metadata.
pub(in crate::checkpoint) fn checkpoint_folder(job: &str, checkpoint: u64, kind: CheckpointKind) -> Result<String> {
    let job = job_folder(job)?;
    Ok(match kind {
        CheckpointKind::Savepoint => format!("{SAVEPOINTS}/{job}-{checkpoint}"),
        CheckpointKind::Checkpoint | CheckpointKind::Final => format!("{job}/chk-{checkpoint}"),
    })
}

/// Returns the id in the name of a checkpoint's folder.
pub(in crate::checkpoint) fn checkpoint_id_of(folder_name: &str) -> Option<u64> {
    folder_name.strip_prefix("chk-").and_then(parse_number)
}

/// Returns the id in the name of a savepoint's folder if the savepoint belongs to `job`.
pub(in crate::checkpoint) fn savepoint_id_of(job: &str, folder_name: &str) -> Option<u64> {
    folder_name.strip_prefix(job)?.strip_prefix('-').and_then(parse_number)
}

/// Parses a number in the one way in which paths contain it: digits without a leading zero.
pub(in crate::checkpoint) fn parse_number(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|number: &u64| number.to_string() == digits)
}

/// Returns the metadata of a savepoint with paths relative to its folder, so that the folder can be moved anywhere.
/// Errors: `internal` if the savepoint names a file outside of its folder.
pub(super) fn relative_to(folder: &str, metadata: &CheckpointMetadata) -> Result<CheckpointMetadata> {
    let mut relative = metadata.clone();
    for file in relative.files_mut() {
        let own = file.path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
        let outside =
            || error::internal(format!("savepoint `{folder}` names `{}`, which is outside of its folder", file.path));
        file.path = own.filter(|name| is_portable_name(name)).ok_or_else(outside)?.to_owned();
    }
    Ok(relative)
}
