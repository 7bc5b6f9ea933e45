//! Describes why a subtask ended before its last barrier: it was cancelled, or it failed on an error or a fault.
//!
//! This is the one place where an [`Error`], an [`OperatorFailure`] or a cancel becomes a [`SubtaskError`]. A failure also
//! tells which record the function failed on and where that record came from, as far as this is known.

use std::fmt;

use crate::connector::RecordLocation;
use crate::error::Error;
use crate::escape::shown;
use crate::model::{Fault, NO_TIMESTAMP};
use crate::operator::{FailedRecord, OperatorFailure};
use crate::runtime::attempt_signals::SubtaskCancelled;

/// Why a subtask ended before its last barrier.
#[derive(Debug)]
pub(crate) enum SubtaskError {
    Cancelled,
    Failed(Box<SubtaskFailure>),
}

impl SubtaskError {
    /// Wraps an error of ours.
    pub(crate) fn from_error(node: &str, subtask: u32, error: Error) -> SubtaskError {
        SubtaskError::Failed(Box::new(SubtaskFailure::from_error(node, subtask, error)))
    }

    /// Wraps a fault of a function, with the record that caused it if that is known.
    pub(crate) fn from_fault(
        node: &str,
        subtask: u32,
        fault: Fault,
        record: Option<Box<FailedRecord>>,
    ) -> SubtaskError {
        SubtaskError::Failed(Box::new(SubtaskFailure::from_fault(node, subtask, fault, record)))
    }

    /// Wraps the failure of an operator.
    pub(crate) fn from_operator(node: &str, subtask: u32, failure: OperatorFailure) -> SubtaskError {
        match failure {
            OperatorFailure::Fault { fault, record } => SubtaskError::from_fault(node, subtask, fault, Some(record)),
            OperatorFailure::Error(error) => SubtaskError::from_error(node, subtask, error),
            OperatorFailure::Cancelled => SubtaskError::Cancelled,
        }
    }
}

impl From<SubtaskCancelled> for SubtaskError {
    fn from(_: SubtaskCancelled) -> SubtaskError {
        SubtaskError::Cancelled
    }
}

/// Why a subtask failed. The attempt of the job fails with it.
#[derive(Clone, Debug)]
pub struct SubtaskFailure {
    /// Id of the node.
    pub node: String,
    /// Index of the subtask, from 0.
    pub subtask: u32,
    /// Stable code of the error or of the fault.
    pub code: &'static str,
    /// Describes the failure for the user, with the failed record if it is known.
    pub message: String,
    /// Set if the function failed, and not the host.
    pub fault: Option<Fault>,
    /// The record, timer or window that the function failed on.
    pub record: Option<Box<FailedRecord>>,
    /// Where the record came from.
    pub origin: Option<RecordOrigin>,
}

/// Where a record came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOrigin {
    /// The exact place in the input.
    Input(RecordLocation),
    /// The first record of the input with the same value. The exact record is not known, because an exchange lies between
    /// the source and the operator.
    FirstWithSameValue(RecordLocation),
    /// The number of the record among those that a source subtask has read, from 1.
    Number { source: String, subtask: u32, number: u64 },
}

impl fmt::Display for RecordOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordOrigin::Input(location) => write!(f, "{location}"),
            RecordOrigin::FirstWithSameValue(location) => {
                write!(f, "the first record with this value is {location}")
            }
            RecordOrigin::Number { source, subtask, number } => {
                write!(f, "record {number} of source `{source}`, subtask {subtask}")
            }
        }
    }
}

impl SubtaskFailure {
    /// Creates the failure of an error of ours. The message ends with the hint of the error.
    pub(crate) fn from_error(node: &str, subtask: u32, error: Error) -> SubtaskFailure {
        let message = match error.hint {
            Some(hint) => format!("{}; {hint}", error.message),
            None => error.message,
        };
        SubtaskFailure {
            node: node.to_owned(),
            subtask,
            code: error.code,
            message,
            fault: None,
            record: None,
            origin: None,
        }
    }

    fn from_fault(node: &str, subtask: u32, fault: Fault, record: Option<Box<FailedRecord>>) -> SubtaskFailure {
        let mut failure = SubtaskFailure {
            node: node.to_owned(),
            subtask,
            code: fault.code.as_str(),
            message: String::new(),
            fault: Some(fault),
            record,
            origin: None,
        };
        failure.set_fault_message();
        failure
    }

    /// Adds the origin of the record.
    pub(crate) fn with_origin(mut self, origin: Option<RecordOrigin>) -> SubtaskFailure {
        self.origin = origin;
        self.set_fault_message();
        self
    }

    fn set_fault_message(&mut self) {
        let Some(fault) = &self.fault else { return };
        let mut message = format!("operator `{}`", self.node);
        if let Some(record) = &self.record {
            message.push_str(&describe_record(record, self.origin.as_ref()));
        }
        self.message = format!("{message}: {}", fault.message);
    }
}

/// Describes in one line what the function failed on and where.
fn describe_record(record: &FailedRecord, origin: Option<&RecordOrigin>) -> String {
    let (number, subtask) = (record.position.record, record.position.subtask);
    let preposition = if record.is_record { "at" } else { "after" };
    let mut text = format!(" {preposition} record {number} of subtask {subtask}");
    if let Some(origin) = origin {
        text.push_str(&format!(" ({origin})"));
    }
    if let Some(key) = &record.key {
        text.push_str(&format!(", key `{}`", shown(key)));
    }
    if record.is_record || !record.value.is_empty() {
        text.push_str(&format!(", value `{}`", shown(&record.value)));
    } else if record.timestamp != NO_TIMESTAMP {
        text.push_str(&format!(", timer at {}", record.timestamp));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FaultCode;
    use crate::operator::RecordPosition;

    fn record() -> FailedRecord {
        FailedRecord {
            position: RecordPosition { subtask: 1, record: 20_567 },
            is_record: true,
            index: Some(3),
            timestamp: NO_TIMESTAMP,
            key: Some(b"N1\n2".to_vec()),
            value: b"N1,x\ny".to_vec(),
        }
    }

    fn failure(record: FailedRecord) -> SubtaskFailure {
        let fault = Fault::new(FaultCode::GuestError, "no number");
        SubtaskFailure::from_fault("parse", 1, fault, Some(Box::new(record)))
    }

    #[test]
    fn the_message_shows_the_record_on_one_line() {
        let message = failure(record()).message;
        assert_eq!(message, "operator `parse` at record 20567 of subtask 1, key `N1\\n2`, value `N1,x\\ny`: no number");
    }

    #[test]
    fn the_message_names_the_origin_of_the_record() {
        let place = RecordLocation { file: "in/a.csv".into(), byte: 77, line: Some(5) };
        let with = |origin| failure(record()).with_origin(Some(origin)).message;
        assert!(with(RecordOrigin::Input(place.clone())).contains("subtask 1 (line 5 of `in/a.csv`), key"));
        let unknown_line = RecordLocation { line: None, ..place.clone() };
        assert!(with(RecordOrigin::Input(unknown_line)).contains("(byte 77 of `in/a.csv`)"));
        assert!(with(RecordOrigin::FirstWithSameValue(place)).contains("(the first record with this value is line 5"));
        let number = RecordOrigin::Number { source: "s".into(), subtask: 2, number: 9 };
        assert!(with(number).contains("(record 9 of source `s`, subtask 2)"));
    }

    #[test]
    fn the_message_of_a_timer_has_a_time_and_no_value() {
        let timer = FailedRecord { is_record: false, index: None, timestamp: 60_000, value: Vec::new(), ..record() };
        let message = failure(timer).message;
        assert_eq!(
            message,
            "operator `parse` after record 20567 of subtask 1, key `N1\\n2`, timer at 60000: no number"
        );
    }
}
