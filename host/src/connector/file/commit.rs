//! Publishes the file sink's parts, and puts the folder right before a job starts again.
//!
//! Invariant: only files named as parts of this job and node are ever removed.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::super::{Committer, ConnectorContext};
use super::part::{PartNaming, SinkPart, sync_folder, unwritable};
use super::promise::{self, PartStatus, is_absent, locate};
use crate::error::{Result, sink_unwritable};

/// How many parts are remembered as published.
const REMEMBERED: usize = 4_096;

/// See the module.
pub(in crate::connector) struct FileCommitter {
    parts: PartNaming,
    node: String,
    /// The last parts that were published. A part may be named by two checkpoints, and somebody may have taken the
    /// published file away between them.
    published: Mutex<VecDeque<String>>,
}

impl FileCommitter {
    pub(in crate::connector) fn new(path: &Path, context: &ConnectorContext) -> FileCommitter {
        let (parts, node) = (PartNaming::new(path, context), context.node.clone());
        FileCommitter { parts, node, published: Mutex::new(VecDeque::new()) }
    }

    /// Publishes the parts that are pending. Returns those that are not there as they were prepared, apart from those
    /// that were published by this committer before.
    fn publish_all(&self, parts: Vec<SinkPart>) -> Result<Vec<(SinkPart, PartStatus)>> {
        let mut odd = Vec::new();
        for part in &parts {
            let found = self.publish(part)?;
            if matches!(found, PartStatus::Changed | PartStatus::Missing) && !self.is_remembered(part) {
                odd.push((part.clone(), found));
            }
        }
        if !parts.is_empty() {
            self.sync()?;
        }
        let is_odd = |part: &SinkPart| odd.iter().any(|(other, _)| other == part);
        parts.into_iter().filter(|part| !is_odd(part)).for_each(|part| self.remember(part));
        Ok(odd)
    }

    fn publish(&self, part: &SinkPart) -> Result<PartStatus> {
        let found = locate(&self.parts.folder, part)?;
        if found != PartStatus::Pending {
            return Ok(found);
        }
        let target = self.parts.folder.join(&part.name);
        match fs::rename(self.parts.pending.join(&part.name), &target) {
            Ok(()) => Ok(PartStatus::Published),
            // Its own job and one that began from its checkpoint may publish a part at the same time.
            Err(error) if is_absent(&error) => locate(&self.parts.folder, part),
            Err(error) => Err(unwritable(&target, &error)),
        }
    }

    fn decode(&self, committables: &[Vec<u8>]) -> Result<Vec<SinkPart>> {
        let prepared = promise::decode(committables, &self.node)?;
        Ok(prepared.into_iter().flat_map(|prepared| prepared.parts).collect())
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

    fn remember(&self, part: SinkPart) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if published.len() == REMEMBERED {
            published.pop_front();
        }
        published.push_back(part.name);
    }

    fn is_remembered(&self, part: &SinkPart) -> bool {
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

impl Committer for FileCommitter {
    /// A part that is neither pending nor published is `sink-unwritable`: somebody removed records that no reader has
    /// seen, and the restart strategy decides. A pending one of another length is `checkpoint-corrupt`.
    fn commit(&self, committables: &[Vec<u8>]) -> Result<()> {
        let odd = self.publish_all(self.decode(committables)?)?;
        let Some((part, found)) = odd.first() else { return Ok(()) };
        let what = match found {
            PartStatus::Changed => "was changed by somebody since it was published",
            _ => "cannot be published: somebody removed it",
        };
        Err(sink_unwritable(format!("`{}` {what}", self.parts.folder.join(&part.name).display())))
    }

    /// Here a part that is gone, or was changed, is a warning: it was most likely published before the crash and then
    /// taken away by its reader, and a restore must not fail by that.
    fn recover(&self, restored: Option<u64>, committables: &[Vec<u8>]) -> Result<Vec<String>> {
        let odd = self.publish_all(self.decode(committables)?)?;
        self.remove(&self.parts.pending, |name| self.parts.is_pending_of_ours(name))?;
        self.remove(&self.parts.folder, |name| {
            self.parts
                .checkpoint_of(name)
                .is_some_and(|checkpoint| restored.is_none_or(|restored| checkpoint > restored))
        })?;
        self.sync()?;
        let names = odd.iter().map(|(part, _)| part.name.clone()).collect();
        // The next checkpoint may name them again.
        odd.into_iter().for_each(|(part, _)| self.remember(part));
        Ok(names)
    }

    fn adopt(&self, committables: &[Vec<u8>]) -> Result<Vec<String>> {
        let promise = promise::judge(committables, Some(&self.parts.folder), &self.node)?;
        let odd = self.publish_all(promise.own)?;
        // A reader may take a part away as soon as it is published.
        let changed = odd.into_iter().filter(|(_, found)| *found == PartStatus::Changed).map(|(part, _)| part.name);
        Ok(promise.unknown.into_iter().chain(changed).collect())
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
