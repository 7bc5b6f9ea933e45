//! Checks that an operator gives its function the key, the inputs, the interval and the window that the function needs.
//!
//! Errors have the code `manifest-invalid`, or `manifest-key` for a missing key.

use super::window_functions::window_function;
use crate::error::{self, Result};
use crate::operator::WindowFunction;
use crate::pipeline::{InputRole, OperatorNode, PipelineNode, WindowAssigner};
use crate::sandbox::{FunctionDescription, FunctionKind};

/// Checks an operator against its function.
pub(super) fn check_function(
    node: &PipelineNode,
    operator: &OperatorNode,
    function: &FunctionDescription,
) -> Result<()> {
    check_second_input(node, function)?;
    check_interval(node, operator, function)?;
    check_window(node, operator, function)?;
    if function.kind != FunctionKind::Process && node.key.is_none() {
        let message =
            format!("operator `{}` runs the keyed function `{}`, so it needs a `key`", node.id, function.name);
        let hint = "key = { field = \"name\" }, { column = 0 }, \"value\" or \"emitted\"";
        return Err(error::manifest_key(message).hint(hint).about(&node.id, "function"));
    }
    Ok(())
}

/// Checks that a function with two inputs has a second or a broadcast input, and that no other function has one.
fn check_second_input(node: &PipelineNode, function: &FunctionDescription) -> Result<()> {
    let needed = match function.kind {
        FunctionKind::BroadcastProcess => Some(InputRole::Broadcast),
        kind => kind.has_two_inputs().then_some(InputRole::Second),
    };
    let (id, name) = (&node.id, &function.name);
    for (role, key, hint) in [
        (InputRole::Second, "second", "second = \"ID\": the source or operator of the second input"),
        (
            InputRole::Broadcast,
            "broadcast",
            "broadcast = \"ID\": the source or operator whose records every subtask receives",
        ),
    ] {
        match (needed == Some(role), node.has_input(role)) {
            (true, false) => {
                let message = format!("operator `{id}` runs `{name}`, which has a {key} input, so it needs a `{key}`");
                return Err(error::manifest_invalid(message).hint(hint).about(id, "function"));
            }
            (false, true) => {
                let message = format!("operator `{id}` has a `{key}`, but its function `{name}` has no {key} input");
                return Err(error::manifest_invalid(message).about(id, key));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks that an interval join has an interval, and that no other function has one.
fn check_interval(node: &PipelineNode, operator: &OperatorNode, function: &FunctionDescription) -> Result<()> {
    let (id, name) = (&node.id, &function.name);
    match (function.kind == FunctionKind::IntervalJoin, operator.interval) {
        (true, None) => {
            let message = format!("operator `{id}` runs the interval join `{name}`, so it needs an `interval`");
            let hint =
                "interval = { lower = \"-2s\", upper = \"1s\" }: bounds of the second record's time minus the first's";
            Err(error::manifest_invalid(message).hint(hint).about(id, "function"))
        }
        (false, Some(_)) => {
            let message =
                format!("operator `{id}` has an `interval`, but its function `{name}` is not an interval join");
            Err(error::manifest_invalid(message).about(id, "interval"))
        }
        _ => Ok(()),
    }
}

/// Checks that a window function has a window that suits it, and that no other function has one.
fn check_window(node: &PipelineNode, operator: &OperatorNode, function: &FunctionDescription) -> Result<()> {
    let (id, name, kind) = (&node.id, &function.name, function.kind.as_str());
    let invalid = |message: String| error::manifest_invalid(message);
    match (&operator.windows, window_function(function.kind)) {
        (None, Some(_)) => {
            let message = format!("operator `{id}` runs `{name}`, of kind {kind}, so it needs a `window`");
            let hint = "window = { type = \"tumbling\", size = \"1min\" }";
            Err(invalid(message).hint(hint).about(id, "function"))
        }
        (Some(_), None) => {
            let message =
                format!("operator `{id}` has a `window`, but its function `{name}`, of kind {kind}, takes none");
            let hint = "a window needs a function of kind aggregate, process-window or co-group, or an `aggregate`";
            Err(invalid(message).hint(hint).about(id, "window"))
        }
        (Some(_), Some(WindowFunction::Aggregate)) if function.states.iter().any(|state| state.ttl.is_some()) => {
            let message = format!(
                "operator `{id}`: the accumulator of `{name}` has a time to live, which a window does not support"
            );
            let hint = "remove the time to live: an accumulator is removed with its window";
            Err(invalid(message).hint(hint).about(id, "function"))
        }
        (Some(windows), Some(WindowFunction::ProcessWindow | WindowFunction::CoGroup))
            if matches!(windows.assigner, WindowAssigner::Session { .. }) && !function.states.is_empty() =>
        {
            let message = format!(
                "operator `{id}`: `{name}` has state for each window, which session windows do not support because they merge"
            );
            Err(invalid(message).hint("remove the state, or choose another type of window").about(id, "window"))
        }
        _ => Ok(()),
    }
}
