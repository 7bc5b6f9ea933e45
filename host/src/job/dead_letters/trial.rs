//! Runs dead letters against a version of their component, in the sandbox and with the state of the newest checkpoint. Nothing takes
//! effect: neither the state nor the outputs leave the trial.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::listing::{letter_place, open_parts, unknown};
use crate::checkpoint::{CheckpointMetadata, Verification};
use crate::error::{self, Result};
use crate::job::checkpoint::OperatorVersions;
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::planning;
use crate::job::restore;
use crate::job::store::{JobRecord, JobState, create_dir};
use crate::job::view::{TrialOutput, TrialView, TriedLetter};
use crate::model::Interrupt;
use crate::pipeline::{FaultPolicy, NodeKind, PipelineSpec};
use crate::runtime::{ExecutionOptions, ExecutionPlan, LetterOptions, OperatorTrial, PlanPurpose, RestoredCheckpoint};

/// Number of letters that are tried if the request names none.
const LETTERS_DEFAULT: usize = 20;
/// Largest number of letters in one trial. Each may take a deadline.
const LETTERS_MAX: usize = 100;
/// Number of records that are shown for each letter.
const OUTPUTS_MAX: usize = 100;

/// What to try.
#[derive(Clone, Debug, Default)]
pub struct TrialRequest {
    /// Id of the operator. Not needed if letters are named.
    pub operator: Option<String>,
    /// Ids of letters, all of one operator. If there are none, the oldest letters of the operator are tried.
    pub letters: Vec<String>,
    /// Number of letters if none are named.
    pub limit: Option<usize>,
    /// The version of the component. If not set, that of the job.
    pub component: Option<String>,
}

/// A letter with its id.
type ChosenLetter = (String, Vec<u8>);

/// Tries letters. `held` keeps the job's checkpoint from being removed; `scratch_in` is a folder for the restored state. Errors:
/// `dead-letter-not-found`, `component-not-found`, `capacity-exceeded`, `checkpoint-mismatch`.
pub fn try_letters(
    job: &JobHandle,
    environment: &JobEnvironment,
    request: &TrialRequest,
    held: Option<&JobState>,
    scratch_in: &Path,
) -> Result<TrialView> {
    let record = job.record();
    let (operator, letters) = chosen_letters(job, &record, request)?;
    let _instance = environment.capacity.reserve_trial()?;
    let pipeline = PipelineSpec::parse(&record.pipeline_text, &record.file_name)?;
    let storage = environment.storage(&pipeline, &record.base_dir)?;
    let found = held.map(|_| storage.newest_usable(&record.id, Verification::Lengths)).transpose()?.flatten();
    let restored = found.map(|(metadata, _)| Arc::new(metadata));
    create_dir(scratch_in)?;
    let scratch = tempfile::tempdir_in(scratch_in)
        .map_err(|cause| error::data_dir_failed(format!("{}: {cause}", scratch_in.display())))?;
    let mut components = record.components.clone();
    if let Some(reference) = &request.component {
        components.insert(operator.clone(), environment.components.find(reference)?.sha256);
    }
    let component = components.get(&operator).cloned();
    let plan = trial_plan(environment, &record, &operator, pipeline, &components, restored.as_deref())?;
    let files = match &restored {
        Some(metadata) => Some(storage.files(&record.id, metadata.checkpoint_id, metadata.kind)?),
        None => None,
    };
    let checkpoint = restored.as_ref().map(|metadata| metadata.checkpoint_id);
    let options = ExecutionOptions {
        health: Default::default(),
        log: Default::default(),
        namespace_state: Default::default(),
        taps: Default::default(),
        job_id: record.id.clone(),
        paths: environment.paths(record.base_dir.clone()),
        working_dir: scratch.path().to_owned(),
        seed: record.seed,
        clock: environment.clock.clone(),
        restore: restored.zip(files).map(|(metadata, files)| RestoredCheckpoint { metadata, files: Arc::new(files) }),
        allow_unclaimed_state: true,
        reset_watermarks: false,
        share: environment.permits.share_of(&record.id),
        interrupt: Interrupt::default(),
        region: None,
        triggers: None,
        injected: Arc::default(),
        listener: Arc::new(|_| {}),
        runtime: None,
        letters: LetterOptions::default(),
        sinks: Default::default(),
        faults: None,
        span: Arc::default(),
        ingest: None,
    };
    let mut trial = OperatorTrial::open(plan, options, &operator)?;
    let mut view = TrialView { component, checkpoint, ..TrialView::default() };
    for (id, letter) in letters {
        let outcome = trial.run(&letter)?;
        let (code, message) = outcome.fault.unzip();
        *(if code.is_some() { &mut view.failed } else { &mut view.succeeded }) += 1;
        let outputs = outcome.outputs.into_iter().take(OUTPUTS_MAX);
        let outputs = outputs.map(|(output, value)| TrialOutput { output, value }).collect();
        view.letters.push(TriedLetter { id, code, message, outputs });
    }
    Ok(view)
}

/// Plans the pipeline with the operator in one subtask, whose faults are reported instead of failing the trial.
fn trial_plan(
    environment: &JobEnvironment,
    record: &JobRecord,
    operator: &str,
    pipeline: PipelineSpec,
    components: &BTreeMap<String, String>,
    restored: Option<&CheckpointMetadata>,
) -> Result<ExecutionPlan> {
    let mut pipeline = match restored {
        Some(metadata) => restore::with_restored_max_parallelism(metadata, &pipeline, true)?,
        None => pipeline,
    };
    for node in pipeline.nodes.iter_mut().filter(|node| node.id == operator) {
        node.parallelism = 1;
        if let NodeKind::Operator(operator) = &mut node.kind {
            (operator.on_fault, operator.retry) = (FaultPolicy::DeadLetter, None);
        }
    }
    let purpose = PlanPurpose::Attempt(restored);
    let (store, paths) = (&environment.components, environment.paths(record.base_dir.clone()));
    let mut plan = planning::plan(purpose, pipeline, components, store, &paths, &|| false)?;
    if let Some(metadata) = restored {
        restore::check_states(metadata, &plan, true)?;
    }
    let record = JobRecord { components: components.clone(), ..record.clone() };
    OperatorVersions::new(&plan, &record, restored).set_generations(&mut plan, restored);
    Ok(plan)
}

/// Returns the operator and the letters that a request names.
fn chosen_letters(job: &JobHandle, record: &JobRecord, request: &TrialRequest) -> Result<(String, Vec<ChosenLetter>)> {
    let parts = open_parts(job, record, request.operator.as_deref())?;
    if request.letters.len() > LETTERS_MAX {
        return Err(error::request_invalid(format!("a trial takes up to {LETTERS_MAX} letters")));
    }
    let mut operators: Vec<&str> = Vec::new();
    let mut letters = Vec::new();
    for id in &request.letters {
        let (name, line) = letter_place(id)?;
        let part = parts.iter().find(|part| part.name == name).ok_or_else(|| unknown(id))?;
        let mut lines = job.letters().lines(&part.name)?;
        lines.skip(line - 1)?;
        letters.push((id.clone(), lines.next_line()?.ok_or_else(|| unknown(id))?.json));
        operators.push(&part.node);
    }
    if request.letters.is_empty() {
        let limit = request.limit.unwrap_or(LETTERS_DEFAULT).clamp(1, LETTERS_MAX);
        let node = request.operator.as_deref().or(parts.first().map(|part| &part.node[..])).unwrap_or_default();
        for part in parts.iter().filter(|part| part.node == node) {
            let mut lines = job.letters().lines(&part.name)?;
            while letters.len() < limit {
                let Some(line) = lines.next_line()? else { break };
                letters.push((format!("{}.{}", part.name, line.number), line.json));
            }
        }
        operators.push(node);
    }
    operators.dedup();
    match (&operators[..], letters.is_empty()) {
        (&[operator], false) if is_operator(record, operator)? => Ok((operator.to_owned(), letters)),
        (_, true) => Err(error::dead_letter_not_found(format!("job `{}` has no such letters", record.name))),
        ([_], false) => Err(error::request_invalid("letters of a source hold records that no function has seen")
            .hint("correct the input or the settings of the source")),
        (_, false) => Err(error::request_invalid("the letters of a trial are of one operator")),
    }
}

fn is_operator(record: &JobRecord, id: &str) -> Result<bool> {
    let pipeline = PipelineSpec::parse(&record.pipeline_text, &record.file_name)?;
    Ok(pipeline.nodes.iter().any(|node| node.id == id && matches!(node.kind, NodeKind::Operator(_))))
}
