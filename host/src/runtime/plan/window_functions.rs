//! Completes the functions of window operators: adds hidden states, and creates native aggregates.

use std::sync::Arc;

use super::error_context::{explain_empty_input, in_node};
use super::functions::{FunctionPlan, FunctionPlans};
use super::output_ports::output_of_input;
use crate::connector::KeyExtractor;
use crate::error::{self, Result};
use crate::operator::{WINDOWS_PER_RECORD_MAX, WindowFunction, native_aggregate, too_many_windows, window_states};
use crate::pipeline::{
    Aggregate, InputRole, KeySelector, NodeKind, NumericAggregate, PipelineNode, ValueFormat, WindowSettings,
};
use crate::sandbox::{FunctionDescription, FunctionKind, PortDescription};

/// Returns which kind of window function this is, or `None` if functions of this kind see no windows.
pub(crate) fn window_function(kind: FunctionKind) -> Option<WindowFunction> {
    match kind {
        FunctionKind::Aggregate => Some(WindowFunction::Aggregate),
        FunctionKind::ProcessWindow => Some(WindowFunction::ProcessWindow),
        FunctionKind::CoGroup => Some(WindowFunction::CoGroup),
        _ => None,
    }
}

/// Adds the hidden states to the function of a window operator. Creates the function of a native aggregate first.
///
/// Fails with `manifest-invalid` if a record would belong to too many windows.
pub(super) fn complete_window_function(
    functions: &mut FunctionPlans,
    nodes: &[PipelineNode],
    node: &PipelineNode,
    formats: &[ValueFormat],
) -> Result<()> {
    let NodeKind::Operator(operator) = &node.kind else { return Ok(()) };
    let Some(windows) = &operator.windows else { return Ok(()) };
    if let Some(aggregate) = &windows.aggregate {
        let function = native_function(functions, nodes, node, aggregate, formats)?;
        functions.insert(node.id.clone(), function);
    }
    let Some(function) = functions.get_mut(&node.id) else { return Ok(()) };
    let is_aggregate = function.description.kind == FunctionKind::Aggregate;
    function.description.internal = window_states(windows, is_aggregate, &function.description.input_rows());
    check_windows_per_record(node, windows, &function.description)
}

fn check_windows_per_record(
    node: &PipelineNode,
    windows: &WindowSettings,
    function: &FunctionDescription,
) -> Result<()> {
    let Some(kind) = window_function(function.kind) else { return Ok(()) };
    let Some(count) = too_many_windows(windows, kind, !function.states.is_empty()) else { return Ok(()) };
    let message = format!(
        "operator `{}`: each record would be added to {count} windows, and the limit is {WINDOWS_PER_RECORD_MAX}",
        node.id
    );
    let hint = "choose a longer `slide`, or an aggregate with the default trigger, whose windows share panes";
    Err(error::manifest_invalid(message).hint(hint).about(&node.id, "window"))
}

fn native_function(
    functions: &FunctionPlans,
    nodes: &[PipelineNode],
    node: &PipelineNode,
    aggregate: &Aggregate,
    formats: &[ValueFormat],
) -> Result<FunctionPlan> {
    let (name, field) = name_and_field(aggregate);
    let extractor = aggregate_field(functions, nodes, node, field, formats)?;
    let aggregate = aggregate.clone();
    let make = Arc::new(move |_: &_| {
        let extractor = extractor.clone();
        native_aggregate(&aggregate, Arc::new(move |value, scratch| extractor.extract(value, scratch)))
    });
    let description = FunctionDescription {
        name: name.into(),
        kind: FunctionKind::Aggregate,
        input: PortDescription::new("in", "raw"),
        second_input: None,
        outputs: vec![PortDescription::new("out", "json")],
        states: Vec::new(),
        broadcast_states: Vec::new(),
        timers: Vec::new(),
        internal: Vec::new(),
    };
    Ok(FunctionPlan { description, make })
}

fn name_and_field(aggregate: &Aggregate) -> (&'static str, &KeySelector) {
    match aggregate {
        Aggregate::Count => ("count", &KeySelector::Value),
        Aggregate::Numeric { function, field } => {
            let name = match function {
                NumericAggregate::Sum => "sum",
                NumericAggregate::Min => "min",
                NumericAggregate::Max => "max",
                NumericAggregate::Average => "average",
                NumericAggregate::Top(_) => "top",
            };
            (name, field)
        }
    }
}

/// Returns the extractor of the aggregated field, which must be the same for all inputs. Fails with `manifest-key` otherwise.
fn aggregate_field(
    functions: &FunctionPlans,
    nodes: &[PipelineNode],
    node: &PipelineNode,
    field: &KeySelector,
    formats: &[ValueFormat],
) -> Result<KeyExtractor> {
    let mut common: Option<KeyExtractor> = None;
    for input in node.inputs.iter().filter(|input| input.role == InputRole::First) {
        let upstream = &nodes[input.node];
        let (_, format) = output_of_input(functions, upstream, input, formats)?;
        let extractor = KeyExtractor::compile(field, &format)
            .map_err(|error| in_node("operator", node, "aggregate", explain_empty_input(upstream, &format, error)))?;
        if common.replace(extractor.clone()).is_some_and(|other| other != extractor) {
            let message =
                format!("operator `{}`: the field of `aggregate` is in different places in its inputs", node.id);
            return Err(error::manifest_key(message).about(&node.id, "aggregate"));
        }
    }
    common.ok_or_else(|| error::internal("an operator without inputs"))
}
