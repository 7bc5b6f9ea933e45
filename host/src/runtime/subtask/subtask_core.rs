//! The common part of all subtask loops: cancellation, waiting, snapshots, events and statistics.

use std::sync::Arc;
use std::time::Duration;

use super::operator_chain::OperatorChain;
use crate::allocator::StackReturns;
use crate::model::Counters;
use crate::permits;
use crate::runtime::attempt_signals::AttemptSignals;
use crate::runtime::barrier::Barrier;
use crate::runtime::stats::subtask_stats::SubtaskStatsSlot;
use crate::runtime::subtask_event::{SubtaskEvent, SubtaskEventListener};
use crate::runtime::subtask_failure::SubtaskError;
use crate::runtime::subtask_snapshot::SubtaskSnapshot;
use crate::wakeup::Wakeup;

/// Shortest time between two publications of the statistics, in nanoseconds.
const STATS_INTERVAL_NS: u64 = 50_000_000;

/// Shortest time between two flushes of the sinks of a subtask that has nothing to do, in nanoseconds.
const SINK_FLUSH_INTERVAL_NS: u64 = 10_000_000;

/// Time after which the number of suppressed log lines is logged, in nanoseconds.
const SUPPRESSED_LINES_NS: u64 = 1_000_000_000;

/// Longest wait for a processing-time timer. The wall clock may be set while a subtask waits for it.
const TIMER_WAIT_MAX: Duration = Duration::from_secs(60);

/// Returns a count that changes with each lost record. That of an operator contains its faults, which does no harm.
fn counted_losses(counters: &Counters) -> u64 {
    let Counters { records_skipped, records_dead_lettered, records_late, .. } = counters;
    records_skipped + records_dead_lettered + records_late + counters.records_without_timestamp()
}

/// The common part of the loops of a subtask.
pub(crate) struct SubtaskCore {
    pub(crate) chain: OperatorChain,
    pub(super) signals: Arc<AttemptSignals>,
    /// Wakes this subtask.
    pub(super) wakeup: Wakeup,
    listener: SubtaskEventListener,
    /// Where the statistics of the nodes are published, one slot for each node.
    stats_slots: Vec<SubtaskStatsSlot>,
    stats_published_ns: u64,
    sinks_flushed_ns: u64,
    /// Number of lost records that the job has been told of.
    losses: u64,
    stack: StackReturns,
}

impl SubtaskCore {
    pub(crate) fn new(
        chain: OperatorChain,
        signals: Arc<AttemptSignals>,
        wakeup: Wakeup,
        listener: SubtaskEventListener,
        stats_slots: Vec<SubtaskStatsSlot>,
    ) -> SubtaskCore {
        SubtaskCore {
            chain,
            signals,
            wakeup,
            listener,
            stats_slots,
            stats_published_ns: 0,
            sinks_flushed_ns: 0,
            losses: 0,
            stack: StackReturns::default(),
        }
    }

    /// Begins a step of a loop: lets another job use the processor if it is its turn, and fails if the attempt is cancelled.
    pub(super) fn begin_step(&mut self) -> Result<(), SubtaskError> {
        self.chain.enter_first_node();
        permits::check();
        if self.signals.is_cancelled() { Err(SubtaskError::Cancelled) } else { Ok(()) }
    }

    /// Reports an event to the job.
    pub(super) fn notify(&self, event: SubtaskEvent) {
        (self.listener)(event);
    }

    /// Publishes the statistics of the nodes.
    pub(super) fn publish_stats(&mut self) {
        self.stats_published_ns = self.chain.clock.monotonic_ns();
        let mut losses = 0;
        for (slot, stats) in self.stats_slots.iter().zip(self.chain.stats()) {
            losses += counted_losses(&stats.counters);
            *slot.lock() = stats;
        }
        if losses != std::mem::replace(&mut self.losses, losses) {
            self.notify(SubtaskEvent::RecordsLost);
        }
    }

    /// Returns when statistics should be published next, in monotonic nanoseconds, or `None` if nothing has changed.
    fn stats_deadline_ns(&self) -> Option<u64> {
        let interval_ns = match self.chain.has_unpublished_stats {
            true => STATS_INTERVAL_NS,
            false if self.chain.has_suppressed_lines() => SUPPRESSED_LINES_NS,
            false => return None,
        };
        Some(self.stats_published_ns.saturating_add(interval_ns))
    }

    /// Does what is due after each step of a loop: fires processing-time timers, sends open batches and publishes statistics.
    pub(super) fn finish_step(&mut self) -> Result<(), SubtaskError> {
        self.chain.fire_processing_time_timers()?;
        if !self.chain.is_event_time_advancing() && self.chain.has_letters_to_replay() {
            self.chain.replay_letters()?;
        }
        self.chain.flush_due()?;
        if self.stats_deadline_ns().is_some_and(|deadline| self.chain.clock.monotonic_ns() >= deadline) {
            self.publish_stats();
        }
        Ok(())
    }

    /// Prepares a wait of a subtask that has nothing to do: flushes its sinks. Returns how long it may wait, `Duration::MAX` if
    /// only a wake-up brings something to do.
    pub(super) fn prepare_wait(&mut self) -> Result<Duration, SubtaskError> {
        if self.chain.has_letters_to_replay() {
            return Ok(Duration::ZERO);
        }
        let now_ns = self.chain.clock.monotonic_ns();
        self.stack.before_wait(now_ns);
        let mut deadlines_ns = [self.chain.linger_deadline_ns(), self.stats_deadline_ns(), None];
        if self.chain.has_unflushed_sinks {
            let flush_ns = self.sinks_flushed_ns.saturating_add(SINK_FLUSH_INTERVAL_NS);
            if now_ns < flush_ns {
                deadlines_ns[2] = Some(flush_ns);
            } else {
                self.sinks_flushed_ns = now_ns;
                self.chain.flush_sinks()?;
            }
        }
        let next_ns = deadlines_ns.into_iter().flatten().min();
        let wait = next_ns.map_or(Duration::MAX, |deadline| Duration::from_nanos(deadline.saturating_sub(now_ns)));
        let Some(timer_ms) = self.chain.next_deadline_ms() else { return Ok(wait) };
        let left_ms = timer_ms.saturating_sub(self.chain.clock.wall_ms());
        let timer_wait = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        Ok(wait.min(timer_wait).min(TIMER_WAIT_MAX))
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
        if barrier.kind.is_last() {
            self.chain.close()?;
        }
        Ok(snapshots)
    }

    /// Reports the snapshots of a checkpoint to the job.
    pub(super) fn acknowledge(&self, barrier: Barrier, snapshots: Vec<SubtaskSnapshot>) {
        self.notify(SubtaskEvent::Acknowledged { checkpoint: barrier.checkpoint, snapshots });
    }
}
