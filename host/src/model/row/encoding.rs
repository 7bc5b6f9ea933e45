//! The bytes of values: numbers, lengths and flags as postcard writes them, and how long an encoded value is.
//!
//! Reading checks everything that it reads, as rows come from guests.

use super::field_type::{Field, FieldType};
use crate::model::column::append;

/// Why bytes are not a row of their schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowDefect {
    /// The bytes end within a value.
    #[error("the row ends before its last field")]
    Truncated,
    /// Bytes follow the last field.
    #[error("the row has more bytes than its fields")]
    TrailingBytes,
    /// A number does not fit its type.
    #[error("a number of the row is too large for its type")]
    NumberTooLarge,
    /// A boolean or the flag of a nullable value is neither 0 nor 1.
    #[error("a flag of the row is neither 0 nor 1")]
    InvalidFlag,
    /// A text is not UTF-8.
    #[error("a text of the row is not UTF-8")]
    NotUtf8,
    /// The text of a JSON field is not JSON.
    #[error("a JSON field of the row is not JSON")]
    NotJson,
}

/// Appends an unsigned integer as LEB128.
#[inline]
pub fn write_unsigned(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Appends a signed integer of 16 to 64 bits, a timestamp or a date: as zigzag LEB128.
#[inline]
pub fn write_signed(to: &mut Vec<u8>, value: i64) {
    write_unsigned(to, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a string, bytes or JSON text.
#[inline]
pub fn write_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    write_unsigned(to, bytes.len() as u64);
    append(to, bytes);
}

/// The unread bytes of a row.
#[derive(Clone, Copy, Debug)]
pub struct RowBytes<'a> {
    /// The unread bytes.
    pub rest: &'a [u8],
}

impl<'a> RowBytes<'a> {
    /// Begins to read a row.
    pub fn new(row: &'a [u8]) -> RowBytes<'a> {
        RowBytes { rest: row }
    }

    /// Fails if bytes are left.
    pub fn end(&self) -> Result<(), RowDefect> {
        if self.rest.is_empty() { Ok(()) } else { Err(RowDefect::TrailingBytes) }
    }

    /// Reads one byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, RowDefect> {
        let (&byte, rest) = self.rest.split_first().ok_or(RowDefect::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    /// Reads this many bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], RowDefect> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(RowDefect::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RowDefect> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(RowDefect::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// Reads a boolean, or the flag of a nullable value.
    #[inline]
    pub fn flag(&mut self) -> Result<bool, RowDefect> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RowDefect::InvalidFlag),
        }
    }

    /// Reads an unsigned integer up to `max`.
    #[inline]
    pub fn unsigned(&mut self, max: u64) -> Result<u64, RowDefect> {
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_unsigned(max)
    }

    fn long_unsigned(&mut self, max: u64) -> Result<u64, RowDefect> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(RowDefect::NumberTooLarge);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return if value <= max { Ok(value) } else { Err(RowDefect::NumberTooLarge) };
            }
        }
        Err(RowDefect::NumberTooLarge)
    }

    /// Reads a signed integer whose zigzag form is at most `max`.
    #[inline]
    pub fn signed(&mut self, max: u64) -> Result<i64, RowDefect> {
        let value = self.unsigned(max)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Reads a length and as many bytes.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], RowDefect> {
        let length = self.unsigned(u64::MAX)?;
        self.take(usize::try_from(length).map_err(|_| RowDefect::Truncated)?)
    }

    /// Reads a string.
    pub fn text(&mut self) -> Result<&'a str, RowDefect> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RowDefect::NotUtf8)
    }

    /// Skips a value and returns its bytes.
    #[inline]
    pub fn value(&mut self, layout: &ValueLayout) -> Result<&'a [u8], RowDefect> {
        let start = self.rest;
        layout.skip(self)?;
        Ok(&start[..start.len() - self.rest.len()])
    }
}

/// The largest number that a varint of a type may hold. For signed types it is the zigzag form.
pub fn largest_varint(value: &FieldType) -> u64 {
    match value {
        FieldType::U16 | FieldType::I16 => u64::from(u16::MAX),
        FieldType::U32 | FieldType::I32 | FieldType::Date => u64::from(u32::MAX),
        _ => u64::MAX,
    }
}

/// How to find the end of an encoded value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueLayout {
    /// Always this many bytes.
    Fixed(usize),
    /// 0 or 1.
    Flag,
    /// A LEB128 number up to this one.
    Varint(u64),
    /// A length and as many bytes.
    Prefixed,
    /// 0, or 1 and a value.
    Nullable(Box<ValueLayout>),
    /// A number of elements, and the elements.
    List(Box<ValueLayout>),
    /// A number of entries, and for each a string and a value.
    Map(Box<ValueLayout>),
    /// Values, one after the other.
    Fields(Box<[ValueLayout]>),
}

impl ValueLayout {
    /// Returns the layout of a field.
    pub fn of_field(field: &Field) -> ValueLayout {
        ValueLayout::new(&field.value, field.nullable)
    }

    /// Returns the layout of a type.
    pub fn new(value: &FieldType, nullable: bool) -> ValueLayout {
        let layout = match value {
            FieldType::Bool => ValueLayout::Flag,
            FieldType::I8 | FieldType::U8 => ValueLayout::Fixed(1),
            FieldType::F32 => ValueLayout::Fixed(4),
            FieldType::F64 => ValueLayout::Fixed(8),
            FieldType::String | FieldType::Bytes | FieldType::Json => ValueLayout::Prefixed,
            FieldType::List(element) => ValueLayout::List(Box::new(ValueLayout::new(&element.value, element.nullable))),
            FieldType::Map(element) => ValueLayout::Map(Box::new(ValueLayout::new(&element.value, element.nullable))),
            FieldType::Record(fields) => ValueLayout::Fields(fields.iter().map(ValueLayout::of_field).collect()),
            number => ValueLayout::Varint(largest_varint(number)),
        };
        if nullable { ValueLayout::Nullable(Box::new(layout)) } else { layout }
    }

    /// Moves behind the value. Recursion is bounded by the depth of the schema; elements have at least one byte, so the
    /// length of the row bounds the loops.
    #[inline]
    pub fn skip(&self, row: &mut RowBytes<'_>) -> Result<(), RowDefect> {
        match self {
            ValueLayout::Fixed(count) => row.take(*count).map(drop),
            ValueLayout::Flag => row.flag().map(drop),
            ValueLayout::Varint(max) => row.unsigned(*max).map(drop),
            ValueLayout::Prefixed => row.bytes().map(drop),
            ValueLayout::Nullable(value) => match row.flag()? {
                true => value.skip_nullable(row),
                false => Ok(()),
            },
            compound => compound.skip_compound(row),
        }
    }

    /// The value of a nullable one, which is mostly simple.
    #[inline]
    fn skip_nullable(&self, row: &mut RowBytes<'_>) -> Result<(), RowDefect> {
        match self {
            ValueLayout::Fixed(count) => row.take(*count).map(drop),
            ValueLayout::Varint(max) => row.unsigned(*max).map(drop),
            ValueLayout::Prefixed => row.bytes().map(drop),
            other => other.skip_compound(row),
        }
    }

    fn skip_compound(&self, row: &mut RowBytes<'_>) -> Result<(), RowDefect> {
        match self {
            ValueLayout::List(element) => {
                let count = row.unsigned(u64::MAX)?;
                (0..count).try_for_each(|_| element.skip(row))
            }
            ValueLayout::Map(value) => {
                let count = row.unsigned(u64::MAX)?;
                (0..count).try_for_each(|_| row.bytes().and_then(|_| value.skip(row)))
            }
            ValueLayout::Fields(fields) => fields.iter().try_for_each(|field| field.skip(row)),
            simple => simple.skip(row),
        }
    }
}
