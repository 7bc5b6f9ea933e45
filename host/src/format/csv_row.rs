//! Writes rows as CSV, as RFC 4180 describes it, with `\n` as the end of a row.
//!
//! | value | text |
//! |---|---|
//! | null | empty |
//! | booleans, numbers | `true`, `-7`, `0.5`, `NaN`, `inf` |
//! | strings, bytes | as they are, in quotes if they contain a comma, a quote or a line end |
//! | timestamps, dates | RFC 3339 in UTC, `2013-01-01` |
//! | JSON, lists, maps, nested records | JSON in quotes |
//!
//! The only column of a row is in quotes if it is empty, because readers skip blank lines.

use memchr::memchr_iter;

use crate::model::row::{
    FieldType, RowDefect, RowSchema, RowValue, RowValues, time_text, write_json_text, write_json_value,
};

/// Writes rows of one schema.
pub(super) struct CsvRowWriter {
    values: RowValues,
    is_single: bool,
    /// The text of one nested value.
    scratch: Vec<u8>,
}

impl CsvRowWriter {
    pub(super) fn new(schema: &RowSchema) -> CsvRowWriter {
        CsvRowWriter { values: RowValues::new(schema), is_single: schema.len() == 1, scratch: Vec::new() }
    }

    /// Appends a row and its line end. If it fails, `to` may have got a part of it.
    pub(super) fn write(&mut self, row: &[u8], to: &mut Vec<u8>) -> Result<(), RowDefect> {
        let start = to.len();
        let CsvRowWriter { values, scratch, .. } = self;
        let mut is_first = true;
        values.visit(row, |field, value| {
            if !std::mem::take(&mut is_first) {
                to.push(b',');
            }
            match value {
                Some(value) => write_value(&field.value, value, scratch, to),
                None => Ok(()),
            }
        })?;
        if self.is_single && to.len() == start {
            to.extend_from_slice(b"\"\"");
        }
        to.push(b'\n');
        Ok(())
    }
}

/// Appends the names of the columns as a row.
pub(super) fn write_header(schema: &RowSchema, to: &mut Vec<u8>) {
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            to.push(b',');
        }
        write_text(field.name.as_bytes(), to);
    }
    to.push(b'\n');
}

fn write_value(
    kind: &FieldType,
    value: RowValue<'_>,
    scratch: &mut Vec<u8>,
    to: &mut Vec<u8>,
) -> Result<(), RowDefect> {
    match value {
        RowValue::Bool(value) => to.extend_from_slice(if value { b"true" } else { b"false" }),
        RowValue::Signed(value) => to.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        RowValue::Unsigned(value) => to.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        RowValue::F32(value) => to.extend_from_slice(format!("{value:?}").as_bytes()),
        RowValue::F64(value) => to.extend_from_slice(format!("{value:?}").as_bytes()),
        RowValue::Text(text) => write_text(text.as_bytes(), to),
        RowValue::Bytes(bytes) => write_text(bytes, to),
        RowValue::Timestamp(ms) => time_text::write_timestamp(to, ms, false),
        RowValue::Date(days) => time_text::write_date(to, days, false),
        RowValue::Json(text) => {
            scratch.clear();
            write_json_text(scratch, text.as_bytes())?;
            write_text(scratch, to);
        }
        RowValue::Nested(encoded) => {
            scratch.clear();
            write_json_value(kind, encoded, scratch)?;
            write_text(scratch, to);
        }
    }
    Ok(())
}

/// Appends a text, in quotes if it needs them.
fn write_text(text: &[u8], to: &mut Vec<u8>) {
    if !text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        return to.extend_from_slice(text);
    }
    to.push(b'"');
    let mut rest = 0;
    for quote in memchr_iter(b'"', text) {
        to.extend_from_slice(&text[rest..=quote]);
        to.push(b'"');
        rest = quote + 1;
    }
    to.extend_from_slice(&text[rest..]);
    to.push(b'"');
}
