//! Keys of maps as JSON and back. Their bytes sort like the keys; the SDK describes their type: `ordered:(u64,string)`.
//!
//! Integers are big endian, signed ones with the sign bit flipped. `bool` is 0 or 1, `char` is a `u32`, and text and bytes are
//! unchanged. A tuple is the concatenation of its elements; in text and bytes within a tuple each 0 is written as 0 255, and
//! 0 0 marks their end. Invariant: descriptions and bytes are untrusted; what does not decode is shown in hex.

use serde_json::Value;

use super::bytes_json::{bytes_from, show_bytes, show_text};

/// Upper bound on nesting. The SDK writes nothing deeper.
const DEPTH_MAX: u32 = 16;

/// The type of the keys of a map.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum MapKeyShape {
    Integer { signed: bool, bytes: usize },
    Bool,
    Char,
    String,
    Bytes,
    Tuple(Vec<MapKeyShape>),
}

impl MapKeyShape {
    /// Parses a state's description of its map keys. Returns `None` if it is unknown; then the keys are opaque bytes.
    pub fn parse(map_key: &str) -> Option<MapKeyShape> {
        let mut rest = map_key.strip_prefix("ordered:")?;
        let shape = parse_part(&mut rest, DEPTH_MAX)?;
        rest.is_empty().then_some(shape)
    }

    /// Returns the key as JSON. `None` if the bytes are not a key of this type.
    pub fn decode(&self, bytes: &[u8]) -> Option<Value> {
        match self {
            MapKeyShape::String => show_text(bytes),
            MapKeyShape::Bytes => Some(show_bytes(bytes)),
            shape => {
                let mut rest = bytes;
                let value = shape.decode_part(&mut rest)?;
                rest.is_empty().then_some(value)
            }
        }
    }

    fn decode_part(&self, rest: &mut &[u8]) -> Option<Value> {
        match self {
            MapKeyShape::Integer { signed, bytes } => {
                let (number, after) = rest.split_at_checked(*bytes)?;
                *rest = after;
                let number = number.iter().fold(0, |number, &byte| (number << 8) | u128::from(byte));
                let bits = *bytes as u32 * 8;
                Some(match signed {
                    false => u64::try_from(number).map_or_else(|_| number.to_string().into(), Value::from),
                    true => {
                        // Flips the sign bit back and extends it to 128 bits.
                        let flipped = (number ^ (1 << (bits - 1))) << (128 - bits);
                        let number = flipped as i128 >> (128 - bits);
                        i64::try_from(number).map_or_else(|_| number.to_string().into(), Value::from)
                    }
                })
            }
            MapKeyShape::Bool => {
                let (&byte, after) = rest.split_first()?;
                *rest = after;
                (byte < 2).then_some(Value::Bool(byte == 1))
            }
            MapKeyShape::Char => {
                let (code, after) = rest.split_first_chunk::<4>()?;
                *rest = after;
                Some(char::from_u32(u32::from_be_bytes(*code))?.to_string().into())
            }
            MapKeyShape::String => show_text(&take_until_end_mark(rest)?),
            MapKeyShape::Bytes => Some(show_bytes(&take_until_end_mark(rest)?)),
            MapKeyShape::Tuple(parts) => {
                let values = parts.iter().map(|part| part.decode_part(rest)).collect::<Option<Vec<_>>>()?;
                Some(Value::Array(values))
            }
        }
    }

    /// Returns the bytes of a key. The error says what was expected.
    pub fn encode(&self, key: &Value) -> Result<Vec<u8>, String> {
        match self {
            MapKeyShape::String | MapKeyShape::Bytes => bytes_from(key).ok_or_else(|| self.expected()),
            shape => {
                let mut bytes = Vec::new();
                shape.encode_part(key, &mut bytes)?;
                Ok(bytes)
            }
        }
    }

    fn encode_part(&self, key: &Value, out: &mut Vec<u8>) -> Result<(), String> {
        let mismatch = || self.expected();
        match self {
            MapKeyShape::Integer { signed, bytes } => {
                let bits = *bytes as u32 * 8;
                let unused = 128 - bits;
                let text = match key {
                    Value::Number(number) => number.to_string(),
                    Value::String(text) if bits == 128 => text.clone(),
                    _ => return Err(mismatch()),
                };
                let number = if *signed {
                    let number: i128 = text.parse().map_err(|_| mismatch())?;
                    let fits = (number << unused) >> unused == number;
                    fits.then_some(number as u128 ^ (1 << (bits - 1)))
                } else {
                    let number: u128 = text.parse().map_err(|_| mismatch())?;
                    ((number << unused) >> unused == number).then_some(number)
                };
                out.extend((number.ok_or_else(mismatch)? << unused).to_be_bytes().iter().take(*bytes));
            }
            MapKeyShape::Bool => out.push(key.as_bool().ok_or_else(mismatch)?.into()),
            MapKeyShape::Char => {
                let mut chars = key.as_str().ok_or_else(mismatch)?.chars();
                let (Some(char), None) = (chars.next(), chars.next()) else { return Err(mismatch()) };
                out.extend_from_slice(&u32::from(char).to_be_bytes());
            }
            MapKeyShape::String | MapKeyShape::Bytes => {
                for byte in bytes_from(key).ok_or_else(mismatch)? {
                    out.push(byte);
                    if byte == 0 {
                        out.push(255);
                    }
                }
                out.extend_from_slice(&[0, 0]);
            }
            MapKeyShape::Tuple(parts) => {
                let values = key.as_array().filter(|values| values.len() == parts.len()).ok_or_else(mismatch)?;
                parts.iter().zip(values).try_for_each(|(part, value)| part.encode_part(value, out))?;
            }
        }
        Ok(())
    }

    fn expected(&self) -> String {
        match self {
            MapKeyShape::Integer { signed: false, bytes } => {
                format!("expected an unsigned integer of {} bits", bytes * 8)
            }
            MapKeyShape::Integer { signed: true, bytes } => format!("expected an integer of {} bits", bytes * 8),
            MapKeyShape::Bool => "expected true or false".into(),
            MapKeyShape::Char => "expected a string of one character".into(),
            MapKeyShape::String => "expected a string".into(),
            MapKeyShape::Bytes => "expected a string or {\"hex\": ...}".into(),
            MapKeyShape::Tuple(parts) => format!("expected a list of {} elements", parts.len()),
        }
    }
}

/// Takes text or bytes within a tuple, up to their end mark.
fn take_until_end_mark(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        if byte == 0 {
            let (&mark, after) = rest.split_first()?;
            *rest = after;
            match mark {
                0 => return Some(bytes),
                255 => {}
                _ => return None,
            }
        }
        bytes.push(byte);
    }
}

fn parse_part(rest: &mut &str, depth: u32) -> Option<MapKeyShape> {
    let depth = depth.checked_sub(1)?;
    if let Some(after) = rest.strip_prefix('(') {
        *rest = after;
        let mut parts = Vec::new();
        loop {
            parts.push(parse_part(rest, depth)?);
            let end = rest.chars().next()?;
            *rest = rest.get(1..)?;
            match end {
                ')' => return Some(MapKeyShape::Tuple(parts)),
                ',' => {}
                _ => return None,
            }
        }
    }
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let (word, after) = rest.split_at_checked(end)?;
    *rest = after;
    let integer = |signed, bytes| Some(MapKeyShape::Integer { signed, bytes });
    match word {
        "u8" => integer(false, 1),
        "u16" => integer(false, 2),
        "u32" => integer(false, 4),
        "u64" => integer(false, 8),
        "u128" => integer(false, 16),
        "i8" => integer(true, 1),
        "i16" => integer(true, 2),
        "i32" => integer(true, 4),
        "i64" => integer(true, 8),
        "i128" => integer(true, 16),
        "bool" => Some(MapKeyShape::Bool),
        "char" => Some(MapKeyShape::Char),
        "string" => Some(MapKeyShape::String),
        "bytes" => Some(MapKeyShape::Bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shape(name: &str) -> MapKeyShape {
        MapKeyShape::parse(&format!("ordered:{name}")).unwrap()
    }

    #[test]
    fn keys_are_encoded_as_the_sdk_encodes_them() {
        for (name, key, bytes) in [
            ("u32", json!(1), &[0, 0, 0, 1][..]),
            ("i16", json!(-1), &[127, 255]),
            ("i8", json!(127), &[255]),
            ("u128", json!("340282366920938463463374607431768211455"), &[255; 16]),
            ("i128", json!("-170141183460469231731687303715884105728"), &[0; 16]),
            ("char", json!("a"), &[0, 0, 0, 97]),
            ("string", json!("a\t"), b"a\t"),
            ("bytes", json!({"hex": "6100"}), b"a\0"),
            ("(bytes,bool)", json!([{"hex": "6100"}, true]), &[97, 0, 255, 0, 0, 1]),
            ("((u8,string),i64)", json!([[1, ""], 0]), &[1, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(shape(name).encode(&key).as_deref(), Ok(bytes), "{name}");
            assert_eq!(shape(name).decode(bytes), Some(key), "{name}");
        }
    }

    #[test]
    fn values_of_another_type_are_rejected() {
        for (name, key) in
            [("u8", json!(256)), ("u8", json!(-1)), ("i8", json!(128)), ("u64", json!("1")), ("bool", json!(1))]
        {
            assert!(shape(name).encode(&key).unwrap_err().starts_with("expected"), "{name} {key}");
        }
        assert_eq!(shape("char").decode(&[0, 0, 0xd8, 0]), None);
        assert_eq!(shape("string").decode(&[255]), None);
        for name in
            ["", "u64", "ordered:", "ordered:uuid", "ordered:(u64", "ordered:()", "ordered:u64,", "ordered:(u8ä)"]
        {
            assert_eq!(MapKeyShape::parse(name), None, "{name}");
        }
        assert_eq!(MapKeyShape::parse(&format!("ordered:{}", "(".repeat(100_000))), None);
    }

    proptest! {
        #[test]
        fn a_decoded_key_encodes_to_the_same_bytes(name in "(u8|i32|u64|bool|char|\\(string,i16\\)|\\(u8,\\(bytes\\)\\))", bytes: Vec<u8>) {
            let shape = shape(&name);
            if let Some(key) = shape.decode(&bytes) {
                prop_assert_eq!(shape.encode(&key), Ok(bytes));
            }
        }
    }
}
