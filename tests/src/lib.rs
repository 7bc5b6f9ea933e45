//! Harness of the end-to-end tests and of `cargo xtask crash`, `demo` and `example`. It drives the real `cofferdam`
//! binary from outside.
//!
//! It uses only the command line and the HTTP API, never the host's code, so it could test another implementation.

#![allow(clippy::disallowed_methods)] // It is no part of the engine: it waits for other processes on the real clock.

mod api;
mod checkout;
pub mod crash;
mod example;
mod guarded;
mod ingest;
mod kafka;
pub mod kinds;
pub mod late_flights;
mod output;
mod preload;
mod process_memory;
mod s3;
mod scene;
mod scrape;
mod script;
mod secrets;
mod server;
mod wait;

pub use api::{Answer, Api};
pub use checkout::Checkout;
pub use example::{Example, Outcome};
pub use guarded::{Guarded, not_refused};
pub use ingest::{IngestAnswer, IngestClient, free_address, read_answer};
pub use kafka::{
    KafkaBroker, KafkaClient, KafkaInstallation, KafkaPorts, KafkaRecord, missing_kafka_programs, without_kafka,
};
pub use output::{Difference, committed_lines, difference};
pub use preload::preload_library;
pub use process_memory::{MeasuredRun, ProcessMemory, memory_kib, peak_memory_bytes, reset_peak_memory, run_measured};
pub use s3::S3;
pub use scene::Scene;
pub use scrape::Scrape;
pub use script::Script;
pub use secrets::{files_with_secrets, secrets_in};
pub use server::{Server, allowed_in_tests};
pub use wait::wait_until;
