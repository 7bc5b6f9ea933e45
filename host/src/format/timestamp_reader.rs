//! What decoders return beside rows: the timestamp of a record, or why it cannot be decoded.

use std::fmt;

use super::time_parser::TimeParser;
use crate::model::row::{FieldDefect, cut};
use crate::pipeline::KeySelector;

/// The event timestamp of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventTime {
    /// Milliseconds since the Unix epoch, rounded down.
    At(i64),
    /// The record does not have the field, or the field is empty or null.
    Missing,
}

/// Why a record cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeDefect {
    /// The record or a field of it is not what a consumer needs.
    Field(Box<FieldDefect>),
    /// The timestamp is not a time in its format.
    Timestamp(Box<FieldDefect>),
    /// The schema registry does not answer. The record is not at fault.
    Registry(Box<FieldDefect>),
}

impl DecodeDefect {
    /// Returns the stable code: that of a fault or of an error.
    pub fn code(&self) -> &'static str {
        match self {
            DecodeDefect::Field(_) => "record-invalid",
            DecodeDefect::Timestamp(_) => "record-undecodable",
            DecodeDefect::Registry(_) => "schema-registry-failed",
        }
    }

    /// Returns the path of the field. Empty if the record as a whole is malformed.
    pub fn field(&self) -> &str {
        let (DecodeDefect::Field(defect) | DecodeDefect::Timestamp(defect) | DecodeDefect::Registry(defect)) = self;
        &defect.field
    }

    /// Returns whether the source fails, whatever its setting for undecodable records: another attempt may decode the record.
    pub fn fails_source(&self) -> bool {
        matches!(self, DecodeDefect::Registry(_))
    }
}

impl fmt::Display for DecodeDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeDefect::Field(defect) => defect.fmt(f),
            DecodeDefect::Timestamp(defect) | DecodeDefect::Registry(defect) => f.write_str(&defect.message),
        }
    }
}

/// Where the timestamp of a record is, and how it is read.
#[derive(Clone, Debug)]
pub(super) struct TimestampReader {
    pub(super) at: KeySelector,
    pub(super) parser: TimeParser,
}

impl TimestampReader {
    fn name(&self) -> String {
        match &self.at {
            KeySelector::Field(name) => name.clone(),
            KeySelector::Column(index) => format!("column{index}"),
            KeySelector::Fields(_) | KeySelector::Value | KeySelector::Emitted => String::new(),
        }
    }

    /// Describes the field and the format, for a message.
    pub(super) fn described(&self) -> String {
        let field = match &self.at {
            KeySelector::Field(name) => format!("field `{}`", cut(name.as_bytes())),
            KeySelector::Column(index) => format!("column {index}"),
            KeySelector::Fields(_) | KeySelector::Value | KeySelector::Emitted => "the value".to_owned(),
        };
        format!("{field} (format `{}`)", self.parser.described())
    }

    #[inline]
    pub(super) fn read(&self, text: &[u8]) -> Result<EventTime, DecodeDefect> {
        if text.trim_ascii().is_empty() {
            return Ok(EventTime::Missing);
        }
        match self.parser.parse(text) {
            Some(ms) => Ok(EventTime::At(ms)),
            None => Err(DecodeDefect::Timestamp(self.unreadable(text))),
        }
    }

    #[cold]
    fn unreadable(&self, text: &[u8]) -> Box<FieldDefect> {
        let (shown, why) = (cut(text), self.parser.why_unreadable(text));
        let message = format!("`{shown}` in {} is not a timestamp: {why}", self.described());
        Box::new(FieldDefect { field: self.name(), message })
    }
}
