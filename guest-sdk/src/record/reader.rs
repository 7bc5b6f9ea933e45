//! The bytes of a row that are left to read.

/// Why bytes are not a row of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowDefect {
    TooShort,
    TooLong,
    NotUtf8,
    NoFlag,
    OutOfRange,
}

impl RowDefect {
    pub(super) fn words(self) -> &'static str {
        match self {
            RowDefect::TooShort => "the row ends too early",
            RowDefect::TooLong => "the row is longer than its fields",
            RowDefect::NotUtf8 => "a string is not UTF-8",
            RowDefect::NoFlag => "a flag is neither 0 nor 1",
            RowDefect::OutOfRange => "a number is out of range",
        }
    }
}

/// Reads the values of a row one after the other.
pub struct RowReader<'row> {
    rest: &'row [u8],
}

impl<'row> RowReader<'row> {
    #[inline(always)]
    pub(super) fn new(bytes: &'row [u8]) -> Self {
        RowReader { rest: bytes }
    }

    /// Returns whether all bytes have been read.
    #[inline(always)]
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the number of bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline(always)]
    pub(super) fn byte(&mut self) -> Result<u8, RowDefect> {
        let (&byte, rest) = self.rest.split_first().ok_or(RowDefect::TooShort)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline(always)]
    pub(super) fn bytes(&mut self, len: usize) -> Result<&'row [u8], RowDefect> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(RowDefect::TooShort)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline(always)]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RowDefect> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(RowDefect::TooShort)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// Reads 0 or 1.
    #[inline(always)]
    pub(super) fn flag(&mut self) -> Result<bool, RowDefect> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RowDefect::NoFlag),
        }
    }

    /// Reads a LEB128 number.
    #[inline(always)]
    pub(super) fn natural(&mut self) -> Result<u64, RowDefect> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(first.into());
        }
        let second = self.byte()?;
        let low = u64::from(first & 0x7f) | u64::from(second & 0x7f) << 7;
        if second < 0x80 { Ok(low) } else { self.long_natural(low) }
    }

    /// Reads the third byte of a LEB128 number and those after it.
    #[inline(never)]
    fn long_natural(&mut self, low: u64) -> Result<u64, RowDefect> {
        let mut value = low;
        for shift in (14..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return Err(RowDefect::OutOfRange);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RowDefect::OutOfRange)
    }

    /// Reads a length in bytes.
    #[inline(always)]
    pub(super) fn length(&mut self) -> Result<usize, RowDefect> {
        let len = self.natural()?;
        usize::try_from(len).map_err(|_| RowDefect::TooShort)
    }

    /// Reads a number of values. Each of them has at least one byte.
    #[inline(always)]
    pub(super) fn count(&mut self) -> Result<usize, RowDefect> {
        let count = self.length()?;
        if count <= self.rest.len() { Ok(count) } else { Err(RowDefect::TooShort) }
    }

    #[inline(always)]
    pub(super) fn text(&mut self) -> Result<&'row str, RowDefect> {
        let len = self.length()?;
        std::str::from_utf8(self.bytes(len)?).map_err(|_| RowDefect::NotUtf8)
    }
}
