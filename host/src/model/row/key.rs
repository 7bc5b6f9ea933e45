//! Keys of rows: the canonical bytes of one or several fields.
//!
//! The bytes are part of every stored state and never change. They are those of `guest-sdk/src/key.rs`: text and bytes as they
//! are, integers and timestamps (in milliseconds) as decimal text, booleans as `true` and `false`. A key of several fields is
//! each part with its length in front: `3:ann2:42`.

use super::encoding::{RowBytes, RowDefect};
use super::field_type::FieldType;
use super::json_scan::string_of;
use super::locator::{FieldLocator, RowValue};
use super::schema::RowSchema;
use super::type_text::SchemaDefect;
use crate::escape::shown;

/// Writes the keys of rows of a schema.
#[derive(Clone, Debug)]
pub struct RowKey {
    parts: Vec<FieldLocator>,
}

impl RowKey {
    /// Finds the fields at `paths`. Error: there is no such field, or its type cannot be a key.
    pub fn compile(schema: &RowSchema, paths: &[impl AsRef<str>]) -> Result<RowKey, SchemaDefect> {
        if paths.is_empty() {
            return Err(SchemaDefect("a key needs at least one field".to_owned()));
        }
        let parts =
            paths.iter().map(|path| FieldLocator::compile(schema, path.as_ref())).collect::<Result<Vec<_>, _>>()?;
        for (path, part) in paths.iter().zip(&parts) {
            if !part.field_type().is_key() && *part.field_type() != FieldType::Json {
                let (path, value) = (shown(path.as_ref().as_bytes()), part.field_type());
                return Err(SchemaDefect(format!(
                    "the field `{path}` is `{value}`, but keys are strings, bytes, booleans, integers and timestamps"
                )));
            }
        }
        Ok(RowKey { parts })
    }

    /// Returns the type of the keys, such as `i64` or `(string,i64)`.
    pub fn key_type(&self) -> String {
        match self.parts.as_slice() {
            [part] => part_type(part),
            parts => {
                let types: Vec<String> = parts.iter().map(part_type).collect();
                format!("({})", types.join(","))
            }
        }
    }

    /// Appends the key of a row. Returns false and appends nothing if one of its fields is null.
    #[inline]
    pub fn write(&self, row: &[u8], to: &mut Vec<u8>) -> Result<bool, RowDefect> {
        if let [part] = self.parts.as_slice() {
            return write_part(part, row, to);
        }
        let start = to.len();
        for part in &self.parts {
            let begin = to.len();
            if !write_part(part, row, to)? {
                to.truncate(start);
                return Ok(false);
            }
            put_length_in_front(to, begin);
        }
        Ok(true)
    }
}

/// Returns the type of a part. JSON gives keys of text.
fn part_type(part: &FieldLocator) -> String {
    match part.field_type() {
        FieldType::Json => FieldType::String.to_string(),
        other => other.to_string(),
    }
}

/// Appends the text of a JSON string, a number or a boolean. Returns false for null, objects and arrays.
fn write_json_scalar(text: &str, to: &mut Vec<u8>) -> bool {
    let text = text.trim_ascii();
    match text.as_bytes().first() {
        Some(b'"') => match string_of(text.as_bytes()) {
            Some(unescaped) => to.extend_from_slice(unescaped.as_bytes()),
            None => return false,
        },
        Some(b'-' | b'0'..=b'9' | b't' | b'f') => to.extend_from_slice(text.as_bytes()),
        _ => return false,
    }
    true
}

#[inline]
fn write_part(part: &FieldLocator, row: &[u8], to: &mut Vec<u8>) -> Result<bool, RowDefect> {
    if let FieldType::String = part.field_type() {
        // The most frequent keys. The bytes of a row's strings are checked where they are read as text.
        let Some(encoded) = part.locate(row)? else { return Ok(false) };
        to.extend_from_slice(RowBytes::new(encoded).bytes()?);
        return Ok(true);
    }
    let Some(value) = part.value(row)? else { return Ok(false) };
    match value {
        RowValue::Bool(value) => to.extend_from_slice(if value { b"true" } else { b"false" }),
        RowValue::Signed(value) | RowValue::Timestamp(value) => {
            to.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        }
        RowValue::Unsigned(value) => to.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        RowValue::Text(text) => to.extend_from_slice(text.as_bytes()),
        RowValue::Bytes(bytes) => to.extend_from_slice(bytes),
        // `compile` refuses other types.
        RowValue::Json(text) => return Ok(write_json_scalar(text, to)),
        RowValue::F32(_) | RowValue::F64(_) | RowValue::Date(_) | RowValue::Nested(_) => {}
    }
    Ok(true)
}

/// Inserts `LENGTH:` in front of the bytes from `begin`.
#[inline]
fn put_length_in_front(to: &mut Vec<u8>, begin: usize) {
    let mut buffer = itoa::Buffer::new();
    let length = buffer.format(to.len() - begin);
    let end = to.len();
    to.extend_from_slice(length.as_bytes());
    to.push(b':');
    to[begin..].rotate_left(end - begin);
}
