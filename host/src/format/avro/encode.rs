//! Carries out the plans of `encode_plan`.

use smallvec::SmallVec;

use super::decimal;
use super::encode_plan::{EncodedFieldSource, RecordWrite, RowWhole, ValueWrite, WriteKind};
use super::varint::write_long;
use crate::model::row::{RowBytes, RowDefect};

/// Why a row cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WriteDefect {
    Row(RowDefect),
    /// A value that the schema does not allow, after the name of its field.
    Value(&'static str),
    /// The same, with the field.
    Field(String),
}

impl From<RowDefect> for WriteDefect {
    fn from(defect: RowDefect) -> WriteDefect {
        WriteDefect::Row(defect)
    }
}

type WriteResult<T = ()> = Result<T, WriteDefect>;

/// Appends a row as a record.
pub(super) fn write_row(plan: &RecordWrite, row: &[u8], to: &mut Vec<u8>) -> WriteResult {
    let mut bytes = RowBytes::new(row);
    write_record(plan, &mut bytes, to)?;
    Ok(bytes.end()?)
}

fn write_record(plan: &RecordWrite, bytes: &mut RowBytes<'_>, to: &mut Vec<u8>) -> WriteResult {
    let mut values: SmallVec<[&[u8]; 16]> = SmallVec::new();
    for layout in &plan.row {
        values.push(bytes.value(layout)?);
    }
    for field in &plan.fields {
        match field {
            EncodedFieldSource::Constant(bytes) => to.extend_from_slice(bytes),
            EncodedFieldSource::Row { index, name, value } => {
                write_value(value, &mut RowBytes::new(values[*index]), to).map_err(|defect| within(name, defect))?;
            }
        }
    }
    Ok(())
}

#[cold]
fn within(name: &str, defect: WriteDefect) -> WriteDefect {
    match defect {
        WriteDefect::Value(why) => WriteDefect::Field(format!("the field `{name}` {why}")),
        other => other,
    }
}

fn write_value(plan: &ValueWrite, bytes: &mut RowBytes<'_>, to: &mut Vec<u8>) -> WriteResult {
    let is_null = plan.nullable && !bytes.flag()?;
    if let Some(union) = plan.union {
        match (is_null, union.null) {
            (false, _) => write_long(to, union.value),
            (true, Some(null)) => {
                write_long(to, null);
                return Ok(());
            }
            (true, None) => return Err(WriteDefect::Value("is null, which the schema does not allow")),
        }
    }
    write_kind(&plan.kind, bytes, to)
}

fn write_kind(kind: &WriteKind, bytes: &mut RowBytes<'_>, to: &mut Vec<u8>) -> WriteResult {
    match kind {
        WriteKind::Boolean => to.push(u8::from(bytes.flag()?)),
        WriteKind::Whole { from, is_int } => {
            let number = whole(*from, bytes)?;
            if *is_int && i32::try_from(number).is_err() {
                return Err(WriteDefect::Value("is too large for `int`"));
            }
            write_long(to, number);
        }
        WriteKind::F32 => to.extend_from_slice(bytes.take(4)?),
        WriteKind::F64 => to.extend_from_slice(bytes.take(8)?),
        WriteKind::F32ToF64 => to.extend_from_slice(&f64::from(f32::from_le_bytes(bytes.array()?)).to_le_bytes()),
        WriteKind::Prefixed => {
            let value = bytes.bytes()?;
            write_long(to, value.len() as i64);
            to.extend_from_slice(value);
        }
        WriteKind::Fixed(length) => match bytes.bytes()? {
            value if value.len() == *length => to.extend_from_slice(value),
            _ => return Err(WriteDefect::Value("has another length than the `fixed` of the schema")),
        },
        WriteKind::Symbol(symbols) => {
            let text = bytes.text()?;
            let index = symbols.iter().position(|symbol| symbol == text);
            write_long(to, index.ok_or(WriteDefect::Value("is no symbol of the `enum`"))? as i64);
        }
        WriteKind::Timestamp { per_ms } => {
            let number = bytes.signed(u64::MAX)?.checked_mul(*per_ms);
            write_long(to, number.ok_or(WriteDefect::Value("is out of the range of the timestamp"))?);
        }
        WriteKind::Date => write_long(to, bytes.signed(u64::from(u32::MAX))?),
        WriteKind::Decimal { scale, length } => {
            let number = decimal::parse(bytes.text()?, *scale);
            let number = number.ok_or(WriteDefect::Value("is no decimal number of the scale in the schema"))?;
            write_decimal(to, number, *length)?;
        }
        WriteKind::List(element) => write_blocks(bytes, to, |bytes, to| write_value(element, bytes, to))?,
        WriteKind::Map(element) => write_blocks(bytes, to, |bytes, to| {
            let name = bytes.bytes()?;
            write_long(to, name.len() as i64);
            to.extend_from_slice(name);
            write_value(element, bytes, to)
        })?,
        WriteKind::Record(plan) => write_record(plan, bytes, to)?,
    }
    Ok(())
}

fn whole(from: RowWhole, bytes: &mut RowBytes<'_>) -> WriteResult<i64> {
    Ok(match from {
        RowWhole::SignedByte => i64::from(bytes.byte()? as i8),
        RowWhole::UnsignedByte => i64::from(bytes.byte()?),
        RowWhole::Signed { max } => bytes.signed(max)?,
        RowWhole::Unsigned { max } => {
            i64::try_from(bytes.unsigned(max)?).map_err(|_| WriteDefect::Value("is too large for `long`"))?
        }
    })
}

/// Writes the elements as one block. An empty list has none.
fn write_blocks(
    bytes: &mut RowBytes<'_>,
    to: &mut Vec<u8>,
    mut element: impl FnMut(&mut RowBytes<'_>, &mut Vec<u8>) -> WriteResult,
) -> WriteResult {
    let count = bytes.unsigned(u64::MAX)?;
    if count > 0 {
        write_long(to, i64::try_from(count).map_err(|_| RowDefect::Truncated)?);
        for _ in 0..count {
            element(bytes, to)?;
        }
    }
    to.push(0);
    Ok(())
}

fn write_decimal(to: &mut Vec<u8>, number: i128, length: Option<usize>) -> WriteResult {
    let (bytes, start) = decimal::shortest(number);
    let bytes = &bytes[start..];
    match length {
        None => write_long(to, bytes.len() as i64),
        Some(length) => {
            let padding = length.checked_sub(bytes.len());
            let padding = padding.ok_or(WriteDefect::Value("has more digits than the `fixed` of the schema"))?;
            to.extend(std::iter::repeat_n(if number < 0 { 0xff } else { 0 }, padding));
        }
    }
    to.extend_from_slice(bytes);
    Ok(())
}
