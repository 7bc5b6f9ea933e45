//! The schemas of sources and sinks of Avro: from a file, or from a schema registry.
//!
//! - `resolve` finds the schema that a pipeline is planned with, and gives a decoder or an encoder its way to the registry.
//! - `client` speaks the registry's protocol, keeps what it has learnt, and asks again while the registry is away.
//! - `http` sends one request on a thread of its own, so that a cancel is heard while it waits.
//!
//! The format itself is in `format/avro/`, which knows of registries only that a record names its schema by a number.

mod client;
mod http;
mod resolve;

#[cfg(test)]
mod client_tests;

pub use resolve::{avro_reading, avro_writing};
