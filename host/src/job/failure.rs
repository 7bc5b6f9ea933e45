//! The conversions into [`JobFailure`]: from an error of the host, and from the failure of a subtask.
//!
//! Everything below `job` that can end an attempt becomes a `JobFailure` here and nowhere else.

use std::borrow::Cow;

use super::view::{FailedRecordView, JobFailure};
use crate::access::SecretStore;
use crate::error::Error;
use crate::escape::shown;
use crate::model::NO_TIMESTAMP;
use crate::operator::FailedRecord;
use crate::runtime::{RecordOrigin, SubtaskFailure};

impl From<&Error> for JobFailure {
    fn from(error: &Error) -> JobFailure {
        JobFailure {
            code: error.code.into(),
            message: error.message.clone(),
            operator: None,
            subtask: None,
            fault: None,
            record: None,
        }
    }
}

impl From<Error> for JobFailure {
    fn from(error: Error) -> JobFailure {
        JobFailure::from(&error)
    }
}

impl From<SubtaskFailure> for JobFailure {
    fn from(failure: SubtaskFailure) -> JobFailure {
        let SubtaskFailure { node, subtask, code, message, fault, record, origin } = failure;
        tracing::debug!(%node, subtask, code, "subtask failed");
        let record = record.map(|record| Box::new(failed_record_view(&record, origin.as_ref())));
        JobFailure {
            code: code.into(),
            message,
            operator: Some(node),
            subtask: Some(subtask),
            fault: fault.map(Box::new),
            record,
        }
    }
}

impl JobFailure {
    /// Replaces the values of secrets, which a client library may have put into its message.
    pub fn without_secrets(mut self, secrets: &SecretStore) -> JobFailure {
        if let Cow::Owned(redacted) = secrets.redact(&self.message) {
            self.message = redacted;
        }
        self
    }
}

fn failed_record_view(record: &FailedRecord, origin: Option<&RecordOrigin>) -> FailedRecordView {
    let location = match origin {
        Some(RecordOrigin::Input(location) | RecordOrigin::FirstWithSameValue(location)) => Some(location),
        Some(RecordOrigin::Number { .. }) | None => None,
    };
    FailedRecordView {
        subtask: record.position.subtask,
        record: record.position.record,
        timestamp_ms: Some(record.timestamp).filter(|timestamp| *timestamp != NO_TIMESTAMP),
        key: record.key.as_deref().map(shown),
        value: shown(&record.value),
        origin: origin.map(RecordOrigin::to_string),
        file: location.map(|location| location.file.clone()),
        line: location.and_then(|location| location.line),
        fingerprint: Some(record.fingerprint()),
    }
}
