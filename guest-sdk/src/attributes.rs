//! Attributes of records, such as the headers of a message.
//!
//! Layout: the number of attributes, then for each of them its name and its value, each with its length in front. Numbers are LEB128.
//! Names that begin with `:` are the host's.

use crate::bindings::cofferdam::function::types::Column;
use crate::column;

/// The attributes of a record: the headers of the message that it came in, and where it came from. A record of a source without messages
/// has none. See [`Context::attributes`](crate::Context::attributes).
#[derive(Clone, Copy, Default)]
pub struct Attributes<'a> {
    /// Empty if there are none.
    bytes: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Attributes { bytes }
    }

    fn all(&self) -> AttributeIter<'a> {
        let mut rest = self.bytes;
        let left = number(&mut rest).unwrap_or(0);
        AttributeIter { rest, left }
    }

    fn named(&self, name: &str) -> Option<&'a [u8]> {
        self.all().find(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.named(name)?).ok()
    }

    /// Returns the first header with this name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        if name.starts_with(':') { None } else { self.named(name) }
    }

    /// Iterates over the names and values of the headers, in their order. A name may occur several times.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.all().filter_map(|(name, value)| {
            let name = std::str::from_utf8(name).ok()?;
            (!name.starts_with(':')).then_some((name, value))
        })
    }

    /// Returns the topic from which the record came.
    pub fn topic(&self) -> Option<&'a str> {
        self.text(":topic")
    }

    /// Returns the partition from which the record came.
    pub fn partition(&self) -> Option<u32> {
        self.text(":partition")?.parse().ok()
    }

    /// Returns the position of the record in its partition.
    pub fn offset(&self) -> Option<u64> {
        self.text(":offset")?.parse().ok()
    }

    /// Returns whether the record has no value, such as a tombstone.
    pub fn is_null(&self) -> bool {
        self.named(":null").is_some()
    }
}

struct AttributeIter<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for AttributeIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some((part(&mut self.rest)?, part(&mut self.rest)?))
    }
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = number(rest)?;
    let (part, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(part)
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..28).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The largest number of headers of an emitted record, which one byte holds.
const HEADERS_MAX: u8 = 127;
/// The largest length of a name or value of an emitted record.
const BYTES_MAX: usize = (1 << 28) - 1;

/// Makes a column of this many records without attributes.
pub(crate) fn none(records: usize) -> Column {
    Column { bytes: vec![0; records], offsets: (0..=records as u32).collect() }
}

/// Ends a record without attributes.
pub(crate) fn end_without(attributes: &mut Column) {
    attributes.bytes.push(0);
    column::end_value(attributes);
}

/// Adds a header to the last record.
///
/// # Panics
/// Panics if a limit is exceeded, or if the name belongs to the host.
pub(crate) fn add_to_last(attributes: &mut Column, name: &str, value: &[u8]) {
    assert!(!name.starts_with(':'), "header `{name}`: names that begin with `:` belong to the host");
    assert!(name.len() <= BYTES_MAX && value.len() <= BYTES_MAX, "a header is longer than 256 MiB");
    let start = attributes.offsets[column::len(attributes) - 1] as usize;
    let count = attributes.bytes[start];
    assert!(count < HEADERS_MAX, "a record has more than {HEADERS_MAX} headers");
    attributes.bytes[start] = count + 1;
    for part in [name.as_bytes(), value] {
        let mut len = part.len();
        while len >= 0x80 {
            attributes.bytes.push(len as u8 | 0x80);
            len >>= 7;
        }
        attributes.bytes.push(len as u8);
        attributes.bytes.extend_from_slice(part);
    }
    attributes.offsets.pop();
    column::end_value(attributes);
}

/// Writes the attributes of one record. Unlike a function, a test may use the host's names.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn written(attributes: &[(&str, &[u8])]) -> Vec<u8> {
    let mut column = none(1);
    for (name, value) in attributes {
        let hidden = name.replacen(':', "_", usize::from(name.starts_with(':')));
        let name_at = column.bytes.len() + 1;
        add_to_last(&mut column, &hidden, value);
        if name.starts_with(':') {
            column.bytes[name_at] = b':';
        }
    }
    column.bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let bytes = written(&[(":topic", b"t"), ("a", b"1"), (":partition", b"7"), ("a", b"2"), (":offset", b"12")]);
        let attributes = Attributes::new(&bytes);
        assert_eq!((attributes.topic(), attributes.partition(), attributes.offset()), (Some("t"), Some(7), Some(12)));
        assert_eq!((attributes.header("a"), attributes.header(":topic")), (Some(&b"1"[..]), None));
        assert_eq!(attributes.headers().collect::<Vec<_>>(), [("a", &b"1"[..]), ("a", b"2")]);
        assert!(!attributes.is_null() && Attributes::new(&written(&[(":null", b"")])).is_null());
    }

    #[test]
    fn any_bytes_are_attributes() {
        let long = written(&[("name", &[7; 300])]);
        assert_eq!(Attributes::new(&long).header("name"), Some(&[7; 300][..]));
        for end in 0..long.len() {
            assert_eq!(Attributes::new(&long[..end]).headers().count(), 0);
        }
        for bytes in [&[255; 9][..], &[2, 1, b'a', 0], &[1, 1, 255, 0]] {
            let _ = (Attributes::new(bytes).headers().count(), Attributes::new(bytes).offset());
        }
    }

    #[test]
    fn headers_belong_to_the_last_record() {
        let mut column = none(2);
        (0..127).for_each(|_| add_to_last(&mut column, "a", b""));
        assert_eq!(Attributes::new(column::value(&column, 0)).headers().count(), 0);
        assert_eq!(Attributes::new(column::value(&column, 1)).headers().count(), 127);
    }
}
