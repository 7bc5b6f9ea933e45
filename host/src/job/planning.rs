//! Plans a pipeline: resolves its components and loads their functions. Starts nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::store::ComponentStore;
use crate::access::{PipelinePaths, denied_or};
use crate::error::{self, Error, Result};
use crate::pipeline::{self, FunctionReference, Grants, NodeKind, OperatorNode, PipelineNode, PipelineSpec};
use crate::runtime::{ExecutionPlan, FunctionPlan, GuestOptions, PlanPurpose};
use crate::sandbox::{Component, Instance};

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

/// Plans a pipeline whose components are `resolved`. `stopped` is polled while components are compiled. Errors:
/// `function-not-found`, `compile-stopped`, and errors of the pipeline.
pub(super) fn plan(
    purpose: PlanPurpose<'_>,
    pipeline: impl Into<Arc<PipelineSpec>>,
    resolved: &BTreeMap<String, String>,
    components: &ComponentStore,
    paths: &PipelinePaths,
    stopped: &dyn Fn() -> bool,
) -> Result<ExecutionPlan> {
    let pipeline = pipeline.into();
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
        check_grants(node, operator, reference, &component)?;
        let grants = Arc::new(with_allowed_folder(node, &operator.grants, paths)?);
        if matches!(purpose, PlanPurpose::Submit) {
            check_folder(node, &grants)?;
        }
        let make = Arc::new(move |options: &GuestOptions| {
            let instance = Instance::new(component.clone(), index, options.limits, options.seed, options.fresh);
            let instance = instance.cancelled_by(options.cancel.clone()).granted(grants.clone());
            Box::new(instance) as Box<dyn crate::turn::Guest>
        });
        functions.insert(node.id.clone(), FunctionPlan { description, make });
    }
    ExecutionPlan::new_for(purpose, pipeline, functions, paths)
}

/// Checks that the operator is granted what its component imports. Error: `grant-missing`.
fn check_grants(
    node: &PipelineNode,
    operator: &OperatorNode,
    reference: &FunctionReference,
    component: &Component,
) -> Result<()> {
    let Some(missing) = operator.grants.missing_for(component.wasi_parts().iter().copied()) else { return Ok(()) };
    let parts: Vec<&str> = component.wasi_parts().iter().map(|part| part.as_str()).collect();
    let (id, parts) = (&node.id, parts.join(", "));
    Err(error::grant_missing(format!(
        "operator `{id}`: component `{}` imports WASI ({parts}), but these grants are missing: {missing}",
        reference.component
    ))
    .hint(format!("if the function may use them, add to [operator.{id}]: grants = {{ {missing} }}"))
    .about(id, "component"))
}

/// Returns grants whose folder has its path without links, if it is allowed. Error: `path-denied`.
fn with_allowed_folder(node: &PipelineNode, grants: &Grants, paths: &PipelinePaths) -> Result<Grants> {
    let mut grants = grants.clone();
    if let Some(folder) = &mut grants.folder {
        let path = paths.join(&folder.path);
        let unreadable = |cause: std::io::Error| {
            denied_or(&cause, || {
                error::manifest_invalid(format!("the granted folder {} cannot be read: {cause}", path.display()))
            })
            .context(format!("operator `{}`", node.id))
            .about(&node.id, "grants")
        };
        folder.path = paths.policy.resolve(&path).map_err(unreadable)?;
    }
    Ok(grants)
}

/// Checks that the granted folder can be listed and is not one of the kernel's. Errors: `path-denied`, `manifest-invalid`.
fn check_folder(node: &PipelineNode, grants: &Grants) -> Result<()> {
    let Some(folder) = &grants.folder else { return Ok(()) };
    let shown = folder.path.display();
    let real = folder.path.canonicalize().and_then(|real| std::fs::read_dir(&real).map(|_| real));
    let real = real.map_err(|cause| {
        error::manifest_invalid(format!("operator `{}`: the granted folder {shown} cannot be read: {cause}", node.id))
            .about(&node.id, "grants")
    })?;
    if ["/proc", "/sys", "/dev"].iter().any(|refused| real.starts_with(refused)) || real.parent().is_none() {
        return Err(error::path_denied(format!("operator `{}`: the folder {shown} cannot be granted", node.id))
            .hint("grant a folder that contains only what the function needs")
            .about(&node.id, "grants"));
    }
    Ok(())
}

/// Adds to an error the line of the pipeline file that it is about, if known.
pub(super) fn locate(error: Error, pipeline_text: &str, file_name: &str) -> Error {
    let location = error.subject.as_ref().and_then(|(node, key)| pipeline::locate(pipeline_text, file_name, node, key));
    match (&error.location, location) {
        (None, Some(location)) => error.at(location),
        _ => error,
    }
}
