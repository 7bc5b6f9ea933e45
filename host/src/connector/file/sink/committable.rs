//! The committable of a file sink: the folder, and the parts that a checkpoint promises to publish there.
//!
//! Also decides whether a job that starts from another job's checkpoint can keep that promise. Only inspects files and
//! changes nothing.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::sink_folder::{PENDING, SinkFolder};
use super::sink_part::{SinkPart, unwritable};
use crate::access::AccessPolicy;
use crate::connector::versioned_bytes;
use crate::error::{Error, Result, checkpoint_corrupt, sink_changed};

/// Version of a committable that contains the sink's folder.
pub(super) const VERSION_2: u8 = 2;

/// The committable of one subtask.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PreparedParts {
    /// The absolute path of the sink's folder. `None` in version 1, which did not store it.
    pub(super) folder: Option<PathBuf>,
    /// The prepared parts.
    pub(super) parts: Vec<SinkPart>,
}

/// The location and condition of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PartStatus {
    /// In `.pending` with the expected length.
    Pending,
    /// In the sink's folder with the expected length.
    Published,
    /// In the sink's folder with another length: it was changed after it was published.
    Changed,
    /// In neither folder.
    Missing,
}

/// The parts that another job's checkpoint promised, as seen by the job that starts from it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AdoptableParts {
    /// Parts in the folder of the job's own sink. The pending ones have to be published.
    pub(super) own: Vec<SinkPart>,
    /// Names of missing parts of a checkpoint that does not contain their folder.
    pub(super) unknown: Vec<String>,
}

/// Encodes a committable.
pub(super) fn encode(folder: &Path, parts: &[SinkPart]) -> Result<Vec<u8>> {
    versioned_bytes::encode(VERSION_2, &(folder.as_os_str().as_bytes(), parts))
}

/// Decodes the committables of a sink. Checks the names of the parts, because the bytes of a checkpoint are untrusted.
pub(super) fn decode(committables: &[Vec<u8>], node: &str) -> Result<Vec<PreparedParts>> {
    let what = format!("the committable of sink `{node}`");
    let mut all = Vec::new();
    for committable in committables {
        let prepared = match versioned_bytes::version(committable) {
            Some(versioned_bytes::VERSION_1) => PreparedParts {
                folder: None,
                parts: versioned_bytes::decode(versioned_bytes::VERSION_1, committable, &what)?,
            },
            _ => {
                let (folder, parts): (Vec<u8>, _) = versioned_bytes::decode(VERSION_2, committable, &what)?;
                PreparedParts { folder: Some(PathBuf::from(OsString::from_vec(folder))), parts }
            }
        };
        if let Some(part) = prepared.parts.iter().find(|part| !part.has_valid_name()) {
            return Err(checkpoint_corrupt(format!(
                "{what} contains `{}`, which is not the name of a part",
                part.name
            )));
        }
        all.push(prepared);
    }
    Ok(all)
}

/// Finds a part in a sink's folder. Errors: `checkpoint-corrupt` if a pending part has another length than promised,
/// `path-denied` if the folder is not allowed.
pub(super) fn locate(folder: &SinkFolder, part: &SinkPart) -> Result<PartStatus> {
    let failed = |error: io::Error| unwritable(folder.path(), &error);
    let open = match folder.open() {
        Ok(open) => open,
        Err(error) if is_absent(&error) => return Ok(PartStatus::Missing),
        Err(error) => return Err(failed(error)),
    };
    match open.subfolder(PENDING).and_then(|pending| pending.file_length(&part.name)) {
        Ok(Some(bytes)) if bytes == part.bytes => return Ok(PartStatus::Pending),
        Ok(found) => {
            let path = folder.pending_path().join(&part.name);
            let is = found.map_or("no file".to_owned(), |bytes| format!("{bytes} bytes"));
            let (path, was) = (path.display(), part.bytes);
            return Err(checkpoint_corrupt(format!("the pending part `{path}` has {is} instead of {was}")));
        }
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(failed(error)),
    }
    match open.file_length(&part.name) {
        Ok(Some(bytes)) if bytes == part.bytes => Ok(PartStatus::Published),
        Ok(_) => Ok(PartStatus::Changed),
        Err(error) if is_absent(&error) => Ok(PartStatus::Missing),
        Err(error) => Err(failed(error)),
    }
}

/// Whether an error means that a file does not exist.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Checks whether a sink can keep the promise of another job's checkpoint, and returns the names of missing parts.
///
/// `own` is the folder of the sink, or `None` if the pipeline has no such file sink. Error: `sink-changed`.
pub(in crate::connector) fn check_promise(
    committables: &[Vec<u8>],
    own: Option<&Path>,
    policy: &AccessPolicy,
    node: &str,
) -> Result<Vec<String>> {
    let own = own.map(|own| SinkFolder::new(own.to_owned(), policy));
    judge(committables, own.as_ref(), policy, node).map(|promise| promise.unknown)
}

/// Finds all parts that another job's checkpoint promised. `own` is the folder that the sink `node` writes to, or `None`
/// if the pipeline has no such file sink. Error: `sink-changed` if promised records would be lost.
/// The folders in a checkpoint are untrusted, so that `policy` applies to them too.
pub(super) fn judge(
    committables: &[Vec<u8>],
    own: Option<&SinkFolder>,
    policy: &AccessPolicy,
    node: &str,
) -> Result<AdoptableParts> {
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
                Some(folder) => match locate(&SinkFolder::new(folder.clone(), policy), &part)? {
                    PartStatus::Published | PartStatus::Changed => {}
                    PartStatus::Pending => {
                        return Err(pending_elsewhere(&part, folder, own.map(SinkFolder::path), node));
                    }
                    PartStatus::Missing => return Err(lost(&part, folder, node)),
                },
            }
        }
    }
    Ok(promise)
}

fn pending_elsewhere(part: &SinkPart, folder: &Path, own: Option<&Path>, node: &str) -> Error {
    let now = match own {
        Some(own) => format!("the sink now writes to `{}`", own.display()),
        None => "the pipeline no longer has this file sink".to_owned(),
    };
    sink_changed(format!(
        "the checkpoint promised the part `{}` of sink `{node}`, which is still unpublished in `{}`, but {now}",
        part.name,
        folder.join(PENDING).display()
    ))
    .hint(
        "start the job with the unchanged sink, stop it, and then change the sink; or start it with --assume-published, \
         which loses these records",
    )
}

fn lost(part: &SinkPart, folder: &Path, node: &str) -> Error {
    sink_changed(format!(
        "the checkpoint promised the part `{}` of sink `{node}`, which is neither pending nor published in `{}`",
        part.name,
        folder.display()
    ))
    .hint("restore the folder; or, if the file was published and then removed, start the job with --assume-published")
}

fn removed(part: &SinkPart, node: &str) -> Error {
    sink_changed(format!(
        "the checkpoint promised the part `{}` of sink `{node}`, but the pipeline no longer has this file sink",
        part.name
    ))
    .hint("start the job with the unchanged sink; or, if the file was published, with --assume-published")
}
