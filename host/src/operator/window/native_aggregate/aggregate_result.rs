//! The results of native aggregates as rows: the fields of the key, the bounds of the window, and the aggregate.

use super::result_json::{bytes_json, to_json};
use crate::error;
use crate::model::Windows;
use crate::model::row::{Field, FieldType, RowSchema, SchemaDefect, write_bytes, write_signed, write_unsigned};
use crate::turn::TurnFailure;

/// The fields of a result that hold the key.
#[derive(Clone, Debug)]
pub enum AggregateKey {
    /// One field `key`: text as JSON, or `{"hex": ...}` if the key is not text.
    Untyped,
    /// One field for each part of the key, with its name and its type.
    Fields(Vec<(String, FieldType)>),
}

impl AggregateKey {
    fn fields(&self) -> Vec<Field> {
        match self {
            AggregateKey::Untyped => vec![Field::new("key", FieldType::Json, false)],
            AggregateKey::Fields(fields) => {
                fields.iter().map(|(name, value)| Field::new(name, value.clone(), false)).collect()
            }
        }
    }

    /// Appends the fields of a key. Error: `internal` if the key is not of its type.
    fn write(&self, key: &[u8], row: &mut Vec<u8>) -> Result<(), TurnFailure> {
        let written = match self {
            AggregateKey::Untyped => {
                write_bytes(row, to_json(&bytes_json(key))?.get().as_bytes());
                Some(())
            }
            AggregateKey::Fields(fields) => match &fields[..] {
                [(_, value)] => write_part(value, key, row),
                fields => write_parts(fields, key, row),
            },
        };
        written.ok_or_else(|| {
            let key = crate::escape::shown(key);
            error::internal(format!("the key `{key}` of a window does not have the type of its fields")).into()
        })
    }
}

/// Appends the parts of a key of several fields: each has its length in front.
fn write_parts(fields: &[(String, FieldType)], mut key: &[u8], row: &mut Vec<u8>) -> Option<()> {
    for (_, value) in fields {
        let colon = key.iter().position(|byte| *byte == b':')?;
        let length: usize = std::str::from_utf8(&key[..colon]).ok()?.parse().ok()?;
        let (part, rest) = key[colon + 1..].split_at_checked(length)?;
        write_part(value, part, row)?;
        key = rest;
    }
    key.is_empty().then_some(())
}

/// Appends a part of a key, whose bytes are those of [`RowKey`](crate::model::row::RowKey).
fn write_part(value: &FieldType, part: &[u8], row: &mut Vec<u8>) -> Option<()> {
    let text = || std::str::from_utf8(part).ok();
    match value {
        FieldType::String => write_bytes(row, text()?.as_bytes()),
        FieldType::Bytes => write_bytes(row, part),
        FieldType::Bool => row.push(u8::from(text()?.parse::<bool>().ok()?)),
        value => write_whole(value, text()?.parse().ok()?, row)?,
    }
    Some(())
}

/// Appends a whole number as a value of this type. `None` if it does not fit.
pub fn write_whole(value: &FieldType, number: i128, row: &mut Vec<u8>) -> Option<()> {
    match value {
        FieldType::I8 => row.push(i8::try_from(number).ok()? as u8),
        FieldType::U8 => row.push(u8::try_from(number).ok()?),
        FieldType::I16 => write_signed(row, i16::try_from(number).ok()?.into()),
        FieldType::I32 | FieldType::Date => write_signed(row, i32::try_from(number).ok()?.into()),
        FieldType::I64 | FieldType::Timestamp => write_signed(row, i64::try_from(number).ok()?),
        FieldType::U16 => write_unsigned(row, u16::try_from(number).ok()?.into()),
        FieldType::U32 => write_unsigned(row, u32::try_from(number).ok()?.into()),
        FieldType::U64 => write_unsigned(row, u64::try_from(number).ok()?),
        _ => return None,
    }
    Some(())
}

/// Writes the results of an aggregate.
#[derive(Clone, Debug)]
pub struct AggregateResult {
    key: AggregateKey,
    /// Whether the windows have a start and an end. Global windows have none.
    has_bounds: bool,
}

impl AggregateResult {
    pub fn new(key: AggregateKey, has_bounds: bool) -> AggregateResult {
        AggregateResult { key, has_bounds }
    }

    /// Returns the schema of results whose aggregate has this name and type. Error: two fields have the same name.
    pub fn schema(&self, name: &str, value: FieldType) -> Result<RowSchema, SchemaDefect> {
        let mut fields = self.key.fields();
        if self.has_bounds {
            fields.extend(["start", "end"].map(|name| Field::new(name, FieldType::Timestamp, false)));
        }
        fields.push(Field::new(name, value, false));
        RowSchema::new(fields)
    }

    /// Appends the fields of a result in front of the aggregate.
    pub fn write_window(&self, windows: &Windows, index: usize, row: &mut Vec<u8>) -> Result<(), TurnFailure> {
        self.key.write(windows.keys.distinct.value(windows.keys.key_of[index] as usize), row)?;
        if self.has_bounds {
            write_signed(row, windows.starts[index]);
            write_signed(row, windows.ends[index]);
        }
        Ok(())
    }
}

/// The error of an accumulator that cannot be decoded.
pub fn damaged_accumulator() -> TurnFailure {
    error::state_failed("the accumulator of a window cannot be decoded").into()
}
