//! Checks a source: its connector, its timestamps, and whether it can be replayed.

use super::error_context::in_setting;
use crate::access::PipelinePaths;
use crate::clock::SystemClock;
use crate::connector::{self, ConnectorContext, HealthBoard, HealthReporter, Replay, SourceCheck};
use crate::error::Result;
use crate::format::SourceDecoding;
use crate::model::Interrupt;
use crate::pipeline::{PipelineNode, SourceNode, TimestampSelector};
use crate::runtime::source::source_decoder;
use crate::wakeup::Wakeup;

/// Checks a source. Returns the names of the columns of CSV, if they are known.
pub(super) fn check_source(
    node: &PipelineNode,
    source: &SourceNode,
    check: SourceCheck<'_>,
    paths: &PipelinePaths,
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<String>>> {
    let in_header =
        connector::check_source(&source.connector, paths, check).map_err(|error| in_setting("source", node, error))?;
    if connector::replay(&source.connector) == Replay::No {
        warnings.push(format!(
            "source `{}` cannot be replayed: a restart of the job loses the records that were read after the last checkpoint",
            node.id
        ));
    }
    Ok(source.decoding.columns.clone().or(in_header))
}

/// Checks the timestamps of the first records, which show whether field and format are right. Returns a warning for the user, if any.
pub(super) fn check_first_timestamps(
    node: &PipelineNode,
    source: &SourceNode,
    selector: &TimestampSelector,
    paths: &PipelinePaths,
) -> Result<Option<String>> {
    let (clock, secrets) = (SystemClock::shared(), paths.policy.secrets());
    let context = ConnectorContext {
        health: HealthReporter::new(&HealthBoard::default(), ("", &node.id), None, &clock, secrets),
        job_id: String::new(),
        node: node.id.clone(),
        subtask: 0,
        parallelism: 1,
        clock,
        base_dir: paths.base_dir.clone(),
        working_dir: Default::default(),
        progress: Default::default(),
        policy: paths.policy.clone(),
        seed: 0,
        interrupt: Interrupt::default(),
        runtime: None,
        ingest: None,
        wakeup: Wakeup::default(),
    };
    let (format, has_header) = source.connector.format();
    let decoding = SourceDecoding::raw(format, source.decoding.clone(), Some(selector.clone()));
    let first = connector::first_records(&source.connector, &decoding, &context);
    source_decoder::check_first_records(&node.id, &decoding, has_header, source.on_undecodable, first)
        .map_err(|error| error.about(&node.id, "timestamp"))
}
