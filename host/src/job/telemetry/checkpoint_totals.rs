//! Totals of the checkpoints of a job since its process began.

use std::collections::BTreeMap;

use crate::job::view::CheckpointSummary;
use crate::model::DurationHistogram;

/// Totals of the checkpoints and savepoints of a job.
#[derive(Clone, Debug, Default)]
pub struct CheckpointTotals {
    /// Totals of each kind: `checkpoint`, `savepoint` or `final`.
    pub kinds: BTreeMap<String, CheckpointKindTotals>,
    /// The longest time of a subtask in each phase.
    pub phases: BTreeMap<&'static str, DurationHistogram>,
    /// The last completed one.
    pub last: Option<LastCheckpoint>,
    /// Bytes that completed ones have uploaded.
    pub uploaded_bytes: u64,
}

/// Totals of one kind of checkpoints.
#[derive(Clone, Debug, Default)]
pub struct CheckpointKindTotals {
    /// Number of completed ones.
    pub completed: u64,
    /// Number of failed ones.
    pub failed: u64,
    /// How long the completed ones took.
    pub durations: DurationHistogram,
}

/// The last completed checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct LastCheckpoint {
    /// When it was triggered, in milliseconds since the Unix epoch.
    pub triggered_at_ms: i64,
    /// Size of all its files.
    pub bytes: u64,
    /// Bytes of the records that its barrier overtook.
    pub in_flight_bytes: u64,
}

impl CheckpointTotals {
    /// Counts a checkpoint that has ended.
    pub fn count(&mut self, checkpoint: &CheckpointSummary) {
        let totals = self.kinds.entry(checkpoint.kind.clone()).or_default();
        match checkpoint.status.as_str() {
            "completed" => totals.completed += 1,
            "failed" => return totals.failed += 1,
            _ => return,
        }
        totals.durations.observe(checkpoint.duration_ms.unwrap_or(0) as f64 / 1000.0);
        let total = &checkpoint.total;
        for (phase, ms) in [
            ("start_delay", total.start_delay_ms),
            ("alignment", total.alignment_ms),
            ("sync", total.sync_ms),
            ("async", total.async_ms),
        ] {
            self.phases.entry(phase).or_default().observe(ms / 1000.0);
        }
        self.uploaded_bytes += total.bytes_uploaded;
        self.last = Some(LastCheckpoint {
            triggered_at_ms: checkpoint.triggered_at_ms,
            bytes: total.bytes,
            in_flight_bytes: total.in_flight_bytes,
        });
    }
}
