//! Merges the input channels of a subtask and returns one event at a time.
//!
//! Channels are read in turn, except those that [`BarrierAlignment`] blocks. A barrier that takes too long to align overtakes
//! the elements in the channels. The gate then passes it on at once, reads ahead up to the barrier in every channel, and
//! records a copy of the overtaken elements. It returns their credits only when they are processed, so that reading ahead
//! admits no further elements.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::barrier_alignment::BarrierAlignment;
use super::in_flight_data::InFlightData;
use super::in_flight_recording::InFlightRecording;
use super::watermark_valve::WatermarkValve;
use crate::clock::SharedClock;
use crate::model::Batch;
use crate::operator::RejectedRecord;
use crate::permits::{self, WaitReason};
use crate::pipeline::{CheckpointMode, InputRole};
use crate::runtime::attempt_signals::{AttemptSignals, SubtaskCancelled};
use crate::runtime::barrier::Barrier;
use crate::runtime::channel::{ChannelReceiver, Inbox, SentElement};
use crate::runtime::stream_element::StreamElement;

/// An event that the gate returns.
pub(crate) enum InputEvent {
    Batch(InputRole, Batch),
    Rejected(RejectedRecord),
    /// The combined watermark has advanced to this value.
    Watermark(i64),
    /// All channels have become idle, or one has become active again.
    Idleness {
        idle: bool,
    },
    /// Every channel has delivered the barrier. The first one did so at `since_ns`.
    AlignedBarrier {
        barrier: Barrier,
        since_ns: u64,
    },
    /// The barrier has overtaken the elements in the channels. [`InputEvent::InFlight`] follows, unless the checkpoint is
    /// abandoned.
    OvertakingBarrier {
        barrier: Barrier,
        since_ns: u64,
    },
    /// Everything that the barrier of this checkpoint has overtaken.
    InFlight {
        checkpoint: u64,
        in_flight: InFlightData,
    },
    /// Nothing arrived within the timeout, or the subtask was woken by something else.
    Timeout,
}

/// One input channel.
struct InputChannel {
    receiver: ChannelReceiver,
    /// Elements that were read ahead or restored. They come before those that are still in the channel.
    queue: VecDeque<SentElement>,
}

/// The input gate of one subtask.
pub(crate) struct InputGate {
    channels: Vec<InputChannel>,
    alignment: BarrierAlignment,
    valve: WatermarkValve,
    /// Runs while a barrier is overtaking.
    recording: Option<InFlightRecording>,
    /// The idleness that was returned last.
    idle: bool,
    /// The channel to read next.
    next_channel: usize,
    signals: Arc<AttemptSignals>,
    inbox: Arc<Inbox>,
}

impl InputGate {
    /// Creates the gate of a subtask. All of its channels have this inbox.
    pub(crate) fn new(
        receivers: Vec<ChannelReceiver>,
        inbox: Arc<Inbox>,
        mode: CheckpointMode,
        signals: Arc<AttemptSignals>,
        clock: SharedClock,
    ) -> InputGate {
        let channels = receivers.len();
        InputGate {
            channels: receivers.into_iter().map(|receiver| InputChannel { receiver, queue: VecDeque::new() }).collect(),
            alignment: BarrierAlignment::new(channels, mode, clock),
            valve: WatermarkValve::new(channels),
            recording: None,
            idle: false,
            next_channel: 0,
            signals,
            inbox,
        }
    }

    /// Puts the in-flight data of a checkpoint in front of everything that arrives. Watermarks are left out: the number of
    /// channels may have changed, and every sender sends its watermark again.
    pub(crate) fn restore(&mut self, in_flight: InFlightData) {
        let channels = self.channels.len().max(1);
        let records = in_flight.into_elements().filter(|(_, element)| !matches!(element, StreamElement::Watermark(_)));
        for (channel, element) in records {
            if let Some(channel) = self.channels.get_mut(channel % channels) {
                channel.queue.push_back(SentElement::restored(element));
            }
        }
    }

    /// Returns the next event. Waits for one for at most `timeout`, and until the subtask is woken. Fails if a sender is gone
    /// before its last barrier.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<InputEvent, SubtaskCancelled> {
        let mut has_waited = false;
        loop {
            if let Some(event) = self.follow_signals()? {
                return Ok(event);
            }
            let idle = self.valve.is_idle();
            if idle != self.idle {
                self.idle = idle;
                return Ok(InputEvent::Idleness { idle });
            }
            let Some((channel, element)) = self.receive()? else {
                if has_waited {
                    return Ok(InputEvent::Timeout);
                }
                permits::wait(WaitReason::Input, &self.inbox.wakeup, timeout);
                has_waited = true;
                continue;
            };
            let event = match element {
                StreamElement::Batch(role, batch) => Some(InputEvent::Batch(role, batch)),
                StreamElement::Rejected(rejected) => Some(InputEvent::Rejected(*rejected)),
                StreamElement::Watermark(watermark) => {
                    self.valve.take_watermark(channel, watermark).map(InputEvent::Watermark)
                }
                StreamElement::Idleness { idle } => self.valve.take_idleness(channel, idle).map(InputEvent::Watermark),
                StreamElement::Barrier(barrier) => self.deliver_barrier(channel, barrier),
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// Returns the next barrier, or what an overtaking barrier requires, while the subtask cannot process anything else: event
    /// time is passing through its chain. Does not wait. Leaves all other elements, and everything behind them, in place, and
    /// a barrier that follows the end of event time too.
    pub(crate) fn next_barrier(&mut self) -> Result<InputEvent, SubtaskCancelled> {
        if let Some(event) = self.follow_signals()? {
            return Ok(event);
        }
        for channel in 0..self.channels.len() {
            if self.alignment.is_blocked(channel) {
                continue;
            }
            if self.channels[channel].queue.is_empty()
                && let Some(sent) = self.read_channel(channel)?
            {
                self.channels[channel].queue.push_back(sent);
            }
            let front = self.channels[channel].queue.front().map(|sent| &sent.element);
            let Some(&StreamElement::Barrier(barrier)) = front else { continue };
            if barrier.kind.follows_end_of_event_time() {
                continue;
            }
            self.channels[channel].queue.pop_front();
            if let Some(event) = self.deliver_barrier(channel, barrier) {
                return Ok(event);
            }
        }
        Ok(InputEvent::Timeout)
    }

    fn deliver_barrier(&mut self, channel: usize, barrier: Barrier) -> Option<InputEvent> {
        let since_ns = self.alignment.deliver(channel, barrier, self.signals.abandoned())?;
        self.note_passed(barrier);
        Some(InputEvent::AlignedBarrier { barrier, since_ns })
    }

    /// Lets the senders know that the subtask passes a barrier on.
    fn note_passed(&self, barrier: Barrier) {
        self.channels.iter().for_each(|channel| channel.receiver.note_passed(barrier.checkpoint));
    }

    /// Drops abandoned barriers, lets a barrier overtake, and returns a recording that is complete.
    fn follow_signals(&mut self) -> Result<Option<InputEvent>, SubtaskCancelled> {
        let abandoned = self.signals.abandoned();
        self.alignment.abandon(abandoned);
        self.recording.take_if(|recording| recording.checkpoint <= abandoned);
        if let Some(barrier) = self.signals.overtaking(self.alignment.last_passed()) {
            return Ok(Some(self.overtake(barrier)));
        }
        if self.recording.is_some() {
            self.read_ahead()?;
        }
        let complete = self.recording.take_if(|recording| recording.is_complete());
        Ok(complete
            .map(|InFlightRecording { checkpoint, in_flight, .. }| InputEvent::InFlight { checkpoint, in_flight }))
    }

    /// Passes a barrier on and starts to record the elements that it overtakes. All channels are read from now on.
    fn overtake(&mut self, barrier: Barrier) -> InputEvent {
        let overtaking = self.alignment.overtake(barrier);
        self.note_passed(barrier);
        let mut recording = InFlightRecording::new(barrier.checkpoint, overtaking.delivered);
        // The queues may hold barriers that were read ahead while an abandoned barrier was overtaking.
        for (index, channel) in self.channels.iter().enumerate() {
            channel.queue.iter().for_each(|sent| recording.record(index, &sent.element));
        }
        self.recording = Some(recording);
        InputEvent::OvertakingBarrier { barrier, since_ns: overtaking.since_ns }
    }

    /// Reads every channel up to the barrier that is overtaking. The credits bound how much that can be.
    fn read_ahead(&mut self) -> Result<(), SubtaskCancelled> {
        for channel in 0..self.channels.len() {
            while self.recording.as_ref().is_some_and(|recording| recording.is_waiting_for(channel)) {
                let Some(sent) = self.read_channel(channel)? else { break };
                self.channels[channel].queue.push_back(sent);
            }
        }
        Ok(())
    }

    /// Takes an element out of a channel, and records it if a barrier is overtaking it.
    fn read_channel(&mut self, channel: usize) -> Result<Option<SentElement>, SubtaskCancelled> {
        let Some(sent) = self.channels[channel].receiver.try_next()? else { return Ok(None) };
        if let Some(recording) = &mut self.recording {
            recording.record(channel, &sent.element);
        }
        Ok(Some(sent))
    }

    /// Returns the next element of the channels that are not blocked, with the index of its channel. Does not wait.
    fn receive(&mut self) -> Result<Option<(usize, StreamElement)>, SubtaskCancelled> {
        let channels = self.channels.len();
        let first = self.next_channel;
        let round_robin = (0..channels).map(move |step| (first + step) % channels);
        for channel in round_robin.clone() {
            if !self.channels[channel].queue.is_empty() && !self.alignment.is_blocked(channel) {
                let sent = self.channels[channel].queue.pop_front();
                return Ok(sent.map(|sent| self.accept(channel, sent)));
            }
        }
        for channel in round_robin {
            if !self.alignment.is_blocked(channel)
                && let Some(sent) = self.read_channel(channel)?
            {
                return Ok(Some(self.accept(channel, sent)));
            }
        }
        Ok(None)
    }

    fn accept(&mut self, channel: usize, sent: SentElement) -> (usize, StreamElement) {
        self.next_channel = channel + 1;
        let element = self.channels[channel].receiver.accept(sent);
        self.channels.iter().for_each(|channel| channel.receiver.request_held_records());
        (channel, element)
    }
}
