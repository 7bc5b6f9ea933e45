//! Prepares the dead letters before an attempt of their job starts.

use std::path::{Path, PathBuf};

use super::replay_record::ReplayRecord;
use super::replays::{add_replays, note_completed};
use crate::checkpoint::StorageLocation;
use crate::connector::{LetterQuota, LetterStore};
use crate::error::Result;
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::restore::StartingPoint;
use crate::job::store::{JobRecord, read_json};
use crate::pipeline::PipelineSpec;
use crate::runtime::LetterOptions;

/// Returns the folder of a job's letters.
pub fn letters_folder(job: &JobHandle) -> PathBuf {
    job.dir.join("letters")
}

/// Brings the letters and the replays of a job into line with the checkpoint that an attempt starts from. The sinks must have been
/// recovered.
pub fn recover(
    job: &JobHandle,
    environment: &JobEnvironment,
    pipeline: &PipelineSpec,
    start: &StartingPoint,
) -> Result<()> {
    if let Some(submitted) = start.submitted() {
        take_over(job, environment, pipeline, &submitted.job_id, submitted.checkpoint_id)?;
    }
    let record = job.record();
    if record.replays.is_empty() {
        return Ok(());
    }
    let mut replays = record.replays.clone();
    if start.submitted().is_none() {
        for lost in reopen(&mut replays, start.own().map(|own| own.checkpoint_id)) {
            job.warn(format!("replay {lost} of dead letters is lost: the checkpoints with its effects are damaged"));
        }
    }
    if let Some(metadata) = start.own() {
        note_completed(&mut replays, metadata);
    }
    if replays != record.replays {
        job.update(|record| record.replays = replays.clone())?;
    }
    Ok(())
}

/// After a return to an older checkpoint: opens the replays again whose effects are gone. Returns the numbers of those whose letters are
/// removed already.
pub(super) fn reopen(replays: &mut [ReplayRecord], restored: Option<u64>) -> Vec<u64> {
    let mut lost = Vec::new();
    let is_gone = |replay: &&mut ReplayRecord| replay.completed_in.is_some_and(|completed| Some(completed) > restored);
    for replay in replays.iter_mut().filter(is_gone) {
        if replay.is_removed {
            lost.push(replay.id);
        } else {
            (replay.completed_in, replay.later_checkpoints) = (None, 0);
        }
    }
    lost
}

/// Takes over the letters that belong to another job's checkpoint. May be repeated.
fn take_over(
    job: &JobHandle,
    environment: &JobEnvironment,
    pipeline: &PipelineSpec,
    from: &str,
    checkpoint: u64,
) -> Result<()> {
    // The id comes from a checkpoint, which may be a stranger's.
    let is_id = !from.is_empty() && from.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let Some(jobs) = job.dir.parent().filter(|_| is_id) else { return Ok(()) };
    let folder = jobs.join(from);
    if folder == job.dir || !folder.join("letters").is_dir() {
        return Ok(());
    }
    let (theirs, ours) = (LetterStore::new(folder.join("letters")), job.letters());
    let record: Option<JobRecord> = read_json(&folder.join("job.json")).ok();
    if !is_from_its_storage(job, environment, record.as_ref()) {
        if !theirs.parts()?.is_empty() {
            job.warn(format!(
                "the dead letters of job `{from}` are not taken over: the savepoint or checkpoint is not in that job's storage, \
                 so it may be by another author"
            ));
        }
        return Ok(());
    }
    let replays = record.map(|record| record.replays).unwrap_or_default();
    let is_completed = |replay: &&ReplayRecord| replay.completed_in.is_some_and(|completed| completed <= checkpoint);
    for part in theirs.parts()? {
        let keeps = pipeline.index_of(&part.node).is_some_and(|index| pipeline.keeps_letters(index));
        let is_replayed = replays.iter().filter(is_completed).any(|replay| replay.covers(&part.name));
        let is_taken_over_by_them = part.job != from;
        if keeps && !is_replayed && (part.checkpoint <= checkpoint || is_taken_over_by_them) {
            ours.copy_from(&theirs, &part.name)?;
        }
    }
    let open: Vec<ReplayRecord> = replays.into_iter().filter(|replay| !is_completed(&replay)).collect();
    if job.record().replays.is_empty() && !open.is_empty() {
        job.update(|record| record.replays = open.clone())?;
    }
    Ok(())
}

/// Returns whether what the job starts from is in the storage of the job that it claims to be of. Anyone could write a savepoint elsewhere
/// that names another job, and so read the letters of that job.
fn is_from_its_storage(job: &JobHandle, environment: &JobEnvironment, theirs: Option<&JobRecord>) -> bool {
    let from = job.record().from.and_then(|from| StorageLocation::parse(&from, Path::new("")).ok());
    let Some(from) = from else { return false };
    let chosen = theirs.and_then(|theirs| {
        let pipeline = PipelineSpec::parse(&theirs.pipeline_text, &theirs.file_name).ok()?;
        StorageLocation::parse(&pipeline.checkpoint.storage?, &theirs.base_dir).ok()
    });
    environment.is_own_storage(&from) || chosen.is_some_and(|storage| environment.is_in_storage(&from, &storage))
}

/// Returns where the subtasks of an attempt keep letters, with the replays that are open.
pub fn letter_options(job: &JobHandle, pipeline: &PipelineSpec) -> Result<LetterOptions> {
    job.charge_letters()?;
    let letters = LetterOptions {
        folder: Some(letters_folder(job)),
        quota: LetterQuota::new(pipeline.dead_letters.limit_bytes, job.letter_bytes.clone()),
        components: job.record().components,
        ..LetterOptions::default()
    };
    add_replays(job, &letters.replays);
    Ok(letters)
}
