//! Records: structs that cross the boundary as rows.
//!
//! A row is the values of its fields, one after the other, as postcard writes a struct of them. `#[derive(Record)]` reads and writes them
//! without serde. Invariant: reading never panics, and memory is allocated for elements that are there.
//!
//! | file | content |
//! |---|---|
//! | `reader` | the bytes of a row that are left to read |
//! | `scalars` | fields without parts |
//! | `containers` | `Option`, lists and maps |
//! | `row_type` | types as text, for descriptions and fingerprints |
//! | `date`, `json_text` | field types of the SDK's own |

mod containers;
mod date;
mod json_text;
mod reader;
mod row_type;
mod scalars;

use crate::codec::CodecError;

pub use date::Date;
pub use json_text::JsonText;
#[doc(hidden)]
pub use reader::{RowDefect, RowReader};
#[doc(hidden)]
pub use row_type::{RowField, RowType};

/// The name of the codec of records.
#[doc(hidden)]
pub const CODEC: &str = "row";

/// A type that a field of a record can have: see the table at [`derive(Record)`](derive@crate::Record). Records are such types too.
///
/// `'row` is the lifetime of the bytes from which a value may borrow.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a field of a record",
    note = "fields are `bool`, `i8` to `i64`, `u8` to `u64`, `f32`, `f64`, `String`, `&'a str`, `Vec<u8>`, `&'a [u8]`, `Timestamp`, `Date`, `JsonText`, `Option<T>`, `Vec<T>`, `BTreeMap<String, T>`, `HashMap<String, T>`, and other records",
    note = "derive `Record` for a struct: `#[derive(Record)]`"
)]
pub trait RecordField<'row>: Sized {
    /// The same type with all its memory its own.
    type Owned: 'static;

    /// Whether a producer of rows needs no aliases and defaults for it. Types inside of other types have none.
    #[doc(hidden)]
    const IS_PLAIN: bool = true;

    /// Whether a value may be absent.
    #[doc(hidden)]
    const IS_NULLABLE: bool = false;

    /// Describes the type. `depth` types contain it.
    #[doc(hidden)]
    fn row_type(depth: usize) -> RowType;

    #[doc(hidden)]
    fn read(reader: &mut RowReader<'row>) -> Result<Self, RowDefect>;

    #[doc(hidden)]
    fn write(&self, to: &mut Vec<u8>);

    /// Copies what is borrowed.
    fn into_owned(self) -> Self::Owned;

    /// Describes a list of such values.
    #[doc(hidden)]
    fn list_type(depth: usize) -> RowType {
        RowType::list(Self::row_type(depth + 1))
    }

    #[doc(hidden)]
    #[inline]
    fn read_list(reader: &mut RowReader<'row>) -> Result<Vec<Self>, RowDefect> {
        let len = reader.count()?;
        // The bytes may claim more elements than they hold.
        let mut list = Vec::with_capacity(len.min(256));
        for _ in 0..len {
            list.push(Self::read(reader)?);
        }
        Ok(list)
    }

    #[doc(hidden)]
    #[inline]
    fn write_list(list: &[Self], to: &mut Vec<u8>) {
        scalars::write_natural(list.len() as u64, to);
        for value in list {
            value.write(to);
        }
    }
}

/// Reads a row.
#[doc(hidden)]
#[inline(always)] // A call in Wasm costs more than reading a short row.
pub fn decode<'row, T: RecordField<'row>>(bytes: &'row [u8]) -> Result<T, CodecError> {
    let mut reader = RowReader::new(bytes);
    match T::read(&mut reader) {
        Ok(record) if reader.is_at_end() => Ok(record),
        Ok(_) => Err(unreadable(RowDefect::TooLong, &reader, bytes)),
        Err(defect) => Err(unreadable(defect, &reader, bytes)),
    }
}

#[cold]
fn unreadable(defect: RowDefect, reader: &RowReader<'_>, bytes: &[u8]) -> CodecError {
    let (words, at, len) = (defect.words(), bytes.len() - reader.left(), bytes.len());
    CodecError::new(CODEC, format!("{words} at byte {at} of {len}"))
}

#[cfg(test)]
mod tests;
