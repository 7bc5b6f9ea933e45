//! The output that sinks prepared for a checkpoint, and the check that a job can publish what another job prepared.

use std::collections::BTreeMap;

use crate::access::PipelinePaths;
use crate::checkpoint::{CheckpointMetadata, SubtaskMetadata};
use crate::connector;
use crate::error::{Error, Result};
use crate::pipeline::{NodeKind, PipelineSpec, SinkConfig};

/// Returns the committables of each sink that prepared output for a checkpoint, one for each of its subtasks that did.
pub fn committables(metadata: &CheckpointMetadata) -> BTreeMap<&str, Vec<Vec<u8>>> {
    let of_sink = |operator: &crate::checkpoint::OperatorMetadata| {
        operator.subtasks.iter().filter_map(|subtask| subtask.committable.clone()).collect::<Vec<_>>()
    };
    let all = metadata.operators.iter().map(|operator| (operator.id.as_str(), of_sink(operator)));
    all.filter(|(_, committables)| !committables.is_empty()).collect()
}

/// Returns the bytes that a sink prepared for a checkpoint and does not know to be published.
pub fn prepared_bytes(metadata: &CheckpointMetadata, sink: &str) -> u64 {
    let of_subtask = |subtask: &SubtaskMetadata| {
        let inline = subtask.committable.as_ref().map_or(0, |committable| committable.len() as u64);
        subtask.output.iter().fold(inline, |sum, file| sum.saturating_add(file.bytes))
    };
    metadata.subtasks(sink).iter().map(of_subtask).fold(0, u64::saturating_add)
}

/// Returns the sinks whose output in a checkpoint is not known to be published.
pub fn unpublished_sinks(metadata: &CheckpointMetadata) -> Vec<&str> {
    let is_sink = |committables: &[Vec<u8>]| {
        committables.iter().any(|committable| !connector::is_letter_committable(committable))
    };
    committables(metadata).into_iter().filter(|(_, all)| is_sink(all)).map(|(sink, _)| sink).collect()
}

/// Checks that a pipeline can publish what another job prepared for a checkpoint. Changes nothing. Returns warnings.
/// Error: `sink-changed` if prepared records would be lost.
pub fn check_prepared_output(
    metadata: &CheckpointMetadata,
    pipeline: &PipelineSpec,
    paths: &PipelinePaths,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for (node, mut committables) in committables(metadata) {
        // A job that starts from the checkpoint takes its letters over.
        committables.retain(|committable| !connector::is_letter_committable(committable));
        if committables.is_empty() {
            continue;
        }
        let missing = connector::check_promise(&committables, sink_config(pipeline, node), paths, node)
            .map_err(|error| of_checkpoint(metadata, error))?;
        warnings.extend(missing.iter().map(|name| missing_output(node, name)));
    }
    Ok(warnings)
}

/// Adds the checkpoint to an error's message.
pub fn of_checkpoint(metadata: &CheckpointMetadata, error: Error) -> Error {
    error.context(format!("checkpoint {} of job {}", metadata.checkpoint_id, metadata.job_id))
}

/// Returns the warning about prepared output that cannot be found.
pub fn missing_output(sink: &str, name: &str) -> String {
    format!(
        "sink `{sink}`: `{name}` was prepared for the restored checkpoint, but it is neither pending nor published unchanged; \
         unless it was removed after its publication, its records are lost"
    )
}

fn sink_config<'a>(pipeline: &'a PipelineSpec, id: &str) -> Option<&'a SinkConfig> {
    pipeline.nodes.iter().filter(|node| node.id == id).find_map(|node| match &node.kind {
        NodeKind::Sink(sink) => Some(&sink.connector),
        _ => None,
    })
}
