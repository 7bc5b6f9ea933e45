//! What a complete checkpoint promises to publish of each sink, and how a job that restores it keeps that promise.
//!
//! A checkpoint counts once its manifest is durable, so its records are never read again: whoever restores it has to
//! publish what its sinks prepared, or must not start. See docs/decisions/0010-promises.md.

use std::collections::BTreeMap;
use std::path::Path;

use super::restore::Restored;
use crate::checkpoint::{CheckpointMetadata, CheckpointStorage};
use crate::connector::{self, Committer};
use crate::error::{Error, Result};
use crate::pipeline::{NodeKind, PipelineSpec, SinkConfig};

/// Jobs that a warning names.
const JOBS_NAMED: usize = 3;

/// The committables of each sink that has any, from the images of its subtasks.
pub(super) fn committables(manifest: &CheckpointMetadata) -> BTreeMap<&str, Vec<Vec<u8>>> {
    let of_sink = |image: &crate::checkpoint::OperatorMetadata| {
        image.subtasks.iter().filter_map(|subtask| subtask.committable.clone()).collect::<Vec<_>>()
    };
    let all = manifest.operators.iter().map(|image| (image.id.as_str(), of_sink(image)));
    all.filter(|(_, committables)| !committables.is_empty()).collect()
}

/// Whether a job can keep the promises of another job's checkpoint. Changes nothing. Returns warnings. Error:
/// `sink-changed` if promised records would be lost.
pub(super) fn check(manifest: &CheckpointMetadata, pipeline: &PipelineSpec, base_dir: &Path) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for (node, committables) in committables(manifest) {
        let missing = connector::check_promise(&committables, sink(pipeline, node), base_dir, node)
            .map_err(|error| of_checkpoint(manifest, error))?;
        warnings.extend(missing.iter().map(|name| missing_part(node, name)));
    }
    Ok(warnings)
}

/// Warnings about output that the folders of the sinks hold already. `history` are the jobs that this one goes on from, the
/// last one first; `begun_at` is the checkpoint of that one.
pub(super) fn warn_of_others(
    pipeline: &PipelineSpec,
    base_dir: &Path,
    history: &[String],
    begun_at: Option<u64>,
) -> Vec<String> {
    let sinks = pipeline.nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Sink(config) => Some((&node.id, config)),
        _ => None,
    });
    let mut warnings = Vec::new();
    for (sink, config) in sinks {
        let mut strangers = Vec::new();
        let mut files = 0;
        for (job, others) in connector::published_by_other_jobs(config, base_dir) {
            if !history.contains(&job) {
                files += others.files;
                strangers.push(job);
            } else if history.first() == Some(&job)
                && let Some(at) = begun_at.filter(|at| others.newest_checkpoint > *at)
            {
                let newest = others.newest_checkpoint;
                warnings.push(format!(
                    "sink `{sink}`: its folder holds output of job {job} up to checkpoint {newest}, and this job begins at \
                     checkpoint {at}: what was published in between will be there twice"
                ));
            }
        }
        if !strangers.is_empty() {
            let count = strangers.len();
            let jobs = strangers.into_iter().take(JOBS_NAMED).collect::<Vec<_>>().join(", ");
            let more = if count > JOBS_NAMED { ", ..." } else { "" };
            warnings.push(format!(
                "sink `{sink}`: its folder already holds {files} files of other jobs ({jobs}{more}): this job's output is added \
                 to theirs"
            ));
        }
    }
    warnings
}

/// Publishes what the restored checkpoint promised, and takes back what the job itself prepared or published later. The
/// promises of another job's checkpoint are kept once: `kept` says that they were. Returns warnings.
pub(super) fn recover(
    committers: &BTreeMap<String, Box<dyn Committer>>,
    pipeline: &PipelineSpec,
    base_dir: &Path,
    restored: &Restored,
    kept: bool,
) -> Result<Vec<String>> {
    let own = restored.manifest.as_deref().filter(|_| restored.own);
    let promised = own.map(committables).unwrap_or_default();
    let mut warnings = Vec::new();
    for (sink, committer) in committers {
        let committables = promised.get(sink.as_str()).map(Vec::as_slice).unwrap_or_default();
        let recovered = committer.recover(own.map(|manifest| manifest.checkpoint_id), committables);
        let missing = recovered.map_err(|error| error.context(format!("sink `{sink}`")))?;
        warnings.extend(missing.iter().map(|name| missing_part(sink, name)));
    }
    if let Some(others) = restored.manifest.as_deref().filter(|_| !restored.own && !kept) {
        // Sinks that the pipeline has no more are looked at as well.
        check(others, pipeline, base_dir)?;
        for (sink, committables) in committables(others) {
            let Some(committer) = committers.get(sink) else { continue };
            let missing = committer.adopt(&committables).map_err(|error| of_checkpoint(others, error))?;
            warnings.extend(missing.iter().map(|name| missing_part(sink, name)));
        }
    }
    Ok(warnings)
}

/// Records that the sinks have published what a checkpoint of this job promised.
pub(super) fn record_published(storage: &CheckpointStorage, manifest: &CheckpointMetadata) {
    if committables(manifest).is_empty() {
        return;
    }
    if let Err(error) = storage.mark_published(manifest) {
        // Whoever restores the checkpoint then looks for what is published in the sinks' folders.
        tracing::warn!(checkpoint = manifest.checkpoint_id, "its publication could not be recorded: {error}");
    }
}

fn sink<'a>(pipeline: &'a PipelineSpec, id: &str) -> Option<&'a SinkConfig> {
    pipeline.nodes.iter().filter(|node| node.id == id).find_map(|node| match &node.kind {
        NodeKind::Sink(config) => Some(config),
        _ => None,
    })
}

fn of_checkpoint(manifest: &CheckpointMetadata, error: Error) -> Error {
    error.context(format!("checkpoint {} of job {}", manifest.checkpoint_id, manifest.job_id))
}

fn missing_part(sink: &str, name: &str) -> String {
    format!(
        "sink `{sink}`: `{name}`, which the restored checkpoint promised, is neither pending nor published as it was \
         prepared; if nobody took it away after its publication, its records are lost"
    )
}
