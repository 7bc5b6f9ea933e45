//! Bytes in JSON: a string if they are readable text, otherwise `{"hex": "..."}`.
//!
//! Must not depend on what the bytes mean.

use serde_json::{Map, Value};

const HEX: &str = "hex";

/// Returns bytes as a string if they are UTF-8 without control characters other than tabs and line ends.
pub(super) fn show_text(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    let readable = text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r'));
    readable.then(|| text.into())
}

pub(super) fn show_hex(bytes: &[u8]) -> Value {
    Value::Object(Map::from_iter([(HEX.to_owned(), hex::encode(bytes).into())]))
}

pub(super) fn show_bytes(bytes: &[u8]) -> Value {
    show_text(bytes).unwrap_or_else(|| show_hex(bytes))
}

/// Returns the bytes of `{"hex": "..."}`, or an error in its digits. `None` for any other value.
pub(super) fn hex_from(value: &Value) -> Option<Result<Vec<u8>, String>> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let digits = object.get(HEX)?.as_str()?;
    Some(hex::decode(digits).map_err(|error| format!("invalid digits in \"hex\": {error}")))
}

/// Returns the bytes of a string or of `{"hex": "..."}`.
pub(super) fn bytes_from(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        value => hex_from(value)?.ok(),
    }
}

/// Parses bytes from a command line or a URL: text, or `hex:` and digits.
pub(super) fn bytes_of_argument(argument: &str) -> Result<Vec<u8>, String> {
    match argument.strip_prefix("hex:") {
        Some(digits) => hex::decode(digits).map_err(|error| format!("`{argument}`: {error}")),
        None => Ok(argument.as_bytes().to_vec()),
    }
}
