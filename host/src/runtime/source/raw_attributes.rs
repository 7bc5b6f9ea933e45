//! The attributes that records carry with `keep_raw = true`: their original bytes, and where they are in the input.
//!
//! They pass exchanges, filters and selections with the record, so that a dead letter has them wherever the record fails. The encoding
//! is that of the contract (`wit/types.wit`); a function sees these attributes, too.

use crate::connector::RecordLocation;
use crate::model::{Column, NO_ATTRIBUTES};

/// Returns the attributes of records: those that they have, if any, and then the original bytes. `locations` has one entry for each of
/// `records`, or none.
pub(super) fn raw_attributes<'a>(
    source: &str,
    own: Option<&Column>,
    records: impl Iterator<Item = &'a [u8]>,
    locations: &[Option<RecordLocation>],
) -> Column {
    let mut column = Column::new();
    for (index, record) in records.enumerate() {
        let location = locations.get(index).and_then(Option::as_ref);
        column.push_with(|to| {
            let line = location.and_then(|location| location.line);
            let count = 2 + location.map_or(0, |_| 2) + usize::from(line.is_some());
            let (own_count, own) = counted(own.map_or(NO_ATTRIBUTES, |own| own.value(index)));
            length(to, own_count + count);
            to.extend_from_slice(own);
            attribute(to, ":raw", record);
            attribute(to, ":source", source.as_bytes());
            if let Some(RecordLocation { file, byte, .. }) = location {
                attribute(to, ":file", file.as_bytes());
                attribute(to, ":byte", byte.to_string().as_bytes());
            }
            if let Some(line) = line {
                attribute(to, ":line", line.to_string().as_bytes());
            }
        });
    }
    column
}

fn attribute(to: &mut Vec<u8>, name: &str, value: &[u8]) {
    for text in [name.as_bytes(), value] {
        length(to, text.len());
        to.extend_from_slice(text);
    }
}

/// Returns the number of encoded attributes, and their bytes.
fn counted(attributes: &[u8]) -> (usize, &[u8]) {
    let mut count = 0;
    for (place, byte) in attributes.iter().take(4).enumerate() {
        count |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return (count, &attributes[place + 1..]);
        }
    }
    (0, &[])
}

/// Writes a length in LEB128.
fn length(to: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        to.push((length as u8 & 0x7f) | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_the_encoding_of_the_contract() {
        let location = RecordLocation { file: "f".into(), byte: 10, line: Some(2) };
        let long = vec![b'x'; 200];
        let column = raw_attributes("in", None, [&b"a,b"[..], &long].into_iter(), &[Some(location), None]);
        let first = b"\x05\x04:raw\x03a,b\x07:source\x02in\x05:file\x01f\x05:byte\x0210\x05:line\x012";
        assert_eq!(column.value(0), first);
        assert_eq!(&column.value(1)[..9], b"\x02\x04:raw\xc8\x01x");
        assert!(column.value(1).ends_with(b"\x07:source\x02in"));
    }

    #[test]
    fn records_keep_their_own_attributes() {
        let own: Column = [&b"\x01\x01k\x01v"[..], b"\x00"].into_iter().collect();
        let column = raw_attributes("in", Some(&own), [&b"a"[..], b"b"].into_iter(), &[]);
        assert_eq!(column.value(0), b"\x03\x01k\x01v\x04:raw\x01a\x07:source\x02in");
        assert_eq!(column.value(1), b"\x02\x04:raw\x01b\x07:source\x02in");
        assert_eq!(counted(b"\x80\x01rest"), (128, &b"rest"[..]));
    }
}
