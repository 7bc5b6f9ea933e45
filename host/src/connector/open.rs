//! Opens and checks the sources and sinks of a pipeline, whatever their connector.

use std::collections::BTreeMap;

use super::context::ConnectorContext;
use super::ingest::IngestSettings;
use super::schema_registry::avro_writing;
use super::sink::{Committer, OtherJobOutput, Recovered, Sink, SinkOutput};
use super::source::{FIRST_RECORDS, HeaderRun, RecordLocation, Replay, Source, SourceCheck};
use super::spec::{SinkGuarantee, sink_spec, source_spec};
use super::{file, outbox};
use crate::access::{AccessPolicy, PipelinePaths};
use crate::error::{Error, Result};
use crate::format::{RecordEncoder, SourceDecoding};
use crate::model::Batch;
use crate::pipeline::{EncodingSettings, SecretReference, SinkConfig, SourceConfig};

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
    let opened = source_spec(config).open(decoding, context, positions);
    opened.map_err(|error| context.policy.secrets().redact_error(error))
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
    source_spec(config).find_record(paths, is_match, is_cancelled)
}

/// Returns the settings of a source that the listener for records fills, or `None` for other sources.
pub fn ingest_source(config: &SourceConfig) -> Option<&IngestSettings> {
    source_spec(config).ingest()
}

/// Returns whether a source can read its records again.
pub fn replay(config: &SourceConfig) -> Replay {
    source_spec(config).replay()
}

/// An error about one setting of a source or sink.
pub struct SettingError {
    /// The setting, whose line is shown.
    pub key: &'static str,
    /// What is wrong.
    pub error: Error,
}

/// Checks that the input is allowed (`path-denied`, `address-denied`), exists (`source-missing`) and can be opened (`source-failed`,
/// `source-encoding`), and that there are the secrets it needs (`secret-missing`, `secret-denied`). Returns the names of the columns,
/// if the input is CSV with a header. Does not connect to a socket.
pub fn check_source(
    config: &SourceConfig,
    paths: &PipelinePaths,
    check: SourceCheck<'_>,
) -> Result<Option<Vec<String>>, SettingError> {
    let spec = source_spec(config);
    check_secrets(spec.secrets(), paths)?;
    spec.check(paths, check).map_err(|error| of_setting(spec.location_key(), paths, error))
}

fn check_secrets(secrets: Vec<(&'static str, &SecretReference)>, paths: &PipelinePaths) -> Result<(), SettingError> {
    for (key, reference) in secrets {
        let read = paths.policy.secrets().read(reference, &paths.base_dir);
        read.map_err(|error| of_setting(key, paths, error))?;
    }
    Ok(())
}

fn of_setting(key: &'static str, paths: &PipelinePaths, error: Error) -> SettingError {
    SettingError { key, error: paths.policy.secrets().redact_error(error) }
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
pub fn check_headers(
    config: &SourceConfig,
    paths: &PipelinePaths,
    decoding: &SourceDecoding,
) -> Result<(), SettingError> {
    let spec = source_spec(config);
    spec.check_headers(paths, decoding).map_err(|error| of_setting(spec.location_key(), paths, error))
}

/// Opens one subtask's share of a sink. Error: `sink-unwritable`.
pub fn open_sink(
    config: &SinkConfig,
    encoding: &EncodingSettings,
    context: &ConnectorContext,
) -> Result<Box<dyn Sink>> {
    let paths = PipelinePaths { base_dir: context.base_dir.clone(), policy: context.policy.clone() };
    let mut encoder = RecordEncoder::new(encoding.clone());
    if let Some(avro) = avro_writing(config, encoding, &paths, &context.interrupt)? {
        encoder = encoder.with_avro(avro);
    }
    let opened = sink_spec(config).open(encoder, context);
    opened.map_err(|error| context.policy.secrets().redact_error(error))
}

/// Returns how often a sink writes a record of a job that restarts.
pub fn guarantee(config: &SinkConfig) -> SinkGuarantee {
    sink_spec(config).guarantee()
}

/// Returns whether a sink ignores the content of its records.
pub fn ignores_records(config: &SinkConfig) -> bool {
    sink_spec(config).ignores_records()
}

/// Returns whether a sink publishes through the outbox.
pub fn uses_outbox(config: &SinkConfig) -> bool {
    sink_spec(config).outbox_target().is_some()
}

/// Returns whether a sink publishes files in a folder.
pub fn publishes_files(config: &SinkConfig, paths: &PipelinePaths) -> bool {
    sink_spec(config).folder(paths).is_some()
}

/// Checks at submit that the sink can be written. Leaves nothing behind. Errors: `path-denied`, `secret-missing`, `secret-denied`, and
/// `sink-unwritable` with the path and the system's reason.
pub fn check_sink(config: &SinkConfig, paths: &PipelinePaths) -> Result<(), SettingError> {
    let spec = sink_spec(config);
    check_secrets(spec.secrets(), paths)?;
    spec.check(paths).map_err(|error| of_setting(spec.location_key(), paths, error))
}

/// Returns the committer of a sink for the whole job. It ignores the subtask of `context`.
pub fn committer(config: &SinkConfig, context: &ConnectorContext) -> Box<dyn Committer> {
    match sink_spec(config).committer(context) {
        Some(committer) => committer,
        None => Box::new(NoopCommitter { node: context.node.clone(), policy: context.policy.clone() }),
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
    let spec = sink.map(sink_spec);
    if committables.iter().any(|committable| outbox::is_outbox_committable(committable)) {
        let own = spec.and_then(|spec| spec.outbox_target());
        outbox::check_promise(committables, own.as_deref(), node)?;
        return Ok(Vec::new());
    }
    let own = spec.and_then(|spec| spec.folder(paths));
    file::check_promise(committables, own.as_deref(), &paths.policy, node)
}

/// Returns the output that other jobs have published in the folder of a sink, by job id.
pub fn published_by_other_jobs(sink: &SinkConfig, paths: &PipelinePaths) -> BTreeMap<String, OtherJobOutput> {
    sink_spec(sink).published_by_other_jobs(paths)
}

/// The committer of sinks that publish as they write.
struct NoopCommitter {
    node: String,
    policy: AccessPolicy,
}

impl Committer for NoopCommitter {
    fn commit(&mut self, _output: &SinkOutput<'_>) -> Result<()> {
        Ok(())
    }

    fn recover(&mut self, _restored: Option<&SinkOutput<'_>>) -> Result<Recovered> {
        Ok(Recovered::Done { missing: Vec::new() })
    }

    fn adopt(&mut self, output: &SinkOutput<'_>, _assume_lost: bool) -> Result<Recovered> {
        let missing = file::check_promise(&output.committables, None, &self.policy, &self.node)?;
        Ok(Recovered::Done { missing })
    }

    fn discard(&mut self) -> Result<()> {
        Ok(())
    }
}
