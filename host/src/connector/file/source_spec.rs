//! The settings of a file source.

use std::path::PathBuf;

use super::source::{FileSettings, FileSource, check_headers, check_source, find_record};
use crate::access::PipelinePaths;
use crate::connector::context::ConnectorContext;
use crate::connector::source::{RecordLocation, Replay, Source, SourceCheck};
use crate::connector::spec::{self, SourceSpec};
use crate::error::Result;
use crate::format::SourceDecoding;
use crate::pipeline::{FileFormat, SourceSettings, TomlSection, UndecodablePolicy, source_format};

/// The settings of a file source.
#[derive(Debug)]
struct FileSourceSpec {
    /// The file or folder.
    path: PathBuf,
    format: FileFormat,
    /// Whether each file begins with the names of its columns.
    header: bool,
}

/// Reads `[source.ID]` with `connector = "file"`.
pub(super) fn read(section: &TomlSection<'_>) -> Result<Box<dyn SourceSettings>> {
    let path = PathBuf::from(section.need("path")?.string()?);
    let format = source_format(section)?.unwrap_or(FileFormat::Lines);
    let header = match section.get("header") {
        Some(item) if format != FileFormat::Csv => return Err(item.invalid("has no effect without format = \"csv\"")),
        Some(item) => item.bool()?,
        None => format == FileFormat::Csv,
    };
    Ok(spec::source(FileSourceSpec { path, format, header }))
}

impl FileSourceSpec {
    fn settings(&self, on_undecodable: UndecodablePolicy) -> FileSettings {
        let FileSourceSpec { path, format, header } = self;
        FileSettings { path: path.clone(), format: *format, header: *header, on_undecodable, one_header: true }
    }
}

impl SourceSpec for FileSourceSpec {
    fn format(&self) -> (FileFormat, bool) {
        (self.format, self.header)
    }

    fn replay(&self) -> Replay {
        Replay::Yes
    }

    fn location_key(&self) -> &'static str {
        "path"
    }

    fn check(&self, paths: &PipelinePaths, check: SourceCheck<'_>) -> Result<Option<Vec<String>>> {
        check_source(&self.settings(UndecodablePolicy::Fail), paths, check)
    }

    fn check_headers(&self, paths: &PipelinePaths, decoding: &SourceDecoding) -> Result<()> {
        check_headers(&self.settings(decoding.on_undecodable), paths, decoding)
    }

    fn open(
        &self,
        decoding: &SourceDecoding,
        context: &ConnectorContext,
        positions: &[&[u8]],
    ) -> Result<Box<dyn Source>> {
        // A record as it is does not name its columns, so all files must have the same.
        let one_header = decoding.wants_raw && decoding.settings.columns.is_none();
        let settings = FileSettings { one_header, ..self.settings(decoding.on_undecodable) };
        Ok(Box::new(FileSource::open(settings, context, positions)?))
    }

    fn find_record(
        &self,
        paths: &PipelinePaths,
        is_match: &mut dyn FnMut(&[u8], &[String]) -> bool,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Option<RecordLocation> {
        find_record(&paths.join(&self.path), &paths.policy, (self.format, self.header), is_match, is_cancelled)
    }
}
