//! Test support: a source subtask whose clock and source are set by the test.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::chained_node::{ChainedNode, NodeTask};
use super::operator_chain::OperatorChain;
use super::source_loop::SourceLoop;
use super::subtask_core::SubtaskCore;
use crate::clock::ManualClock;
use crate::connector::{Poll, Source, SplitId};
use crate::format::SourceDecoding;
use crate::model::{Batch, Counters, NO_TIMESTAMP};
use crate::pipeline::{
    BatchSettings, CheckpointMode, DecodingSettings, FileFormat, KeySelector, PipelineSpec, TimestampFormat,
    TimestampSelector, WatermarkSettings,
};
use crate::runtime::attempt_signals::AttemptSignals;
use crate::runtime::barrier::{Barrier, BarrierKind};
use crate::runtime::input::input_gate::{InputEvent, InputGate};
use crate::runtime::output::result_partition::ResultPartition;
use crate::runtime::plan::chaining::RouteTarget;
use crate::runtime::source::checkpoint_triggers::CheckpointTriggers;
use crate::runtime::source::source_decoder::SourceDecoder;
use crate::runtime::source::source_reader::SourceReader;
use crate::runtime::source::watermark_alignment::AlignmentGroups;
use crate::runtime::source::watermark_generator::WatermarkGenerator;
use crate::runtime::source_control::SourceControl;
use crate::runtime::subtask_event::SubtaskEvent;
use crate::runtime::testing::unwatched_channel;
use crate::turn::OutputId;
use crate::wakeup::Wakeup;

/// A source that returns records with these timestamps for each poll, and then ends.
pub(super) struct ScriptedSource(pub(super) VecDeque<Vec<i64>>);

impl Source for ScriptedSource {
    fn poll(&mut self, batch: &mut Batch, _: usize) -> crate::error::Result<Poll> {
        let Some(timestamps) = self.0.pop_front() else { return Ok(Poll::End) };
        timestamps.iter().for_each(|timestamp| batch.push(timestamp.to_string().as_bytes(), NO_TIMESTAMP));
        Ok(if timestamps.is_empty() { Poll::Pending(Duration::ZERO) } else { Poll::Records(SplitId::ONLY) })
    }

    fn snapshot(&mut self, _checkpoint: u64) -> crate::error::Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

/// A subtask with its source, and the receiver of its output.
pub(super) struct SourceHarness {
    pub(super) subtask: SourceLoop,
    pub(super) gate: InputGate,
    pub(super) control: Sender<SourceControl>,
    pub(super) received: Receiver<SourceControl>,
    pub(super) events: Receiver<SubtaskEvent>,
    pub(super) clock: Arc<ManualClock>,
}

impl SourceHarness {
    pub(super) fn new(
        script: impl IntoIterator<Item = Vec<i64>>,
        watermarks: WatermarkSettings,
        groups: &mut AlignmentGroups,
    ) -> SourceHarness {
        SourceHarness::of(Box::new(ScriptedSource(script.into_iter().collect())), watermarks, groups)
    }

    /// Reads `source`, whose records are timestamps.
    pub(super) fn of(
        source: Box<dyn Source>,
        watermarks: WatermarkSettings,
        groups: &mut AlignmentGroups,
    ) -> SourceHarness {
        let (clock, wakeup) = (Arc::<ManualClock>::default(), Wakeup::default());
        let (signals, (sender, receiver)) = (Arc::<AttemptSignals>::default(), unwatched_channel(1000));
        let batch = BatchSettings { records: 1, bytes: 1, linger: Duration::ZERO, ..BatchSettings::default() };
        let partition = ResultPartition::forward(sender, batch, signals.clone());
        let routes = [(OutputId::MAIN, vec![RouteTarget::Edge(0)])].into();
        let node = ChainedNode::new("source", NodeTask::Source(Counters::default()), routes);
        let chain = OperatorChain::new(0, vec![node], [(0, partition)].into(), clock.clone());
        let (sender, events) = unbounded();
        let listener = Arc::new(move |event| drop(sender.send(event)));
        let core = SubtaskCore::new(chain, signals.clone(), wakeup.clone(), listener, Vec::new());
        let selector = TimestampSelector { at: KeySelector::Column(0), format: TimestampFormat::UnixMs, zone: None };
        let decoding = SourceDecoding::raw(FileFormat::Csv, DecodingSettings::default(), Some(selector));
        let alignment = watermarks.alignment.as_ref().map(|settings| groups.join(settings, &wakeup));
        let watermarks = WatermarkGenerator::new(Some(watermarks), NO_TIMESTAMP, clock.clone());
        let decoder = SourceDecoder::new("source", Arc::new(decoding), false).unwrap();
        let reader = SourceReader { alignment, ..SourceReader::new(source, decoder, watermarks, 100, clock.clone()) };
        let pipeline_text = "name = \"a\"\n[checkpoint]\nevent_time = \"1s\"\n[source.a]\nconnector = \"generator\"\n\
                             watermark = \"ascending\"\n[sink.b]\ninput = \"a\"\nconnector = \"stdout\"";
        let settings = PipelineSpec::parse(pipeline_text, "pipeline.toml").unwrap().checkpoint;
        let triggers = Arc::new(CheckpointTriggers::new(&settings, 2));
        let (control, received) = unbounded();
        SourceHarness {
            subtask: SourceLoop::new(core, reader, triggers),
            gate: InputGate::new(vec![receiver], Arc::default(), CheckpointMode::ExactlyOnce, signals, clock.clone()),
            control,
            received,
            events,
            clock,
        }
    }

    /// Returns everything that was sent since the last call.
    pub(super) fn output(&mut self) -> Vec<String> {
        self.sent().into_iter().map(|sent| sent.to_string()).collect()
    }

    /// Returns everything that was sent since the last call.
    pub(super) fn sent(&mut self) -> Vec<SentItem> {
        let next = || match self.gate.next(Duration::ZERO) {
            Ok(InputEvent::Watermark(watermark)) => Some(SentItem::Watermark(watermark)),
            Ok(InputEvent::Idleness { idle }) => Some(SentItem::Idle(idle)),
            Ok(InputEvent::AlignedBarrier { barrier, .. }) => Some(SentItem::Barrier(barrier.kind)),
            Ok(InputEvent::Batch(_, batch)) => Some(SentItem::Records(batch.timestamps)),
            _ => None,
        };
        std::iter::from_fn(next).collect()
    }

    /// Reads the source once, at this time.
    pub(super) fn read_at(&mut self, ms: i64) -> Vec<String> {
        self.sent_at(ms).into_iter().map(|sent| sent.to_string()).collect()
    }

    /// Reads the source once, at this time.
    pub(super) fn sent_at(&mut self, ms: i64) -> Vec<SentItem> {
        self.clock.set_ms(ms);
        self.subtask.read().unwrap();
        self.sent()
    }

    /// Runs the whole loop, with these barriers in the control channel.
    pub(super) fn run(&mut self, barriers: &[Barrier]) -> Vec<String> {
        barriers.iter().for_each(|barrier| self.control.send(SourceControl::Barrier(*barrier)).unwrap());
        self.subtask.run(&self.received).unwrap();
        self.output()
    }

    pub(super) fn records_read(&self) -> u64 {
        self.subtask.reader.counters.records_in
    }

    /// Returns the largest timestamp read, or 0.
    pub(super) fn max_timestamp(&self) -> i64 {
        self.subtask.reader.watermarks.current().saturating_add(1).max(0)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.subtask.has_ended
    }

    pub(super) fn set_script(&mut self, script: impl IntoIterator<Item = Vec<i64>>) {
        self.subtask.reader.source = Box::new(ScriptedSource(script.into_iter().collect()));
    }
}

/// What a source subtask has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SentItem {
    /// Records with these timestamps.
    Records(Vec<i64>),
    Watermark(i64),
    Idle(bool),
    Barrier(BarrierKind),
}

impl std::fmt::Display for SentItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SentItem::Records(_) => f.write_str("records"),
            SentItem::Watermark(i64::MAX) => f.write_str("end"),
            SentItem::Watermark(watermark) => watermark.fmt(f),
            SentItem::Idle(idle) => f.write_str(if *idle { "idle" } else { "active" }),
            SentItem::Barrier(kind) => write!(f, "{kind:?}"),
        }
    }
}
