//! Records between two nodes: their format, their key, and how they are rewritten for their consumer.
//!
//! - `record_format` names the format of an output or an input: bytes, JSON or rows.
//! - `record_converter` rewrites the records of batches in the format of their consumer.
//! - `record_key` computes keys from the records of a producer.
//!
//! The plan of the job compiles all of this; no name is looked up for a record.

pub(super) mod record_converter;
#[cfg(test)]
mod record_converter_tests;
pub(super) mod record_format;
pub(super) mod record_key;
