//! The loop of one subtask: read or receive, run the chain, answer barriers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, never, select};
use parking_lot::Mutex;

use crate::connector::Poll;
use crate::error::Error;
use crate::model::Counters;
use crate::pipeline::InputRole;
use crate::runtime::input::in_flight_data::InFlightData;
use crate::runtime::input::input_gate::{Arrival, Gate};
use crate::runtime::signals::Signals;
use crate::runtime::source::checkpoint_triggers::Triggers;
use crate::runtime::source::source_reader::SourceReader;
use crate::runtime::stream_element::{Barrier, BarrierKind};
use crate::runtime::subtask::operator_chain::{Chain, Ended, MemberStats};
use crate::runtime::subtask_failure::{RecordOrigin, SubtaskFailure};
use crate::state::StateSnapshot;
use crate::turn::{FIRST_INPUT, SECOND_INPUT};

/// The longest wait without a look at cancellation.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// What a subtask tells the job.
pub enum SubtaskEvent {
    /// The subtask's parts of a checkpoint are fixed.
    Acknowledged {
        checkpoint: u64,
        snapshots: Vec<SubtaskSnapshot>,
    },
    /// The subtask has opened and restored all that it needs, and runs.
    Opened,
    /// A source subtask will give no more records. It goes on answering barriers.
    SourceEnded,
    /// By what the sources have read a checkpoint is due: records, or event time.
    CheckpointDue,
    Failed(Box<SubtaskFailure>),
    /// A source subtask has failed behind records that it gave. It reads no more and goes on answering barriers, so that a
    /// checkpoint can hold these records.
    SourceFailed(Box<SubtaskFailure>),
    /// What a person should know of the records.
    Warning(String),
}

/// One node's part of a checkpoint, in one subtask.
pub struct SubtaskSnapshot {
    pub node: String,
    pub subtask: u32,
    pub source_position: Option<Vec<u8>>,
    pub state: Option<Box<dyn StateSnapshot>>,
    pub broadcast: Option<Box<dyn StateSnapshot>>,
    pub committable: Option<Vec<u8>>,
    /// What the barrier has overtaken; of a chain's first node.
    pub in_flight: Option<InFlightData>,
    pub counters: Counters,
    /// The watermark that an operator which waits for event time, or a source, had reached.
    pub watermark: Option<i64>,
    pub times: BarrierTimes,
}

/// How a barrier got through one subtask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BarrierTimes {
    /// From the trigger until the subtask met the barrier, in nanoseconds.
    pub start_delay_ns: u64,
    /// From then until all its channels had delivered it.
    pub alignment_ns: u64,
    /// While the node was held up to fix its part.
    pub sync_ns: u64,
    /// Whether the barrier overtook records.
    pub unaligned: bool,
}

impl SubtaskSnapshot {
    pub(in crate::runtime) fn new(node: &str, subtask: u32) -> SubtaskSnapshot {
        SubtaskSnapshot {
            node: node.to_owned(),
            subtask,
            source_position: None,
            state: None,
            broadcast: None,
            committable: None,
            in_flight: None,
            counters: Counters::default(),
            watermark: None,
            times: BarrierTimes::default(),
        }
    }
}

/// Told about everything that a subtask does which concerns the job.
pub type Notify = Arc<dyn Fn(SubtaskEvent) + Send + Sync>;

pub(in crate::runtime) struct Subtask {
    pub(in crate::runtime) chain: Chain,
    pub(in crate::runtime) signals: Arc<Signals>,
    pub(in crate::runtime) notify: Notify,
    /// Where the members' counts are shown, one for each member.
    pub(in crate::runtime) shown: Vec<Arc<Mutex<MemberStats>>>,
    pub(in crate::runtime) shown_ns: u64,
    /// What is fixed already of a checkpoint whose barrier is overtaking.
    pub(in crate::runtime) fixed: Option<Fixed>,
}

/// Barriers that a source has been handed and has not answered.
#[derive(Default)]
struct Barriers {
    waiting: VecDeque<Barrier>,
    /// Whether a drain has ended event time.
    is_draining: bool,
}

/// See [`Subtask::fixed`].
pub(in crate::runtime) struct Fixed {
    barrier: Barrier,
    since_ns: u64,
    parts: Vec<SubtaskSnapshot>,
}

/// How often counts are shown.
const SHOW_INTERVAL_NS: u64 = 50_000_000;

impl Subtask {
    fn check_cancelled(&self) -> Result<(), Ended> {
        if self.signals.is_cancelled() { Err(Ended::Cancelled) } else { Ok(()) }
    }

    fn show(&mut self) {
        for (shown, stats) in self.shown.iter().zip(self.chain.stats()) {
            *shown.lock() = stats;
        }
    }

    fn show_due(&mut self) {
        let now = self.chain.clock.monotonic_ns();
        if now.saturating_sub(self.shown_ns) >= SHOW_INTERVAL_NS {
            let abandoned = self.signals.abandoned();
            self.fixed.take_if(|fixed| fixed.barrier.checkpoint <= abandoned);
            self.shown_ns = now;
            self.show();
        }
    }

    /// How long to wait for input: not past the moment at which waiting records, or what waits for the wall clock, are due.
    fn patience(&self) -> Duration {
        if self.chain.is_waiting() {
            return Duration::from_millis(1);
        }
        let Some(due) = self.chain.next_due_ms() else { return WAIT_MAX };
        let left_ms = due.saturating_sub(self.chain.clock.wall_ms());
        Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)).min(WAIT_MAX)
    }

    /// Runs a chain that begins at a gate, until its last barrier.
    pub(in crate::runtime) fn run_gate(&mut self, mut gate: Gate) -> Result<(), Ended> {
        let mut quiet = false;
        loop {
            self.check_cancelled()?;
            if self.chain.is_advancing() {
                self.chain.advance_event_time()?;
            }
            let arrival = if self.chain.is_advancing() {
                // What is due comes before the records that wait; barriers need not wait for it.
                gate.next_barrier()?
            } else {
                gate.next(self.patience())?
            };
            match arrival {
                Arrival::Batch(InputRole::First, batch) => self.chain.deliver(0, FIRST_INPUT, batch)?,
                Arrival::Batch(InputRole::Second | InputRole::Broadcast, batch) => {
                    self.chain.deliver(0, SECOND_INPUT, batch)?
                }
                Arrival::Rejected(rejected) => self.chain.reject(rejected)?,
                Arrival::Watermark(watermark) => self.chain.watermark(watermark)?,
                Arrival::Status { idle } => self.chain.set_idle(idle)?,
                Arrival::Barrier { barrier, since_ns } => {
                    let parts = self.fix(barrier, since_ns)?;
                    self.acknowledge(barrier, parts);
                    if barrier.kind.is_last() {
                        return Ok(());
                    }
                }
                Arrival::Overtaking { barrier, since_ns } => {
                    let parts = self.fix(barrier, since_ns)?;
                    self.fixed = Some(Fixed { barrier, since_ns, parts });
                }
                Arrival::InFlight { checkpoint, in_flight } => self.complete(checkpoint, in_flight),
                Arrival::Idle if self.chain.is_advancing() => {}
                Arrival::Idle if !quiet => {
                    self.chain.idle()?;
                    self.show();
                    quiet = true;
                    continue;
                }
                Arrival::Idle => {}
            }
            self.chain.advance_clock()?;
            quiet &= !self.chain.is_waiting();
            self.chain.flush_due()?;
            self.show_due();
        }
    }

    /// Runs a chain that begins with a source, until its last barrier. Barriers come over `control`.
    pub(in crate::runtime) fn run_source(
        &mut self,
        mut reader: SourceReader,
        control: Receiver<Barrier>,
        triggers: &Triggers,
    ) -> Result<(), Ended> {
        let mut ended = false;
        let mut has_said_so = false;
        let mut barriers = Barriers::default();
        let mut wait = Duration::ZERO;
        let woken = reader.alignment.as_ref().map_or_else(never, |alignment| alignment.woken.clone());
        loop {
            let barrier = select! {
                recv(control) -> barrier => Some(barrier.map_err(|_| Ended::Cancelled)?),
                recv(woken) -> _ => None,
                default(wait) => None,
            };
            barriers.waiting.extend(barrier);
            if self.answer_due(&mut barriers, &mut reader)? {
                return Ok(());
            }
            self.check_cancelled()?;
            self.chain.advance_event_time()?;
            // Nothing is read between the end of event time and a barrier that follows it.
            wait = match (self.chain.is_advancing() || !barriers.waiting.is_empty(), ended) {
                (true, _) => Duration::ZERO,
                (false, false) => self.read(&mut reader, triggers, &mut ended)?,
                (false, true) => self.patience(),
            };
            if ended && !has_said_so && !reader.has_failed && !self.chain.is_advancing() {
                has_said_so = true;
                self.chain.idle()?;
                self.show();
                (self.notify)(SubtaskEvent::SourceEnded);
            }
            self.chain.advance_clock()?;
            self.chain.flush_due()?;
            self.show_due();
        }
    }

    /// Answers barriers in their order. One that follows the end of event time waits until the end has gone through the chain.
    /// Returns whether the last one has been answered.
    fn answer_due(&mut self, barriers: &mut Barriers, reader: &mut SourceReader) -> Result<bool, Ended> {
        while let Some(&barrier) = barriers.waiting.front() {
            let is_over = barrier.checkpoint <= self.signals.abandoned();
            if barrier.kind == BarrierKind::Drain && !is_over && !barriers.is_draining {
                barriers.is_draining = true;
                self.end_event_time(reader)?;
            }
            if barrier.kind.follows_the_end() && !is_over && self.chain.is_advancing() {
                return Ok(false);
            }
            barriers.waiting.pop_front();
            if !is_over {
                self.answer(barrier, reader)?;
            }
            if barrier.kind.is_last() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads once. The result is how long nothing more can be expected.
    fn read(&mut self, reader: &mut SourceReader, triggers: &Triggers, ended: &mut bool) -> Result<Duration, Ended> {
        if reader.is_ahead() {
            self.advance(reader, triggers)?;
            self.chain.idle()?;
            return Ok(self.patience());
        }
        let read = reader.read(&|| self.signals.is_cancelled());
        self.chain.show_source(reader.counters());
        reader.take_warnings().into_iter().for_each(|warning| (self.notify)(SubtaskEvent::Warning(warning)));
        let (batch, poll) = match read {
            Ok(read) => read,
            Err(error) => return self.source_failed(reader, error, ended),
        };
        let records = batch.len() as u64;
        if records > 0 {
            self.chain.set_idle(false)?;
            let accepted = self.chain.accept(batch);
            accepted.map_err(|ended| self.with_origin(ended, reader, records))?;
            self.notify_if(triggers.read(records));
        }
        self.advance(reader, triggers)?;
        if poll != Poll::End && !self.chain.event_time.idle && reader.is_idle() {
            self.chain.set_idle(true)?;
            reader.release_group();
            self.notify_if(triggers.advance(reader.index, i64::MAX));
        }
        match poll {
            Poll::Records => Ok(Duration::ZERO),
            Poll::Pending(wait) => {
                if records == 0 && wait >= Duration::from_millis(10) {
                    self.chain.idle()?;
                }
                Ok(wait.min(self.patience()))
            }
            Poll::End => {
                *ended = true;
                self.end_event_time(reader)?;
                reader.release_group();
                self.notify_if(triggers.advance(reader.index, i64::MAX));
                Ok(self.patience())
            }
        }
    }

    /// Adds where the record came from that an operator failed on, where it is one of the `records` that were read last: of
    /// operators behind the first one in the chain that is not known.
    fn with_origin(&self, ended: Ended, reader: &SourceReader, records: u64) -> Ended {
        let failure = match ended {
            Ended::Failed(failure) if self.chain.is_fed_by_source(&failure.node) => failure,
            ended => return ended,
        };
        let Some(index) = failure.record.as_ref().and_then(|record| record.index) else {
            return Ended::Failed(failure);
        };
        let place = reader.source.locate(index, &|| self.signals.is_cancelled());
        let origin = place.map_or_else(
            || RecordOrigin::Number {
                source: self.chain.members[0].node.clone(),
                subtask: self.chain.subtask,
                number: reader.counters.records_in.saturating_sub(records) + index as u64 + 1,
            },
            RecordOrigin::Input,
        );
        Ended::Failed(failure.with_origin(Some(origin)))
    }

    /// Ends the subtask, or only its reading where it has given records that no checkpoint may hold yet.
    fn source_failed(&mut self, reader: &mut SourceReader, error: Error, ended: &mut bool) -> Result<Duration, Ended> {
        let failure = SubtaskFailure::error(&self.chain.members[0].node, self.chain.subtask, error);
        if !reader.has_given {
            return Err(Ended::Failed(failure));
        }
        reader.has_failed = true;
        *ended = true;
        self.chain.idle()?;
        self.show();
        (self.notify)(SubtaskEvent::SourceFailed(Box::new(failure)));
        Ok(self.patience())
    }

    fn notify_if(&self, checkpoint_due: bool) {
        if checkpoint_due {
            (self.notify)(SubtaskEvent::CheckpointDue);
        }
    }

    /// Sends the source's watermark where it is due.
    fn advance(&mut self, reader: &mut SourceReader, triggers: &Triggers) -> Result<(), Ended> {
        if let Some(watermark) = reader.due_watermark() {
            self.chain.watermark(watermark)?;
            self.notify_if(triggers.advance(reader.index, watermark));
        }
        Ok(())
    }

    /// Sends the watermark of the last record and then the largest one. The watermark of an idle channel does not count.
    ///
    /// While other inputs go on, event time is held at the first of the two and not at what was sent last.
    fn end_event_time(&mut self, reader: &mut SourceReader) -> Result<(), Ended> {
        self.chain.set_idle(false)?;
        if let Some(watermark) = reader.last_watermark() {
            self.chain.watermark(watermark)?;
        }
        self.chain.watermark(i64::MAX)
    }

    /// Answers a barrier where a source begins the chain.
    fn answer(&mut self, barrier: Barrier, reader: &SourceReader) -> Result<(), Ended> {
        let since_ns = self.chain.clock.monotonic_ns();
        let mut parts = self.fix(barrier, since_ns)?;
        if let Some(part) = parts.first_mut() {
            let position = reader.source.position();
            let failed = |error| Ended::Failed(SubtaskFailure::error(&part.node, part.subtask, error));
            part.source_position = Some(position.map_err(failed)?);
            part.counters = reader.counters;
            part.watermark = reader.checkpointed_watermark();
        }
        self.acknowledge(barrier, parts);
        Ok(())
    }

    /// Sends the barrier on, and fixes all members as they are.
    fn fix(&mut self, barrier: Barrier, since_ns: u64) -> Result<Vec<SubtaskSnapshot>, Ended> {
        let aligned_ns = self.chain.clock.monotonic_ns();
        let mut parts = self.chain.snapshot(barrier)?;
        for part in &mut parts {
            part.times.start_delay_ns = since_ns.saturating_sub(barrier.triggered_ns);
            part.times.alignment_ns = aligned_ns.saturating_sub(since_ns);
        }
        self.show();
        Ok(parts)
    }

    /// All that a barrier overtook is known.
    fn complete(&mut self, checkpoint: u64, in_flight: InFlightData) {
        let Some(mut fixed) = self.fixed.take_if(|fixed| fixed.barrier.checkpoint == checkpoint) else { return };
        let now = self.chain.clock.monotonic_ns();
        for part in &mut fixed.parts {
            part.times.alignment_ns = now.saturating_sub(fixed.since_ns);
            part.times.unaligned = true;
        }
        if let Some(first) = fixed.parts.first_mut() {
            first.in_flight = Some(in_flight).filter(|in_flight| !in_flight.is_empty());
        }
        self.acknowledge(fixed.barrier, fixed.parts);
    }

    fn acknowledge(&self, barrier: Barrier, parts: Vec<SubtaskSnapshot>) {
        (self.notify)(SubtaskEvent::Acknowledged { checkpoint: barrier.checkpoint, snapshots: parts });
    }
}

#[cfg(test)]
#[path = "source_loop_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "input_loop_tests.rs"]
mod timers_tests;
