//! Rows read from JSON: the first line is the schema, the rest the JSON.

use super::split_line;
use crate::model::row::{RowSchema, is_json, read_json, write_json};

/// A row that is read is valid. Its JSON is read to a row with the same JSON.
pub(super) fn run(data: &[u8]) {
    let (schema, json) = split_line(data);
    let accepted = is_json(json);
    if let Ok(text) = std::str::from_utf8(json) {
        // serde_json has a limit of its own for the depth.
        if !accepted && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
            assert!(text.contains(['[', '{']) || text.trim() != text, "valid JSON is refused: {text}");
        }
    }
    let Ok(schema) = std::str::from_utf8(schema).unwrap_or_default().parse::<RowSchema>() else { return };
    let mut row = Vec::new();
    if read_json(&schema, json, &mut row).is_err() {
        return;
    }
    let (mut first, mut again, mut second) = (Vec::new(), Vec::new(), Vec::new());
    write_json(&schema, &row, &mut first).expect("a row that was read is valid");
    serde_json::from_slice::<serde::de::IgnoredAny>(&first).expect("a row is shown as JSON");
    if read_json(&schema, &first, &mut again).is_ok() {
        write_json(&schema, &again, &mut second).expect("a row that was read is valid");
        assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&second));
    }
}
