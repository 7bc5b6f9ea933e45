//! The names of the file sink's parts.
//!
//! | state | path in the sink's folder |
//! |---|---|
//! | being written | `.pending/part-<job>-<node>-<subtask>-<token>.open` |
//! | pending | `.pending/part-<job>-<node>-<subtask>-<checkpoint>.txt` |
//! | published | `part-<job>-<node>-<subtask>-<checkpoint>.txt` |
//!
//! Invariant: a name identifies its job and node unambiguously, so a file of another job or node is never mistaken for
//! one of ours. For this, the id of the job contains no `-`, and exactly two numbers follow the id of the node.

use std::fmt::Write;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::sink_folder::SinkFolder;
use crate::access::denied_or;
use crate::connector::context::ConnectorContext;
use crate::error::{Error, sink_unwritable};

/// A part that was complete and synced to disk in `.pending`. Durable: the checkpoint contains a list of parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SinkPart {
    /// The file name, the same in `.pending` and in the sink's folder.
    pub(super) name: String,
    /// Length of the file, in bytes.
    pub(super) bytes: u64,
}

impl SinkPart {
    /// Whether the name has the form that a sink uses. The bytes of a checkpoint must not select an arbitrary file.
    pub(super) fn has_valid_name(&self) -> bool {
        self.name.starts_with("part-") && self.name.ends_with(".txt") && !self.name.contains(['/', '\\', '\0'])
    }
}

/// The folders and the naming of one sink's parts.
#[derive(Clone)]
pub(super) struct PartNaming {
    /// The sink's folder.
    pub(super) folder: SinkFolder,
    /// The common prefix of the names of all parts of this job and node.
    prefix: String,
}

impl PartNaming {
    pub(super) fn new(path: &Path, context: &ConnectorContext) -> PartNaming {
        let folder = SinkFolder::new(context.base_dir.join(path), &context.policy);
        let prefix = format!(
            "part-{}-{}-",
            escape_for_file_name(&context.job_id, "_"),
            escape_for_file_name(&context.node, "-_")
        );
        PartNaming { folder, prefix }
    }

    /// Returns the file name of a complete part.
    pub(super) fn name(&self, subtask: u32, checkpoint: u64) -> String {
        format!("{}{subtask:03}-{checkpoint:08}.txt", self.prefix)
    }

    /// Returns the file name of a part that is being written.
    pub(super) fn open_name(&self, subtask: u32, token: u64) -> String {
        format!("{}{subtask:03}-{token:016x}.open", self.prefix)
    }

    /// Returns the checkpoint of a part of this job and node. Returns `None` for any other name.
    pub(super) fn checkpoint_of(&self, name: &str) -> Option<u64> {
        let (subtask, checkpoint) = name.strip_prefix(&self.prefix)?.strip_suffix(".txt")?.split_once('-')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (digits(subtask) && digits(checkpoint)).then(|| checkpoint.parse().ok())?
    }

    /// Whether a file in `.pending` belongs to this job and node, complete or not.
    pub(super) fn is_pending_of_ours(&self, name: &str) -> bool {
        if self.checkpoint_of(name).is_some() {
            return true;
        }
        let rest = name.strip_prefix(&self.prefix).and_then(|rest| rest.strip_suffix(".open"));
        let Some((subtask, token)) = rest.and_then(|rest| rest.split_once('-')) else {
            return false;
        };
        !subtask.is_empty()
            && subtask.bytes().all(|byte| byte.is_ascii_digit())
            && token.len() == 16
            && token.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// The name of a part, in its pieces. Ids are in their escaped form, which equals an id of letters, digits, `-` and `_`.
pub(in crate::connector) struct PartName<'a> {
    /// The name without its ending.
    pub(in crate::connector) stem: &'a str,
    pub(in crate::connector) job: &'a str,
    pub(in crate::connector) node: &'a str,
    pub(in crate::connector) checkpoint: u64,
}

/// Takes the name of a published part apart. `None` for any other name.
pub(in crate::connector) fn part_name(name: &str) -> Option<PartName<'_>> {
    let (_, checkpoint) = job_and_checkpoint(name)?;
    let stem = name.strip_suffix(".txt")?;
    let (job, rest) = stem.strip_prefix("part-")?.split_once('-')?;
    let node = rest.rsplitn(3, '-').nth(2)?;
    Some(PartName { stem, job, node, checkpoint })
}

/// Returns the job and the checkpoint in the name of a part of any job. The job's id is returned in its escaped form.
pub(super) fn job_and_checkpoint(name: &str) -> Option<(&str, u64)> {
    let (job, rest) = name.strip_prefix("part-")?.strip_suffix(".txt")?.split_once('-')?;
    let (rest, checkpoint) = rest.rsplit_once('-')?;
    let (_node, subtask) = rest.rsplit_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(subtask) && digits(checkpoint)).then(|| Some((job, checkpoint.parse().ok()?)))?
}

/// Escapes every byte but letters, digits and `kept` as in `%2F`, so that the text is safe in a file name.
fn escape_for_file_name(text: &str, kept: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match char::from(byte) {
            byte if byte.is_ascii_alphanumeric() || kept.contains(byte) => escaped.push(byte),
            _ => {
                // Writing to a string never fails.
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

/// Returns the error `sink-unwritable` with the path and the system's reason, or `path-denied`.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> Error {
    denied_or(error, || sink_unwritable(format!("`{}` cannot be written: {error}", path.display())))
}
