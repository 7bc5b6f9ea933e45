//! The traits of a sink and of its committer.

use std::fs::File;
use std::sync::Arc;

use tempfile::TempPath;

use crate::error::{Error, Result, record_invalid, schema_registry_failed};
use crate::format::EncodeDefect;
use crate::model::Batch;

/// One subtask's share of a sink.
pub trait Sink: Send {
    /// Writes the values of a batch in order.
    fn write(&mut self, batch: &Batch) -> Result<()>;

    /// Ends the output of `checkpoint`: everything written before this call belongs to it. Nothing is published. What takes long,
    /// such as a sync to disk, is left to the upload of the checkpoint.
    fn prepare(&mut self, checkpoint: u64) -> Result<Prepared>;

    /// Writes out buffered values where readers can see them before a checkpoint. Called when the sink is idle.
    fn flush(&mut self) -> Result<()>;
}

/// Returns the error for a record that a sink cannot write in its format.
pub(super) fn unwritable_record(node: &str, defect: &EncodeDefect) -> Error {
    let hint = match defect {
        EncodeDefect::LineEnd(_) => "write rows, whose texts are escaped, or remove the line ends",
        EncodeDefect::Avro(_) => "let the function emit values that the schema allows, or correct the schema",
        EncodeDefect::Registry(_) => {
            "check the address and the access of the schema registry, and that it accepts the schema"
        }
        EncodeDefect::NoFields | EncodeDefect::NoFieldsForAvro => {
            "let the function emit rows, or choose `format = \"raw\"`"
        }
        EncodeDefect::OtherColumns { .. } => "name the columns of the sink: `columns = [..]`",
        EncodeDefect::Row(_) => {
            "the function that emits the record has a bug: its output is not of the type that it describes"
        }
    };
    let message = format!("sink `{node}`: {defect}");
    match defect {
        // Another attempt may write the record.
        EncodeDefect::Registry(_) => schema_registry_failed(message).hint(hint),
        _ => record_invalid(message).hint(hint),
    }
}

/// What a subtask of a sink prepared for a checkpoint.
#[derive(Default)]
pub struct Prepared {
    /// What [`Committer::commit`] publishes the output by. `None` if there is nothing to publish.
    pub committable: Option<Vec<u8>>,
    /// Files that the upload stores with the checkpoint, as it does with files of state.
    pub files: Vec<PreparedFile>,
    /// What remains to be done before the checkpoint is complete. The upload calls it.
    pub finish: Option<FinishOutput>,
}

/// Makes prepared output durable. It may be dropped without a call; the next checkpoint then repeats the work.
pub type FinishOutput = Box<dyn FnOnce() -> Result<()> + Send>;

/// A file that belongs to a checkpoint.
#[derive(Clone, Debug)]
pub struct PreparedFile {
    /// The name, unique among all files that the sink ever prepares. Letters, digits, `.`, `-` and `_`. A file that the previous
    /// checkpoint names is not stored again.
    pub name: String,
    /// The file, which does not change any more. It is removed when neither the sink nor an upload needs it: several checkpoints
    /// and savepoints that name it may be uploaded at the same time.
    pub file: Arc<TempPath>,
}

/// The output of a sink in one checkpoint, as its committer sees it.
pub struct SinkOutput<'a> {
    /// Id of the job that took the checkpoint.
    pub job_id: &'a str,
    /// Id of the checkpoint.
    pub checkpoint: u64,
    /// The committables of all subtasks that have one. None if the output is known to be published.
    pub committables: Vec<Vec<u8>>,
    /// The prepared files.
    pub files: &'a dyn OutputFiles,
}

/// Reads the files that a sink prepared for a checkpoint.
pub trait OutputFiles {
    /// Opens a file by its name. Errors: `checkpoint-corrupt` if the checkpoint has no such file, `storage-failed`.
    fn open(&self, name: &str) -> Result<File>;
}

/// The result of recovering a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// The output of the checkpoint is published, and nothing beyond it.
    Done {
        /// Names of promised output that is missing. Most likely a reader removed it.
        missing: Vec<String>,
    },
    /// Output of a later checkpoint is published and cannot be taken back.
    Ahead {
        /// The latest published checkpoint.
        published: u64,
    },
    /// Nobody knows whether the output is published.
    Unknown,
}

/// Publishes the output that a sink prepared. Belongs to the job, not to a subtask, and runs on a thread of its own.
///
/// A call that waits for a peer ends with `interrupted` within a second after the interrupt of its context is set.
pub trait Committer: Send {
    /// Publishes the output of a complete checkpoint. Later checkpoints may be published before earlier ones; what they contain is not
    /// published again. After a restart it may be called again with the same output.
    fn commit(&mut self, output: &SinkOutput<'_>) -> Result<()>;

    /// Publishes the output of the job's own checkpoint `restored`, and takes back what the job prepared or published after it (all its
    /// output if that is `None`), if possible. Called before the subtasks of the sink start.
    fn recover(&mut self, restored: Option<&SinkOutput<'_>>) -> Result<Recovered>;

    /// Publishes the output of another job's checkpoint, which may still run. It takes nothing back and may be repeated. With
    /// `assume_lost`, output that is [`Recovered::Unknown`] is published. Error: `sink-changed` if promised records would be lost.
    fn adopt(&mut self, output: &SinkOutput<'_>, assume_lost: bool) -> Result<Recovered>;

    /// Removes output that was prepared and not published, after a cancel.
    fn discard(&mut self) -> Result<()>;

    /// Like [`Committer::recover`], for a job that does not run again: what only later output needs may be left out.
    fn recover_last(&mut self, restored: Option<&SinkOutput<'_>>) -> Result<Recovered> {
        self.recover(restored)
    }

    /// Returns whether prepared output has to be taken back with [`Committer::recover`] when the subtasks of the sink restart alone, while
    /// the committer goes on.
    fn takes_back(&self) -> bool {
        true
    }
}

/// Output of another job in the folder of a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherJobOutput {
    /// Number of published files.
    pub files: u64,
    /// The newest checkpoint that published one of them.
    pub newest_checkpoint: u64,
}
