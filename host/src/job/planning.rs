//! From a job's record to a plan: the manifest read again, its components found, everything checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::components::ComponentStore;
use crate::error::{self, Error, Result};
use crate::pipeline::{self, NodeKind, PipelineSpec};
use crate::runtime::{ExecutionPlan, FunctionPlan, GuestOptions, PlanPurpose};
use crate::sandbox::{HeldSlots, Instance, Slots};

/// For each operator the SHA-256 of the component that its reference names now.
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

/// Takes one instance for each subtask of each function. Error: `capacity-exceeded`, with what is left.
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

/// The plan of a pipeline whose components are `resolved`. Starts nothing.
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
            .ok_or_else(|| error::internal(format!("operator `{}` has no component", node.id)))?;
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
                .hint(format!("it has: {}", known.join(", ")))
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

/// Gives an error the place in the manifest of what it is about.
pub(super) fn locate(error: Error, manifest: &str, file_name: &str) -> Error {
    let place = error.subject.as_ref().and_then(|(node, key)| pipeline::locate(manifest, file_name, node, key));
    match (&error.location, place) {
        (None, Some(place)) => error.at(place),
        _ => error,
    }
}
