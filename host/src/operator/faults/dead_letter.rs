//! Builds dead letters: JSON objects with the failed record, its fault and its position.
//!
//! The field names are part of the product: consumers of a dead-letter output read them.

use serde::Serialize;
use serde_json::value::RawValue;

use super::carried_attributes::CarriedAttributes;
use crate::model::row::{RowSchema, write_json};
use crate::model::{Fault, LetterReplay, NO_TIMESTAMP};

/// The position of a record that a function failed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RecordPosition {
    pub subtask: u32,
    /// Number of records that the subtask received before this one.
    pub record: u64,
}

/// A failed record, timer or window, and why it failed.
pub(in crate::operator) struct DeadLetter<'a> {
    pub operator: &'a str,
    pub function: &'a str,
    /// SHA-256 of the component. `None` for operators without a component.
    pub component: Option<&'a str>,
    pub fault: &'a Fault,
    /// How often the record has failed its operator, from 1. A letter that is replayed and fails again has the next number.
    pub attempt: u32,
    pub position: RecordPosition,
    /// Event time in milliseconds, or [`NO_TIMESTAMP`].
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    /// The schema of the value if it is a row.
    pub schema: Option<&'a RowSchema>,
    /// The other record of a pair that an interval join failed on.
    pub joined_with: Option<PairedRecord<'a>>,
    /// The attributes of the record, in the encoding of the contract.
    pub attributes: Option<&'a [u8]>,
    /// What a replay needs. `None` if letters go to a reader, and for timers and windows.
    pub replay: Option<LetterReplay>,
}

/// The other record of a pair. Which record of a pair is the failed one and which the other depends on their order of arrival.
#[derive(Clone, Copy, Debug)]
pub(in crate::operator) struct PairedRecord<'a> {
    pub timestamp: i64,
    pub value: &'a [u8],
    /// The schema of the value if it is a row. Not known until the join has received a batch of its side.
    pub schema: Option<&'a RowSchema>,
}

/// The JSON form of a [`DeadLetter`].
#[derive(Serialize)]
struct DeadLetterJson<'a> {
    operator: &'a str,
    function: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a str>,
    attempt: u32,
    code: &'static str,
    message: &'a str,
    backtrace: &'a [String],
    position: RecordPosition,
    timestamp: Option<i64>,
    /// The key if it is UTF-8, else `key_hex`.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    #[serde(flatten)]
    value: RecordJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined_with: Option<PairedRecordJson<'a>>,
    #[serde(flatten)]
    carried: CarriedAttributes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<LetterReplay>,
}

#[derive(Serialize)]
struct PairedRecordJson<'a> {
    timestamp: Option<i64>,
    #[serde(flatten)]
    value: RecordJson<'a>,
}

/// The content of a record.
#[derive(Serialize)]
struct RecordJson<'a> {
    /// An object for a row, a string for other records that are UTF-8, else `value_hex`.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<ValueJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
}

impl<'a> RecordJson<'a> {
    fn new(value: &'a [u8], schema: Option<&RowSchema>) -> RecordJson<'a> {
        let json = match schema {
            Some(schema) => {
                let json = row_json(schema, value).and_then(|json| String::from_utf8(json).ok());
                json.and_then(|json| RawValue::from_string(json).ok()).map(ValueJson::Row)
            }
            None => std::str::from_utf8(value).ok().map(ValueJson::Text),
        };
        RecordJson { value_hex: json.is_none().then(|| hex::encode(value)), value: json }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum ValueJson<'a> {
    Row(Box<RawValue>),
    Text(&'a str),
}

fn shown_timestamp(timestamp: i64) -> Option<i64> {
    Some(timestamp).filter(|timestamp| *timestamp != NO_TIMESTAMP)
}

/// Returns a row as JSON. `None` if the bytes are not a row of the schema.
pub(super) fn row_json(schema: &RowSchema, row: &[u8]) -> Option<Vec<u8>> {
    let mut json = Vec::new();
    write_json(schema, row, &mut json).ok().map(|()| json)
}

impl DeadLetter<'_> {
    /// Encodes the dead letter as JSON.
    pub(in crate::operator) fn encode(&self) -> Vec<u8> {
        let key = self.key.map(std::str::from_utf8);
        let json = DeadLetterJson {
            operator: self.operator,
            function: self.function,
            component: self.component,
            attempt: self.attempt,
            code: self.fault.code.as_str(),
            message: &self.fault.message,
            backtrace: &self.fault.backtrace,
            position: self.position,
            timestamp: shown_timestamp(self.timestamp),
            key: key.and_then(Result::ok),
            key_hex: self.key.filter(|_| key.is_some_and(|key| key.is_err())).map(hex::encode),
            value: RecordJson::new(self.value, self.schema),
            joined_with: self.joined_with.map(|other| PairedRecordJson {
                timestamp: shown_timestamp(other.timestamp),
                value: RecordJson::new(other.value, other.schema),
            }),
            carried: CarriedAttributes::new(self.attributes.unwrap_or_default()),
            replay: self.replay.clone(),
        };
        // Strings, numbers and lists of them always have a JSON form.
        serde_json::to_vec(&json).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FaultCode;

    #[test]
    fn a_dead_letter_shows_bytes_that_are_not_text_in_hex() {
        let fault = Fault::new(FaultCode::GuestError, "not \"a\" number");
        let position = RecordPosition { subtask: 1, record: 7 };
        for (key, name, text) in [(&b"k"[..], "key", "k"), (b"\xff\xfe", "key_hex", "fffe"), (b"fffe", "key", "fffe")] {
            let letter = DeadLetter {
                operator: "parse",
                function: "f",
                component: Some("ab12"),
                attempt: 2,
                fault: &fault,
                position,
                timestamp: 5,
                key: Some(key),
                value: &[0xff, 1],
                schema: None,
                joined_with: None,
                attributes: Some(b"\x02\x05:line\x0212\x04:raw\x03a,b"),
                replay: None,
            };
            let letter: serde_json::Value = serde_json::from_slice(&letter.encode()).unwrap();
            let expected = serde_json::json!({
                "operator": "parse", "function": "f", "component": "ab12", "attempt": 2, "code": "guest-error",
                "message": "not \"a\" number", "backtrace": [], "source": {"line": "12"}, "raw": "a,b", "position": { "subtask": 1, "record": 7 }, "timestamp": 5, name: text,
                "value_hex": "ff01"
            });
            assert_eq!(letter, expected);
        }
    }

    #[test]
    fn a_dead_letter_shows_a_row_as_an_object() {
        let fault = Fault::new(FaultCode::GuestError, "no");
        let schema: RowSchema = "{tail:string,delay:i64?}".parse().unwrap();
        let encoded = |value: &[u8]| -> serde_json::Value {
            let position = RecordPosition { subtask: 0, record: 1 };
            let (operator, function, schema) = ("parse", "f", Some(&schema));
            let letter = DeadLetter {
                operator,
                function,
                component: None,
                attempt: 1,
                fault: &fault,
                position,
                timestamp: NO_TIMESTAMP,
                key: None,
                value,
                schema,
                joined_with: None,
                attributes: None,
                replay: None,
            };
            serde_json::from_slice(&letter.encode()).unwrap()
        };
        let row = encoded(b"\x02N1\x01\x09");
        assert_eq!(row["value"], serde_json::json!({"tail": "N1", "delay": -5}));
        assert_eq!((row.get("key"), row.get("value_hex")), (None, None));
        let damaged = encoded(b"\x09N1");
        assert_eq!((damaged.get("value"), &damaged["value_hex"]), (None, &"094e31".into()));
    }
}
