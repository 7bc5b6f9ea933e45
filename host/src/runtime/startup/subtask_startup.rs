//! Opens the chain of a subtask and runs its loop. Reports a failure or a panic to the job.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::operator_startup::open_operator;
use super::record_origin::record_origin;
use super::source_startup::open_source;
use super::subtask_context::SubtaskContext;
use crate::connector;
use crate::error;
use crate::permits;
use crate::pipeline::{InjectionStep, NodeKind, PipelineNode};
use crate::runtime::input::input_gate::InputGate;
use crate::runtime::output::result_partition::ResultPartition;
use crate::runtime::records::record_converter::RecordConverter;
use crate::runtime::replay::replay_feed::{FedOperator, ReplayFeed};
use crate::runtime::source::checkpoint_triggers::CheckpointTriggers;
use crate::runtime::source::rate_limiter::RateShare;
use crate::runtime::source::source_reader::SourceReader;
use crate::runtime::source::watermark_alignment::AlignmentMembership;
use crate::runtime::source_control::SourceControl;
use crate::runtime::stats::subtask_stats::SubtaskStatsSlot;
use crate::runtime::subtask::chained_node::{ChainedNode, KeptLetters, NodeTask};
use crate::runtime::subtask::input_loop::InputLoop;
use crate::runtime::subtask::operator_chain::OperatorChain;
use crate::runtime::subtask::source_loop::SourceLoop;
use crate::runtime::subtask::subtask_core::SubtaskCore;
use crate::runtime::subtask_event::SubtaskEvent;
use crate::runtime::subtask_failure::{SubtaskError, SubtaskFailure};
use crate::runtime::tap::NodeTap;
use crate::tracer::OpenSpan;
use crate::turn::OutputId;

/// Code of an error that only says that the attempt is over.
const INTERRUPTED: &str = "interrupted";

/// The input of a subtask.
pub(crate) enum SubtaskInput {
    /// The chain starts with a source.
    Source(SourceInput),
    /// The chain reads from channels.
    Gate(InputGate),
}

/// The input of a source subtask.
pub(crate) struct SourceInput {
    /// Index among all source subtasks of the job.
    pub(crate) index: usize,
    /// Delivers the messages of the job.
    pub(crate) control: Receiver<SourceControl>,
    pub(crate) triggers: Arc<CheckpointTriggers>,
    pub(crate) alignment: Option<AlignmentMembership>,
    /// The share of the source's rate limit, if it has one.
    pub(crate) rate: Option<RateShare>,
}

/// Everything that the thread of a subtask starts with.
pub(crate) struct SubtaskStartup {
    pub(crate) context: SubtaskContext,
    /// Index of the chain in the plan.
    pub(crate) chain: usize,
    /// The partitions of the edges that lead out of the chain, by the index of the edge in the plan.
    pub(crate) partitions: BTreeMap<usize, ResultPartition>,
    /// Where the statistics of the nodes are published, one slot for each node of the chain.
    pub(crate) stats_slots: Vec<SubtaskStatsSlot>,
    /// Traces the start of the subtask.
    pub(crate) span: Arc<OpenSpan>,
}

impl SubtaskStartup {
    /// Opens the chain and runs it until it ends. Reports a failure to the job, unless the attempt is over anyway.
    pub(crate) fn run(self, input: SubtaskInput) {
        let context = self.context.clone();
        let node = self.node(0).id.clone();
        let SubtaskContext { options, activity, .. } = &context;
        let _permit = permits::enter(&options.share, activity.clone(), options.interrupt.clone());
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| self.open_and_run(input)));
        let failure = match result {
            Ok(Ok(()) | Err(SubtaskError::Cancelled)) => return,
            Ok(Err(SubtaskError::Failed(failure))) if failure.code == INTERRUPTED => return,
            Ok(Err(SubtaskError::Failed(failure))) => {
                let is_cancelled = || context.signals.is_cancelled();
                let origin = record_origin(&failure, &context.plan, &context.options.paths, &is_cancelled);
                if origin.is_some() { Box::new(failure.with_origin(origin)) } else { failure }
            }
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied());
                let error = error::internal(format!("a subtask panicked: {}", text.unwrap_or("no message")));
                Box::new(SubtaskFailure::from_error(&node, context.subtask, error))
            }
        };
        (context.options.listener)(SubtaskEvent::Failed(failure));
    }

    /// Returns a node of the chain, by its index in the chain.
    fn node(&self, index: usize) -> &PipelineNode {
        let plan = &self.context.plan;
        &plan.pipeline.nodes[plan.graph.chains[self.chain].nodes[index].node]
    }

    fn open_and_run(mut self, input: SubtaskInput) -> Result<(), SubtaskError> {
        match input {
            SubtaskInput::Source(SourceInput { index, control, triggers, alignment, rate }) => {
                let reader = self.open_source(index, alignment, rate)?;
                let source = NodeTask::Source(reader.counters);
                let core = self.open_chain(Some(source))?;
                self.notify_opened();
                SourceLoop::new(core, reader, triggers).run(&control)
            }
            SubtaskInput::Gate(mut gate) => {
                let core = self.open_chain(None)?;
                let first = self.node(0);
                let in_flight = self.context.restored(first).in_flight();
                gate.restore(in_flight.map_err(|error| self.error_in(first, error))?);
                self.notify_opened();
                InputLoop::new(core, gate).run()
            }
        }
    }

    fn notify_opened(&mut self) {
        // With the last subtask the trace of the start ends.
        self.span = Arc::default();
        (self.context.options.listener)(SubtaskEvent::Opened);
    }

    fn error_in(&self, node: &PipelineNode, error: error::Error) -> SubtaskError {
        SubtaskError::from_error(&node.id, self.context.subtask, error)
    }

    fn open_source(
        &self,
        index: usize,
        alignment: Option<AlignmentMembership>,
        rate: Option<RateShare>,
    ) -> Result<SourceReader, SubtaskError> {
        let node = self.node(0);
        let opened = match &node.kind {
            NodeKind::Source(config) => open_source(&self.context, node, config, index, alignment, rate),
            NodeKind::Operator(_) | NodeKind::Sink(_) => {
                Err(error::internal("a chain without inputs does not start with a source"))
            }
        };
        opened.map_err(|error| self.error_in(node, error))
    }

    /// Opens the nodes of the chain. `source` is the first node of a chain that starts with a source.
    fn open_chain(&mut self, source: Option<NodeTask>) -> Result<SubtaskCore, SubtaskError> {
        let partitions = std::mem::take(&mut self.partitions);
        let stats_slots = std::mem::take(&mut self.stats_slots);
        let mut source = source;
        let mut nodes = Vec::new();
        for (index, planned) in self.context.plan.graph.chains[self.chain].nodes.iter().enumerate() {
            let node = self.node(index);
            let task = match source.take() {
                Some(source) => source,
                None => self.open_traced(node).map_err(|error| self.error_in(node, error))?,
            };
            let records = &self.context.plan.records.nodes[planned.node];
            let SubtaskContext { options, subtask, .. } = &self.context;
            if options.restore.is_some() {
                let injected = options.injected.check(InjectionStep::Restore, &node.id, *subtask, 1);
                injected.map_err(|error| self.error_in(node, error))?;
            }
            nodes.push(ChainedNode {
                injected: Some(options.injected.clone()).filter(|injected| injected.concern(&node.id, *subtask)),
                converters: records.inputs().iter().cloned().map(|format| format.map(RecordConverter::new)).collect(),
                output_schemas: records.output_schemas(),
                letters: self.open_letters(planned.node).map_err(|error| self.error_in(node, error))?,
                tap: self.open_tap(node),
                ..ChainedNode::new(&node.id, task, planned.routes.clone())
            });
        }
        let SubtaskContext { options, signals, wakeup, subtask, activity, .. } = &self.context;
        let mut chain = OperatorChain::new(*subtask, nodes, partitions, options.clock.clone());
        chain.measure_nodes(activity);
        if options.restore.is_some() {
            chain.fire_restored_timers()?;
        }
        Ok(SubtaskCore::new(chain, signals.clone(), wakeup.clone(), options.listener.clone(), stats_slots))
    }

    /// Returns the taps of a node, and tells them the names of its outputs.
    fn open_tap(&self, node: &PipelineNode) -> Arc<NodeTap> {
        let SubtaskContext { plan, options, .. } = &self.context;
        let tap = options.taps.node(&node.id);
        if let Some(function) = plan.functions.get(&node.id) {
            tap.set_outputs(function.description.outputs.iter().map(|output| output.name.clone()).collect());
        }
        tap
    }

    /// Opens the store of the dead letters of a node, if the host keeps them. `index` is that of the node in the pipeline.
    fn open_letters(&self, index: usize) -> error::Result<Option<Box<KeptLetters>>> {
        let SubtaskContext { plan, options, subtask, .. } = &self.context;
        let node = &plan.pipeline.nodes[index];
        let Some(folder) = options.letters.folder.as_ref().filter(|_| plan.pipeline.keeps_letters(index)) else {
            return Ok(None);
        };
        let source_output = plan.records.decodings.get(&node.id).and_then(|decoding| decoding.dead_letter_output());
        let is_source = matches!(node.kind, NodeKind::Source(_));
        let replay = match is_source {
            true => None,
            false => {
                let fed = FedOperator {
                    id: node.id.clone(),
                    subtask: *subtask,
                    parallelism: node.parallelism,
                    max_parallelism: plan.pipeline.max_parallelism,
                    is_keyed: node.key.is_some(),
                };
                let position = self.context.restored(node).replay_position()?;
                Some(ReplayFeed::new(options.letters.replays.clone(), fed, position))
            }
        };
        let sink =
            connector::open_letter_sink(folder, options.letters.quota.clone(), &self.context.connector_context(node))?;
        Ok(Some(Box::new(KeptLetters {
            output: source_output.map_or(OutputId::DeadLetter, OutputId::Declared),
            sink,
            replay,
        })))
    }

    /// Opens an operator or a sink. Traces the load of an operator's state.
    fn open_traced(&self, node: &PipelineNode) -> error::Result<NodeTask> {
        let span = match node.kind {
            NodeKind::Operator(_) => self.span.child("load state"),
            NodeKind::Source(_) | NodeKind::Sink(_) => OpenSpan::default(),
        };
        span.set_text("cofferdam.operator", &node.id);
        span.set("cofferdam.subtask", u64::from(self.context.subtask));
        self.span.note(span.note(self.open_task(node)))
    }

    /// Opens an operator or a sink.
    fn open_task(&self, node: &PipelineNode) -> error::Result<NodeTask> {
        Ok(match &node.kind {
            NodeKind::Operator(operator) => NodeTask::Operator(open_operator(&self.context, node, operator)?),
            NodeKind::Sink(sink) => {
                let sink =
                    connector::open_sink(&sink.connector, &sink.encoding, &self.context.connector_context(node))?;
                NodeTask::Sink { sink, counters: self.context.restored(node).counters() }
            }
            NodeKind::Source(_) => return Err(error::internal("a source is not the first node of its chain")),
        })
    }
}
