//! The connector `http`: a durable log of what clients send, and the source that reads it.
//!
//! `http::ingest` answers the clients. Files of this folder, lower ones first:
//!
//! - `frame`: the records of one request as bytes. `segment`: files of frames, and their recovery. `segment_bytes`: buffered reading.
//! - `key_index`, `key_file`: idempotency keys in memory, and those of removed segments on the disk.
//! - `append_queue`, `log_contents`: what waits for the disk; what is on the disk and who reads it. Both know no files.
//! - `log_writer`: the thread that writes and syncs groups. `ingest_log`: opens, appends, closes.
//! - `log_cursor`, `attached_reader`: reading, and the removal of what all checkpoints contain.
//! - `ingest_position`, `ingest_source`: the source. `ingest_logs`: all logs of a server.
//! - `request_verifier`: tokens and signatures.
//!
//! Invariant: a request is answered only after all its records are synced, and a group that was answered is never cut.

mod append_queue;
mod attached_reader;
mod frame;
mod ingest_log;
mod ingest_logs;
mod ingest_position;
mod ingest_settings;
mod ingest_source;
mod ingest_spec;
mod key_file;
mod key_index;
mod log_contents;
mod log_cursor;
mod log_disk;
mod log_position;
mod log_shared;
mod log_writer;
mod request_verifier;
mod segment;
mod segment_bytes;

#[cfg(test)]
mod ingest_log_tests;
#[cfg(test)]
mod ingest_source_tests;
#[cfg(test)]
mod test_log;

pub use append_queue::AcceptedRequest;
pub use frame::{EncodedFrame, NewRequest, RequestKey};
pub use ingest_log::{AppendRefusal, AppendedRequest, IngestLog};
pub use ingest_logs::{IngestAccess, IngestLogs};
pub use ingest_settings::{IngestSettings, SenderAuth};
pub(super) use ingest_spec::CONNECTOR;
pub use log_position::LogPosition;
pub use log_shared::LogLimits;
pub use request_verifier::{
    RequestUnauthorized, RequestVerifier, SignatureAlgorithm, SignatureEncoding, SignatureScheme,
};
