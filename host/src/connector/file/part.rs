//! The names of the file sink's parts. A published part is `part-<job>-<node>-<subtask>-<checkpoint>.txt` in the sink's
//! folder; until then it has the same name in the folder `.pending` within it, and while it is being written it is
//! `part-<job>-<node>-<subtask>-<token>.open` there.
//!
//! Invariant: a name tells its job and node without doubt (both are written so that they hold no `-` or are followed by
//! exactly two numbers), so that nobody else's file is ever taken for ours.

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::ConnectorContext;
use crate::error::{Error, sink_unwritable};

/// The folder of parts that are not published yet, within the sink's.
pub(super) const PENDING: &str = ".pending";

/// A part that is complete and durable in `.pending`. Durable itself: part of the checkpoint, as a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SinkPart {
    /// The name of the file, the same in `.pending` and once published.
    pub(super) name: String,
    pub(super) bytes: u64,
}

impl SinkPart {
    /// Whether the name is one that a sink gives. A checkpoint's bytes are not trusted to name just any file.
    pub(super) fn is_named_well(&self) -> bool {
        self.name.starts_with("part-") && self.name.ends_with(".txt") && !self.name.contains(['/', '\\', '\0'])
    }
}

/// Where a sink's parts are and how they are named.
#[derive(Clone)]
pub(super) struct PartNaming {
    pub(super) folder: PathBuf,
    pub(super) pending: PathBuf,
    /// What all parts of this job and node begin with.
    prefix: String,
}

impl PartNaming {
    pub(super) fn new(path: &Path, context: &ConnectorContext) -> PartNaming {
        let folder = context.base_dir.join(path);
        let pending = folder.join(PENDING);
        let prefix = format!("part-{}-{}-", plain(&context.job_id, "_"), plain(&context.node, "-_"));
        PartNaming { folder, pending, prefix }
    }

    pub(super) fn name(&self, subtask: u32, checkpoint: u64) -> String {
        format!("{}{subtask:03}-{checkpoint:08}.txt", self.prefix)
    }

    pub(super) fn open_path(&self, subtask: u32, token: u64) -> PathBuf {
        self.pending.join(format!("{}{subtask:03}-{token:016x}.open", self.prefix))
    }

    /// The checkpoint of a part of this job and node; None where the name is not that of one.
    pub(super) fn checkpoint_of(&self, name: &str) -> Option<u64> {
        let (subtask, checkpoint) = name.strip_prefix(&self.prefix)?.strip_suffix(".txt")?.split_once('-')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (digits(subtask) && digits(checkpoint)).then(|| checkpoint.parse().ok())?
    }

    /// Whether a file in `.pending` is one of this job and node, complete or not.
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

/// The job and the checkpoint in the name of a part, whosever it is. The job's id is as it stands in the name.
pub(super) fn job_and_checkpoint(name: &str) -> Option<(&str, u64)> {
    let (job, rest) = name.strip_prefix("part-")?.strip_suffix(".txt")?.split_once('-')?;
    let (rest, checkpoint) = rest.rsplit_once('-')?;
    let (_node, subtask) = rest.rsplit_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(subtask) && digits(checkpoint)).then(|| Some((job, checkpoint.parse().ok()?)))?
}

/// `text` with every byte but letters, digits and `kept` written as `%2F`, so that it is one part of a file name.
fn plain(text: &str, kept: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for byte in text.bytes() {
        match char::from(byte) {
            byte if byte.is_ascii_alphanumeric() || kept.contains(byte) => plain.push(byte),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(plain, "%{byte:02X}");
            }
        }
    }
    plain
}

/// Makes the names in `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// `sink-unwritable` with the path and the system's reason.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> Error {
    sink_unwritable(format!("`{}` cannot be written: {error}", path.display()))
}
