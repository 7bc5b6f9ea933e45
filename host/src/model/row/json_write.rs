//! Writes rows as JSON.
//!
//! | type | JSON |
//! |---|---|
//! | integers | numbers |
//! | floats | numbers; NaN and infinities are `null` |
//! | strings | strings |
//! | bytes | strings in base64 |
//! | timestamps | RFC 3339 in UTC; a number of milliseconds outside of the years 0 to 9999 |
//! | dates | `"2013-01-01"`; a number of days outside of the years 0 to 9999 |
//! | JSON | as it is, without line ends |

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::encoding::{RowBytes, RowDefect, largest_varint};
use super::field_type::{Field, FieldType};
use super::json_read::is_json;
use super::schema::RowSchema;
use super::time_text::{write_date, write_timestamp};

/// Appends a row as a JSON object on one line. If it fails, `to` may have got a part of it.
pub fn write_json(schema: &RowSchema, row: &[u8], to: &mut Vec<u8>) -> Result<(), RowDefect> {
    let mut row = RowBytes::new(row);
    write_record(schema.fields(), &mut row, to)?;
    row.end()
}

/// Appends an encoded value, without the flag of a nullable one, as JSON.
pub fn write_json_value(value: &FieldType, encoded: &[u8], to: &mut Vec<u8>) -> Result<(), RowDefect> {
    let mut row = RowBytes::new(encoded);
    write_value(value, false, &mut row, to)?;
    row.end()
}

fn write_record(fields: &[Field], row: &mut RowBytes<'_>, to: &mut Vec<u8>) -> Result<(), RowDefect> {
    to.push(b'{');
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            to.push(b',');
        }
        write_json_string(to, &field.name);
        to.push(b':');
        write_value(&field.value, field.nullable, row, to)?;
    }
    to.push(b'}');
    Ok(())
}

/// Reads a value from the row and appends it as JSON.
pub(super) fn write_value(
    value: &FieldType,
    nullable: bool,
    row: &mut RowBytes<'_>,
    to: &mut Vec<u8>,
) -> Result<(), RowDefect> {
    if nullable && !row.flag()? {
        to.extend_from_slice(b"null");
        return Ok(());
    }
    match value {
        FieldType::Bool => to.extend_from_slice(if row.flag()? { b"true" } else { b"false" }),
        FieldType::I8 => write_number(to, i64::from(row.byte()? as i8)),
        FieldType::U8 => write_number(to, row.byte()?),
        FieldType::I16 | FieldType::I32 | FieldType::I64 => write_number(to, row.signed(largest_varint(value))?),
        FieldType::U16 | FieldType::U32 | FieldType::U64 => write_number(to, row.unsigned(largest_varint(value))?),
        FieldType::F32 => write_float(to, f32::from_le_bytes(row.array()?)),
        FieldType::F64 => write_float(to, f64::from_le_bytes(row.array()?)),
        FieldType::String => write_json_string(to, row.text()?),
        FieldType::Bytes => {
            to.push(b'"');
            to.extend_from_slice(STANDARD.encode(row.bytes()?).as_bytes());
            to.push(b'"');
        }
        FieldType::Timestamp => write_timestamp(to, row.signed(u64::MAX)?, true),
        FieldType::Date => write_date(to, row.signed(largest_varint(value))? as i32, true),
        FieldType::Json => write_json_text(to, row.bytes()?)?,
        FieldType::List(element) => {
            to.push(b'[');
            for index in 0..row.unsigned(u64::MAX)? {
                if index > 0 {
                    to.push(b',');
                }
                write_value(&element.value, element.nullable, row, to)?;
            }
            to.push(b']');
        }
        FieldType::Map(element) => {
            to.push(b'{');
            for index in 0..row.unsigned(u64::MAX)? {
                if index > 0 {
                    to.push(b',');
                }
                write_json_string(to, row.text()?);
                to.push(b':');
                write_value(&element.value, element.nullable, row, to)?;
            }
            to.push(b'}');
        }
        FieldType::Record(fields) => write_record(fields, row, to)?,
    }
    Ok(())
}

fn write_number(to: &mut Vec<u8>, number: impl itoa::Integer) {
    to.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes the shortest text that is read as the same number, or `null`.
fn write_float(to: &mut Vec<u8>, number: impl serde::Serialize) {
    // Writing a number to a vector cannot fail.
    let _ = serde_json::to_writer(to, &number);
}

/// Appends text as a JSON string.
pub fn write_json_string(to: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        to.push(b'"');
        to.extend_from_slice(text.as_bytes());
        return to.push(b'"');
    }
    // Writing a string to a vector cannot fail.
    let _ = serde_json::to_writer(to, text);
}

/// Appends JSON text on one line. Line ends in valid JSON are spaces between values.
pub fn write_json_text(to: &mut Vec<u8>, text: &[u8]) -> Result<(), RowDefect> {
    if !is_json(text) {
        return Err(RowDefect::NotJson);
    }
    let text = text.trim_ascii();
    if memchr::memchr2(b'\n', b'\r', text).is_none() {
        to.extend_from_slice(text);
    } else {
        to.extend(text.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    }
    Ok(())
}
