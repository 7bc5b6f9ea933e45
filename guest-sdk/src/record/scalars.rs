//! Fields without parts: numbers, flags, text, bytes and times.

use super::{Date, JsonText, RecordField, RowDefect, RowReader, RowType};
use crate::{Timestamp, column};

/// Appends a LEB128 number.
#[inline(always)]
pub(super) fn write_natural(value: u64, to: &mut Vec<u8>) {
    if value < 0x80 {
        to.push(value as u8);
    } else if value < 0x4000 {
        to.extend_from_slice(&[value as u8 | 0x80, (value >> 7) as u8]);
    } else {
        write_long_natural(value, to);
    }
}

#[inline(never)]
fn write_long_natural(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Appends bytes with their length in front.
#[inline(always)]
pub(super) fn write_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    write_natural(bytes.len() as u64, to);
    column::append(to, bytes);
}

/// Implements the trait for a type that owns its memory.
macro_rules! scalar {
    ($type:ty, $name:expr, |$reader:ident| $read:expr, |$value:ident, $to:ident| $write:expr $(, { $($more:tt)* })?) => {
        impl<'row> RecordField<'row> for $type {
            type Owned = $type;

            fn row_type(_: usize) -> RowType {
                RowType::Simple($name)
            }

            #[inline(always)]
            fn read($reader: &mut RowReader<'row>) -> Result<Self, RowDefect> {
                $read
            }

            #[inline(always)]
            fn write(&self, $to: &mut Vec<u8>) {
                let $value = self;
                $write
            }

            fn into_owned(self) -> Self {
                self
            }

            $($($more)*)?
        }
    };
}

macro_rules! naturals {
    ($($type:ident)*) => {$(
        scalar!(
            $type,
            stringify!($type),
            |reader| $type::try_from(reader.natural()?).map_err(|_| RowDefect::OutOfRange),
            |value, to| write_natural((*value).into(), to)
        );
    )*};
}

macro_rules! integers {
    ($($type:ident)*) => {$(
        scalar!(
            $type,
            stringify!($type),
            |reader| {
                let zigzag = reader.natural()?;
                let value = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                $type::try_from(value).map_err(|_| RowDefect::OutOfRange)
            },
            |value, to| {
                let value = i64::from(*value);
                write_natural(((value << 1) ^ (value >> 63)) as u64, to);
            }
        );
    )*};
}

naturals! { u16 u32 u64 }
integers! { i16 i32 i64 }
scalar!(bool, "bool", |reader| reader.flag(), |value, to| to.push((*value).into()));
scalar!(i8, "i8", |reader| Ok(reader.byte()? as i8), |value, to| to.push(*value as u8));
scalar!(f32, "f32", |reader| Ok(f32::from_le_bytes(reader.array()?)), |value, to| to
    .extend_from_slice(&value.to_le_bytes()));
scalar!(f64, "f64", |reader| Ok(f64::from_le_bytes(reader.array()?)), |value, to| to
    .extend_from_slice(&value.to_le_bytes()));
scalar!(String, "string", |reader| Ok(reader.text()?.to_owned()), |value, to| write_bytes(value.as_bytes(), to));
scalar!(Timestamp, "timestamp", |reader| i64::read(reader).map(Timestamp::from_millis), |value, to| value
    .as_millis()
    .write(to));
scalar!(Date, "date", |reader| i32::read(reader).map(Date::from_days), |value, to| value.as_days().write(to));
scalar!(JsonText, "json", |reader| Ok(JsonText::trusted(reader.text()?.to_owned())), |value, to| write_bytes(
    value.as_str().as_bytes(),
    to
));

// A list of bytes is written like a string, and has a type of its own.
scalar!(u8, "u8", |reader| reader.byte(), |value, to| to.push(*value), {
    fn list_type(_: usize) -> RowType {
        RowType::Simple("bytes")
    }

    #[inline]
    fn read_list(reader: &mut RowReader<'row>) -> Result<Vec<u8>, RowDefect> {
        let len = reader.length()?;
        reader.bytes(len).map(<[u8]>::to_vec)
    }

    #[inline]
    fn write_list(list: &[u8], to: &mut Vec<u8>) {
        write_bytes(list, to);
    }
});

/// Implements the trait for a type that borrows from the row.
macro_rules! borrowed {
    ($type:ty, $owned:ty, $name:literal, |$reader:ident| $read:expr, |$value:ident| $bytes:expr, |$from:ident| $into:expr) => {
        impl<'row> RecordField<'row> for $type {
            type Owned = $owned;

            fn row_type(_: usize) -> RowType {
                RowType::Simple($name)
            }

            #[inline(always)]
            fn read($reader: &mut RowReader<'row>) -> Result<Self, RowDefect> {
                $read
            }

            #[inline(always)]
            fn write(&self, to: &mut Vec<u8>) {
                let $value = self;
                write_bytes($bytes, to);
            }

            fn into_owned(self) -> $owned {
                let $from = self;
                $into
            }
        }
    };
}

borrowed!(&'row str, String, "string", |reader| reader.text(), |value| value.as_bytes(), |value| value.to_owned());
borrowed!(
    &'row [u8],
    Vec<u8>,
    "bytes",
    |reader| {
        let len = reader.length()?;
        reader.bytes(len)
    },
    |value| value,
    |value| value.to_vec()
);
borrowed!(
    JsonText<&'row str>,
    JsonText,
    "json",
    |reader| reader.text().map(JsonText::trusted),
    |value| value.as_str().as_bytes(),
    |value| JsonText::trusted(value.as_str().to_owned())
);
