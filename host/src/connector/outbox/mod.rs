//! The outbox: one implementation of exactly-once output for every sink whose peer can store a marker with the records.
//!
//! ```text
//! write      OutboxSink: records ──► part (a local file of blocks, or bytes in the checkpoint if it is small)
//! barrier N  OutboxSink::prepare: parts that are not published yet ──► committable and files of checkpoint N
//! N durable  OutboxCommitter::commit: records of all parts up to N, and the marker N, in one transaction of the peer
//! restart    OutboxCommitter::recover: reads the marker M; publishes what lies between M and the restored checkpoint
//! ```
//!
//! A connector gives three things: an [`OutboxEncoder`] that turns batches into records, an [`OutboxPeer`] that names where they go, and
//! its [`Publisher`].
//!
//! | file | content |
//! |---|---|
//! | `record.rs`, `headers.rs` | A record and its bytes in a part. |
//! | `part_writer.rs`, `part_reader.rs` | Parts: blocks of records, each with a checksum. |
//! | `committable.rs` | What a checkpoint says about parts. |
//! | `outbox_sink.rs` | The sink of a subtask. |
//! | `publisher.rs` | What a connector implements. |
//! | `committer.rs` | Publishes parts, with retries, and recovers. |
//! | `pending_parts.rs` | The parts that a publication hands to a publisher. |
//!
//! Invariant: once checkpoint N is durable, its records reach the peer exactly once, wherever a process or the peer is killed. The marker
//! decides. If it cannot, a person does. See docs/decisions/0103-outbox.md.

mod committable;
mod committer;
mod headers;
mod outbox_sink;
mod part_reader;
mod part_writer;
mod pending_parts;
mod publisher;
mod record;

#[cfg(test)]
mod committer_tests;
#[cfg(test)]
mod fake_connector;
#[cfg(test)]
mod fake_peer;
#[cfg(test)]
mod outbox_sink_tests;
#[cfg(test)]
mod part_tests;

pub(super) use committable::check_promise;
pub use committable::is_outbox_committable;
pub use committer::OutboxCommitter;
#[cfg(test)]
pub(super) use fake_connector::CONNECTOR as FAKE_CONNECTOR;
#[cfg(test)]
pub use fake_peer::FakePeer;
pub use headers::{HeaderBuffer, HeaderList};
pub use outbox_sink::{OutboxSettings, OutboxSink};
pub use publisher::{OutboxEncoder, OutboxPeer, Parts, Publisher, Trouble};
pub use record::OutboxRecord;
