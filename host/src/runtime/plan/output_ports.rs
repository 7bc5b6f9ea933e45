//! The outputs of an operator: the main one, side outputs, late records, dead letters.
//!
//! A pipeline file names an output by its name, and [`OutputId`] identifies it while a job runs. The output for late records exists
//! only for functions that can have some.

use super::functions::{FunctionPlans, function_of};
use crate::error::{self, Result};
use crate::pipeline::{NodeInput, OutputPort, PipelineNode};
use crate::sandbox::FunctionDescription;
use crate::turn::OutputId;

/// Name of the side output for late records.
const LATE_PORT: &str = "late";

/// Returns whether an operator has an output for late records.
pub(super) fn has_late_output(functions: &FunctionPlans, node: &PipelineNode) -> bool {
    functions.get(&node.id).is_some_and(|function| function.description.kind.has_late_records())
}

/// Returns whether an input reads the late records of its upstream node.
pub(super) fn reads_late_records(functions: &FunctionPlans, upstream: &PipelineNode, port: &OutputPort) -> bool {
    matches!(port, OutputPort::Side(name) if is_late_port(name)) && has_late_output(functions, upstream)
}

/// Returns whether a side output has the name of the one for late records.
pub(super) fn is_late_port(name: &str) -> bool {
    name == LATE_PORT
}

/// Returns whether any node reads the late records of an operator.
pub(crate) fn is_late_output_read(nodes: &[PipelineNode], operator: &PipelineNode) -> bool {
    let late = OutputPort::Side(LATE_PORT.to_owned());
    let inputs = nodes.iter().flat_map(|node| &node.inputs);
    inputs.filter(|input| input.port == late).any(|input| nodes[input.node].id == operator.id)
}

/// Returns the output of an operator that an input reads.
///
/// Fails with `manifest-unknown-input` if the function has no such side output.
pub(super) fn output_of_input(
    functions: &FunctionPlans,
    upstream: &PipelineNode,
    input: &NodeInput,
) -> Result<OutputId> {
    let function = &function_of(functions, upstream)?.description;
    match &input.port {
        OutputPort::Main => Ok(OutputId::MAIN),
        OutputPort::DeadLetter => Ok(OutputId::DeadLetter),
        port if reads_late_records(functions, upstream, port) => Ok(OutputId::Late),
        OutputPort::Side(name) => side_output(function, upstream, name),
    }
}

fn side_output(function: &FunctionDescription, operator: &PipelineNode, name: &str) -> Result<OutputId> {
    let side_outputs = || function.outputs.iter().enumerate().skip(1);
    if let Some((index, _)) = side_outputs().find(|(_, port)| port.name == name) {
        return Ok(OutputId::Declared(index));
    }
    let known: Vec<&str> = side_outputs().map(|(_, port)| &port.name[..]).collect();
    let hint = match known.is_empty() {
        true => "the function has no side outputs".to_owned(),
        false => format!("the side outputs of the function are: {}", known.join(", ")),
    };
    let message = format!("function `{}` of operator `{}` has no side output `{name}`", function.name, operator.id);
    Err(error::manifest_unknown_input(message).hint(hint))
}
