//! What a connector implements: the settings of one source or one sink, which open it and know its promises.
//!
//! A connector is a folder of its own. It reads its section of the pipeline file into a [`SourceSpec`] or a [`SinkSpec`], and
//! is listed in `registry.rs`. Most methods have a default that suits a connector of bytes without files.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::context::ConnectorContext;
use super::ingest::IngestSettings;
use super::sink::{Committer, OtherJobOutput, Sink};
use super::source::{RecordLocation, Replay, Source, SourceCheck};
use crate::access::PipelinePaths;
use crate::error::{Result, internal};
use crate::format::{RecordEncoder, SourceDecoding};
use crate::pipeline::{
    FileFormat, RecordParts, SecretReference, SinkConfig, SinkSettings, SourceConfig, SourceSettings,
};

/// The settings of a source.
pub(super) trait SourceSpec: fmt::Debug + Send + Sync {
    /// Returns the format of the records, and whether they follow a header.
    fn format(&self) -> (FileFormat, bool);

    /// Returns the topic of the messages that the source reads, or an empty text if there are several. `None` if it reads lines, which
    /// cannot hold Avro.
    fn topic(&self) -> Option<String> {
        None
    }

    /// Returns whether the records can be read again.
    fn replay(&self) -> Replay;

    /// Returns what the connector has for each record besides its bytes. The timestamps and keys are in the batches of its source.
    fn record_parts(&self) -> RecordParts {
        RecordParts::default()
    }

    /// Returns the largest parallelism that is of use, if there is one.
    fn max_parallelism(&self) -> Option<u32> {
        None
    }

    /// Returns the setting that says where the input is. Errors of [`SourceSpec::check`] are shown with its line.
    fn location_key(&self) -> &'static str;

    /// Returns the secrets with the settings that refer to them. They are checked before a job starts.
    fn secrets(&self) -> Vec<(&'static str, &SecretReference)> {
        Vec::new()
    }

    /// Checks the input before a job starts. Returns the names of the columns, if the input is CSV with a header.
    fn check(&self, _paths: &PipelinePaths, _check: SourceCheck<'_>) -> Result<Option<Vec<String>>> {
        Ok(None)
    }

    /// Checks at submit that all inputs have the columns that their consumers need.
    fn check_headers(&self, _paths: &PipelinePaths, _decoding: &SourceDecoding) -> Result<()> {
        Ok(())
    }

    /// Returns the settings of a source that the listener for records fills.
    fn ingest(&self) -> Option<&IngestSettings> {
        None
    }

    /// Opens one subtask's share. `positions` are as in [`super::open_source`].
    fn open(
        &self,
        decoding: &SourceDecoding,
        context: &ConnectorContext,
        positions: &[&[u8]],
    ) -> Result<Box<dyn Source>>;

    /// Returns the location of the first record for which `is_match` returns true, see [`super::find_record`].
    fn find_record(
        &self,
        _paths: &PipelinePaths,
        _is_match: &mut dyn FnMut(&[u8], &[String]) -> bool,
        _is_cancelled: &dyn Fn() -> bool,
    ) -> Option<RecordLocation> {
        None
    }
}

/// How often a sink writes a record of a job that restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkGuarantee {
    /// Once: output is published with a checkpoint.
    ExactlyOnce,
    /// At least once: output is visible before its checkpoint and cannot be taken back.
    AtLeastOnce,
}

/// The settings of a sink.
pub(super) trait SinkSpec: fmt::Debug + Send + Sync {
    /// Returns how often a record is written.
    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::AtLeastOnce
    }

    /// Returns the topic of the messages that the sink writes, or an empty text if there are several. `None` if it writes lines, which
    /// cannot hold Avro.
    fn topic(&self) -> Option<String> {
        None
    }

    /// Returns whether the sink ignores the content of its records, so that it needs none.
    fn ignores_records(&self) -> bool {
        false
    }

    /// Returns the setting that says where the output goes. Errors of [`SinkSpec::check`] are shown with its line.
    fn location_key(&self) -> &'static str {
        "connector"
    }

    /// Returns the secrets with the settings that refer to them. They are checked before a job starts.
    fn secrets(&self) -> Vec<(&'static str, &SecretReference)> {
        Vec::new()
    }

    /// Checks at submit that the sink can be written. Leaves nothing behind.
    fn check(&self, _paths: &PipelinePaths) -> Result<()> {
        Ok(())
    }

    /// Opens one subtask's share. Error: `sink-unwritable`.
    fn open(&self, encoder: RecordEncoder, context: &ConnectorContext) -> Result<Box<dyn Sink>>;

    /// Returns the committer for the whole job, or `None` if the sink prepares nothing.
    fn committer(&self, _context: &ConnectorContext) -> Option<Box<dyn Committer>> {
        None
    }

    /// Returns where the records go if the sink publishes through the outbox, see [`super::OutboxPeer::target`].
    fn outbox_target(&self) -> Option<String> {
        None
    }

    /// Returns the folder in which the sink publishes files, if it does.
    fn folder(&self, _paths: &PipelinePaths) -> Option<PathBuf> {
        None
    }

    /// Returns the output of other jobs at the same place, by job id.
    fn published_by_other_jobs(&self, _paths: &PipelinePaths) -> BTreeMap<String, OtherJobOutput> {
        BTreeMap::new()
    }
}

/// Returns the settings of a source as the pipeline keeps them.
pub(super) fn source(spec: impl SourceSpec + 'static) -> Box<dyn SourceSettings> {
    let spec: Box<dyn SourceSpec> = Box::new(spec);
    Box::new(spec)
}

/// Returns the settings of a sink as the pipeline keeps them.
pub(super) fn sink(spec: impl SinkSpec + 'static) -> Box<dyn SinkSettings> {
    let spec: Box<dyn SinkSpec> = Box::new(spec);
    Box::new(spec)
}

impl SourceSettings for Box<dyn SourceSpec> {
    fn format(&self) -> (FileFormat, bool) {
        (**self).format()
    }

    fn record_parts(&self) -> RecordParts {
        (**self).record_parts()
    }

    fn max_parallelism(&self) -> Option<u32> {
        (**self).max_parallelism()
    }
}

impl SinkSettings for Box<dyn SinkSpec> {}

/// Returns the specification of a source.
pub(super) fn source_spec(config: &SourceConfig) -> &dyn SourceSpec {
    let settings: &dyn Any = config.settings();
    match settings.downcast_ref::<Box<dyn SourceSpec>>() {
        Some(spec) => &**spec,
        None => &ForeignSettings,
    }
}

/// Returns the specification of a sink.
pub(super) fn sink_spec(config: &SinkConfig) -> &dyn SinkSpec {
    let settings: &dyn Any = config.settings();
    match settings.downcast_ref::<Box<dyn SinkSpec>>() {
        Some(spec) => &**spec,
        None => &ForeignSettings,
    }
}

/// Stands for settings that are not of this module. Cannot be opened.
#[derive(Debug)]
struct ForeignSettings;

const FOREIGN: &str = "the settings of a node are not those of a connector";

impl SourceSpec for ForeignSettings {
    fn format(&self) -> (FileFormat, bool) {
        (FileFormat::Raw, false)
    }

    fn replay(&self) -> Replay {
        Replay::No
    }

    fn location_key(&self) -> &'static str {
        "connector"
    }

    fn open(&self, _: &SourceDecoding, _: &ConnectorContext, _: &[&[u8]]) -> Result<Box<dyn Source>> {
        Err(internal(FOREIGN))
    }
}

impl SinkSpec for ForeignSettings {
    fn open(&self, _: RecordEncoder, _: &ConnectorContext) -> Result<Box<dyn Sink>> {
        Err(internal(FOREIGN))
    }
}
