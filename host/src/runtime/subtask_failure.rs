//! Why a subtask failed, with the record that it failed on and where that came from, as far as that is known.

use std::fmt;
use std::path::Path;

use crate::connector::{self, RecordLocation};
use crate::error::Error;
use crate::escape::shown;
use crate::model::{Fault, NO_TIMESTAMP};
use crate::operator::FailedRecord;
use crate::pipeline::{NodeInput, NodeKind, OutputPort};
use crate::runtime::plan::execution_plan::ExecutionPlan;

/// Why a subtask failed, and with it the job's attempt.
#[derive(Clone, Debug)]
pub struct SubtaskFailure {
    pub node: String,
    pub subtask: u32,
    pub code: &'static str,
    pub message: String,
    pub fault: Option<Fault>,
    /// What the function failed on.
    pub record: Option<Box<FailedRecord>>,
    pub origin: Option<RecordOrigin>,
}

/// Where a record came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOrigin {
    Input(RecordLocation),
    /// The first record of the input with the same value: an exchange lies between the source and the operator.
    FirstWithSameValue(RecordLocation),
    /// Its number among the records of a source's subtask, from 1.
    Number {
        source: String,
        subtask: u32,
        number: u64,
    },
}

impl fmt::Display for RecordOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordOrigin::Input(place) => write!(f, "{place}"),
            RecordOrigin::FirstWithSameValue(place) => write!(f, "the first record with this value is {place}"),
            RecordOrigin::Number { source, subtask, number } => {
                write!(f, "record {number} of source `{source}`, subtask {subtask}")
            }
        }
    }
}

impl SubtaskFailure {
    pub(super) fn error(node: &str, subtask: u32, error: Error) -> SubtaskFailure {
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

    pub(super) fn fault(node: &str, subtask: u32, fault: Fault, record: Option<Box<FailedRecord>>) -> SubtaskFailure {
        let mut failure = SubtaskFailure {
            node: node.to_owned(),
            subtask,
            code: fault.code.as_str(),
            message: String::new(),
            fault: Some(fault),
            record,
            origin: None,
        };
        failure.describe();
        failure
    }

    /// Adds where the record came from.
    pub(super) fn with_origin(mut self, origin: Option<RecordOrigin>) -> SubtaskFailure {
        self.origin = origin;
        self.describe();
        self
    }

    /// Looks the record up in the inputs of the sources that the operator reads, where it knows no origin yet: what comes out of
    /// a source's exchange is a record of its input as it was.
    pub(super) fn looked_up(
        self,
        plan: &ExecutionPlan,
        base_dir: &Path,
        is_cancelled: &dyn Fn() -> bool,
    ) -> SubtaskFailure {
        let value = match (&self.record, &self.origin) {
            (Some(record), None) if record.is_record => &record.value,
            _ => return self,
        };
        let nodes = &plan.pipeline.nodes;
        let inputs = nodes.iter().find(|node| node.id == self.node).map_or(&[][..], |node| &node.inputs);
        let find = |input: &NodeInput| match (&nodes[input.node].kind, &input.port) {
            (NodeKind::Source(source), OutputPort::Main) => {
                connector::find_record(&source.connector, base_dir, value, is_cancelled)
            }
            _ => None,
        };
        match inputs.iter().find_map(find) {
            Some(place) => self.with_origin(Some(RecordOrigin::FirstWithSameValue(place))),
            None => self,
        }
    }

    /// Writes the message of a fault.
    fn describe(&mut self) {
        let Some(fault) = &self.fault else { return };
        let mut message = format!("operator `{}`", self.node);
        if let Some(record) = &self.record {
            message.push_str(&at(record, self.origin.as_ref()));
        }
        self.message = format!("{message}: {}", fault.message);
    }
}

/// Where the function failed and on what, in one line.
fn at(record: &FailedRecord, origin: Option<&RecordOrigin>) -> String {
    let (number, subtask) = (record.position.record, record.position.subtask);
    let mut text = match record.is_record {
        true => format!(" at record {number} of subtask {subtask}"),
        false => format!(" behind record {number} of subtask {subtask}"),
    };
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
        SubtaskFailure::fault("parse", 1, fault, Some(Box::new(record)))
    }

    #[test]
    fn the_message_shows_the_record_in_one_line() {
        let message = failure(record()).message;
        assert_eq!(message, "operator `parse` at record 20567 of subtask 1, key `N1\\n2`, value `N1,x\\ny`: no number");
    }

    #[test]
    fn the_message_says_which_place_is_known() {
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
    fn a_timer_has_no_value() {
        let timer = FailedRecord { is_record: false, index: None, timestamp: 60_000, value: Vec::new(), ..record() };
        let message = failure(timer).message;
        assert_eq!(
            message,
            "operator `parse` behind record 20567 of subtask 1, key `N1\\n2`, timer at 60000: no number"
        );
    }
}
