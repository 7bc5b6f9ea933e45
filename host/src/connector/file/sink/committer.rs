//! Publishes the parts of a file sink, and repairs the sink's folder before an attempt starts.
//!
//! Invariant: only files with names of parts of this job and node are ever removed.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::committable::{self, PartStatus, is_absent, locate};
use super::sink_part::{PartNaming, SinkPart, unwritable};
use crate::access::{AccessPolicy, PinnedFolder};
use crate::connector::context::ConnectorContext;
use crate::connector::sink::{Committer, Recovered, SinkOutput};
use crate::error::{Result, sink_unwritable};

/// Number of parts that are remembered as published.
const REMEMBERED: usize = 4_096;

/// The committer of a file sink.
pub(in crate::connector) struct FileCommitter {
    parts: PartNaming,
    policy: AccessPolicy,
    node: String,
    /// Names of the last published parts. Two checkpoints may list the same part, and a reader may remove the published file
    /// in between.
    published: VecDeque<String>,
}

impl FileCommitter {
    pub(in crate::connector) fn new(path: &Path, context: &ConnectorContext) -> FileCommitter {
        let (parts, node) = (PartNaming::new(path, context), context.node.clone());
        FileCommitter { parts, policy: context.policy.clone(), node, published: VecDeque::new() }
    }

    /// Publishes the pending parts. Returns the changed and missing parts, except those that this committer has already
    /// published.
    fn publish_all(&mut self, parts: Vec<SinkPart>) -> Result<Vec<(SinkPart, PartStatus)>> {
        let mut unexpected = Vec::new();
        for part in &parts {
            let found = self.publish(part)?;
            if matches!(found, PartStatus::Changed | PartStatus::Missing) && !self.is_remembered(part) {
                unexpected.push((part.clone(), found));
            }
        }
        fail_point!("sink.published", sink_unwritable);
        if !parts.is_empty() {
            self.sync()?;
        }
        let is_unexpected = |part: &SinkPart| unexpected.iter().any(|(other, _)| other == part);
        for part in parts.into_iter().filter(|part| !is_unexpected(part)) {
            self.remember(part);
        }
        Ok(unexpected)
    }

    fn publish(&self, part: &SinkPart) -> Result<PartStatus> {
        let found = locate(&self.parts.folder, part)?;
        if found != PartStatus::Pending {
            return Ok(found);
        }
        fail_point!("sink.publish", sink_unwritable);
        match self.parts.folder.publish(&part.name) {
            Ok(()) => Ok(PartStatus::Published),
            // This job and a job that started from its checkpoint may publish a part at the same time.
            Err(error) if is_absent(&error) => locate(&self.parts.folder, part),
            Err(error) => Err(unwritable(&self.parts.folder.path().join(&part.name), &error)),
        }
    }

    fn decode(&self, committables: &[Vec<u8>]) -> Result<Vec<SinkPart>> {
        let prepared = committable::decode(committables, &self.node)?;
        Ok(prepared.into_iter().flat_map(|prepared| prepared.parts).collect())
    }

    /// Syncs both folders to disk, which makes the renames durable.
    fn sync(&self) -> Result<()> {
        let folder = &self.parts.folder;
        for opened in [folder.open(), folder.open_pending()] {
            match opened.and_then(|opened| opened.sync()) {
                Err(error) if !is_absent(&error) => return Err(unwritable(folder.path(), &error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn remember(&mut self, part: SinkPart) {
        if self.published.len() == REMEMBERED {
            self.published.pop_front();
        }
        self.published.push_back(part.name);
    }

    fn is_remembered(&self, part: &SinkPart) -> bool {
        self.published.contains(&part.name)
    }

    /// Removes all parts of this job and node that are not published.
    fn remove_pending(&self) -> Result<()> {
        fail_point!("sink.discard", sink_unwritable);
        self.remove(self.parts.folder.open_pending(), |name| self.parts.is_pending_of_ours(name))
    }

    /// Removes the files of a folder whose names satisfy `is_ours`. A missing folder counts as empty.
    fn remove(&self, folder: io::Result<PinnedFolder>, is_ours: impl Fn(&str) -> bool) -> Result<()> {
        let path = self.parts.folder.path();
        let folder = match folder {
            Ok(folder) => folder,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(unwritable(path, &error)),
        };
        for name in folder.names().map_err(|error| unwritable(path, &error))? {
            if name.to_str().is_some_and(&is_ours) {
                fail_point!("sink.remove-part", sink_unwritable);
                match folder.remove_file(&name) {
                    Err(error) if !is_absent(&error) => return Err(unwritable(&path.join(&name), &error)),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl Committer for FileCommitter {
    /// Errors: `sink-unwritable` if a part is neither pending nor published, because its records are lost before a reader saw
    /// them; `checkpoint-corrupt` if a pending part has another length than promised.
    fn commit(&mut self, output: &SinkOutput<'_>) -> Result<()> {
        let unexpected = self.publish_all(self.decode(&output.committables)?)?;
        let Some((part, found)) = unexpected.first() else { return Ok(()) };
        let what = match found {
            PartStatus::Changed => "was changed after it was published",
            _ => "cannot be published because it was removed",
        };
        Err(sink_unwritable(format!("`{}` {what}", self.parts.folder.path().join(&part.name).display())))
    }

    /// Reports a missing or changed part by name instead of failing: most likely it was published before the crash, and then
    /// its reader removed it.
    fn recover(&mut self, restored: Option<&SinkOutput<'_>>) -> Result<Recovered> {
        let parts = restored.map(|output| self.decode(&output.committables)).transpose()?.unwrap_or_default();
        let unexpected = self.publish_all(parts)?;
        self.remove_pending()?;
        fail_point!("sink.withdraw", sink_unwritable);
        let restored = restored.map(|output| output.checkpoint);
        self.remove(self.parts.folder.open(), |name| {
            self.parts
                .checkpoint_of(name)
                .is_some_and(|checkpoint| restored.is_none_or(|restored| checkpoint > restored))
        })?;
        self.sync()?;
        let missing = unexpected.iter().map(|(part, _)| part.name.clone()).collect();
        // The next checkpoint may list them again.
        unexpected.into_iter().for_each(|(part, _)| self.remember(part));
        Ok(Recovered::Done { missing })
    }

    fn adopt(&mut self, output: &SinkOutput<'_>, _assume_lost: bool) -> Result<Recovered> {
        let promise = committable::judge(&output.committables, Some(&self.parts.folder), &self.policy, &self.node)?;
        let unexpected = self.publish_all(promise.own)?;
        // A reader may remove a part as soon as it is published.
        let changed =
            unexpected.into_iter().filter(|(_, found)| *found == PartStatus::Changed).map(|(part, _)| part.name);
        Ok(Recovered::Done { missing: promise.unknown.into_iter().chain(changed).collect() })
    }

    fn discard(&mut self) -> Result<()> {
        self.remove_pending()?;
        self.sync()
    }
}
