//! The execution plan of a job, and how it is built from a pipeline and its functions.
//!
//! Building a plan checks everything that needs the functions, the inputs and the sinks. Nothing is started.

use std::path::Path;
use std::sync::Arc;

use super::chaining::ChainGraph;
use super::delivery_guarantee::delivery_guarantee;
use super::error_context::{in_node, in_setting};
use super::event_time_check::check_event_time;
use super::function_checks::check_function;
use super::functions::{FunctionPlans, function_of};
use super::records::formats::{KnownRecords, PlannedRecords, plan_records};
use super::source_checks::{check_first_timestamps, check_source};
use crate::access::PipelinePaths;
use crate::checkpoint::CheckpointMetadata;
use crate::connector::{self, SourceCheck};
use crate::error::{self, Result};
use crate::model::Interrupt;
use crate::operator::join_states;
use crate::pipeline::{FileFormat, NodeKind, PipelineNode, PipelineSpec, SinkNode, SourceTimestamp};
use crate::sandbox::FunctionKind;

/// The plan of a job: its chains, edges and functions.
pub struct ExecutionPlan {
    /// The checked pipeline.
    pub pipeline: Arc<PipelineSpec>,
    /// The functions of the operators, with the hidden states that the host adds.
    pub functions: FunctionPlans,
    /// Warnings for the user, such as a source that cannot be replayed.
    pub warnings: Vec<String>,
    /// `exactly-once`, or what weakens it and why.
    pub guarantee: String,
    pub(crate) graph: ChainGraph,
    /// The fields, formats and keys of all records.
    pub(crate) records: PlannedRecords,
}

/// Why a plan is made.
#[derive(Clone, Copy)]
pub enum PlanPurpose<'a> {
    /// A submit. Everything that the user should correct is refused.
    Submit,
    /// An attempt of an accepted job that restores this checkpoint. Only the input that is still to be read is checked.
    Attempt(Option<&'a CheckpointMetadata>),
}

impl ExecutionPlan {
    /// Makes the plan of a submit that may access every path below `base_dir` or elsewhere. See [`ExecutionPlan::new_for`].
    pub fn new(
        pipeline: impl Into<Arc<PipelineSpec>>,
        functions: FunctionPlans,
        base_dir: &Path,
    ) -> Result<ExecutionPlan> {
        ExecutionPlan::new_for(PlanPurpose::Submit, pipeline, functions, &PipelinePaths::unrestricted(base_dir))
    }

    /// Makes a plan. Connectors may access what `paths` allows.
    ///
    /// Fails with a `manifest-...` code if the pipeline does not suit its functions, and with the code of a connector if an
    /// input or an output cannot be used.
    pub fn new_for(
        purpose: PlanPurpose<'_>,
        pipeline: impl Into<Arc<PipelineSpec>>,
        functions: FunctionPlans,
        paths: &PipelinePaths,
    ) -> Result<ExecutionPlan> {
        let mut plan = ExecutionPlan {
            functions,
            warnings: Vec::new(),
            guarantee: String::new(),
            graph: ChainGraph::default(),
            records: PlannedRecords::default(),
            pipeline: pipeline.into(),
        };
        for function in plan.functions.values_mut().filter(|plan| plan.description.kind == FunctionKind::IntervalJoin) {
            function.description.internal = join_states(&function.description.input_rows());
        }
        plan.add_nodes(purpose, paths)?;
        plan.warnings.extend(check_event_time(&plan.pipeline, &plan.functions)?);
        plan.graph.check_size()?;
        plan.guarantee = delivery_guarantee(&plan.pipeline, paths, &mut plan.warnings);
        Ok(plan)
    }

    /// Checks the nodes, plans their records and adds them to the graph. The nodes are in topological order.
    fn add_nodes(&mut self, purpose: PlanPurpose<'_>, paths: &PipelinePaths) -> Result<()> {
        let pipeline = self.pipeline.clone();
        let nodes = &pipeline.nodes;
        let mut known = Vec::new();
        for node in nodes {
            known.push(self.check_node(purpose, node, paths)?);
        }
        self.records = plan_records(nodes, &known, &mut self.functions)?;
        if let PlanPurpose::Submit = purpose {
            self.check_first_records(paths)?;
        }
        for _ in nodes {
            self.graph.add_node(nodes, &self.records);
        }
        Ok(())
    }

    /// Checks the timestamps of the first records of all sources.
    fn check_first_records(&mut self, paths: &PipelinePaths) -> Result<()> {
        for node in &self.pipeline.nodes {
            let NodeKind::Source(source) = &node.kind else { continue };
            if let Some(decoding) = self.records.decodings.get(&node.id) {
                connector::check_headers(&source.connector, paths, decoding)
                    .map_err(|error| in_setting("source", node, error))?;
            }
            // Records of Avro are messages, which are not read before the job starts.
            if let Some(SourceTimestamp::Field(selector)) = &source.timestamp
                && source.connector.format().0 != FileFormat::Avro
            {
                self.warnings.extend(check_first_timestamps(node, source, selector, paths)?);
            }
        }
        Ok(())
    }

    /// Checks a source, a sink, or an operator whose function is from a component. Returns what is known of its records.
    fn check_node(
        &mut self,
        purpose: PlanPurpose<'_>,
        node: &PipelineNode,
        paths: &PipelinePaths,
    ) -> Result<KnownRecords> {
        match &node.kind {
            NodeKind::Source(source) => {
                let positions = restored_positions(purpose, node);
                let check = match purpose {
                    PlanPurpose::Submit => SourceCheck::Submit,
                    PlanPurpose::Attempt(_) => SourceCheck::Attempt { positions: &positions },
                };
                let columns = check_source(node, source, check, paths, &mut self.warnings)?;
                let reading = connector::avro_reading(&source.connector, &source.decoding, paths)
                    .map_err(|error| in_node("source", node, "format", error))?;
                let fields = reading.as_ref().map(|reading| reading.schema.row_fields());
                let columns = fields.map(|fields| fields.into_iter().map(|field| field.name).collect()).or(columns);
                Ok(KnownRecords { columns, reading, writing: None })
            }
            NodeKind::Operator(operator) => {
                if operator.function.is_some() {
                    check_function(node, operator, &function_of(&self.functions, node)?.description)?;
                }
                Ok(KnownRecords::default())
            }
            NodeKind::Sink(sink) => {
                connector::check_sink(&sink.connector, paths).map_err(|error| in_setting("sink", node, error))?;
                self.check_publication(node, sink)?;
                let writing = connector::avro_writing(&sink.connector, &sink.encoding, paths, &Interrupt::default())
                    .map_err(|error| in_node("sink", node, "format", error))?;
                Ok(KnownRecords { writing, ..KnownRecords::default() })
            }
        }
    }

    /// Checks that a sink which publishes with checkpoints has regular ones. Error: `manifest-invalid`.
    fn check_publication(&self, node: &PipelineNode, sink: &SinkNode) -> Result<()> {
        if !connector::uses_outbox(&sink.connector) || self.pipeline.checkpoint.is_periodic() {
            return Ok(());
        }
        let error = error::manifest_invalid(
            "it publishes with checkpoints, but [checkpoint] has no interval or records",
        )
        .hint("set `interval = \"1s\"` in [checkpoint], or a guarantee of at-least-once if the connector has one");
        Err(in_node("sink", node, "connector", error))
    }

    /// Returns the type of the keys of an operator, such as `i64` or `(string, i64)`. Empty if it has no keys or their type is not
    /// known.
    pub fn key_type(&self, id: &str) -> &str {
        self.records.key_types.get(id).map_or("", String::as_str)
    }

    /// Returns whether a node reads from channels: it starts a chain and is not a source.
    pub fn has_channels(&self, id: &str) -> bool {
        let mut chains = self.graph.chains.iter();
        let chain = chains.find(|chain| self.pipeline.nodes[chain.nodes[0].node].id == id);
        chain.is_some_and(|chain| !chain.inputs.is_empty())
    }
}

/// Returns the positions at which the subtasks of a source continue.
fn restored_positions<'a>(purpose: PlanPurpose<'a>, node: &PipelineNode) -> Vec<&'a [u8]> {
    match purpose {
        PlanPurpose::Attempt(Some(metadata)) => {
            metadata.subtasks(&node.id).iter().filter_map(|subtask| subtask.source_position.as_deref()).collect()
        }
        PlanPurpose::Submit | PlanPurpose::Attempt(None) => Vec::new(),
    }
}
