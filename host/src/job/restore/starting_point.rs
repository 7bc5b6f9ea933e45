//! Finds the checkpoint that an attempt starts from: the job's newest checkpoint, or the checkpoint that it was
//! submitted with.

use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{
    CheckpointKind, CheckpointMetadata, CheckpointStorage, StorageLocation, StoredCheckpoint, UnusableCheckpoint,
    Verification,
};
use crate::error::{self, Result};
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::store::JobRecord;
use crate::model::Interrupt;
use crate::pipeline::{PipelineSpec, StateBackendKind};
use crate::state::SnapshotFormat;

/// The starting point of an attempt: a restored checkpoint, or no state.
pub struct StartingPoint {
    /// The restored checkpoint. `None` if the job starts without state.
    pub metadata: Option<Arc<CheckpointMetadata>>,
    /// The storage that holds the checkpoint's files.
    pub storage: CheckpointStorage,
    /// Whether the job took the checkpoint itself. Otherwise the job was submitted with it.
    pub is_own: bool,
}

/// Finds and verifies the starting point of an attempt. `is_first` is set for the first one of the process. Does not check whether the pipeline is compatible
/// with it. Errors: `checkpoint-none-usable`, `checkpoint-corrupt`, `interrupted`, and errors of the storage.
pub fn find_starting_point(
    job: &JobHandle,
    environment: &JobEnvironment,
    storage: &CheckpointStorage,
    is_first: bool,
    interrupt: &Interrupt,
) -> Result<StartingPoint> {
    let record = job.record();
    // Files were verified when the process started. Verification them again only if the last failure points at damage.
    let failure = record.failure.as_ref().map(|failure| failure.code.as_str());
    let may_be_damaged = matches!(failure, Some("checkpoint-corrupt" | "state-failed"));
    let verify = if is_first || may_be_damaged { Verification::Checksums } else { Verification::Lengths };
    let storage = &storage.clone().interruptible(interrupt);
    match storage.newest_usable(&record.id, verify)? {
        Some((metadata, skipped)) => {
            warn_of_skipped(job, &record.name, &skipped);
            tracing::info!(job = %record.name, checkpoint = metadata.checkpoint_id, "restored");
            Ok(StartingPoint { metadata: Some(Arc::new(metadata)), storage: storage.clone(), is_own: true })
        }
        None => without_own_checkpoint(&record, environment, storage, verify, interrupt),
    }
}

fn warn_of_skipped(job: &JobHandle, name: &str, skipped: &[UnusableCheckpoint]) {
    for UnusableCheckpoint { path, reason } in skipped {
        tracing::warn!(job = %name, checkpoint = %path, code = "checkpoint-corrupt", "skipped a damaged checkpoint: {reason}");
        job.warn(format!("checkpoint {path} is damaged and was skipped: {reason}"));
    }
}

fn without_own_checkpoint(
    record: &JobRecord,
    environment: &JobEnvironment,
    storage: &CheckpointStorage,
    verify: Verification,
    interrupt: &Interrupt,
) -> Result<StartingPoint> {
    if record.has_checkpoint {
        // Starting without state would publish again what is published.
        return Err(error::checkpoint_none_usable(format!(
            "the job has had checkpoints or savepoints, but `{}` contains none of them",
            storage.root()
        )));
    }
    let Some(from) = &record.from else {
        return Ok(StartingPoint { metadata: None, storage: storage.clone(), is_own: false });
    };
    let location = StorageLocation::parse(from, Path::new("")).map_err(error::savepoint_not_found)?;
    environment.check_origin(&location)?;
    let snapshot = StoredCheckpoint::open_interruptible(&location, environment.runtime.clone(), verify, interrupt)?;
    environment.check_native_files(&location, &snapshot.metadata)?;
    tracing::info!(job = %record.name, %from, "restored");
    Ok(StartingPoint { metadata: Some(Arc::new(snapshot.metadata)), storage: snapshot.storage, is_own: false })
}

impl StartingPoint {
    /// Returns the restored checkpoint if the job took it itself.
    pub fn own(&self) -> Option<&Arc<CheckpointMetadata>> {
        self.metadata.as_ref().filter(|_| self.is_own)
    }

    /// Returns the restored checkpoint if the job was submitted with it.
    pub fn submitted(&self) -> Option<&Arc<CheckpointMetadata>> {
        self.metadata.as_ref().filter(|_| !self.is_own)
    }

    /// Returns the checkpoint whose files the job's first checkpoint may refer to instead of storing them again. Files
    /// of a claimed checkpoint become the job's own first, if that moves no bytes. Files of other checkpoints are never
    /// shared.
    pub fn incremental_base(
        &self,
        record: &JobRecord,
        storage: &CheckpointStorage,
        pipeline: &PipelineSpec,
    ) -> Result<Option<Arc<CheckpointMetadata>>> {
        let is_incremental = pipeline.state.backend == StateBackendKind::RocksDb;
        if let Some(own) = self.own() {
            return Ok(Some(own.clone()));
        }
        match self.submitted() {
            Some(claimed) if record.claim && is_incremental => {
                Ok(adopt_claimed(claimed, &self.storage, record, storage, pipeline)?.map(Arc::new))
            }
            _ => Ok(None),
        }
    }
}

/// Returns a claimed checkpoint with files of the job's own, reduced to what a checkpoint can build on.
fn adopt_claimed(
    claimed: &CheckpointMetadata,
    claimed_storage: &CheckpointStorage,
    record: &JobRecord,
    storage: &CheckpointStorage,
    pipeline: &PipelineSpec,
) -> Result<Option<CheckpointMetadata>> {
    // The files belong to checkpoint 0, which never exists: retention after the first complete checkpoint removes the
    // unused ones.
    let files = storage.files(&record.id, 0, CheckpointKind::Checkpoint)?;
    let mut base = CheckpointMetadata { checkpoint_id: 0, ..claimed.clone() };
    base.operators.retain(|operator| {
        pipeline.nodes.iter().any(|node| node.id == operator.id && node.parallelism == operator.parallelism)
    });
    for state in
        base.operators.iter_mut().flat_map(|operator| &mut operator.subtasks).filter_map(|one| one.state.as_mut())
    {
        state.files = match state.format {
            SnapshotFormat::Canonical => Vec::new(),
            SnapshotFormat::RocksDb => match files.adopt(claimed_storage, &state.files)? {
                Some(adopted) => adopted,
                None => return Ok(None),
            },
        };
    }
    Ok(Some(base))
}
