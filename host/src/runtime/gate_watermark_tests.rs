//! The gate's watermark: what it puts out was derived on paper from the rules of Flink's valve, and those rules are
//! written down once more as a model.

use proptest::prelude::*;

use super::super::element::{Barrier, BarrierKind};
use super::super::link::{LinkSender, link};
use super::*;
use crate::clock::ManualClock;
use crate::state::ImageFormat;

struct Subject {
    gate: Gate,
    senders: Vec<LinkSender>,
    signals: Arc<Signals>,
}

impl Subject {
    fn new(channels: usize) -> Subject {
        let (senders, receivers) = (0..channels).map(|_| link(100)).unzip();
        let signals = Arc::<Signals>::default();
        let clock = Arc::<ManualClock>::default();
        Subject { gate: Gate::new(receivers, CheckpointMode::ExactlyOnce, signals.clone(), clock), senders, signals }
    }

    fn send(&self, channel: usize, element: Element) {
        self.senders[channel].send(element, &self.signals, 0).unwrap();
    }

    fn out(&mut self) -> Vec<String> {
        let next = || match self.gate.next(Duration::ZERO).unwrap() {
            Arrival::Watermark(i64::MAX) => Some("end".into()),
            Arrival::Watermark(watermark) => Some(watermark.to_string()),
            Arrival::Status { idle } => Some(if idle { "idle" } else { "active" }.into()),
            Arrival::Barrier { .. } => Some("barrier".into()),
            Arrival::Batch(_, batch) => Some(format!("record {}", batch.timestamps[0])),
            _ => None,
        };
        std::iter::from_fn(next).collect()
    }

    fn watermark(&mut self, channel: usize, watermark: i64) -> Vec<String> {
        self.send(channel, Element::Watermark(watermark));
        self.out()
    }

    fn status(&mut self, channel: usize, idle: bool) -> Vec<String> {
        self.send(channel, Element::Status { idle });
        self.out()
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_idle_channel_holds_nobody_up() {
    let mut subject = Subject::new(3);
    assert_eq!(subject.watermark(0, 10), NOTHING);
    assert_eq!(subject.watermark(1, 7), NOTHING);
    assert_eq!(subject.status(2, true), ["7"], "the one that never said anything");
    assert_eq!(subject.watermark(1, 12), ["10"]);
    assert_eq!(subject.status(0, true), ["12"], "the slowest one");
    assert_eq!(subject.watermark(1, 15), ["15"], "who is alone left speaks for all");
}

#[test]
fn with_all_idle_the_largest_goes_out_where_the_last_one_held_it_back() {
    let mut subject = Subject::new(2);
    subject.watermark(0, 20);
    assert_eq!(subject.watermark(1, 10), ["10"]);
    assert_eq!(subject.status(0, true), NOTHING);
    assert_eq!(subject.status(1, true), ["20", "idle"]);
    assert_eq!(subject.status(0, false), ["active"]);
    assert_eq!(subject.status(1, false), NOTHING, "it is active already");

    // Nobody has ever said anything.
    let mut subject = Subject::new(2);
    assert_eq!([subject.status(1, true), subject.status(0, true)].concat(), ["idle"]);

    // The last one, at 5, held nobody back: it had not caught up. So what the first said in vain, 30, stays unsaid.
    let mut subject = Subject::new(3);
    for (channel, watermark) in [(0, 30), (1, 10), (2, 5)] {
        subject.watermark(channel, watermark);
    }
    assert_eq!(subject.status(2, true), ["10"]);
    subject.status(2, false);
    subject.status(0, true);
    assert_eq!(subject.status(1, true), NOTHING);
    assert_eq!(subject.status(2, true), ["idle"]);
}

#[test]
fn a_channel_that_returns_behind_neither_holds_back_nor_takes_back() {
    let mut subject = Subject::new(2);
    subject.watermark(0, 10);
    subject.watermark(1, 4);
    assert_eq!(subject.status(1, true), ["10"]);
    assert_eq!(subject.status(1, false), NOTHING);
    assert_eq!(subject.watermark(1, 5), NOTHING);
    assert_eq!(subject.watermark(0, 40), ["40"], "it does not count, at 5");
    assert_eq!(subject.watermark(1, 39), NOTHING);
    assert_eq!(subject.watermark(0, 50), ["50"]);
    assert_eq!(subject.watermark(1, 50), NOTHING, "now it counts");
    assert_eq!(subject.watermark(0, 60), NOTHING);
    assert_eq!(subject.watermark(1, 55), ["55"]);

    // Ahead it counts at once.
    subject.status(1, true);
    assert_eq!(subject.watermark(0, 70), ["70"]);
    subject.send(1, Element::Status { idle: false });
    assert_eq!(subject.watermark(1, 75), NOTHING);
    assert_eq!(subject.watermark(0, 80), ["75"]);
}

#[test]
fn a_record_of_a_channel_that_returns_comes_behind_its_return() {
    let mut subject = Subject::new(1);
    assert_eq!(subject.status(0, true), ["idle"]);
    subject.send(0, Element::Status { idle: false });
    let mut batch = Batch::default();
    batch.push(b"x", 3);
    subject.send(0, Element::Batch(InputRole::First, batch));
    assert_eq!(subject.watermark(0, 2), ["active", "record 3", "2"]);
}

#[test]
fn an_ended_channel_holds_nobody_up() {
    let mut subject = Subject::new(2);
    assert_eq!(subject.watermark(0, i64::MAX), NOTHING);
    assert_eq!(subject.watermark(1, 10), ["10"]);
    assert_eq!(subject.watermark(1, 20), ["20"]);
    assert_eq!(subject.watermark(1, i64::MAX), ["end"]);

    // As in Flink, those that have ended are active: they speak for those that are idle.
    let mut subject = Subject::new(2);
    subject.watermark(0, 5);
    assert_eq!(subject.status(1, true), ["5"]);
    assert_eq!(subject.watermark(0, i64::MAX), ["end"]);
}

#[test]
fn what_is_said_behind_a_barrier_counts_behind_it() {
    let barrier =
        Barrier { checkpoint: 1, kind: BarrierKind::Checkpoint, format: ImageFormat::Canonical, triggered_ns: 0 };
    let mut subject = Subject::new(2);
    subject.send(0, Element::Barrier(barrier));
    subject.send(0, Element::Status { idle: true });
    assert_eq!(subject.watermark(1, 10), NOTHING);
    subject.send(1, Element::Barrier(barrier));
    assert_eq!(subject.out(), ["barrier", "10"]);
}

#[test]
fn after_a_restore_all_channels_are_active() {
    let mut in_flight = InFlight::default();
    in_flight.push(0, &Element::Status { idle: true });
    in_flight.push(1, &Element::Status { idle: true });
    let mut subject = Subject::new(2);
    subject.gate.restore(in_flight);
    assert_eq!(subject.out(), NOTHING);
    assert_eq!(subject.watermark(0, 10), NOTHING, "the other one may still say less");
}

/// `StatusWatermarkValve`, step by step as Flink's documentation of it says, with a mark for each channel that is aligned.
struct Valve {
    /// Of each channel: its watermark, whether it is active, whether it is aligned.
    channels: Vec<(i64, bool, bool)>,
    last: i64,
    active: bool,
    out: Vec<String>,
}

impl Valve {
    fn output(&mut self, watermark: Option<i64>) {
        if let Some(watermark) = watermark.filter(|watermark| *watermark > self.last) {
            self.last = watermark;
            self.out.push(watermark.to_string());
        }
    }

    fn smallest_of_aligned(&mut self) {
        let aligned = self.channels.iter().filter(|channel| channel.2);
        let smallest = aligned.map(|channel| channel.0).min();
        self.output(smallest);
    }

    fn watermark(&mut self, at: usize, watermark: i64) {
        if self.channels[at].1 && watermark > self.channels[at].0 {
            self.channels[at].0 = watermark;
            self.channels[at].2 |= watermark >= self.last;
            self.smallest_of_aligned();
        }
    }

    fn status(&mut self, at: usize, active: bool) {
        if active == self.channels[at].1 {
            return;
        }
        let watermark = self.channels[at].0;
        self.channels[at] = (watermark, active, active && watermark >= self.last);
        if active {
            if !self.active {
                self.active = true;
                self.out.push("active".into());
            }
        } else if self.channels.iter().all(|channel| !channel.1) {
            if watermark == self.last {
                let largest = self.channels.iter().map(|channel| channel.0).max();
                self.output(largest);
            }
            self.active = false;
            self.out.push("idle".into());
        } else if watermark == self.last {
            self.smallest_of_aligned();
        }
    }
}

proptest! {
    #[test]
    fn it_does_what_the_valve_does(steps in prop::collection::vec((0usize..3, 0i64..4), 1..200)) {
        let mut subject = Subject::new(3);
        let mut valve =
            Valve { channels: vec![(NO_TIMESTAMP, true, true); 3], last: NO_TIMESTAMP, active: true, out: Vec::new() };
        let mut said = [0; 3];
        let mut idle = [false; 3];
        for (channel, step) in steps {
            // As subtasks do: a watermark follows only while active, and grows.
            let seen = if step == 0 {
                idle[channel] = !idle[channel];
                valve.status(channel, !idle[channel]);
                subject.status(channel, idle[channel])
            } else if idle[channel] {
                Vec::new()
            } else {
                said[channel] += step;
                valve.watermark(channel, said[channel]);
                subject.watermark(channel, said[channel])
            };
            prop_assert_eq!(seen, std::mem::take(&mut valve.out));
        }
    }
}
