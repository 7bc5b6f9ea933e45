//! Builds dead letters: JSON objects with the failed record, its fault and its position.
//!
//! The field names are part of the product: consumers of a dead-letter output read them.

use serde::Serialize;

use crate::model::{Fault, NO_TIMESTAMP};

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
    pub fault: &'a Fault,
    pub position: RecordPosition,
    /// Event time in milliseconds, or [`NO_TIMESTAMP`].
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
}

/// The JSON form of a [`DeadLetter`].
#[derive(Serialize)]
struct DeadLetterJson<'a> {
    operator: &'a str,
    function: &'a str,
    code: &'static str,
    message: &'a str,
    backtrace: &'a [String],
    position: RecordPosition,
    timestamp: Option<i64>,
    #[serde(flatten)]
    key: Option<KeyJson<'a>>,
    #[serde(flatten)]
    value: ValueJson<'a>,
}

/// `value` if the bytes are UTF-8, else `value_hex`.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ValueJson<'a> {
    Value(&'a str),
    ValueHex(String),
}

/// `key` if the bytes are UTF-8, else `key_hex`.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum KeyJson<'a> {
    Key(&'a str),
    KeyHex(String),
}

impl DeadLetter<'_> {
    /// Encodes the dead letter as JSON.
    pub(in crate::operator) fn encode(&self) -> Vec<u8> {
        let key = self
            .key
            .map(|key| std::str::from_utf8(key).map_or_else(|_| KeyJson::KeyHex(hex::encode(key)), KeyJson::Key));
        let value = std::str::from_utf8(self.value)
            .map_or_else(|_| ValueJson::ValueHex(hex::encode(self.value)), ValueJson::Value);
        let json = DeadLetterJson {
            operator: self.operator,
            function: self.function,
            code: self.fault.code.as_str(),
            message: &self.fault.message,
            backtrace: &self.fault.backtrace,
            position: self.position,
            timestamp: Some(self.timestamp).filter(|timestamp| *timestamp != NO_TIMESTAMP),
            key,
            value,
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
                fault: &fault,
                position,
                timestamp: 5,
                key: Some(key),
                value: &[0xff, 1],
            };
            let letter: serde_json::Value = serde_json::from_slice(&letter.encode()).unwrap();
            let expected = serde_json::json!({
                "operator": "parse", "function": "f", "code": "guest-error", "message": "not \"a\" number",
                "backtrace": [], "position": { "subtask": 1, "record": 7 }, "timestamp": 5, name: text,
                "value_hex": "ff01"
            });
            assert_eq!(letter, expected);
        }
    }
}
