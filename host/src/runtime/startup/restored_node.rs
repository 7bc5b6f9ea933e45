//! Selects from the restored checkpoint the share of one subtask of a node, at the same or another parallelism.
//!
//! All methods return nothing if no checkpoint is restored, or if it does not know the node.

use std::ops::Range;

use super::execution_options::RestoredCheckpoint;
use crate::checkpoint::SubtaskMetadata;
use crate::error::{self, Result};
use crate::model::{Counters, TurnPositions, common_groups, groups_of_subtask};
use crate::pipeline::PipelineNode;
use crate::runtime::input::in_flight_data::InFlightData;
use crate::runtime::replay::replay_position::ReplayPosition;
use crate::state::{FileStore, RestoreSource};

/// The restored share of one subtask of a node.
pub(super) struct RestoredNode<'a> {
    checkpoint: Option<&'a RestoredCheckpoint>,
    id: String,
    /// The metadata of the old subtasks of the node.
    old_subtasks: &'a [SubtaskMetadata],
    /// Index of the new subtask.
    subtask: u32,
    /// New parallelism of the node.
    parallelism: u32,
}

impl<'a> RestoredNode<'a> {
    pub(super) fn new(
        checkpoint: Option<&'a RestoredCheckpoint>,
        node: &PipelineNode,
        subtask: u32,
    ) -> RestoredNode<'a> {
        let old_subtasks = checkpoint.map_or(&[][..], |checkpoint| checkpoint.metadata.subtasks(&node.id));
        RestoredNode { checkpoint, id: node.id.clone(), old_subtasks, subtask, parallelism: node.parallelism }
    }

    /// Returns the counters to continue from: the old subtasks are dealt out to the new ones.
    pub(super) fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.share().for_each(|old| counters.add(&old.counters));
        counters
    }

    /// Returns the items that the function has handled, dealt out like the counters.
    pub(super) fn positions(&self) -> TurnPositions {
        let mut positions = TurnPositions::default();
        self.share().for_each(|old| positions.add(&old.positions));
        positions
    }

    /// Returns the old subtasks whose counts this subtask continues.
    fn share(&self) -> impl Iterator<Item = &'a SubtaskMetadata> {
        self.old_subtasks.iter().skip(self.subtask as usize).step_by(self.parallelism as usize)
    }

    /// Returns the positions of a source. Fails with `checkpoint-corrupt` if some subtasks have a position and others do not.
    pub(super) fn source_positions(&self) -> Result<Vec<&'a [u8]>> {
        let positions: Vec<&[u8]> = self.old_subtasks.iter().filter_map(|old| old.source_position.as_deref()).collect();
        if !positions.is_empty() && positions.len() != self.old_subtasks.len() {
            let message = format!("source `{}` has no position for some of its subtasks", self.id);
            return Err(error::checkpoint_corrupt(message));
        }
        Ok(positions)
    }

    /// Returns how far the subtask has come with the replays of dead letters.
    pub(super) fn replay_position(&self) -> Result<ReplayPosition> {
        if self.old_subtasks.is_empty() {
            return Ok(ReplayPosition::default());
        }
        let old: Vec<Option<&[u8]>> = self.old_subtasks.iter().map(|old| old.source_position.as_deref()).collect();
        ReplayPosition::restored(&old, self.subtask, self.parallelism)
            .map_err(|error| error.context(format!("operator `{}`", self.id)))
    }

    /// Returns the largest watermark that any subtask had reached.
    pub(super) fn max_watermark(&self) -> Option<i64> {
        self.old_subtasks.iter().filter_map(|old| old.watermark).max()
    }

    /// Returns the keyed state of all old subtasks that held any of `groups`.
    pub(super) fn keyed_state(&self, groups: &Range<u32>) -> Vec<RestoreSource<'a>> {
        let Some(checkpoint) = self.checkpoint else { return Vec::new() };
        let mut sources = Vec::new();
        for (subtask, old) in (0..).zip(self.old_subtasks) {
            let old_groups = self.groups_of_old_subtask(checkpoint, subtask);
            if let Some(handle) = &old.state
                && !common_groups(&old_groups, groups).is_empty()
            {
                let store = &*checkpoint.files as &dyn FileStore;
                sources.push(RestoreSource { handle, groups: old_groups, store });
            }
        }
        sources
    }

    fn groups_of_old_subtask(&self, checkpoint: &RestoredCheckpoint, subtask: u32) -> Range<u32> {
        groups_of_subtask(subtask, self.old_subtasks.len() as u32, checkpoint.metadata.max_parallelism)
    }

    /// Returns the broadcast state of one old subtask. All old subtasks have the same.
    pub(super) fn broadcast_state(&self) -> Option<RestoreSource<'a>> {
        let checkpoint = self.checkpoint?;
        let old = self.subtask.checked_rem(self.old_subtasks.len() as u32)?;
        let handle = self.old_subtasks.get(old as usize)?.broadcast.as_ref()?;
        Some(RestoreSource { handle, groups: 0..1, store: &*checkpoint.files as &dyn FileStore })
    }

    /// Reads the in-flight data for this subtask.
    pub(super) fn in_flight(&self) -> Result<InFlightData> {
        let mut restored = InFlightData::default();
        let Some(checkpoint) = self.checkpoint else { return Ok(restored) };
        let max_parallelism = checkpoint.metadata.max_parallelism;
        let old_parallelism = self.old_subtasks.len() as u32;
        let groups = groups_of_subtask(self.subtask, self.parallelism, max_parallelism);
        for (from, old) in (0..).zip(self.old_subtasks) {
            let Some(file) = &old.in_flight else { continue };
            if old_parallelism == self.parallelism && from != self.subtask {
                continue;
            }
            let in_flight = InFlightData::decode(&file.path, &checkpoint.files.get(file)?, max_parallelism)?;
            restored.append(match old_parallelism == self.parallelism {
                true => in_flight,
                false => in_flight.redistribute(from, old_parallelism, self.subtask, self.parallelism, &groups),
            });
        }
        Ok(restored)
    }
}
