//! The headers of a record, in the form that they have in a part.
//!
//! Each header is the length of its name (u16), the name, the length of its value (u32, `u32::MAX` without a value), and the value. Numbers
//! are little endian.

/// The length of a value that does not exist.
const NO_VALUE: u32 = u32::MAX;

/// The headers of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderList<'a>(&'a [u8]);

/// Headers that are being collected. One buffer serves all records of a sink.
#[derive(Clone, Debug, Default)]
pub struct HeaderBuffer(Vec<u8>);

impl HeaderBuffer {
    /// Removes all headers, and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a header. A name is cut after 65,535 bytes.
    pub fn push(&mut self, name: &str, value: Option<&[u8]>) {
        let mut length = name.len().min(usize::from(u16::MAX));
        while !name.is_char_boundary(length) {
            length -= 1;
        }
        self.0.extend_from_slice(&(length as u16).to_le_bytes());
        self.0.extend_from_slice(&name.as_bytes()[..length]);
        let value_length = value.map_or(NO_VALUE, |value| value.len() as u32);
        self.0.extend_from_slice(&value_length.to_le_bytes());
        self.0.extend_from_slice(value.unwrap_or_default());
    }

    /// Returns the headers.
    pub fn list(&self) -> HeaderList<'_> {
        HeaderList(&self.0)
    }
}

impl<'a> HeaderList<'a> {
    /// Takes headers from the bytes of a part. Returns `None` if they are damaged.
    pub(super) fn checked(bytes: &'a [u8]) -> Option<HeaderList<'a>> {
        let mut headers = HeaderList(bytes).iter();
        while headers.next().is_some() {}
        headers.rest.is_empty().then_some(HeaderList(bytes))
    }

    /// Returns the bytes that a part holds.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns whether there are no headers.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Returns the headers with their values, in order.
    pub fn iter(self) -> HeaderIterator<'a> {
        HeaderIterator { rest: self.0 }
    }
}

/// Yields headers and their values.
pub struct HeaderIterator<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for HeaderIterator<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.rest.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let name = std::str::from_utf8(name).ok()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        let (value, rest) = match length {
            NO_VALUE => (None, rest),
            length => rest.split_at_checked(length as usize).map(|(value, rest)| (Some(value), rest))?,
        };
        self.rest = rest;
        Some((name, value))
    }
}
