//! The outputs of an operator: the main one, side outputs, late records, dead letters.
//!
//! Outputs have indexes in this order. The output for late records exists only for functions that can have some.

use super::functions::{FunctionPlans, function_of};
use crate::error::{self, Result};
use crate::pipeline::{NodeInput, NodeKind, OutputPort, PipelineNode, ValueFormat};
use crate::sandbox::FunctionDescription;

/// Name of the side output for late records.
const LATE_PORT: &str = "late";

/// Returns the number of an operator's outputs, without the one for dead letters. This is also the index of that one.
pub(crate) fn output_count(functions: &FunctionPlans, node: &PipelineNode) -> Result<usize> {
    let function = function_of(functions, node)?;
    Ok(function.description.outputs.len() + usize::from(has_late_output(functions, node)))
}

/// Returns whether an operator has an output for late records.
pub(super) fn has_late_output(functions: &FunctionPlans, node: &PipelineNode) -> bool {
    functions.get(&node.id).is_some_and(|function| function.description.kind.has_late_records())
}

/// Returns whether an input reads the late records of its upstream node.
pub(super) fn reads_late_records(functions: &FunctionPlans, upstream: &PipelineNode, port: &OutputPort) -> bool {
    matches!(port, OutputPort::Side(name) if name == LATE_PORT) && has_late_output(functions, upstream)
}

/// Returns whether any node reads the late records of an operator.
pub(crate) fn is_late_output_read(nodes: &[PipelineNode], operator: &PipelineNode) -> bool {
    let late = OutputPort::Side(LATE_PORT.to_owned());
    let inputs = nodes.iter().flat_map(|node| &node.inputs);
    inputs.filter(|input| input.port == late).any(|input| nodes[input.node].id == operator.id)
}

/// Returns the index and the format of the output that an input reads. `formats` are the main formats of the nodes.
///
/// Fails with `manifest-unknown-input` if the function has no such side output.
pub(super) fn output_of_input(
    functions: &FunctionPlans,
    upstream: &PipelineNode,
    input: &NodeInput,
    formats: &[ValueFormat],
) -> Result<(usize, ValueFormat)> {
    let NodeKind::Operator(_) = &upstream.kind else { return Ok((0, formats[input.node].clone())) };
    let function = &function_of(functions, upstream)?.description;
    let index = match &input.port {
        OutputPort::Main => 0,
        OutputPort::DeadLetter => return Ok((output_count(functions, upstream)?, ValueFormat::Json)),
        port if reads_late_records(functions, upstream, port) => {
            return Ok((function.outputs.len(), formats[input.node].clone()));
        }
        OutputPort::Side(name) => side_output(function, upstream, name)?,
    };
    let format = match function.outputs[index].codec.as_str() {
        "json" => ValueFormat::Json,
        "csv" => ValueFormat::Csv(None),
        _ => ValueFormat::Raw,
    };
    Ok((index, format))
}

fn side_output(function: &FunctionDescription, operator: &PipelineNode, name: &str) -> Result<usize> {
    let side_outputs = || function.outputs.iter().enumerate().skip(1);
    if let Some((index, _)) = side_outputs().find(|(_, port)| port.name == name) {
        return Ok(index);
    }
    let known: Vec<&str> = side_outputs().map(|(_, port)| &port.name[..]).collect();
    let hint = match known.is_empty() {
        true => "the function has no side outputs".to_owned(),
        false => format!("the side outputs of the function are: {}", known.join(", ")),
    };
    let message = format!("function `{}` of operator `{}` has no side output `{name}`", function.name, operator.id);
    Err(error::manifest_unknown_input(message).hint(hint))
}

/// Returns the format of the records that a node reads, or `Raw` if its inputs have different formats.
pub(super) fn common_input_format(
    functions: &FunctionPlans,
    nodes: &[PipelineNode],
    node: &PipelineNode,
    formats: &[ValueFormat],
) -> Result<ValueFormat> {
    let mut common = None;
    for input in &node.inputs {
        let (_, format) = output_of_input(functions, &nodes[input.node], input, formats)?;
        if *common.get_or_insert_with(|| format.clone()) != format {
            return Ok(ValueFormat::Raw);
        }
    }
    Ok(common.unwrap_or(ValueFormat::Raw))
}
