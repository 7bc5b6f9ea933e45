//! One value as JSON and back, in the representation that fits the state's codec and schema.
//!
//! Invariant: a value is only shown in a readable form if that form encodes to the same bytes again; otherwise it is shown
//! as `{"hex": "..."}`. Must not depend on the entry around the value.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::bytes_json::{bytes_from, hex_from, show_bytes, show_hex};
use super::internal_values::InternalValueFormat;
use super::postcard_json;
use super::row_json::RowCodec;
use super::value_shape::ValueShape;
use crate::error::{self, Result};
use crate::state::StateDescription;

/// How the values of one state are encoded.
pub(super) enum ValueCodec {
    Json,
    Postcard(ValueShape),
    Text,
    Internal(InternalValueFormat),
    /// Values that hold rows.
    Rows(RowCodec),
    /// The schema does not say the type: values are shown in hex.
    Unknown,
}

impl ValueCodec {
    pub fn of(state: &StateDescription) -> ValueCodec {
        let shape = || state.schema.strip_prefix("postcard:").and_then(ValueShape::parse);
        if let Some(rows) = RowCodec::of(state) {
            return ValueCodec::Rows(rows);
        }
        match (InternalValueFormat::of(state), &state.codec[..]) {
            (Some(format), _) => ValueCodec::Internal(format),
            (None, "json") => ValueCodec::Json,
            (None, "postcard") => shape().map_or(ValueCodec::Unknown, ValueCodec::Postcard),
            (None, "csv" | "raw") => ValueCodec::Text,
            (None, _) => ValueCodec::Unknown,
        }
    }

    pub fn show(&self, bytes: &[u8]) -> Result<Box<RawValue>> {
        if let ValueCodec::Json = self {
            return json_text(bytes).map_or_else(|| raw_json(&show_hex(bytes)), Ok);
        }
        if let ValueCodec::Rows(rows) = self {
            return rows.show(bytes).map_or_else(|| raw_json(&show_hex(bytes)), Ok);
        }
        let value = match self {
            ValueCodec::Text => Some(show_bytes(bytes)),
            ValueCodec::Internal(format) => {
                format.show(bytes).filter(|value| format.encode(value).is_ok_and(|again| again == bytes))
            }
            // Another encoder may write the same value as other bytes, so the round trip is checked.
            ValueCodec::Postcard(shape) => postcard_json::decode(shape, bytes)
                .filter(|value| hex_from(value).is_none())
                .filter(|value| postcard_json::encode(shape, value).is_ok_and(|again| again == bytes)),
            ValueCodec::Json | ValueCodec::Rows(_) | ValueCodec::Unknown => None,
        };
        raw_json(&value.unwrap_or_else(|| show_hex(bytes)))
    }

    /// Returns the bytes of a value. The error says what was expected.
    pub fn encode(&self, value: &RawValue) -> Result<Vec<u8>, String> {
        let parsed: Value = serde_json::from_str(value.get()).map_err(|error| error.to_string())?;
        if let Some(bytes) = hex_from(&parsed) {
            return bytes;
        }
        match self {
            ValueCodec::Json => Ok(value.get().as_bytes().to_vec()),
            ValueCodec::Postcard(shape) => postcard_json::encode(shape, &parsed),
            ValueCodec::Internal(format) => format.encode(&parsed),
            ValueCodec::Rows(rows) => rows.encode(value),
            ValueCodec::Text => bytes_from(&parsed).ok_or_else(|| "expected a string or {\"hex\": ...}".into()),
            ValueCodec::Unknown => {
                Err("expected {\"hex\": ...}, because the state's schema does not describe its type".into())
            }
        }
    }
}

/// Whether an object would be read as bytes in hex: all of its keys are `hex`. A repeated key counts once.
struct IsHexObject(bool);

impl<'de> Deserialize<'de> for IsHexObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<IsHexObject, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = IsHexObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<IsHexObject, A::Error> {
                let (mut keys, mut is_hex) = (0, true);
                while let Some((key, _)) = object.next_entry::<String, IgnoredAny>()? {
                    keys += 1;
                    is_hex &= key == "hex";
                }
                Ok(IsHexObject(is_hex && keys > 0))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// Returns JSON unchanged except for line ends. `None` if the bytes are not JSON, or would be read as bytes in hex.
fn json_text(bytes: &[u8]) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(bytes).ok()?;
    // Parses without building the value, which would take many times the memory of its text.
    let _valid: IgnoredAny = serde_json::from_str(text).ok()?;
    if serde_json::from_str::<IsHexObject>(text).is_ok_and(|object| object.0) || text.trim_ascii().len() != text.len() {
        return None;
    }
    // Line ends occur between tokens only: JSON escapes them within strings.
    RawValue::from_string(text.replace(['\n', '\r'], " ")).ok()
}

pub(super) fn raw_json(value: &impl Serialize) -> Result<Box<RawValue>> {
    to_raw_value(value).map_err(|cause| error::internal(format!("an entry cannot be written as JSON: {cause}")))
}
