//! The splits of a source that are known by name, such as the partitions of topics: which subtask reads them, and their positions.
//!
//! No split is assigned by a coordinator. The owner follows from the name, so each subtask lists all splits and takes its own. The position of
//! a source names every split that any subtask has ever taken. After a restore, a listed split that no position names is therefore new, and is
//! read from its beginning.
//!
//! Invariant: at any parallelism, each split belongs to exactly one subtask.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::context::ConnectorContext;
use super::source::{OpenSplits, SplitId};
use super::versioned_bytes::{self, VERSION_1};
use crate::error::{Result, checkpoint_corrupt};
use crate::model::hash_key;

/// The name of a split. Durable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SplitName {
    /// What the split is a part of, such as a topic.
    pub of: String,
    /// Its number there, such as that of a partition.
    pub number: u32,
}

impl SplitName {
    /// Returns the subtask that reads the split. Splits with consecutive numbers have different owners.
    pub fn owner(&self, parallelism: u32) -> u32 {
        let first = hash_key(self.of.as_bytes());
        let owner = first.wrapping_add(u64::from(self.number)) % u64::from(parallelism.max(1));
        owner as u32
    }
}

/// How a subtask has come to know a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitOrigin {
    /// It was there when a job without a checkpoint began: the start position of the source applies.
    FirstListing,
    /// It has appeared since, so all its records are new.
    Discovered,
}

/// A split with the position behind its last record that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PositionedSplit<P> {
    name: SplitName,
    position: P,
}

/// The splits of one subtask with their positions. `P` is the durable position within a split.
#[derive(Debug)]
pub struct OwnSplits<P> {
    subtask: u32,
    parallelism: u32,
    /// All splits ever taken. The index is that of their [`SplitId`].
    splits: Vec<PositionedSplit<P>>,
    ids: BTreeMap<SplitName, SplitId>,
    open: Vec<SplitId>,
    version: u64,
    /// The origin of splits of the next listing.
    next_origin: SplitOrigin,
}

impl<P: Clone + Serialize + DeserializeOwned> OwnSplits<P> {
    /// Begins without splits, or continues with the own ones among those of the restored `positions` of all subtasks. Error:
    /// `checkpoint-corrupt`.
    pub fn open(context: &ConnectorContext, positions: &[&[u8]]) -> Result<OwnSplits<P>> {
        let what = format!("the position of source `{}`", context.node);
        let next_origin = if positions.is_empty() { SplitOrigin::FirstListing } else { SplitOrigin::Discovered };
        let mut own = OwnSplits {
            subtask: context.subtask,
            parallelism: context.parallelism,
            splits: Vec::new(),
            ids: BTreeMap::new(),
            open: Vec::new(),
            version: 0,
            next_origin,
        };
        let mut all = BTreeSet::new();
        for position in positions {
            for split in versioned_bytes::decode::<Vec<PositionedSplit<P>>>(VERSION_1, position, &what)? {
                if !all.insert(split.name.clone()) {
                    let SplitName { of, number } = split.name;
                    return Err(checkpoint_corrupt(format!("{what} contains split {number} of `{of}` twice")));
                }
                if own.is_own(&split.name) {
                    own.add(split);
                }
            }
        }
        Ok(own)
    }

    fn is_own(&self, name: &SplitName) -> bool {
        name.owner(self.parallelism) == self.subtask
    }

    fn add(&mut self, split: PositionedSplit<P>) -> SplitId {
        let id = SplitId(self.splits.len() as u32);
        self.ids.insert(split.name.clone(), id);
        self.splits.push(split);
        self.open.push(id);
        self.version += 1;
        id
    }

    /// Takes the own splits that the source has listed and this subtask does not know. `first_position` returns where to begin to read. Returns
    /// the ids of the new splits.
    pub fn take_listed(
        &mut self,
        listed: impl IntoIterator<Item = SplitName>,
        mut first_position: impl FnMut(&SplitName, SplitOrigin) -> Result<P>,
    ) -> Result<Vec<SplitId>> {
        let mut added = Vec::new();
        for name in listed {
            if self.is_own(&name) && !self.ids.contains_key(&name) {
                let position = first_position(&name, self.next_origin)?;
                added.push(self.add(PositionedSplit { name, position }));
            }
        }
        self.next_origin = SplitOrigin::Discovered;
        Ok(added)
    }

    /// Closes a split: it has ended or is gone. Its position is kept, so that it is not taken for a new one.
    pub fn close(&mut self, id: SplitId) {
        if let Ok(place) = self.open.binary_search(&id) {
            self.open.remove(place);
            self.version += 1;
        }
    }

    /// Returns the open splits.
    pub fn open_splits(&self) -> OpenSplits<'_> {
        OpenSplits { version: self.version, splits: &self.open }
    }

    /// Returns the id of an own split.
    pub fn id(&self, name: &SplitName) -> Option<SplitId> {
        self.ids.get(name).copied()
    }

    /// Returns the name of a split. Panics if there is no split with this id.
    pub fn name(&self, id: SplitId) -> &SplitName {
        &self.splits[id.0 as usize].name
    }

    /// Returns the position of a split. Panics if there is no split with this id.
    pub fn position(&self, id: SplitId) -> &P {
        &self.splits[id.0 as usize].position
    }

    /// Returns the position of a split to change it. Panics if there is no split with this id.
    pub fn position_mut(&mut self, id: SplitId) -> &mut P {
        &mut self.splits[id.0 as usize].position
    }

    /// Encodes the positions of all splits ever taken: the position of the source.
    pub fn encode(&self) -> Result<Vec<u8>> {
        versioned_bytes::encode(VERSION_1, &self.splits)
    }
}
