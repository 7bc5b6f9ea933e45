//! Creates and checks the connectors that a pipeline file names.

use std::collections::BTreeMap;
use std::path::Path;

use super::context::ConnectorContext;
use super::file::{self, FileCommitter, FileSettings, FileSink, FileSource};
use super::sink::{Committer, OtherJobOutput, Sink};
use super::source::{FIRST_RECORDS, HeaderRun, RecordLocation, Replay, Source, SourceCheck};
use super::{blackhole, generator, socket, stdout};
use crate::access::{AccessPolicy, PipelinePaths};
use crate::error::Result;
use crate::format::{RecordEncoder, SourceDecoding};
use crate::model::Batch;
use crate::pipeline::{EncodingSettings, FileFormat, SinkConfig, SourceConfig, UndecodablePolicy};

/// Opens one subtask's share of a source.
///
/// After a restore, `positions` are the results of [`Source::position`] of every subtask, in order. If the parallelism
/// is unchanged, each subtask continues from its own. Otherwise the remaining input is divided among the new subtasks.
/// Errors: `source-missing` and `source-failed` about the input, `checkpoint-corrupt` about the positions.
pub fn open_source(
    config: &SourceConfig,
    decoding: &SourceDecoding,
    context: &ConnectorContext,
    positions: &[&[u8]],
) -> Result<Box<dyn Source>> {
    let on_undecodable = decoding.on_undecodable;
    Ok(match config {
        SourceConfig::File { path, format, header } => {
            // A record as it is does not name its columns, so all files must have the same.
            let one_header = decoding.wants_raw && decoding.settings.columns.is_none();
            let settings = FileSettings { one_header, ..file_settings(path, *format, *header, on_undecodable) };
            Box::new(FileSource::open(settings, context, positions)?)
        }
        SourceConfig::Generator { records, template, keys, .. } => {
            Box::new(generator::Generator::open(*records, template, *keys, context, positions)?)
        }
        SourceConfig::Socket { address, format } => {
            Box::new(socket::SocketSource::open(address, *format, on_undecodable, context)?)
        }
    })
}

/// Returns the location of the first record of a source for which `is_match` returns true; it gets each record with the columns of its
/// file. Returns `None` if there is none, if the input cannot be read again, or if the record is too far from the beginning. Reads the
/// input again.
pub fn find_record(
    config: &SourceConfig,
    paths: &PipelinePaths,
    is_match: &mut dyn FnMut(&[u8], &[String]) -> bool,
    is_cancelled: &dyn Fn() -> bool,
) -> Option<RecordLocation> {
    match config {
        SourceConfig::File { path, format, header } => {
            file::find_record(&paths.join(path), &paths.policy, (*format, *header), is_match, is_cancelled)
        }
        SourceConfig::Generator { .. } | SourceConfig::Socket { .. } => None,
    }
}

fn file_settings(path: &Path, format: FileFormat, header: bool, on_undecodable: UndecodablePolicy) -> FileSettings {
    FileSettings { path: path.to_owned(), format, header, on_undecodable, one_header: true }
}

/// Returns whether a source can read its records again.
pub fn replay(config: &SourceConfig) -> Replay {
    match config {
        SourceConfig::File { .. } | SourceConfig::Generator { .. } => Replay::Yes,
        SourceConfig::Socket { .. } => Replay::No,
    }
}

/// Checks that the input is allowed (`path-denied`, `address-denied`), exists (`source-missing`) and can be opened (`source-failed`,
/// `source-encoding`). Returns the names of the columns, if the input is CSV with a header. Does not connect to a socket.
pub fn check_source(
    config: &SourceConfig,
    paths: &PipelinePaths,
    check: SourceCheck<'_>,
) -> Result<Option<Vec<String>>> {
    match config {
        SourceConfig::File { path, format, header } => {
            file::check_source(&file_settings(path, *format, *header, UndecodablePolicy::Fail), paths, check)
        }
        SourceConfig::Socket { address, .. } => paths.policy.check_address(address).map(|()| None),
        SourceConfig::Generator { .. } => Ok(None),
    }
}

/// Reads the first records of a source that can be replayed, as far as one poll returns them. Used at submit.
pub fn first_records(
    config: &SourceConfig,
    decoding: &SourceDecoding,
    context: &ConnectorContext,
) -> (Batch, Vec<HeaderRun>) {
    let (mut batch, mut headers) = (Batch::default(), Vec::new());
    if replay(config) == Replay::Yes
        && let Ok(mut source) = open_source(config, decoding, context, &[])
    {
        // The job reports an error in these records when it reads them.
        let _ = source.poll(&mut batch, FIRST_RECORDS);
        headers = source.headers().to_vec();
    }
    (batch, headers)
}

/// Checks at submit that all inputs of a source have the columns that its consumers need.
pub fn check_headers(config: &SourceConfig, paths: &PipelinePaths, decoding: &SourceDecoding) -> Result<()> {
    match config {
        SourceConfig::File { path, format, header } => {
            let settings = file_settings(path, *format, *header, decoding.on_undecodable);
            file::check_headers(&settings, paths, decoding)
        }
        SourceConfig::Generator { .. } | SourceConfig::Socket { .. } => Ok(()),
    }
}

/// Opens one subtask's share of a sink. Error: `sink-unwritable`.
pub fn open_sink(
    config: &SinkConfig,
    encoding: &EncodingSettings,
    context: &ConnectorContext,
) -> Result<Box<dyn Sink>> {
    let encoder = RecordEncoder::new(encoding.clone());
    Ok(match config {
        SinkConfig::File { path } => Box::new(FileSink::open(path, encoder, context)?),
        SinkConfig::Stdout => Box::new(stdout::StdoutSink::open(encoder, context)),
        SinkConfig::Blackhole => Box::new(blackhole::BlackholeSink),
    })
}

/// Checks at submit that the sink can be written. Leaves nothing behind. Errors: `path-denied`, and `sink-unwritable` with the
/// path and the system's reason.
pub fn check_sink(config: &SinkConfig, paths: &PipelinePaths) -> Result<()> {
    match config {
        SinkConfig::File { path } => file::check_sink(&paths.join(path), &paths.policy),
        SinkConfig::Stdout | SinkConfig::Blackhole => Ok(()),
    }
}

/// Returns the committer of a sink for the whole job. It ignores the subtask of `context`.
pub fn committer(config: &SinkConfig, context: &ConnectorContext) -> Box<dyn Committer> {
    match config {
        SinkConfig::File { path } => Box::new(FileCommitter::new(path, context)),
        SinkConfig::Stdout | SinkConfig::Blackhole => {
            Box::new(NoopCommitter { node: context.node.clone(), policy: context.policy.clone() })
        }
    }
}

/// Checks whether a job can publish the output that another job's checkpoint promised for the sink `node`.
///
/// `sink` is the sink with that id in the job's pipeline, or `None` if there is none. Changes nothing. Returns the names
/// of missing output. Error: `sink-changed`.
pub fn check_promise(
    committables: &[Vec<u8>],
    sink: Option<&SinkConfig>,
    paths: &PipelinePaths,
    node: &str,
) -> Result<Vec<String>> {
    // Only the file sink has committables.
    let own = match sink {
        Some(SinkConfig::File { path }) => Some(paths.join(path)),
        Some(SinkConfig::Stdout | SinkConfig::Blackhole) | None => None,
    };
    file::check_promise(committables, own.as_deref(), &paths.policy, node)
}

/// Returns the output that other jobs have published in the folder of a sink, by job id.
pub fn published_by_other_jobs(sink: &SinkConfig, paths: &PipelinePaths) -> BTreeMap<String, OtherJobOutput> {
    match sink {
        SinkConfig::File { path } => file::output_of_other_jobs(&paths.join(path), &paths.policy),
        SinkConfig::Stdout | SinkConfig::Blackhole => BTreeMap::new(),
    }
}

/// The committer of sinks that publish as they write.
struct NoopCommitter {
    node: String,
    policy: AccessPolicy,
}

impl Committer for NoopCommitter {
    fn commit(&self, _committables: &[Vec<u8>]) -> Result<()> {
        Ok(())
    }

    fn recover(&self, _restored: Option<u64>, _committables: &[Vec<u8>]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn adopt(&self, committables: &[Vec<u8>]) -> Result<Vec<String>> {
        file::check_promise(committables, None, &self.policy, &self.node)
    }
}
