//! Avro: binary records whose fields only their schema names.
//!
//! - `schema` reads a schema, and keeps it as a table of types. `row_fields` gives the row type of each of its fields, and the schema of
//!   rows that have none.
//! - `decode_plan` compiles how the records of a writer's schema become rows; `decode` carries it out. `bytes` reads and skips values.
//! - `encode_plan` compiles how rows become records of a schema; `encode` carries it out.
//! - `json` writes a value as JSON; `decimal` converts decimal numbers; `varint` writes integers.
//! - `decoder` and `encoder` choose the plan of each record. A schema registry puts the id of its schema in front of each record;
//!   [`WriterSchemas`] and [`SchemaIds`] are how they ask for it.
//!
//! The crate `apache-avro` parses schemas. Its decoder makes a tree of each record, so this module reads the bytes itself
//! (docs/decisions/0111-avro-by-plans.md).
//!
//! Invariant: no bytes make a function panic, recurse deeper than [`DEPTH_MAX`], or reserve memory for a length that they only claim.

mod bytes;
mod decimal;
mod decode;
mod decode_plan;
mod decoder;
mod encode;
mod encode_plan;
mod encoder;
mod json;
mod row_fields;
mod schema;
mod schema_lookup;
mod varint;

#[cfg(test)]
mod avro_tests;
#[cfg(test)]
mod registry_tests;

pub use decode_plan::check_field;
pub(super) use decoder::AvroDecoder;
pub(super) use encoder::AvroEncoder;
pub use encoder::{AvroWriting, check_row};
pub use schema::AvroSchema;
pub use schema_lookup::{AvroReading, SchemaIds, SchemaLookupError, WriterSchemas};

/// Maximum depth of nested values of a record.
const DEPTH_MAX: usize = 128;
