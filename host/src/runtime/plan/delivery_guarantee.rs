//! The delivery guarantee of a pipeline: exactly-once, or what weakens it and why.

use crate::access::PipelinePaths;
use crate::connector::{self, Replay, SinkGuarantee};
use crate::pipeline::{CheckpointMode, NodeKind, PipelineSpec};

/// Returns the guarantee as a text for the user. Adds warnings about a pipeline without periodic checkpoints.
pub(super) fn delivery_guarantee(pipeline: &PipelineSpec, paths: &PipelinePaths, warnings: &mut Vec<String>) -> String {
    let mut weaknesses = Vec::new();
    for node in &pipeline.nodes {
        match &node.kind {
            NodeKind::Source(source) if connector::replay(&source.connector) == Replay::No => {
                weaknesses.push(format!("at-most-once from source `{}`, which cannot be replayed", node.id));
            }
            NodeKind::Sink(sink) if connector::guarantee(&sink.connector) == SinkGuarantee::AtLeastOnce => {
                weaknesses.push(format!("at-least-once to sink `{}`, which cannot take back its output", node.id));
            }
            _ => {}
        }
    }
    if pipeline.checkpoint.mode == CheckpointMode::AtLeastOnce {
        weaknesses.push("at-least-once because of the checkpoint mode".to_owned());
    }
    if !pipeline.checkpoint.is_periodic() {
        warn_of_missing_checkpoints(pipeline, paths, warnings);
    }
    if weaknesses.is_empty() { "exactly-once".to_owned() } else { weaknesses.join("; ") }
}

fn warn_of_missing_checkpoints(pipeline: &PipelineSpec, paths: &PipelinePaths, warnings: &mut Vec<String>) {
    warnings.push("[checkpoint] has no interval or records: the job restarts from the beginning".to_owned());
    for node in &pipeline.nodes {
        if matches!(&node.kind, NodeKind::Sink(sink) if connector::publishes_files(&sink.connector, paths)) {
            warnings.push(format!(
                "sink `{}` publishes its files only when the job ends or a savepoint is taken, because [checkpoint] has no \
                 interval or records; a cancel removes unpublished files",
                node.id
            ));
        }
    }
}
