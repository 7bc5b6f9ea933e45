//! Reads the values of fields from plain text: columns of CSV rows, and lines.
//!
//! | type | text |
//! |---|---|
//! | integers | decimal digits with an optional sign; leading zeros do not count |
//! | floats | as Rust reads them: `1.5`, `1e-3`, `inf`, `NaN` |
//! | `bool` | `true`, `false`, `1`, `0`, in upper or lower case |
//! | `string`, `bytes` | the text as it is |
//! | `timestamp` | in the format of the source's `timestamp` if that is this field, otherwise RFC 3339 or milliseconds |
//! | `date` | `2013-01-01` |
//! | `json`, lists, maps, nested records | JSON |
//!
//! Spaces around values of other types than `string` and `bytes` are ignored.

use super::time_parser::TimeParser;
use crate::model::row::{
    Field, FieldDefect, FieldType, cut, digits_value, is_json, read_value, skip_space, time_text, write_bytes,
    write_signed, write_unsigned,
};

/// Reads the text of one field.
#[derive(Clone, Debug)]
pub(super) struct TextReader {
    name: String,
    value: FieldType,
    nullable: bool,
    times: TimeParser,
}

impl TextReader {
    pub(super) fn new(field: &Field, times: TimeParser) -> TextReader {
        TextReader { name: field.name.clone(), value: field.value.clone(), nullable: field.nullable, times }
    }

    /// Appends the value that `text` stands for. `nulls` are the texts of nullable fields that mean null.
    #[inline]
    pub(super) fn read(&self, text: &[u8], nulls: &[Vec<u8>], to: &mut Vec<u8>) -> Result<(), Box<FieldDefect>> {
        if self.nullable {
            if nulls.iter().any(|null| null == text) {
                to.push(0);
                return Ok(());
            }
            to.push(1);
        }
        match &self.value {
            FieldType::String => match std::str::from_utf8(text) {
                Ok(_) => write_bytes(to, text),
                Err(_) => return Err(self.defect(text)),
            },
            FieldType::I32 => match text_integer::<i32>(text) {
                Some(number) => write_signed(to, number.into()),
                None => return Err(self.defect(text)),
            },
            FieldType::I64 => match text_integer::<i64>(text) {
                Some(number) => write_signed(to, number),
                None => return Err(self.defect(text)),
            },
            _ => self.read_other(text, to)?,
        }
        Ok(())
    }

    fn read_other(&self, text: &[u8], to: &mut Vec<u8>) -> Result<(), Box<FieldDefect>> {
        let defect = || self.defect(text);
        match &self.value {
            FieldType::Bool => to.push(text_bool(text).ok_or_else(defect)?.into()),
            FieldType::I8 => to.push(text_integer::<i8>(text).ok_or_else(defect)? as u8),
            FieldType::I16 => write_signed(to, text_integer::<i16>(text).ok_or_else(defect)?.into()),
            FieldType::I32 => write_signed(to, text_integer::<i32>(text).ok_or_else(defect)?.into()),
            FieldType::I64 => write_signed(to, text_integer::<i64>(text).ok_or_else(defect)?),
            FieldType::U8 => to.push(text_integer::<u8>(text).ok_or_else(defect)?),
            FieldType::U16 => write_unsigned(to, text_integer::<u16>(text).ok_or_else(defect)?.into()),
            FieldType::U32 => write_unsigned(to, text_integer::<u32>(text).ok_or_else(defect)?.into()),
            FieldType::U64 => write_unsigned(to, text_integer::<u64>(text).ok_or_else(defect)?),
            FieldType::F32 => to.extend_from_slice(&text_float::<f32>(text).ok_or_else(defect)?.to_le_bytes()),
            FieldType::F64 => to.extend_from_slice(&text_float::<f64>(text).ok_or_else(defect)?.to_le_bytes()),
            FieldType::String | FieldType::Bytes => write_bytes(to, text),
            FieldType::Timestamp => {
                let Some(ms) = self.times.parse(text) else {
                    let (shown, why) = (cut(text), self.times.why_unreadable(text));
                    return Err(FieldDefect::of_value(format!("is `{shown}`, which is not a timestamp: {why}"))
                        .within(&self.name));
                };
                write_signed(to, ms);
            }
            FieldType::Date => {
                let trimmed = text.trim_ascii();
                let days = time_text::date(trimmed).or_else(|| text_integer(trimmed));
                write_signed(to, days.ok_or_else(defect)?.into());
            }
            FieldType::Json => {
                let text = text.trim_ascii();
                if !is_json(text) {
                    return Err(defect());
                }
                write_bytes(to, text);
            }
            FieldType::List(_) | FieldType::Map(_) | FieldType::Record(_) => {
                let trimmed = text.trim_ascii_end();
                let json = &trimmed[skip_space(trimmed, 0).min(trimmed.len())..];
                read_value(&self.value, false, json, to).map_err(|defect| defect.within(&self.name))?;
            }
        }
        Ok(())
    }

    #[cold]
    fn defect(&self, text: &[u8]) -> Box<FieldDefect> {
        FieldDefect::unexpected(text, &self.value, self.nullable).within(&self.name)
    }
}

/// Parses an integer with an optional sign and leading zeros.
#[inline]
fn text_integer<T: TryFrom<i128>>(text: &[u8]) -> Option<T> {
    if let Some(number) = short_integer(text) {
        return T::try_from(number.into()).ok();
    }
    let text = text.trim_ascii();
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let number = match digits {
        [] => return None,
        [b'0', ..] => {
            let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
            digits_value(&digits[zeros..])?
        }
        digits => digits_value(digits)?,
    };
    T::try_from(if negative { -number } else { number }).ok()
}

/// Parses an integer of a few digits, which most are. `None` means that it has another form.
#[inline]
fn short_integer(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let mut number = 0_i32;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + i32::from(digit);
    }
    Some(if negative { -number } else { number })
}

fn text_float<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

fn text_bool(text: &[u8]) -> Option<bool> {
    let text = text.trim_ascii();
    match text {
        b"1" => Some(true),
        b"0" => Some(false),
        _ if text.eq_ignore_ascii_case(b"true") => Some(true),
        _ if text.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    }
}
