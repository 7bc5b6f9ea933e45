//! The common part of all subtask loops: cancellation, waiting, snapshots, events and statistics.

use std::sync::Arc;
use std::time::Duration;

use super::operator_chain::OperatorChain;
use crate::runtime::attempt_signals::AttemptSignals;
use crate::runtime::barrier::Barrier;
use crate::runtime::metrics_aggregation::SubtaskStatsSlot;
use crate::runtime::subtask_event::{SubtaskEvent, SubtaskEventListener};
use crate::runtime::subtask_failure::SubtaskError;
use crate::runtime::subtask_snapshot::SubtaskSnapshot;

/// Upper bound on how long a cancel request goes unnoticed.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(50);

/// How often statistics are published, in nanoseconds.
const STATS_INTERVAL_NS: u64 = 50_000_000;

/// The common part of the loops of a subtask.
pub(crate) struct SubtaskCore {
    pub(crate) chain: OperatorChain,
    pub(super) signals: Arc<AttemptSignals>,
    listener: SubtaskEventListener,
    /// Where the statistics of the nodes are published, one slot for each node.
    stats_slots: Vec<SubtaskStatsSlot>,
    stats_published_ns: u64,
}

impl SubtaskCore {
    pub(crate) fn new(
        chain: OperatorChain,
        signals: Arc<AttemptSignals>,
        listener: SubtaskEventListener,
        stats_slots: Vec<SubtaskStatsSlot>,
    ) -> SubtaskCore {
        SubtaskCore { chain, signals, listener, stats_slots, stats_published_ns: 0 }
    }

    pub(super) fn check_cancelled(&self) -> Result<(), SubtaskError> {
        if self.signals.is_cancelled() { Err(SubtaskError::Cancelled) } else { Ok(()) }
    }

    /// Reports an event to the job.
    pub(super) fn notify(&self, event: SubtaskEvent) {
        (self.listener)(event);
    }

    /// Publishes the statistics of the nodes.
    pub(super) fn publish_stats(&mut self) {
        for (slot, stats) in self.stats_slots.iter().zip(self.chain.stats()) {
            *slot.lock() = stats;
        }
    }

    /// Publishes the statistics of the nodes if the interval has passed.
    pub(super) fn publish_stats_if_due(&mut self) {
        let now_ns = self.chain.clock.monotonic_ns();
        if now_ns.saturating_sub(self.stats_published_ns) >= STATS_INTERVAL_NS {
            self.stats_published_ns = now_ns;
            self.publish_stats();
        }
    }

    /// Returns how long the subtask may wait for input: not past the linger time of open batches or the next processing-time
    /// deadline.
    pub(super) fn max_wait(&self) -> Duration {
        if self.chain.has_open_records() {
            return Duration::from_millis(1);
        }
        let Some(deadline_ms) = self.chain.next_deadline_ms() else { return WAIT_MAX };
        let left_ms = deadline_ms.saturating_sub(self.chain.clock.wall_ms());
        Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)).min(WAIT_MAX)
    }

    /// Sends the barrier downstream and takes the snapshots of all nodes. The first channel delivered the barrier at `since_ns`.
    pub(super) fn take_snapshots(
        &mut self,
        barrier: Barrier,
        since_ns: u64,
    ) -> Result<Vec<SubtaskSnapshot>, SubtaskError> {
        let aligned_ns = self.chain.clock.monotonic_ns();
        let mut snapshots = self.chain.take_snapshots(barrier)?;
        for snapshot in &mut snapshots {
            snapshot.times.start_delay_ns = since_ns.saturating_sub(barrier.triggered_ns);
            snapshot.times.alignment_ns = aligned_ns.saturating_sub(since_ns);
        }
        self.publish_stats();
        Ok(snapshots)
    }

    /// Reports the snapshots of a checkpoint to the job.
    pub(super) fn acknowledge(&self, barrier: Barrier, snapshots: Vec<SubtaskSnapshot>) {
        self.notify(SubtaskEvent::Acknowledged { checkpoint: barrier.checkpoint, snapshots });
    }
}
