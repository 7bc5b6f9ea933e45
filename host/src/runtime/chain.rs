//! The operators of one subtask, and how a batch goes through them.

use std::collections::BTreeMap;

use super::element::Barrier;
use super::exchange::EdgeWriter;
use super::link::Cancelled;
use super::plan::Target;
use super::subtask::{SubtaskFailure, SubtaskPart};
use crate::checkpoint::Counters;
use crate::clock::SharedClock;
use crate::connector::Sink;
use crate::error::Error;
use crate::model::{Batch, NO_TIMESTAMP};
use crate::operator::{Operator, OperatorFailure, Outputs, Rejected};
use crate::state::{BroadcastState, StateSize};
use crate::turn::FIRST_INPUT;

/// Steps of a member that the wall clock asks for, before the subtask looks at its input again.
const CLOCK_STEPS_MAX: u32 = 64;

/// Why a subtask ends before its last barrier.
#[derive(Debug)]
pub(super) enum Ended {
    Cancelled,
    Failed(SubtaskFailure),
}

impl From<Cancelled> for Ended {
    fn from(_: Cancelled) -> Ended {
        Ended::Cancelled
    }
}

pub(super) struct Member {
    pub(super) node: String,
    pub(super) kind: MemberKind,
    /// For each output where its records go.
    pub(super) routes: Vec<Vec<Target>>,
}

pub(super) enum MemberKind {
    Source(Counters),
    Operator(Box<dyn Operator>),
    Sink { sink: Box<dyn Sink>, counters: Counters },
}

/// How far one subtask is in event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// In milliseconds: [`NO_TIMESTAMP`] before the first one, the largest when the input has ended.
    pub watermark: i64,
    /// Whether nothing is expected for now, so that it holds nobody up.
    pub idle: bool,
}

impl Default for EventTime {
    fn default() -> EventTime {
        EventTime { watermark: NO_TIMESTAMP, idle: false }
    }
}

/// What one subtask shows of one of its members.
#[derive(Clone, Debug, Default)]
pub(super) struct MemberStats {
    pub(super) counters: Counters,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) state: StateSize,
    pub(super) event_time: EventTime,
}

/// See the module.
pub(super) struct Chain {
    pub(super) subtask: u32,
    pub(super) members: Vec<Member>,
    /// The edges that lead out, by their index in the plan.
    pub(super) edges: BTreeMap<usize, EdgeWriter>,
    pub(super) clock: SharedClock,
    pub(super) event_time: EventTime,
}

impl Chain {
    fn failed(&self, member: usize, error: Error) -> Ended {
        Ended::Failed(SubtaskFailure::error(&self.members[member].node, self.subtask, error))
    }

    /// Takes records that a source read.
    pub(super) fn accept(&mut self, batch: Batch, counters: Counters) -> Result<(), Ended> {
        if let Some(Member { kind: MemberKind::Source(shown), .. }) = self.members.first_mut() {
            *shown = counters;
        }
        self.route(0, 0, batch)
    }

    /// Hands a batch to an input of a member, and what comes out of it to those behind it.
    pub(super) fn deliver(&mut self, member: usize, input: u32, batch: Batch) -> Result<(), Ended> {
        let mut outputs = Vec::new();
        match &mut self.members[member].kind {
            MemberKind::Source(_) => outputs.push((0, batch)),
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
        outputs.into_iter().try_for_each(|(output, batch)| self.route(member, output, batch))
    }

    /// Hands a record without its key to the first member.
    pub(super) fn reject(&mut self, rejected: Rejected) -> Result<(), Ended> {
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
        outputs.into_iter().try_for_each(|(output, batch)| self.route(0, output, batch))
    }

    fn operator_failed(&self, member: usize, failure: OperatorFailure) -> Ended {
        let node = &self.members[member].node;
        match failure {
            OperatorFailure::Fault { fault, position } => {
                Ended::Failed(SubtaskFailure::fault(node, self.subtask, fault, Some(position)))
            }
            OperatorFailure::Error(error) => Ended::Failed(SubtaskFailure::error(node, self.subtask, error)),
            OperatorFailure::Cancelled => Ended::Cancelled,
        }
    }

    fn route(&mut self, member: usize, output: usize, mut batch: Batch) -> Result<(), Ended> {
        let now = self.clock.monotonic_ns();
        let targets = self.members[member].routes.get(output).map_or(0, Vec::len);
        for at in 0..targets {
            let records = if at + 1 == targets { std::mem::take(&mut batch) } else { batch.clone() };
            match self.members[member].routes[output][at] {
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

    /// Event time goes on through the members: what has waited for it comes out in front of the watermark.
    pub(super) fn watermark(&mut self, watermark: i64) -> Result<(), Ended> {
        for member in 0..self.members.len() {
            while self.step(member, |operator, outputs| operator.advance_watermark(watermark, outputs))? {}
        }
        self.event_time.watermark = watermark;
        self.edges.values_mut().try_for_each(|edge| edge.watermark(watermark))?;
        Ok(())
    }

    /// Says whether nothing is expected for now, where that is new.
    pub(super) fn set_idle(&mut self, idle: bool) -> Result<(), Ended> {
        if self.event_time.idle != idle {
            self.event_time.idle = idle;
            self.edges.values_mut().try_for_each(|edge| edge.status(idle))?;
        }
        Ok(())
    }

    /// Before this moment of processing time nothing waits for it. None where nothing waits. A millisecond is reached when it
    /// is over, as in Flink: until then a record of the same millisecond may come.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        let due = |member: &Member| match &member.kind {
            MemberKind::Operator(operator) => operator.next_due_ms(),
            _ => None,
        };
        self.members.iter().filter_map(due).min().map(|due| due.saturating_add(1))
    }

    /// Does what is due by the wall clock, or much of it: a timer may register the next one for a time that is over, and
    /// barriers have to get through all the same.
    pub(super) fn advance_clock(&mut self) -> Result<(), Ended> {
        let Some(due) = self.next_due_ms() else { return Ok(()) };
        let now_ms = self.clock.wall_ms();
        if now_ms < due {
            return Ok(());
        }
        for member in 0..self.members.len() {
            let mut steps = 0..CLOCK_STEPS_MAX;
            while steps.next().is_some()
                && self.step(member, |operator, outputs| operator.advance_clock(now_ms.saturating_sub(1), outputs))?
            {
            }
        }
        Ok(())
    }

    /// Has a member do a step, and hands on what comes out of it. Whether there may be more to do.
    fn step(
        &mut self,
        member: usize,
        step: impl Fn(&mut dyn Operator, &mut Outputs) -> Result<bool, OperatorFailure>,
    ) -> Result<bool, Ended> {
        let MemberKind::Operator(operator) = &mut self.members[member].kind else { return Ok(false) };
        let mut outputs = Outputs::new();
        let more = match step(&mut **operator, &mut outputs) {
            Ok(more) => more,
            Err(failure) => return Err(self.operator_failed(member, failure)),
        };
        outputs.into_iter().try_for_each(|(output, batch)| self.route(member, output, batch))?;
        Ok(more)
    }

    /// Sends what has waited for its linger time.
    pub(super) fn flush_due(&mut self) -> Result<(), Ended> {
        if self.edges.values().any(EdgeWriter::is_waiting) {
            let now = self.clock.monotonic_ns();
            self.edges.values_mut().try_for_each(|edge| edge.flush_due(now))?;
        }
        Ok(())
    }

    /// Whether an edge holds records that wait for their batch to close.
    pub(super) fn is_waiting(&self) -> bool {
        self.edges.values().any(EdgeWriter::is_waiting)
    }

    /// Shows what sinks have buffered: nothing has arrived for a moment.
    pub(super) fn idle(&mut self) -> Result<(), Ended> {
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
    pub(super) fn snapshot(&mut self, barrier: Barrier) -> Result<Vec<SubtaskPart>, Ended> {
        self.edges.values_mut().try_for_each(|edge| edge.barrier(barrier))?;
        let mut parts = Vec::with_capacity(self.members.len());
        for at in 0..self.members.len() {
            let begun_ns = self.clock.monotonic_ns();
            let member = &mut self.members[at];
            let mut part = SubtaskPart::new(&member.node, self.subtask);
            let fixed = match &mut member.kind {
                MemberKind::Source(counters) => {
                    part.counters = *counters;
                    Ok(())
                }
                MemberKind::Operator(operator) => {
                    part.counters = operator.counters();
                    let watermark = operator.watermark();
                    let turn = operator.turn();
                    part.broadcast = turn.broadcast().map(BroadcastState::snapshot);
                    let kept = turn.keep_watermark(watermark);
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
    pub(super) fn stats(&mut self) -> Vec<MemberStats> {
        let stats = |member: &mut Member| match &mut member.kind {
            MemberKind::Source(counters) | MemberKind::Sink { counters, .. } => {
                MemberStats { counters: *counters, ..MemberStats::default() }
            }
            MemberKind::Operator(operator) => {
                operator.tell_overdue();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::turn::Turn;

    /// Has always more to do by the wall clock, and counts how often it was asked.
    #[derive(Default)]
    struct Endless(Turn, Counters);

    impl Operator for Endless {
        fn process(&mut self, _: u32, _: Batch, _: &mut Outputs) -> Result<(), OperatorFailure> {
            Ok(())
        }

        fn reject(&mut self, _: Rejected, _: &mut Outputs) -> Result<(), OperatorFailure> {
            Ok(())
        }

        fn advance_watermark(&mut self, _: i64, _: &mut Outputs) -> Result<bool, OperatorFailure> {
            Ok(false)
        }

        fn advance_clock(&mut self, _: i64, _: &mut Outputs) -> Result<bool, OperatorFailure> {
            self.1.records_in += 1;
            assert!(self.1.records_in <= 1000, "the input is not looked at again");
            Ok(true)
        }

        fn next_due_ms(&self) -> Option<i64> {
            Some(-1)
        }

        fn watermark(&self) -> i64 {
            NO_TIMESTAMP
        }

        fn turn(&mut self) -> &mut Turn {
            &mut self.0
        }

        fn counters(&self) -> Counters {
            self.1
        }
    }

    #[test]
    fn timers_that_are_always_due_leave_room_for_the_input() {
        let kind = MemberKind::Operator(Box::<Endless>::default());
        let member = Member { node: "op".into(), kind, routes: Vec::new() };
        let (members, edges) = (vec![member], BTreeMap::new());
        let clock = std::sync::Arc::<ManualClock>::default();
        let mut chain = Chain { subtask: 0, members, edges, clock, event_time: EventTime::default() };
        chain.advance_clock().unwrap();
        assert!(chain.stats()[0].counters.records_in > 1);
        assert!(chain.next_due_ms().is_some(), "and come again at once");
    }
}
