//! The regions of a running attempt. Each has an execution of its own, which ends and starts again while the others run.
//!
//! A region is opening, running, waiting for its restart, or being prepared on a thread of its own. Barriers go to all
//! executions that have not failed. The attempt sends none while a region is not running.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::error::{self, Result};
use crate::job::checkpoint::BarrierTarget;
use crate::job::view::JobFailure;
use crate::model::Interrupt;
use crate::runtime::{AbandonedThread, Barrier, Execution, Region, StatsReader, SubtaskFailure};

/// The failure of a source subtask. Its region fails with it after a checkpoint has stored the records before the
/// failure.
pub struct SourceFailure {
    /// Why the source failed.
    pub failure: JobFailure,
    /// Id of the first checkpoint that contains all records before the failure.
    pub checkpoint: u64,
}

/// A thread that prepares the restart of a region.
pub struct RegionPreparation {
    /// Returns the new execution.
    pub thread: JoinHandle<Result<Execution>>,
    /// Aborts the preparation.
    pub interrupt: Interrupt,
}

impl RegionPreparation {
    /// Waits for the end of the preparation.
    fn finish(self) -> Result<Execution> {
        self.thread.join().unwrap_or_else(|_| {
            Err(error::internal("the restart of a region panicked; the log has the location of the panic"))
        })
    }
}

/// One region of an attempt.
struct AttemptRegion {
    region: Arc<Region>,
    /// Number of the attempt that the region runs in.
    attempt: u32,
    /// `None` while the restart is being prepared.
    execution: Option<Execution>,
    /// The statistics that the region has published last.
    stats: StatsReader,
    /// Subtasks that have not opened and restored everything yet.
    opening: usize,
    /// Source subtasks that have ended.
    ended_sources: usize,
    source_failure: Option<SourceFailure>,
    /// When the failed region restarts, by the monotonic clock.
    restarts_at_ns: Option<u64>,
    preparation: Option<RegionPreparation>,
}

impl AttemptRegion {
    fn is_running(&self) -> bool {
        self.live_execution().is_some() && self.opening == 0
    }

    /// Returns the execution unless it has failed.
    fn live_execution(&self) -> Option<&Execution> {
        self.execution.as_ref().filter(|_| self.restarts_at_ns.is_none())
    }
}

/// All regions of an attempt.
pub struct Regions(Vec<AttemptRegion>);

impl Regions {
    /// Creates the regions from their started executions.
    pub fn new(attempt: u32, started: Vec<(Arc<Region>, Execution)>) -> Regions {
        let region = |(region, execution): (Arc<Region>, Execution)| AttemptRegion {
            opening: region.subtasks,
            region,
            attempt,
            stats: execution.stats_reader(),
            execution: Some(execution),
            ended_sources: 0,
            source_failure: None,
            restarts_at_ns: None,
            preparation: None,
        };
        Regions(started.into_iter().map(region).collect())
    }

    /// Returns the number of regions.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns a region of the graph.
    pub fn region(&self, index: usize) -> Arc<Region> {
        self.0[index].region.clone()
    }

    /// Returns the number of the attempt that a region runs in.
    pub fn attempt(&self, index: usize) -> u32 {
        self.0[index].attempt
    }

    /// Returns whether an event of this attempt is from the region as it runs or starts now.
    pub fn is_current(&self, index: usize, attempt: u32) -> bool {
        self.0.get(index).is_some_and(|region| region.attempt == attempt && region.restarts_at_ns.is_none())
    }

    /// Returns whether all subtasks of all regions run.
    pub fn are_running(&self) -> bool {
        self.0.iter().all(AttemptRegion::is_running)
    }

    /// Counts a subtask that has opened everything. Returns whether all subtasks of all regions run.
    pub fn subtask_opened(&mut self, index: usize) -> bool {
        let region = &mut self.0[index];
        region.opening = region.opening.saturating_sub(1);
        self.are_running()
    }

    /// Counts a source subtask that has ended.
    pub fn source_ended(&mut self, index: usize) {
        self.0[index].ended_sources += 1;
    }

    /// Remembers the failure of a source subtask, unless another one of its region has failed before.
    pub fn source_failed(&mut self, index: usize, failure: SourceFailure) {
        self.0[index].source_failure.get_or_insert(failure);
    }

    /// Returns a region with a failed source whose checkpoint `is_settled`.
    pub fn settled_source_failure(&self, is_settled: impl Fn(u64) -> bool) -> Option<usize> {
        let is_over =
            |region: &AttemptRegion| region.source_failure.as_ref().is_some_and(|it| is_settled(it.checkpoint));
        self.0.iter().position(is_over)
    }

    /// Takes the failure of a source of a region.
    pub fn take_source_failure(&mut self, index: usize) -> Option<JobFailure> {
        self.0[index].source_failure.take().map(|source| source.failure)
    }

    /// Takes the failure of any source.
    pub fn take_any_source_failure(&mut self) -> Option<JobFailure> {
        self.0.iter_mut().find_map(|region| region.source_failure.take()).map(|source| source.failure)
    }

    /// Lets all failed sources wait for `checkpoint`, because an earlier one was aborted. Returns whether there are any.
    pub fn defer_source_failures(&mut self, checkpoint: u64) -> bool {
        let failures = self.0.iter_mut().filter_map(|region| region.source_failure.as_mut());
        failures.map(|source| source.checkpoint = checkpoint).count() > 0
    }

    /// Ends a region that has failed. It restarts at `restarts_at_ns`. Returns the number of its source subtasks that had
    /// ended.
    pub fn fail(&mut self, index: usize, restarts_at_ns: u64) -> usize {
        let region = &mut self.0[index];
        if let Some(preparation) = region.preparation.take() {
            // A subtask of the new execution has failed, so that the preparation is at its end.
            preparation.interrupt.set();
            region.execution = preparation.finish().ok();
        }
        if let Some(execution) = &region.execution {
            execution.cancel();
        }
        region.restarts_at_ns = Some(restarts_at_ns);
        region.source_failure = None;
        std::mem::take(&mut region.ended_sources)
    }

    /// Returns the nanoseconds until the next region restarts.
    pub fn restart_wait_ns(&self, now_ns: u64) -> Option<u64> {
        self.0.iter().filter_map(|region| region.restarts_at_ns).map(|at| at.saturating_sub(now_ns)).min()
    }

    /// Returns a region whose restart is due.
    pub fn due_restart(&self, now_ns: u64) -> Option<usize> {
        self.0.iter().position(|region| region.restarts_at_ns.is_some_and(|at| at <= now_ns))
    }

    /// Begins the preparation of a restart. `prepare` gets the execution that has failed, whose subtasks may still be ending.
    pub fn begin_restart(
        &mut self,
        index: usize,
        attempt: u32,
        prepare: impl FnOnce(Option<Execution>) -> Result<RegionPreparation>,
    ) -> Result<()> {
        let region = &mut self.0[index];
        region.attempt = attempt;
        region.opening = region.region.subtasks;
        region.restarts_at_ns = None;
        region.preparation = Some(prepare(region.execution.take())?);
        Ok(())
    }

    /// Takes over the execution of a region whose preparation has ended. Does nothing if the region has failed since.
    pub fn finish_restart(&mut self, index: usize) -> Result<()> {
        let region = &mut self.0[index];
        let Some(preparation) = region.preparation.take() else { return Ok(()) };
        let execution = preparation.finish()?;
        region.stats = execution.stats_reader();
        region.execution = Some(execution);
        Ok(())
    }

    /// Returns the statistics of all nodes, and the number of the attempt that each of the `nodes` runs in.
    pub fn stats(&self, nodes: usize) -> (StatsReader, Vec<u32>) {
        let mut attempts = vec![0; nodes];
        for region in &self.0 {
            for node in &region.region.nodes {
                attempts[*node] = region.attempt;
            }
        }
        (StatsReader::combined(self.0.iter().map(|region| &region.stats)), attempts)
    }

    /// Wakes all subtasks, because a replay of dead letters was added.
    pub fn wake_all(&self) {
        self.0.iter().filter_map(AttemptRegion::live_execution).for_each(Execution::wake_all);
    }

    /// Returns whether a source has failed whose records are still to be stored.
    pub fn has_source_failure(&self) -> bool {
        self.0.iter().any(|region| region.source_failure.is_some())
    }

    /// Checks the heartbeats of all subtasks if that is due. Returns a region with a subtask that hangs, and its failure.
    pub fn check_heartbeats(&mut self, now_ns: u64) -> Option<(usize, SubtaskFailure)> {
        let running = self.0.iter_mut().enumerate().filter(|(_, region)| region.is_running());
        let mut executions = running.filter_map(|(index, region)| Some((index, region.execution.as_mut()?)));
        executions.find_map(|(index, execution)| Some((index, execution.check_heartbeats(now_ns)?)))
    }

    /// Returns the time until the next check of heartbeats, in nanoseconds.
    pub fn heartbeat_wait_ns(&self, now_ns: u64) -> Option<u64> {
        let executions = self.0.iter().filter_map(AttemptRegion::live_execution);
        executions.map(|execution| execution.heartbeat_wait_ns(now_ns)).min()
    }

    /// Ends all subtasks of all regions and waits until they have ended. Returns the threads that were abandoned.
    pub fn end(&mut self) -> Vec<AbandonedThread> {
        let mut abandoned = Vec::new();
        for region in &self.0 {
            if let Some(execution) = &region.execution {
                execution.cancel();
            }
            if let Some(preparation) = &region.preparation {
                preparation.interrupt.set();
            }
        }
        for region in &mut self.0 {
            let prepared = region.preparation.take().and_then(|preparation| preparation.finish().ok());
            for mut execution in region.execution.take().into_iter().chain(prepared) {
                abandoned.extend(execution.end());
            }
        }
        abandoned
    }
}

impl BarrierTarget for Regions {
    fn inject(&self, barrier: Barrier) {
        self.0.iter().filter_map(AttemptRegion::live_execution).for_each(|execution| execution.inject(barrier));
    }

    fn overtake(&self, barrier: Barrier) {
        self.0.iter().filter_map(AttemptRegion::live_execution).for_each(|execution| execution.overtake(barrier));
    }

    fn abandon(&self, checkpoint: u64) {
        self.0.iter().filter_map(AttemptRegion::live_execution).for_each(|execution| execution.abandon(checkpoint));
    }

    fn complete(&self, checkpoint: u64) {
        self.0.iter().filter_map(AttemptRegion::live_execution).for_each(|execution| execution.complete(checkpoint));
    }

    fn release(&self, oldest_retained: u64) {
        self.0
            .iter()
            .filter_map(AttemptRegion::live_execution)
            .for_each(|execution| execution.release(oldest_retained));
    }
}
