//! Reads and skips the values of Avro's binary encoding.

use super::DEPTH_MAX;
use super::schema::{AvroShape, AvroType, TypeId};

/// Why bytes are not a value of their schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AvroDefect {
    #[error("the record ends before its last field")]
    Truncated,
    #[error("bytes follow the last field")]
    TrailingBytes,
    #[error("a number is too large for its type")]
    NumberTooLarge,
    #[error("a length or a count is negative")]
    NegativeLength,
    #[error("a boolean is neither 0 nor 1")]
    NotBoolean,
    #[error("a union or an enum has no such branch")]
    UnknownBranch,
    #[error("a list or a map claims more elements than it has bytes")]
    TooManyElements,
    #[error("values are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("a text is not a time")]
    NotTime,
    #[error("a decimal number has more than 38 digits")]
    DecimalTooLong,
}

pub(super) type AvroResult<T = ()> = Result<T, AvroDefect>;

/// The unread bytes of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct AvroBytes<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> AvroBytes<'a> {
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> AvroResult<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(AvroDefect::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> AvroResult<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(AvroDefect::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline]
    pub(super) fn boolean(&mut self) -> AvroResult<bool> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(AvroDefect::NotBoolean),
        }
    }

    /// Reads an `int` or a `long`, which are zigzag LEB128.
    #[inline]
    pub(super) fn long(&mut self) -> AvroResult<i64> {
        let value = match self.rest {
            [byte @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                u64::from(*byte)
            }
            _ => self.long_varint()?,
        };
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn long_varint(&mut self) -> AvroResult<u64> {
        let mut value = 0_u64;
        for (index, &byte) in self.rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                return Err(AvroDefect::NumberTooLarge);
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { AvroDefect::Truncated } else { AvroDefect::NumberTooLarge })
    }

    /// Reads a length and as many bytes.
    #[inline]
    pub(super) fn bytes(&mut self) -> AvroResult<&'a [u8]> {
        let length = usize::try_from(self.long()?).map_err(|_| AvroDefect::NegativeLength)?;
        self.take(length)
    }

    #[inline]
    pub(super) fn text(&mut self) -> AvroResult<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| AvroDefect::NotUtf8)
    }

    /// Reads the index of a branch or a symbol.
    #[inline]
    pub(super) fn index(&mut self) -> AvroResult<usize> {
        usize::try_from(self.long()?).map_err(|_| AvroDefect::UnknownBranch)
    }

    /// Reads the start of a block of a list or a map: the number of its elements, and its length if that is known. The last block has
    /// no elements. Every element has at least one byte, so a larger number is refused.
    pub(super) fn block(&mut self) -> AvroResult<(u64, Option<usize>)> {
        let count = self.long()?;
        let length = match count < 0 {
            true => Some(usize::try_from(self.long()?).map_err(|_| AvroDefect::NegativeLength)?),
            false => None,
        };
        let count = count.unsigned_abs();
        match count > self.rest.len() as u64 {
            true => Err(AvroDefect::TooManyElements),
            false => Ok((count, length)),
        }
    }

    /// Skips a value. Recursion is bounded, although a schema may contain itself.
    #[inline]
    pub(super) fn skip(&mut self, types: &[AvroType], id: TypeId, depth: usize) -> AvroResult {
        match &types[id.index()].shape {
            AvroShape::Int | AvroShape::Long | AvroShape::Enum(_) => self.long().map(drop),
            AvroShape::Bytes | AvroShape::Text => self.bytes().map(drop),
            AvroShape::Double => self.take(8).map(drop),
            AvroShape::Float => self.take(4).map(drop),
            AvroShape::Boolean => self.boolean().map(drop),
            AvroShape::Null => Ok(()),
            AvroShape::Fixed(length) => self.take(*length).map(drop),
            AvroShape::Union(branches) => {
                let branch = *branches.get(self.index()?).ok_or(AvroDefect::UnknownBranch)?;
                self.skip_nested(types, branch, depth)
            }
            AvroShape::Array(_) | AvroShape::Map(_) | AvroShape::Record(_) => self.skip_nested(types, id, depth),
        }
    }

    fn skip_nested(&mut self, types: &[AvroType], id: TypeId, depth: usize) -> AvroResult {
        if depth >= DEPTH_MAX {
            return Err(AvroDefect::TooDeep);
        }
        match &types[id.index()].shape {
            AvroShape::Record(fields) => fields.iter().try_for_each(|field| self.skip(types, field.value, depth + 1)),
            AvroShape::Array(element) => self.skip_blocks(|bytes| bytes.skip(types, *element, depth + 1)),
            AvroShape::Map(element) => self.skip_blocks(|bytes| {
                bytes.bytes()?;
                bytes.skip(types, *element, depth + 1)
            }),
            _ => self.skip(types, id, depth + 1),
        }
    }

    /// Skips the blocks of a list or a map. Returns the number of elements.
    fn skip_blocks(&mut self, element: impl FnMut(&mut AvroBytes<'a>) -> AvroResult) -> AvroResult {
        self.count_elements(element).map(drop)
    }

    /// Skips the blocks of a list or a map, and returns the number of their elements.
    pub(super) fn count_elements(
        &mut self,
        mut element: impl FnMut(&mut AvroBytes<'a>) -> AvroResult,
    ) -> AvroResult<u64> {
        let mut total = 0_u64;
        loop {
            let (count, length) = self.block()?;
            if count == 0 {
                return Ok(total);
            }
            total += count;
            match length {
                Some(length) => self.take(length).map(drop)?,
                None => {
                    for _ in 0..count {
                        element(self)?;
                    }
                }
            }
        }
    }
}

/// Calls `element` for each element of a list or a map.
pub(super) fn each_element<'a, E: From<AvroDefect>>(
    bytes: &mut AvroBytes<'a>,
    mut element: impl FnMut(&mut AvroBytes<'a>) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        let (count, _) = bytes.block()?;
        if count == 0 {
            return Ok(());
        }
        for _ in 0..count {
            element(bytes)?;
        }
    }
}

/// Reads the bytes of a decimal number. `length` is that of a fixed one.
pub(super) fn decimal_bytes<'a>(bytes: &mut AvroBytes<'a>, length: Option<usize>) -> AvroResult<&'a [u8]> {
    match length {
        Some(length) => bytes.take(length),
        None => bytes.bytes(),
    }
}

/// Returns the text of a UUID.
pub(super) fn uuid_text(bytes: &[u8; 16]) -> [u8; 36] {
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        for digit in [byte >> 4, byte & 0xf] {
            text[at] = b"0123456789abcdef"[usize::from(digit)];
            at += 1;
        }
    }
    text
}
