//! Carries out the plans of `decode_plan`.

use smallvec::SmallVec;

use super::DEPTH_MAX;
use super::bytes::{AvroBytes, AvroDefect, AvroResult, decimal_bytes, each_element, uuid_text};
use super::decimal;
use super::decode_plan::{AvroRecordPlan, ValuePlan, ValueRead, WriteFrom};
use super::json::write_json;
use super::schema::{AvroSchema, TypeId};
use crate::model::row::time_text::rfc3339;
use crate::model::row::{FieldDefect, write_bytes, write_signed, write_unsigned};

/// Why a value cannot be read as the field of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ValueDefect {
    #[error("{0}")]
    Bytes(#[from] AvroDefect),
    #[error("is out of the range of the field")]
    OutOfRange,
}

/// Where the fields of a record start.
pub(super) type AvroFieldStarts = SmallVec<[u32; 16]>;

/// Notes where each field starts, and skips to the end of the record.
#[inline]
pub(super) fn find_fields(
    schema: &AvroSchema,
    fields: &[TypeId],
    record: &[u8],
    starts: &mut AvroFieldStarts,
) -> AvroResult {
    let mut bytes = AvroBytes { rest: record };
    starts.clear();
    for field in fields {
        starts.push((record.len() - bytes.rest.len()) as u32);
        bytes.skip(&schema.types, *field, 0)?;
    }
    if bytes.rest.is_empty() { Ok(()) } else { Err(AvroDefect::TrailingBytes) }
}

/// Appends the fields of a row. `starts` are those of the record's fields.
#[inline]
pub(super) fn write_fields(
    schema: &AvroSchema,
    plan: &AvroRecordPlan,
    record: &[u8],
    starts: &[u32],
    to: &mut Vec<u8>,
) -> Result<(), Box<FieldDefect>> {
    for write in &plan.writes {
        match &write.from {
            WriteFrom::Constant(bytes) => to.extend_from_slice(bytes),
            WriteFrom::Field(index, value) => {
                let mut bytes = AvroBytes { rest: &record[starts[*index] as usize..] };
                if let Err(defect) = write_value(schema, value, &mut bytes, to, 0) {
                    return Err(FieldDefect::of_value(defect.to_string()).within(&write.name));
                }
            }
        }
    }
    Ok(())
}

#[inline]
fn write_value(
    schema: &AvroSchema,
    plan: &ValuePlan,
    bytes: &mut AvroBytes<'_>,
    to: &mut Vec<u8>,
    depth: usize,
) -> Result<(), ValueDefect> {
    let read = match plan {
        ValuePlan::Plain { flag, read } => {
            if *flag {
                to.push(1);
            }
            read
        }
        ValuePlan::Union { flag, branches } => match branches.get(bytes.index()?).ok_or(AvroDefect::UnknownBranch)? {
            Some(read) => {
                if *flag {
                    to.push(1);
                }
                read
            }
            None => {
                to.push(0);
                return Ok(());
            }
        },
    };
    write_read(schema, read, bytes, to, depth)
}

#[inline]
fn write_read(
    schema: &AvroSchema,
    read: &ValueRead,
    bytes: &mut AvroBytes<'_>,
    to: &mut Vec<u8>,
    depth: usize,
) -> Result<(), ValueDefect> {
    match read {
        ValueRead::Signed { min, max } => {
            let number = bytes.long()?;
            if number < *min || number > *max {
                return Err(ValueDefect::OutOfRange);
            }
            write_signed(to, number);
        }
        ValueRead::Text => {
            let text = bytes.text()?;
            write_bytes(to, text.as_bytes());
        }
        ValueRead::F64 => to.extend_from_slice(bytes.take(8)?),
        ValueRead::F32 => to.extend_from_slice(bytes.take(4)?),
        ValueRead::Boolean => to.push(u8::from(bytes.boolean()?)),
        ValueRead::Unsigned { max } => {
            let number = bytes.long()?;
            if !(0..=*max).contains(&number) {
                return Err(ValueDefect::OutOfRange);
            }
            write_unsigned(to, number as u64);
        }
        ValueRead::Timestamp { per_ms: 1 } => write_signed(to, bytes.long()?),
        ValueRead::Timestamp { per_ms } => write_signed(to, bytes.long()?.div_euclid(*per_ms)),
        ValueRead::Bytes => write_bytes(to, bytes.bytes()?),
        other => return write_rare(schema, other, bytes, to, depth),
    }
    Ok(())
}

fn write_rare(
    schema: &AvroSchema,
    read: &ValueRead,
    bytes: &mut AvroBytes<'_>,
    to: &mut Vec<u8>,
    depth: usize,
) -> Result<(), ValueDefect> {
    match read {
        ValueRead::Null => to.push(0),
        ValueRead::SignedByte => {
            to.push(i8::try_from(bytes.long()?).map_err(|_| ValueDefect::OutOfRange)? as u8);
        }
        ValueRead::UnsignedByte => to.push(u8::try_from(bytes.long()?).map_err(|_| ValueDefect::OutOfRange)?),
        ValueRead::WholeToF32 => to.extend_from_slice(&(bytes.long()? as f32).to_le_bytes()),
        ValueRead::WholeToF64 => to.extend_from_slice(&(bytes.long()? as f64).to_le_bytes()),
        ValueRead::F32ToF64 => to.extend_from_slice(&f64::from(f32::from_le_bytes(bytes.array()?)).to_le_bytes()),
        ValueRead::Fixed(length) => write_bytes(to, bytes.take(*length)?),
        ValueRead::Symbol(symbols) => {
            let symbol = symbols.get(bytes.index()?).ok_or(AvroDefect::UnknownBranch)?;
            write_bytes(to, symbol.as_bytes());
        }
        ValueRead::TimestampText => {
            let ms = rfc3339(bytes.bytes()?, None).ok_or(AvroDefect::NotTime)?;
            write_signed(to, ms);
        }
        ValueRead::DecimalText { scale, length } => {
            let number = decimal::unscaled(decimal_bytes(bytes, *length)?)?;
            let mut text = Vec::with_capacity(48);
            decimal::write_text(&mut text, number, *scale);
            write_bytes(to, &text);
        }
        ValueRead::DecimalToF64 { scale, length } => {
            let number = decimal::unscaled(decimal_bytes(bytes, *length)?)?;
            to.extend_from_slice(&(number as f64 / 10_f64.powi(*scale as i32)).to_le_bytes());
        }
        ValueRead::Uuid => write_bytes(to, &uuid_text(&bytes.array()?)),
        ValueRead::Json(id) => {
            let mut text = Vec::new();
            write_json(schema, *id, bytes, &mut text, depth)?;
            write_bytes(to, &text);
        }
        ValueRead::List { element, of } => {
            check_depth(depth)?;
            let mut ahead = *bytes;
            write_unsigned(to, ahead.count_elements(|bytes| bytes.skip(&schema.types, *of, depth + 1))?);
            each_element(bytes, |bytes| write_value(schema, element, bytes, to, depth + 1))?;
        }
        ValueRead::Map { element, of } => {
            check_depth(depth)?;
            let mut ahead = *bytes;
            let entries = ahead.count_elements(|bytes| {
                bytes.bytes()?;
                bytes.skip(&schema.types, *of, depth + 1)
            })?;
            write_unsigned(to, entries);
            each_element(bytes, |bytes| {
                write_bytes(to, bytes.text()?.as_bytes());
                write_value(schema, element, bytes, to, depth + 1)
            })?;
        }
        ValueRead::Record(plan) => {
            check_depth(depth)?;
            write_record(schema, plan, bytes, to, depth + 1)?;
        }
        simple => write_read(schema, simple, bytes, to, depth)?,
    }
    Ok(())
}

fn write_record(
    schema: &AvroSchema,
    plan: &AvroRecordPlan,
    bytes: &mut AvroBytes<'_>,
    to: &mut Vec<u8>,
    depth: usize,
) -> Result<(), ValueDefect> {
    let record = bytes.rest;
    let mut starts = AvroFieldStarts::new();
    for field in &plan.fields {
        starts.push((record.len() - bytes.rest.len()) as u32);
        bytes.skip(&schema.types, *field, depth)?;
    }
    for write in &plan.writes {
        match &write.from {
            WriteFrom::Constant(constant) => to.extend_from_slice(constant),
            WriteFrom::Field(index, value) => {
                let mut field = AvroBytes { rest: &record[starts[*index] as usize..] };
                write_value(schema, value, &mut field, to, depth)?;
            }
        }
    }
    Ok(())
}

fn check_depth(depth: usize) -> AvroResult {
    if depth >= DEPTH_MAX { Err(AvroDefect::TooDeep) } else { Ok(()) }
}
