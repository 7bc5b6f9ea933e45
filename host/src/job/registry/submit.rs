//! Submits a pipeline: checks it completely, then creates the job's record and starts the job.
//!
//! Invariant: after an error nothing of the job remains.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::job_registry::JobRegistry;
use super::submission::Submission;
use super::submitted_origin::{SubmittedOrigin, check_origin};
use crate::checkpoint::{StorageLocation, utf8_path};
use crate::clock;
use crate::connector;
use crate::error::{self, Error, ErrorKind, Result};
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::metrics_view;
use crate::job::planning;
use crate::job::sinks::existing_output_warnings;
use crate::job::store::JobRecord;
use crate::job::telemetry::{self, JOB_ID, JOB_NAME};
use crate::job::view::{JobDetail, JobStatus};
use crate::pipeline::{NodeKind, PipelineNode, PipelineSpec};
use crate::runtime::{ExecutionPlan, NodeStats, PlanPurpose};
use crate::tracer::OpenSpan;

/// A pipeline that passed all checks.
struct CheckedPipeline {
    spec: PipelineSpec,
    plan: ExecutionPlan,
    /// SHA-256 of each operator's component.
    components: BTreeMap<String, String>,
    /// Absolute folder of the pipeline file's relative paths.
    base_dir: PathBuf,
}

/// A submission that passed all checks.
struct CheckedSubmission {
    pipeline: CheckedPipeline,
    origin: Option<SubmittedOrigin>,
    /// The jobs whose output the new job continues.
    history: Vec<String>,
    warnings: Vec<String>,
}

/// Checks a submission as [`submit`] does, and creates nothing. Returns the warnings.
pub fn check(registry: &JobRegistry, environment: &JobEnvironment, submission: &Submission) -> Result<Vec<String>> {
    check_submission(registry, environment, submission, &OpenSpan::default()).map(|checked| checked.warnings)
}

fn check_submission(
    registry: &JobRegistry,
    environment: &JobEnvironment,
    submission: &Submission,
    span: &OpenSpan,
) -> Result<CheckedSubmission> {
    let pipeline = check_pipeline(registry, environment, submission, span)?;
    let checking = span.child("check peers");
    let checked = check_peers(registry, environment, submission, pipeline);
    checking.note(checked)
}

/// Checks what the pipeline finds outside: the state that it starts with, the output of other jobs, and the storage.
fn check_peers(
    registry: &JobRegistry,
    environment: &JobEnvironment,
    submission: &Submission,
    pipeline: CheckedPipeline,
) -> Result<CheckedSubmission> {
    let mut warnings = pipeline.plan.warnings.clone();
    let paths = environment.paths(pipeline.base_dir.clone());
    let origin = origin_of(registry, environment, submission, &pipeline, &mut warnings)?;
    let history = origin.as_ref().map(|origin| registry.history(&origin.job)).unwrap_or_default();
    let origin_checkpoint = origin.as_ref().map(|origin| origin.checkpoint);
    warnings.extend(existing_output_warnings(&pipeline.spec, &paths, &history, origin_checkpoint));
    warnings.extend(unheard_sources(&pipeline.spec, environment));
    environment.storage(&pipeline.spec, &pipeline.base_dir)?.check_available()?;
    Ok(CheckedSubmission { pipeline, origin, history, warnings })
}

/// Checks a pipeline completely, then creates and starts its job below `jobs_dir`.
pub fn submit(
    registry: &JobRegistry,
    environment: &JobEnvironment,
    jobs_dir: &Path,
    submission: Submission,
) -> Result<JobDetail> {
    let span = environment.tracer.begin("submit");
    let submitted = check_and_start(registry, environment, jobs_dir, submission, &span);
    span.note(submitted)
}

fn check_and_start(
    registry: &JobRegistry,
    environment: &JobEnvironment,
    jobs_dir: &Path,
    submission: Submission,
    span: &OpenSpan,
) -> Result<JobDetail> {
    let CheckedSubmission { pipeline, origin, history, warnings } =
        check_submission(registry, environment, &submission, span)?;
    let spec = pipeline.spec.clone();
    let location = origin.as_ref().map(|origin| origin.location.clone());
    let mut record = new_record(submission, pipeline, origin, environment.clock.wall_ms());
    (record.history, record.warnings) = (history, warnings);
    // A job whose first start waits for a peer shows the health of its sources and sinks.
    let nodes = spec.nodes.len();
    metrics_view::record_node_stats(&mut record, &spec, &vec![NodeStats::default(); nodes], &vec![0; nodes]);
    let job =
        Arc::new(JobHandle::new(jobs_dir.join(&record.id), record, environment.clock.clone(), &environment.usage));
    span.set_text(JOB_ID, &job.record().id);
    span.within("start", || registry.add(&job, spec, location))?;
    let record = job.record();
    for warning in &record.warnings {
        tracing::warn!(job = %record.name, "{warning}");
    }
    Ok(job.detail())
}

/// Returns a warning for each source `http` if the process has no listener for records.
fn unheard_sources(pipeline: &PipelineSpec, environment: &JobEnvironment) -> Vec<String> {
    if environment.ingest_logs.has_listener() {
        return Vec::new();
    }
    let is_ingest = |node: &&PipelineNode| match &node.kind {
        NodeKind::Source(source) => connector::ingest_source(&source.connector).is_some(),
        _ => false,
    };
    let warning = |node: &PipelineNode| {
        format!("source `{}` gets no requests: no listener was started with `cofferdam serve --ingest-listen`", node.id)
    };
    pipeline.nodes.iter().filter(is_ingest).map(warning).collect()
}

fn check_pipeline(
    registry: &JobRegistry,
    environment: &JobEnvironment,
    submission: &Submission,
    span: &OpenSpan,
) -> Result<CheckedPipeline> {
    let located = |error| planning::locate(error, &submission.pipeline_text, &submission.file_name);
    let (spec, base_dir) = span.within("validate", || {
        let mut spec = PipelineSpec::parse(&submission.pipeline_text, &submission.file_name)?;
        let base_dir = submission.base_dir.clone().unwrap_or_else(|| ".".into());
        let base_dir = std::path::absolute(&base_dir).unwrap_or(base_dir);
        utf8_path(&base_dir)?;
        registry.check_name_free(&spec.name)?;
        environment.limit_ceilings.apply(&mut spec).map_err(located)?;
        Ok((spec, base_dir))
    })?;
    span.set_text(JOB_NAME, &spec.name);
    let (store, paths) = (&environment.components, environment.paths(base_dir.clone()));
    let (components, plan) = span.within("compile", || {
        let components = planning::resolve(&spec, store).map_err(located)?;
        let plan = planning::plan(PlanPurpose::Submit, spec.clone(), &components, store, &paths, &|| false);
        Ok((components, plan.map_err(located)?))
    })?;
    Ok(CheckedPipeline { spec, plan, components, base_dir })
}

/// Returns the checked origin of a job, or `None` if it starts without state. Adds warnings.
fn origin_of(
    registry: &JobRegistry,
    environment: &JobEnvironment,
    submission: &Submission,
    pipeline: &CheckedPipeline,
    warnings: &mut Vec<String>,
) -> Result<Option<SubmittedOrigin>> {
    let Some(from) = &submission.from else {
        if submission.claim {
            return Err(error::request_invalid("`claim` requires `from`"));
        }
        if submission.reset_watermarks {
            return Err(error::request_invalid("`reset_watermarks` requires `from`"));
        }
        check_no_lost_state(registry, &pipeline.spec.name, submission.ignore_state, warnings)?;
        return Ok(None);
    };
    match check_origin(registry, environment, from, submission, &pipeline.plan, &pipeline.base_dir) {
        Ok(origin) => {
            warnings.extend(origin.warnings.iter().cloned());
            Ok(Some(origin))
        }
        Err(error) if submission.ignore_state && error.kind == ErrorKind::Corrupt => {
            warnings.push(ignored_state_warning(&error));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Checks that the last job of this name has not lost its state. A new job in its place would start without state,
/// which must be requested. Error: `checkpoint-none-usable`.
fn check_no_lost_state(
    registry: &JobRegistry,
    name: &str,
    ignore_state: bool,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let Some(lost) = registry.newest_named(name).filter(JobRecord::lost_its_state) else { return Ok(()) };
    let why = lost.failure.map(|failure| failure.message).unwrap_or_default();
    let error = error::checkpoint_none_usable(format!("job {} of this name lost its state: {why}", lost.id));
    if !ignore_state {
        return Err(error.hint(
            "restore the storage from a backup and start the server again, submit with --from a savepoint, or submit with \
             --ignore-state to start without state",
        ));
    }
    warnings.push(ignored_state_warning(&error));
    Ok(())
}

fn ignored_state_warning(error: &Error) -> String {
    tracing::warn!("state is ignored as requested: {error}");
    format!("started without state because `ignore_state` is set: {}", error.message)
}

/// Creates the record of a job that has not started. The caller sets history and warnings.
fn new_record(
    submission: Submission,
    pipeline: CheckedPipeline,
    origin: Option<SubmittedOrigin>,
    now_ms: i64,
) -> JobRecord {
    let CheckedPipeline { spec, plan, components, base_dir } = pipeline;
    let origin_seed = origin.as_ref().and_then(|origin| origin.seed);
    JobRecord {
        id: format!("{:016x}", clock::random_u64()),
        name: spec.name,
        status: JobStatus::Created,
        submitted_at_ms: now_ms,
        ended_at_ms: None,
        restarts: 0,
        attempts: 0,
        abandoned_threads: 0,
        failures: Default::default(),
        restart_history: Default::default(),
        restoring: false,
        pipeline_text: submission.pipeline_text,
        file_name: submission.file_name,
        base_dir,
        seed: spec.seed.or(origin_seed).unwrap_or_else(clock::random_u64),
        graph: Some(telemetry::job_graph(&plan, &components)),
        components,
        claim: submission.claim && origin.is_some(),
        from: origin.map(|origin| StorageLocation::to_string(&origin.location)),
        allow_unclaimed_state: submission.allow_unclaimed_state,
        reset_watermarks: submission.reset_watermarks,
        allow_loss: submission.allow_loss,
        history: Vec::new(),
        origin_published: submission.assume_published,
        allow_duplicates: submission.allow_duplicates,
        assume_lost: submission.assume_lost,
        checkpoints_to_remove: false,
        unpublished: None,
        guarantee: plan.guarantee,
        warnings: Vec::new(),
        failure: None,
        operators: Vec::new(),
        state_bytes: 0,
        state_entries: 0,
        last_checkpoint: None,
        has_checkpoint: false,
        stop: None,
        replays: Vec::new(),
        restored_checkpoint: None,
    }
}
