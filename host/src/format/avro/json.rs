//! Writes a value of a schema as JSON, for fields that are read as `json`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::DEPTH_MAX;
use super::bytes::{AvroBytes, AvroDefect, AvroResult, decimal_bytes, each_element, uuid_text};
use super::decimal;
use super::schema::{AvroMeaning, AvroSchema, AvroShape, TypeId};
use crate::model::row::time_text::{write_date, write_timestamp};
use crate::model::row::write_json_string;

/// Appends a value as JSON, as rows are written: bytes in base64, times as RFC 3339, decimal numbers as strings.
pub(super) fn write_json(
    schema: &AvroSchema,
    id: TypeId,
    bytes: &mut AvroBytes<'_>,
    to: &mut Vec<u8>,
    depth: usize,
) -> AvroResult {
    if depth >= DEPTH_MAX {
        return Err(AvroDefect::TooDeep);
    }
    let of_type = schema.type_of(id);
    match (&of_type.shape, of_type.meaning) {
        (AvroShape::Null, _) => to.extend_from_slice(b"null"),
        (AvroShape::Boolean, _) => to.extend_from_slice(if bytes.boolean()? { b"true" } else { b"false" }),
        (_, AvroMeaning::Timestamp { per_ms }) => write_timestamp(to, bytes.long()?.div_euclid(per_ms), true),
        (_, AvroMeaning::Date) => {
            let days = i32::try_from(bytes.long()?).map_err(|_| AvroDefect::NumberTooLarge)?;
            write_date(to, days, true);
        }
        (AvroShape::Int | AvroShape::Long, _) => {
            to.extend_from_slice(itoa::Buffer::new().format(bytes.long()?).as_bytes());
        }
        (AvroShape::Float, _) => write_float(to, f32::from_le_bytes(bytes.array()?)),
        (AvroShape::Double, _) => write_float(to, f64::from_le_bytes(bytes.array()?)),
        (AvroShape::Bytes, AvroMeaning::Decimal { scale }) => write_decimal(to, bytes, None, scale)?,
        (AvroShape::Fixed(length), AvroMeaning::Decimal { scale }) => write_decimal(to, bytes, Some(*length), scale)?,
        (AvroShape::Fixed(_), AvroMeaning::Uuid) => {
            to.push(b'"');
            to.extend_from_slice(&uuid_text(&bytes.array()?));
            to.push(b'"');
        }
        (AvroShape::Bytes, _) => write_base64(to, bytes.bytes()?),
        (AvroShape::Fixed(length), _) => write_base64(to, bytes.take(*length)?),
        (AvroShape::Text, _) => write_json_string(to, bytes.text()?),
        (AvroShape::Enum(symbols), _) => {
            write_json_string(to, symbols.get(bytes.index()?).ok_or(AvroDefect::UnknownBranch)?);
        }
        (AvroShape::Union(branches), _) => {
            let branch = *branches.get(bytes.index()?).ok_or(AvroDefect::UnknownBranch)?;
            write_json(schema, branch, bytes, to, depth + 1)?;
        }
        _ => write_nested(schema, id, bytes, to, depth)?,
    }
    Ok(())
}

fn write_nested(
    schema: &AvroSchema,
    id: TypeId,
    bytes: &mut AvroBytes<'_>,
    to: &mut Vec<u8>,
    depth: usize,
) -> AvroResult {
    let mut is_first = true;
    let mut comma = |to: &mut Vec<u8>| {
        if !std::mem::replace(&mut is_first, false) {
            to.push(b',');
        }
    };
    match &schema.type_of(id).shape {
        AvroShape::Array(element) => {
            to.push(b'[');
            each_element(bytes, |bytes| {
                comma(to);
                write_json(schema, *element, bytes, to, depth + 1)
            })?;
            to.push(b']');
        }
        AvroShape::Map(element) => {
            to.push(b'{');
            each_element(bytes, |bytes| {
                comma(to);
                write_json_string(to, bytes.text()?);
                to.push(b':');
                write_json(schema, *element, bytes, to, depth + 1)
            })?;
            to.push(b'}');
        }
        _ => {
            to.push(b'{');
            for field in schema.fields_of(id) {
                comma(to);
                write_json_string(to, &field.name);
                to.push(b':');
                write_json(schema, field.value, bytes, to, depth + 1)?;
            }
            to.push(b'}');
        }
    }
    Ok(())
}

fn write_float(to: &mut Vec<u8>, number: impl serde::Serialize) {
    // Writing a number to a vector cannot fail.
    let _ = serde_json::to_writer(to, &number);
}

fn write_base64(to: &mut Vec<u8>, bytes: &[u8]) {
    to.push(b'"');
    to.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    to.push(b'"');
}

fn write_decimal(to: &mut Vec<u8>, bytes: &mut AvroBytes<'_>, length: Option<usize>, scale: u32) -> AvroResult {
    let number = decimal::unscaled(decimal_bytes(bytes, length)?)?;
    to.push(b'"');
    decimal::write_text(to, number, scale);
    to.push(b'"');
    Ok(())
}
