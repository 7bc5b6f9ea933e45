//! Records the elements that an unaligned barrier overtakes, until every channel has delivered the barrier.

use crate::runtime::input::in_flight_data::InFlightData;
use crate::runtime::stream_element::StreamElement;

/// The recording of one checkpoint.
pub(super) struct InFlightRecording {
    pub(super) checkpoint: u64,
    /// For each channel whether it has delivered the barrier.
    delivered: Vec<bool>,
    pub(super) in_flight: InFlightData,
}

impl InFlightRecording {
    /// Starts a recording. `delivered` says which channels have delivered the barrier already.
    pub(super) fn new(checkpoint: u64, delivered: Vec<bool>) -> InFlightRecording {
        InFlightRecording { checkpoint, delivered, in_flight: InFlightData::default() }
    }

    /// Records a copy of an element that a channel has delivered. The barrier of the checkpoint, or of a later one, ends the
    /// recording of the channel.
    pub(super) fn record(&mut self, channel: usize, element: &StreamElement) {
        if self.delivered[channel] {
            return;
        }
        match element {
            StreamElement::Barrier(barrier) => self.delivered[channel] = barrier.checkpoint >= self.checkpoint,
            element => self.in_flight.push(channel, element),
        }
    }

    /// Returns whether a channel has yet to deliver the barrier.
    pub(super) fn is_waiting_for(&self, channel: usize) -> bool {
        !self.delivered[channel]
    }

    /// Returns whether every channel has delivered the barrier.
    pub(super) fn is_complete(&self) -> bool {
        self.delivered.iter().all(|delivered| *delivered)
    }
}
