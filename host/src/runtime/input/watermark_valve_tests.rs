//! The watermarks of the input gate. The expected values were derived by hand from the rules of Flink's watermark valve; a model
//! of these rules checks random inputs.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::in_flight_data::InFlightData;
use super::input_gate::{InputEvent, InputGate};
use crate::clock::ManualClock;
use crate::model::{Batch, NO_TIMESTAMP};
use crate::pipeline::{CheckpointMode, InputRole};
use crate::runtime::attempt_signals::AttemptSignals;
use crate::runtime::channel::ChannelSender;
use crate::runtime::stream_element::StreamElement;
use crate::runtime::testing::{checkpoint_barrier, unwatched_channel};

struct ValveHarness {
    gate: InputGate,
    senders: Vec<ChannelSender>,
    signals: Arc<AttemptSignals>,
}

impl ValveHarness {
    fn new(channels: usize) -> ValveHarness {
        let (senders, receivers) = (0..channels).map(|_| unwatched_channel(100)).unzip();
        let signals = Arc::<AttemptSignals>::default();
        let clock = Arc::<ManualClock>::default();
        ValveHarness {
            gate: InputGate::new(receivers, Arc::default(), CheckpointMode::ExactlyOnce, signals.clone(), clock),
            senders,
            signals,
        }
    }

    fn send(&self, channel: usize, element: StreamElement) {
        self.senders[channel].send(element, &self.signals, 0).unwrap();
    }

    fn out(&mut self) -> Vec<String> {
        let next = || match self.gate.next(Duration::ZERO).unwrap() {
            InputEvent::Watermark(i64::MAX) => Some("end".into()),
            InputEvent::Watermark(watermark) => Some(watermark.to_string()),
            InputEvent::Idleness { idle } => Some(if idle { "idle" } else { "active" }.into()),
            InputEvent::AlignedBarrier { .. } => Some("barrier".into()),
            InputEvent::Batch(_, batch) => Some(format!("record {}", batch.timestamps[0])),
            _ => None,
        };
        std::iter::from_fn(next).collect()
    }

    fn watermark(&mut self, channel: usize, watermark: i64) -> Vec<String> {
        self.send(channel, StreamElement::Watermark(watermark));
        self.out()
    }

    fn status(&mut self, channel: usize, idle: bool) -> Vec<String> {
        self.send(channel, StreamElement::Idleness { idle });
        self.out()
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_idle_channel_does_not_hold_up_the_others() {
    let mut harness = ValveHarness::new(3);
    assert_eq!(harness.watermark(0, 10), NOTHING);
    assert_eq!(harness.watermark(1, 7), NOTHING);
    assert_eq!(harness.status(2, true), ["7"], "the channel without a watermark became idle");
    assert_eq!(harness.watermark(1, 12), ["10"]);
    assert_eq!(harness.status(0, true), ["12"], "the slowest channel became idle");
    assert_eq!(harness.watermark(1, 15), ["15"], "the only active channel decides");
}

#[test]
fn when_all_channels_are_idle_the_largest_watermark_counts_if_the_last_one_held_it_back() {
    let mut harness = ValveHarness::new(2);
    harness.watermark(0, 20);
    assert_eq!(harness.watermark(1, 10), ["10"]);
    assert_eq!(harness.status(0, true), NOTHING);
    assert_eq!(harness.status(1, true), ["20", "idle"]);
    assert_eq!(harness.status(0, false), ["active"]);
    assert_eq!(harness.status(1, false), NOTHING, "the gate is active already");

    // No channel has sent a watermark.
    let mut harness = ValveHarness::new(2);
    assert_eq!([harness.status(1, true), harness.status(0, true)].concat(), ["idle"]);

    // The last channel, at 5, had not caught up and so held back no other. The watermark 30 of the first one is not sent.
    let mut harness = ValveHarness::new(3);
    for (channel, watermark) in [(0, 30), (1, 10), (2, 5)] {
        harness.watermark(channel, watermark);
    }
    assert_eq!(harness.status(2, true), ["10"]);
    harness.status(2, false);
    harness.status(0, true);
    assert_eq!(harness.status(1, true), NOTHING);
    assert_eq!(harness.status(2, true), ["idle"]);
}

#[test]
fn a_channel_that_returns_behind_the_others_neither_holds_them_up_nor_turns_time_back() {
    let mut harness = ValveHarness::new(2);
    harness.watermark(0, 10);
    harness.watermark(1, 4);
    assert_eq!(harness.status(1, true), ["10"]);
    assert_eq!(harness.status(1, false), NOTHING);
    assert_eq!(harness.watermark(1, 5), NOTHING);
    assert_eq!(harness.watermark(0, 40), ["40"], "the channel at 5 does not count");
    assert_eq!(harness.watermark(1, 39), NOTHING);
    assert_eq!(harness.watermark(0, 50), ["50"]);
    assert_eq!(harness.watermark(1, 50), NOTHING, "the channel has caught up and counts");
    assert_eq!(harness.watermark(0, 60), NOTHING);
    assert_eq!(harness.watermark(1, 55), ["55"]);

    // A channel that returns ahead of the others counts at once.
    harness.status(1, true);
    assert_eq!(harness.watermark(0, 70), ["70"]);
    harness.send(1, StreamElement::Idleness { idle: false });
    assert_eq!(harness.watermark(1, 75), NOTHING);
    assert_eq!(harness.watermark(0, 80), ["75"]);
}

#[test]
fn a_channel_is_active_again_before_its_record() {
    let mut harness = ValveHarness::new(1);
    assert_eq!(harness.status(0, true), ["idle"]);
    harness.send(0, StreamElement::Idleness { idle: false });
    let mut batch = Batch::default();
    batch.push(b"x", 3);
    harness.send(0, StreamElement::Batch(InputRole::First, batch));
    assert_eq!(harness.watermark(0, 2), ["active", "record 3", "2"]);
}

#[test]
fn an_ended_channel_does_not_hold_up_the_others() {
    let mut harness = ValveHarness::new(2);
    assert_eq!(harness.watermark(0, i64::MAX), NOTHING);
    assert_eq!(harness.watermark(1, 10), ["10"]);
    assert_eq!(harness.watermark(1, 20), ["20"]);
    assert_eq!(harness.watermark(1, i64::MAX), ["end"]);
    assert_eq!(harness.watermark(1, i64::MAX), NOTHING);

    // The slowest channel ends.
    let mut harness = ValveHarness::new(2);
    harness.watermark(0, 5);
    harness.watermark(1, 8);
    assert_eq!(harness.watermark(0, i64::MAX), ["8"]);
}

/// Example: a file that ends beside a socket that is quiet. Later records of the socket are not late.
#[test]
fn an_ended_channel_does_not_end_event_time_while_an_idle_one_may_return() {
    for ends_first in [true, false] {
        let mut harness = ValveHarness::new(2);
        assert_eq!(harness.watermark(0, 5), NOTHING);
        let seen = match ends_first {
            true => [harness.watermark(0, i64::MAX), harness.status(1, true)],
            false => [harness.status(1, true), harness.watermark(0, i64::MAX)],
        };
        assert_eq!(seen.concat(), ["5", "idle"], "ends first: {ends_first}");
        assert_eq!(harness.status(1, false), ["active"]);
        assert_eq!(harness.watermark(1, 3), NOTHING, "the channel has not caught up");
        assert_eq!(harness.watermark(1, 7), ["7"]);
        assert_eq!(harness.status(1, true), ["idle"]);
        assert_eq!(harness.watermark(1, i64::MAX), ["end", "active"], "an end counts even if the channel is idle");
    }

    // A channel that returned behind the others may still advance.
    let mut harness = ValveHarness::new(3);
    harness.watermark(0, 20);
    harness.status(1, true);
    assert_eq!(harness.status(2, true), ["20"]);
    harness.status(2, false);
    assert_eq!(harness.watermark(2, 10), NOTHING);
    assert_eq!(harness.watermark(0, i64::MAX), NOTHING);
    assert_eq!(harness.watermark(2, 21), ["21"]);
    assert_eq!(harness.watermark(2, i64::MAX), ["idle"], "the other channel is idle");
    assert_eq!(harness.watermark(1, i64::MAX), ["end", "active"]);
}

#[test]
fn a_watermark_that_goes_back_is_ignored() {
    let mut harness = ValveHarness::new(2);
    harness.watermark(0, 10);
    assert_eq!(harness.watermark(0, 5), NOTHING);
    assert_eq!(harness.watermark(1, 20), ["10"], "the larger watermark stays");
    assert_eq!(harness.watermark(0, i64::MAX), ["20"]);
    assert_eq!(harness.watermark(0, 30), NOTHING, "an end stays too");
    assert_eq!(harness.watermark(1, 40), ["40"]);
}

#[test]
fn idleness_after_a_barrier_counts_after_it() {
    let barrier = checkpoint_barrier(1);
    let mut harness = ValveHarness::new(2);
    harness.send(0, StreamElement::Barrier(barrier));
    harness.send(0, StreamElement::Idleness { idle: true });
    assert_eq!(harness.watermark(1, 10), NOTHING);
    harness.send(1, StreamElement::Barrier(barrier));
    assert_eq!(harness.out(), ["barrier", "10"]);
}

#[test]
fn after_a_restore_all_channels_are_active() {
    let mut in_flight = InFlightData::default();
    in_flight.push(0, &StreamElement::Idleness { idle: true });
    in_flight.push(1, &StreamElement::Idleness { idle: true });
    let mut harness = ValveHarness::new(2);
    harness.gate.restore(in_flight);
    assert_eq!(harness.out(), NOTHING);
    assert_eq!(harness.watermark(0, 10), NOTHING, "the other channel may still send a smaller watermark");
}

/// A model of Flink's `StatusWatermarkValve`, written from its documentation. It differs in one point: a channel that has ended
/// counts as idle until all have ended. Flink keeps it active at the end of time, so that it decides for idle channels
/// (FLINK-38477).
struct ValveModel {
    channels: Vec<ModelChannel>,
    last: i64,
    active: bool,
    out: Vec<String>,
}

#[derive(Clone)]
struct ModelChannel {
    watermark: i64,
    active: bool,
    aligned: bool,
    ended: bool,
}

impl ValveModel {
    fn new(channels: usize) -> ValveModel {
        let channel = ModelChannel { watermark: NO_TIMESTAMP, active: true, aligned: true, ended: false };
        ValveModel { channels: vec![channel; channels], last: NO_TIMESTAMP, active: true, out: Vec::new() }
    }

    fn output(&mut self, watermark: Option<i64>) {
        if let Some(watermark) = watermark.filter(|watermark| *watermark > self.last) {
            self.last = watermark;
            self.out.push(if watermark == i64::MAX { "end".into() } else { watermark.to_string() });
        }
    }

    fn smallest_of_aligned(&mut self) {
        let aligned = self.channels.iter().filter(|channel| channel.aligned);
        let smallest = aligned.map(|channel| channel.watermark).min();
        self.output(smallest);
    }

    fn watermark(&mut self, at: usize, watermark: i64) {
        let channel = &mut self.channels[at];
        if channel.active && watermark > channel.watermark {
            channel.watermark = watermark;
            channel.aligned |= watermark >= self.last;
            self.smallest_of_aligned();
        }
    }

    fn end(&mut self, at: usize) {
        self.channels[at].ended = true;
        if self.channels.iter().all(|channel| channel.ended) {
            self.output(Some(i64::MAX));
            if !self.active {
                self.out.push("active".into());
            }
        } else {
            self.status(at, false);
        }
    }

    fn status(&mut self, at: usize, active: bool) {
        let channel = &mut self.channels[at];
        if active == channel.active {
            return;
        }
        let watermark = channel.watermark;
        (channel.active, channel.aligned) = (active, active && watermark >= self.last);
        if active {
            if !self.active {
                self.active = true;
                self.out.push("active".into());
            }
        } else if self.channels.iter().all(|channel| !channel.active) {
            if watermark == self.last {
                let largest = self.channels.iter().map(|channel| channel.watermark).max();
                self.output(largest);
            }
            self.active = false;
            self.out.push("idle".into());
        } else if watermark == self.last {
            self.smallest_of_aligned();
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum ValveStep {
    /// The difference from the previous watermark.
    Watermark(i64),
    BecomeIdleOrActive,
    End,
}

fn valve_step() -> impl Strategy<Value = ValveStep> {
    prop_oneof![12 => (-2i64..4).prop_map(ValveStep::Watermark), 4 => Just(ValveStep::BecomeIdleOrActive), 1 => Just(ValveStep::End)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn the_gate_agrees_with_the_model_of_the_valve(steps in prop::collection::vec((0usize..3, valve_step()), 1..100)) {
        let mut harness = ValveHarness::new(3);
        let mut valve = ValveModel::new(3);
        let mut reached = [0; 3];
        let mut idle = [false; 3];
        let mut ended = [false; 3];
        for (channel, step) in steps {
            // Like a subtask: a watermark is sent only while active, and nothing is sent after the end.
            let seen = match step {
                _ if ended[channel] => Vec::new(),
                ValveStep::BecomeIdleOrActive => {
                    idle[channel] = !idle[channel];
                    valve.status(channel, !idle[channel]);
                    harness.status(channel, idle[channel])
                }
                ValveStep::End => {
                    ended[channel] = true;
                    valve.end(channel);
                    harness.watermark(channel, i64::MAX)
                }
                ValveStep::Watermark(_) if idle[channel] => Vec::new(),
                ValveStep::Watermark(more) => {
                    valve.watermark(channel, reached[channel] + more);
                    let seen = harness.watermark(channel, reached[channel] + more);
                    reached[channel] = reached[channel].max(reached[channel] + more);
                    seen
                }
            };
            prop_assert_eq!(seen, std::mem::take(&mut valve.out));
        }
    }
}
