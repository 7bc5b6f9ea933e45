//! Formats: how bytes become records, records become rows, and rows become bytes.
//!
//! - `records` finds the boundaries of records in a stream of bytes; `text_start` recognizes encodings that are not supported.
//! - [`RecordDecoder`] reads the fields of records as rows. It is compiled for the fields that are needed ([`SourceDecoding`]).
//! - [`RecordEncoder`] writes rows as NDJSON, CSV or Avro.
//!
//! Invariant: memory is bounded by the length of a record, and nothing recurses deeper than a schema. Must not depend on
//! connectors: they supply bytes and take bytes.

pub mod avro;
mod csv;
mod csv_row;
mod decoder;
mod decoding;
mod encode_defect;
mod encoder;
mod ndjson;
pub mod records;
pub mod text_start;
mod text_value;
mod time_parser;
#[cfg(test)]
mod time_parser_tests;
mod timestamp_reader;

#[cfg(test)]
mod decoder_tests;
#[cfg(test)]
mod encoder_tests;
#[cfg(test)]
mod records_tests;

pub use csv::column_names;
pub use decoder::RecordDecoder;
pub use decoding::SourceDecoding;
pub use encode_defect::EncodeDefect;
pub use encoder::RecordEncoder;
pub use time_parser::{TimeParser, is_implausible};
pub use timestamp_reader::{DecodeDefect, EventTime};
