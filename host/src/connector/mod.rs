//! Sources and sinks: where records come from and where they go, behind two traits, a folder each.
//!
//! A source's position and a sink's committables are part of the checkpoint. Connectors run on their subtask's thread
//! and block only for moments (see [`Source::poll`]), so that barriers and cancellation are never held up.

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::SharedClock;
use crate::error::Result;
use crate::model::Batch;

/// What a call of [`Source::poll`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Appended one record or more.
    Records,
    /// Nothing now; ask again after this long at the latest.
    Pending(Duration),
    /// Nothing ever again.
    End,
}

/// Whether a source can give its records again from a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    Yes,
    No,
}

/// One subtask's share of a source.
pub trait Source: Send {
    /// Appends up to `records` records to `batch`, or fewer where that many are not there at once. Blocks for 50 ms at most.
    fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll>;

    /// The position behind the last record that `poll` gave: what `open` continues from.
    fn position(&self) -> Result<Vec<u8>>;
}

/// One subtask's share of a sink.
pub trait Sink: Send {
    fn write(&mut self, batch: &Batch) -> Result<()>;

    /// Everything written before this call belongs to checkpoint `checkpoint`: makes it durable without publishing it,
    /// and returns what [`Committer::commit`] publishes it by. None where there is nothing to publish.
    fn prepare(&mut self, checkpoint: u64) -> Result<Option<Vec<u8>>>;

    /// Called when there has been nothing to write for a moment: shows what is buffered, where that makes sense.
    fn flush(&mut self) -> Result<()>;
}

/// Publishes what a sink prepared. Belongs to the job, not to a subtask.
pub trait Committer: Send {
    /// Publishes the committables of a complete checkpoint. May be called again with the same ones, after a restart.
    fn commit(&self, committables: &[Vec<u8>]) -> Result<()>;

    /// Called before a job's subtasks start: commits `committables`, and removes what this job prepared or published
    /// after checkpoint `restored` (all of it where there is none).
    fn recover(&self, restored: Option<u64>, committables: &[Vec<u8>]) -> Result<()>;
}

/// What a connector is opened with.
pub struct ConnectorContext {
    pub job_id: String,
    /// The node's id in the pipeline.
    pub node: String,
    pub subtask: u32,
    pub parallelism: u32,
    pub clock: SharedClock,
    /// Relative paths of the manifest are relative to this folder.
    pub base_dir: PathBuf,
    /// The job's seed.
    pub seed: u64,
}
