//! The channels of one edge, one for each receiving subtask.

use std::sync::Arc;

use crate::runtime::attempt_signals::{AttemptSignals, SubtaskCancelled};
use crate::runtime::barrier::Barrier;
use crate::runtime::channel::ChannelSender;
use crate::runtime::stream_element::StreamElement;

/// The channels of one edge.
pub(super) struct OutputChannels {
    senders: Vec<ChannelSender>,
    signals: Arc<AttemptSignals>,
    /// Checkpoint of the newest barrier that was sent.
    last_passed: u64,
}

impl OutputChannels {
    pub(super) fn new(senders: Vec<ChannelSender>, signals: Arc<AttemptSignals>) -> OutputChannels {
        OutputChannels { senders, signals, last_passed: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.senders.len()
    }

    /// Sends an element to one receiver. Waits while the channel is full.
    pub(super) fn send(&self, receiver: usize, element: StreamElement) -> Result<(), SubtaskCancelled> {
        self.senders[receiver].send(element, &self.signals, self.last_passed)
    }

    /// Returns whether a receiver has nothing to do. If not, it wakes this subtask when it has caught up.
    pub(super) fn is_receiver_free(&self, receiver: usize) -> bool {
        self.senders[receiver].is_receiver_free()
    }

    /// Sends an element to every receiver.
    pub(super) fn send_to_all(&self, element: impl Fn() -> StreamElement) -> Result<(), SubtaskCancelled> {
        (0..self.senders.len()).try_for_each(|receiver| self.send(receiver, element()))
    }

    /// Sends a barrier to every receiver.
    pub(super) fn send_barrier(&mut self, barrier: Barrier) -> Result<(), SubtaskCancelled> {
        self.send_to_all(|| StreamElement::Barrier(barrier))?;
        self.last_passed = barrier.checkpoint;
        Ok(())
    }
}
