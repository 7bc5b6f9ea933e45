//! The savepoint or checkpoint that a job is submitted with, and the check that the job can start from it.

use std::path::Path;

use super::job_registry::JobRegistry;
use super::submission::Submission;
use crate::checkpoint::{CheckpointKind, CheckpointMetadata, StorageLocation, StoredCheckpoint, Verification};
use crate::error::{self, Result};
use crate::job::environment::JobEnvironment;
use crate::job::restore;
use crate::job::sinks::check_prepared_output;
use crate::job::store::JobRecord;
use crate::runtime::ExecutionPlan;

/// A checked origin of a new job.
pub struct SubmittedOrigin {
    /// Folder of the savepoint or checkpoint.
    pub location: StorageLocation,
    /// Seed of the job that took it.
    pub seed: Option<u64>,
    /// Id of the job that took it.
    pub job: String,
    /// Its number within that job.
    pub checkpoint: u64,
    /// Warnings for the new job.
    pub warnings: Vec<String>,
}

/// Checks that a pipeline can start from the savepoint or checkpoint at `from`. Errors: `request-invalid`,
/// `checkpoint-mismatch`, `sink-changed`, `job-state`, and errors of the storage.
pub fn check_origin(
    registry: &JobRegistry,
    environment: &JobEnvironment,
    from: &str,
    submission: &Submission,
    plan: &ExecutionPlan,
    base_dir: &Path,
) -> Result<SubmittedOrigin> {
    let location = StorageLocation::parse(from, base_dir).map_err(error::request_invalid)?;
    environment.check_origin(&location)?;
    let location = location.canonical();
    let StoredCheckpoint { metadata, .. } =
        StoredCheckpoint::open(&location, environment.runtime.clone(), Verification::Lengths)?;
    environment.check_native_files(&location, &metadata)?;
    let allow_unclaimed = submission.allow_unclaimed_state;
    restore::with_restored_max_parallelism(&metadata, &plan.pipeline, allow_unclaimed)?;
    restore::check_states(&metadata, plan, allow_unclaimed)?;
    restore::check_in_flight(&metadata, plan)?;
    let mut warnings = match submission.assume_published {
        true => Vec::new(),
        false => check_prepared_output(&metadata, &plan.pipeline, &environment.paths(base_dir.to_owned()))?,
    };
    if !submission.reset_watermarks {
        warnings.extend(restore::restored_watermark_warnings(&metadata, plan));
    }
    if submission.claim {
        check_claim(registry, environment, &location, &metadata)?;
    }
    let CheckpointMetadata { seed, job_id: job, checkpoint_id: checkpoint, .. } = metadata;
    Ok(SubmittedOrigin { location, seed, job, checkpoint, warnings })
}

/// Checks that no other job needs what a job claims. Error: `job-state`.
fn check_claim(
    registry: &JobRegistry,
    environment: &JobEnvironment,
    location: &StorageLocation,
    metadata: &CheckpointMetadata,
) -> Result<()> {
    let owner = registry.record(&metadata.job_id).filter(JobRecord::may_run);
    if let Some(owner) = owner.filter(|_| metadata.kind != CheckpointKind::Savepoint) {
        let message = format!("job `{}` runs, and {location} is its own checkpoint", owner.name);
        return Err(
            error::job_state(message).hint("stop or cancel the job first, take a savepoint, or start without --claim")
        );
    }
    match environment.origins.job_starting_at(location, "") {
        None => Ok(()),
        Some(other) => Err(error::job_state(format!("job {other} starts from {location} as well"))
            .hint("wait for its first checkpoint, or start without --claim")),
    }
}
