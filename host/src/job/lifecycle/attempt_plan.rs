//! The plan that restores a checkpoint.

use std::sync::Arc;

use crate::error::Result;
use crate::job::checkpoint::OperatorVersions;
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::planning;
use crate::job::restore::{self, StartingPoint};
use crate::pipeline::PipelineSpec;
use crate::runtime::{ExecutionPlan, PlanPurpose};

/// Plans the pipeline for a starting point, with the versions of its operators. Error: `checkpoint-mismatch` if it is not
/// compatible with the restored checkpoint.
pub fn plan_from(
    job: &JobHandle,
    environment: &JobEnvironment,
    pipeline: &Arc<PipelineSpec>,
    start: &StartingPoint,
) -> Result<(Arc<ExecutionPlan>, Arc<OperatorVersions>)> {
    let restored = start.metadata.as_deref();
    let mut plan = compatible_plan(job, environment, pipeline, start)?;
    let versions = OperatorVersions::new(&plan, &job.record(), restored);
    versions.set_generations(&mut plan, restored);
    Ok((Arc::new(plan), Arc::new(versions)))
}

fn compatible_plan(
    job: &JobHandle,
    environment: &JobEnvironment,
    pipeline: &Arc<PipelineSpec>,
    start: &StartingPoint,
) -> Result<ExecutionPlan> {
    let record = job.record();
    let allow_unclaimed = record.allow_unclaimed_state;
    let restored = start.metadata.as_deref();
    let pipeline = match restored {
        Some(metadata) => Arc::new(restore::with_restored_max_parallelism(metadata, pipeline, allow_unclaimed)?),
        None => pipeline.clone(),
    };
    let is_end_requested = || job.is_end_requested();
    let plan = planning::plan(
        PlanPurpose::Attempt(restored),
        pipeline,
        &record.components,
        &environment.components,
        &environment.paths(record.base_dir.clone()),
        &is_end_requested,
    )?;
    if let Some(metadata) = restored {
        restore::check_states(metadata, &plan, allow_unclaimed)?;
        restore::check_in_flight(metadata, &plan)?;
    }
    Ok(plan)
}
