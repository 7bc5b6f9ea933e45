//! How values are written as bytes and read back. A codec is a type that is never constructed: `type In = Json<Flight>` says that
//! records are JSON and that the function gets a `Flight`.
//!
//! Invariant: a codec is pure. Its result depends on the bytes only, and it does not panic on any bytes.

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
    /// The name of the codec in the function's description: `postcard`, `json`, `csv` or `raw`.
    const NAME: &'static str;

    /// The type of a value that owns its memory.
    type Owned: 'static;
}

/// A codec that reads. The input of a function has one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a codec that can be read",
    note = "an input is one of `Bytes`, `Text`, `Json<T>`, `Postcard<T>`, `Csv<T>`, `CsvRow`, and its `T` derives `serde::Deserialize`"
)]
pub trait Decode: Codec {
    /// The type that the function gets. It may borrow from the record.
    type Value<'a>;

    /// Reads a value.
    ///
    /// # Errors
    /// Returns an error with the codec's name and the position if the bytes are not a value.
    fn decode(bytes: &[u8]) -> Result<Self::Value<'_>, CodecError>;

    /// Reads a value that outlives the bytes.
    ///
    /// # Errors
    /// The same as of [`Decode::decode`].
    fn decode_owned(bytes: &[u8]) -> Result<Self::Owned, CodecError>;
}

/// A codec for values of any type, such as `Json<T>`.
#[diagnostic::on_unimplemented(
    message = "the codec `{Self}` is neither `Json<T>` nor `Postcard<T>`",
    note = "name the codec of the older form: `#[state(migrate_from(Old as OldCodec))]`"
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
    /// Returns an error if the format cannot represent the value. The caller removes the bytes appended so far.
    fn encode(value: V, to: &mut Vec<u8>) -> Result<(), CodecError>;
}

/// The error of bytes that cannot be read, or of a value that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecError {
    codec: &'static str,
    message: String,
}

impl CodecError {
    /// Makes an error of the codec with this name. The message says where in the bytes it is.
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
