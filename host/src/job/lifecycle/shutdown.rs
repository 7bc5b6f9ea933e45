//! The last checkpoint before the process ends, so that a job that is resumed repeats as little as possible.

use std::time::Duration;

use crate::job::checkpoint::CheckpointCoordinator;

/// How often a shutdown looks whether a publication still gets on.
const PUBLICATION_CHECK_NS: u64 = 100_000_000;

/// A shutdown that waits for the last checkpoint.
pub struct PendingShutdown {
    /// The first checkpoint that was triggered after the shutdown began.
    checkpoint: u64,
    deadline_ns: u64,
}

impl PendingShutdown {
    /// Schedules the checkpoint. It may take this `time`: a job whose barrier cannot pass, because its function loops or its sink is
    /// blocked, continues from an older one.
    pub fn begin(coordinator: &mut CheckpointCoordinator, time: Duration, now_ns: u64) -> PendingShutdown {
        let checkpoint = coordinator.next_id();
        coordinator.checkpoint_now();
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        PendingShutdown { checkpoint, deadline_ns: now_ns.saturating_add(time_ns) }
    }

    /// Returns whether the checkpoint is complete, and published unless a peer is away; or whether it has failed or takes too long.
    pub fn is_over(&self, coordinator: &CheckpointCoordinator, now_ns: u64) -> bool {
        let is_done = coordinator.is_settled(self.checkpoint) && !coordinator.may_publish_soon();
        is_done || now_ns >= self.deadline_ns
    }

    /// Returns the time until [`PendingShutdown::is_over`] may change without a message, in nanoseconds.
    pub fn wait_ns(&self, coordinator: &CheckpointCoordinator, now_ns: u64) -> u64 {
        let left_ns = self.deadline_ns.saturating_sub(now_ns);
        // Nothing announces that a publication begins to wait for its peer.
        if coordinator.has_open_publications() { left_ns.min(PUBLICATION_CHECK_NS) } else { left_ns }
    }
}
