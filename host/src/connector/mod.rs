//! Sources and sinks: where records come from and where they go, behind two traits, a folder each.
//!
//! A source's position and a sink's committables are part of the checkpoint. Connectors run on their subtask's thread
//! and block only for moments (see [`Source::poll`]), so that barriers and cancellation are never held up.

mod blackhole;
mod csv_row;
mod file;
mod generator;
mod json_field;
mod position;
mod records;
mod select;
mod socket;
mod stdout;
mod text_start;
mod timestamp;
mod undecodable;

#[cfg(test)]
mod fixtures;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use select::KeyExtractor;
pub use timestamp::{EventTimestamp, TimestampExtractor, is_implausible};
pub use undecodable::SkipLog;

use crate::clock::SharedClock;
use crate::error::Result;
use crate::model::{Batch, Interrupt};
use crate::pipeline::{FileFormat, SinkConfig, SourceConfig, UndecodablePolicy, ValueFormat};

/// A source ends a poll when it has given this many bytes, however many records were asked for: a column has a limit.
const POLL_BYTES_MAX: usize = 1 << 20;

/// Records that are looked at before a source is said to have no timestamps.
pub const FIRST_RECORDS: usize = 100;

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
    /// Appends up to `records` records to `batch`, or fewer where that many are not there at once, or where they are
    /// more than about 1 MiB. Asked for none, it is `Pending`. Blocks for 50 ms at most. An error stands behind the records
    /// that the same call appended: they count, and the position is behind them. Another call then fails again.
    fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll>;

    /// The position behind the last record that `poll` gave: what [`open_source`] continues from.
    fn position(&self) -> Result<Vec<u8>>;

    /// Number of records left out since the last call, because they could not be decoded.
    fn take_skipped(&mut self) -> u64 {
        0
    }

    /// Moves the position in front of the last `records` records of the last poll. A source that cannot be replayed, and so
    /// has no position, does nothing.
    fn give_back(&mut self, _records: usize) -> Result<()> {
        Ok(())
    }

    /// Where a person finds the record behind the position.
    fn place(&mut self) -> String;

    /// Where record `index` of those that the last `poll` gave is in the input, where the source can tell. It may read the
    /// input again, so it is for a record that failed.
    fn locate(&self, _index: usize, _is_cancelled: &dyn Fn() -> bool) -> Option<RecordLocation> {
        None
    }
}

/// Where a record begins in its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLocation {
    pub file: String,
    /// From 0, of the decompressed file.
    pub byte: u64,
    /// From 1, where it could be counted.
    pub line: Option<u64>,
}

impl fmt::Display for RecordLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} of `{}`", self.file),
            None => write!(f, "byte {} of `{}`", self.byte, self.file),
        }
    }
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
    /// after checkpoint `restored` (all of it where there is none). Returns names of what it could not find any more.
    fn recover(&self, restored: Option<u64>, committables: &[Vec<u8>]) -> Result<Vec<String>>;

    /// Publishes what the checkpoint of another job promised, under the names that it gave. May be repeated. Removes
    /// nothing. Returns names of what cannot be found. Error: `sink-changed` if promised records would be lost.
    fn adopt(&self, committables: &[Vec<u8>]) -> Result<Vec<String>>;
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
    /// Ends what takes long before the first record, such as finding the place to go on from, with `interrupted`.
    pub interrupt: Interrupt,
}

/// Opens one subtask's share of a source. Where it was restored, `positions` are what [`Source::position`] gave for each
/// subtask there was, in order; where there were as many as there are now, each goes on with its own, else what is left
/// to read is dealt anew, each piece to one. Fails with `source-missing` or `source-failed` by what is read, with
/// `checkpoint-corrupt` by the positions.
pub fn open_source(
    config: &SourceConfig,
    on_undecodable: UndecodablePolicy,
    context: &ConnectorContext,
    positions: &[&[u8]],
) -> Result<Box<dyn Source>> {
    Ok(match config {
        SourceConfig::File { path, format, header } => {
            let settings = file_settings(path, *format, *header, on_undecodable);
            Box::new(file::FileSource::open(settings, context, positions)?)
        }
        SourceConfig::Generator { records, template, keys } => {
            Box::new(generator::Generator::open(*records, template, *keys, context, positions)?)
        }
        SourceConfig::Socket { address, format } => {
            Box::new(socket::SocketSource::open(address, *format, on_undecodable, context)?)
        }
    })
}

/// Where the first record that is `value` begins in the input of a source. None where there is none, where the source's input
/// cannot be read again, and where it is far from the beginning. Reads the input again.
pub fn find_record(
    config: &SourceConfig,
    base_dir: &Path,
    value: &[u8],
    is_cancelled: &dyn Fn() -> bool,
) -> Option<RecordLocation> {
    match config {
        SourceConfig::File { path, format, header } => {
            file::find_record(&base_dir.join(path), *format, *header, value, is_cancelled)
        }
        SourceConfig::Generator { .. } | SourceConfig::Socket { .. } => None,
    }
}

fn file_settings(
    path: &Path,
    format: FileFormat,
    header: bool,
    on_undecodable: UndecodablePolicy,
) -> file::FileSettings {
    file::FileSettings { path: path.to_owned(), format, header, on_undecodable }
}

/// Whether a source can give its records again.
pub fn replay(config: &SourceConfig) -> Replay {
    match config {
        SourceConfig::File { .. } | SourceConfig::Generator { .. } => Replay::Yes,
        SourceConfig::Socket { .. } => Replay::No,
    }
}

/// For what a source is checked.
#[derive(Clone, Copy, Debug)]
pub enum SourceCheck<'a> {
    /// A submit: everything that a person should correct is refused.
    Submit,
    /// An attempt of a job that was accepted, which goes on at these positions; at first there are none. Only what the job
    /// still reads matters.
    Attempt { positions: &'a [&'a [u8]] },
}

/// Whether the input is there (`source-missing`) and can be opened (`source-failed`, `source-encoding`), and how its records
/// are written, with the names of a CSV header's columns. A socket is not tried.
pub fn check_source(config: &SourceConfig, base_dir: &Path, begin: SourceCheck<'_>) -> Result<ValueFormat> {
    match config {
        SourceConfig::File { path, format, header } => {
            file::check_source(&file_settings(path, *format, *header, UndecodablePolicy::Fail), base_dir, begin)
        }
        SourceConfig::Generator { template, .. } => Ok(generator::format(template)),
        SourceConfig::Socket { format, .. } => Ok(match format {
            FileFormat::Lines => ValueFormat::Raw,
            FileFormat::Csv => ValueFormat::Csv(None),
            FileFormat::Ndjson => ValueFormat::Json,
        }),
    }
}

/// At submit: the first records of a source that can be replayed, as far as they can be read at once.
pub fn first_records(config: &SourceConfig, context: &ConnectorContext) -> Batch {
    let mut batch = Batch::default();
    if replay(config) == Replay::Yes
        && let Ok(mut source) = open_source(config, UndecodablePolicy::Fail, context, &[])
    {
        // What is wrong with them is found when they are read for good.
        let _ = source.poll(&mut batch, FIRST_RECORDS);
    }
    batch
}

/// Opens one subtask's share of a sink. Fails with `sink-unwritable`.
pub fn open_sink(config: &SinkConfig, context: &ConnectorContext) -> Result<Box<dyn Sink>> {
    Ok(match config {
        SinkConfig::File { path } => Box::new(file::FileSink::open(path, context)?),
        SinkConfig::Stdout => Box::new(stdout::StdoutSink::open(context.interrupt.clone())),
        SinkConfig::Blackhole => Box::new(blackhole::BlackholeSink),
    })
}

/// At submit: whether the sink can be written (`sink-unwritable`, with the path and the system's reason). Leaves nothing
/// behind.
pub fn check_sink(config: &SinkConfig, base_dir: &Path) -> Result<()> {
    match config {
        SinkConfig::File { path } => file::check_sink(&base_dir.join(path)),
        SinkConfig::Stdout | SinkConfig::Blackhole => Ok(()),
    }
}

/// The committer of a sink, for the whole job: of `context`, it does not look at the subtask.
pub fn committer(config: &SinkConfig, context: &ConnectorContext) -> Box<dyn Committer> {
    match config {
        SinkConfig::File { path } => Box::new(file::FileCommitter::new(path, context)),
        SinkConfig::Stdout | SinkConfig::Blackhole => Box::new(NoopCommitter { node: context.node.clone() }),
    }
}

/// Whether a job can keep what another job's checkpoint promised of the sink `node`, which is `sink` now; None if the
/// pipeline has none of that id. Changes nothing. Returns names of what cannot be found. Error: `sink-changed`.
pub fn check_promise(
    committables: &[Vec<u8>],
    sink: Option<&SinkConfig>,
    base_dir: &Path,
    node: &str,
) -> Result<Vec<String>> {
    // The file sink is the only one whose committables there are.
    let own = match sink {
        Some(SinkConfig::File { path }) => Some(base_dir.join(path)),
        Some(SinkConfig::Stdout | SinkConfig::Blackhole) | None => None,
    };
    file::check_promise(committables, own.as_deref(), node)
}

/// What another job has published where a sink writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherJobOutput {
    pub files: u64,
    /// The newest of the checkpoints that published them.
    pub newest_checkpoint: u64,
}

/// What other jobs have published where a sink writes, by the job's id.
pub fn published_by_other_jobs(sink: &SinkConfig, base_dir: &Path) -> BTreeMap<String, OtherJobOutput> {
    match sink {
        SinkConfig::File { path } => file::others(&base_dir.join(path)),
        SinkConfig::Stdout | SinkConfig::Blackhole => BTreeMap::new(),
    }
}

/// The committer of sinks that publish as they write.
struct NoopCommitter {
    node: String,
}

impl Committer for NoopCommitter {
    fn commit(&self, _committables: &[Vec<u8>]) -> Result<()> {
        Ok(())
    }

    fn recover(&self, _restored: Option<u64>, _committables: &[Vec<u8>]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn adopt(&self, committables: &[Vec<u8>]) -> Result<Vec<String>> {
        file::check_promise(committables, None, &self.node)
    }
}
