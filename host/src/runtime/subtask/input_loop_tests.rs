//! Timers in the loop of a subtask: their output precedes the watermark that fired them, and the clock alone fires them.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::chained_node::{ChainedNode, NodeTask};
use super::input_loop::InputLoop;
use super::operator_chain::OperatorChain;
use super::subtask_core::SubtaskCore;
use crate::clock::ManualClock;
use crate::model::{Batch, Counters, DueTimers, Keys, TimeDomain};
use crate::operator::FunctionOperator;
use crate::operator::testing::function_settings;
use crate::pipeline::{BatchSettings, CheckpointMode, FaultPolicy, InputRole, StateBackendKind};
use crate::runtime::attempt_signals::AttemptSignals;
use crate::runtime::barrier::BarrierKind;
use crate::runtime::channel::{ChannelSender, Inbox, channel};
use crate::runtime::input::input_gate::{InputEvent, InputGate};
use crate::runtime::output::result_partition::ResultPartition;
use crate::runtime::plan::chaining::RouteTarget;
use crate::runtime::stream_element::StreamElement;
use crate::runtime::testing::barrier;
use crate::state::{self, StateOptions};
use crate::turn::{FIRST_INPUT, Guest, OutputBatch, OutputId, Turn, TurnContext, TurnFailure, timer_states};
use crate::wakeup::Wakeup;

/// Deadline of every wait.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Registers timers in both time domains at the time in each record. A timer emits its time. An event-time timer registers the
/// next one 5 ms later, up to 20.
struct TimerGuest {
    /// Receives a message after each call.
    called: Sender<()>,
}

impl Guest for TimerGuest {
    fn process(&mut self, turn: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        for (value, &key) in batch.values.iter().zip(&batch.keys.as_ref().unwrap().key_of) {
            let time = std::str::from_utf8(value).unwrap().parse().unwrap();
            turn.timer_register(TimeDomain::Event, &[key], &[time])?;
            turn.timer_register(TimeDomain::Processing, &[key], &[time])?;
        }
        let _ = self.called.send(());
        Ok(Vec::new())
    }

    fn on_timers(
        &mut self,
        turn: &mut Turn,
        domain: TimeDomain,
        timers: &DueTimers,
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        let mut batch = Batch::default();
        for (&key, &time) in timers.keys.key_of.iter().zip(&timers.times) {
            batch.push(format!("{} {time}", domain.as_str()).as_bytes(), time);
            if domain == TimeDomain::Event && time + 5 <= 20 {
                turn.timer_register(domain, &[key], &[time + 5])?;
            }
        }
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch }])
    }
}

/// Emits its input.
struct ForwardGuest;

impl Guest for ForwardGuest {
    fn process(&mut self, _: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch: batch.clone() }])
    }
}

/// A subtask with timers and a function chained to it, and the receiver of its output.
struct TimerHarness {
    subtask: InputLoop,
    input: ChannelSender,
    output: InputGate,
    signals: Arc<AttemptSignals>,
    clock: Arc<ManualClock>,
    called: Receiver<()>,
    _folder: tempfile::TempDir,
}

impl TimerHarness {
    fn new(backend: StateBackendKind) -> TimerHarness {
        let (clock, folder) = (Arc::<ManualClock>::default(), tempfile::tempdir().unwrap());
        let layout = timer_states(&[TimeDomain::Event, TimeDomain::Processing]);
        let options = StateOptions::empty(backend, folder.path().to_owned(), layout.clone(), 1, clock.clone());
        let turn = Turn::stateful(TurnContext::default(), layout, state::open(options).unwrap());
        let (called, calls) = unbounded();
        let function = |guest: Box<dyn Guest>, turn| {
            let settings = function_settings(FaultPolicy::Fail, 1, clock.clone());
            NodeTask::Operator(Box::new(FunctionOperator::new(guest, turn, settings, Counters::default())))
        };
        let timers = function(Box::new(TimerGuest { called }), turn.with_timers(0..1).unwrap());
        let forward = function(Box::new(ForwardGuest), Turn::stateless(TurnContext::default()));
        let node = |task, target| ChainedNode::new("timers", task, [(OutputId::MAIN, vec![target])].into());
        let batch =
            BatchSettings { records: 1, bytes: 1 << 20, linger: Duration::from_secs(3600), ..BatchSettings::default() };
        let signals = Arc::<AttemptSignals>::default();
        let (inbox, output_inbox) = (Arc::<Inbox>::default(), Arc::<Inbox>::default());
        let (sender, receiver) = channel(1000, &inbox.wakeup, &output_inbox, &Arc::default());
        let (input, from) = channel(1000, &Wakeup::default(), &inbox, &Arc::default());
        let nodes = vec![node(timers, RouteTarget::ChainedNode(1)), node(forward, RouteTarget::Edge(0))];
        let partitions = [(0, ResultPartition::forward(sender, batch, signals.clone()))].into();
        let chain = OperatorChain::new(0, nodes, partitions, clock.clone());
        let mode = CheckpointMode::ExactlyOnce;
        let gate = |receiver, inbox| InputGate::new(vec![receiver], inbox, mode, signals.clone(), clock.clone());
        let wakeup = inbox.wakeup.clone();
        let (gate, output) = (gate(from, inbox), gate(receiver, output_inbox));
        let core = SubtaskCore::new(chain, signals.clone(), wakeup.clone(), Arc::new(|_| {}), Vec::new());
        let subtask = InputLoop::new(core, gate);
        TimerHarness { subtask, input, output, signals, clock, called: calls, _folder: folder }
    }

    /// Returns how long the subtask would wait, apart from the statistics that it has yet to publish.
    fn wait(&mut self) -> Duration {
        self.subtask.core.publish_stats();
        self.subtask.core.prepare_wait().unwrap()
    }

    fn records(times: &[&str]) -> Batch {
        let mut keys = Keys { distinct: [&b"k"[..]].into_iter().collect(), groups: vec![0], key_of: Vec::new() };
        let mut batch = Batch::default();
        for time in times {
            batch.push(time.as_bytes(), 0);
            keys.key_of.push(0);
        }
        Batch { keys: Some(Arc::new(keys)), ..batch }
    }

    /// Returns the next batch, watermark or barrier of the output.
    fn next(output: &mut InputGate) -> String {
        loop {
            match output.next(TIMEOUT).unwrap() {
                InputEvent::Batch(_, batch) => {
                    let values = batch.values.iter().map(|value| String::from_utf8_lossy(value).into_owned());
                    return values.collect::<Vec<_>>().join(", ");
                }
                InputEvent::Watermark(watermark) => return format!("watermark {watermark}"),
                InputEvent::AlignedBarrier { .. } => return "barrier".into(),
                InputEvent::Timeout => panic!("nothing arrived before the deadline"),
                _ => {}
            }
        }
    }
}

const BACKENDS: [StateBackendKind; 2] = [StateBackendKind::Memory, StateBackendKind::RocksDb];

#[test]
fn the_output_of_timers_precedes_the_watermark_that_fired_them() {
    for backend in BACKENDS {
        let mut harness = TimerHarness::new(backend);
        let chain = &mut harness.subtask.core.chain;
        chain.process(0, FIRST_INPUT, TimerHarness::records(&["3", "30"])).unwrap();
        chain.advance_watermark(2).unwrap();
        chain.advance_watermark(29).unwrap();
        chain.advance_watermark(30).unwrap();
        // The timer at 3 registers the next ones while event time advances.
        let expected =
            ["watermark 2", "event 3", "event 8", "event 13", "event 18", "watermark 29", "event 30", "watermark 30"];
        assert_eq!(expected.map(|_| TimerHarness::next(&mut harness.output)), expected);
    }
}

/// A timer is due when its millisecond is over, as in Flink, because a record of the same millisecond may still arrive.
#[test]
fn a_subtask_waits_until_its_next_timer_and_no_longer() {
    for backend in BACKENDS {
        let mut harness = TimerHarness::new(backend);
        assert_eq!(harness.wait(), Duration::MAX);
        harness.subtask.core.chain.process(0, FIRST_INPUT, TimerHarness::records(&["71", "70"])).unwrap();
        for (now, wait) in [(0, 71), (40, 31), (70, 1)] {
            harness.clock.set_ms(now);
            harness.subtask.core.chain.fire_processing_time_timers().unwrap();
            assert_eq!(harness.wait(), Duration::from_millis(wait), "at {now}");
        }
        harness.clock.set_ms(71);
        assert_eq!(harness.wait(), Duration::ZERO);
        harness.subtask.core.chain.fire_processing_time_timers().unwrap();
        assert_eq!(harness.wait(), Duration::from_millis(1), "the timer at 71 is not due yet");
        harness.subtask.core.chain.advance_watermark(0).unwrap();
        harness.clock.set_ms(72);
        harness.subtask.core.chain.fire_processing_time_timers().unwrap();
        let expected = ["processing 70", "watermark 0", "processing 71"];
        assert_eq!(expected.map(|_| TimerHarness::next(&mut harness.output)), expected);
        assert_eq!(harness.wait(), Duration::MAX);
    }
}

/// The input is silent; only the clock advances.
#[test]
fn the_clock_wakes_a_subtask_whose_timer_is_due() {
    for backend in BACKENDS {
        let TimerHarness { mut subtask, input, mut output, signals, clock, called, _folder } =
            TimerHarness::new(backend);
        let send = |element| input.send(element, &signals, 0).unwrap();
        send(StreamElement::Batch(InputRole::First, TimerHarness::records(&["20"])));
        let running = thread::spawn(move || subtask.run().is_ok());
        called.recv_timeout(TIMEOUT).unwrap();
        clock.set_ms(21);
        assert_eq!(TimerHarness::next(&mut output), "processing 20");
        send(StreamElement::Barrier(barrier(1, BarrierKind::Stop)));
        assert_eq!(TimerHarness::next(&mut output), "barrier");
        assert!(running.join().unwrap());
    }
}
