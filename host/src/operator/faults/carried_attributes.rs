//! What the attributes of a record say about where it came from: its position in the source, and its original bytes.
//!
//! A source sets these attributes: those of messages always, and those of files with `keep_raw`. The attributes may have passed
//! through a function, so they are untrusted.

use std::collections::BTreeMap;

use serde::Serialize;

/// Name of the attribute with the original bytes of a record.
const RAW: &str = ":raw";

/// The attributes that a dead letter shows.
#[derive(Serialize)]
pub(super) struct CarriedAttributes<'a> {
    /// The host's other attributes, by their names without the `:`, such as `file` and `line`, or `partition` and `offset`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    source: BTreeMap<&'a str, &'a str>,
    /// The original bytes if they are UTF-8, else `raw_hex`.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_hex: Option<String>,
}

impl<'a> CarriedAttributes<'a> {
    /// Reads attributes in the encoding of the contract. Ends at the first that is malformed.
    pub(super) fn new(attributes: &'a [u8]) -> CarriedAttributes<'a> {
        let mut carried = CarriedAttributes { source: BTreeMap::new(), raw: None, raw_hex: None };
        let mut rest = attributes;
        let count = length(&mut rest).unwrap_or(0);
        for _ in 0..count {
            let (Some(name), Some(value)) = (text(&mut rest), text(&mut rest)) else { break };
            match (std::str::from_utf8(name), std::str::from_utf8(value)) {
                (Ok(RAW), Ok(value)) => carried.raw = Some(value),
                (Ok(RAW), Err(_)) => carried.raw_hex = Some(hex::encode(value)),
                (Ok(name), Ok(value)) => {
                    if let Some(name) = name.strip_prefix(':') {
                        carried.source.insert(name, value);
                    }
                }
                (_, _) => {}
            }
        }
        carried
    }
}

/// Reads a length in LEB128.
fn length(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

/// Reads a length and as many bytes.
fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = length(bytes)?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hosts_attributes_are_shown_and_others_are_not() {
        let bytes = b"\x03\x07:offset\x019\x01k\x01v\x04:raw\x01\xff";
        let carried = CarriedAttributes::new(bytes);
        assert_eq!(carried.source.into_iter().collect::<Vec<_>>(), [("offset", "9")]);
        assert_eq!((carried.raw, carried.raw_hex.as_deref()), (None, Some("ff")));
    }

    proptest! {
        #[test]
        fn malformed_attributes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            CarriedAttributes::new(&bytes);
        }
    }
}
