//! What a connector implements to publish through the outbox.
//!
//! Calls that wait for the peer return [`Trouble::Retry`] within a second after the interrupt of the sink's context is set.

use super::record::OutboxRecord;
use crate::error::{Error, Result};
use crate::model::Batch;

/// Where the records of a sink go.
pub trait OutboxPeer: Send {
    /// Names the place that the records go to, such as the topic and the brokers, without secrets. It is part of checkpoints: a job that
    /// starts from one publishes its output only if its own sink has the same target.
    fn target(&self) -> String;

    /// Creates a publisher with this identity, such as a transactional id. It need not connect yet.
    fn publisher(&self, identity: &str) -> Result<Box<dyn Publisher>, Trouble>;
}

/// Publishes records together with a marker, in one transaction of the peer. After any trouble it is dropped, and another one is created.
pub trait Publisher: Send {
    /// Reads the marker: the last epoch that was published with this identity. Disturbs no other publisher of it.
    fn marker(&mut self) -> Result<Option<u64>, Trouble>;

    /// Fences all other publishers with this identity, ends what they left open, and then reads the marker, which no longer changes. Called
    /// once, before [`Publisher::publish`].
    fn last_published(&mut self) -> Result<Option<u64>, Trouble>;

    /// Publishes all records of the parts and sets the marker to `epoch`, either both or none. The parts may be empty.
    fn publish(&mut self, epoch: u64, parts: &mut dyn Parts) -> Result<(), Trouble>;
}

/// The parts that are to be published.
pub trait Parts {
    /// Calls `take` with each record in order, and ends with its first trouble. A second call begins again.
    fn for_each(&mut self, take: &mut dyn FnMut(&OutboxRecord<'_>) -> Result<(), Trouble>) -> Result<(), Trouble>;

    /// Number of records.
    fn records(&self) -> u64;
}

/// Why the peer did not do what was asked.
#[derive(Debug)]
pub enum Trouble {
    /// The peer may do it later. Whether it has done it already shows in the marker.
    Retry(Error),
    /// Another publisher with the same identity took over.
    Fenced(Error),
    /// Another try would fail as well.
    Fatal(Error),
}

/// Errors of the checkpoint storage may pass. A damaged part stays damaged.
impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        match error.code {
            "storage-failed" => Trouble::Retry(error),
            _ => Trouble::Fatal(error),
        }
    }
}

/// Turns batches into records of an outbox.
pub trait OutboxEncoder: Send {
    /// Calls `write` with the record of each value of a batch, in order. Error: `record-invalid`.
    fn encode(&mut self, batch: &Batch, write: &mut dyn FnMut(&OutboxRecord<'_>) -> Result<()>) -> Result<()>;
}
