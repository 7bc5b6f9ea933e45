//! Failures as a person is shown them: of a subtask with the record that it failed on, and of a look at state that is gone.

use super::record::JobRecord;
use super::view::{FailedRecordView, JobFailure, JobStatus};
use crate::error;
use crate::escape::shown;
use crate::model::NO_TIMESTAMP;
use crate::operator::FailedRecord;
use crate::runtime::{RecordOrigin, SubtaskFailure};

pub(super) fn subtask_failed(failure: SubtaskFailure) -> JobFailure {
    let SubtaskFailure { node, subtask, code, message, fault, record, origin } = failure;
    tracing::debug!(%node, subtask, code, "subtask failed");
    let record = record.map(|record| Box::new(failed_record(&record, origin.as_ref())));
    JobFailure { code: code.into(), message, operator: Some(node), fault: fault.map(Box::new), record }
}

fn failed_record(record: &FailedRecord, origin: Option<&RecordOrigin>) -> FailedRecordView {
    let place = match origin {
        Some(RecordOrigin::Input(place) | RecordOrigin::FirstWithSameValue(place)) => Some(place),
        Some(RecordOrigin::Number { .. }) | None => None,
    };
    FailedRecordView {
        subtask: record.position.subtask,
        record: record.position.record,
        timestamp_ms: Some(record.timestamp).filter(|timestamp| *timestamp != NO_TIMESTAMP),
        key: record.key.as_deref().map(shown),
        value: shown(&record.value),
        origin: origin.map(RecordOrigin::to_string),
        file: place.map(|place| place.file.clone()),
        line: place.and_then(|place| place.line),
        fingerprint: Some(record.fingerprint()),
    }
}

/// `state-unavailable` for a job of which no image is left.
pub(super) fn without_state(record: &JobRecord) -> error::Error {
    let name = &record.name;
    let hint = "take a savepoint, or let the manifest ask for checkpoints: [checkpoint] interval";
    if !record.status.is_final() {
        let message = format!("job `{name}` has no complete checkpoint of its own yet");
        return error::state_unavailable(message).hint(hint);
    }
    let how = match record.status {
        JobStatus::Cancelled => "was cancelled",
        JobStatus::Finished => "has finished",
        JobStatus::Stopped => "was stopped",
        _ => "has failed",
    };
    if record.has_image {
        let message = format!("job `{name}` {how}, and its checkpoints are removed");
        return error::state_unavailable(message).hint(
            "name the folder of a savepoint instead; to keep the checkpoints of a job that ends: [checkpoint] on_cancel = \
             \"keep\"",
        );
    }
    error::state_unavailable(format!("job `{name}` {how} without a complete checkpoint")).hint(hint)
}
