//! One dead letter as it is stored, as far as the host needs its content.
//!
//! The bytes come from a file, so they are untrusted.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::row::RowSchema;
use crate::model::{LetterReplay, NO_TIMESTAMP};

/// A dead letter of an operator or of a source.
#[derive(Debug, Deserialize)]
pub struct StoredLetter<'a> {
    /// Stable code of the fault or of the decode error.
    pub code: String,
    /// What failed.
    pub message: String,
    /// How often the record has failed, from 1. A source does not count.
    #[serde(default = "one")]
    pub attempt: u32,
    /// Event time in milliseconds, if the record has one.
    pub timestamp: Option<i64>,
    key: Option<String>,
    key_hex: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    value_hex: Option<String>,
    /// The position of the record.
    #[serde(default)]
    pub position: LetterPosition,
    /// What a replay needs. `None` if the letter cannot be replayed.
    pub replay: Option<LetterReplay>,
}

/// The position of a record in its operator, or in the input of its source.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LetterPosition {
    /// The subtask that the record failed in.
    #[serde(default)]
    pub subtask: u32,
}

/// The record of a letter that can be replayed.
#[derive(Debug, PartialEq)]
pub struct ReplayedRecord {
    /// The input of the operator.
    pub input: u32,
    /// The record as the operator received it.
    pub value: Vec<u8>,
    /// Its schema if it is a row.
    pub schema: Option<RowSchema>,
    /// Its attributes, in the encoding of the contract.
    pub attributes: Option<Vec<u8>>,
    /// Whether it was rejected before it reached the operator.
    pub rejected: bool,
}

fn one() -> u32 {
    1
}

impl StoredLetter<'_> {
    /// Reads a line. `None` if it is no letter.
    pub fn parse(line: &[u8]) -> Option<StoredLetter<'_>> {
        serde_json::from_slice(line).ok()
    }

    /// Returns the key, if the record has one.
    pub fn key(&self) -> Option<Vec<u8>> {
        match (&self.key, &self.key_hex) {
            (Some(key), _) => Some(key.clone().into_bytes()),
            (None, Some(digits)) => hex::decode(digits).ok(),
            (None, None) => None,
        }
    }

    /// Returns the timestamp, or [`NO_TIMESTAMP`].
    pub fn timestamp(&self) -> i64 {
        self.timestamp.unwrap_or(NO_TIMESTAMP)
    }

    /// Returns the content of the record as it is shown, as JSON.
    pub fn shown_value(&self) -> String {
        match (self.value, &self.value_hex) {
            (Some(value), _) => value.get().to_owned(),
            (None, Some(digits)) => format!("\"hex:{digits}\""),
            (None, None) => String::new(),
        }
    }

    /// Returns the record, or `None` if the letter cannot be replayed.
    pub fn record(&self) -> Option<ReplayedRecord> {
        let replay = self.replay.as_ref()?;
        let schema = replay.schema.as_ref().map(|text| text.parse::<RowSchema>()).transpose().ok()?;
        let value = match (&replay.row, self.value, &self.value_hex) {
            (Some(digits), _, _) | (None, None, Some(digits)) => hex::decode(digits).ok()?,
            (None, Some(value), _) => serde_json::from_str::<String>(value.get()).ok()?.into_bytes(),
            (None, None, None) => return None,
        };
        let attributes = replay.attributes.as_ref().map(hex::decode).transpose().ok()?;
        Some(ReplayedRecord { input: replay.input, value, schema, attributes, rejected: replay.rejected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_holds_the_record_as_the_operator_received_it() {
        let line = br#"{"operator":"p","code":"guest-error","message":"no","attempt":2,"timestamp":5,"key_hex":"ff","value":"a\n\"b",
            "position":{"subtask":3,"record":1},"replay":{"input":1,"attributes":"00"}}"#;
        let letter = StoredLetter::parse(line).unwrap();
        assert_eq!((letter.attempt, letter.timestamp(), letter.position.subtask), (2, 5, 3));
        assert_eq!(letter.key().unwrap(), b"\xff");
        let record = letter.record().unwrap();
        assert_eq!((record.input, &record.value[..], record.schema), (1, &b"a\n\"b"[..], None));
        assert_eq!(record.attributes.unwrap(), b"\0");
        let row = br#"{"code":"c","message":"","value":{"a":1},"replay":{"input":0,"schema":"{a:i64}","row":"02"}}"#;
        let letter = StoredLetter::parse(row).unwrap();
        assert_eq!((letter.key(), letter.timestamp(), letter.shown_value()), (None, NO_TIMESTAMP, "{\"a\":1}".into()));
        assert_eq!(letter.record().unwrap().value, b"\x02");
    }

    #[test]
    fn what_is_no_letter_is_refused() {
        for line in [&b""[..], b"x", b"[]", b"{}", b"{\"code\":1,\"message\":\"\"}", b"\xff"] {
            assert!(StoredLetter::parse(line).is_none());
        }
        for replay in ["null", r#"{"input":0,"schema":"{a:nothing}"}"#, r#"{"input":0,"row":"0"}"#, r#"{"input":0}"#] {
            let line = format!("{{\"code\":\"c\",\"message\":\"\",\"value\":{{}},\"replay\":{replay}}}");
            assert_eq!(StoredLetter::parse(line.as_bytes()).unwrap().record(), None, "{replay}");
        }
    }
}
