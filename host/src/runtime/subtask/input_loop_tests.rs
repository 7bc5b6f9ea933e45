//! Timers in the loop of a subtask: what comes out of them goes in front of the watermark, and the clock alone is enough to
//! have them fire. The clock is the test's.

use std::thread;

use crossbeam_channel::{Sender, unbounded};

use super::*;
use crate::clock::ManualClock;
use crate::model::{Batch, DueTimers, Keys, TimeDomain};
use crate::operator::FunctionOperator;
use crate::operator::testing::function_settings;
use crate::pipeline::{BatchSettings, CheckpointMode, FaultPolicy, StateBackendKind};
use crate::runtime::channel::{LinkSender, link};
use crate::runtime::output::result_partition::EdgeWriter;
use crate::runtime::plan::execution_plan::Target;
use crate::runtime::stream_element::Element;
use crate::runtime::subtask::operator_chain::{Member, MemberKind};
use crate::state::{self, SnapshotFormat, StateOptions};
use crate::turn::{Guest, OutputBatch, Turn, TurnContext, TurnFailure, timer_states};

/// Far more than anything takes.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Registers timers of both clocks at the time that each record says. A timer emits itself; one of event time registers the next
/// one after 5, up to 20.
struct Timing {
    /// Told about each call, behind it.
    called: Sender<()>,
}

impl Guest for Timing {
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
        Ok(vec![OutputBatch { index: 0, batch }])
    }
}

/// Hands on what it gets.
struct Passing;

impl Guest for Passing {
    fn process(&mut self, _: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        Ok(vec![OutputBatch { index: 0, batch: batch.clone() }])
    }
}

/// A subtask with timers and a function chained to it, and the receiver of what it sends.
struct Subject {
    subtask: Subtask,
    input: LinkSender,
    gate: Gate,
    output: Gate,
    signals: Arc<Signals>,
    clock: Arc<ManualClock>,
    called: Receiver<()>,
    _folder: tempfile::TempDir,
}

impl Subject {
    fn new(backend: StateBackendKind) -> Subject {
        let (clock, folder) = (Arc::<ManualClock>::default(), tempfile::tempdir().unwrap());
        let layout = timer_states(&[TimeDomain::Event, TimeDomain::Processing]);
        let options = StateOptions::empty(backend, folder.path().to_owned(), layout.clone(), 1, clock.clone());
        let turn = Turn::stateful(TurnContext::default(), layout, state::open(options).unwrap());
        let (called, calls) = unbounded();
        let function = |guest: Box<dyn Guest>, turn| {
            let settings = function_settings(FaultPolicy::Fail, 1, 1, clock.clone());
            MemberKind::Operator(Box::new(FunctionOperator::new(guest, turn, settings, Counters::default())))
        };
        let timing = function(Box::new(Timing { called }), turn.with_timers(0..1).unwrap());
        let passing = function(Box::new(Passing), Turn::stateless(TurnContext::default()));
        let member = |kind, target| Member { node: "timing".into(), kind, routes: vec![vec![target]] };
        let batch = BatchSettings { records: 1, bytes: 1 << 20, linger: Duration::from_secs(3600) };
        let signals = Arc::<Signals>::default();
        let ((sender, receiver), (input, from)) = (link(1000), link(1000));
        let members = vec![member(timing, Target::Member(1)), member(passing, Target::Edge(0))];
        let edges = [(0, EdgeWriter::forward(sender, batch, signals.clone()))].into();
        let chain = Chain::new(0, members, edges, clock.clone());
        let gate = |receiver| Gate::new(vec![receiver], CheckpointMode::ExactlyOnce, signals.clone(), clock.clone());
        let notify: Notify = Arc::new(|_| {});
        let (gate, output) = (gate(from), gate(receiver));
        let subtask = Subtask { chain, signals: signals.clone(), notify, shown: Vec::new(), shown_ns: 0, fixed: None };
        Subject { subtask, input, gate, output, signals, clock, called: calls, _folder: folder }
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

    /// What arrives next of all that counts.
    fn next(output: &mut Gate) -> String {
        loop {
            match output.next(TIMEOUT).unwrap() {
                Arrival::Batch(_, batch) => {
                    let values = batch.values.iter().map(|value| String::from_utf8_lossy(value).into_owned());
                    return values.collect::<Vec<_>>().join(", ");
                }
                Arrival::Watermark(watermark) => return format!("watermark {watermark}"),
                Arrival::Barrier { .. } => return "barrier".into(),
                Arrival::Idle => panic!("nothing comes"),
                _ => {}
            }
        }
    }
}

const BACKENDS: [StateBackendKind; 2] = [StateBackendKind::Memory, StateBackendKind::RocksDb];

#[test]
fn what_timers_emit_is_in_front_of_the_watermark_that_fired_them() {
    for backend in BACKENDS {
        let mut subject = Subject::new(backend);
        let chain = &mut subject.subtask.chain;
        chain.deliver(0, FIRST_INPUT, Subject::records(&["3", "30"])).unwrap();
        chain.watermark(2).unwrap();
        chain.watermark(29).unwrap();
        chain.watermark(30).unwrap();
        // That at 3 is followed by others that were registered on the way.
        let expected =
            ["watermark 2", "event 3", "event 8", "event 13", "event 18", "watermark 29", "event 30", "watermark 30"];
        assert_eq!(expected.map(|_| Subject::next(&mut subject.output)), expected);
    }
}

/// A record may still come in the millisecond of a timer: it is over when the next one begins, in Flink as well.
#[test]
fn a_subtask_waits_for_its_next_timer_and_no_longer() {
    for backend in BACKENDS {
        let mut subject = Subject::new(backend);
        assert_eq!(subject.subtask.patience(), WAIT_MAX);
        subject.subtask.chain.deliver(0, FIRST_INPUT, Subject::records(&["71", "70"])).unwrap();
        for (now, patience) in [(0, 50), (40, 31), (70, 1)] {
            subject.clock.set_ms(now);
            subject.subtask.chain.advance_clock().unwrap();
            assert_eq!(subject.subtask.patience(), Duration::from_millis(patience), "at {now}");
        }
        subject.clock.set_ms(71);
        assert_eq!(subject.subtask.patience(), Duration::ZERO);
        subject.subtask.chain.advance_clock().unwrap();
        assert_eq!(subject.subtask.patience(), Duration::from_millis(1), "that at 71 waits");
        subject.subtask.chain.watermark(0).unwrap();
        subject.clock.set_ms(72);
        subject.subtask.chain.advance_clock().unwrap();
        let expected = ["processing 70", "watermark 0", "processing 71"];
        assert_eq!(expected.map(|_| Subject::next(&mut subject.output)), expected);
        assert_eq!(subject.subtask.patience(), WAIT_MAX);
    }
}

/// The input stays silent: only the clock goes on.
#[test]
fn the_clock_wakes_a_subtask_whose_timer_is_due() {
    for backend in BACKENDS {
        let Subject { mut subtask, input, gate, mut output, signals, clock, called, _folder } = Subject::new(backend);
        let send = |element| input.send(element, &signals, 0).unwrap();
        send(Element::Batch(InputRole::First, Subject::records(&["1000"])));
        let running = thread::spawn(move || subtask.run_gate(gate).is_ok());
        called.recv_timeout(TIMEOUT).unwrap();
        clock.set_ms(1001);
        assert_eq!(Subject::next(&mut output), "processing 1000");
        let (kind, format) = (BarrierKind::Stop, SnapshotFormat::Canonical);
        send(Element::Barrier(Barrier { checkpoint: 1, kind, format, triggered_ns: 0 }));
        assert_eq!(Subject::next(&mut output), "barrier");
        assert!(running.join().unwrap());
    }
}
