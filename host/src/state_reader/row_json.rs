//! Rows as JSON by their schema and back: values of states in codec `row`, records of joins, and elements of windows.
//!
//! Invariant: a value is only shown as JSON if the JSON encodes to the same bytes again.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::bytes_json::{bytes_from, hex_from, show_bytes, show_hex};
use super::internal_values::{InternalValueFormat, element_head};
use crate::model::row::{RowSchema, read_json, write_json};
use crate::state::{StateDescription, ValueRows};

/// Shows and reads the values of a state that holds rows.
pub(super) struct RowCodec(ValueRows);

/// An element of a window.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ElementJson<'a> {
    input: Value,
    place: Value,
    timestamp: Value,
    #[serde(borrow)]
    value: &'a RawValue,
}

impl RowCodec {
    /// Returns the codec of a state. `None` if its values hold no rows.
    pub fn of(state: &StateDescription) -> Option<RowCodec> {
        let rows = ValueRows::of(state)?;
        let holds_rows = match &rows {
            ValueRows::Whole(schema) => schema.is_some(),
            ValueRows::Element(inputs) => inputs.iter().any(Option::is_some),
        };
        holds_rows.then_some(RowCodec(rows))
    }

    /// Returns a value as JSON, or `None` if the JSON would not encode to the same bytes.
    pub fn show(&self, bytes: &[u8]) -> Option<Box<RawValue>> {
        let (head, row, schema) = self.0.split(bytes)?;
        let json = match (&self.0, schema) {
            (ValueRows::Whole(_), schema) => show_row(schema?, row)?,
            (ValueRows::Element(_), schema) => {
                let mut element = InternalValueFormat::Element.show(head)?;
                let value = match schema {
                    Some(schema) => show_row(schema, row).unwrap_or_else(|| show_hex(row).to_string()),
                    None => show_bytes(row).to_string(),
                };
                // The value is text of JSON, which keeps the digits of its numbers.
                element.as_object_mut()?.remove("value");
                let head = element.to_string();
                format!("{},\"value\":{value}}}", head.strip_suffix('}')?)
            }
        };
        let json = RawValue::from_string(json).ok()?;
        self.encode(&json).is_ok_and(|again| again == bytes).then_some(json)
    }

    /// Returns the bytes of a value that is not in hex. The error says what was expected.
    pub fn encode(&self, value: &RawValue) -> Result<Vec<u8>, String> {
        let inputs = match &self.0 {
            ValueRows::Whole(schema) => {
                let schema = schema.as_ref().ok_or("expected {\"hex\": ...}")?;
                return row_of(schema, value.get());
            }
            ValueRows::Element(inputs) => inputs,
        };
        let element: ElementJson<'_> = serde_json::from_str(value.get()).map_err(
            |_| "expected {\"input\": ..., \"place\": ..., \"timestamp\": ..., \"value\": ...}, or {\"hex\": ...}",
        )?;
        let mut bytes = element_head(&element.input, &element.place, &element.timestamp)
            .ok_or("`input` is 0 or 1, `place` and `timestamp` are integers")?;
        let parsed: Value = serde_json::from_str(element.value.get()).map_err(|error| error.to_string())?;
        let input = element.input.as_u64().and_then(|input| inputs.get(input as usize));
        let row = match (hex_from(&parsed), input.and_then(Option::as_ref)) {
            (Some(hex), _) => hex?,
            (None, Some(schema)) => row_of(schema, element.value.get())?,
            (None, None) => bytes_from(&parsed).ok_or("`value`: expected a string or {\"hex\": ...}")?,
        };
        bytes.extend_from_slice(&row);
        Ok(bytes)
    }
}

/// Returns a row as JSON. `None` if the bytes are not a row, or if the JSON would be read as bytes in hex.
fn show_row(schema: &RowSchema, row: &[u8]) -> Option<String> {
    let mut json = Vec::new();
    write_json(schema, row, &mut json).ok()?;
    let json = String::from_utf8(json).ok()?;
    let is_hex = schema.len() == 1 && serde_json::from_str(&json).is_ok_and(|value| hex_from(&value).is_some());
    let is_same = || row_of(schema, &json).is_ok_and(|again| again == row);
    (!is_hex && is_same()).then_some(json)
}

fn row_of(schema: &RowSchema, json: &str) -> Result<Vec<u8>, String> {
    let mut row = Vec::new();
    read_json(schema, json.as_bytes(), &mut row).map_err(|defect| format!("{defect}; the row is {schema}"))?;
    Ok(row)
}
