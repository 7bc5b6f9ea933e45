//! Plans a pipeline: resolves its components, loads their functions, and reserves instances. Starts nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::store::ComponentStore;
use crate::error::{self, Error, Result};
use crate::pipeline::{self, NodeKind, PipelineSpec};
use crate::runtime::{ExecutionPlan, FunctionPlan, GuestOptions, PlanPurpose};
use crate::sandbox::{HeldSlots, Instance, Slots};

/// Returns the SHA-256 of each operator's component, as the references in the pipeline file resolve now. Error:
/// `component-not-found`.
pub(super) fn resolve(pipeline: &PipelineSpec, components: &ComponentStore) -> Result<BTreeMap<String, String>> {
    let mut resolved = BTreeMap::new();
    for node in &pipeline.nodes {
        if let NodeKind::Operator(operator) = &node.kind
            && let Some(function) = &operator.function
        {
            let view = components
                .find(&function.component)
                .map_err(|error| error.context(format!("operator `{}`", node.id)).about(&node.id, "component"))?;
            resolved.insert(node.id.clone(), view.sha256);
        }
    }
    Ok(resolved)
}

/// Reserves one instance for each subtask of each function. Error: `capacity-exceeded`, with the number of free
/// instances.
pub(super) fn reserve_instances(pipeline: &PipelineSpec, instances: &Slots) -> Result<HeldSlots> {
    let has_function = |kind: &NodeKind| matches!(kind, NodeKind::Operator(operator) if operator.function.is_some());
    let nodes = pipeline.nodes.iter().filter(|node| has_function(&node.kind));
    let needed = nodes.map(|node| node.parallelism as usize).sum();
    instances.try_take(needed).map_err(|free| {
        let total = instances.total();
        error::capacity_exceeded(format!(
            "the job needs {needed} instances, one for each subtask of a function; {free} of {total} are free"
        ))
        .hint("lower its parallelism, stop another job, or start the server with more --instances")
    })
}

/// Plans a pipeline whose components are `resolved`. `stopped` is polled while components are compiled. Errors:
/// `function-not-found`, `compile-stopped`, and errors of the pipeline.
pub(super) fn plan(
    purpose: PlanPurpose<'_>,
    pipeline: PipelineSpec,
    resolved: &BTreeMap<String, String>,
    components: &ComponentStore,
    base_dir: &Path,
    stopped: &dyn Fn() -> bool,
) -> Result<ExecutionPlan> {
    let mut functions = BTreeMap::new();
    for node in &pipeline.nodes {
        let NodeKind::Operator(operator) = &node.kind else { continue };
        let Some(reference) = &operator.function else { continue };
        let sha256 = resolved
            .get(&node.id)
            .ok_or_else(|| error::internal(format!("operator `{}` has no resolved component", node.id)))?;
        let component =
            components.load(sha256, stopped).map_err(|error| error.context(format!("operator `{}`", node.id)))?;
        let Some((index, description)) = component.description().function(&reference.name) else {
            let known: Vec<&str> =
                component.description().functions.iter().map(|function| function.name.as_str()).collect();
            let message = format!(
                "operator `{}`: component `{}` has no function `{}`",
                node.id, reference.component, reference.name
            );
            return Err(error::function_not_found(message)
                .hint(format!("its functions are: {}", known.join(", ")))
                .about(&node.id, "function"));
        };
        let description = description.clone();
        let make = Arc::new(move |options: &GuestOptions| {
            let instance = Instance::new(component.clone(), index, options.limits, options.seed, options.fresh);
            Box::new(instance.cancelled_by(options.cancel.clone())) as Box<dyn crate::turn::Guest>
        });
        functions.insert(node.id.clone(), FunctionPlan { description, make });
    }
    ExecutionPlan::new_for(purpose, pipeline, functions, base_dir)
}

/// Adds to an error the line of the pipeline file that it is about, if known.
pub(super) fn locate(error: Error, pipeline_text: &str, file_name: &str) -> Error {
    let location = error.subject.as_ref().and_then(|(node, key)| pipeline::locate(pipeline_text, file_name, node, key));
    match (&error.location, location) {
        (None, Some(location)) => error.at(location),
        _ => error,
    }
}
