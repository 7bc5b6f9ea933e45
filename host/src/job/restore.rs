//! What an attempt of a job begins with: its newest image, else what it was submitted with, else nothing.

use std::path::Path;
use std::sync::Arc;

use super::lifecycle::Environment;
use super::live::Job;
use super::record::JobRecord;
use crate::checkpoint::{
    CheckpointKind, CheckpointMetadata, CheckpointStorage, StorageLocation, StoredCheckpoint, UnusableCheckpoint,
    Verification,
};
use crate::error::{self, Result};
use crate::model::Interrupt;
use crate::pipeline::{PipelineSpec, StateBackendKind};
use crate::state::SnapshotFormat;

pub(super) struct Restored {
    pub(super) manifest: Option<Arc<CheckpointMetadata>>,
    /// Where the manifest's files are.
    pub(super) storage: CheckpointStorage,
    /// Whether it is the job's own checkpoint, and not one that it was submitted with.
    pub(super) own: bool,
}

/// Finds what the attempt `number` begins with, whole; whether the pipeline fits it is not looked at. Error: `interrupted`,
/// among others.
pub(super) fn restore(
    job: &Job,
    environment: &Environment,
    storage: &CheckpointStorage,
    number: u32,
    interrupt: &Interrupt,
) -> Result<Restored> {
    let record = job.record();
    // Within one process nothing but the disk can have damaged a file since it was written; state that failed may have.
    let failure = record.failure.as_ref().map(|failure| failure.code.as_str());
    let is_doubtful = matches!(failure, Some("checkpoint-corrupt" | "state-failed"));
    let verify = if number == 1 || is_doubtful { Verification::Checksums } else { Verification::Lengths };
    let storage = &storage.clone().interruptible(interrupt);
    match storage.newest_usable(&record.id, verify)? {
        Some((manifest, skipped)) => {
            name_skipped(job, &record.name, &skipped);
            tracing::info!(job = %record.name, checkpoint = manifest.checkpoint_id, "restored");
            Ok(Restored { manifest: Some(Arc::new(manifest)), storage: storage.clone(), own: true })
        }
        None => without_own_image(&record, environment, storage, verify, interrupt),
    }
}

fn name_skipped(job: &Job, name: &str, skipped: &[UnusableCheckpoint]) {
    for UnusableCheckpoint { path, reason } in skipped {
        tracing::warn!(job = %name, checkpoint = %path, code = "checkpoint-corrupt", "checkpoint passed over: {reason}");
        job.warn(format!("{path} was passed over: {reason}"));
    }
}

fn without_own_image(
    record: &JobRecord,
    environment: &Environment,
    storage: &CheckpointStorage,
    verify: Verification,
    interrupt: &Interrupt,
) -> Result<Restored> {
    if record.has_image {
        // It would begin from the start in silence, and publish again what is published.
        return Err(error::checkpoint_none_usable(format!(
            "the job has had checkpoints or savepoints, but `{}` holds none of them",
            storage.root()
        )));
    }
    let Some(from) = &record.from else {
        return Ok(Restored { manifest: None, storage: storage.clone(), own: false });
    };
    let location = StorageLocation::parse(from, Path::new("")).map_err(error::savepoint_not_found)?;
    let snapshot = StoredCheckpoint::open_interruptible(&location, environment.runtime.clone(), verify, interrupt)?;
    tracing::info!(job = %record.name, %from, "restored");
    Ok(Restored { manifest: Some(Arc::new(snapshot.metadata)), storage: snapshot.storage, own: false })
}

impl Restored {
    /// The image whose files the first checkpoint may name without storing them again. Those of an image that the job has
    /// claimed are made the job's own first, where that moves no bytes; those of any other are left alone.
    pub(super) fn base(
        &self,
        record: &JobRecord,
        storage: &CheckpointStorage,
        pipeline: &PipelineSpec,
    ) -> Result<Option<Arc<CheckpointMetadata>>> {
        let incremental = pipeline.state.backend == StateBackendKind::RocksDb;
        match &self.manifest {
            Some(own) if self.own => Ok(Some(own.clone())),
            Some(claimed) if record.claim && incremental => {
                Ok(adopt(claimed, &self.storage, record, storage, pipeline)?.map(Arc::new))
            }
            _ => Ok(None),
        }
    }
}

/// A claimed image with files of the job's own, as far as a checkpoint can build on them.
fn adopt(
    claimed: &CheckpointMetadata,
    its_storage: &CheckpointStorage,
    record: &JobRecord,
    storage: &CheckpointStorage,
    pipeline: &PipelineSpec,
) -> Result<Option<CheckpointMetadata>> {
    // Of checkpoint 0, which there never is: the first one that is complete decides which of them stay.
    let files = storage.files(&record.id, 0, CheckpointKind::Checkpoint)?;
    let mut base = CheckpointMetadata { checkpoint_id: 0, ..claimed.clone() };
    base.operators
        .retain(|image| pipeline.nodes.iter().any(|node| node.id == image.id && node.parallelism == image.parallelism));
    for state in base.operators.iter_mut().flat_map(|image| &mut image.subtasks).filter_map(|one| one.state.as_mut()) {
        state.files = match state.format {
            SnapshotFormat::Canonical => Vec::new(),
            SnapshotFormat::RocksDb => match files.adopt(its_storage, &state.files)? {
                Some(adopted) => adopted,
                None => return Ok(None),
            },
        };
    }
    Ok(Some(base))
}
