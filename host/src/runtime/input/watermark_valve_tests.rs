//! The gate's watermark: what it puts out was derived on paper from the rules of Flink's valve, and those rules are
//! written down once more as a model.

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::runtime::channel::{LinkSender, link};
use crate::runtime::stream_element::{Barrier, BarrierKind};
use crate::state::SnapshotFormat;

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
    assert_eq!(subject.watermark(1, i64::MAX), NOTHING);

    // The slowest one ends.
    let mut subject = Subject::new(2);
    subject.watermark(0, 5);
    subject.watermark(1, 8);
    assert_eq!(subject.watermark(0, i64::MAX), ["8"]);
}

/// Ten rows of history that end, beside a socket that is quiet: what the socket brings is not late.
#[test]
fn an_ended_channel_does_not_end_event_time_while_an_idle_one_may_return() {
    for ends_first in [true, false] {
        let mut subject = Subject::new(2);
        assert_eq!(subject.watermark(0, 5), NOTHING);
        let seen = match ends_first {
            true => [subject.watermark(0, i64::MAX), subject.status(1, true)],
            false => [subject.status(1, true), subject.watermark(0, i64::MAX)],
        };
        assert_eq!(seen.concat(), ["5", "idle"], "ends first: {ends_first}");
        assert_eq!(subject.status(1, false), ["active"]);
        assert_eq!(subject.watermark(1, 3), NOTHING, "it has not caught up with what was put out");
        assert_eq!(subject.watermark(1, 7), ["7"]);
        assert_eq!(subject.status(1, true), ["idle"]);
        assert_eq!(subject.watermark(1, i64::MAX), ["end", "active"], "an end counts, idle or not");
    }

    // One that is back and behind may go on.
    let mut subject = Subject::new(3);
    subject.watermark(0, 20);
    subject.status(1, true);
    assert_eq!(subject.status(2, true), ["20"]);
    subject.status(2, false);
    assert_eq!(subject.watermark(2, 10), NOTHING);
    assert_eq!(subject.watermark(0, i64::MAX), NOTHING);
    assert_eq!(subject.watermark(2, 21), ["21"]);
    assert_eq!(subject.watermark(2, i64::MAX), ["idle"], "the other one is");
    assert_eq!(subject.watermark(1, i64::MAX), ["end", "active"]);
}

#[test]
fn a_watermark_that_goes_back_says_nothing() {
    let mut subject = Subject::new(2);
    subject.watermark(0, 10);
    assert_eq!(subject.watermark(0, 5), NOTHING);
    assert_eq!(subject.watermark(1, 20), ["10"], "what was said stands");
    assert_eq!(subject.watermark(0, i64::MAX), ["20"]);
    assert_eq!(subject.watermark(0, 30), NOTHING, "so does an end");
    assert_eq!(subject.watermark(1, 40), ["40"]);
}

#[test]
fn what_is_said_behind_a_barrier_counts_behind_it() {
    let barrier =
        Barrier { checkpoint: 1, kind: BarrierKind::Checkpoint, format: SnapshotFormat::Canonical, triggered_ns: 0 };
    let mut subject = Subject::new(2);
    subject.send(0, Element::Barrier(barrier));
    subject.send(0, Element::Status { idle: true });
    assert_eq!(subject.watermark(1, 10), NOTHING);
    subject.send(1, Element::Barrier(barrier));
    assert_eq!(subject.out(), ["barrier", "10"]);
}

#[test]
fn after_a_restore_all_channels_are_active() {
    let mut in_flight = InFlightData::default();
    in_flight.push(0, &Element::Status { idle: true });
    in_flight.push(1, &Element::Status { idle: true });
    let mut subject = Subject::new(2);
    subject.gate.restore(in_flight);
    assert_eq!(subject.out(), NOTHING);
    assert_eq!(subject.watermark(0, 10), NOTHING, "the other one may still say less");
}

/// `StatusWatermarkValve`, step by step as Flink's documentation of it says, with a mark for each channel that is aligned. It
/// differs in one thing: a channel that has ended counts as one that is idle, until all have. Flink keeps it active at the end of time,
/// so that it speaks for those that are idle (FLINK-38477).
struct Valve {
    channels: Vec<ValveChannel>,
    last: i64,
    active: bool,
    out: Vec<String>,
}

#[derive(Clone)]
struct ValveChannel {
    watermark: i64,
    active: bool,
    aligned: bool,
    ended: bool,
}

impl Valve {
    fn new(channels: usize) -> Valve {
        let channel = ValveChannel { watermark: NO_TIMESTAMP, active: true, aligned: true, ended: false };
        Valve { channels: vec![channel; channels], last: NO_TIMESTAMP, active: true, out: Vec::new() }
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
enum Said {
    /// So much more, or less, than the last one.
    Watermark(i64),
    Idles,
    Ends,
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![12 => (-2i64..4).prop_map(Said::Watermark), 4 => Just(Said::Idles), 1 => Just(Said::Ends)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn it_does_what_the_valve_does(steps in prop::collection::vec((0usize..3, said()), 1..100)) {
        let mut subject = Subject::new(3);
        let mut valve = Valve::new(3);
        let mut reached = [0; 3];
        let mut idle = [false; 3];
        let mut ended = [false; 3];
        for (channel, step) in steps {
            // As subtasks do: a watermark follows only while active, and nothing follows the end.
            let seen = match step {
                _ if ended[channel] => Vec::new(),
                Said::Idles => {
                    idle[channel] = !idle[channel];
                    valve.status(channel, !idle[channel]);
                    subject.status(channel, idle[channel])
                }
                Said::Ends => {
                    ended[channel] = true;
                    valve.end(channel);
                    subject.watermark(channel, i64::MAX)
                }
                Said::Watermark(_) if idle[channel] => Vec::new(),
                Said::Watermark(more) => {
                    valve.watermark(channel, reached[channel] + more);
                    let seen = subject.watermark(channel, reached[channel] + more);
                    reached[channel] = reached[channel].max(reached[channel] + more);
                    seen
                }
            };
            prop_assert_eq!(seen, std::mem::take(&mut valve.out));
        }
    }
}
