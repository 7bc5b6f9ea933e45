//! Writes a CSV row. A field is quoted if it must be. Tuples and sequences inside a row become further columns.

use serde::ser::{self, Serialize};
use std::fmt;
use std::io::Write;

/// Why a value cannot be written as a row.
#[derive(Debug)]
pub(super) struct WriteError(String);

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WriteError {}

impl ser::Error for WriteError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        WriteError(message.to_string())
    }
}

/// Appends the fields of one row to a buffer.
pub(super) struct RowWriter<'a> {
    to: &'a mut Vec<u8>,
    column: usize,
}

impl<'a> RowWriter<'a> {
    pub(super) fn new(to: &'a mut Vec<u8>) -> Self {
        RowWriter { to, column: 0 }
    }

    fn next_column(&mut self) {
        if self.column > 0 {
            self.to.push(b',');
        }
        self.column += 1;
    }

    /// Writes a field of text.
    pub(super) fn text(&mut self, text: &str) {
        self.next_column();
        if !text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
            self.to.extend_from_slice(text.as_bytes());
            return;
        }
        self.to.push(b'"');
        for byte in text.bytes() {
            if byte == b'"' {
                self.to.push(b'"');
            }
            self.to.push(byte);
        }
        self.to.push(b'"');
    }

    /// Writes a field whose text needs no quotes.
    fn plain(&mut self, value: impl fmt::Display) -> Result<(), WriteError> {
        self.next_column();
        write!(self.to, "{value}").map_err(|error| WriteError(error.to_string()))
    }

    fn no_form<T>(&self, what: &str) -> Result<T, WriteError> {
        Err(WriteError(format!("column {}: a row has no form for {what}", self.column + 1)))
    }
}

macro_rules! plain {
    ($($method:ident $type:ty;)*) => {$(
        fn $method(self, value: $type) -> Result<(), WriteError> {
            self.plain(value)
        }
    )*};
}

impl ser::Serializer for &mut RowWriter<'_> {
    type Ok = ();
    type Error = WriteError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = ser::Impossible<(), WriteError>;
    type SerializeMap = ser::Impossible<(), WriteError>;
    type SerializeStruct = Self;
    type SerializeStructVariant = ser::Impossible<(), WriteError>;

    plain! {
        serialize_bool bool;
        serialize_i8 i8;
        serialize_i16 i16;
        serialize_i32 i32;
        serialize_i64 i64;
        serialize_i128 i128;
        serialize_u8 u8;
        serialize_u16 u16;
        serialize_u32 u32;
        serialize_u64 u64;
        serialize_u128 u128;
        serialize_f32 f32;
        serialize_f64 f64;
    }

    fn serialize_char(self, value: char) -> Result<(), WriteError> {
        self.text(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), WriteError> {
        self.text(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), WriteError> {
        match std::str::from_utf8(value) {
            Ok(text) => self.serialize_str(text),
            Err(_) => self.no_form("bytes that are not UTF-8"),
        }
    }

    fn serialize_none(self) -> Result<(), WriteError> {
        self.serialize_str("")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), WriteError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), WriteError> {
        self.serialize_str("")
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), WriteError> {
        self.serialize_str("")
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), WriteError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), WriteError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<(), WriteError> {
        self.no_form(variant)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, WriteError> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, WriteError> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, WriteError> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, WriteError> {
        self.no_form(variant)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, WriteError> {
        self.no_form("a map")
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, WriteError> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, WriteError> {
        self.no_form(variant)
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident;)*) => {$(
        impl ser::$trait for &mut RowWriter<'_> {
            type Ok = ();
            type Error = WriteError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), WriteError> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), WriteError> {
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
}

impl ser::SerializeStruct for &mut RowWriter<'_> {
    type Ok = ();
    type Error = WriteError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), WriteError> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), WriteError> {
        Ok(())
    }
}
