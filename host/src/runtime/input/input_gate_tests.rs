//! The input gate against every way in which barriers arrive: aligned, at-least-once, overtaking, several at once, abandoned.

use std::sync::Arc;
use std::time::Duration;

use super::in_flight_data::InFlightData;
use super::input_gate::{InputEvent, InputGate};
use crate::clock::ManualClock;
use crate::model::Batch;
use crate::pipeline::{CheckpointMode, InputRole};
use crate::runtime::attempt_signals::AttemptSignals;
use crate::runtime::barrier::{Barrier, BarrierKind};
use crate::runtime::channel::ChannelSender;
use crate::runtime::stream_element::StreamElement;
use crate::runtime::testing::{barrier, checkpoint_barrier, unwatched_channel};

/// An input gate with two channels, and their senders.
struct GateHarness {
    gate: InputGate,
    senders: Vec<ChannelSender>,
    signals: Arc<AttemptSignals>,
    clock: Arc<ManualClock>,
    /// The in-flight data of the last barrier that overtook.
    recorded: Option<InFlightData>,
}

fn batch(timestamp: i64) -> StreamElement {
    let mut batch = Batch::default();
    batch.push(b"x", timestamp);
    StreamElement::Batch(InputRole::First, batch)
}

fn second(timestamp: i64) -> StreamElement {
    match batch(timestamp) {
        StreamElement::Batch(_, batch) => StreamElement::Batch(InputRole::Second, batch),
        other => other,
    }
}

impl GateHarness {
    fn new(mode: CheckpointMode) -> GateHarness {
        let (senders, receivers) = [(); 2].map(|()| unwatched_channel(4)).into_iter().unzip();
        let (signals, clock) = (Arc::<AttemptSignals>::default(), Arc::<ManualClock>::default());
        let gate = InputGate::new(receivers, Arc::default(), mode, signals.clone(), clock.clone());
        GateHarness { gate, senders, signals, clock, recorded: None }
    }

    fn send(&self, channel: usize, element: StreamElement) {
        self.senders[channel].send(element, &self.signals, 0).unwrap();
    }

    fn barrier(&self, channel: usize, barrier: Barrier) {
        self.send(channel, StreamElement::Barrier(barrier));
    }

    fn event(&mut self) -> Option<String> {
        Some(match self.gate.next(Duration::ZERO).unwrap() {
            InputEvent::Batch(InputRole::First, batch) => format!("batch {}", batch.timestamps[0]),
            InputEvent::Batch(role, batch) => format!("{role:?} {}", batch.timestamps[0]),
            InputEvent::Watermark(watermark) => format!("watermark {watermark}"),
            InputEvent::Idleness { idle } => if idle { "idle" } else { "active" }.into(),
            InputEvent::AlignedBarrier { barrier, .. } => format!("barrier {}", barrier.checkpoint),
            InputEvent::OvertakingBarrier { barrier, .. } => format!("overtaking {}", barrier.checkpoint),
            InputEvent::InFlight { checkpoint, in_flight } => {
                self.recorded = Some(in_flight);
                format!("in flight {checkpoint}")
            }
            InputEvent::Rejected(_) => "rejected".into(),
            InputEvent::Timeout => return None,
        })
    }

    fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.event()).collect()
    }

    /// Returns the recorded elements, each with its channel.
    fn recorded(&mut self) -> Vec<String> {
        let name = |(channel, element)| match element {
            StreamElement::Batch(_, batch) => format!("{channel}: {}", batch.timestamps[0]),
            element => format!("{channel}: {element:?}"),
        };
        self.recorded.take().map(|recorded| recorded.into_elements().map(name).collect()).unwrap_or_default()
    }
}

#[test]
fn records_behind_a_barrier_wait_until_every_channel_has_delivered_it() {
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    harness.barrier(0, checkpoint_barrier(1));
    harness.send(0, batch(2));
    harness.send(1, batch(1));
    assert_eq!(harness.events(), ["batch 1"]);
    harness.clock.set_ms(7);
    harness.barrier(1, checkpoint_barrier(1));
    let InputEvent::AlignedBarrier { since_ns, .. } = harness.gate.next(Duration::ZERO).unwrap() else {
        panic!("no barrier")
    };
    assert_eq!(since_ns, 0, "alignment starts with the first barrier");
    assert_eq!(harness.events(), ["batch 2"]);
}

#[test]
fn with_at_least_once_only_a_savepoint_blocks_channels() {
    let mut harness = GateHarness::new(CheckpointMode::AtLeastOnce);
    harness.barrier(0, checkpoint_barrier(1));
    harness.send(0, batch(2));
    harness.barrier(0, checkpoint_barrier(2));
    harness.send(0, batch(3));
    harness.send(1, batch(1));
    assert_eq!(harness.events().len(), 3, "all records, and no barrier");
    harness.barrier(1, checkpoint_barrier(1));
    assert_eq!(harness.events(), ["barrier 1"]);
    harness.barrier(1, checkpoint_barrier(2));
    assert_eq!(harness.events(), ["barrier 2"]);

    harness.barrier(0, barrier(3, BarrierKind::Savepoint));
    harness.send(0, batch(5));
    harness.send(1, batch(4));
    assert_eq!(harness.events(), ["batch 4"]);
    harness.barrier(1, barrier(3, BarrierKind::Savepoint));
    assert_eq!(harness.events(), ["barrier 3", "batch 5"]);
}

#[test]
fn several_barriers_are_passed_on_one_after_the_other() {
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    for checkpoint in [1, 2, 3] {
        harness.barrier(0, checkpoint_barrier(checkpoint));
        harness.send(0, batch(checkpoint as i64));
    }
    assert_eq!(harness.events(), [""; 0]);
    harness.barrier(1, checkpoint_barrier(1));
    harness.send(1, batch(10));
    harness.barrier(1, checkpoint_barrier(2));
    let mut seen = harness.events();
    let third = seen.pop().unwrap();
    assert_eq!((seen[0].as_str(), third.as_str()), ("barrier 1", "batch 2"));
    assert_eq!(seen[3], "barrier 2", "{seen:?}");
    harness.barrier(1, checkpoint_barrier(3));
    assert_eq!(harness.events(), ["barrier 3", "batch 3"]);
}

#[test]
fn an_abandoned_barrier_blocks_no_channel() {
    // The job abandons it.
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    harness.barrier(0, checkpoint_barrier(1));
    harness.send(0, batch(1));
    assert_eq!(harness.events(), [""; 0]);
    harness.signals.abandon(1);
    assert_eq!(harness.events(), ["batch 1"]);
    harness.barrier(1, checkpoint_barrier(1));
    harness.send(1, batch(2));
    assert_eq!(harness.events(), ["batch 2"], "alignment does not start again");
    for channel in [0, 1] {
        harness.barrier(channel, checkpoint_barrier(2));
    }
    assert_eq!(harness.events(), ["barrier 2"]);

    // A sender that skips a barrier has abandoned it, in whichever order the gate sees the barriers.
    for (first, second) in [((0, 3), (1, 4)), ((1, 4), (0, 3))] {
        let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
        for (channel, checkpoint) in [first, second] {
            harness.barrier(channel, checkpoint_barrier(checkpoint));
            harness.send(channel, batch(checkpoint as i64));
            harness.events();
        }
        harness.barrier(0, checkpoint_barrier(4));
        let seen = harness.events();
        assert_eq!(seen, ["barrier 4", "batch 4"]);
    }
}

#[test]
fn an_overtaking_barrier_records_the_elements_in_all_channels() {
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    for timestamp in [1, 2] {
        harness.send(0, batch(timestamp));
    }
    harness.send(1, batch(11));
    assert_eq!(harness.event().as_deref(), Some("batch 1"));
    harness.signals.overtake(checkpoint_barrier(1));
    assert_eq!(harness.event().as_deref(), Some("overtaking 1"), "the barrier comes before any other record");
    assert_eq!(harness.event().as_deref(), Some("batch 11"), "the subtask continues");
    harness.send(0, batch(3));
    harness.send(0, StreamElement::Watermark(5));
    harness.barrier(0, checkpoint_barrier(1));
    harness.send(0, batch(4));
    let mut seen = harness.events();
    seen.sort();
    assert_eq!(seen, ["batch 2", "batch 3", "batch 4"]);
    harness.send(1, batch(12));
    harness.barrier(1, checkpoint_barrier(1));
    harness.send(1, batch(13));
    assert_eq!(harness.event().as_deref(), Some("in flight 1"));
    assert_eq!(harness.events(), ["batch 12", "batch 13"]);
    let mut recorded = harness.recorded();
    recorded.sort();
    assert_eq!(recorded, ["0: 2", "0: 3", "0: Watermark(5)", "1: 11", "1: 12"]);
}

#[test]
fn a_barrier_that_is_being_aligned_can_overtake() {
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    harness.barrier(0, checkpoint_barrier(1));
    harness.send(0, batch(2));
    assert_eq!(harness.events(), [""; 0]);
    harness.send(1, batch(1));
    harness.signals.overtake(checkpoint_barrier(1));
    assert_eq!(harness.event().as_deref(), Some("overtaking 1"));
    let mut seen = harness.events();
    seen.sort();
    assert_eq!(seen, ["batch 1", "batch 2"], "the blocked channel is read again");
    harness.barrier(1, checkpoint_barrier(1));
    assert_eq!(harness.events(), ["in flight 1"]);
    assert_eq!(harness.recorded(), ["1: 1"]);
}

#[test]
fn overtaken_elements_that_are_still_queued_belong_to_the_next_checkpoint_too() {
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    for checkpoint in [1, 2] {
        let timestamp = checkpoint as i64;
        harness.signals.overtake(checkpoint_barrier(checkpoint));
        harness.send(0, batch(timestamp));
        harness.barrier(0, checkpoint_barrier(checkpoint));
        harness.barrier(1, checkpoint_barrier(checkpoint));
        assert_eq!(harness.event(), Some(format!("overtaking {checkpoint}")));
        assert_eq!(harness.event(), Some(format!("in flight {checkpoint}")));
    }
    assert_eq!(harness.recorded(), ["0: 1", "0: 2"]);
    // An aligned barrier comes after all of them.
    for channel in [0, 1] {
        harness.barrier(channel, barrier(3, BarrierKind::Savepoint));
    }
    assert_eq!(harness.events(), ["batch 1", "batch 2", "barrier 3"]);
}

#[test]
fn an_overtaking_barrier_can_be_abandoned() {
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    harness.send(0, batch(1));
    harness.signals.overtake(checkpoint_barrier(1));
    assert_eq!(harness.events(), ["overtaking 1", "batch 1"]);
    harness.signals.abandon(1);
    harness.barrier(0, checkpoint_barrier(1));
    harness.barrier(1, checkpoint_barrier(1));
    assert_eq!(harness.events(), [""; 0]);
    for channel in [0, 1] {
        harness.barrier(channel, checkpoint_barrier(2));
    }
    assert_eq!(harness.events(), ["barrier 2"]);
}

#[test]
fn elements_after_a_barrier_that_was_read_ahead_are_not_recorded() {
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    harness.signals.overtake(checkpoint_barrier(1));
    assert_eq!(harness.event().as_deref(), Some("overtaking 1"));
    // The senders have abandoned the first barrier already; the gate has not.
    harness.send(0, batch(1));
    harness.send(0, batch(2));
    harness.barrier(0, checkpoint_barrier(2));
    assert_eq!(harness.event().as_deref(), Some("batch 1"));
    harness.signals.abandon(1);
    harness.signals.overtake(checkpoint_barrier(2));
    assert_eq!(harness.event().as_deref(), Some("overtaking 2"));
    harness.send(0, batch(3));
    harness.barrier(1, checkpoint_barrier(2));
    assert_eq!(harness.events(), ["in flight 2", "batch 2", "batch 3"]);
    assert_eq!(harness.recorded(), ["0: 2"]);
}

#[test]
fn restored_watermarks_are_ignored() {
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    let mut in_flight = InFlightData::default();
    for (channel, watermark) in [(0, 50), (1, 50), (2, 1000), (3, 1000)] {
        in_flight.push(channel, &StreamElement::Watermark(watermark));
    }
    harness.gate.restore(in_flight);
    assert_eq!(harness.events(), [""; 0]);
    (0..2).for_each(|channel| harness.send(channel, StreamElement::Watermark(60)));
    assert_eq!(harness.events(), ["watermark 60"]);
}

#[test]
fn restored_records_come_before_all_others() {
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    let mut in_flight = InFlightData::default();
    for (channel, timestamp) in [(0, 1), (1, 2), (1, 3), (2, 4)] {
        in_flight.push(channel, &batch(timestamp));
    }
    harness.gate.restore(in_flight);
    harness.send(0, batch(10));
    harness.send(1, batch(11));
    let mut seen = harness.events();
    let sent = seen.split_off(4);
    seen.sort();
    assert_eq!(seen, ["batch 1", "batch 2", "batch 3", "batch 4"]);
    assert_eq!(sent.len(), 2);
}

#[test]
fn the_slowest_channel_decides_the_watermark() {
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    harness.send(0, StreamElement::Watermark(10));
    assert_eq!(harness.events(), [""; 0]);
    harness.send(1, StreamElement::Watermark(4));
    harness.send(1, StreamElement::Watermark(20));
    assert_eq!(harness.events(), ["watermark 4", "watermark 10"]);
    harness.senders.clear();
    assert!(harness.gate.next(Duration::ZERO).is_err());
}

#[test]
fn the_inputs_of_an_operator_share_its_watermark_and_its_barriers() {
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    harness.send(0, StreamElement::Watermark(10));
    harness.send(0, batch(11));
    harness.send(1, second(3));
    harness.send(1, StreamElement::Watermark(4));
    let mut seen = harness.events();
    assert_eq!(
        seen.pop().as_deref(),
        Some("watermark 4"),
        "the slower input decides, and only once it has a watermark"
    );
    seen.sort();
    assert_eq!(seen, ["Second 3", "batch 11"]);

    harness.barrier(0, checkpoint_barrier(1));
    harness.send(0, batch(12));
    harness.send(1, second(5));
    assert_eq!(harness.events(), ["Second 5"], "one input waits for the barrier of the other");
    harness.barrier(1, checkpoint_barrier(1));
    assert_eq!(harness.events(), ["barrier 1", "batch 12"]);

    // Overtaken records keep their input.
    harness.send(1, second(6));
    harness.signals.overtake(checkpoint_barrier(2));
    (0..2).for_each(|channel| harness.barrier(channel, checkpoint_barrier(2)));
    assert_eq!(harness.events(), ["overtaking 2", "in flight 2", "Second 6"]);
    let mut again = GateHarness::new(CheckpointMode::ExactlyOnce);
    again.gate.restore(harness.recorded.take().unwrap());
    assert_eq!(again.events(), ["Second 6"]);
}

/// Returns the barriers that the gate returns while event time is passing through the subtask.
fn barriers(harness: &mut GateHarness) -> Vec<u64> {
    let next = || match harness.gate.next_barrier().unwrap() {
        InputEvent::AlignedBarrier { barrier, .. } => Some(barrier.checkpoint),
        InputEvent::Timeout => None,
        _ => panic!("not a barrier"),
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn while_event_time_advances_barriers_pass_and_records_wait() {
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    harness.barrier(0, checkpoint_barrier(1));
    assert_eq!(barriers(&mut harness), [0; 0], "barriers are aligned as usual");
    harness.barrier(1, checkpoint_barrier(1));
    assert_eq!(barriers(&mut harness), [1]);
    harness.send(0, batch(1));
    harness.send(0, StreamElement::Watermark(5));
    for channel in [0, 1] {
        harness.barrier(channel, checkpoint_barrier(2));
    }
    assert_eq!(barriers(&mut harness), [0; 0], "a record is in front of the barrier");
    harness.signals.overtake(checkpoint_barrier(2));
    let InputEvent::OvertakingBarrier { .. } = harness.gate.next_barrier().unwrap() else {
        panic!("the barrier does not overtake")
    };
    let InputEvent::InFlight { in_flight, .. } = harness.gate.next_barrier().unwrap() else {
        panic!("the recording is not complete")
    };
    harness.recorded = Some(in_flight);
    assert_eq!(harness.recorded(), ["0: 1", "0: Watermark(5)"]);
    assert_eq!(barriers(&mut harness), [0; 0]);
    assert_eq!(harness.events(), ["batch 1"], "the record stayed in place");
}

#[test]
fn a_barrier_after_the_end_of_event_time_waits_until_the_end_has_passed() {
    for kind in [BarrierKind::Final, BarrierKind::Drain] {
        let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
        for channel in [0, 1] {
            harness.barrier(channel, checkpoint_barrier(1));
            harness.barrier(channel, barrier(2, kind));
        }
        assert_eq!(barriers(&mut harness), [1]);
        assert_eq!(harness.events(), ["barrier 2"]);
    }
    let mut harness = GateHarness::new(CheckpointMode::ExactlyOnce);
    for channel in [0, 1] {
        harness.barrier(channel, barrier(1, BarrierKind::Stop));
    }
    assert_eq!(barriers(&mut harness), [1], "a stop does not wait: what is due stays in the state");
}
