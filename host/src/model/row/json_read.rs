//! Reads rows from JSON.
//!
//! Needed fields are parsed strictly, everything else is skipped. Of repeated names the last one counts, as for
//! `serde_json::Value`, Python and JavaScript. Recursion is bounded by the depth of the schema.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;

use super::encoding::{write_bytes, write_signed, write_unsigned};
use super::field_defect::FieldDefect;
use super::field_type::{ElementType, Field, FieldType};
use super::json_scan::{JsonDefect, elements, members, skip_space, skip_value, string_of};
use super::schema::RowSchema;
use super::time_text;

type ReadResult<T = ()> = Result<T, Box<FieldDefect>>;

impl From<JsonDefect> for Box<FieldDefect> {
    fn from(defect: JsonDefect) -> Box<FieldDefect> {
        FieldDefect::of_value(defect.to_string())
    }
}

/// Reads a row from a JSON object and appends it to `to`. If it fails, `to` may have got a part of it.
///
/// Unknown fields are ignored. A missing field is null or its default; it is a defect if it has neither.
pub fn read_json(schema: &RowSchema, json: &[u8], to: &mut Vec<u8>) -> ReadResult {
    let start = skip_space(json, 0);
    let end = read_record(schema.fields(), json, start, to)?;
    match skip_space(json, end) {
        at if at == json.len() => Ok(()),
        at => Err(JsonDefect { at, what: "text behind the object" }.into()),
    }
}

/// Reads a value that is the whole text and appends it to `to`.
pub fn read_json_value(value: &FieldType, nullable: bool, json: &[u8], to: &mut Vec<u8>) -> ReadResult {
    let start = skip_space(json, 0);
    let end = skip_value(json, start)?;
    if skip_space(json, end) != json.len() {
        return Err(JsonDefect { at: end, what: "text behind the value" }.into());
    }
    read_value(value, nullable, &json[start..end], to)
}

/// Reads the object at `start`. Returns the position behind it.
fn read_record(fields: &[Field], json: &[u8], start: usize, to: &mut Vec<u8>) -> ReadResult<usize> {
    // The value of each field: an empty range if there is none.
    let mut values: SmallVec<[Range<usize>; 16]> = SmallVec::from_elem(0..0, fields.len());
    let end = members::<JsonDefect>(json, start, |name, at| {
        let behind = skip_value(json, at)?;
        if let Some(index) = field_named(fields, name.quoted(json)) {
            values[index] = at..behind;
        }
        Ok(behind)
    })?;
    for (field, range) in fields.iter().zip(values) {
        read_field(field, &json[range], to)?;
    }
    Ok(end)
}

fn field_named(fields: &[Field], quoted: &[u8]) -> Option<usize> {
    let name = string_of(quoted)?;
    fields.iter().position(|field| field.name == name)
}

/// Reads the value of a field. The value is empty if it is missing.
pub fn read_field(field: &Field, json: &[u8], to: &mut Vec<u8>) -> ReadResult {
    if !json.is_empty() {
        return read_value(&field.value, field.nullable, json, to).map_err(|defect| defect.within(&field.name));
    }
    match &field.default {
        Some(default) => read_json_value(&field.value, field.nullable, default.as_bytes(), to)
            .map_err(|defect| defect.within(&field.name)),
        None if field.nullable => {
            to.push(0);
            Ok(())
        }
        None => Err(FieldDefect::of_value(format!("is missing; expected `{}`", field.value)).within(&field.name)),
    }
}

/// Reads a value without spaces around it.
#[inline]
pub fn read_value(value: &FieldType, nullable: bool, json: &[u8], to: &mut Vec<u8>) -> ReadResult {
    if nullable {
        if json == b"null" {
            to.push(0);
            return Ok(());
        }
        to.push(1);
    }
    let unexpected = || FieldDefect::unexpected(json, value, nullable);
    let text = || string_of(json).filter(|_| json.first() == Some(&b'"'));
    match value {
        FieldType::Bool => match json {
            b"true" => to.push(1),
            b"false" => to.push(0),
            _ => return Err(unexpected()),
        },
        FieldType::I8 => to.push(json_integer::<i8>(json).ok_or_else(unexpected)? as u8),
        FieldType::I16 => write_signed(to, json_integer::<i16>(json).ok_or_else(unexpected)?.into()),
        FieldType::I32 => write_signed(to, json_integer::<i32>(json).ok_or_else(unexpected)?.into()),
        FieldType::I64 => write_signed(to, json_integer::<i64>(json).ok_or_else(unexpected)?),
        FieldType::U8 => to.push(json_integer::<u8>(json).ok_or_else(unexpected)?),
        FieldType::U16 => write_unsigned(to, json_integer::<u16>(json).ok_or_else(unexpected)?.into()),
        FieldType::U32 => write_unsigned(to, json_integer::<u32>(json).ok_or_else(unexpected)?.into()),
        FieldType::U64 => write_unsigned(to, json_integer::<u64>(json).ok_or_else(unexpected)?),
        FieldType::F32 => {
            let number = json_float::<f32>(json).filter(|number| number.is_finite());
            to.extend_from_slice(&number.ok_or_else(unexpected)?.to_le_bytes());
        }
        FieldType::F64 => {
            let number = json_float::<f64>(json).filter(|number| number.is_finite());
            to.extend_from_slice(&number.ok_or_else(unexpected)?.to_le_bytes());
        }
        FieldType::String => write_bytes(to, text().ok_or_else(unexpected)?.as_bytes()),
        FieldType::Bytes => {
            let bytes = text().and_then(|text| STANDARD.decode(text.as_bytes()).ok());
            write_bytes(to, &bytes.ok_or_else(unexpected)?);
        }
        FieldType::Timestamp => {
            let ms = match json_integer::<i64>(json) {
                Some(ms) => Some(ms),
                None => text().and_then(|text| time_text::rfc3339(text.as_bytes(), None)),
            };
            write_signed(to, ms.ok_or_else(unexpected)?);
        }
        FieldType::Date => {
            let days = match json_integer::<i32>(json) {
                Some(days) => Some(days),
                None => text().and_then(|text| time_text::date(text.as_bytes())),
            };
            write_signed(to, days.ok_or_else(unexpected)?.into());
        }
        FieldType::Json => match is_json(json) {
            true => write_bytes(to, json),
            false => return Err(unexpected()),
        },
        FieldType::List(element) => read_list(element, json, to)?,
        FieldType::Map(element) => read_map(element, json, to)?,
        FieldType::Record(fields) => read_record(fields, json, 0, to).map(drop)?,
    }
    Ok(())
}

fn read_list(element: &ElementType, json: &[u8], to: &mut Vec<u8>) -> ReadResult {
    let mut count = 0_u64;
    elements::<JsonDefect>(json, 0, |at| {
        count += 1;
        skip_value(json, at)
    })?;
    write_unsigned(to, count);
    elements(json, 0, |at| {
        let end = skip_value(json, at)?;
        read_value(&element.value, element.nullable, &json[at..end], to)?;
        Ok::<_, Box<FieldDefect>>(end)
    })?;
    Ok(())
}

/// Entries keep the order of the text. Of repeated names the last one counts.
fn read_map(element: &ElementType, json: &[u8], to: &mut Vec<u8>) -> ReadResult {
    let mut entries: Vec<(std::borrow::Cow<'_, str>, Range<usize>)> = Vec::new();
    let mut index_of = std::collections::BTreeMap::new();
    members(json, 0, |name, at| {
        let end = skip_value(json, at)?;
        let quoted = name.quoted(json);
        let Some(name) = string_of(quoted) else {
            return Err(FieldDefect::of_value(format!(
                "has the name {}, which is not text",
                super::field_defect::cut(quoted)
            )));
        };
        let next = entries.len();
        match *index_of.entry(name.clone()).or_insert(next) {
            index if index == next => entries.push((name, at..end)),
            index => entries[index].1 = at..end,
        }
        Ok(end)
    })?;
    write_unsigned(to, entries.len() as u64);
    for (name, range) in entries {
        write_bytes(to, name.as_bytes());
        read_value(&element.value, element.nullable, &json[range], to).map_err(|defect| defect.within(&name))?;
    }
    Ok(())
}

/// Parses an integer of JSON: no fraction, no exponent, no leading zeros.
#[inline]
pub fn json_integer<T: TryFrom<i128>>(json: &[u8]) -> Option<T> {
    let (negative, digits) = match json {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if let [] | [b'0', _, ..] = digits {
        return None;
    }
    let number = digits_value(digits)?;
    T::try_from(if negative { -number } else { number }).ok()
}

/// Returns the value of up to 20 decimal digits.
#[inline]
pub fn digits_value(digits: &[u8]) -> Option<i128> {
    if digits.len() <= 19 {
        let mut number = 0_u64;
        for byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number = number * 10 + u64::from(digit);
        }
        return Some(i128::from(number));
    }
    if digits.len() > 38 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_i128, |number, byte| number * 10 + i128::from(byte - b'0')))
}

/// Parses a number of JSON, rounded correctly. `None` if it is out of range.
fn json_float<T: std::str::FromStr>(json: &[u8]) -> Option<T> {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = json.strip_prefix(b"-").unwrap_or(json);
    let whole = digits(text);
    let mut rest = &text[whole..];
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return None;
    }
    if let [b'.', decimals @ ..] = rest {
        let count = digits(decimals);
        rest = &decimals[count..];
        if count == 0 {
            return None;
        }
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
        if exponent.is_empty() || digits(exponent) < exponent.len() {
            return None;
        }
        rest = &[];
    }
    if !rest.is_empty() {
        return None;
    }
    std::str::from_utf8(json).ok()?.parse().ok()
}

/// Returns whether text is one valid JSON value.
pub fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}
