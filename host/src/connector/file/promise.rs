//! The committable of a file sink: the folder and the parts that a checkpoint promises to publish there.
//!
//! Also decides whether a job that begins from another job's checkpoint can keep that promise. Looks at files only and
//! changes nothing.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::super::position;
use super::part::{PENDING, SinkPart, unwritable};
use crate::error::{Result, checkpoint_corrupt, sink_changed};

/// The version of a committable that names the sink's folder.
pub(super) const VERSION_2: u8 = 2;

/// One subtask's committable.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PreparedParts {
    /// The sink's folder as an absolute path. Version 1 did not store it.
    pub(super) folder: Option<PathBuf>,
    pub(super) parts: Vec<SinkPart>,
}

/// Where a part is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PartStatus {
    /// In `.pending`, complete.
    Pending,
    /// In the sink's folder, as it was prepared.
    Published,
    /// In the sink's folder, with another length: somebody changed it after its publication.
    Changed,
    Missing,
}

/// What a job can do about the parts that another job's checkpoint promised.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AdoptableParts {
    /// Parts in the sink's own folder. Those that are pending have to be published.
    pub(super) own: Vec<SinkPart>,
    /// Names of parts that cannot be found, in a checkpoint that does not say where they were.
    pub(super) unknown: Vec<String>,
}

pub(super) fn encode(folder: &Path, parts: &[SinkPart]) -> Result<Vec<u8>> {
    position::encode(VERSION_2, &(folder.as_os_str().as_bytes(), parts))
}

/// Reads the committables of a sink. A checkpoint's bytes are not trusted to name just any file.
pub(super) fn decode(committables: &[Vec<u8>], node: &str) -> Result<Vec<PreparedParts>> {
    let what = format!("what the checkpoint has to publish of sink `{node}`");
    let mut all = Vec::new();
    for committable in committables {
        let prepared = match position::version(committable) {
            Some(position::VERSION_1) => {
                PreparedParts { folder: None, parts: position::decode(position::VERSION_1, committable, &what)? }
            }
            _ => {
                let (folder, parts): (Vec<u8>, _) = position::decode(VERSION_2, committable, &what)?;
                PreparedParts { folder: Some(PathBuf::from(OsString::from_vec(folder))), parts }
            }
        };
        if let Some(part) = prepared.parts.iter().find(|part| !part.is_named_well()) {
            return Err(checkpoint_corrupt(format!("{what} names `{}`, which is no part", part.name)));
        }
        all.push(prepared);
    }
    Ok(all)
}

/// Looks for a part in a sink's folder. A pending part of another length is `checkpoint-corrupt`.
pub(super) fn locate(folder: &Path, part: &SinkPart) -> Result<PartStatus> {
    let (pending, target) = (folder.join(PENDING).join(&part.name), folder.join(&part.name));
    match fs::metadata(&pending) {
        Ok(found) if found.len() != part.bytes => {
            let (path, is, was) = (pending.display(), found.len(), part.bytes);
            return Err(checkpoint_corrupt(format!("the pending part `{path}` has {is} bytes instead of {was}")));
        }
        Ok(_) => return Ok(PartStatus::Pending),
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(unwritable(&pending, &error)),
    }
    match fs::metadata(&target) {
        Ok(found) if found.is_file() && found.len() == part.bytes => Ok(PartStatus::Published),
        Ok(_) => Ok(PartStatus::Changed),
        Err(error) if is_absent(&error) => Ok(PartStatus::Missing),
        Err(error) => Err(unwritable(&target, &error)),
    }
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Decides about the promise of another job's checkpoint. `own` is the folder that the sink `node` writes to now; None
/// if the pipeline has no such file sink. Error: `sink-changed` if promised records would be lost.
pub(super) fn judge(committables: &[Vec<u8>], own: Option<&Path>, node: &str) -> Result<AdoptableParts> {
    let mut promise = AdoptableParts::default();
    for PreparedParts { folder, parts } in decode(committables, node)? {
        for part in parts {
            let in_own = own.map_or(Ok(PartStatus::Missing), |own| locate(own, &part))?;
            if in_own != PartStatus::Missing {
                promise.own.push(part);
                continue;
            }
            match &folder {
                None if own.is_some() => promise.unknown.push(part.name),
                None => return Err(removed(&part, node)),
                Some(folder) => match locate(folder, &part)? {
                    PartStatus::Published | PartStatus::Changed => {}
                    PartStatus::Pending => return Err(pending_elsewhere(&part, folder, own, node)),
                    PartStatus::Missing => return Err(lost(&part, folder, node)),
                },
            }
        }
    }
    Ok(promise)
}

fn pending_elsewhere(part: &SinkPart, folder: &Path, own: Option<&Path>, node: &str) -> crate::error::Error {
    let now = match own {
        Some(own) => format!("the sink writes to `{}` now", own.display()),
        None => "the pipeline has no such file sink any more".to_owned(),
    };
    sink_changed(format!(
        "the checkpoint promised `{}` of sink `{node}`, which is not published yet: it is in `{}`, and {now}",
        part.name,
        folder.join(PENDING).display()
    ))
    .hint(
        "begin with the sink as it was, stop that job, and change the sink then; or begin with --assume-published, \
         without these records",
    )
}

fn lost(part: &SinkPart, folder: &Path, node: &str) -> crate::error::Error {
    sink_changed(format!(
        "the checkpoint promised `{}` of sink `{node}`, which is neither pending nor published in `{}`",
        part.name,
        folder.display()
    ))
    .hint("bring the folder back; if the file was published and then taken away, begin with --assume-published")
}

fn removed(part: &SinkPart, node: &str) -> crate::error::Error {
    sink_changed(format!(
        "the checkpoint promised `{}` of sink `{node}`, and the pipeline has no such file sink any more",
        part.name
    ))
    .hint("begin with the sink as it was; or with --assume-published if the file was published")
}
