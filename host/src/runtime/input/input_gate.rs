//! The receiving side: merges the channels of a subtask, aligns barriers and combines watermarks.
//!
//! A channel that has delivered a barrier is not read until all have (aligned barrier snapshot), so that a checkpoint
//! holds exactly the records in front of its barriers. Where the job says so, a barrier overtakes what waits in the
//! channels instead: the subtask is fixed at once, and what was overtaken becomes part of the checkpoint. With
//! at-least-once no channel waits.
//!
//! The watermark is the smallest of the channels that count: those that are active, and have caught up with what was put
//! out already. So a channel that was idle and returns behind the others neither holds them up nor takes anything back. A
//! channel that has ended does not count either: the watermark is at its end when all channels are, and not while one that is
//! idle may return.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Select;

use crate::clock::SharedClock;
use crate::model::{Batch, NO_TIMESTAMP};
use crate::operator::RejectedRecord;
use crate::pipeline::{CheckpointMode, InputRole};
use crate::runtime::channel::{Cancelled, LinkReceiver, Sent};
use crate::runtime::input::in_flight_data::InFlightData;
use crate::runtime::signals::Signals;
use crate::runtime::stream_element::{Barrier, BarrierKind, Element};

pub(in crate::runtime) enum Arrival {
    Batch(InputRole, Batch),
    Rejected(RejectedRecord),
    /// The combined watermark has advanced to this.
    Watermark(i64),
    /// All channels are idle now, or not all are any more.
    Status {
        idle: bool,
    },
    /// Every channel has delivered it, the first one at `since_ns`.
    Barrier {
        barrier: Barrier,
        since_ns: u64,
    },
    /// It has overtaken what is in the channels, before anything else comes. [`Arrival::InFlight`] follows, unless the
    /// checkpoint is abandoned.
    Overtaking {
        barrier: Barrier,
        since_ns: u64,
    },
    /// All that this checkpoint's barrier has overtaken.
    InFlight {
        checkpoint: u64,
        in_flight: InFlightData,
    },
    /// Nothing came in time.
    Idle,
}

struct Channel {
    link: LinkReceiver,
    /// Taken out of the link while a barrier overtook it, or restored: comes before what is in the link.
    queue: VecDeque<Sent>,
    /// The largest that it has said, but for that of its end.
    watermark: i64,
    idle: bool,
    /// Whether its event time is at the end: nothing comes any more.
    ended: bool,
}

/// A barrier that some channels have delivered.
struct Passing {
    barrier: Barrier,
    arrived: Vec<bool>,
    since_ns: u64,
}

/// A barrier that has overtaken the records of the channels which have not delivered it.
struct Recording {
    checkpoint: u64,
    arrived: Vec<bool>,
    in_flight: InFlightData,
}

/// See the module.
pub(in crate::runtime) struct Gate {
    channels: Vec<Channel>,
    /// The oldest first.
    passing: Vec<Passing>,
    recording: Option<Recording>,
    /// The newest barrier that was handed on.
    passed: u64,
    watermark: i64,
    /// What was handed on last.
    idle: bool,
    next: usize,
    mode: CheckpointMode,
    signals: Arc<Signals>,
    clock: SharedClock,
}

impl Gate {
    pub(in crate::runtime) fn new(
        links: Vec<LinkReceiver>,
        mode: CheckpointMode,
        signals: Arc<Signals>,
        clock: SharedClock,
    ) -> Gate {
        let channel =
            |link| Channel { link, queue: VecDeque::new(), watermark: NO_TIMESTAMP, idle: false, ended: false };
        Gate {
            channels: links.into_iter().map(channel).collect(),
            passing: Vec::new(),
            recording: None,
            passed: 0,
            watermark: NO_TIMESTAMP,
            idle: false,
            next: 0,
            mode,
            signals,
            clock,
        }
    }

    /// Puts what a checkpoint held in front of everything that comes. There may be another number of channels now, so that a
    /// watermark may speak for records that it knows nothing of: those come anew.
    pub(in crate::runtime) fn restore(&mut self, in_flight: InFlightData) {
        let channels = self.channels.len().max(1);
        let records = in_flight.into_elements().filter(|(_, element)| !matches!(element, Element::Watermark(_)));
        for (channel, element) in records {
            if let Some(channel) = self.channels.get_mut(channel % channels) {
                channel.queue.push_back(Sent { element, credit: false });
            }
        }
    }

    /// The next thing that arrives. `Cancelled` when a sender is gone before its last barrier.
    pub(in crate::runtime) fn next(&mut self, timeout: Duration) -> Result<Arrival, Cancelled> {
        loop {
            if let Some(arrival) = self.obey_signals()? {
                return Ok(arrival);
            }
            let idle = self.is_idle();
            if idle != self.idle {
                self.idle = idle;
                return Ok(Arrival::Status { idle });
            }
            let Some((at, element)) = self.receive(timeout)? else { return Ok(Arrival::Idle) };
            match element {
                Element::Batch(role, batch) => return Ok(Arrival::Batch(role, batch)),
                Element::Rejected(rejected) => return Ok(Arrival::Rejected(*rejected)),
                Element::Watermark(watermark) => {
                    let channel = &mut self.channels[at];
                    let held_up = !channel.idle && channel.watermark == self.watermark;
                    let counts = match watermark {
                        i64::MAX => !std::mem::replace(&mut channel.ended, true) && (held_up || self.has_ended()),
                        // One that goes back says nothing new.
                        _ => {
                            let before = channel.watermark;
                            channel.watermark = before.max(watermark);
                            before < watermark
                        }
                    };
                    if counts && let Some(watermark) = self.combine() {
                        return Ok(Arrival::Watermark(watermark));
                    }
                }
                Element::Status { idle } => {
                    let channel = &mut self.channels[at];
                    let held_up = idle && !channel.ended && channel.watermark == self.watermark;
                    channel.idle = idle;
                    if held_up && let Some(watermark) = self.combine() {
                        return Ok(Arrival::Watermark(watermark));
                    }
                }
                Element::Barrier(barrier) => {
                    if let Some(since_ns) = self.arrive(at, barrier) {
                        return Ok(Arrival::Barrier { barrier, since_ns });
                    }
                }
            }
        }
    }

    /// The next barrier, or what a barrier that overtakes asks for, while the subtask cannot take anything else: event time is on its
    /// way through it. Leaves everything else, and what is behind it, where it is; a barrier that follows the end of event
    /// time, too. `Arrival::Idle` where there is none.
    pub(in crate::runtime) fn next_barrier(&mut self) -> Result<Arrival, Cancelled> {
        if let Some(arrival) = self.obey_signals()? {
            return Ok(arrival);
        }
        for at in 0..self.channels.len() {
            if self.is_blocked(at) {
                continue;
            }
            if self.channels[at].queue.is_empty()
                && let Some(sent) = self.pull(at)?
            {
                self.channels[at].queue.push_back(sent);
            }
            let front = self.channels[at].queue.front().map(|sent| &sent.element);
            let Some(&Element::Barrier(barrier)) = front else { continue };
            if barrier.kind.follows_the_end() {
                continue;
            }
            self.channels[at].queue.pop_front();
            if let Some(since_ns) = self.arrive(at, barrier) {
                return Ok(Arrival::Barrier { barrier, since_ns });
            }
        }
        Ok(Arrival::Idle)
    }

    fn has_ended(&self) -> bool {
        self.channels.iter().all(|channel| channel.ended)
    }

    /// Whether no channel has anything to say for now, and one may still return.
    fn is_idle(&self) -> bool {
        !self.has_ended() && self.channels.iter().all(|channel| channel.idle || channel.ended)
    }

    /// The watermark, where it advances by what the channels say now. With all of them idle nothing that was said holds
    /// it back any more. It is at its end when all channels are; one that has ended before counts as one that is idle.
    fn combine(&mut self) -> Option<i64> {
        let channels = self.channels.iter();
        let combined = if self.has_ended() {
            Some(i64::MAX)
        } else if self.is_idle() {
            channels.map(|channel| channel.watermark).max()
        } else {
            let counts = |channel: &&Channel| !channel.idle && !channel.ended && channel.watermark >= self.watermark;
            channels.filter(counts).map(|channel| channel.watermark).min()
        };
        let advanced = combined.filter(|combined| *combined > self.watermark);
        self.watermark = advanced.unwrap_or(self.watermark);
        advanced
    }

    /// Lets go of what was abandoned, and lets a barrier overtake.
    fn obey_signals(&mut self) -> Result<Option<Arrival>, Cancelled> {
        let abandoned = self.signals.abandoned();
        self.passing.retain(|passing| passing.barrier.checkpoint > abandoned);
        self.recording.take_if(|recording| recording.checkpoint <= abandoned);
        if let Some(barrier) = self.signals.overtaking(self.passed) {
            return Ok(Some(self.overtake(barrier)));
        }
        if self.recording.is_some() {
            self.look_ahead()?;
        }
        let complete = self.recording.take_if(|recording| recording.arrived.iter().all(|arrived| *arrived));
        Ok(complete.map(|Recording { checkpoint, in_flight, .. }| Arrival::InFlight { checkpoint, in_flight }))
    }

    /// From here on all channels are read; what comes out of them in front of the barrier is recorded.
    fn overtake(&mut self, barrier: Barrier) -> Arrival {
        // The older ones are over, or the job would not have let this one overtake.
        let begun = self.passing.drain(..).find(|passing| passing.barrier.checkpoint == barrier.checkpoint);
        let (mut arrived, since_ns) = match begun {
            Some(passing) => (passing.arrived, passing.since_ns),
            None => (vec![false; self.channels.len()], self.clock.monotonic_ns()),
        };
        let mut in_flight = InFlightData::default();
        for (at, channel) in self.channels.iter().enumerate() {
            let mut waiting = channel.queue.iter().map(|sent| &sent.element);
            while !arrived[at]
                && let Some(element) = waiting.next()
            {
                match element {
                    // Taken out of the link while an abandoned one still overtook.
                    Element::Barrier(before) => arrived[at] = before.checkpoint >= barrier.checkpoint,
                    element => in_flight.push(at, element),
                }
            }
        }
        self.passed = barrier.checkpoint;
        self.recording = Some(Recording { checkpoint: barrier.checkpoint, arrived, in_flight });
        Arrival::Overtaking { barrier, since_ns }
    }

    /// Takes everything out of its link up to the barrier that has overtaken it. How much that is the credits say.
    fn look_ahead(&mut self) -> Result<(), Cancelled> {
        for at in 0..self.channels.len() {
            while self.recording.as_ref().is_some_and(|recording| !recording.arrived[at]) {
                let Some(sent) = self.pull(at)? else { break };
                self.channels[at].queue.push_back(sent);
            }
        }
        Ok(())
    }

    /// Takes an element out of its link. What a barrier has overtaken is recorded here.
    fn pull(&mut self, at: usize) -> Result<Option<Sent>, Cancelled> {
        let Some(sent) = self.channels[at].link.try_next()? else { return Ok(None) };
        if let Some(recording) = self.recording.as_mut().filter(|recording| !recording.arrived[at]) {
            match &sent.element {
                Element::Barrier(barrier) => recording.arrived[at] = barrier.checkpoint >= recording.checkpoint,
                element => recording.in_flight.push(at, element),
            }
        }
        Ok(Some(sent))
    }

    /// A channel has delivered a barrier. When the first one did, where all have now.
    fn arrive(&mut self, at: usize, barrier: Barrier) -> Option<u64> {
        let checkpoint = barrier.checkpoint;
        // A sender that has not sent an older one before this has abandoned it.
        self.passing.retain(|passing| passing.barrier.checkpoint >= checkpoint || passing.arrived[at]);
        let newest = self.passing.last().map_or(self.passed, |passing| passing.barrier.checkpoint);
        if checkpoint > newest.max(self.signals.abandoned()) {
            let arrived = vec![false; self.channels.len()];
            self.passing.push(Passing { barrier, arrived, since_ns: self.clock.monotonic_ns() });
        }
        let place = self.passing.iter().position(|passing| passing.barrier.checkpoint == checkpoint)?;
        self.passing[place].arrived[at] = true;
        if self.passing[place].arrived.iter().any(|arrived| !arrived) {
            return None;
        }
        self.passed = checkpoint;
        Some(self.passing.remove(place).since_ns)
    }

    /// Whether a channel waits for others to deliver a barrier.
    fn is_blocked(&self, at: usize) -> bool {
        let waits = |kind| self.mode == CheckpointMode::ExactlyOnce || kind != BarrierKind::Checkpoint;
        self.passing.iter().any(|passing| passing.arrived[at] && waits(passing.barrier.kind))
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<(usize, Element)>, Cancelled> {
        let channels = self.channels.len();
        let turn = self.next;
        let in_turn = (0..channels).map(move |step| (turn + step) % channels);
        for at in in_turn.clone() {
            if !self.channels[at].queue.is_empty() && !self.is_blocked(at) {
                let sent = self.channels[at].queue.pop_front();
                return Ok(sent.map(|sent| self.take_up(at, sent)));
            }
        }
        for at in in_turn {
            if !self.is_blocked(at)
                && let Some(sent) = self.pull(at)?
            {
                return Ok(Some(self.take_up(at, sent)));
            }
        }
        self.wait(timeout)
    }

    fn take_up(&mut self, at: usize, sent: Sent) -> (usize, Element) {
        self.next = at + 1;
        (at, self.channels[at].link.take_up(sent))
    }

    fn wait(&mut self, timeout: Duration) -> Result<Option<(usize, Element)>, Cancelled> {
        let open: Vec<usize> = (0..self.channels.len()).filter(|&at| !self.is_blocked(at)).collect();
        let ready = {
            let mut select = Select::new();
            for &at in &open {
                select.recv(&self.channels[at].link.elements);
            }
            select.ready_timeout(timeout)
        };
        let Ok(ready) = ready else { return Ok(None) };
        let at = open[ready];
        Ok(self.pull(at)?.map(|sent| self.take_up(at, sent)))
    }
}

#[cfg(test)]
#[path = "input_gate_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "watermark_valve_tests.rs"]
mod watermark_tests;
