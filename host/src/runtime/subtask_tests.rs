//! The loop of a source's subtask: what it sends behind its last record.

use super::super::chain::{Member, MemberKind};
use super::super::exchange::EdgeWriter;
use super::super::link::link;
use super::super::plan::Target;
use super::*;
use crate::clock::ManualClock;
use crate::connector::{self, ConnectorContext};
use crate::manifest::{BatchSettings, CheckpointMode, Pipeline, SourceConfig};
use crate::model::NO_TIMESTAMP;
use crate::state::ImageFormat;

/// Everything that comes out of a source which answers these barriers and has no record.
fn run(barriers: &[Barrier]) -> Vec<String> {
    let clock = Arc::<ManualClock>::default();
    let (signals, (sender, receiver)) = (Arc::<Signals>::default(), link(8));
    let batch = BatchSettings { records: 1, bytes: 1, linger: Duration::ZERO };
    let edge = EdgeWriter::forward(sender, batch, signals.clone());
    let member = Member {
        node: "source".into(),
        kind: MemberKind::Source(Counters::default()),
        routes: vec![vec![Target::Edge(0)]],
    };
    let chain = Chain { subtask: 0, members: vec![member], edges: [(0, edge)].into(), clock: clock.clone() };
    let (events, answers) = crossbeam_channel::unbounded();
    let mut subtask = Subtask {
        chain,
        signals: signals.clone(),
        notify: Arc::new(move |event| drop(events.send(event))),
        shown: Vec::new(),
        shown_ns: 0,
        fixed: None,
    };
    let context = ConnectorContext {
        job_id: "job".into(),
        node: "source".into(),
        subtask: 0,
        parallelism: 1,
        clock: clock.clone(),
        base_dir: "".into(),
        seed: 0,
    };
    let config = SourceConfig::Generator { records: None, template: "{n}".into(), keys: 1 };
    let reader = SourceReader {
        index: 0,
        source: connector::open_source(&config, &context, &[]).unwrap(),
        timestamps: None,
        watermarks: None,
        pace: None,
        batch_records: 1,
        clock: clock.clone(),
        counters: Counters::default(),
        latest: NO_TIMESTAMP,
        watermark: NO_TIMESTAMP,
        watermark_sent_ns: 0,
    };
    let (control, received) = crossbeam_channel::unbounded();
    barriers.iter().for_each(|barrier| control.send(*barrier).unwrap());
    let manifest =
        "name = \"a\"\n[source.a]\nconnector = \"generator\"\n[sink.b]\ninput = \"a\"\nconnector = \"stdout\"";
    let settings = Pipeline::parse(manifest, "pipeline.toml").unwrap().checkpoint;
    subtask.run_source(reader, received, &Triggers::new(&settings, 1)).unwrap();
    drop(subtask);
    assert_eq!(answers.try_iter().count(), barriers.len());

    let mut gate = Gate::new(vec![receiver], CheckpointMode::ExactlyOnce, signals, clock);
    let next = || match gate.next(Duration::ZERO) {
        Ok(Arrival::Watermark(watermark)) => Some(format!("watermark {watermark}")),
        Ok(Arrival::Barrier { barrier, .. }) => Some(format!("{:?}", barrier.kind)),
        Ok(Arrival::Batch(..)) => Some("batch".into()),
        _ => None,
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn a_drain_sends_the_largest_watermark_in_front_of_its_barrier_and_a_stop_does_not() {
    let barrier = |checkpoint, kind| Barrier { checkpoint, kind, format: ImageFormat::Canonical, triggered_ns: 0 };
    assert_eq!(run(&[barrier(1, BarrierKind::Stop)]), ["Stop"]);
    let both = [barrier(1, BarrierKind::Checkpoint), barrier(2, BarrierKind::Drain)];
    assert_eq!(run(&both), ["Checkpoint", "batch", &format!("watermark {}", i64::MAX), "Drain"]);
}
