//! The record of a job: one JSON file that a restarted process resumes the job from.
//!
//! New fields are optional (`serde(default)`), so that records of earlier versions load.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::job::dead_letters::ReplayRecord;
use crate::job::restart_policy::RestartHistory;
use crate::job::savepoint::StopRequest;
use crate::job::view::{FailureOutcome, JobFailure, JobGraph, JobStatus, OperatorDetail, PastFailure, SavepointView};

/// Number of failures that a record keeps.
const FAILURES_KEPT: usize = 32;
/// Length of a failure's message in the history, in characters.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// Everything that a job needs to resume after a restart of the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRecord {
    /// Identifies the job.
    pub id: String,
    /// The pipeline's name.
    pub name: String,
    /// The status at the last change of the record.
    pub status: JobStatus,
    /// Milliseconds since the Unix epoch.
    pub submitted_at_ms: i64,
    /// When the job reached its final status, in milliseconds since the Unix epoch.
    pub ended_at_ms: Option<i64>,
    /// Number of restarts after a failure.
    pub restarts: u32,
    /// Number of the last attempt, from 1.
    #[serde(default)]
    pub attempts: u32,
    /// Number of threads of subtasks that did not end with their attempt.
    #[serde(default)]
    pub abandoned_threads: u64,
    /// The last failures, oldest first.
    #[serde(default)]
    pub failures: VecDeque<PastFailure>,
    /// The failures that the restart strategy takes into account.
    #[serde(default)]
    pub restart_history: RestartHistory,
    /// Whether the current attempt reads state and repositions sources.
    #[serde(skip)]
    pub restoring: bool,
    /// Text of the pipeline file.
    #[serde(rename = "manifest")]
    pub pipeline_text: String,
    /// Name of the pipeline file, for error messages.
    pub file_name: String,
    /// Relative paths in the pipeline file are relative to this folder.
    pub base_dir: PathBuf,
    /// Seed of the functions' random numbers.
    pub seed: u64,
    /// SHA-256 of each operator's component. A component name that is moved later does not affect the job.
    pub components: BTreeMap<String, String>,
    /// Absolute location of the savepoint or checkpoint that the job starts from while it has none of its own.
    #[serde(default, alias = "from_savepoint")]
    pub from: Option<String>,
    /// Whether the job owns `from` and removes it once it has a checkpoint of its own.
    #[serde(default)]
    pub claim: bool,
    /// What the job had promised to publish and had not when it ended. Its checkpoints are kept then.
    #[serde(default)]
    pub unpublished: Option<String>,
    /// Whether the job has ended and its checkpoints are still to be removed.
    #[serde(default)]
    pub checkpoints_to_remove: bool,
    /// Whether state in `from` that the pipeline does not claim is dropped instead of refused.
    #[serde(default)]
    pub allow_unclaimed_state: bool,
    /// Whether operators forget the watermarks in `from`.
    #[serde(default)]
    pub reset_watermarks: bool,
    /// Whether sources go on if records after a restored position are gone, instead of failing.
    #[serde(default)]
    pub allow_loss: bool,
    /// Ids of the jobs that this job was started from, directly or indirectly, the latest first.
    #[serde(default)]
    pub history: Vec<String>,
    /// Whether the sink output that `from` committed to is published: by this job, or assumed so on request.
    #[serde(default, rename = "promises_kept")]
    pub origin_published: bool,
    /// Whether the job may publish again what was published after `from`.
    #[serde(default)]
    pub allow_duplicates: bool,
    /// Whether the job publishes sink output that `from` committed to if nobody knows whether it is published.
    #[serde(default)]
    pub assume_lost: bool,
    /// The delivery guarantee, for each source and sink.
    pub guarantee: String,
    /// Warnings that are shown with the job.
    pub warnings: Vec<String>,
    /// Why the job failed, or why it was last restarted.
    pub failure: Option<JobFailure>,
    /// The nodes and edges. `None` in a record of an earlier version, until the job runs.
    #[serde(default)]
    pub graph: Option<JobGraph>,
    /// The metrics that were last shown; of use once the job has ended.
    pub operators: Vec<OperatorDetail>,
    /// Size of the keyed state in bytes.
    pub state_bytes: u64,
    /// Number of entries in the keyed state.
    pub state_entries: u64,
    /// Id of the newest complete checkpoint.
    pub last_checkpoint: Option<u64>,
    /// Whether the job has ever completed a checkpoint or savepoint.
    #[serde(default, rename = "has_image")]
    pub has_checkpoint: bool,
    /// The requested stop, if any.
    #[serde(default)]
    pub stop: Option<StopRequest>,
    /// The replays of dead letters that were requested, oldest first.
    #[serde(default)]
    pub replays: Vec<ReplayRecord>,
    /// Id of the checkpoint that the current attempt was restored from.
    #[serde(default)]
    pub restored_checkpoint: Option<u64>,
}

impl JobRecord {
    /// Returns whether the job runs now, or will run when the process starts again.
    pub fn may_run(&self) -> bool {
        !self.status.is_final() || self.lost_its_state()
    }

    /// Returns whether the job failed because none of its checkpoints is usable.
    pub fn lost_its_state(&self) -> bool {
        let code = self.failure.as_ref().map(|failure| failure.code.as_str());
        self.status == JobStatus::Failed && code == Some("checkpoint-none-usable")
    }

    /// Sets the failure of the job and adds it to the history.
    pub fn note_failure(&mut self, failure: &JobFailure, attempt: u32, at_ms: i64, outcome: FailureOutcome) {
        if self.failures.len() >= FAILURES_KEPT {
            self.failures.pop_front();
        }
        let mut message = failure.message.clone();
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
            message.truncate(end);
            message.push_str("...");
        }
        let JobFailure { code, operator, subtask, .. } = failure.clone();
        self.failures.push_back(PastFailure { at_ms, attempt, outcome, code, message, operator, subtask });
        self.failure = Some(failure.clone());
    }

    /// Returns whether the job ended with the savepoint of a stop.
    pub fn was_stopped(&self) -> bool {
        self.status == JobStatus::Finished && self.stop.as_ref().is_some_and(|stop| stop.location.is_some())
    }

    /// Returns the stop that an attempt has to carry out.
    pub fn open_stop(&self) -> Option<&StopRequest> {
        self.stop.as_ref().filter(|_| !self.status.is_final() && self.status != JobStatus::Cancelling)
    }

    /// Returns the state of the stop with this request id, derived from the record.
    pub fn stop_view(&self, request_id: &str) -> Option<SavepointView> {
        let stop = self.stop.as_ref().filter(|stop| stop.request_id == request_id)?;
        Some(match self.status {
            JobStatus::Finished if stop.location.is_some() => match &self.unpublished {
                None => stop.completed(),
                Some(why) => stop.failed(why.clone()),
            },
            status if status.is_final() => {
                let why = self.failure.as_ref().map_or("the job has ended", |failure| &failure.message);
                stop.failed(match stop.location {
                    None => why.to_owned(),
                    Some(_) => format!(
                        "the savepoint is complete, but the job ended before its output was published: {why}; a job that \
                         starts from the savepoint publishes it"
                    ),
                })
            }
            _ => stop.in_progress(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::job::store::read_json;

    #[test]
    fn the_history_of_failures_keeps_the_last_ones_within_bounds() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/job-v1.json");
        let mut record: JobRecord = read_json(&path).unwrap();
        for attempt in 1..=100 {
            let failure = JobFailure::from(crate::error::internal("\u{e9}".repeat(5_000)));
            record.note_failure(&failure, attempt, i64::from(attempt), FailureOutcome::Restart);
        }
        let stored = serde_json::to_string(&record).unwrap();
        let stored: JobRecord = serde_json::from_str(&stored).unwrap();
        let attempts: Vec<u32> = stored.failures.iter().map(|failure| failure.attempt).collect();
        assert_eq!(attempts, (69..=100).collect::<Vec<_>>());
        assert!(stored.failures.iter().all(|failure| failure.message.chars().count() == MESSAGE_CHARS_MAX + 3));
    }

    #[test]
    fn a_job_record_of_version_0_1_loads() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/job-v1.json");
        let record: JobRecord = read_json(&path).unwrap();
        assert_eq!((&record.id[..], record.status), ("6680ecfbba2ff2d5", JobStatus::Running));
        assert_eq!((record.seed, record.has_checkpoint), (67107185085101016, true));
        assert_eq!(record.components.len(), 2);
        assert!(record.pipeline_text.starts_with("name = "));
    }
}
