//! JSON forms of bytes and records in the results of native aggregates.
//!
//! Invariant: a form is a single line, and different bytes never have the same form.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::error;
use crate::turn::TurnFailure;

/// The only field of an object that stands for bytes that are not text.
const HEX: &str = "hex";

/// A record in a result. A JSON object stays as it is, other records become text or hex.
pub fn record_json(record: &[u8]) -> Result<Box<RawValue>, TurnFailure> {
    let object = std::str::from_utf8(record).ok().filter(|text| text.trim_ascii_start().starts_with('{'));
    let raw = object.and_then(|text| serde_json::from_str::<Box<RawValue>>(text.trim_ascii()).ok());
    let Some(raw) = raw else { return to_json(&bytes_json(record)) };
    let parsed: Option<Value> = serde_json::from_str(raw.get()).ok();
    // A record that looks like the hex form of bytes is encoded in hex itself.
    if parsed.as_ref().and_then(Value::as_object).is_some_and(|object| object.len() == 1 && object.contains_key(HEX)) {
        return to_json(&hex_json(record));
    }
    // Strings in JSON cannot contain line breaks, so replacing those between the tokens keeps the meaning.
    match raw.get().contains(['\n', '\r']) {
        true => RawValue::from_string(raw.get().replace(['\n', '\r'], " ")).or_else(|_| to_json(&bytes_json(record))),
        false => Ok(raw),
    }
}

/// Text if the bytes are UTF-8, else `{"hex": "..."}`.
pub fn bytes_json(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| hex_json(bytes), Value::from)
}

fn hex_json(bytes: &[u8]) -> Value {
    json!({ HEX: hex::encode(bytes) })
}

pub fn to_json(value: &impl Serialize) -> Result<Box<RawValue>, TurnFailure> {
    to_raw_value(value).map_err(|cause| error::internal(format!("a result cannot be encoded as JSON: {cause}")).into())
}
