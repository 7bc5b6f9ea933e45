//! The settings of a file sink.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::sink::{FileCommitter, FileSink, check_sink, output_of_other_jobs};
use crate::access::PipelinePaths;
use crate::connector::context::ConnectorContext;
use crate::connector::sink::{Committer, OtherJobOutput, Sink};
use crate::connector::spec::{self, SinkGuarantee, SinkSpec};
use crate::error::Result;
use crate::format::RecordEncoder;
use crate::pipeline::{SinkSettings, TomlSection};

/// The settings of a file sink.
#[derive(Debug)]
struct FileSinkSpec {
    /// The folder.
    path: PathBuf,
}

/// Reads `[sink.ID]` with `connector = "file"`.
pub(super) fn read(section: &TomlSection<'_>) -> Result<Box<dyn SinkSettings>> {
    Ok(spec::sink(FileSinkSpec { path: PathBuf::from(section.need("path")?.string()?) }))
}

impl SinkSpec for FileSinkSpec {
    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::ExactlyOnce
    }

    fn location_key(&self) -> &'static str {
        "path"
    }

    fn check(&self, paths: &PipelinePaths) -> Result<()> {
        check_sink(&paths.join(&self.path), &paths.policy)
    }

    fn open(&self, encoder: RecordEncoder, context: &ConnectorContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(FileSink::open(&self.path, encoder, context)?))
    }

    fn committer(&self, context: &ConnectorContext) -> Option<Box<dyn Committer>> {
        Some(Box::new(FileCommitter::new(&self.path, context)))
    }

    fn folder(&self, paths: &PipelinePaths) -> Option<PathBuf> {
        Some(paths.join(&self.path))
    }

    fn published_by_other_jobs(&self, paths: &PipelinePaths) -> BTreeMap<String, OtherJobOutput> {
        output_of_other_jobs(&paths.join(&self.path), &paths.policy)
    }
}
