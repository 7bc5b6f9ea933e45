//! Requests replays of dead letters, and settles them when a checkpoint contains their effects.

use super::replay_record::ReplayRecord;
use crate::checkpoint::CheckpointMetadata;
use crate::connector::{LetterFile, LetterQuota};
use crate::error::{self, Result};
use crate::job::handle::JobHandle;
use crate::job::message::RunningJobCommand;
use crate::job::view::{ReplayView, ReplaysStarted};
use crate::pipeline::PipelineSpec;
use crate::runtime::{ReplayBoard, ReplayOrder, ReplayPosition};

/// Requests a replay of all letters of a job, or of those of one operator. There is one replay for each operator. Errors:
/// `job-state` if the job has ended, `dead-letter-not-found` if there are no letters.
pub fn request_replay(job: &JobHandle, operator: Option<&str>, now_ms: i64) -> Result<ReplaysStarted> {
    // Another request must not take the same parts.
    let _held = job.removal.lock();
    let record = job.record();
    if record.status.is_final() {
        return Err(error::job_state(format!("job `{}` has ended: {:?}", record.name, record.status)).hint(
            "submit the pipeline with --from the job's last checkpoint or savepoint: the new job takes the letters over and can replay them",
        ));
    }
    let pipeline = PipelineSpec::parse(&record.pipeline_text, &record.file_name)?;
    let is_free = |part: &LetterFile| record.replays.iter().all(|replay| !replay.covers(&part.name));
    let is_wanted = |part: &LetterFile| operator.is_none_or(|operator| part.node == operator);
    let parts: Vec<LetterFile> =
        job.letters().parts()?.into_iter().filter(|part| is_free(part) && is_wanted(part)).collect();
    let mut replays: Vec<ReplayRecord> = Vec::new();
    // Positions in checkpoints name replays by their numbers, also those of the job that this one started from.
    let used = record.replays.iter().map(|replay| replay.id + 1).max().unwrap_or(0);
    let first_id = used.max(u64::try_from(now_ms).unwrap_or(0));
    for node in pipeline.nodes.iter().filter(|node| !node.inputs.is_empty()) {
        let names: Vec<String> =
            parts.iter().filter(|part| part.node == node.id).map(|part| part.name.clone()).collect();
        let letters = names.iter().try_fold(0, |sum, name| Ok::<_, error::Error>(sum + count_letters(job, name)?))?;
        if letters > 0 {
            replays.push(ReplayRecord {
                id: first_id + replays.len() as u64,
                operator: node.id.clone(),
                requested_at_ms: now_ms,
                parts: names,
                letters,
                completed_in: None,
                later_checkpoints: 0,
                is_removed: false,
            });
        }
    }
    if replays.is_empty() {
        let of = operator.map(|operator| format!(" of `{operator}`")).unwrap_or_default();
        return Err(error::dead_letter_not_found(format!("job `{}` has no letters{of} to replay", record.name))
            .hint("letters are listed once they are in a checkpoint; those of a source cannot be replayed"));
    }
    job.update(|record| record.replays.extend(replays.iter().cloned()))?;
    for replay in &replays {
        tracing::info!(job = %record.name, operator = %replay.operator, replay = replay.id, letters = replay.letters, "replay of dead letters requested");
    }
    // The next attempt finds the replays in the record.
    job.command(RunningJobCommand::UpdateLetters { removed_bytes: 0 });
    Ok(ReplaysStarted { replays: replays.iter().map(replay_view).collect() })
}

fn count_letters(job: &JobHandle, part: &str) -> Result<u64> {
    job.letters().lines(part)?.skip(u64::MAX)
}

/// Removes the letters of a job, or of one operator or source, that no replay covers. Returns how many. Error:
/// `dead-letter-not-found` if there are none.
pub fn discard_letters(job: &JobHandle, operator: Option<&str>) -> Result<u64> {
    let _held = job.removal.lock();
    let record = job.record();
    let (mut discarded, mut removed_bytes) = (0, 0);
    for part in job.letters().parts()? {
        let is_covered = record.replays.iter().any(|replay| replay.covers(&part.name));
        if operator.is_none_or(|operator| part.node == operator) && !is_covered {
            discarded += count_letters(job, &part.name)?;
            job.letters().remove(&part.name)?;
            removed_bytes += part.bytes;
        }
    }
    if !job.command(RunningJobCommand::UpdateLetters { removed_bytes }) {
        job.letter_bytes.sub(removed_bytes);
    }
    if discarded == 0 {
        return Err(error::dead_letter_not_found(format!("job `{}` has no letters to discard", record.name)));
    }
    tracing::info!(job = %record.name, letters = discarded, "dead letters discarded");
    Ok(discarded)
}

/// Shows the open replays of a job to its subtasks.
pub fn add_replays(job: &JobHandle, board: &ReplayBoard) {
    let letters = job.letters();
    for replay in job.record().replays.into_iter().filter(|replay| replay.completed_in.is_none()) {
        let parts = replay.parts.iter().map(|part| letters.path(part)).collect();
        board.add(ReplayOrder { id: replay.id, operator: replay.operator, parts, letters: replay.letters });
    }
}

/// Marks the replays whose effects a checkpoint contains. Returns whether there are any.
pub fn note_completed(replays: &mut [ReplayRecord], metadata: &CheckpointMetadata) -> bool {
    let mut has_changed = false;
    for replay in replays.iter_mut().filter(|replay| replay.completed_in.is_none()) {
        let subtasks = metadata.subtasks(&replay.operator);
        let has_read_all = |position: &Option<Vec<u8>>| {
            let position = position.as_deref().and_then(|bytes| ReplayPosition::decode(bytes).ok());
            position.is_some_and(|position| position.read(replay.id) >= replay.letters)
        };
        if !subtasks.is_empty() && subtasks.iter().all(|subtask| has_read_all(&subtask.source_position)) {
            replay.completed_in = Some(metadata.checkpoint_id);
            has_changed = true;
        }
    }
    has_changed
}

/// After a checkpoint is complete: ends the replays whose effects it contains, and removes the parts of those that no older
/// checkpoint can need. `retained` is the number of checkpoints that the job keeps; `None` for a savepoint.
///
/// A failure is only logged: the next checkpoint or attempt derives the same again.
pub fn settle_replays(job: &JobHandle, quota: &LetterQuota, metadata: &CheckpointMetadata, retained: Option<usize>) {
    let record = job.record();
    if record.replays.iter().all(|replay| replay.is_removed) {
        return;
    }
    let mut replays = record.replays.clone();
    let has_completed = note_completed(&mut replays, metadata);
    let mut removed = Vec::new();
    if let Some(retained) = retained {
        for replay in replays.iter_mut().filter(|replay| !replay.is_removed) {
            match replay.completed_in {
                Some(completed) if completed < metadata.checkpoint_id => replay.later_checkpoints += 1,
                _ => continue,
            }
            if replay.later_checkpoints >= retained as u64 {
                replay.is_removed = true;
                removed.extend(replay.parts.iter().cloned());
            }
        }
    }
    let stored = match has_completed || !removed.is_empty() {
        true => job.update(|record| record.replays.clone_from(&replays)),
        false => {
            job.show(|record| record.replays.clone_from(&replays));
            Ok(())
        }
    };
    let freed = stored.and_then(|()| remove_parts(job, quota, &removed));
    if let Err(error) = freed {
        tracing::warn!(job = %record.name, "cannot settle the replay of dead letters yet: {error}");
    }
    if has_completed {
        tracing::info!(job = %record.name, checkpoint = metadata.checkpoint_id, "dead letters are replayed");
    }
}

fn remove_parts(job: &JobHandle, quota: &LetterQuota, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let letters = job.letters();
    for part in letters.parts()?.iter().filter(|part| names.contains(&part.name)) {
        letters.remove(&part.name)?;
        quota.free(part.bytes);
    }
    Ok(())
}

/// Returns what the API shows of a replay.
pub fn replay_view(replay: &ReplayRecord) -> ReplayView {
    let ReplayRecord { id, operator, requested_at_ms, letters, completed_in, .. } = replay;
    ReplayView {
        id: *id,
        operator: operator.clone(),
        requested_at_ms: *requested_at_ms,
        letters: *letters,
        completed_in: *completed_in,
    }
}
