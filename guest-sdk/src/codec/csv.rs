//! One CSV row (RFC 4180, with commas and double quotes, without a header), as a struct or as plain fields.

use super::csv_read::{Fields, RowReader};
use super::csv_write::RowWriter;
use super::{Codec, CodecError, Decode, Encode};
use serde::{Serialize, de::DeserializeOwned};
use std::borrow::Cow;
use std::marker::PhantomData;

/// A CSV row as a struct or tuple, by the order of its columns; names do not matter. The row must have as many columns as `T` has
/// fields. An empty column is `None` for an `Option`. A line end after the row is ignored.
pub struct Csv<T>(PhantomData<T>);

impl<T: 'static> Codec for Csv<T> {
    const NAME: &'static str = "csv";
    type Owned = T;
}

impl<T: DeserializeOwned + 'static> Decode for Csv<T> {
    type Value<'a> = T;

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        let mut reader = RowReader::new(bytes);
        let value = T::deserialize(&mut reader).map_err(|error| CodecError::new("csv", error.to_string()))?;
        match reader.columns_left() {
            0 => Ok(value),
            more => Err(CodecError::new("csv", format!("{more} more columns than the type has fields"))),
        }
    }

    fn decode_owned(bytes: &[u8]) -> Result<T, CodecError> {
        Self::decode(bytes)
    }
}

impl<T: Serialize + 'static> Encode<&T> for Csv<T> {
    fn encode(value: &T, to: &mut Vec<u8>) -> Result<(), CodecError> {
        value.serialize(&mut RowWriter::new(to)).map_err(|error| CodecError::new("csv", error.to_string()))
    }
}

impl<T: Serialize + 'static> Encode<T> for Csv<T> {
    fn encode(value: T, to: &mut Vec<u8>) -> Result<(), CodecError> {
        Self::encode(&value, to)
    }
}

/// A CSV row as plain fields. The function reads a [`Row`], and emits anything that iterates over `AsRef<str>`, such as
/// `[carrier, origin]` or a `Vec<String>`.
pub enum CsvRow {}

impl Codec for CsvRow {
    const NAME: &'static str = "csv";
    type Owned = Vec<String>;
}

impl Decode for CsvRow {
    type Value<'a> = Row<'a>;

    fn decode(bytes: &[u8]) -> Result<Row<'_>, CodecError> {
        let fields: Result<Vec<_>, _> = Fields::new(bytes).collect();
        Ok(Row { fields: fields.map_err(|error| CodecError::new("csv", error.to_string()))? })
    }

    fn decode_owned(bytes: &[u8]) -> Result<Vec<String>, CodecError> {
        Ok(Self::decode(bytes)?.fields.into_iter().map(Cow::into_owned).collect())
    }
}

impl<V> Encode<V> for CsvRow
where
    V: IntoIterator,
    V::Item: AsRef<str>,
{
    fn encode(value: V, to: &mut Vec<u8>) -> Result<(), CodecError> {
        let mut writer = RowWriter::new(to);
        for field in value {
            writer.text(field.as_ref());
        }
        Ok(())
    }
}

/// The fields of one CSV row, without quotes. They borrow from the record if possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<'a> {
    fields: Vec<Cow<'a, str>>,
}

impl Row<'_> {
    /// Returns a column, counted from 0, or `None` after the last one.
    pub fn get(&self, column: usize) -> Option<&str> {
        self.fields.get(column).map(AsRef::as_ref)
    }

    /// Returns the number of columns.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Returns whether there are no columns. A row that was read has at least one: an empty line is a row with one empty column.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Iterates over the columns in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(AsRef::as_ref)
    }
}
