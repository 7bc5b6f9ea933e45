//! From a checked pipeline and its functions to chains and edges; the last checks that need to know the functions.
//!
//! Operators joined by a forward edge (one input, no key, the same parallelism) are chained: they run in one subtask and
//! hand batches over by a call. Every other edge is a set of channels.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::checkpoint::CheckpointMetadata;
use crate::clock::SystemClock;
use crate::connector::{self, ConnectorContext, Replay, SourceCheck};
use crate::connector::{KeyExtractor, TimestampExtractor};
use crate::error::{self, Result};
use crate::model::Interrupt;
use crate::operator::join_states;
use crate::pipeline::{
    CheckpointMode, FileFormat, GuestLimits, InputRole, KeySelector, NodeInput, NodeKind, OperatorNode, OutputPort,
    PipelineNode, PipelineSpec, SinkConfig, SourceNode, ValueFormat,
};
use crate::runtime::output::result_partition::KeyOrigin;
use crate::runtime::plan::window_functions as windows;
use crate::runtime::source::timestamp_assigner as stamps;
use crate::sandbox::{FunctionDescription, FunctionKind};
use crate::turn::Guest;

/// Subtasks of one job, at most: each is a thread.
const SUBTASKS_MAX: u64 = 1024;

/// Channels between the subtasks of one job, at most.
const CHANNELS_MAX: u64 = 1 << 16;

/// What a subtask's guest is made with.
pub struct GuestOptions {
    pub limits: GuestLimits,
    pub seed: u64,
    /// Throw the instance away after every turn.
    pub fresh: bool,
    /// Set when the job is cancelled.
    pub cancel: Arc<AtomicBool>,
}

/// Makes the guest of one subtask.
pub type GuestFactory = Arc<dyn Fn(&GuestOptions) -> Box<dyn Guest> + Send + Sync>;

/// The function of one operator: from a component, or (in benchmarks) native.
#[derive(Clone)]
pub struct FunctionPlan {
    pub description: FunctionDescription,
    pub make: GuestFactory,
}

/// What runs. See the module.
pub struct ExecutionPlan {
    pub pipeline: PipelineSpec,
    pub functions: BTreeMap<String, FunctionPlan>,
    /// What a person should know, such as a source that cannot be replayed.
    pub warnings: Vec<String>,
    /// `exactly-once`, or what it is less and why.
    pub guarantee: String,
    pub(in crate::runtime) chains: Vec<ChainPlan>,
    pub(in crate::runtime) edges: Vec<EdgePlan>,
    pub(in crate::runtime) timestamps: BTreeMap<String, Arc<TimestampExtractor>>,
}

pub(in crate::runtime) struct ChainPlan {
    pub(in crate::runtime) parallelism: u32,
    /// Edges that lead here; none for a chain that begins with a source.
    pub(in crate::runtime) inputs: Vec<usize>,
    pub(in crate::runtime) members: Vec<MemberPlan>,
}

pub(in crate::runtime) struct MemberPlan {
    /// Index into the pipeline's nodes.
    pub(in crate::runtime) node: usize,
    /// For each output, by its index, where its records go. Dead letters are the last output of an operator.
    pub(in crate::runtime) routes: Vec<Vec<Target>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Target {
    Member(usize),
    Edge(usize),
}

pub(in crate::runtime) struct EdgePlan {
    pub(in crate::runtime) from: usize,
    pub(in crate::runtime) to: usize,
    /// Which input of its receiver it is.
    pub(in crate::runtime) role: InputRole,
    pub(in crate::runtime) partition: PartitionPlan,
}

#[derive(Clone)]
pub(in crate::runtime) enum PartitionPlan {
    Forward,
    Rebalance,
    Broadcast,
    Key(KeyOrigin),
}

/// What a plan is made for.
#[derive(Clone, Copy)]
pub enum PlanPurpose<'a> {
    /// A submit: everything that a person should correct is refused.
    Submit,
    /// An attempt of a job that was accepted, which goes on from this image. Only input that is still to be read matters.
    Attempt(Option<&'a CheckpointMetadata>),
}

impl ExecutionPlan {
    /// The plan of a submit, see [`ExecutionPlan::new_for`].
    pub fn new(
        pipeline: PipelineSpec,
        functions: BTreeMap<String, FunctionPlan>,
        base_dir: &Path,
    ) -> Result<ExecutionPlan> {
        ExecutionPlan::new_for(PlanPurpose::Submit, pipeline, functions, base_dir)
    }

    /// Checks what only the functions and the world outside can tell: outputs, keys, files. Nothing is started.
    pub fn new_for(
        purpose: PlanPurpose<'_>,
        pipeline: PipelineSpec,
        functions: BTreeMap<String, FunctionPlan>,
        base_dir: &Path,
    ) -> Result<ExecutionPlan> {
        let mut plan = ExecutionPlan {
            functions,
            warnings: Vec::new(),
            guarantee: "exactly-once".into(),
            chains: Vec::new(),
            edges: Vec::new(),
            timestamps: BTreeMap::new(),
            pipeline,
        };
        for function in plan.functions.values_mut().filter(|plan| plan.description.kind == FunctionKind::IntervalJoin) {
            function.description.internal = join_states();
        }
        let nodes = plan.pipeline.nodes.clone();
        let mut formats: Vec<ValueFormat> = Vec::new();
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            plan.complete_windows(node, &nodes, &formats)?;
            formats.push(plan.check_node(purpose, node, base_dir)?);
            let place = plan.place(&nodes, index, &places, &formats)?;
            places.push(place);
            if plan.late_output(node).is_some() {
                formats[index] = plan.input_format(node, &formats)?;
            }
        }
        plan.check_event_time()?;
        plan.check_size()?;
        plan.judge_guarantee();
        Ok(plan)
    }

    /// Whether a node reads from channels: it begins a chain, and is no source.
    pub fn has_channels(&self, id: &str) -> bool {
        let begins = |chain: &&ChainPlan| self.pipeline.nodes[chain.members[0].node].id == id;
        self.chains.iter().find(begins).is_some_and(|chain| !chain.inputs.is_empty())
    }

    /// Checks one node by itself. The result is the format of a source's records.
    fn check_node(&mut self, purpose: PlanPurpose<'_>, node: &PipelineNode, base_dir: &Path) -> Result<ValueFormat> {
        match &node.kind {
            NodeKind::Source(source) => {
                let positions = positions(purpose, node);
                let begin = match purpose {
                    PlanPurpose::Submit => SourceCheck::Submit,
                    PlanPurpose::Attempt(_) => SourceCheck::Attempt { positions: &positions },
                };
                let format = connector::check_source(&source.connector, base_dir, begin)
                    .map_err(|e| in_node("source", node, "path", e))?;
                if let Some(selector) = &source.timestamp {
                    let extractor = TimestampExtractor::compile(selector, &format)
                        .map_err(|e| in_node("source", node, "timestamp", of_empty_input(node, &format, e)))?;
                    if matches!(purpose, PlanPurpose::Submit) {
                        self.check_first_timestamps(node, source, &extractor, base_dir)?;
                    }
                    self.timestamps.insert(node.id.clone(), Arc::new(extractor));
                }
                if connector::replay(&source.connector) == Replay::No {
                    self.warnings.push(format!(
                        "source `{}` cannot be replayed: records that were read but not yet in a checkpoint are lost when the job restarts",
                        node.id
                    ));
                }
                Ok(format)
            }
            NodeKind::Operator(operator) => {
                let function = self.function(node)?;
                check_second_input(node, function)?;
                check_interval(node, operator, function)?;
                windows::check(node, function)?;
                if function.kind != FunctionKind::Process && node.key.is_none() {
                    return Err(error::manifest_key(format!(
                        "operator `{}` runs the keyed function `{}`, so it needs a `key`",
                        node.id, function.name
                    ))
                    .hint("key = { field = \"name\" }, { column = 0 }, \"value\" or \"emitted\"")
                    .about(&node.id, "function"));
                }
                Ok(ValueFormat::Raw)
            }
            NodeKind::Sink(sink) => {
                connector::check_sink(sink, base_dir).map_err(|e| in_node("sink", node, "path", e))?;
                Ok(ValueFormat::Raw)
            }
        }
    }

    /// Looks at the timestamps of a source's first records, which tell whether field and format are right.
    fn check_first_timestamps(
        &mut self,
        node: &PipelineNode,
        source: &SourceNode,
        extractor: &TimestampExtractor,
        base_dir: &Path,
    ) -> Result<()> {
        let context = ConnectorContext {
            job_id: String::new(),
            node: node.id.clone(),
            subtask: 0,
            parallelism: 1,
            clock: SystemClock::shared(),
            base_dir: base_dir.to_owned(),
            seed: 0,
            interrupt: Interrupt::default(),
        };
        let first = connector::first_records(&source.connector, &context);
        let warning = stamps::check_first(&node.id, extractor, source.on_undecodable, &first)
            .map_err(|error| error.about(&node.id, "timestamp"))?;
        self.warnings.extend(warning);
        Ok(())
    }

    pub(in crate::runtime) fn function(&self, node: &PipelineNode) -> Result<&FunctionDescription> {
        let plan = self.functions.get(&node.id);
        plan.map(|plan| &plan.description)
            .ok_or_else(|| error::internal(format!("operator `{}` has no function", node.id)))
    }

    /// How many outputs an operator has, but for the dead letters, which go to the one behind them.
    pub(in crate::runtime) fn outputs(&self, node: &PipelineNode) -> Result<usize> {
        Ok(self.function(node)?.outputs.len() + usize::from(self.late_output(node).is_some()))
    }

    /// The output for late records of an operator that has one: the last but the dead letters.
    fn late_output(&self, node: &PipelineNode) -> Option<usize> {
        let function = &self.functions.get(&node.id)?.description;
        function.kind.has_late_records().then_some(function.outputs.len())
    }

    /// Whether an operator has an output for late records.
    pub(in crate::runtime) fn has_late_output(&self, node: &PipelineNode) -> bool {
        self.late_output(node).is_some()
    }

    /// Whether somebody reads the late records of an operator.
    pub(in crate::runtime) fn emits_late_records(&self, node: &PipelineNode) -> bool {
        let late = OutputPort::Side("late".to_owned());
        let inputs = self.pipeline.nodes.iter().flat_map(|node| &node.inputs);
        inputs.filter(|input| input.port == late).any(|input| self.pipeline.nodes[input.node].id == node.id)
    }

    /// How the records are written that an operator gets, where all its inputs are alike.
    fn input_format(&self, node: &PipelineNode, formats: &[ValueFormat]) -> Result<ValueFormat> {
        let mut common = None;
        for input in &node.inputs {
            let (_, format) = self.output(&self.pipeline.nodes[input.node], input, formats)?;
            if *common.get_or_insert_with(|| format.clone()) != format {
                return Ok(ValueFormat::Raw);
            }
        }
        Ok(common.unwrap_or(ValueFormat::Raw))
    }

    /// Gives a node its chain, and connects its inputs.
    fn place(
        &mut self,
        nodes: &[PipelineNode],
        index: usize,
        places: &[(usize, usize)],
        formats: &[ValueFormat],
    ) -> Result<(usize, usize)> {
        let node = &nodes[index];
        let outputs = match &node.kind {
            NodeKind::Source(_) => 1,
            NodeKind::Operator(_) => self.outputs(node)? + 1,
            NodeKind::Sink(_) => 0,
        };
        let member = MemberPlan { node: index, routes: vec![Vec::new(); outputs] };
        if let ([input], None) = (&node.inputs[..], &node.key)
            && nodes[input.node].parallelism == node.parallelism
        {
            let (port, _) = self.output(&nodes[input.node], input, formats)?;
            let (chain, from) = places[input.node];
            let place = self.chains[chain].members.len();
            self.chains[chain].members.push(member);
            self.chains[chain].members[from].routes[port].push(Target::Member(place));
            return Ok((chain, place));
        }
        let chain = self.chains.len();
        let mut inputs = Vec::new();
        for input in &node.inputs {
            let upstream = &nodes[input.node];
            let (port, format) = self.output(upstream, input, formats)?;
            let partition = match node.key_of(input.role) {
                _ if input.role == InputRole::Broadcast => PartitionPlan::Broadcast,
                Some((KeySelector::Emitted, _)) => PartitionPlan::Key(KeyOrigin::Emitted),
                Some((selector, key)) => {
                    let extractor = KeyExtractor::compile(selector, &format)
                        .map_err(|e| in_node("operator", node, key, of_empty_input(upstream, &format, e)))?;
                    PartitionPlan::Key(KeyOrigin::Extracted(Arc::new(extractor)))
                }
                None if upstream.parallelism == node.parallelism => PartitionPlan::Forward,
                None => PartitionPlan::Rebalance,
            };
            let (from, from_member) = places[input.node];
            let edge = self.edges.len();
            self.edges.push(EdgePlan { from, to: chain, role: input.role, partition });
            self.chains[from].members[from_member].routes[port].push(Target::Edge(edge));
            inputs.push(edge);
        }
        self.chains.push(ChainPlan { parallelism: node.parallelism, inputs, members: vec![member] });
        Ok((chain, 0))
    }

    /// The index and the format of the output that an input names.
    pub(in crate::runtime) fn output(
        &self,
        upstream: &PipelineNode,
        input: &NodeInput,
        formats: &[ValueFormat],
    ) -> Result<(usize, ValueFormat)> {
        let NodeKind::Operator(_) = &upstream.kind else { return Ok((0, formats[input.node].clone())) };
        let function = self.function(upstream)?;
        let index = match &input.port {
            OutputPort::Main => 0,
            OutputPort::DeadLetter => return Ok((self.outputs(upstream)?, ValueFormat::Json)),
            OutputPort::Side(name) if name == "late" && self.late_output(upstream).is_some() => {
                return Ok((function.outputs.len(), formats[input.node].clone()));
            }
            OutputPort::Side(name) => match function.outputs.iter().skip(1).position(|port| port.name == *name) {
                Some(index) => index + 1,
                None => {
                    let known: Vec<&str> = function.outputs.iter().skip(1).map(|port| port.name.as_str()).collect();
                    return Err(error::manifest_unknown_input(format!(
                        "function `{}` of operator `{}` has no side output `{name}`",
                        function.name, upstream.id
                    ))
                    .hint(if known.is_empty() {
                        "it has none".to_owned()
                    } else {
                        format!("it has: {}", known.join(", "))
                    }));
                }
            },
        };
        let format = match function.outputs[index].codec.as_str() {
            "json" => ValueFormat::Json,
            "csv" => ValueFormat::Csv(None),
            _ => ValueFormat::Raw,
        };
        Ok((index, format))
    }

    /// Every subtask is a thread, and every channel memory: a few lines of a manifest must not ask for all there is.
    fn check_size(&self) -> Result<()> {
        let parallelism = |chain: usize| u64::from(self.chains[chain].parallelism);
        let subtasks: u64 = (0..self.chains.len()).map(parallelism).sum();
        let of_edge = |edge: &EdgePlan| match edge.partition {
            PartitionPlan::Forward => parallelism(edge.from),
            PartitionPlan::Rebalance | PartitionPlan::Broadcast | PartitionPlan::Key(_) => {
                parallelism(edge.from) * parallelism(edge.to)
            }
        };
        let channels: u64 = self.edges.iter().map(of_edge).sum();
        for (count, what, max) in [(subtasks, "subtasks", SUBTASKS_MAX), (channels, "channels", CHANNELS_MAX)] {
            if count > max {
                let message = format!("the pipeline needs {count} {what}; one job may have {max}");
                return Err(error::manifest_parallelism(message).hint("lower the parallelism"));
            }
        }
        Ok(())
    }

    fn judge_guarantee(&mut self) {
        let mut less = Vec::new();
        for node in &self.pipeline.nodes {
            match &node.kind {
                NodeKind::Source(source) if connector::replay(&source.connector) == Replay::No => {
                    less.push(format!("at-most-once from source `{}`, which cannot be replayed", node.id));
                }
                NodeKind::Sink(SinkConfig::Stdout) => {
                    less.push(format!("at-least-once to sink `{}`, which cannot take back what it wrote", node.id))
                }
                _ => {}
            }
        }
        let checkpoint = &self.pipeline.checkpoint;
        if checkpoint.mode == CheckpointMode::AtLeastOnce {
            less.push("at-least-once by the checkpoints' mode".to_owned());
        }
        if !checkpoint.is_periodic() {
            self.warnings.push("no [checkpoint] interval or records: a restart begins from the start".into());
            let publish_late = self.pipeline.nodes.iter().filter_map(|node| match &node.kind {
                NodeKind::Sink(SinkConfig::File { .. }) => Some(format!(
                    "sink `{}` publishes its files when the job ends or a savepoint is taken, as there is no [checkpoint] \
                     interval or records; a cancel removes what is not published",
                    node.id
                )),
                _ => None,
            });
            self.warnings.extend(publish_late);
        }
        if !less.is_empty() {
            self.guarantee = less.join("; ");
        }
    }
}

/// A function with two inputs is given the second one by the key that its kind asks for, and no other is.
fn check_second_input(node: &PipelineNode, function: &FunctionDescription) -> Result<()> {
    let needed = match function.kind {
        FunctionKind::BroadcastProcess => Some(InputRole::Broadcast),
        kind => kind.has_two_inputs().then_some(InputRole::Second),
    };
    let (id, name) = (&node.id, &function.name);
    for (role, key, hint) in [
        (InputRole::Second, "second", "second = \"ID\": the source or operator of its other records"),
        (
            InputRole::Broadcast,
            "broadcast",
            "broadcast = \"ID\": the source or operator that every subtask is to see whole",
        ),
    ] {
        match (needed == Some(role), node.has_input(role)) {
            (true, false) => {
                let message = format!("operator `{id}` runs `{name}`, which has a {key} input, so it needs a `{key}`");
                return Err(error::manifest_invalid(message).hint(hint).about(id, "function"));
            }
            (false, true) => {
                let message = format!("operator `{id}` has a `{key}`, and its function `{name}` no {key} input");
                return Err(error::manifest_invalid(message).about(id, key));
            }
            _ => {}
        }
    }
    Ok(())
}

/// An interval join is told its interval, and nobody else is.
fn check_interval(node: &PipelineNode, operator: &OperatorNode, function: &FunctionDescription) -> Result<()> {
    let (id, name) = (&node.id, &function.name);
    match (function.kind == FunctionKind::IntervalJoin, operator.interval) {
        (true, None) => {
            let message = format!("operator `{id}` runs the interval join `{name}`, so it needs an `interval`");
            let hint =
                "interval = { lower = \"-2s\", upper = \"1s\" }: the time of the second record less that of the first";
            Err(error::manifest_invalid(message).hint(hint).about(id, "function"))
        }
        (false, Some(_)) => {
            let message = format!("operator `{id}` has an `interval`, and its function `{name}` is no interval join");
            Err(error::manifest_invalid(message).about(id, "interval"))
        }
        _ => Ok(()),
    }
}

/// Says of a column that is not known where the source is to read a header and its files have none: they are empty.
pub(in crate::runtime) fn of_empty_input(
    source: &PipelineNode,
    format: &ValueFormat,
    error: error::Error,
) -> error::Error {
    let NodeKind::Source(SourceNode { connector, .. }) = &source.kind else { return error };
    if *format != ValueFormat::Csv(None) || connector.format() != Some((FileFormat::Csv, true)) {
        return error;
    }
    let message = format!("{}: the input of source `{}` is empty, without even a header row", error.message, source.id);
    error::Error { message, ..error }
        .hint("write the header row into the file, or name the column by its place, from 0: `{ column = 0 }`")
}

/// Where the subtasks of a source go on.
fn positions<'a>(purpose: PlanPurpose<'a>, node: &PipelineNode) -> Vec<&'a [u8]> {
    match purpose {
        PlanPurpose::Attempt(Some(image)) => {
            image.subtasks(&node.id).iter().filter_map(|subtask| subtask.source_position.as_deref()).collect()
        }
        PlanPurpose::Submit | PlanPurpose::Attempt(None) => Vec::new(),
    }
}

pub(in crate::runtime) fn in_node(
    what: &str,
    node: &PipelineNode,
    key: &'static str,
    error: error::Error,
) -> error::Error {
    error.context(format!("{what} `{}`", node.id)).about(&node.id, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(parallelism: u32) -> Result<ExecutionPlan> {
        let manifest = format!(
            "name = \"wide\"\n[source.a]\nconnector = \"generator\"\nparallelism = {parallelism}\n\
             [sink.b]\ninput = \"a\"\nconnector = \"blackhole\"\nparallelism = {}",
            parallelism + 1
        );
        ExecutionPlan::new(PipelineSpec::parse(&manifest, "pipeline.toml")?, BTreeMap::new(), Path::new(""))
    }

    #[test]
    fn of_an_empty_csv_it_is_said_that_it_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.csv"), "").unwrap();
        let source = "[source.a]\nconnector = \"file\"\npath = \"a.csv\"\nformat = \"csv\"";
        let by_key =
            "key = { field = \"k\" }\nwindow = { type = \"global\" }\ntrigger = { type = \"count\", count = 1 }";
        let field = "aggregate = { type = \"sum\", field = \"n\" }";
        let keyed = format!("{source}\n[operator.b]\ninput = \"a\"\n{by_key}\naggregate = {{ type = \"count\" }}");
        let summed = format!("{source}\n[operator.b]\ninput = \"a\"\n{by_key}\n{field}")
            .replace("{ field = \"k\" }", "\"value\"");
        let timed = format!(
            "{source}\ntimestamp = {{ field = \"t\", format = \"rfc3339\" }}\n[operator.b]\ninput = \"a\"\n{by_key}"
        )
        .replace("{ field = \"k\" }", "\"value\"")
            + "\naggregate = { type = \"count\" }";
        for nodes in [keyed, summed, timed] {
            let manifest = format!("name = \"empty\"\n{nodes}\n[sink.c]\ninput = \"b\"\nconnector = \"blackhole\"");
            let pipeline = PipelineSpec::parse(&manifest, "pipeline.toml").unwrap();
            let error = ExecutionPlan::new(pipeline, BTreeMap::new(), folder.path()).err().unwrap();
            assert_eq!(error.code, "manifest-key");
            assert!(error.message.contains("source `a` is empty"), "{error}");
            assert!(!error.hint.unwrap().contains("header = true"), "it is the default");
        }
    }

    #[test]
    fn a_pipeline_cannot_ask_for_more_threads_and_channels_than_there_should_be() {
        assert!(plan(255).is_ok());
        for (parallelism, what) in [(256, "65792 channels"), (30_000, "60001 subtasks")] {
            let error = plan(parallelism).err().unwrap();
            assert_eq!(error.code, "manifest-parallelism");
            assert!(error.message.contains(what), "{error}");
        }
    }
}
