//! The gate against every way in which barriers come: aligned, not waiting, overtaking, several, abandoned.

use super::*;
use crate::clock::ManualClock;
use crate::runtime::channel::{LinkSender, link};
use crate::state::SnapshotFormat;

/// A gate of two channels, and the senders to it.
struct Subject {
    gate: Gate,
    senders: Vec<LinkSender>,
    signals: Arc<Signals>,
    clock: Arc<ManualClock>,
    /// What the last barrier that overtook has recorded.
    recorded: Option<InFlightData>,
}

fn barrier_of(checkpoint: u64, kind: BarrierKind) -> Barrier {
    Barrier { checkpoint, kind, format: SnapshotFormat::Canonical, triggered_ns: 0 }
}

fn barrier(checkpoint: u64) -> Barrier {
    barrier_of(checkpoint, BarrierKind::Checkpoint)
}

fn batch(timestamp: i64) -> Element {
    let mut batch = Batch::default();
    batch.push(b"x", timestamp);
    Element::Batch(InputRole::First, batch)
}

fn second(timestamp: i64) -> Element {
    match batch(timestamp) {
        Element::Batch(_, batch) => Element::Batch(InputRole::Second, batch),
        other => other,
    }
}

impl Subject {
    fn new(mode: CheckpointMode) -> Subject {
        let (senders, receivers) = [(); 2].map(|()| link(4)).into_iter().unzip();
        let (signals, clock) = (Arc::<Signals>::default(), Arc::<ManualClock>::default());
        let gate = Gate::new(receivers, mode, signals.clone(), clock.clone());
        Subject { gate, senders, signals, clock, recorded: None }
    }

    fn send(&self, channel: usize, element: Element) {
        self.senders[channel].send(element, &self.signals, 0).unwrap();
    }

    fn barrier(&self, channel: usize, barrier: Barrier) {
        self.send(channel, Element::Barrier(barrier));
    }

    fn arrival(&mut self) -> Option<String> {
        Some(match self.gate.next(Duration::ZERO).unwrap() {
            Arrival::Batch(InputRole::First, batch) => format!("batch {}", batch.timestamps[0]),
            Arrival::Batch(role, batch) => format!("{role:?} {}", batch.timestamps[0]),
            Arrival::Watermark(watermark) => format!("watermark {watermark}"),
            Arrival::Status { idle } => if idle { "idle" } else { "active" }.into(),
            Arrival::Barrier { barrier, .. } => format!("barrier {}", barrier.checkpoint),
            Arrival::Overtaking { barrier, .. } => format!("overtaking {}", barrier.checkpoint),
            Arrival::InFlight { checkpoint, in_flight } => {
                self.recorded = Some(in_flight);
                format!("in flight {checkpoint}")
            }
            Arrival::Rejected(_) => "rejected".into(),
            Arrival::Idle => return None,
        })
    }

    fn arrivals(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.arrival()).collect()
    }

    /// Each recorded element, with its channel.
    fn recorded(&mut self) -> Vec<String> {
        let name = |(channel, element)| match element {
            Element::Batch(_, batch) => format!("{channel}: {}", batch.timestamps[0]),
            element => format!("{channel}: {element:?}"),
        };
        self.recorded.take().map(|recorded| recorded.into_elements().map(name).collect()).unwrap_or_default()
    }
}

#[test]
fn records_behind_a_barrier_wait_until_every_channel_has_delivered_it() {
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    subject.barrier(0, barrier(1));
    subject.send(0, batch(2));
    subject.send(1, batch(1));
    assert_eq!(subject.arrivals(), ["batch 1"]);
    subject.clock.set_ms(7);
    subject.barrier(1, barrier(1));
    let Arrival::Barrier { since_ns, .. } = subject.gate.next(Duration::ZERO).unwrap() else { panic!("no barrier") };
    assert_eq!(since_ns, 0, "the alignment began with the first one");
    assert_eq!(subject.arrivals(), ["batch 2"]);
}

#[test]
fn with_at_least_once_nothing_waits_except_for_a_savepoint() {
    let mut subject = Subject::new(CheckpointMode::AtLeastOnce);
    subject.barrier(0, barrier(1));
    subject.send(0, batch(2));
    subject.barrier(0, barrier(2));
    subject.send(0, batch(3));
    subject.send(1, batch(1));
    assert_eq!(subject.arrivals().len(), 3, "all records, and no barrier");
    subject.barrier(1, barrier(1));
    assert_eq!(subject.arrivals(), ["barrier 1"]);
    subject.barrier(1, barrier(2));
    assert_eq!(subject.arrivals(), ["barrier 2"]);

    subject.barrier(0, barrier_of(3, BarrierKind::Savepoint));
    subject.send(0, batch(5));
    subject.send(1, batch(4));
    assert_eq!(subject.arrivals(), ["batch 4"]);
    subject.barrier(1, barrier_of(3, BarrierKind::Savepoint));
    assert_eq!(subject.arrivals(), ["barrier 3", "batch 5"]);
}

#[test]
fn several_barriers_come_one_after_the_other() {
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    for checkpoint in [1, 2, 3] {
        subject.barrier(0, barrier(checkpoint));
        subject.send(0, batch(checkpoint as i64));
    }
    assert_eq!(subject.arrivals(), [""; 0]);
    subject.barrier(1, barrier(1));
    subject.send(1, batch(10));
    subject.barrier(1, barrier(2));
    let mut seen = subject.arrivals();
    let third = seen.pop().unwrap();
    assert_eq!((seen[0].as_str(), third.as_str()), ("barrier 1", "batch 2"));
    assert_eq!(seen[3], "barrier 2", "{seen:?}");
    subject.barrier(1, barrier(3));
    assert_eq!(subject.arrivals(), ["barrier 3", "batch 3"]);
}

#[test]
fn an_abandoned_barrier_holds_nobody_up() {
    // The job says so.
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    subject.barrier(0, barrier(1));
    subject.send(0, batch(1));
    assert_eq!(subject.arrivals(), [""; 0]);
    subject.signals.abandon(1);
    assert_eq!(subject.arrivals(), ["batch 1"]);
    subject.barrier(1, barrier(1));
    subject.send(1, batch(2));
    assert_eq!(subject.arrivals(), ["batch 2"], "it does not begin again");
    for channel in [0, 1] {
        subject.barrier(channel, barrier(2));
    }
    assert_eq!(subject.arrivals(), ["barrier 2"]);

    // Or a sender shows it, by sending the next one without it; in whichever order the gate sees them.
    for (first, second) in [((0, 3), (1, 4)), ((1, 4), (0, 3))] {
        let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
        for (channel, checkpoint) in [first, second] {
            subject.barrier(channel, barrier(checkpoint));
            subject.send(channel, batch(checkpoint as i64));
            subject.arrivals();
        }
        subject.barrier(0, barrier(4));
        let seen = subject.arrivals();
        assert_eq!(seen, ["barrier 4", "batch 4"]);
    }
}

#[test]
fn an_overtaking_barrier_takes_what_waits_in_every_channel_with_it() {
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    for timestamp in [1, 2] {
        subject.send(0, batch(timestamp));
    }
    subject.send(1, batch(11));
    assert_eq!(subject.arrival().as_deref(), Some("batch 1"));
    subject.signals.overtake(barrier(1));
    assert_eq!(subject.arrival().as_deref(), Some("overtaking 1"), "before any other record");
    assert_eq!(subject.arrival().as_deref(), Some("batch 11"), "and the subtask goes on");
    subject.send(0, batch(3));
    subject.send(0, Element::Watermark(5));
    subject.barrier(0, barrier(1));
    subject.send(0, batch(4));
    let mut seen = subject.arrivals();
    seen.sort();
    assert_eq!(seen, ["batch 2", "batch 3", "batch 4"]);
    subject.send(1, batch(12));
    subject.barrier(1, barrier(1));
    subject.send(1, batch(13));
    assert_eq!(subject.arrival().as_deref(), Some("in flight 1"));
    assert_eq!(subject.arrivals(), ["batch 12", "batch 13"]);
    let mut recorded = subject.recorded();
    recorded.sort();
    assert_eq!(recorded, ["0: 2", "0: 3", "0: Watermark(5)", "1: 11", "1: 12"]);
}

#[test]
fn an_alignment_that_takes_too_long_becomes_an_overtaking() {
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    subject.barrier(0, barrier(1));
    subject.send(0, batch(2));
    assert_eq!(subject.arrivals(), [""; 0]);
    subject.send(1, batch(1));
    subject.signals.overtake(barrier(1));
    assert_eq!(subject.arrival().as_deref(), Some("overtaking 1"));
    let mut seen = subject.arrivals();
    seen.sort();
    assert_eq!(seen, ["batch 1", "batch 2"], "the blocked channel is read again");
    subject.barrier(1, barrier(1));
    assert_eq!(subject.arrivals(), ["in flight 1"]);
    assert_eq!(subject.recorded(), ["1: 1"]);
}

#[test]
fn what_was_overtaken_and_not_processed_is_part_of_the_next_checkpoint_too() {
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    for checkpoint in [1, 2] {
        let timestamp = checkpoint as i64;
        subject.signals.overtake(barrier(checkpoint));
        subject.send(0, batch(timestamp));
        subject.barrier(0, barrier(checkpoint));
        subject.barrier(1, barrier(checkpoint));
        assert_eq!(subject.arrival(), Some(format!("overtaking {checkpoint}")));
        assert_eq!(subject.arrival(), Some(format!("in flight {checkpoint}")));
    }
    assert_eq!(subject.recorded(), ["0: 1", "0: 2"]);
    // An aligned one comes behind all of it.
    for channel in [0, 1] {
        subject.barrier(channel, barrier_of(3, BarrierKind::Savepoint));
    }
    assert_eq!(subject.arrivals(), ["batch 1", "batch 2", "barrier 3"]);
}

#[test]
fn an_overtaking_barrier_may_be_abandoned() {
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    subject.send(0, batch(1));
    subject.signals.overtake(barrier(1));
    assert_eq!(subject.arrivals(), ["overtaking 1", "batch 1"]);
    subject.signals.abandon(1);
    subject.barrier(0, barrier(1));
    subject.barrier(1, barrier(1));
    assert_eq!(subject.arrivals(), [""; 0]);
    for channel in [0, 1] {
        subject.barrier(channel, barrier(2));
    }
    assert_eq!(subject.arrivals(), ["barrier 2"]);
}

#[test]
fn what_follows_a_barrier_that_came_while_an_abandoned_one_overtook_is_not_overtaken() {
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    subject.signals.overtake(barrier(1));
    assert_eq!(subject.arrival().as_deref(), Some("overtaking 1"));
    // Its senders have let go of the first one; this gate is about to hear of it.
    subject.send(0, batch(1));
    subject.send(0, batch(2));
    subject.barrier(0, barrier(2));
    assert_eq!(subject.arrival().as_deref(), Some("batch 1"));
    subject.signals.abandon(1);
    subject.signals.overtake(barrier(2));
    assert_eq!(subject.arrival().as_deref(), Some("overtaking 2"));
    subject.send(0, batch(3));
    subject.barrier(1, barrier(2));
    assert_eq!(subject.arrivals(), ["in flight 2", "batch 2", "batch 3"]);
    assert_eq!(subject.recorded(), ["0: 2"]);
}

#[test]
fn a_restored_watermark_does_not_speak_for_other_channels() {
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    let mut in_flight = InFlightData::default();
    for (channel, watermark) in [(0, 50), (1, 50), (2, 1000), (3, 1000)] {
        in_flight.push(channel, &Element::Watermark(watermark));
    }
    subject.gate.restore(in_flight);
    assert_eq!(subject.arrivals(), [""; 0]);
    (0..2).for_each(|channel| subject.send(channel, Element::Watermark(60)));
    assert_eq!(subject.arrivals(), ["watermark 60"]);
}

#[test]
fn what_was_restored_comes_before_everything_else() {
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    let mut in_flight = InFlightData::default();
    for (channel, timestamp) in [(0, 1), (1, 2), (1, 3), (2, 4)] {
        in_flight.push(channel, &batch(timestamp));
    }
    subject.gate.restore(in_flight);
    subject.send(0, batch(10));
    subject.send(1, batch(11));
    let mut seen = subject.arrivals();
    let sent = seen.split_off(4);
    seen.sort();
    assert_eq!(seen, ["batch 1", "batch 2", "batch 3", "batch 4"]);
    assert_eq!(sent.len(), 2);
}

#[test]
fn the_watermark_is_that_of_the_slowest_channel() {
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    subject.send(0, Element::Watermark(10));
    assert_eq!(subject.arrivals(), [""; 0]);
    subject.send(1, Element::Watermark(4));
    subject.send(1, Element::Watermark(20));
    assert_eq!(subject.arrivals(), ["watermark 4", "watermark 10"]);
    subject.senders.clear();
    assert!(subject.gate.next(Duration::ZERO).is_err());
}

#[test]
fn the_inputs_of_an_operator_share_its_watermark_and_its_barriers() {
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    subject.send(0, Element::Watermark(10));
    subject.send(0, batch(11));
    subject.send(1, second(3));
    subject.send(1, Element::Watermark(4));
    let mut seen = subject.arrivals();
    assert_eq!(seen.pop().as_deref(), Some("watermark 4"), "that of the slower input, and not before it has one");
    seen.sort();
    assert_eq!(seen, ["Second 3", "batch 11"]);

    subject.barrier(0, barrier(1));
    subject.send(0, batch(12));
    subject.send(1, second(5));
    assert_eq!(subject.arrivals(), ["Second 5"], "one input waits for the other");
    subject.barrier(1, barrier(1));
    assert_eq!(subject.arrivals(), ["barrier 1", "batch 12"]);

    // What is overtaken keeps its input.
    subject.send(1, second(6));
    subject.signals.overtake(barrier(2));
    (0..2).for_each(|channel| subject.barrier(channel, barrier(2)));
    assert_eq!(subject.arrivals(), ["overtaking 2", "in flight 2", "Second 6"]);
    let mut again = Subject::new(CheckpointMode::ExactlyOnce);
    again.gate.restore(subject.recorded.take().unwrap());
    assert_eq!(again.arrivals(), ["Second 6"]);
}

/// What the gate hands out while event time is on its way through the subtask.
fn barriers(subject: &mut Subject) -> Vec<u64> {
    let next = || match subject.gate.next_barrier().unwrap() {
        Arrival::Barrier { barrier, .. } => Some(barrier.checkpoint),
        Arrival::Idle => None,
        _ => panic!("only barriers"),
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn while_event_time_advances_barriers_come_and_records_wait() {
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    subject.barrier(0, barrier(1));
    assert_eq!(barriers(&mut subject), [0; 0], "it is aligned as ever");
    subject.barrier(1, barrier(1));
    assert_eq!(barriers(&mut subject), [1]);
    subject.send(0, batch(1));
    subject.send(0, Element::Watermark(5));
    for channel in [0, 1] {
        subject.barrier(channel, barrier(2));
    }
    assert_eq!(barriers(&mut subject), [0; 0], "a record is in front of it");
    subject.signals.overtake(barrier(2));
    let Arrival::Overtaking { .. } = subject.gate.next_barrier().unwrap() else { panic!("it does not overtake") };
    let Arrival::InFlight { in_flight, .. } = subject.gate.next_barrier().unwrap() else { panic!("not complete") };
    subject.recorded = Some(in_flight);
    assert_eq!(subject.recorded(), ["0: 1", "0: Watermark(5)"]);
    assert_eq!(barriers(&mut subject), [0; 0]);
    assert_eq!(subject.arrivals(), ["batch 1"], "it was left where it was");
}

#[test]
fn a_barrier_behind_the_end_of_event_time_waits_until_event_time_has_arrived() {
    for kind in [BarrierKind::Final, BarrierKind::Drain] {
        let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
        for channel in [0, 1] {
            subject.barrier(channel, barrier(1));
            subject.barrier(channel, barrier_of(2, kind));
        }
        assert_eq!(barriers(&mut subject), [1]);
        assert_eq!(subject.arrivals(), ["barrier 2"]);
    }
    let mut subject = Subject::new(CheckpointMode::ExactlyOnce);
    for channel in [0, 1] {
        subject.barrier(channel, barrier_of(1, BarrierKind::Stop));
    }
    assert_eq!(barriers(&mut subject), [1], "a stop goes on later with what was due");
}
