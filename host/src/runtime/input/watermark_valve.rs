//! Combines the watermarks and the idleness of the input channels of a subtask, as Flink's `StatusWatermarkValve` does.
//!
//! The combined watermark is the smallest one of the channels that count. A channel counts if it is active and has caught up
//! with the combined watermark. A channel that was idle and returns behind the others therefore neither holds them up nor
//! turns event time back. A channel that has ended does not count either. The combined watermark is at its end when all
//! channels have ended, and not while an idle channel may return.

use crate::model::NO_TIMESTAMP;

/// Event time of one channel.
#[derive(Clone)]
struct ChannelWatermark {
    /// The largest watermark received, except the one at the end of event time.
    watermark: i64,
    idle: bool,
    /// Whether the channel has reached the end of event time.
    ended: bool,
}

/// The event time of all channels, and the watermark combined from it.
pub(super) struct WatermarkValve {
    channels: Vec<ChannelWatermark>,
    /// The combined watermark.
    watermark: i64,
}

impl WatermarkValve {
    /// Creates a valve for `channels` active channels without a watermark.
    pub(super) fn new(channels: usize) -> WatermarkValve {
        let channel = ChannelWatermark { watermark: NO_TIMESTAMP, idle: false, ended: false };
        WatermarkValve { channels: vec![channel; channels], watermark: NO_TIMESTAMP }
    }

    /// Takes a watermark from a channel. Returns the combined watermark if it advances. A watermark that goes back is ignored.
    pub(super) fn take_watermark(&mut self, channel: usize, watermark: i64) -> Option<i64> {
        let own = &mut self.channels[channel];
        let held_up_others = !own.idle && own.watermark == self.watermark;
        let may_advance = if watermark == i64::MAX {
            let is_first_end = !std::mem::replace(&mut own.ended, true);
            is_first_end && (held_up_others || self.has_ended())
        } else {
            let previous = own.watermark;
            own.watermark = previous.max(watermark);
            previous < watermark
        };
        if may_advance { self.combine() } else { None }
    }

    /// Takes the idleness of a channel. Returns the combined watermark if it advances.
    pub(super) fn take_idleness(&mut self, channel: usize, idle: bool) -> Option<i64> {
        let own = &mut self.channels[channel];
        let held_up_others = idle && !own.ended && own.watermark == self.watermark;
        own.idle = idle;
        if held_up_others { self.combine() } else { None }
    }

    /// Returns whether all channels are idle or have ended, and at least one may still return.
    pub(super) fn is_idle(&self) -> bool {
        !self.has_ended() && self.channels.iter().all(|channel| channel.idle || channel.ended)
    }

    fn has_ended(&self) -> bool {
        self.channels.iter().all(|channel| channel.ended)
    }

    /// Recomputes the combined watermark. Returns it if it advances. When all channels are idle, the largest watermark counts,
    /// because no channel holds it back any more.
    fn combine(&mut self) -> Option<i64> {
        let channels = self.channels.iter();
        let combined = if self.has_ended() {
            Some(i64::MAX)
        } else if self.is_idle() {
            channels.map(|channel| channel.watermark).max()
        } else {
            let counts =
                |channel: &&ChannelWatermark| !channel.idle && !channel.ended && channel.watermark >= self.watermark;
            channels.filter(counts).map(|channel| channel.watermark).min()
        };
        let advanced = combined.filter(|combined| *combined > self.watermark);
        self.watermark = advanced.unwrap_or(self.watermark);
        advanced
    }
}
