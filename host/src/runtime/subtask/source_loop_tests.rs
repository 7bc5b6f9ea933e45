//! The loop of a source's subtask: what it sends, and when it reads. The clock is the test's.

use std::collections::VecDeque;

use crossbeam_channel::{Sender, unbounded};
use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::connector::{Source, TimestampExtractor};
use crate::model::{Batch, NO_TIMESTAMP};
use crate::pipeline::{
    AlignmentSettings, BatchSettings, CheckpointMode, KeySelector, PipelineSpec, TimestampFormat, TimestampSelector,
    UndecodablePolicy, ValueFormat, WatermarkSettings,
};
use crate::runtime::channel::link;
use crate::runtime::output::result_partition::EdgeWriter;
use crate::runtime::plan::execution_plan::Target;
use crate::runtime::source::timestamp_assigner::Stamper;
use crate::runtime::source::watermark_alignment::Groups;
use crate::runtime::subtask::operator_chain::{Member, MemberKind};
use crate::state::SnapshotFormat;

/// Gives for each poll the records of these timestamps, and ends behind the last.
struct Scripted(VecDeque<Vec<i64>>);

impl Source for Scripted {
    fn poll(&mut self, batch: &mut Batch, _: usize) -> crate::error::Result<Poll> {
        let Some(timestamps) = self.0.pop_front() else { return Ok(Poll::End) };
        timestamps.iter().for_each(|timestamp| batch.push(timestamp.to_string().as_bytes(), NO_TIMESTAMP));
        Ok(if timestamps.is_empty() { Poll::Pending(Duration::ZERO) } else { Poll::Records })
    }

    fn position(&self) -> crate::error::Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

/// A subtask with its source, and the receiver of what it sends.
struct Subject {
    subtask: Subtask,
    reader: Option<SourceReader>,
    triggers: Triggers,
    gate: Gate,
    control: Sender<Barrier>,
    received: Receiver<Barrier>,
    events: Receiver<SubtaskEvent>,
    clock: Arc<ManualClock>,
    ended: bool,
}

impl Subject {
    fn new(script: impl IntoIterator<Item = Vec<i64>>, watermarks: WatermarkSettings, groups: &mut Groups) -> Subject {
        let clock = Arc::<ManualClock>::default();
        let (signals, (sender, receiver)) = (Arc::<Signals>::default(), link(1000));
        let batch = BatchSettings { records: 1, bytes: 1, linger: Duration::ZERO };
        let edge = EdgeWriter::forward(sender, batch, signals.clone());
        let member = Member {
            node: "source".into(),
            kind: MemberKind::Source(Counters::default()),
            routes: vec![vec![Target::Edge(0)]],
        };
        let chain = Chain::new(0, vec![member], [(0, edge)].into(), clock.clone());
        let (notify, events) = unbounded();
        let notify: Notify = Arc::new(move |event| drop(notify.send(event)));
        let subtask = Subtask { chain, signals: signals.clone(), notify, shown: Vec::new(), shown_ns: 0, fixed: None };
        let selector = TimestampSelector { at: KeySelector::Column(0), format: TimestampFormat::UnixMs, zone: None };
        let extractor = TimestampExtractor::compile(&selector, &ValueFormat::Csv(None)).unwrap();
        let reader = SourceReader {
            index: 0,
            source: Box::new(Scripted(script.into_iter().collect())),
            stamper: Some(Stamper::new("source", Arc::new(extractor), UndecodablePolicy::Fail)),
            alignment: watermarks.alignment.as_ref().map(|settings| groups.join(settings)),
            watermarks: Some(watermarks),
            pace: None,
            batch_records: 100,
            clock: clock.clone(),
            counters: Counters::default(),
            latest: NO_TIMESTAMP,
            restored_watermark: NO_TIMESTAMP,
            watermark: NO_TIMESTAMP,
            watermark_sent_ns: 0,
            quiet_since_ns: None,
            has_given: false,
            failed: None,
            has_failed: false,
        };
        let manifest = "name = \"a\"\n[checkpoint]\nevent_time = \"1s\"\n[source.a]\nconnector = \"generator\"\n\
                        watermark = \"ascending\"\n[sink.b]\ninput = \"a\"\nconnector = \"stdout\"";
        let settings = PipelineSpec::parse(manifest, "pipeline.toml").unwrap().checkpoint;
        let (control, received) = unbounded();
        Subject {
            subtask,
            reader: Some(reader),
            triggers: Triggers::new(&settings, 2),
            gate: Gate::new(vec![receiver], CheckpointMode::ExactlyOnce, signals, clock.clone()),
            control,
            received,
            events,
            clock,
            ended: false,
        }
    }

    /// Everything that came out.
    fn out(&mut self) -> Vec<String> {
        let next = || match self.gate.next(Duration::ZERO) {
            Ok(Arrival::Watermark(i64::MAX)) => Some("end".into()),
            Ok(Arrival::Watermark(watermark)) => Some(watermark.to_string()),
            Ok(Arrival::Status { idle }) => Some(if idle { "idle" } else { "active" }.into()),
            Ok(Arrival::Barrier { barrier, .. }) => Some(format!("{:?}", barrier.kind)),
            Ok(Arrival::Batch(..)) => Some("records".into()),
            _ => None,
        };
        std::iter::from_fn(next).collect()
    }

    /// One look at the source, at this time.
    fn read_at(&mut self, ms: i64) -> Vec<String> {
        self.clock.set_ms(ms);
        let reader = self.reader.as_mut().unwrap();
        self.subtask.read(reader, &self.triggers, &mut self.ended).unwrap();
        self.out()
    }

    /// The whole loop, with these barriers waiting.
    fn run(&mut self, barriers: &[Barrier]) -> Vec<String> {
        barriers.iter().for_each(|barrier| self.control.send(*barrier).unwrap());
        let reader = self.reader.take().unwrap();
        self.subtask.run_source(reader, self.received.clone(), &self.triggers).unwrap();
        self.out()
    }

    fn read(&self) -> u64 {
        self.reader.as_ref().unwrap().counters.records_in
    }
}

fn barrier(checkpoint: u64, kind: BarrierKind) -> Barrier {
    Barrier { checkpoint, kind, format: SnapshotFormat::Canonical, triggered_ns: 0 }
}

fn idle_after(seconds: u64) -> WatermarkSettings {
    WatermarkSettings { idle_after: Some(Duration::from_secs(seconds)), ..WatermarkSettings::default() }
}

#[test]
fn a_drain_sends_the_largest_watermark_in_front_of_its_barrier_and_a_stop_does_not() {
    let run = |barriers: &[Barrier]| {
        let mut subject = Subject::new([vec![], vec![], vec![]], WatermarkSettings::default(), &mut Groups::default());
        let seen = subject.run(barriers);
        let answers =
            subject.events.try_iter().filter(|event| matches!(event, SubtaskEvent::Acknowledged { .. })).count();
        assert_eq!(answers, barriers.len());
        seen
    };
    assert_eq!(run(&[barrier(1, BarrierKind::Stop)]), ["Stop"]);
    let both = [barrier(1, BarrierKind::Checkpoint), barrier(2, BarrierKind::Drain)];
    assert_eq!(run(&both), ["Checkpoint", "end", "Drain"]);
}

#[test]
fn a_drain_sends_the_watermark_of_the_last_record_first() {
    let mut subject =
        Subject::new([vec![100], vec![250], vec![]], WatermarkSettings::default(), &mut Groups::default());
    assert_eq!(subject.read_at(1000), ["records", "99"]);
    // Too early for another watermark.
    assert_eq!(subject.read_at(1001), ["records"]);
    assert_eq!(subject.run(&[barrier(1, BarrierKind::Drain)]), ["249", "end", "Drain"]);
}

#[test]
fn a_source_that_is_restored_at_its_end_sends_the_watermark_of_its_checkpoint_before_the_end() {
    let mut subject = Subject::new([vec![100]], WatermarkSettings::default(), &mut Groups::default());
    assert_eq!(subject.reader.as_ref().unwrap().checkpointed_watermark(), None);
    subject.read_at(1000);
    let checkpointed = subject.reader.as_ref().unwrap().checkpointed_watermark();
    assert_eq!(checkpointed, Some(99));

    let mut restored = Subject::new([], WatermarkSettings::default(), &mut Groups::default());
    let reader = restored.reader.as_mut().unwrap();
    reader.restored_watermark = checkpointed.unwrap();
    assert_eq!(reader.checkpointed_watermark(), Some(99), "the next checkpoint keeps it");
    assert_eq!(restored.read_at(2000), ["99", "end"]);
}

#[test]
fn a_source_that_has_nothing_to_read_is_idle_after_a_while_and_until_its_next_record() {
    let script = [vec![1000], vec![1500], vec![], vec![], vec![], vec![], vec![], vec![1200], vec![], vec![]];
    let mut subject = Subject::new(script, idle_after(10), &mut Groups::default());
    assert_eq!(subject.read_at(200), ["records", "999"]);
    assert_eq!(subject.read_at(250), ["records"], "the next watermark is not due");
    assert_eq!(subject.read_at(260), [""; 0], "from here on it is quiet");
    assert_eq!(subject.read_at(300), ["1499"], "that watermark comes without a record");
    assert_eq!(subject.read_at(10_259), [""; 0]);
    assert!(!subject.triggers.advance(1, 1_100) && !subject.triggers.advance(1, 2_500), "this one is at 1499");
    assert_eq!(subject.read_at(10_260), ["idle"]);
    assert!(subject.triggers.advance(1, 3_000), "it does not hold up checkpoints by event time either");
    assert_eq!(subject.read_at(30_000), [""; 0]);
    assert_eq!(subject.read_at(30_001), ["active", "records"], "late as its record is");
    assert_eq!(subject.read_at(40_000), [""; 0], "it was quiet for an unknown time, and not asked");
    assert_eq!(subject.read_at(50_000), ["idle"]);
    assert_eq!(subject.read_at(50_001), ["active", "end"]);
    assert!(subject.ended);
}

/// One record a second: in between it is not asked, and nobody knows that it has nothing.
#[test]
fn a_source_that_waits_for_its_rate_is_not_idle() {
    let settings = WatermarkSettings { idle_after: Some(Duration::from_millis(100)), ..WatermarkSettings::default() };
    let mut subject = Subject::new([vec![1000], vec![2000], vec![], vec![]], settings, &mut Groups::default());
    subject.reader.as_mut().unwrap().pace = Some(crate::runtime::source::source_reader::Pace::new(1, 0));
    assert_eq!(subject.read_at(1000), ["records", "999"]);
    assert_eq!([1100, 1300, 1900].map(|at| subject.read_at(at)).concat(), [""; 0]);
    assert_eq!(subject.read_at(2000), ["records", "1999"]);
    assert_eq!([3000, 3100].map(|at| subject.read_at(at)).concat(), ["idle"], "here it was asked");
}

#[test]
fn before_it_is_idle_a_source_says_how_far_it_came() {
    let settings = WatermarkSettings { idle_after: Some(Duration::from_millis(1)), ..WatermarkSettings::default() };
    let mut subject = Subject::new([vec![1000], vec![], vec![]], settings, &mut Groups::default());
    assert_eq!(subject.read_at(10), ["records"]);
    assert_eq!(subject.read_at(11), [""; 0]);
    assert_eq!(subject.read_at(12), ["999", "idle"]);
}

#[test]
fn without_idle_after_a_source_is_never_idle_and_a_drain_ends_an_idle_one() {
    let script = || [vec![], vec![], vec![], vec![]];
    let mut subject = Subject::new(script(), WatermarkSettings::default(), &mut Groups::default());
    assert_eq!([subject.read_at(0), subject.read_at(i64::MAX / 2_000_000)].concat(), [""; 0]);

    let mut subject = Subject::new(script(), idle_after(1), &mut Groups::default());
    assert_eq!([subject.read_at(0), subject.read_at(1000)].concat(), ["idle"]);
    assert_eq!(subject.run(&[barrier(1, BarrierKind::Drain)]), ["active", "end", "Drain"]);
}

/// Two sources of one group, whose batches are one and two seconds long.
fn pair(max_drift_ms: u64) -> [Subject; 2] {
    let alignment = AlignmentSettings { group: "g".into(), max_drift: Duration::from_millis(max_drift_ms) };
    let settings = WatermarkSettings { alignment: Some(alignment), ..idle_after(60) };
    let mut groups = Groups::default();
    let mut of = |batch_ms: i64| {
        let batches = (0..50).map(|number| vec![number * batch_ms + 1, (number + 1) * batch_ms]);
        Subject::new(batches.collect::<Vec<_>>(), settings.clone(), &mut groups)
    };
    [of(1000), of(2000)]
}

fn reached(subject: &Subject) -> i64 {
    subject.reader.as_ref().unwrap().latest.max(0)
}

proptest! {
    #[test]
    fn nobody_runs_further_ahead_than_the_drift_and_one_batch(
        order in prop::collection::vec(0usize..2, 1..150),
        max_drift in 0i64..7000,
    ) {
        let mut pair = pair(max_drift as u64);
        for at in order {
            let ahead = reached(&pair[at]) - reached(&pair[1 - at]);
            let (before, waits) = (pair[at].read(), ahead > max_drift || (reached(&pair[1 - at]) == 0 && ahead > 0));
            pair[at].read_at(0);
            // Where one has ended it holds the other one up no more.
            if pair.iter().all(|subject| !subject.ended) {
                prop_assert_eq!(pair[at].read() == before, waits);
                let ahead = reached(&pair[at]) - reached(&pair[1 - at]);
                prop_assert!(ahead <= max_drift + 2000, "{} ms ahead", ahead);
            }
        }
        // Whatever the order was, both come to their ends.
        while pair.iter().any(|subject| !subject.ended) {
            for subject in pair.iter_mut().filter(|subject| !subject.ended) {
                subject.read_at(0);
            }
        }
        prop_assert_eq!([pair[0].read(), pair[1].read()], [100, 100]);
    }
}

#[test]
fn one_that_waits_is_woken_answers_barriers_and_is_not_idle() {
    let [mut slow, mut fast] = pair(3000);
    slow.read_at(0);
    (0..3).for_each(|_| drop(fast.read_at(0)));
    assert_eq!((fast.read(), reached(&slow), reached(&fast)), (6, 1000, 6000));
    fast.read_at(0);
    assert_eq!(fast.read(), 6, "it waits");
    assert_eq!(fast.read_at(500_000), ["5999"], "what it has read it says");
    assert!(!fast.subtask.chain.event_time.idle, "there is something to read");
    let woken = fast.reader.as_ref().unwrap().alignment.as_ref().unwrap().woken.clone();
    slow.read_at(0);
    assert!(woken.is_empty(), "2000 against 6000");
    slow.read_at(0);
    assert_eq!(woken.len(), 1, "3000 against 6000");
    fast.read_at(0);
    assert_eq!(fast.read(), 8);
    fast.out();
    assert_eq!(fast.run(&[barrier(1, BarrierKind::Checkpoint), barrier(2, BarrierKind::Stop)]), ["Checkpoint", "Stop"]);
}

#[test]
fn an_idle_one_holds_its_group_up_no_more_until_it_returns() {
    let [mut slow, mut fast] = pair(0);
    slow.reader.as_mut().unwrap().source = Box::new(Scripted([vec![], vec![], vec![10], vec![9000]].into()));
    fast.read_at(0);
    fast.read_at(0);
    slow.read_at(0);
    assert_eq!(fast.read(), 2);
    slow.read_at(60_000);
    fast.read_at(0);
    fast.read_at(0);
    assert_eq!(fast.read(), 6);
    slow.read_at(60_001);
    fast.read_at(0);
    assert_eq!(fast.read(), 6, "it is back, at 10");
    slow.read_at(60_001);
    fast.read_at(0);
    assert_eq!(fast.read(), 8);
}

#[test]
fn the_time_in_which_it_waits_is_no_time_without_records() {
    let [mut slow, mut fast] = pair(0);
    slow.reader.as_mut().unwrap().source = Box::new(Scripted([vec![], vec![], vec![10], vec![9000]].into()));
    fast.reader.as_mut().unwrap().source = Box::new(Scripted([vec![5000], vec![], vec![]].into()));
    slow.read_at(0);
    slow.read_at(60_000);
    fast.read_at(60_000);
    fast.read_at(60_001);
    slow.read_at(60_002);
    fast.read_at(100_000);
    assert_eq!(fast.reader.as_ref().unwrap().quiet_since_ns, None, "the other one is back, and behind");
    slow.read_at(100_000);
    assert_eq!(fast.read_at(130_000), [""; 0], "it has looked again now, for the first time");
    assert_eq!(fast.reader.as_ref().unwrap().quiet_since_ns, Some(130_000_000_000));
}
