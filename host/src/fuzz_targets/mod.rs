//! What the fuzzer calls: one function per parser of untrusted bytes, with the properties that hold for all of them.
//!
//! The crate `fuzz/` compiles this module, and the parsers, without the rest of the host (docs/decisions/0093). Here it is part
//! of the tests only: they run the kept inputs and the inputs of earlier findings.

mod avro;
mod http_body;
mod in_flight;
mod json_rows;
mod metadata;
mod pipeline_file;
mod records;
mod rows;
mod state_file;

/// A function that panics if a property does not hold for the bytes.
pub type FuzzTarget = fn(&[u8]);

/// All targets by name, which is also the name of the folder of their inputs.
pub const TARGETS: &[(&str, FuzzTarget)] = &[
    ("pipeline-file", pipeline_file::run),
    ("metadata", metadata::run),
    ("state-file", state_file::run),
    ("in-flight", in_flight::run),
    ("rows", rows::run),
    ("json-rows", json_rows::run),
    ("records", records::run),
    ("avro", avro::run),
    ("http-body", http_body::run),
];

/// Splits off the first line.
fn split_line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[]),
    }
}
