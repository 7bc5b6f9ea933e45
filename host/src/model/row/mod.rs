//! Rows: records with named, typed fields.
//!
//! A row is the values of its fields in the order of its [`RowSchema`], as postcard writes a struct of them
//! (docs/decisions/0059-row-encoding.md). Rows come from guests and from files: no function here panics on malformed bytes,
//! and no function reserves memory for a length that the bytes only claim.

mod copy_plan;
mod encoding;
mod field_defect;
mod field_type;
mod json_read;
mod json_scan;
mod json_write;
mod key;
mod locator;
mod nearest;
mod quick_copy;
mod schema;
pub mod time_text;
mod type_text;

#[cfg(test)]
mod quick_copy_tests;
#[cfg(test)]
mod row_tests;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
pub mod testing;

pub use copy_plan::{CopyPlan, RowCopier, SchemaMismatch};
pub use encoding::{RowBytes, RowDefect, ValueLayout, largest_varint, write_bytes, write_signed, write_unsigned};
pub use field_defect::{FieldDefect, cut};
pub use field_type::{ElementType, Field, FieldType};
pub use json_read::{digits_value, is_json, json_integer, read_field, read_json, read_json_value, read_value};
pub use json_scan::{JSON_DEPTH_MAX, JsonDefect, MemberName, members, skip_space, skip_value, string_of};
pub use json_write::{write_json, write_json_string, write_json_text, write_json_value};
pub use key::RowKey;
pub use locator::{FieldLocator, RowValue, RowValues};
pub use nearest::did_you_mean;
pub use schema::{FIELDS_MAX, NAME_BYTES_MAX, RowSchema};
pub use type_text::{SchemaDefect, TYPE_DEPTH_MAX};
