//! The listener for records: `POST /v1/ingest/{job}/{source}`.
//!
//! It has an address of its own, so that the API of jobs is never exposed with it. Bodies and headers are untrusted. A request is
//! answered with success only once all its records are durable; see [`crate::connector::IngestLog`].
//!
//! - `request_content`: the records of a body. `content_encoding`: compressed bodies. `request_headers`: keys, times and attributes.
//! - `body_budget`: the memory of all bodies. `ingest_router`: the route and its answers.

mod body_budget;
mod content_encoding;
mod ingest_router;
mod request_content;
mod request_headers;

#[cfg(test)]
mod ingest_router_tests;

pub use ingest_router::ingest_router;
