//! Rows: records with named, typed fields.
//!
//! A row is the values of its fields in the order of its [`RowSchema`], as postcard writes a struct of them
//! (docs/decisions/0059-row-encoding.md). Rows come from guests and from files: no function here panics on malformed bytes,
//! and no function reserves memory for a length that the bytes only claim.

mod field_type;
mod schema;
mod type_text;

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
pub mod testing;

pub use field_type::{ElementType, Field, FieldType};
pub use schema::{FIELDS_MAX, NAME_BYTES_MAX, RowSchema};
pub use type_text::{SchemaDefect, TYPE_DEPTH_MAX};
