//! Reads a CSV row: its fields, and a serde deserializer that returns them in column order.
//!
//! A field without quotes is borrowed. Every error names its column, counted from 1.

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Why a row could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadError {
    /// Counted from 1; 0 for the row as a whole.
    column: usize,
    message: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            0 => f.write_str(&self.message),
            column => write!(f, "column {column}: {}", self.message),
        }
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ReadError { column: 0, message: message.to_string() }
    }
}

/// Splits a row into its fields.
pub(super) struct Fields<'a> {
    /// The text after the last field that was read, without the comma. `None` after the last field of the row.
    rest: Option<&'a [u8]>,
    /// The number of the field that was read last.
    column: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(row: &'a [u8]) -> Self {
        let row = row.strip_suffix(b"\n").unwrap_or(row);
        Fields { rest: Some(row.strip_suffix(b"\r").unwrap_or(row)), column: 0 }
    }

    fn fail(&self, message: impl Into<String>) -> ReadError {
        ReadError { column: self.column, message: message.into() }
    }

    fn text(&self, field: &'a [u8]) -> Result<&'a str, ReadError> {
        std::str::from_utf8(field).map_err(|error| self.fail(format!("not UTF-8 at its byte {}", error.valid_up_to())))
    }

    /// Reads a field that begins with a quote; `rest` starts after that quote.
    fn quoted(&mut self, mut rest: &'a [u8]) -> Result<Cow<'a, str>, ReadError> {
        let mut unquoted: Option<String> = None;
        loop {
            let Some(quote) = rest.iter().position(|&byte| byte == b'"') else {
                return Err(self.fail("a quote is not closed"));
            };
            let part = self.text(&rest[..quote])?;
            let behind = &rest[quote + 1..];
            match behind.first() {
                Some(b'"') => {
                    let text = unquoted.get_or_insert_default();
                    text.push_str(part);
                    text.push('"');
                    rest = &behind[1..];
                }
                Some(b',') | None => {
                    self.rest = if behind.is_empty() { None } else { Some(&behind[1..]) };
                    return Ok(match unquoted {
                        None => Cow::Borrowed(part),
                        Some(text) => Cow::Owned(text + part),
                    });
                }
                Some(_) => return Err(self.fail("text behind a closing quote")),
            }
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Cow<'a, str>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        self.column += 1;
        if let [b'"', rest @ ..] = rest {
            return Some(self.quoted(rest));
        }
        let field = match rest.iter().position(|&byte| byte == b',') {
            Some(comma) => {
                self.rest = Some(&rest[comma + 1..]);
                &rest[..comma]
            }
            None => rest,
        };
        Some(self.text(field).map(Cow::Borrowed))
    }
}

/// Deserializes a row as a struct, a tuple or a sequence.
pub(super) struct RowReader<'a> {
    fields: Fields<'a>,
}

impl<'a> RowReader<'a> {
    pub(super) fn new(row: &'a [u8]) -> Self {
        RowReader { fields: Fields::new(row) }
    }

    /// Returns the number of columns that were not read. A malformed column counts as one and ends the count.
    pub(super) fn columns_left(&mut self) -> usize {
        self.fields.by_ref().count()
    }
}

impl<'de> de::Deserializer<'de> for &mut RowReader<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_seq(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> de::SeqAccess<'de> for &mut RowReader<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some(field) = self.fields.next() else { return Ok(None) };
        let column = self.fields.column;
        seed.deserialize(Field(field?)).map(Some).map_err(|error| ReadError { column, ..error })
    }
}

/// Deserializes one field.
struct Field<'a>(Cow<'a, str>);

macro_rules! parsed {
    ($($method:ident $visit:ident $type:ty, $what:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            match self.0.parse::<$type>() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(de::Error::custom(format_args!(concat!("`{}` is not ", $what), self.0))),
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Field<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    parsed! {
        deserialize_bool visit_bool bool, "true or false";
        deserialize_i8 visit_i8 i8, "an integer of 8 bits";
        deserialize_i16 visit_i16 i16, "an integer of 16 bits";
        deserialize_i32 visit_i32 i32, "an integer of 32 bits";
        deserialize_i64 visit_i64 i64, "an integer of 64 bits";
        deserialize_i128 visit_i128 i128, "an integer of 128 bits";
        deserialize_u8 visit_u8 u8, "an unsigned integer of 8 bits";
        deserialize_u16 visit_u16 u16, "an unsigned integer of 16 bits";
        deserialize_u32 visit_u32 u32, "an unsigned integer of 32 bits";
        deserialize_u64 visit_u64 u64, "an unsigned integer of 64 bits";
        deserialize_u128 visit_u128 u128, "an unsigned integer of 128 bits";
        deserialize_f32 visit_f32 f32, "a number";
        deserialize_f64 visit_f64 f64, "a number";
        deserialize_char visit_char char, "a single character";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_enum(self.0.as_ref().into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        str string bytes byte_buf unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
