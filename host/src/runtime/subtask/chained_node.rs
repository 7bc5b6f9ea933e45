//! One node of a chain: a source, an operator or a sink, with the targets of its outputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::connector::Sink;
use crate::error::Result;
use crate::model::row::RowSchema;
use crate::model::{Batch, Counters};
use crate::operator::{Operator, RejectedRecord};
use crate::pipeline::InjectionStep;
use crate::runtime::barrier::Barrier;
use crate::runtime::injected_failures::InjectedFailures;
use crate::runtime::plan::chaining::OutputRoutes;
use crate::runtime::records::record_converter::RecordConverter;
use crate::runtime::replay::replay_feed::ReplayFeed;
use crate::runtime::stats::node_meters::NodeMeters;
use crate::runtime::stats::subtask_stats::SubtaskStats;
use crate::runtime::subtask_snapshot::SubtaskSnapshot;
use crate::runtime::tap::NodeTap;
use crate::state::BroadcastState;
use crate::turn::OutputId;

/// A node with the targets of its outputs.
pub(crate) struct ChainedNode {
    /// Id of the node.
    pub(crate) id: String,
    pub(crate) task: NodeTask,
    /// The targets of each output.
    pub(crate) routes: OutputRoutes,
    /// Rewrites the records of each input. `None` for an input that takes records of all formats.
    pub(crate) converters: Vec<Option<RecordConverter>>,
    /// The schema of the rows of each output, for batches that do not name it.
    pub(crate) output_schemas: BTreeMap<OutputId, Arc<RowSchema>>,
    /// The counts with which the node begins.
    pub(crate) restored: Counters,
    /// Batches that the node has taken.
    pub(crate) batches_in: u64,
    /// Those who look at the records of the node.
    pub(crate) tap: Arc<NodeTap>,
    /// Failures on purpose, if any concern this subtask.
    pub(crate) injected: Option<Arc<InjectedFailures>>,
    /// The dead letters of the node, if the host keeps them.
    pub(crate) letters: Option<Box<KeptLetters>>,
}

/// Where the dead letters of a node are kept, and from where they are replayed.
pub(crate) struct KeptLetters {
    /// The output for dead letters.
    pub(crate) output: OutputId,
    pub(crate) sink: Box<dyn Sink>,
    /// `None` for a source.
    pub(crate) replay: Option<ReplayFeed>,
}

/// The task of a node.
pub(crate) enum NodeTask {
    /// The source itself is read by the source loop. Its counters are kept here for the statistics.
    Source(Counters),
    Operator(Box<dyn Operator>),
    Sink {
        sink: Box<dyn Sink>,
        counters: Counters,
    },
}

impl NodeTask {
    fn counters(&self) -> Counters {
        match self {
            NodeTask::Source(counters) | NodeTask::Sink { counters, .. } => *counters,
            NodeTask::Operator(operator) => operator.counters(),
        }
    }
}

impl ChainedNode {
    /// Creates a node whose records stay as they are.
    pub(crate) fn new(id: impl Into<String>, task: NodeTask, routes: OutputRoutes) -> ChainedNode {
        ChainedNode {
            id: id.into(),
            restored: task.counters(),
            batches_in: 0,
            task,
            routes,
            converters: Vec::new(),
            output_schemas: BTreeMap::new(),
            letters: None,
            tap: Arc::default(),
            injected: None,
        }
    }

    /// Rewrites a batch of an input in the format that the node takes. Records for which this fails are appended to `rejected`.
    pub(crate) fn convert(&mut self, input: u32, batch: Batch, rejected: &mut Vec<RejectedRecord>) -> Result<Batch> {
        match self.converters.get_mut(input as usize) {
            Some(Some(converter)) => converter.convert(batch, rejected),
            _ => Ok(batch),
        }
    }

    /// Returns the failure that is injected at a step which is about to be done `times` times.
    pub(crate) fn check_injected(&self, step: InjectionStep, subtask: u32, times: usize) -> Result<()> {
        match &self.injected {
            Some(injected) => injected.check(step, &self.id, subtask, times as u64),
            None => Ok(()),
        }
    }

    /// Takes the snapshot of the node for a checkpoint.
    pub(super) fn take_snapshot(
        &mut self,
        barrier: Barrier,
        subtask: u32,
        clock: &dyn Clock,
    ) -> Result<SubtaskSnapshot> {
        self.check_injected(InjectionStep::Snapshot, subtask, 1)?;
        let started_ns = clock.monotonic_ns();
        fail_point!("snapshot.take", crate::error::state_failed);
        let mut snapshot = SubtaskSnapshot::new(&self.id, subtask);
        match &mut self.task {
            NodeTask::Source(counters) => snapshot.counters = *counters,
            NodeTask::Operator(operator) => {
                snapshot.counters = operator.counters();
                let watermark = operator.watermark();
                let turn = operator.turn();
                snapshot.positions = turn.positions;
                snapshot.watermark = turn.has_watermark_state().then_some(watermark);
                snapshot.broadcast = turn.broadcast().map(BroadcastState::snapshot);
                turn.persist_watermark(watermark)?;
                snapshot.state = turn.backend().map(|backend| backend.snapshot(barrier.format)).transpose()?;
            }
            NodeTask::Sink { sink, counters } => {
                snapshot.counters = *counters;
                snapshot.prepared = sink.prepare(barrier.checkpoint)?;
                fail_point!("snapshot.sink-prepared", crate::error::sink_unwritable);
            }
        }
        if let Some(letters) = &mut self.letters {
            snapshot.prepared = letters.sink.prepare(barrier.checkpoint)?;
            snapshot.source_position = letters.replay.as_ref().map(ReplayFeed::position).transpose()?.flatten();
        }
        snapshot.times.sync_ns = clock.monotonic_ns().saturating_sub(started_ns);
        Ok(snapshot)
    }

    /// Returns the statistics of the node, without its event time.
    pub(super) fn stats(&mut self) -> SubtaskStats {
        let (restored, batches_in) = (self.restored, self.batches_in);
        let counted = SubtaskStats { restored, batches_in, ..SubtaskStats::default() };
        match &mut self.task {
            NodeTask::Source(counters) | NodeTask::Sink { counters, .. } => {
                SubtaskStats { counters: *counters, ..counted }
            }
            NodeTask::Operator(operator) => {
                operator.log_suppressed();
                let (counters, meters) = (operator.counters(), NodeMeters::of_operator(&mut **operator));
                let turn = operator.turn();
                let keyed = turn.backend().map(|backend| backend.size()).unwrap_or_default();
                let state = keyed + turn.broadcast().map(BroadcastState::size).unwrap_or_default();
                SubtaskStats { counters, metrics: turn.metrics().clone(), state, meters, ..counted }
            }
        }
    }
}
