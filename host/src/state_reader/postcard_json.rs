//! Values in postcard as JSON and back, if their [`ValueShape`] is known.
//!
//! The JSON is what serde writes for the type, with three exceptions. A map whose keys are not strings is a list of pairs. A
//! tuple of one element is that element. A number that JSON cannot represent exactly is a string.
//!
//! Invariant: bytes, shapes and JSON are untrusted. A shape may describe many values that take no bytes
//! (`[();1000000000]`), or repeat long names, so the number of values and the bytes of names are bounded. A value beyond
//! the bounds is shown in hex.

use serde_json::{Map, Number, Value};

use super::value_shape::ValueShape;

/// Upper bound on the values within a value that take no bytes of their own, such as structs: one for each byte, and a few
/// more.
const VALUES_BASE: usize = 4096;

/// Upper bound on the values within a value. JSON takes up to 700 bytes of memory for each.
const VALUES_MAX: usize = 1 << 17;

/// Upper bound on the bytes of all names of fields and variants in a value.
const NAME_BYTES_MAX: usize = 16 << 20;

/// Returns the value as JSON. `None` if the bytes are not exactly one value of this shape.
pub(super) fn decode(shape: &ValueShape, bytes: &[u8]) -> Option<Value> {
    let values_left = bytes.len().saturating_add(VALUES_BASE).min(VALUES_MAX);
    let mut reader = PostcardReader { rest: bytes, values_left, name_bytes_left: NAME_BYTES_MAX };
    let value = reader.value(shape)?;
    reader.rest.is_empty().then_some(value)
}

/// Returns the bytes of a value. The error says what was expected, and where in the value.
pub(super) fn encode(shape: &ValueShape, value: &Value) -> Result<Vec<u8>, String> {
    let mut writer = PostcardWriter { bytes: Vec::new() };
    writer.value(shape, value).map_err(|ShapeMismatch { at, expected }| match at.is_empty() {
        true => format!("expected {expected}"),
        false => format!("at `{at}`: expected {expected}"),
    })?;
    Ok(writer.bytes)
}

struct PostcardReader<'a> {
    rest: &'a [u8],
    values_left: usize,
    name_bytes_left: usize,
}

impl<'a> PostcardReader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*array)
    }

    /// Reads a number of up to `bits` bits: seven in each byte, the lowest first.
    fn varint(&mut self, bits: u32) -> Option<u128> {
        let mut number = 0;
        for shift in (0..bits).step_by(7) {
            let byte = self.byte()?;
            let part = u128::from(byte & 0x7f);
            if shift + 7 > bits && part >> (bits - shift) != 0 {
                return None;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.varint(64)?).ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }

    /// Copies the name of a field or variant.
    fn name(&mut self, name: &str) -> Option<String> {
        self.name_bytes_left = self.name_bytes_left.checked_sub(name.len())?;
        Some(name.to_owned())
    }

    fn value(&mut self, shape: &ValueShape) -> Option<Value> {
        self.values_left = self.values_left.checked_sub(1)?;
        Some(match shape {
            ValueShape::Bool => match self.byte()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return None,
            },
            ValueShape::Integer { signed: false, bits: 8 } => self.byte()?.into(),
            ValueShape::Integer { signed: true, bits: 8 } => i8::from_le_bytes([self.byte()?]).into(),
            ValueShape::Integer { signed: false, bits } => unsigned(self.varint(*bits)?),
            ValueShape::Integer { signed: true, bits } => signed(self.varint(*bits)?),
            ValueShape::F32 => float32(f32::from_le_bytes(self.array()?)),
            ValueShape::F64 => float64(f64::from_le_bytes(self.array()?)),
            ValueShape::Char => {
                let text = self.text()?;
                let mut chars = text.chars();
                let _one = chars.next()?;
                chars.next().is_none().then(|| text.into())?
            }
            ValueShape::String => self.text()?.into(),
            ValueShape::Option(inner) => match self.byte()? {
                0 => Value::Null,
                1 => self.value(inner)?,
                _ => return None,
            },
            ValueShape::List(element) => {
                let length = self.length()?;
                self.repeated(element, length)?
            }
            ValueShape::Array(element, length) => self.repeated(element, *length)?,
            ValueShape::Map(key, value) => self.map(key, value)?,
            ValueShape::Tuple(parts) => self.tuple(parts)?,
            ValueShape::Struct(fields) => {
                let field = |(name, shape): &(String, ValueShape)| Some((self.name(name)?, self.value(shape)?));
                Value::Object(fields.iter().map(field).collect::<Option<_>>()?)
            }
            ValueShape::Enum(variants) => {
                let (name, fields) = variants.get(usize::try_from(self.varint(32)?).ok()?)?;
                match fields {
                    None => self.name(name)?.into(),
                    Some(fields) => Value::Object(Map::from_iter([(self.name(name)?, self.value(fields)?)])),
                }
            }
        })
    }

    fn repeated(&mut self, element: &ValueShape, length: usize) -> Option<Value> {
        let mut elements = Vec::new();
        for _ in 0..length {
            elements.push(self.value(element)?);
        }
        Some(Value::Array(elements))
    }

    fn tuple(&mut self, parts: &[ValueShape]) -> Option<Value> {
        match parts {
            [] => Some(Value::Null),
            [one] => self.value(one),
            parts => Some(Value::Array(parts.iter().map(|part| self.value(part)).collect::<Option<_>>()?)),
        }
    }

    fn map(&mut self, key: &ValueShape, value: &ValueShape) -> Option<Value> {
        let length = self.length()?;
        if *key == ValueShape::String {
            let mut entries = Map::new();
            for _ in 0..length {
                let key = self.text()?.to_owned();
                entries.insert(key, self.value(value)?);
            }
            return Some(Value::Object(entries));
        }
        let mut entries = Vec::new();
        for _ in 0..length {
            entries.push(Value::Array(vec![self.value(key)?, self.value(value)?]));
        }
        Some(Value::Array(entries))
    }
}

pub(super) fn unsigned(number: u128) -> Value {
    u64::try_from(number).map_or_else(|_| number.to_string().into(), Value::from)
}

/// Decodes a zigzag number: 0, -1, 1, -2, ...
pub(super) fn signed(zigzag: u128) -> Value {
    let number = (zigzag >> 1) as i128 ^ -((zigzag & 1) as i128);
    i64::try_from(number).map_or_else(|_| number.to_string().into(), Value::from)
}

/// Returns a JSON number if parsing it gives the same bits again, otherwise text, which Rust parses exactly.
pub(super) fn float64(number: f64) -> Value {
    let exact = Number::from_f64(number).filter(|json| {
        let read = serde_json::from_str::<f64>(&json.to_string());
        read.is_ok_and(|read| read.to_bits() == number.to_bits())
    });
    exact.map_or_else(|| number.to_string().into(), Value::Number)
}

/// Uses the shortest digits of the `f32`, not those of the nearest `f64`.
pub(super) fn float32(number: f32) -> Value {
    match number.to_string().parse::<f64>() {
        Ok(wide) if wide as f32 == number => float64(wide),
        _ => number.to_string().into(),
    }
}

/// A value does not have its shape.
struct ShapeMismatch {
    /// Path within the value.
    at: String,
    expected: String,
}

impl ShapeMismatch {
    fn inside(mut self, part: impl std::fmt::Display) -> ShapeMismatch {
        self.at = match self.at.is_empty() {
            true => part.to_string(),
            false => format!("{part}.{}", self.at),
        };
        self
    }
}

fn expected(what: impl Into<String>) -> ShapeMismatch {
    ShapeMismatch { at: String::new(), expected: what.into() }
}

struct PostcardWriter {
    bytes: Vec<u8>,
}

impl PostcardWriter {
    fn varint(&mut self, mut number: u128) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn text(&mut self, text: &str) {
        self.varint(text.len() as u128);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn value(&mut self, shape: &ValueShape, value: &Value) -> Result<(), ShapeMismatch> {
        match shape {
            ValueShape::Bool => self.bytes.push(value.as_bool().ok_or_else(|| expected("true or false"))?.into()),
            ValueShape::Integer { signed, bits } => self.integer(*signed, *bits, value)?,
            ValueShape::F32 => {
                let number = match value {
                    Value::String(text) => text.parse().ok(),
                    value => value.as_f64().map(|number| number as f32),
                };
                self.bytes.extend_from_slice(&number.ok_or_else(|| expected("a number"))?.to_le_bytes());
            }
            ValueShape::F64 => {
                let number: Option<f64> = match value {
                    Value::String(text) => text.parse().ok(),
                    value => value.as_f64(),
                };
                self.bytes.extend_from_slice(&number.ok_or_else(|| expected("a number"))?.to_le_bytes());
            }
            ValueShape::Char => {
                let text = value.as_str().filter(|text| text.chars().count() == 1);
                self.text(text.ok_or_else(|| expected("a string of one character"))?);
            }
            ValueShape::String => self.text(value.as_str().ok_or_else(|| expected("a string"))?),
            ValueShape::Option(_) if value.is_null() => self.bytes.push(0),
            ValueShape::Option(inner) => {
                self.bytes.push(1);
                self.value(inner, value)?;
            }
            ValueShape::List(element) => {
                let elements = value.as_array().ok_or_else(|| expected("a list"))?;
                self.varint(elements.len() as u128);
                self.each(elements.iter().map(|value| (&**element, value)))?;
            }
            ValueShape::Array(element, length) => {
                let elements = value.as_array().filter(|elements| elements.len() == *length);
                let elements = elements.ok_or_else(|| expected(format!("a list of {length} elements")))?;
                self.each(elements.iter().map(|value| (&**element, value)))?;
            }
            ValueShape::Map(key, of) => self.map(key, of, value)?,
            ValueShape::Tuple(parts) => self.tuple(parts, value)?,
            ValueShape::Struct(fields) => self.fields(fields, value)?,
            ValueShape::Enum(variants) => self.variant(variants, value)?,
        }
        Ok(())
    }

    fn integer(&mut self, signed: bool, bits: u32, value: &Value) -> Result<(), ShapeMismatch> {
        let mismatch = || expected(format!("{} integer of {bits} bits", if signed { "an" } else { "an unsigned" }));
        // Only integers that JSON readers may round are text.
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) if bits == 128 => text.clone(),
            _ => return Err(mismatch()),
        };
        let unused = 128 - bits;
        if signed {
            let number: i128 = text.parse().map_err(|_| mismatch())?;
            if (number << unused) >> unused != number {
                return Err(mismatch());
            }
            match bits {
                8 => self.bytes.push(number as u8),
                _ => self.varint(((number << 1) ^ (number >> 127)) as u128),
            }
        } else {
            let number: u128 = text.parse().map_err(|_| mismatch())?;
            if (number << unused) >> unused != number {
                return Err(mismatch());
            }
            match bits {
                8 => self.bytes.push(number as u8),
                _ => self.varint(number),
            }
        }
        Ok(())
    }

    fn each<'v>(&mut self, mut parts: impl Iterator<Item = (&'v ValueShape, &'v Value)>) -> Result<(), ShapeMismatch> {
        let mut index = 0_usize;
        parts.try_for_each(|(shape, value)| {
            index += 1;
            self.value(shape, value).map_err(|mismatch| mismatch.inside(index - 1))
        })
    }

    fn tuple(&mut self, parts: &[ValueShape], value: &Value) -> Result<(), ShapeMismatch> {
        match parts {
            [] if value.is_null() => Ok(()),
            [] => Err(expected("null")),
            [one] => self.value(one, value),
            parts => {
                let values = value.as_array().filter(|values| values.len() == parts.len());
                let values = values.ok_or_else(|| expected(format!("a list of {} elements", parts.len())))?;
                self.each(parts.iter().zip(values))
            }
        }
    }

    fn map(&mut self, key: &ValueShape, of: &ValueShape, value: &Value) -> Result<(), ShapeMismatch> {
        if *key == ValueShape::String {
            let entries = value.as_object().ok_or_else(|| expected("an object"))?;
            self.varint(entries.len() as u128);
            for (key, value) in entries {
                self.text(key);
                self.value(of, value).map_err(|mismatch| mismatch.inside(key))?;
            }
            return Ok(());
        }
        let entries = value.as_array().ok_or_else(|| expected("a list of pairs"))?;
        self.varint(entries.len() as u128);
        for (index, entry) in entries.iter().enumerate() {
            let pair = entry.as_array().filter(|pair| pair.len() == 2);
            let pair = pair.ok_or_else(|| expected("a pair").inside(index))?;
            self.each([key, of].into_iter().zip(pair)).map_err(|mismatch| mismatch.inside(index))?;
        }
        Ok(())
    }

    fn fields(&mut self, fields: &[(String, ValueShape)], value: &Value) -> Result<(), ShapeMismatch> {
        let object = value.as_object().ok_or_else(|| expected("an object"))?;
        for (name, shape) in fields {
            let value = object.get(name).ok_or_else(|| expected("a value, but it is missing").inside(name))?;
            self.value(shape, value).map_err(|mismatch| mismatch.inside(name))?;
        }
        match object.keys().find(|name| fields.iter().all(|(known, _)| known != *name)) {
            Some(stray) => Err(expected("no field of this name").inside(stray)),
            None => Ok(()),
        }
    }

    fn variant(&mut self, variants: &[(String, Option<ValueShape>)], value: &Value) -> Result<(), ShapeMismatch> {
        let (name, content) = match value {
            Value::String(name) => (Some(name), None),
            Value::Object(object) if object.len() == 1 => (object.keys().next(), object.values().next()),
            _ => (None, None),
        };
        for (index, (variant, fields)) in variants.iter().enumerate() {
            if name != Some(variant) {
                continue;
            }
            match (fields, content) {
                (None, None) => {
                    self.varint(index as u128);
                    return Ok(());
                }
                (Some(fields), Some(content)) => {
                    self.varint(index as u128);
                    return self.value(fields, content).map_err(|mismatch| mismatch.inside(variant));
                }
                (None, Some(_)) => return Err(expected(format!("\"{variant}\" without fields"))),
                (Some(_), None) => return Err(expected(format!("{{\"{variant}\": ...}}"))),
            }
        }
        let names: Vec<&str> = variants.iter().map(|(name, _)| &name[..]).collect();
        Err(expected(format!("one of {}", names.join(", "))))
    }
}
