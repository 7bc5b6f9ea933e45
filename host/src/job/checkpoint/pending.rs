//! Checkpoints that are in progress: which subtasks have acknowledged them, and which requests they answer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::schedule::{ActiveCheckpoints, nanoseconds};
use crate::checkpoint::{CheckpointKind, UnfinishedCheckpoint};
use crate::job::view::{CheckpointDetail, CheckpointStats, CheckpointSummary};
use crate::pipeline::PipelineSpec;
use crate::runtime::{Barrier, BarrierKind, SubtaskSnapshot};

/// A checkpoint from the injection of its barrier until it is completed or given up.
pub struct PendingCheckpoint {
    /// The injected barrier.
    pub barrier: Barrier,
    /// When the barrier was injected, in milliseconds since the Unix epoch.
    pub triggered_at_ms: i64,
    /// Ids of the requests that the checkpoint answers.
    pub requests: Vec<String>,
    /// When the barrier may overtake records, by the monotonic clock. `None` if it may not, or does so already.
    overtakes_at_ns: Option<u64>,
    /// Id of the complete checkpoint whose files this one may refer to. Set when the upload begins.
    based_on: Option<u64>,
    snapshots: Vec<SubtaskSnapshot>,
    /// Number of snapshots that have not arrived yet.
    missing: usize,
}

impl PendingCheckpoint {
    /// Creates a checkpoint that no subtask has acknowledged yet.
    pub fn new(barrier: Barrier, pipeline: &PipelineSpec, now_ms: i64, requests: Vec<String>) -> PendingCheckpoint {
        let missing = pipeline.nodes.iter().map(|node| node.parallelism as usize).sum();
        let timeout = pipeline.checkpoint.unaligned_after.filter(|_| barrier.kind == BarrierKind::Checkpoint);
        PendingCheckpoint {
            barrier,
            triggered_at_ms: now_ms,
            requests,
            overtakes_at_ns: timeout.map(|timeout| barrier.triggered_ns.saturating_add(nanoseconds(timeout))),
            based_on: None,
            snapshots: Vec::new(),
            missing,
        }
    }

    /// Adds the snapshots of a subtask. Returns all snapshots of the checkpoint once none is missing.
    pub fn add(&mut self, snapshots: Vec<SubtaskSnapshot>) -> Option<Vec<SubtaskSnapshot>> {
        self.missing = self.missing.saturating_sub(snapshots.len());
        self.snapshots.extend(snapshots);
        (self.missing == 0).then(|| std::mem::take(&mut self.snapshots))
    }

    /// Records that the upload begins and may refer to files of the checkpoint `base`.
    pub fn begin_upload(&mut self, base: Option<u64>) {
        self.overtakes_at_ns = None;
        self.based_on = base;
    }

    /// Returns the kind that the checkpoint metadata has.
    pub fn kind(&self) -> CheckpointKind {
        match self.barrier.kind {
            BarrierKind::Checkpoint => CheckpointKind::Checkpoint,
            BarrierKind::Savepoint | BarrierKind::Stop | BarrierKind::Drain => CheckpointKind::Savepoint,
            BarrierKind::Final => CheckpointKind::Final,
        }
    }

    /// Returns the view of the checkpoint with a status.
    pub fn view(&self, status: &str) -> CheckpointDetail {
        let summary = CheckpointSummary {
            id: self.barrier.checkpoint,
            kind: self.kind().as_str().into(),
            status: status.into(),
            triggered_at_ms: self.triggered_at_ms,
            duration_ms: None,
            total: CheckpointStats::default(),
            failure: None,
            location: None,
        };
        CheckpointDetail { summary, operators: Vec::new() }
    }
}

/// The checkpoints in progress, by id.
#[derive(Default)]
pub struct PendingCheckpoints(BTreeMap<u64, PendingCheckpoint>);

impl PendingCheckpoints {
    /// Adds a checkpoint whose barrier is about to be injected.
    pub fn insert(&mut self, pending: PendingCheckpoint) {
        self.0.insert(pending.barrier.checkpoint, pending);
    }

    /// Returns a checkpoint by its id.
    pub fn get_mut(&mut self, checkpoint: u64) -> Option<&mut PendingCheckpoint> {
        self.0.get_mut(&checkpoint)
    }

    /// Removes a checkpoint that is completed or has failed.
    pub fn remove(&mut self, checkpoint: u64) -> Option<PendingCheckpoint> {
        self.0.remove(&checkpoint)
    }

    /// Removes all checkpoints and returns them in order.
    pub fn take_all(&mut self) -> impl Iterator<Item = PendingCheckpoint> {
        std::mem::take(&mut self.0).into_values()
    }

    /// Removes and returns the oldest checkpoint if it was triggered at least `timeout` ago.
    pub fn take_expired(&mut self, now_ns: u64, timeout: Duration) -> Option<PendingCheckpoint> {
        let oldest = self.0.first_entry()?;
        let age_ns = now_ns.saturating_sub(oldest.get().barrier.triggered_ns);
        (age_ns >= nanoseconds(timeout)).then(|| oldest.remove())
    }

    /// Returns the nanoseconds until [`PendingCheckpoints::take_expired`] returns a checkpoint.
    pub fn expires_in_ns(&self, now_ns: u64, timeout: Duration) -> Option<u64> {
        let (_, oldest) = self.0.first_key_value()?;
        Some(oldest.barrier.triggered_ns.saturating_add(nanoseconds(timeout)).saturating_sub(now_ns))
    }

    /// Returns how many checkpoints of which kind are in progress.
    pub fn active(&self) -> ActiveCheckpoints {
        let kinds = || self.0.values().map(|pending| pending.barrier.kind);
        ActiveCheckpoints {
            checkpoints: kinds().filter(|kind| *kind == BarrierKind::Checkpoint).count(),
            savepoints: kinds().filter(|kind| kind.is_savepoint()).count(),
            last: kinds().any(BarrierKind::is_last),
            is_sink_full: false,
        }
    }

    /// Returns whether a checkpoint with this id or a later one is in progress.
    pub fn has_any_from(&self, checkpoint: u64) -> bool {
        self.0.range(checkpoint..).next().is_some()
    }

    /// Returns the barriers that may overtake records from now on. Each barrier is returned once.
    pub fn take_overtaking(&mut self, now_ns: u64) -> Vec<Barrier> {
        let aligning = self.0.values_mut().filter(|pending| pending.missing > 0);
        let due =
            aligning.filter_map(|pending| pending.overtakes_at_ns.take_if(|at| *at <= now_ns).map(|_| pending.barrier));
        due.collect()
    }

    /// Returns the nanoseconds until the next barrier may overtake records.
    pub fn overtakes_in_ns(&self, now_ns: u64) -> Option<u64> {
        let deadlines = self.0.values().filter_map(|pending| pending.overtakes_at_ns);
        deadlines.map(|at| at.saturating_sub(now_ns)).min()
    }

    /// Returns the checkpoints and their bases, in the form that retention spares.
    pub fn spared(&self) -> impl Iterator<Item = UnfinishedCheckpoint> {
        self.0.iter().map(|(id, pending)| UnfinishedCheckpoint { id: *id, based_on: pending.based_on })
    }
}
