//! The operator chain of one subtask: passes batches, watermarks and barriers from node to node.
//!
//! The outputs of a node go to the next nodes before the node takes anything else. A watermark passes a node only after all
//! timers and windows that it makes due have fired; so their outputs precede the watermark.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::chained_node::{ChainedNode, NodeTask};
use super::node_clock::NodeClock;
use super::step_budget::StepBudget;
use super::unlocated_letters::UnlocatedLetters;
use crate::clock::SharedClock;
use crate::error::Error;
use crate::model::{Batch, Counters, NO_TIMESTAMP};
use crate::operator::{Operator, OperatorFailure, RejectedRecord};
use crate::permits::SubtaskActivity;
use crate::pipeline::InjectionStep;
use crate::runtime::barrier::Barrier;
use crate::runtime::output::partition_error::PartitionError;
use crate::runtime::output::result_partition::ResultPartition;
use crate::runtime::plan::chaining::RouteTarget;
use crate::runtime::stats::subtask_stats::{SubtaskEventTime, SubtaskStats};
use crate::runtime::subtask_failure::SubtaskError;
use crate::runtime::subtask_snapshot::SubtaskSnapshot;
use crate::runtime::tap::{RecordRoute, TapSide};
use crate::turn::{FIRST_INPUT, OutputBatch, OutputId};

/// A change of event time that passes through the nodes of a chain.
#[derive(Clone, Copy, Debug)]
enum EventTimeChange {
    Watermark(i64),
    Idleness(bool),
}

/// The nodes of one subtask, with the event time that passes through them.
pub(crate) struct OperatorChain {
    pub(crate) subtask: u32,
    pub(crate) nodes: Vec<ChainedNode>,
    /// The partitions of the edges that lead out of the chain, by the index of the edge in the plan.
    partitions: BTreeMap<usize, ResultPartition>,
    pub(crate) clock: SharedClock,
    /// The event time that was sent downstream last.
    pub(crate) event_time: SubtaskEventTime,
    /// Changes of event time that have not passed all nodes yet, oldest first.
    pending_changes: VecDeque<EventTimeChange>,
    /// Index of the node that the first pending change has reached.
    reached: usize,
    /// Whether anything was processed that the published statistics do not contain.
    pub(super) has_unpublished_stats: bool,
    /// Whether a sink may hold values in its buffer.
    pub(super) has_unflushed_sinks: bool,
    clock_of_nodes: NodeClock,
    /// Dead letters that wait until the source loop has added the positions of their records. `None` if they need not wait.
    pub(super) unlocated: Option<UnlocatedLetters>,
}

impl OperatorChain {
    pub(crate) fn new(
        subtask: u32,
        nodes: Vec<ChainedNode>,
        partitions: BTreeMap<usize, ResultPartition>,
        clock: SharedClock,
    ) -> OperatorChain {
        OperatorChain {
            subtask,
            nodes,
            partitions,
            clock,
            event_time: SubtaskEventTime::default(),
            pending_changes: VecDeque::new(),
            reached: 0,
            has_unpublished_stats: true,
            has_unflushed_sinks: false,
            clock_of_nodes: NodeClock::default(),
            unlocated: None,
        }
    }

    /// Measures which node works, if there are several.
    pub(crate) fn measure_nodes(&mut self, activity: &Arc<SubtaskActivity>) {
        self.clock_of_nodes = NodeClock::new(&self.nodes, activity);
    }

    /// Notes that the first node works from now on, which reads the input.
    pub(super) fn enter_first_node(&mut self) {
        self.clock_of_nodes.enter(0);
    }

    pub(super) fn error_in(&self, node: usize, error: Error) -> SubtaskError {
        SubtaskError::from_error(&self.nodes[node].id, self.subtask, error)
    }

    fn operator_error_in(&self, node: usize, failure: OperatorFailure) -> SubtaskError {
        SubtaskError::from_operator(&self.nodes[node].id, self.subtask, failure)
    }

    /// Returns whether a node receives the batches of the chain's source unchanged.
    pub(super) fn is_fed_by_source(&self, id: &str) -> bool {
        let Some(ChainedNode { task: NodeTask::Source(_), routes, .. }) = self.nodes.first() else { return false };
        let leads_to_node =
            |target: &RouteTarget| matches!(target, RouteTarget::ChainedNode(at) if self.nodes[*at].id == id);
        routes.values().flatten().any(leads_to_node)
    }

    /// Returns whether a node, by its index, receives the batches of the chain's source unchanged.
    pub(super) fn is_fed_by_source_at(&self, node: usize) -> bool {
        let Some(ChainedNode { task: NodeTask::Source(_), routes, .. }) = self.nodes.first() else { return false };
        routes.values().flatten().any(|target| *target == RouteTarget::ChainedNode(node))
    }

    /// Emits records that the chain's source has read on one of its outputs.
    pub(super) fn emit_from_source(&mut self, output: OutputBatch) -> Result<(), SubtaskError> {
        self.check_injected(0, output.batch.len())?;
        self.route(0, output)
    }

    /// Takes over the counters of the chain's source.
    pub(super) fn set_source_counters(&mut self, counters: Counters) {
        if let Some(ChainedNode { task: NodeTask::Source(own), .. }) = self.nodes.first_mut() {
            self.has_unpublished_stats |= *own != counters;
            *own = counters;
        }
    }

    /// Processes a batch of an input of a node, and everything that comes out of it. The records are first rewritten in the format
    /// that the node takes.
    pub(super) fn process(&mut self, node: usize, input: u32, batch: Batch) -> Result<(), SubtaskError> {
        self.clock_of_nodes.enter(node);
        let mut rejected = Vec::new();
        let batch = match self.nodes[node].convert(input, batch, &mut rejected) {
            Ok(batch) => batch,
            Err(error) => return Err(self.error_in(node, error)),
        };
        if let Some(unlocated) = self.unlocated.as_mut().filter(|_| !rejected.is_empty()) {
            unlocated.are_indexes_known = false;
        }
        for record in rejected {
            self.reject(node, record)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        if self.nodes[node].tap.is_open(TapSide::In) {
            let route = RecordRoute { subtask: self.subtask, input: Some(input), output: None };
            self.nodes[node].tap.offer(TapSide::In, route, &batch, self.clock.monotonic_ns());
        }
        self.check_injected(node, batch.len())?;
        let mut outputs = Vec::new();
        self.has_unpublished_stats = true;
        self.nodes[node].batches_in += 1;
        match &mut self.nodes[node].task {
            NodeTask::Source(_) => outputs.push(OutputBatch { output: OutputId::MAIN, batch }),
            NodeTask::Operator(operator) => {
                if let Err(failure) = operator.process(input, batch, &mut outputs) {
                    return Err(self.operator_error_in(node, failure));
                }
            }
            NodeTask::Sink { sink, counters } => {
                counters.records_in += batch.len() as u64;
                self.has_unflushed_sinks = true;
                if let Err(error) = sink.write(&batch) {
                    return Err(self.error_in(node, error));
                }
            }
        }
        outputs.into_iter().try_for_each(|output| self.route(node, output))
    }

    fn check_injected(&self, node: usize, records: usize) -> Result<(), SubtaskError> {
        let injected = self.nodes[node].check_injected(InjectionStep::Record, self.subtask, records);
        injected.map_err(|error| self.error_in(node, error))
    }

    /// Ends the nodes after their last snapshots, before these are acknowledged.
    pub(super) fn close(&self) -> Result<(), SubtaskError> {
        let close = |(index, node): (usize, &ChainedNode)| {
            let closed = node.check_injected(InjectionStep::Close, self.subtask, 1);
            closed.map_err(|error| self.error_in(index, error))
        };
        self.nodes.iter().enumerate().try_for_each(close)
    }

    /// Applies the fault policy of a node to a record without a key, or to one that cannot be rewritten for it.
    pub(super) fn reject(&mut self, node: usize, rejected: RejectedRecord) -> Result<(), SubtaskError> {
        self.clock_of_nodes.enter(node);
        let mut outputs = Vec::new();
        let receiver = &mut self.nodes[node];
        match &mut receiver.task {
            NodeTask::Operator(operator) => {
                if let Err(failure) = operator.reject(rejected, &mut outputs) {
                    return Err(self.operator_error_in(node, failure));
                }
            }
            NodeTask::Source(_) | NodeTask::Sink { .. } => {
                return Err(SubtaskError::from_fault(&receiver.id, self.subtask, rejected.fault, None));
            }
        }
        outputs.into_iter().try_for_each(|output| self.route(node, output))
    }

    /// Sends an output of a node to its targets.
    pub(super) fn route(&mut self, node: usize, output: OutputBatch) -> Result<(), SubtaskError> {
        let Some(OutputBatch { output, mut batch }) = self.hold_or_keep_letters(node, output)? else { return Ok(()) };
        if batch.schema.is_none() {
            batch.schema = self.nodes[node].output_schemas.get(&output).cloned();
        }
        let now_ns = self.clock.monotonic_ns();
        if self.nodes[node].tap.is_open(TapSide::Out) {
            let route = RecordRoute { subtask: self.subtask, input: None, output: Some(output) };
            self.nodes[node].tap.offer(TapSide::Out, route, &batch, now_ns);
        }
        let mut next = 0;
        while let Some((&target, rest)) =
            self.nodes[node].routes.get(&output).and_then(|routes| routes[next..].split_first())
        {
            next += 1;
            let records = if rest.is_empty() { std::mem::take(&mut batch) } else { batch.clone() };
            match target {
                RouteTarget::ChainedNode(to) => self.process(to, FIRST_INPUT, records)?,
                RouteTarget::Edge(edge) => {
                    let Some(partition) = self.partitions.get_mut(&edge) else { continue };
                    self.clock_of_nodes.enter(node);
                    match partition.write(records, now_ns) {
                        Ok(()) => {}
                        Err(PartitionError::Cancelled(cancelled)) => return Err(cancelled.into()),
                        Err(PartitionError::Failed(error)) => return Err(self.error_in(node, *error)),
                    }
                }
            }
        }
        Ok(())
    }

    /// Advances event time to `watermark`, as far as the step budget allows. See [`OperatorChain::is_event_time_advancing`].
    pub(super) fn advance_watermark(&mut self, watermark: i64) -> Result<(), SubtaskError> {
        self.pending_changes.push_back(EventTimeChange::Watermark(watermark));
        self.continue_event_time()
    }

    /// Fires the timers and windows that were still due when the restored snapshot was taken.
    pub(crate) fn fire_restored_timers(&mut self) -> Result<(), SubtaskError> {
        self.advance_watermark(NO_TIMESTAMP)
    }

    /// Sends downstream whether the subtask is idle, if that has changed.
    pub(super) fn set_idle(&mut self, idle: bool) -> Result<(), SubtaskError> {
        self.pending_changes.push_back(EventTimeChange::Idleness(idle));
        self.continue_event_time()
    }

    /// Returns whether a change of event time has yet to pass all nodes. Until then no records may be processed: what is due
    /// precedes them. Snapshots may be taken, because timers that are still due are part of the state.
    pub(super) fn is_event_time_advancing(&self) -> bool {
        !self.pending_changes.is_empty()
    }

    /// Continues with the pending changes of event time, as far as the step budget allows.
    pub(super) fn continue_event_time(&mut self) -> Result<(), SubtaskError> {
        if self.pending_changes.is_empty() {
            return Ok(());
        }
        let mut budget = StepBudget::new(&*self.clock);
        while let Some(&change) = self.pending_changes.front() {
            match change {
                // Letters are replayed before the input ends, because timers and windows end with it.
                EventTimeChange::Watermark(i64::MAX) if self.has_letters_to_replay() => {
                    self.replay_letters()?;
                    if !budget.use_step(&*self.clock) {
                        return Ok(());
                    }
                    continue;
                }
                EventTimeChange::Watermark(watermark) => {
                    if !self.pass_watermark(watermark, &mut budget)? {
                        return Ok(());
                    }
                }
                EventTimeChange::Idleness(idle) if idle != self.event_time.idle => {
                    self.event_time.idle = idle;
                    self.has_unpublished_stats = true;
                    self.partitions.values_mut().try_for_each(|partition| partition.send_idleness(idle))?;
                }
                EventTimeChange::Idleness(_) => {}
            }
            self.pending_changes.pop_front();
        }
        Ok(())
    }

    /// Passes a watermark through the nodes and sends it downstream. Returns false if the budget was used up before.
    fn pass_watermark(&mut self, watermark: i64, budget: &mut StepBudget) -> Result<bool, SubtaskError> {
        while self.reached < self.nodes.len() {
            let step = |operator: &mut dyn Operator, outputs: &mut Vec<OutputBatch>| {
                operator.advance_watermark(watermark, outputs)
            };
            if !self.run_step(self.reached, step)? {
                self.reached += 1;
            } else if !budget.use_step(&*self.clock) {
                return Ok(false);
            }
        }
        self.reached = 0;
        if watermark > self.event_time.watermark {
            self.event_time.watermark = watermark;
            self.has_unpublished_stats = true;
            for (edge, partition) in &mut self.partitions {
                self.clock_of_nodes.enter_sender(*edge);
                partition.send_watermark(watermark)?;
            }
        }
        Ok(true)
    }

    /// Returns the next processing-time deadline in milliseconds of wall-clock time, if any.
    ///
    /// A timer is due when its millisecond is over, as in Flink: until then a record of the same millisecond may arrive.
    pub(super) fn next_deadline_ms(&self) -> Option<i64> {
        let deadline = |node: &ChainedNode| match &node.task {
            NodeTask::Operator(operator) => operator.next_due_ms(),
            NodeTask::Source(_) | NodeTask::Sink { .. } => None,
        };
        self.nodes.iter().filter_map(deadline).min().map(|deadline| deadline.saturating_add(1))
    }

    /// Fires due processing-time timers, as far as the step budget of each node allows.
    pub(super) fn fire_processing_time_timers(&mut self) -> Result<(), SubtaskError> {
        let Some(deadline_ms) = self.next_deadline_ms() else { return Ok(()) };
        let now_ms = self.clock.wall_ms();
        if now_ms < deadline_ms {
            return Ok(());
        }
        for node in 0..self.nodes.len() {
            let mut budget = StepBudget::new(&*self.clock);
            while self.run_step(node, |operator, outputs| operator.advance_clock(now_ms.saturating_sub(1), outputs))?
                && budget.use_step(&*self.clock)
            {}
        }
        Ok(())
    }

    /// Runs one step of a node and routes its outputs. Returns whether there may be more to do.
    fn run_step(
        &mut self,
        node: usize,
        step: impl Fn(&mut dyn Operator, &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure>,
    ) -> Result<bool, SubtaskError> {
        let NodeTask::Operator(operator) = &mut self.nodes[node].task else { return Ok(false) };
        self.clock_of_nodes.enter(node);
        let mut outputs = Vec::new();
        self.has_unpublished_stats = true;
        let has_more = match step(&mut **operator, &mut outputs) {
            Ok(has_more) => has_more,
            Err(failure) => return Err(self.operator_error_in(node, failure)),
        };
        outputs.into_iter().try_for_each(|output| self.route(node, output))?;
        Ok(has_more)
    }

    /// Sends the open batches whose receivers have nothing to do, and those whose linger time has passed.
    pub(super) fn flush_due(&mut self) -> Result<(), SubtaskError> {
        if self.has_open_records() {
            let now_ns = self.clock.monotonic_ns();
            for (edge, partition) in self.partitions.iter_mut().filter(|(_, partition)| partition.has_open_records()) {
                self.clock_of_nodes.enter_sender(*edge);
                partition.flush_due(now_ns)?;
            }
        }
        Ok(())
    }

    /// Returns whether records wait in open batches.
    fn has_open_records(&self) -> bool {
        self.partitions.values().any(ResultPartition::has_open_records)
    }

    /// Returns when the first linger time of an open batch ends, in monotonic nanoseconds, or `None` if no records wait.
    pub(super) fn linger_deadline_ns(&self) -> Option<u64> {
        self.partitions.values().filter_map(ResultPartition::linger_deadline_ns).min()
    }

    /// Returns whether log lines were suppressed whose number has not been logged.
    pub(super) fn has_suppressed_lines(&self) -> bool {
        self.nodes
            .iter()
            .any(|node| matches!(&node.task, NodeTask::Operator(operator) if operator.has_suppressed_lines()))
    }

    /// Flushes the buffers of the sinks, because nothing is left to do.
    pub(super) fn flush_sinks(&mut self) -> Result<(), SubtaskError> {
        self.has_unflushed_sinks = false;
        for node in 0..self.nodes.len() {
            if let NodeTask::Sink { sink, .. } = &mut self.nodes[node].task
                && let Err(error) = sink.flush()
            {
                return Err(self.error_in(node, error));
            }
        }
        Ok(())
    }

    /// Sends the barrier downstream, and then takes the snapshots of all nodes.
    pub(super) fn take_snapshots(&mut self, barrier: Barrier) -> Result<Vec<SubtaskSnapshot>, SubtaskError> {
        self.partitions.values_mut().try_for_each(|partition| partition.send_barrier(barrier))?;
        let mut snapshots = Vec::with_capacity(self.nodes.len());
        for node in 0..self.nodes.len() {
            let snapshot = self.nodes[node].take_snapshot(barrier, self.subtask, &*self.clock);
            snapshots.push(snapshot.map_err(|error| self.error_in(node, error))?);
        }
        Ok(snapshots)
    }

    /// Returns the statistics of all nodes.
    pub(super) fn stats(&mut self) -> Vec<SubtaskStats> {
        self.has_unpublished_stats = false;
        let event_time = self.event_time;
        self.nodes.iter_mut().map(|node| SubtaskStats { event_time, ..node.stats() }).collect()
    }
}
