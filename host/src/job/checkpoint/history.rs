//! The recent checkpoints of a job, as the API shows them.

use crate::job::view::{CheckpointDetail, CheckpointSummary};

/// Number of checkpoints that a job remembers.
const CHECKPOINTS_SHOWN: usize = 64;

/// The newest checkpoints of a job since the process started, in order of their ids.
#[derive(Default)]
pub struct CheckpointHistory(Vec<CheckpointDetail>);

impl CheckpointHistory {
    /// Adds a checkpoint, or replaces its earlier version. Drops the oldest one if there are too many. Returns whether it had the same
    /// status before.
    pub fn put(&mut self, checkpoint: CheckpointDetail) -> bool {
        let id = checkpoint.summary.id;
        let is_known = self.get(id).is_some_and(|earlier| earlier.summary.status == checkpoint.summary.status);
        self.0.retain(|other| other.summary.id != id);
        let index = self.0.partition_point(|other| other.summary.id < id);
        self.0.insert(index, checkpoint);
        if self.0.len() > CHECKPOINTS_SHOWN {
            self.0.remove(0);
        }
        is_known
    }

    /// Returns the number of checkpoints that have not ended.
    pub fn in_progress(&self) -> u64 {
        self.0.iter().filter(|checkpoint| checkpoint.summary.status == "in-progress").count() as u64
    }

    /// Returns all checkpoints, newest first.
    pub fn newest_first(&self) -> Vec<CheckpointSummary> {
        self.0.iter().rev().map(|checkpoint| checkpoint.summary.clone()).collect()
    }

    /// Returns a checkpoint by its id.
    pub fn get(&self, id: u64) -> Option<&CheckpointDetail> {
        self.0.iter().find(|checkpoint| checkpoint.summary.id == id)
    }
}
