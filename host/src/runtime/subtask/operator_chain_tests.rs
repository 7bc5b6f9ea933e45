//! How much a chain does at once.

use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::clock::ManualClock;
use crate::pipeline::{CheckpointMode, InputRole};
use crate::runtime::channel::link;
use crate::runtime::input::input_gate::Gate;
use crate::runtime::signals::Signals;
use crate::runtime::stream_element::{BarrierKind, Element};
use crate::runtime::subtask::subtask_runner::{Notify, Subtask, SubtaskEvent};
use crate::state::SnapshotFormat;
use crate::turn::{OutputBatch, Turn};

/// Has always more to do by either clock, and counts how often it was asked.
#[derive(Default)]
struct Endless(Turn, Counters);

impl Operator for Endless {
    fn process(&mut self, _: u32, _: Batch, _: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure> {
        Ok(())
    }

    fn reject(&mut self, _: RejectedRecord, _: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure> {
        Ok(())
    }

    fn advance_watermark(&mut self, _: i64, _: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure> {
        self.1.faults += 1;
        Ok(true)
    }

    fn advance_clock(&mut self, _: i64, _: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure> {
        self.1.records_in += 1;
        assert!(self.1.records_in <= 1000, "the input is not looked at again");
        Ok(true)
    }

    fn next_due_ms(&self) -> Option<i64> {
        Some(-1)
    }

    fn watermark(&self) -> i64 {
        NO_TIMESTAMP
    }

    fn turn(&mut self) -> &mut Turn {
        &mut self.0
    }

    fn counters(&self) -> Counters {
        self.1
    }
}

fn endless() -> Chain {
    let kind = MemberKind::Operator(Box::<Endless>::default());
    let member = Member { node: "op".into(), kind, routes: Vec::new() };
    Chain::new(0, vec![member], BTreeMap::new(), Arc::<ManualClock>::default())
}

#[test]
fn timers_that_are_always_due_leave_room_for_the_input() {
    let mut chain = endless();
    chain.advance_clock().unwrap();
    assert!(chain.stats()[0].counters.records_in > 1);
    assert!(chain.next_due_ms().is_some(), "and come again at once");
    chain.watermark(1).unwrap();
    assert!(chain.stats()[0].counters.faults > 1);
    assert!(chain.is_advancing(), "event time has not arrived");
    assert_eq!(chain.event_time.watermark, NO_TIMESTAMP);
}

/// Runs a subtask with timers that are always due. Whether it ended well, the checkpoints that it has answered, and how many
/// elements each of these holds in flight. Behind the first answer a barrier overtakes, behind so many the subtask is cancelled.
fn run(elements: Vec<Element>, overtaking: Option<Barrier>, answers: usize) -> (bool, Vec<(u64, usize)>) {
    let (signals, (sender, receiver)) = (Arc::<Signals>::default(), link(100));
    elements.into_iter().for_each(|element| sender.send(element, &signals, 0).unwrap());
    let answered = Arc::new(Mutex::new(Vec::new()));
    let (told, raised) = (answered.clone(), signals.clone());
    let notify: Notify = Arc::new(move |event| {
        let SubtaskEvent::Acknowledged { checkpoint, snapshots: mut parts } = event else { panic!("no answer") };
        let in_flight = parts[0].in_flight.take().map_or(0, |in_flight| in_flight.into_elements().count());
        told.lock().push((checkpoint, in_flight));
        overtaking.into_iter().for_each(|barrier| raised.overtake(barrier));
        raised.cancel.store(told.lock().len() == answers, std::sync::atomic::Ordering::Relaxed);
    });
    let chain = endless();
    let gate = Gate::new(vec![receiver], CheckpointMode::ExactlyOnce, signals.clone(), chain.clock.clone());
    let mut subtask = Subtask { chain, signals, notify, shown: Vec::new(), shown_ns: 0, fixed: None };
    let ended_well = subtask.run_gate(gate).is_ok();
    let answered = answered.lock().clone();
    (ended_well, answered)
}

fn barrier(checkpoint: u64, kind: BarrierKind) -> Barrier {
    Barrier { checkpoint, kind, format: SnapshotFormat::Canonical, triggered_ns: 0 }
}

#[test]
fn barriers_and_cancels_get_through_while_event_time_advances() {
    let checkpoint = |number| barrier(number, BarrierKind::Checkpoint);
    let stop = barrier(3, BarrierKind::Stop);
    let elements = vec![
        Element::Watermark(1),
        Element::Barrier(checkpoint(1)),
        Element::Barrier(checkpoint(2)),
        Element::Barrier(stop),
    ];
    assert_eq!(run(elements, None, 100), (true, vec![(1, 0), (2, 0), (3, 0)]));

    let mut records = Batch::default();
    records.push(b"x", 2);
    let waiting = || Element::Batch(InputRole::First, records.clone());
    let elements = vec![
        Element::Watermark(1),
        Element::Barrier(checkpoint(1)),
        waiting(),
        waiting(),
        Element::Barrier(checkpoint(2)),
    ];
    assert_eq!(run(elements, Some(checkpoint(2)), 2), (false, vec![(1, 0), (2, 2)]));
}
