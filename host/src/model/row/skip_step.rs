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

    /// Returns the position behind the field that begins at `start`. It is behind the end of the row if the bytes are not
    /// a field: one comparison for all kinds of fields is cheaper than an error from each.
    #[inline(always)]
    pub(super) fn skip(&self, row: &[u8], start: usize) -> usize {
        match self {
            SkipStep::Fixed(count) => start.saturating_add(*count),
            SkipStep::Varint => skip_varint(row, start),
            SkipStep::Prefixed => skip_prefixed(row, start),
            SkipStep::NullableFixed(count) => match row.get(start) {
                Some(0) => start + 1,
                Some(1) => (start + 1).saturating_add(*count),
                _ => usize::MAX,
            },
            SkipStep::NullableVarint => match row.get(start) {
                Some(0) => start + 1,
                Some(1) => skip_varint(row, start + 1),
                _ => usize::MAX,
            },
            SkipStep::NullablePrefixed => match row.get(start) {
                Some(0) => start + 1,
                Some(1) => skip_prefixed(row, start + 1),
                _ => usize::MAX,
            },
            SkipStep::Other(layout) => skip_value(layout, row, start),
        }
    }

    /// Returns what is wrong with the field that begins at `start`.
    #[cold]
    pub(super) fn defect(&self, row: &[u8], start: usize) -> RowDefect {
        let number = || ValueLayout::Varint(u64::MAX);
        let nullable = |value| ValueLayout::Nullable(Box::new(value));
        let layout = match self {
            SkipStep::Fixed(count) => ValueLayout::Fixed(*count),
            SkipStep::Varint => number(),
            SkipStep::Prefixed => ValueLayout::Prefixed,
            SkipStep::NullableFixed(count) => nullable(ValueLayout::Fixed(*count)),
            SkipStep::NullableVarint => nullable(number()),
            SkipStep::NullablePrefixed => nullable(ValueLayout::Prefixed),
            SkipStep::Other(layout) => layout.as_ref().clone(),
        };
        layout.skip(&mut RowBytes::new(row.get(start..).unwrap_or_default())).err().unwrap_or(RowDefect::Truncated)
    }
}

#[inline(always)]
fn skip_varint(row: &[u8], start: usize) -> usize {
    if let Some(bytes) = row.get(start..).and_then(|rest| rest.first_chunk::<8>()) {
        // The last byte of a number has no highest bit.
        let ends = !u64::from_le_bytes(*bytes) & 0x8080_8080_8080_8080;
        if ends != 0 {
            return start + ends.trailing_zeros() as usize / 8 + 1;
        }
    }
    skip_value(&ValueLayout::Varint(u64::MAX), row, start)
}

#[inline(always)]
fn skip_prefixed(row: &[u8], start: usize) -> usize {
    match row.get(start) {
        Some(length @ 0..0x80) => start + 1 + usize::from(*length),
        _ => skip_value(&ValueLayout::Prefixed, row, start),
    }
}

#[inline(never)]
fn skip_value(layout: &ValueLayout, row: &[u8], start: usize) -> usize {
    let Some(rest) = row.get(start..) else { return usize::MAX };
    let mut bytes = RowBytes::new(rest);
    match layout.skip(&mut bytes) {
        Ok(()) => row.len() - bytes.rest.len(),
        Err(_) => usize::MAX,
    }
}
