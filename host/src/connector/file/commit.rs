//! Publishes the file sink's parts, and puts the folder right before a job starts again.
//!
//! Invariant: only files named as parts of this job and node are ever removed.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::super::{Committer, ConnectorContext, position};
use super::part::{Part, Parts, sync_folder, unwritable};
use crate::error::{Result, checkpoint_corrupt, sink_unwritable};

/// How many parts are remembered as published.
const REMEMBERED: usize = 4_096;

/// See the module.
pub(in crate::connector) struct FileCommitter {
    parts: Parts,
    node: String,
    /// The last parts that were published. A part may be named by two checkpoints, and somebody may have taken the
    /// published file away between them.
    published: Mutex<VecDeque<String>>,
}

/// Where a part was found.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// In `.pending`; published now.
    Pending,
    /// Published before.
    Published,
    /// Published before, and changed by somebody since.
    Changed,
    Nowhere,
}

impl FileCommitter {
    pub(in crate::connector) fn new(path: &Path, context: &ConnectorContext) -> FileCommitter {
        let (parts, node) = (Parts::new(path, context), context.node.clone());
        FileCommitter { parts, node, published: Mutex::new(VecDeque::new()) }
    }

    fn decode(&self, committables: &[Vec<u8>]) -> Result<Vec<Part>> {
        let what = format!("what the checkpoint has to publish of sink `{}`", self.node);
        let mut all = Vec::new();
        for committable in committables {
            all.extend(position::decode::<Vec<Part>>(position::VERSION_1, committable, &what)?);
        }
        match all.iter().find(|part| !part.is_named_well()) {
            Some(part) => Err(checkpoint_corrupt(format!("{what} names `{}`, which is no part", part.name))),
            None => Ok(all),
        }
    }

    /// Publishes each part, and hands those that are not there as they were prepared to `odd`.
    fn publish_all(&self, committables: &[Vec<u8>], odd: impl Fn(&Part, &Found) -> Result<()>) -> Result<()> {
        let parts = self.decode(committables)?;
        for part in &parts {
            match self.publish(part)? {
                Found::Pending | Found::Published => {}
                found => {
                    if !self.is_remembered(part) {
                        odd(part, &found)?;
                    }
                }
            }
        }
        if !parts.is_empty() {
            self.sync()?;
        }
        parts.into_iter().for_each(|part| self.remember(part));
        Ok(())
    }

    fn publish(&self, part: &Part) -> Result<Found> {
        let (pending, target) = (self.parts.pending.join(&part.name), self.parts.folder.join(&part.name));
        match fs::metadata(&pending) {
            Ok(found) if found.len() != part.bytes => {
                let (path, is, was) = (pending.display(), found.len(), part.bytes);
                return Err(checkpoint_corrupt(format!("the pending part `{path}` has {is} bytes instead of {was}")));
            }
            Ok(_) => match fs::rename(&pending, &target) {
                Ok(()) => return Ok(Found::Pending),
                Err(error) => return Err(unwritable(&target, &error)),
            },
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(unwritable(&pending, &error)),
        }
        match fs::metadata(&target) {
            Ok(found) if found.len() == part.bytes => Ok(Found::Published),
            Ok(_) => Ok(Found::Changed),
            Err(error) if is_absent(&error) => Ok(Found::Nowhere),
            Err(error) => Err(unwritable(&target, &error)),
        }
    }

    /// Makes the renames durable.
    fn sync(&self) -> Result<()> {
        for folder in [&self.parts.folder, &self.parts.pending] {
            match sync_folder(folder) {
                Err(error) if !is_absent(&error) => return Err(unwritable(folder, &error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn remember(&self, part: Part) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if published.len() == REMEMBERED {
            published.pop_front();
        }
        published.push_back(part.name);
    }

    fn is_remembered(&self, part: &Part) -> bool {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).contains(&part.name)
    }

    /// Removes the files of `folder` whose names `is_ours` picks; a folder that is not there holds none.
    fn remove(&self, folder: &Path, is_ours: impl Fn(&str) -> bool) -> Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(unwritable(folder, &error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| unwritable(folder, &error))?;
            if entry.file_name().to_str().is_some_and(&is_ours) {
                match fs::remove_file(entry.path()) {
                    Err(error) if !is_absent(&error) => return Err(unwritable(&entry.path(), &error)),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

impl Committer for FileCommitter {
    /// A part that is neither pending nor published is `sink-unwritable`: somebody removed records that no reader has
    /// seen, and the restart strategy decides. A pending one of another length is `checkpoint-corrupt`.
    fn commit(&self, committables: &[Vec<u8>]) -> Result<()> {
        self.publish_all(committables, |part, found| {
            let path = self.parts.folder.join(&part.name);
            let what = match found {
                Found::Changed => "was changed by somebody since it was published",
                _ => "cannot be published: somebody removed it",
            };
            Err(sink_unwritable(format!("`{}` {what}", path.display())))
        })
    }

    /// Here a part that is gone, or was changed, is told in the log only: it was most likely published before the crash
    /// and then taken away by its reader, and a restore must not fail by that.
    fn recover(&self, restored: Option<u64>, committables: &[Vec<u8>]) -> Result<()> {
        self.publish_all(committables, |part, found| {
            let path = self.parts.folder.join(&part.name);
            tracing::warn!(path = %path.display(), ?found, "a part of the restored checkpoint is not as it was prepared");
            Ok(())
        })?;
        self.remove(&self.parts.pending, |name| self.parts.is_pending_of_ours(name))?;
        self.remove(&self.parts.folder, |name| {
            self.parts
                .checkpoint_of(name)
                .is_some_and(|checkpoint| restored.is_none_or(|restored| checkpoint > restored))
        })?;
        self.sync()
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
