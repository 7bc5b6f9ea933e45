//! Plans the records of a pipeline: which fields sources decode, and the format of every output and input.
//!
//! - `input_need` defines what an input needs of its records; `needs` computes it, from the sinks to the sources.
//! - `needed_fields` merges the fields that several consumers need.
//! - `source_outputs` decides what a source decodes for its consumers.
//! - `formats` computes the formats of all outputs and inputs, from the sources to the sinks, and refuses what does not fit.
//! - `row_operators` plans `select` and `filter`; `sink_format` plans what a sink writes.
//! - `edge_keys` plans the key of an edge.
//! - `mismatch` builds the error `schema-mismatch`.

mod edge_keys;
pub(super) mod formats;
mod input_need;
mod mismatch;
mod needed_fields;
pub(super) mod needs;
#[cfg(test)]
mod records_tests;
pub(super) mod row_operators;
mod sink_format;
pub(super) mod source_outputs;
