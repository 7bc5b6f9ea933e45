//! How records cross the boundary. A type with [`derive(Record)`](derive@crate::Record) is its own codec: `type In = Flight` says that
//! records are rows, and that the function gets a `Flight`. The other codecs are types that are never constructed.
//!
//! Invariant: a codec is pure. Its result depends on the bytes only, and it does not panic on any bytes.

mod json;
mod postcard;
mod raw;

use crate::record::RowType;
use std::fmt;

pub use json::Json;
pub use postcard::Postcard;
pub use raw::{Bytes, Text};

/// A way of writing records as bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of records",
    label = "neither a record nor a codec",
    note = "records are structs with `#[derive(Record)]`, or one of the codecs `Bytes`, `Text`, `Json<T>`",
    note = "`Postcard<T>` is a codec of states only"
)]
pub trait Codec: 'static {
    /// The name of the codec in the function's description: `row`, `json` or `raw`.
    const NAME: &'static str;

    /// The type of a value that owns its memory.
    type Owned: 'static;

    /// Describes the fields of rows.
    #[doc(hidden)]
    fn row() -> Option<RowType> {
        None
    }
}

/// A codec that reads. The input of a function has one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the input of a function",
    note = "an input is a struct with `#[derive(Record)]`, or one of `Bytes`, `Text`, and `Json<T>` if `T` derives `serde::Deserialize`",
    note = "a record that borrows, such as `Flight<'a>`, is named with `'static`: `type In = Flight<'static>;`"
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

/// A codec for values of any type, such as `Json<T>`. A record has its own codec.
#[diagnostic::on_unimplemented(
    message = "the codec `{Self}` is neither `Json<T>` nor `Postcard<T>` nor a record",
    note = "name the codec of the older form: `#[state(migrate_from(Old as OldCodec))]`"
)]
pub trait CodecFamily {
    /// The same codec for another type.
    type Of<U: 'static>;
}

/// A codec that writes values of type `V`.
#[diagnostic::on_unimplemented(
    message = "the codec `{Self}` does not write a `{V}`",
    note = "a struct with `#[derive(Record)]` writes itself and references to it",
    note = "`Json<T>` writes a `T` or a `&T`, and `T` derives `serde::Serialize`",
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
