//! The operators of one subtask, and how a batch goes through them.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::{Clock, SharedClock};
use crate::connector::Sink;
use crate::error::Error;
use crate::model::{Batch, Counters, NO_TIMESTAMP};
use crate::operator::{Operator, OperatorFailure, RejectedRecord};
use crate::runtime::channel::Cancelled;
use crate::runtime::output::result_partition::EdgeWriter;
use crate::runtime::plan::execution_plan::Target;
use crate::runtime::stream_element::Barrier;
use crate::runtime::subtask::subtask_runner::SubtaskSnapshot;
use crate::runtime::subtask_failure::SubtaskFailure;
use crate::state::{BroadcastState, StateSize};
use crate::turn::{FIRST_INPUT, OutputBatch};

/// Steps of a member before the subtask looks at its input again, so that barriers and cancels get through.
const STEPS_MAX: u32 = 64;

/// The same, in nanoseconds: a step is at most one turn over a full batch of timers, and a guest may take its time.
const STEPS_NS: u64 = 10_000_000;

/// Why a subtask ends before its last barrier.
#[derive(Debug)]
pub(in crate::runtime) enum Ended {
    Cancelled,
    Failed(SubtaskFailure),
}

impl From<Cancelled> for Ended {
    fn from(_: Cancelled) -> Ended {
        Ended::Cancelled
    }
}

pub(in crate::runtime) struct Member {
    pub(in crate::runtime) node: String,
    pub(in crate::runtime) kind: MemberKind,
    /// For each output where its records go.
    pub(in crate::runtime) routes: Vec<Vec<Target>>,
}

pub(in crate::runtime) enum MemberKind {
    Source(Counters),
    Operator(Box<dyn Operator>),
    Sink { sink: Box<dyn Sink>, counters: Counters },
}

/// How far one subtask is in event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubtaskEventTime {
    /// In milliseconds: [`NO_TIMESTAMP`] before the first one, the largest when the input has ended.
    pub watermark: i64,
    /// Whether nothing is expected for now, so that it holds nobody up.
    pub idle: bool,
}

impl Default for SubtaskEventTime {
    fn default() -> SubtaskEventTime {
        SubtaskEventTime { watermark: NO_TIMESTAMP, idle: false }
    }
}

/// A change of event time that goes through the members of a chain.
#[derive(Clone, Copy, Debug)]
enum EventTimeChange {
    Watermark(i64),
    Idle(bool),
}

/// What one subtask shows of one of its members.
#[derive(Clone, Debug, Default)]
pub(in crate::runtime) struct MemberStats {
    pub(in crate::runtime) counters: Counters,
    pub(in crate::runtime) metrics: BTreeMap<String, f64>,
    pub(in crate::runtime) state: StateSize,
    pub(in crate::runtime) event_time: SubtaskEventTime,
}

/// See the module.
pub(in crate::runtime) struct Chain {
    pub(in crate::runtime) subtask: u32,
    pub(in crate::runtime) members: Vec<Member>,
    /// The edges that lead out, by their index in the plan.
    pub(in crate::runtime) edges: BTreeMap<usize, EdgeWriter>,
    pub(in crate::runtime) clock: SharedClock,
    pub(in crate::runtime) event_time: SubtaskEventTime,
    /// Changes of event time that have not gone through all members yet, the oldest first.
    changes: VecDeque<EventTimeChange>,
    /// The member that the first of them has reached.
    reached: usize,
}

impl Chain {
    pub(in crate::runtime) fn new(
        subtask: u32,
        members: Vec<Member>,
        edges: BTreeMap<usize, EdgeWriter>,
        clock: SharedClock,
    ) -> Chain {
        let (event_time, changes) = (SubtaskEventTime::default(), VecDeque::new());
        Chain { subtask, members, edges, clock, event_time, changes, reached: 0 }
    }

    fn failed(&self, member: usize, error: Error) -> Ended {
        Ended::Failed(SubtaskFailure::error(&self.members[member].node, self.subtask, error))
    }

    /// Whether a member is given the batches of the chain's source as they are.
    pub(in crate::runtime) fn is_fed_by_source(&self, node: &str) -> bool {
        let Some(Member { kind: MemberKind::Source(_), routes, .. }) = self.members.first() else { return false };
        let leads_to_it = |target: &Target| matches!(target, Target::Member(at) if self.members[*at].node == node);
        routes.iter().flatten().any(leads_to_it)
    }

    /// Takes records that a source read.
    pub(in crate::runtime) fn accept(&mut self, batch: Batch) -> Result<(), Ended> {
        self.route(0, OutputBatch { index: 0, batch })
    }

    /// Takes over the counters of the source.
    pub(in crate::runtime) fn show_source(&mut self, counters: Counters) {
        if let Some(Member { kind: MemberKind::Source(shown), .. }) = self.members.first_mut() {
            *shown = counters;
        }
    }

    /// Hands a batch to an input of a member, and what comes out of it to those behind it.
    pub(in crate::runtime) fn deliver(&mut self, member: usize, input: u32, batch: Batch) -> Result<(), Ended> {
        let mut outputs = Vec::new();
        match &mut self.members[member].kind {
            MemberKind::Source(_) => outputs.push(OutputBatch { index: 0, batch }),
            MemberKind::Operator(operator) => {
                if let Err(failure) = operator.process(input, batch, &mut outputs) {
                    return Err(self.operator_failed(member, failure));
                }
            }
            MemberKind::Sink { sink, counters } => {
                counters.records_in += batch.len() as u64;
                if let Err(error) = sink.write(&batch) {
                    return Err(self.failed(member, error));
                }
            }
        }
        outputs.into_iter().try_for_each(|output| self.route(member, output))
    }

    /// Hands a record without its key to the first member.
    pub(in crate::runtime) fn reject(&mut self, rejected: RejectedRecord) -> Result<(), Ended> {
        let mut outputs = Vec::new();
        let subtask = self.subtask;
        let member = &mut self.members[0];
        match &mut member.kind {
            MemberKind::Operator(operator) => {
                if let Err(failure) = operator.reject(rejected, &mut outputs) {
                    return Err(self.operator_failed(0, failure));
                }
            }
            MemberKind::Source(_) | MemberKind::Sink { .. } => {
                return Err(Ended::Failed(SubtaskFailure::fault(&member.node, subtask, rejected.fault, None)));
            }
        }
        outputs.into_iter().try_for_each(|output| self.route(0, output))
    }

    fn operator_failed(&self, member: usize, failure: OperatorFailure) -> Ended {
        let node = &self.members[member].node;
        match failure {
            OperatorFailure::Fault { fault, record } => {
                Ended::Failed(SubtaskFailure::fault(node, self.subtask, fault, Some(record)))
            }
            OperatorFailure::Error(error) => Ended::Failed(SubtaskFailure::error(node, self.subtask, error)),
            OperatorFailure::Cancelled => Ended::Cancelled,
        }
    }

    fn route(&mut self, member: usize, output: OutputBatch) -> Result<(), Ended> {
        let OutputBatch { index, mut batch } = output;
        let now = self.clock.monotonic_ns();
        let targets = self.members[member].routes.get(index).map_or(0, Vec::len);
        for at in 0..targets {
            let records = if at + 1 == targets { std::mem::take(&mut batch) } else { batch.clone() };
            match self.members[member].routes[index][at] {
                Target::Member(next) => self.deliver(next, FIRST_INPUT, records)?,
                Target::Edge(edge) => {
                    if let Some(edge) = self.edges.get_mut(&edge) {
                        edge.write(records, now)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Event time advances to `watermark`. What has waited for it comes out in front of the watermark, if need be in several steps:
    /// see [`Chain::is_advancing`].
    pub(in crate::runtime) fn watermark(&mut self, watermark: i64) -> Result<(), Ended> {
        self.changes.push_back(EventTimeChange::Watermark(watermark));
        self.advance_event_time()
    }

    /// Goes on with what was due when the snapshot was taken that the members were restored from.
    pub(in crate::runtime) fn resume(&mut self) -> Result<(), Ended> {
        self.watermark(NO_TIMESTAMP)
    }

    /// Sends whether nothing is expected for now, where that is new.
    pub(in crate::runtime) fn set_idle(&mut self, idle: bool) -> Result<(), Ended> {
        self.changes.push_back(EventTimeChange::Idle(idle));
        self.advance_event_time()
    }

    /// Whether event time is on its way through the members. Until it has arrived, no records may be delivered: what is due comes
    /// before them. Snapshots may be taken; what is still due is part of the state.
    pub(in crate::runtime) fn is_advancing(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Goes on with the changes of event time, for a bounded number of steps.
    pub(in crate::runtime) fn advance_event_time(&mut self) -> Result<(), Ended> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let mut steps = Steps::new(&*self.clock);
        while let Some(&change) = self.changes.front() {
            match change {
                EventTimeChange::Watermark(watermark) => {
                    while self.reached < self.members.len() {
                        let step = |operator: &mut dyn Operator, outputs: &mut Vec<OutputBatch>| {
                            operator.advance_watermark(watermark, outputs)
                        };
                        if !self.step(self.reached, step)? {
                            self.reached += 1;
                        } else if !steps.may_go_on(&*self.clock) {
                            return Ok(());
                        }
                    }
                    self.reached = 0;
                    if watermark > self.event_time.watermark {
                        self.event_time.watermark = watermark;
                        self.edges.values_mut().try_for_each(|edge| edge.watermark(watermark))?;
                    }
                }
                EventTimeChange::Idle(idle) if idle != self.event_time.idle => {
                    self.event_time.idle = idle;
                    self.edges.values_mut().try_for_each(|edge| edge.status(idle))?;
                }
                EventTimeChange::Idle(_) => {}
            }
            self.changes.pop_front();
        }
        Ok(())
    }

    /// Before this moment of processing time nothing waits for it. None where nothing waits. A millisecond is reached when it
    /// is over, as in Flink: until then a record of the same millisecond may come.
    pub(in crate::runtime) fn next_due_ms(&self) -> Option<i64> {
        let due = |member: &Member| match &member.kind {
            MemberKind::Operator(operator) => operator.next_due_ms(),
            _ => None,
        };
        self.members.iter().filter_map(due).min().map(|due| due.saturating_add(1))
    }

    /// Fires timers that are due by the wall clock, for a bounded number of steps.
    pub(in crate::runtime) fn advance_clock(&mut self) -> Result<(), Ended> {
        let Some(due) = self.next_due_ms() else { return Ok(()) };
        let now_ms = self.clock.wall_ms();
        if now_ms < due {
            return Ok(());
        }
        for member in 0..self.members.len() {
            let mut steps = Steps::new(&*self.clock);
            while self.step(member, |operator, outputs| operator.advance_clock(now_ms.saturating_sub(1), outputs))?
                && steps.may_go_on(&*self.clock)
            {}
        }
        Ok(())
    }

    /// Has a member do a step, and hands on what comes out of it. Whether there may be more to do.
    fn step(
        &mut self,
        member: usize,
        step: impl Fn(&mut dyn Operator, &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure>,
    ) -> Result<bool, Ended> {
        let MemberKind::Operator(operator) = &mut self.members[member].kind else { return Ok(false) };
        let mut outputs = Vec::new();
        let more = match step(&mut **operator, &mut outputs) {
            Ok(more) => more,
            Err(failure) => return Err(self.operator_failed(member, failure)),
        };
        outputs.into_iter().try_for_each(|output| self.route(member, output))?;
        Ok(more)
    }

    /// Sends what has waited for its linger time.
    pub(in crate::runtime) fn flush_due(&mut self) -> Result<(), Ended> {
        if self.edges.values().any(EdgeWriter::is_waiting) {
            let now = self.clock.monotonic_ns();
            self.edges.values_mut().try_for_each(|edge| edge.flush_due(now))?;
        }
        Ok(())
    }

    /// Whether an edge holds records that wait for their batch to close.
    pub(in crate::runtime) fn is_waiting(&self) -> bool {
        self.edges.values().any(EdgeWriter::is_waiting)
    }

    /// Shows what sinks have buffered: nothing has arrived for a moment.
    pub(in crate::runtime) fn idle(&mut self) -> Result<(), Ended> {
        for at in 0..self.members.len() {
            if let MemberKind::Sink { sink, .. } = &mut self.members[at].kind
                && let Err(error) = sink.flush()
            {
                return Err(self.failed(at, error));
            }
        }
        Ok(())
    }

    /// The barrier goes on, then every member's part of the checkpoint is fixed as it is.
    pub(in crate::runtime) fn snapshot(&mut self, barrier: Barrier) -> Result<Vec<SubtaskSnapshot>, Ended> {
        self.edges.values_mut().try_for_each(|edge| edge.barrier(barrier))?;
        let mut parts = Vec::with_capacity(self.members.len());
        for at in 0..self.members.len() {
            let begun_ns = self.clock.monotonic_ns();
            let member = &mut self.members[at];
            let mut part = SubtaskSnapshot::new(&member.node, self.subtask);
            let fixed = match &mut member.kind {
                MemberKind::Source(counters) => {
                    part.counters = *counters;
                    Ok(())
                }
                MemberKind::Operator(operator) => {
                    part.counters = operator.counters();
                    let watermark = operator.watermark();
                    let turn = operator.turn();
                    part.watermark = turn.has_watermark_state().then_some(watermark);
                    part.broadcast = turn.broadcast().map(BroadcastState::snapshot);
                    let kept = turn.persist_watermark(watermark);
                    let snapshot =
                        kept.and_then(|()| turn.backend().map(|backend| backend.snapshot(barrier.format)).transpose());
                    snapshot.map(|state| part.state = state)
                }
                MemberKind::Sink { sink, counters } => {
                    part.counters = *counters;
                    sink.prepare(barrier.checkpoint).map(|committable| part.committable = committable)
                }
            };
            fixed.map_err(|error| self.failed(at, error))?;
            part.times.sync_ns = self.clock.monotonic_ns().saturating_sub(begun_ns);
            parts.push(part);
        }
        Ok(parts)
    }

    /// What the members show now.
    pub(in crate::runtime) fn stats(&mut self) -> Vec<MemberStats> {
        let stats = |member: &mut Member| match &mut member.kind {
            MemberKind::Source(counters) | MemberKind::Sink { counters, .. } => {
                MemberStats { counters: *counters, ..MemberStats::default() }
            }
            MemberKind::Operator(operator) => {
                operator.log_suppressed();
                let counters = operator.counters();
                let turn = operator.turn();
                let keyed = turn.backend().map(|backend| backend.size()).unwrap_or_default();
                let state = keyed + turn.broadcast().map(BroadcastState::size).unwrap_or_default();
                MemberStats { counters, metrics: turn.metrics().clone(), state, ..MemberStats::default() }
            }
        };
        let event_time = self.event_time;
        self.members.iter_mut().map(|member| MemberStats { event_time, ..stats(member) }).collect()
    }
}

/// How many more steps may be done at once.
struct Steps {
    left: u32,
    until_ns: u64,
}

impl Steps {
    fn new(clock: &dyn Clock) -> Steps {
        Steps { left: STEPS_MAX, until_ns: clock.monotonic_ns().saturating_add(STEPS_NS) }
    }

    fn may_go_on(&mut self, clock: &dyn Clock) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0 && clock.monotonic_ns() < self.until_ns
    }
}

#[cfg(test)]
#[path = "operator_chain_tests.rs"]
mod tests;
