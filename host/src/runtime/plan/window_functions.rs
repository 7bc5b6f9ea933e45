//! Window operators in the plan: whether windows and function fit, the native aggregates.

use std::sync::Arc;

use crate::connector::KeyExtractor;
use crate::error::{self, Result};
use crate::operator::{WINDOWS_PER_RECORD_MAX, WindowFunction, native_aggregate, too_many_windows, window_states};
use crate::pipeline::{
    Aggregate, InputRole, KeySelector, NodeKind, NumericAggregate, PipelineNode, ValueFormat, WindowAssigner,
};
use crate::runtime::plan::execution_plan::{ExecutionPlan, FunctionPlan, in_node, of_empty_input};
use crate::sandbox::{self, FunctionDescription, FunctionKind};

/// What a function is to windows; None where it is nothing to them.
pub(in crate::runtime) fn window_function(kind: FunctionKind) -> Option<WindowFunction> {
    match kind {
        FunctionKind::Aggregate => Some(WindowFunction::Aggregate),
        FunctionKind::ProcessWindow => Some(WindowFunction::ProcessWindow),
        FunctionKind::CoGroup => Some(WindowFunction::CoGroup),
        _ => None,
    }
}

/// Whether a function is given the windows that its kind asks for, and no other is.
pub(in crate::runtime) fn check(node: &PipelineNode, function: &FunctionDescription) -> Result<()> {
    let NodeKind::Operator(operator) = &node.kind else { return Ok(()) };
    let (id, name, kind) = (&node.id, &function.name, function.kind.as_str());
    let refused = |message: String| error::manifest_invalid(message);
    match (&operator.windows, window_function(function.kind)) {
        (None, Some(_)) => {
            let message = format!("operator `{id}` runs `{name}`, of kind {kind}, so it needs a `window`");
            let hint = "window = { type = \"tumbling\", size = \"1min\" }";
            Err(refused(message).hint(hint).about(id, "function"))
        }
        (Some(_), None) => {
            let message =
                format!("operator `{id}` has a `window`, and its function `{name}`, of kind {kind}, sees none");
            let hint = "a window needs a function of kind aggregate, process-window or co-group, or an `aggregate`";
            Err(refused(message).hint(hint).about(id, "window"))
        }
        (Some(_), Some(WindowFunction::Aggregate)) if function.states.iter().any(|state| state.ttl.is_some()) => {
            let message = format!("operator `{id}`: the accumulator of `{name}` has a time to live, but windows end");
            Err(refused(message).about(id, "function"))
        }
        (Some(windows), Some(WindowFunction::ProcessWindow | WindowFunction::CoGroup))
            if matches!(windows.assigner, WindowAssigner::Session { .. }) && !function.states.is_empty() =>
        {
            let message = format!("operator `{id}`: `{name}` keeps states of its windows, but sessions merge");
            Err(refused(message).hint("keep no state of a window of type \"session\"").about(id, "window"))
        }
        _ => Ok(()),
    }
}

impl ExecutionPlan {
    /// Gives the function of a window operator the host's own states, and makes that of a native aggregate.
    pub(in crate::runtime) fn complete_windows(
        &mut self,
        node: &PipelineNode,
        nodes: &[PipelineNode],
        formats: &[ValueFormat],
    ) -> Result<()> {
        let NodeKind::Operator(operator) = &node.kind else { return Ok(()) };
        let Some(windows) = &operator.windows else { return Ok(()) };
        if let Some(aggregate) = &windows.aggregate {
            let function = self.native(node, aggregate, nodes, formats)?;
            self.functions.insert(node.id.clone(), function);
        }
        if let Some(function) = self.functions.get_mut(&node.id) {
            let is_aggregate = function.description.kind == FunctionKind::Aggregate;
            function.description.internal = window_states(windows, is_aggregate);
            let declares_state = !function.description.states.is_empty();
            if let Some(windows) = window_function(function.description.kind)
                .and_then(|function| too_many_windows(windows, function, declares_state))
            {
                let message = format!(
                    "operator `{}`: each record would be added to {windows} windows, and {WINDOWS_PER_RECORD_MAX} is the limit",
                    node.id
                );
                let hint = "choose a longer `slide`, or an aggregate with the default trigger, whose windows share what they keep";
                return Err(error::manifest_invalid(message).hint(hint).about(&node.id, "window"));
            }
        }
        Ok(())
    }

    fn native(
        &self,
        node: &PipelineNode,
        aggregate: &Aggregate,
        nodes: &[PipelineNode],
        formats: &[ValueFormat],
    ) -> Result<FunctionPlan> {
        let (name, field) = match aggregate {
            Aggregate::Count => ("count", &KeySelector::Value),
            Aggregate::Numeric { function: what, field } => {
                let name = match what {
                    NumericAggregate::Sum => "sum",
                    NumericAggregate::Min => "min",
                    NumericAggregate::Max => "max",
                    NumericAggregate::Average => "average",
                    NumericAggregate::Top(_) => "top",
                };
                (name, field)
            }
        };
        let mut extractor: Option<KeyExtractor> = None;
        for input in node.inputs.iter().filter(|input| input.role == InputRole::First) {
            let (_, format) = self.output(&nodes[input.node], input, formats)?;
            let upstream = &nodes[input.node];
            let found = KeyExtractor::compile(field, &format)
                .map_err(|e| in_node("operator", node, "aggregate", of_empty_input(upstream, &format, e)))?;
            if extractor.replace(found.clone()).is_some_and(|other| other != found) {
                let message =
                    format!("operator `{}`: its inputs have the field of `aggregate` at different places", node.id);
                return Err(error::manifest_key(message).about(&node.id, "aggregate"));
            }
        }
        let extractor = extractor.ok_or_else(|| error::internal("an operator without inputs"))?;
        let aggregate = aggregate.clone();
        let make = Arc::new(move |_: &_| {
            let extractor = extractor.clone();
            native_aggregate(&aggregate, Arc::new(move |value, scratch| extractor.extract(value, scratch)))
        });
        let port = |name: &str, codec: &str| sandbox::PortDescription { name: name.into(), codec: codec.into() };
        let description = FunctionDescription {
            name: name.into(),
            kind: FunctionKind::Aggregate,
            input: port("in", "raw"),
            second_input: None,
            outputs: vec![port("out", "json")],
            states: Vec::new(),
            broadcast_states: Vec::new(),
            timers: Vec::new(),
            internal: Vec::new(),
        };
        Ok(FunctionPlan { description, make })
    }
}
