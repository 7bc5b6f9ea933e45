//! Checks a source: its connector, its timestamps, and whether it can be replayed.

use std::path::Path;
use std::sync::Arc;

use super::error_context::{explain_empty_input, in_node};
use crate::clock::SystemClock;
use crate::connector::{self, ConnectorContext, Replay, SourceCheck, TimestampExtractor};
use crate::error::Result;
use crate::format::SourceDecoding;
use crate::model::Interrupt;
use crate::pipeline::{PipelineNode, SourceNode, ValueFormat};
use crate::runtime::source::source_decoder;

/// The result of checking a source.
pub(super) struct CheckedSource {
    /// The format of its records.
    pub(super) format: ValueFormat,
    /// `None` if the source has no timestamps.
    pub(super) timestamps: Option<Arc<TimestampExtractor>>,
}

/// Checks a source. With `SourceCheck::Submit` its first records are checked too.
pub(super) fn check_source(
    node: &PipelineNode,
    source: &SourceNode,
    check: SourceCheck<'_>,
    base_dir: &Path,
    warnings: &mut Vec<String>,
) -> Result<CheckedSource> {
    let is_submit = matches!(check, SourceCheck::Submit);
    let format = connector::check_source(&source.connector, base_dir, check)
        .map_err(|error| in_node("source", node, "path", error))?;
    let mut timestamps = None;
    if let Some(selector) = &source.timestamp {
        let extractor = TimestampExtractor::compile(selector, &format)
            .map_err(|error| in_node("source", node, "timestamp", explain_empty_input(node, &format, error)))?;
        if is_submit {
            warnings.extend(check_first_timestamps(node, source, base_dir)?);
        }
        timestamps = Some(Arc::new(extractor));
    }
    if connector::replay(&source.connector) == Replay::No {
        warnings.push(format!(
            "source `{}` cannot be replayed: a restart of the job loses the records that were read after the last checkpoint",
            node.id
        ));
    }
    Ok(CheckedSource { format, timestamps })
}

/// Checks the timestamps of the first records, which show whether field and format are right.
fn check_first_timestamps(node: &PipelineNode, source: &SourceNode, base_dir: &Path) -> Result<Option<String>> {
    let context = ConnectorContext {
        job_id: String::new(),
        node: node.id.clone(),
        subtask: 0,
        parallelism: 1,
        clock: SystemClock::shared(),
        base_dir: base_dir.to_owned(),
        seed: 0,
        interrupt: Interrupt::default(),
    };
    let (format, has_header) = source.connector.format();
    let decoding = SourceDecoding::raw(format, source.decoding.clone(), source.timestamp.clone());
    let first = connector::first_records(&source.connector, &decoding, &context);
    source_decoder::check_first_records(&node.id, &decoding, has_header, source.on_undecodable, first)
        .map_err(|error| error.about(&node.id, "timestamp"))
}
