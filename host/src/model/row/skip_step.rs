//! Steps over the fields of a row, as small as they can be: a copy takes one for each field of each record.

use super::encoding::{RowBytes, RowDefect, ValueLayout};
use super::field_type::Field;

/// How to step over one field.
#[derive(Clone, Debug)]
pub(super) enum SkipStep {
    /// This many bytes.
    Fixed(usize),
    /// A LEB128 number. It is not compared with the limit of its type: the reader of the field does that.
    Varint,
    /// A length and as many bytes.
    Prefixed,
    /// 0, or 1 and this many bytes.
    NullableFixed(usize),
    /// 0, or 1 and a number.
    NullableVarint,
    /// 0, or 1, a length and as many bytes.
    NullablePrefixed,
    /// Any other value.
    Other(Box<ValueLayout>),
}

impl SkipStep {
    pub(super) fn of_field(field: &Field) -> SkipStep {
        match ValueLayout::of_field(field) {
            ValueLayout::Fixed(count) => SkipStep::Fixed(count),
            ValueLayout::Varint(_) => SkipStep::Varint,
            ValueLayout::Prefixed => SkipStep::Prefixed,
            ValueLayout::Nullable(value) => match *value {
                ValueLayout::Fixed(count) => SkipStep::NullableFixed(count),
                ValueLayout::Varint(_) => SkipStep::NullableVarint,
                ValueLayout::Prefixed => SkipStep::NullablePrefixed,
                other => SkipStep::Other(Box::new(ValueLayout::Nullable(Box::new(other)))),
            },
            other => SkipStep::Other(Box::new(other)),
        }
    }

    /// Returns the position behind the field that begins at `start`.
    #[inline(always)]
    pub(super) fn skip(&self, row: &[u8], start: usize) -> Result<usize, RowDefect> {
        match self {
            SkipStep::Fixed(count) => skip_bytes(row, start, *count),
            SkipStep::Varint => skip_varint(row, start),
            SkipStep::Prefixed => skip_prefixed(row, start),
            SkipStep::NullableFixed(count) => match flag(row, start)? {
                true => skip_bytes(row, start + 1, *count),
                false => Ok(start + 1),
            },
            SkipStep::NullableVarint => match flag(row, start)? {
                true => skip_varint(row, start + 1),
                false => Ok(start + 1),
            },
            SkipStep::NullablePrefixed => match flag(row, start)? {
                true => skip_prefixed(row, start + 1),
                false => Ok(start + 1),
            },
            SkipStep::Other(layout) => {
                let mut bytes = RowBytes::new(&row[start..]);
                layout.skip(&mut bytes)?;
                Ok(row.len() - bytes.rest.len())
            }
        }
    }
}

#[inline(always)]
fn skip_bytes(row: &[u8], start: usize, count: usize) -> Result<usize, RowDefect> {
    match start.checked_add(count) {
        Some(end) if end <= row.len() => Ok(end),
        _ => Err(RowDefect::Truncated),
    }
}

#[inline(always)]
fn flag(row: &[u8], start: usize) -> Result<bool, RowDefect> {
    match row.get(start) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(RowDefect::InvalidFlag),
        None => Err(RowDefect::Truncated),
    }
}

#[inline(always)]
fn skip_varint(row: &[u8], start: usize) -> Result<usize, RowDefect> {
    if let Some(bytes) = row.get(start..).and_then(|rest| rest.first_chunk::<8>()) {
        // The last byte of a number has no highest bit.
        let ends = !u64::from_le_bytes(*bytes) & 0x8080_8080_8080_8080;
        if ends != 0 {
            return Ok(start + ends.trailing_zeros() as usize / 8 + 1);
        }
    }
    skip_long_varint(row, start)
}

#[inline(never)]
fn skip_long_varint(row: &[u8], start: usize) -> Result<usize, RowDefect> {
    let mut bytes = RowBytes::new(&row[start..]);
    bytes.unsigned(u64::MAX)?;
    Ok(row.len() - bytes.rest.len())
}

#[inline(always)]
fn skip_prefixed(row: &[u8], start: usize) -> Result<usize, RowDefect> {
    if let Some(length @ 0..0x80) = row.get(start) {
        return skip_bytes(row, start + 1, usize::from(*length));
    }
    let mut bytes = RowBytes::new(&row[start..]);
    bytes.bytes()?;
    Ok(row.len() - bytes.rest.len())
}
