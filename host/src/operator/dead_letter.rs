//! The record that a dead-letter output gets: one JSON object with the bad record, its fault and where it was.

use serde::Serialize;

use crate::model::{Fault, NO_TIMESTAMP};

/// Where a record was when its function failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RecordPosition {
    pub subtask: u32,
    /// How many records the subtask had received before it.
    pub record: u64,
}

#[derive(Serialize)]
struct DeadLetter<'a> {
    operator: &'a str,
    function: &'a str,
    code: &'static str,
    message: &'a str,
    backtrace: &'a [String],
    position: RecordPosition,
    /// Event time in milliseconds.
    timestamp: Option<i64>,
    #[serde(flatten)]
    key: Option<Key<'a>>,
    #[serde(flatten)]
    value: Value<'a>,
}

/// Text where the bytes are UTF-8, else hex.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Value<'a> {
    Value(&'a str),
    ValueHex(String),
}

/// The same of the record's key.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Key<'a> {
    Key(&'a str),
    KeyHex(String),
}

pub(super) struct Letter<'a> {
    pub operator: &'a str,
    pub function: &'a str,
    pub fault: &'a Fault,
    pub position: RecordPosition,
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
}

impl Letter<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let letter = DeadLetter {
            operator: self.operator,
            function: self.function,
            code: self.fault.code.as_str(),
            message: &self.fault.message,
            backtrace: &self.fault.backtrace,
            position: self.position,
            timestamp: Some(self.timestamp).filter(|timestamp| *timestamp != NO_TIMESTAMP),
            key: self.key.map(|key| std::str::from_utf8(key).map_or_else(|_| Key::KeyHex(hex::encode(key)), Key::Key)),
            value: std::str::from_utf8(self.value)
                .map_or_else(|_| Value::ValueHex(hex::encode(self.value)), Value::Value),
        };
        // Strings, numbers and lists of them always have a JSON form.
        serde_json::to_vec(&letter).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FaultCode;

    #[test]
    fn a_letter_tells_all_of_a_record_that_is_not_text() {
        let fault = Fault::new(FaultCode::GuestError, "not \"a\" number");
        let position = RecordPosition { subtask: 1, record: 7 };
        for (key, name, text) in [(&b"k"[..], "key", "k"), (b"\xff\xfe", "key_hex", "fffe"), (b"fffe", "key", "fffe")] {
            let letter = Letter {
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
