//! Finds what happened to a job by comparing its record before and after a change.

use crate::job::store::JobRecord;
use crate::job::view::{CheckpointSummary, JobEvent, JobEventKind, JobStatus, PastFailure};

/// What is remembered of a record before a change.
pub struct RecordMarks {
    status: JobStatus,
    attempts: u32,
    warnings: usize,
    has_stop: bool,
    /// Time, attempt and code of the last failure.
    last_failure: Option<(i64, u32, String)>,
    has_ever_run: bool,
}

fn key_of(failure: &PastFailure) -> (i64, u32, String) {
    (failure.at_ms, failure.attempt, failure.code.clone())
}

impl RecordMarks {
    /// Takes the marks of a record.
    pub fn of(record: &JobRecord) -> RecordMarks {
        RecordMarks {
            status: record.status,
            attempts: record.attempts,
            warnings: record.warnings.len(),
            has_stop: record.stop.is_some(),
            last_failure: record.failures.back().map(key_of),
            has_ever_run: record.attempts > 0,
        }
    }

    /// Returns the events of the change that has led to `record`. The caller sets their numbers and times.
    pub fn changes_to(&self, record: &JobRecord) -> Vec<JobEvent> {
        let mut events = Vec::new();
        if let Some(failure) = record.failures.back().filter(|failure| self.last_failure != Some(key_of(failure))) {
            events.push(JobEvent {
                attempt: Some(failure.attempt),
                code: Some(failure.code.clone()),
                operator: failure.operator.clone(),
                subtask: failure.subtask,
                ..JobEvent::new(JobEventKind::Failure, format!("{}: {}", failure.outcome.as_str(), failure.message))
            });
        }
        if record.stop.is_some() && !self.has_stop {
            events.push(JobEvent::new(JobEventKind::StopRequested, "a stop with a savepoint was requested"));
        }
        let warnings = record.warnings.iter().skip(self.warnings);
        events.extend(warnings.map(|warning| JobEvent::new(JobEventKind::Warning, warning.clone())));
        if record.attempts > self.attempts {
            let message = format!("attempt {} begins", record.attempts);
            events.push(JobEvent { attempt: Some(record.attempts), ..JobEvent::new(JobEventKind::Attempt, message) });
        }
        if record.status != self.status {
            events.push(self.status_event(record));
        }
        events
    }

    fn status_event(&self, record: &JobRecord) -> JobEvent {
        let mut changed = JobEvent::new(JobEventKind::Status, "");
        changed.status = Some(record.status);
        changed.message = match (record.status, record.restored_checkpoint) {
            (JobStatus::Created, _) if self.has_ever_run => "resumed by a new process".to_owned(),
            (JobStatus::Created, _) => "created".to_owned(),
            (JobStatus::Running, Some(checkpoint)) => format!("running, restored from checkpoint {checkpoint}"),
            (JobStatus::Running, None) => "running, without restored state".to_owned(),
            (JobStatus::Failing, _) => "a subtask failed, and the others are being ended".to_owned(),
            (JobStatus::Restarting, _) => "waits for its restart".to_owned(),
            (JobStatus::Cancelling, _) => "a cancel was requested".to_owned(),
            (JobStatus::Finished, _) if record.was_stopped() => "stopped with a savepoint".to_owned(),
            (JobStatus::Finished, _) => "finished".to_owned(),
            (JobStatus::Canceled, _) => "cancelled".to_owned(),
            (JobStatus::Failed, _) => "failed".to_owned(),
            (JobStatus::Suspended, _) => "suspended, because the server shuts down".to_owned(),
        };
        if record.status == JobStatus::Running {
            (changed.attempt, changed.checkpoint) = (Some(record.attempts), record.restored_checkpoint);
        }
        changed
    }
}

/// Returns the first event of a job.
pub fn created_event() -> JobEvent {
    JobEvent { status: Some(JobStatus::Created), ..JobEvent::new(JobEventKind::Status, "created") }
}

/// Returns the event of a checkpoint that has ended.
pub fn checkpoint_event(checkpoint: &CheckpointSummary) -> Option<JobEvent> {
    let is_savepoint = checkpoint.kind == "savepoint";
    let (kind, message) = match (checkpoint.status.as_str(), is_savepoint) {
        ("completed", false) => (JobEventKind::CheckpointCompleted, "completed".to_owned()),
        ("completed", true) => (JobEventKind::SavepointCompleted, checkpoint.location.clone().unwrap_or_default()),
        ("failed", is_savepoint) => {
            let kind = if is_savepoint { JobEventKind::SavepointFailed } else { JobEventKind::CheckpointFailed };
            (kind, checkpoint.failure.clone().unwrap_or_default())
        }
        _ => return None,
    };
    let is_complete = checkpoint.status == "completed";
    Some(JobEvent {
        checkpoint: Some(checkpoint.id),
        duration_ms: checkpoint.duration_ms,
        bytes: is_complete.then_some(checkpoint.total.bytes),
        ..JobEvent::new(kind, message)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::job::store::read_json;
    use crate::job::view::{FailureOutcome, JobFailure};

    type Shown = (JobEventKind, String);

    fn after(record: &mut JobRecord, change: impl FnOnce(&mut JobRecord)) -> Vec<Shown> {
        let marks = RecordMarks::of(record);
        change(record);
        marks.changes_to(record).into_iter().map(|event| (event.kind, event.message)).collect()
    }

    #[test]
    fn every_change_of_a_record_that_matters_is_an_event() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/job-v1.json");
        let mut record: JobRecord = read_json(&path).unwrap();
        assert_eq!(after(&mut record, |record| record.state_bytes += 1), []);
        let fail = |record: &mut JobRecord| {
            let failure = JobFailure::from(crate::error::internal("no"));
            record.note_failure(&failure, 1, 1000, FailureOutcome::Restart);
            record.status = JobStatus::Restarting;
        };
        let failed = [
            (JobEventKind::Failure, "restart: no".to_owned()),
            (JobEventKind::Status, "waits for its restart".to_owned()),
        ];
        assert_eq!(after(&mut record, fail), failed);
        let begun = [(JobEventKind::Attempt, "attempt 1 begins".to_owned())];
        record.attempts = 0;
        assert_eq!(after(&mut record, |record| record.attempts = 1), begun);
        let run = |record: &mut JobRecord| {
            (record.status, record.restored_checkpoint) = (JobStatus::Running, Some(7));
        };
        let running = (JobEventKind::Status, "running, restored from checkpoint 7".to_owned());
        assert_eq!(after(&mut record, run), [running]);
        let warn = |record: &mut JobRecord| record.warnings.push("careful".into());
        assert_eq!(after(&mut record, warn), [(JobEventKind::Warning, "careful".to_owned())]);
    }
}
