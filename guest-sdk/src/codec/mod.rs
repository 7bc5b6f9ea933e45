//! How values become bytes and back. A codec is a type that is never constructed: `Json<Flight>` in the place of an
//! input says that records are JSON and that the function sees a `Flight`.
//!
//! Invariant: a codec is pure. What it reads depends on the bytes alone, and it never panics on bytes from outside.

mod csv;
mod csv_read;
mod csv_write;
mod raw;
mod serde_formats;

use std::fmt;

pub use csv::{Csv, CsvRow, Row};
pub use raw::{Bytes, Text};
pub use serde_formats::{Json, Postcard};

/// A way of writing values as bytes.
pub trait Codec: 'static {
    /// The name that `describe` reports: `postcard`, `json`, `csv` or `raw`.
    const NAME: &'static str;

    /// A value that owns its memory.
    type Owned: 'static;
}

/// A codec that reads: what a function may have as its input.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a codec that can be read",
    note = "an input is one of `Bytes`, `Text`, `Json<T>`, `Postcard<T>`, `Csv<T>`, `CsvRow`, and its `T` derives `serde::Deserialize`"
)]
pub trait Decode: Codec {
    /// What the function sees. It may borrow from the record.
    type Value<'a>;

    /// Reads a value.
    ///
    /// # Errors
    /// Where the bytes are not a value, with the codec's name and the position.
    fn decode(bytes: &[u8]) -> Result<Self::Value<'_>, CodecError>;

    /// Reads a value that outlives the bytes.
    ///
    /// # Errors
    /// As [`Decode::decode`].
    fn decode_owned(bytes: &[u8]) -> Result<Self::Owned, CodecError>;
}

/// A codec that there is for any type, such as `Json<T>`.
#[diagnostic::on_unimplemented(
    message = "the codec `{Self}` is not one of `Json<T>` and `Postcard<T>`",
    note = "say by which codec the older form was written: `migrate_from_codec::<Old, OldCodec>()`"
)]
pub trait CodecFamily: Codec {
    /// The same codec for another type.
    type Of<U: 'static>: Codec<Owned = U>;
}

/// A codec that writes values of type `V`.
#[diagnostic::on_unimplemented(
    message = "the codec `{Self}` does not write a `{V}`",
    note = "`Json<T>`, `Postcard<T>` and `Csv<T>` write a `T` or a `&T`, and `T` derives `serde::Serialize`",
    note = "`Bytes` writes anything that is `AsRef<[u8]>`, `Text` anything that is `AsRef<str>`"
)]
pub trait Encode<V>: Codec {
    /// Appends the value to `to`.
    ///
    /// # Errors
    /// Where the format has no form for the value. What was appended by then is for the caller to take off.
    fn encode(value: V, to: &mut Vec<u8>) -> Result<(), CodecError>;
}

/// Bytes that are not a value, or a value that has no bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecError {
    codec: &'static str,
    message: String,
}

impl CodecError {
    /// An error of the codec of that name; the message says where in the bytes.
    pub fn new(codec: &'static str, message: impl Into<String>) -> Self {
        CodecError { codec, message: message.into() }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.codec, self.message)
    }
}

impl std::error::Error for CodecError {}

#[cfg(test)]
mod tests;
