//! The traits of a sink and of its committer.

use crate::error::{Error, Result, record_invalid};
use crate::format::EncodeDefect;
use crate::model::Batch;

/// One subtask's share of a sink.
pub trait Sink: Send {
    /// Writes the values of a batch in order.
    fn write(&mut self, batch: &Batch) -> Result<()>;

    /// Makes everything written before this call durable as part of `checkpoint`, without publishing it. Returns the
    /// committable that [`Committer::commit`] publishes it by, or `None` if there is nothing to publish.
    fn prepare(&mut self, checkpoint: u64) -> Result<Option<Vec<u8>>>;

    /// Writes out buffered values where readers can see them before a checkpoint. Called when the sink is idle.
    fn flush(&mut self) -> Result<()>;
}

/// Returns the error for a record that a sink cannot write in its format.
pub(super) fn unwritable_record(node: &str, defect: &EncodeDefect) -> Error {
    let hint = match defect {
        EncodeDefect::LineEnd(_) => "write rows, whose texts are escaped, or remove the line ends",
        EncodeDefect::NoFields => "let the function emit rows, or choose `format = \"raw\"`",
        EncodeDefect::OtherColumns { .. } => "name the columns of the sink: `columns = [..]`",
        EncodeDefect::Row(_) => {
            "the function that emits the record has a bug: its output is not of the type that it describes"
        }
    };
    record_invalid(format!("sink `{node}`: {defect}")).hint(hint)
}

/// Publishes the output that a sink prepared. Belongs to the job, not to a subtask.
pub trait Committer: Send {
    /// Publishes the committables of a complete checkpoint. After a restart it may be called again with the same ones.
    fn commit(&self, committables: &[Vec<u8>]) -> Result<()>;

    /// Commits `committables`, and removes all output that this job prepared or published after checkpoint `restored`
    /// (all its output if that is `None`). Called before a job's subtasks start. Returns the names of missing output.
    fn recover(&self, restored: Option<u64>, committables: &[Vec<u8>]) -> Result<Vec<String>>;

    /// Publishes the committables of another job's checkpoint under the names in them. It removes nothing and may be
    /// repeated. Returns the names of missing output. Error: `sink-changed` if promised records would be lost.
    fn adopt(&self, committables: &[Vec<u8>]) -> Result<Vec<String>>;
}

/// Output of another job in the folder of a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherJobOutput {
    /// Number of published files.
    pub files: u64,
    /// The newest checkpoint that published one of them.
    pub newest_checkpoint: u64,
}
