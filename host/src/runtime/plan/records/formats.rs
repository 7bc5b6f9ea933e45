//! Computes the formats of all outputs and inputs, from the sources to the sinks, and refuses an input that cannot read the records of
//! its producer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::edge_keys::{EdgeKey, KeyedInput, canonical_key_type, edge_key, is_same_key_type};
use super::input_need::InputNeed;
use super::mismatch::{input_key, mismatch};
use super::needs::{PlannedNodes, input_needs, port_of_role};
use super::row_operators::row_operator;
use super::sink_format::sink_format;
use super::source_outputs::{DescribedSource, SourceConsumer, plan_source, source_format};
use crate::error::{self, Result};
use crate::format::SourceDecoding;
use crate::format::avro::{AvroReading, AvroWriting};
use crate::model::row::RowSchema;
use crate::pipeline::{Aggregate, InputRole, NodeInput, NodeKind, OperatorNode, OutputPort, PipelineNode, SourceNode};
use crate::runtime::plan::functions::FunctionPlans;
use crate::runtime::plan::output_ports::{has_late_output, output_of_input};
use crate::runtime::plan::window_functions::{AggregatedRecords, complete_window_function};
use crate::runtime::records::record_converter::{NoConversion, RecordConversion};
use crate::runtime::records::record_format::RecordFormat;
use crate::runtime::records::record_key::KeyOrigin;
use crate::sandbox::PortDescription;
use crate::turn::OutputId;

/// The records of a pipeline.
#[derive(Default)]
pub(crate) struct PlannedRecords {
    /// For each node, the records of its inputs and outputs.
    pub(crate) nodes: Vec<NodeRecords>,
    /// What each source decodes, by its id.
    pub(crate) decodings: BTreeMap<String, Arc<SourceDecoding>>,
    /// The type of the keys of each keyed operator, by its id, where it is known.
    pub(crate) key_types: BTreeMap<String, String>,
}

/// The records of one node.
#[derive(Default)]
pub(crate) struct NodeRecords {
    /// The formats of each output. An output for late records may have those of two inputs.
    outputs: BTreeMap<OutputId, Vec<RecordFormat>>,
    /// The format into which the records of each input are rewritten: the first input, and the second or broadcast one. `None` if they
    /// stay as they come.
    inputs: [Option<RecordFormat>; 2],
    /// For each edge to the node, the output that it reads.
    pub(crate) ports: Vec<OutputId>,
    /// For each edge to the node, its key.
    pub(crate) keys: Vec<Option<KeyOrigin>>,
}

impl NodeRecords {
    /// Returns the format into which the records of inputs of a role are rewritten. `None` if they stay as they come.
    pub(crate) fn input(&self, role: InputRole) -> Option<&RecordFormat> {
        self.inputs[input_index(role)].as_ref()
    }

    /// Returns the formats of both inputs.
    pub(crate) fn inputs(&self) -> &[Option<RecordFormat>; 2] {
        &self.inputs
    }

    /// Returns the schema of each output whose rows all have the same.
    pub(crate) fn output_schemas(&self) -> BTreeMap<OutputId, Arc<RowSchema>> {
        let schema = |(output, formats): (&OutputId, &Vec<RecordFormat>)| match &formats[..] {
            [format] => Some((*output, format.schema()?.clone())),
            _ => None,
        };
        self.outputs.iter().filter_map(schema).collect()
    }
}

fn input_index(role: InputRole) -> usize {
    match role {
        InputRole::First => 0,
        InputRole::Second | InputRole::Broadcast => 1,
    }
}

/// What is known of the records that a source reads or a sink writes.
#[derive(Default)]
pub(in crate::runtime::plan) struct KnownRecords {
    /// The names of the columns of CSV, or of the fields of Avro.
    pub(in crate::runtime::plan) columns: Option<Vec<String>>,
    /// How a source reads Avro.
    pub(in crate::runtime::plan) reading: Option<AvroReading>,
    /// How a sink writes Avro.
    pub(in crate::runtime::plan) writing: Option<AvroWriting>,
}

/// Plans the records of all nodes, of which `known` is known. Adds the native functions to `functions`.
pub(in crate::runtime::plan) fn plan_records(
    nodes: &[PipelineNode],
    known: &[KnownRecords],
    functions: &mut FunctionPlans,
) -> Result<PlannedRecords> {
    let columns: &[Option<Vec<String>>] = &known.iter().map(|known| known.columns.clone()).collect::<Vec<_>>();
    let needs = input_needs(PlannedNodes { nodes, functions, columns })?;
    let mut planner = RecordPlanner {
        nodes,
        known,
        columns,
        functions,
        needs,
        plan: PlannedRecords::default(),
        source_ports: BTreeMap::new(),
    };
    for index in 0..nodes.len() {
        let records = planner.node(index)?;
        planner.plan.nodes.push(records);
    }
    Ok(planner.plan)
}

struct RecordPlanner<'a> {
    nodes: &'a [PipelineNode],
    known: &'a [KnownRecords],
    columns: &'a [Option<Vec<String>>],
    functions: &'a mut FunctionPlans,
    needs: Vec<Vec<InputNeed>>,
    plan: PlannedRecords,
    /// The output of a source that an edge reads, by the consumer and the index of the edge among its inputs.
    source_ports: BTreeMap<(usize, usize), usize>,
}

/// An edge to the node that is being planned.
struct InputEdge<'a> {
    input: &'a NodeInput,
    port: OutputId,
    formats: Vec<RecordFormat>,
}

impl<'a> RecordPlanner<'a> {
    fn view(&self) -> PlannedNodes<'_> {
        PlannedNodes { nodes: self.nodes, functions: self.functions, columns: self.columns }
    }

    fn node(&mut self, index: usize) -> Result<NodeRecords> {
        let node = &self.nodes[index];
        if let NodeKind::Source(source) = &node.kind {
            return self.source(index, source);
        }
        let edges = self.edges(index)?;
        let inputs = self.inputs(index, &edges)?;
        for edge in &edges {
            self.check_formats(node, edge, inputs[input_index(edge.input.role)].as_ref())?;
        }
        let declared =
            |role| self.functions.get(&node.id).map_or("", |plan| &port_of_role(&plan.description, role).key_type);
        let keys: Vec<Option<EdgeKey>> =
            edges.iter().map(|edge| self.key(node, edge, declared(edge.input.role))).collect::<Result<_>>()?;
        self.note_key_type(node, &keys)?;
        if let NodeKind::Operator(OperatorNode { rows: None, .. }) = &node.kind {
            self.complete_function(node, &edges, &keys, inputs[0].as_ref())?;
        }
        Ok(NodeRecords {
            outputs: self.outputs(node, &inputs),
            ports: edges.iter().map(|edge| edge.port).collect(),
            keys: keys.into_iter().map(|key| key.map(|key| key.origin)).collect(),
            inputs,
        })
    }

    /// Completes the function of a window operator.
    fn complete_function(
        &mut self,
        node: &PipelineNode,
        edges: &[InputEdge<'_>],
        keys: &[Option<EdgeKey>],
        format: Option<&RecordFormat>,
    ) -> Result<()> {
        let NodeKind::Operator(OperatorNode { windows: Some(windows), .. }) = &node.kind else { return Ok(()) };
        let path = match (&windows.aggregate, edges.first()) {
            (Some(Aggregate::Numeric { field, .. }), Some(edge)) => {
                self.view().paths(node, edge.input, field, "aggregate")?.pop()
            }
            _ => None,
        };
        let key_paths = match keys.first() {
            Some(Some(EdgeKey { origin: KeyOrigin::Fields(fields), .. })) => &fields.paths[..],
            _ => &[],
        };
        let key_type = self.plan.key_types.get(&node.id).map(String::as_str);
        let format = format.unwrap_or(&RecordFormat::Raw);
        let aggregated = AggregatedRecords { format, path, key_paths, key_type };
        complete_window_function(self.functions, node, &aggregated)
    }

    fn source(&mut self, index: usize, source: &SourceNode) -> Result<NodeRecords> {
        let described = DescribedSource {
            node: &self.nodes[index],
            source,
            columns: self.columns[index].as_deref(),
            avro: self.known[index].reading.as_ref(),
        };
        let (mut edges, mut consumers) = (Vec::new(), Vec::new());
        for (reader, node) in self.nodes.iter().enumerate() {
            for (at, input) in node.inputs.iter().enumerate() {
                if input.node == index && input.port == OutputPort::Main {
                    edges.push((reader, at));
                    let key = input_key(node, input.role);
                    consumers.push(SourceConsumer { node, key, need: &self.needs[reader][at] });
                }
            }
        }
        let (decoding, ports) = plan_source(described, &consumers)?;
        described.check_decoder(&decoding)?;
        self.source_ports.extend(edges.into_iter().zip(ports));
        let count = decoding
            .dead_letter_output()
            .map_or_else(|| decoding.rows.len() + usize::from(decoding.wants_raw), |last| last + 1);
        let output = |port| (OutputId::Declared(port), vec![source_format(&decoding, port, false)]);
        let outputs = (0..count).map(output).collect();
        self.plan.decodings.insert(self.nodes[index].id.clone(), Arc::new(decoding));
        Ok(NodeRecords { outputs, ..NodeRecords::default() })
    }

    /// Returns the edges to a node with the formats of their records.
    fn edges(&self, index: usize) -> Result<Vec<InputEdge<'a>>> {
        let node = &self.nodes[index];
        let edge = |(at, input): (usize, &'a NodeInput)| {
            let producer = &self.nodes[input.node];
            let decoding = self.plan.decodings.get(&producer.id);
            let Some(decoding) = decoding else {
                let port = output_of_input(self.functions, producer, input)?;
                let formats = self.plan.nodes[input.node].outputs.get(&port).cloned().unwrap_or_default();
                return Ok(InputEdge { input, port, formats });
            };
            let port = self.source_ports.get(&(index, at)).copied();
            let port = port.or(decoding.dead_letter_output()).unwrap_or_default();
            let wants_bytes = self.needs[index][at] == InputNeed::Raw;
            let formats = vec![source_format(decoding, port, wants_bytes)];
            Ok(InputEdge { input, port: OutputId::Declared(port), formats })
        };
        node.inputs.iter().enumerate().map(edge).collect()
    }

    /// Returns the formats into which the records of the inputs of a node are rewritten.
    fn inputs(&mut self, index: usize, edges: &[InputEdge<'_>]) -> Result<[Option<RecordFormat>; 2]> {
        let node = &self.nodes[index];
        let formats: Vec<(&str, RecordFormat)> = edges
            .iter()
            .flat_map(|edge| edge.formats.iter().map(|format| (&self.nodes[edge.input.node].id[..], format.clone())))
            .collect();
        match &node.kind {
            NodeKind::Source(_) => Ok([None, None]),
            NodeKind::Sink(sink) => Ok([sink_format(node, sink, &formats, self.known[index].writing.as_ref())?, None]),
            NodeKind::Operator(OperatorNode { rows: Some(rows), .. }) => {
                let common = common_format(&formats);
                let is_whole = self.needs[index].iter().all(InputNeed::is_whole);
                let function = row_operator(node, rows, &common, is_whole)?;
                self.functions.insert(node.id.clone(), function);
                Ok([Some(common), None])
            }
            NodeKind::Operator(operator) if operator.function.is_none() => Ok([Some(common_format(&formats)), None]),
            NodeKind::Operator(_) => {
                let Some(function) = self.functions.get(&node.id) else { return Ok([None, None]) };
                let second = function.description.second_input.as_ref();
                Ok([Some(port_format(&function.description.input)), second.map(port_format)])
            }
        }
    }

    fn check_formats(&self, node: &PipelineNode, edge: &InputEdge<'_>, target: Option<&RecordFormat>) -> Result<()> {
        let Some(target) = target else { return Ok(()) };
        for format in &edge.formats {
            let why: NoConversion = match RecordConversion::between(format, target) {
                Ok(_) => continue,
                Err(why) => why,
            };
            let producer = output_name(&self.nodes[edge.input.node], edge.input);
            return Err(mismatch(node, edge.input.role, &producer, (format, target), why));
        }
        Ok(())
    }

    fn key(&self, node: &PipelineNode, edge: &InputEdge<'_>, declared: &str) -> Result<Option<EdgeKey>> {
        let Some((selector, key)) = node.key_of(edge.input.role) else { return Ok(None) };
        let upstream = self.functions.get(&self.nodes[edge.input.node].id);
        let output = upstream.and_then(|plan| match edge.port {
            OutputId::Declared(index) => plan.description.outputs.get(index),
            OutputId::Late | OutputId::DeadLetter => None,
        });
        let emitted = output.map_or("", |port| &port.key_type);
        let keyed = KeyedInput { node, input: edge.input, formats: &edge.formats, emitted, declared };
        edge_key(self.view(), &keyed, selector, key).map(Some)
    }

    /// Notes the type of an operator's keys, which must be the same for all of its inputs.
    fn note_key_type(&mut self, node: &PipelineNode, keys: &[Option<EdgeKey>]) -> Result<()> {
        let declared = self.functions.get(&node.id).map(|plan| plan.description.input.key_type.clone());
        let mut known = declared.filter(|text| !text.is_empty());
        for key_type in keys.iter().flatten().filter_map(|key| key.key_type.as_ref()) {
            match &known {
                Some(other) if !is_same_key_type(other, key_type) => {
                    let message = format!(
                        "operator `{}`: the keys of its inputs have different types: `{other}` and `{key_type}`",
                        node.id
                    );
                    let hint = "equal keys of different types are different keys; give the fields the same type";
                    return Err(error::schema_mismatch(message).hint(hint).about(&node.id, "key"));
                }
                Some(_) => {}
                None => known = Some(key_type.clone()),
            }
        }
        if let (Some(key_type), NodeKind::Operator(_), Some(_)) = (known, &node.kind, &node.key) {
            self.plan.key_types.insert(node.id.clone(), canonical_key_type(&key_type));
        }
        Ok(())
    }

    /// Returns the formats of the outputs of an operator: those of its function, late records, dead letters.
    fn outputs(
        &self,
        node: &PipelineNode,
        inputs: &[Option<RecordFormat>; 2],
    ) -> BTreeMap<OutputId, Vec<RecordFormat>> {
        let Some(function) = self.functions.get(&node.id) else { return BTreeMap::new() };
        let declared = function.description.outputs.iter().enumerate();
        let mut outputs: BTreeMap<OutputId, Vec<RecordFormat>> =
            declared.map(|(index, port)| (OutputId::Declared(index), vec![port_format(port)])).collect();
        if has_late_output(self.functions, node) {
            let mut late: Vec<RecordFormat> = inputs.iter().flatten().cloned().collect();
            late.dedup();
            outputs.insert(OutputId::Late, late);
        }
        outputs.insert(OutputId::DeadLetter, vec![RecordFormat::Json]);
        outputs
    }
}

/// Returns the format of the records of a port.
fn port_format(port: &PortDescription) -> RecordFormat {
    match (&port.schema, &port.codec[..]) {
        (Some(schema), _) => RecordFormat::Row(schema.clone()),
        (None, "json") => RecordFormat::Json,
        (None, _) => RecordFormat::Raw,
    }
}

/// Returns the format of the records that an operator without declarations reads: rows of the first input that has some.
fn common_format(inputs: &[(&str, RecordFormat)]) -> RecordFormat {
    let rows = inputs.iter().find(|(_, format)| format.schema().is_some());
    rows.or(inputs.first()).map_or(RecordFormat::Raw, |(_, format)| format.clone())
}

/// Returns how a pipeline file names an output.
fn output_name(producer: &PipelineNode, input: &NodeInput) -> String {
    match &input.port {
        OutputPort::Main => producer.id.clone(),
        OutputPort::Side(name) => format!("{}.{name}", producer.id),
        OutputPort::DeadLetter => format!("{}.dead-letter", producer.id),
    }
}
