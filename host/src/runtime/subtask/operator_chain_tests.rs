//! A chain does a bounded amount of work before its subtask looks at the input again.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::chained_node::{ChainedNode, NodeTask};
use super::input_loop::InputLoop;
use super::operator_chain::OperatorChain;
use super::subtask_core::SubtaskCore;
use crate::clock::ManualClock;
use crate::model::{Batch, Counters, DurationHistogram, NO_TIMESTAMP};
use crate::operator::{Operator, OperatorFailure, RejectedRecord};
use crate::pipeline::{CheckpointMode, InputRole};
use crate::runtime::attempt_signals::AttemptSignals;
use crate::runtime::barrier::{Barrier, BarrierKind};
use crate::runtime::input::input_gate::InputGate;
use crate::runtime::plan::chaining::OutputRoutes;
use crate::runtime::stream_element::StreamElement;
use crate::runtime::subtask_event::{SubtaskEvent, SubtaskEventListener};
use crate::runtime::testing::unwatched_channel;
use crate::runtime::testing::{barrier, checkpoint_barrier};
use crate::turn::{OutputBatch, Turn};
use crate::wakeup::Wakeup;

/// An operator that always has more to do in both time domains, and counts its calls.
#[derive(Default)]
struct EndlessOperator(Turn, Counters);

impl Operator for EndlessOperator {
    fn turn_times(&self) -> DurationHistogram {
        DurationHistogram::default()
    }

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
        assert!(self.1.records_in <= 1000, "the input is never read again");
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

fn endless_chain() -> OperatorChain {
    let task = NodeTask::Operator(Box::<EndlessOperator>::default());
    let node = ChainedNode::new("op", task, OutputRoutes::new());
    OperatorChain::new(0, vec![node], BTreeMap::new(), Arc::<ManualClock>::default())
}

#[test]
fn timers_that_are_always_due_leave_room_for_the_input() {
    let mut chain = endless_chain();
    chain.fire_processing_time_timers().unwrap();
    assert!(chain.stats()[0].counters.records_in > 1);
    assert!(chain.next_deadline_ms().is_some(), "the timers are due again at once");
    chain.advance_watermark(1).unwrap();
    assert!(chain.stats()[0].counters.faults > 1);
    assert!(chain.is_event_time_advancing(), "the watermark has not passed the node");
    assert_eq!(chain.event_time.watermark, NO_TIMESTAMP);
}

/// The checkpoints that a subtask acknowledged, each with the number of its in-flight elements.
type Acknowledged = Vec<(u64, usize)>;

/// Runs a subtask whose timers are always due. Returns whether it ended without an error, and what it acknowledged. After the
/// first acknowledgement `overtaking` overtakes; after `cancel_after` of them the subtask is cancelled.
fn run(elements: Vec<StreamElement>, overtaking: Option<Barrier>, cancel_after: usize) -> (bool, Acknowledged) {
    let (signals, (sender, receiver)) = (Arc::<AttemptSignals>::default(), unwatched_channel(100));
    elements.into_iter().for_each(|element| sender.send(element, &signals, 0).unwrap());
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let (list, raised) = (acknowledged.clone(), signals.clone());
    let listener: SubtaskEventListener = Arc::new(move |event| {
        let SubtaskEvent::Acknowledged { checkpoint, mut snapshots } = event else { panic!("not acknowledged") };
        let in_flight = snapshots[0].in_flight.take().map_or(0, |in_flight| in_flight.into_elements().count());
        list.lock().push((checkpoint, in_flight));
        overtaking.into_iter().for_each(|barrier| raised.overtake(barrier));
        if list.lock().len() == cancel_after {
            raised.cancel();
        }
    });
    let chain = endless_chain();
    let gate = InputGate::new(
        vec![receiver],
        Arc::default(),
        CheckpointMode::ExactlyOnce,
        signals.clone(),
        chain.clock.clone(),
    );
    let core = SubtaskCore::new(chain, signals, Wakeup::default(), listener, Vec::new());
    let ended_well = InputLoop::new(core, gate).run().is_ok();
    let acknowledged = acknowledged.lock().clone();
    (ended_well, acknowledged)
}

#[test]
fn barriers_and_cancels_are_handled_while_event_time_advances() {
    let stop = barrier(3, BarrierKind::Stop);
    let elements = vec![
        StreamElement::Watermark(1),
        StreamElement::Barrier(checkpoint_barrier(1)),
        StreamElement::Barrier(checkpoint_barrier(2)),
        StreamElement::Barrier(stop),
    ];
    assert_eq!(run(elements, None, 100), (true, vec![(1, 0), (2, 0), (3, 0)]));

    let mut records = Batch::default();
    records.push(b"x", 2);
    let waiting = || StreamElement::Batch(InputRole::First, records.clone());
    let elements = vec![
        StreamElement::Watermark(1),
        StreamElement::Barrier(checkpoint_barrier(1)),
        waiting(),
        waiting(),
        StreamElement::Barrier(checkpoint_barrier(2)),
    ];
    assert_eq!(run(elements, Some(checkpoint_barrier(2)), 2), (false, vec![(1, 0), (2, 2)]));
}
