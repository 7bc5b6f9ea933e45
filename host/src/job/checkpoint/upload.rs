//! The uploads of an attempt's checkpoints. Each one runs on a thread of its own: it stores the snapshots of the
//! subtasks and builds the checkpoint metadata.
//!
//! Invariant: no upload outlives its attempt. The job's thread writes the metadata, so that a checkpoint which was
//! given up is never completed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::operator_versions::OperatorVersions;
use crate::checkpoint::{CheckpointFiles, CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use crate::clock::Clock;
use crate::connector::{Prepared, PreparedFile};
use crate::error::{self, Result};
use crate::job::sinks::LocalOutput;
use crate::job::view::{CheckpointStats, OperatorCheckpoint};
use crate::pipeline::PipelineSpec;
use crate::runtime::{BarrierTimes, SubtaskSnapshot};
use crate::state::{FileRef, FileStore, StateHandle, StateSnapshot};

/// The checkpoint metadata without the snapshots.
pub struct CheckpointHeader {
    pub job_id: String,
    pub job_name: String,
    pub checkpoint: u64,
    pub kind: CheckpointKind,
    pub taken_at_ms: i64,
    pub seed: u64,
    pub triggered_ns: u64,
    pub versions: Arc<OperatorVersions>,
}

/// The uploads of an attempt. An upload that is given up stores no further files. An upload that outlived its attempt
/// would store files after the others were removed, and would write to the working folder that the next attempt
/// empties.
#[derive(Default)]
pub struct CheckpointUploads(Vec<UploadThread>);

struct UploadThread {
    checkpoint: u64,
    /// Set to end the upload early.
    given_up: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl CheckpointUploads {
    /// Runs `upload` on a thread of its own.
    pub fn begin(
        &mut self,
        checkpoint: u64,
        files: CheckpointFiles,
        upload: impl FnOnce(&CheckpointFiles) + Send + 'static,
    ) -> Result<()> {
        self.0.retain(|upload| !upload.thread.is_finished());
        let given_up = files.abandoned_flag();
        let thread = thread::Builder::new().name(format!("checkpoint {checkpoint}")).spawn(move || upload(&files));
        let thread = thread
            .map_err(|error| error::storage_failed(format!("cannot start a thread for the checkpoint: {error}")))?;
        self.0.push(UploadThread { checkpoint, given_up, thread });
        Ok(())
    }

    /// Gives up the upload of a checkpoint.
    pub fn give_up(&self, checkpoint: u64) {
        let given_up = self.0.iter().filter(|upload| upload.checkpoint == checkpoint);
        given_up.for_each(|upload| upload.given_up.store(true, Ordering::Relaxed));
    }

    /// Gives up all uploads and waits until their threads have ended.
    pub fn end(&mut self) {
        self.0.iter().for_each(|upload| upload.given_up.store(true, Ordering::Relaxed));
        for upload in self.0.drain(..) {
            // The result is ignored: an upload that panicked has ended as well.
            let _ = upload.thread.join();
        }
    }
}

/// The result of an upload.
pub struct UploadedCheckpoint {
    /// The metadata, which is not stored yet.
    pub metadata: CheckpointMetadata,
    /// The contribution of each operator.
    pub operators: Vec<OperatorCheckpoint>,
    /// Where the files are that sinks have prepared.
    pub local: LocalOutput,
}

/// Stores the files of all snapshots, except files that `base` has stored already, and builds the checkpoint metadata.
pub fn upload(
    header: CheckpointHeader,
    pipeline: &PipelineSpec,
    snapshots: Vec<SubtaskSnapshot>,
    files: &CheckpointFiles,
    base: Option<&CheckpointMetadata>,
    clock: &dyn Clock,
) -> Result<UploadedCheckpoint> {
    let mut uploaded: BTreeMap<(String, u32), (SubtaskMetadata, CheckpointStats)> = BTreeMap::new();
    let mut local = LocalOutput::new();
    for snapshot in snapshots {
        let prepared = snapshot.prepared.files.iter();
        local.extend(prepared.map(|file| ((snapshot.node.clone(), file.name.clone()), Arc::clone(&file.file))));
        let key = (snapshot.node.clone(), snapshot.subtask);
        let (times, upload_started_ns, uploaded_before) =
            (snapshot.times, clock.monotonic_ns(), files.bytes_uploaded());
        let subtask = upload_snapshot(snapshot, files, base)?;
        let stats = CheckpointStats {
            bytes: subtask.files().map(|file| file.bytes).sum(),
            bytes_uploaded: files.bytes_uploaded() - uploaded_before,
            in_flight_bytes: subtask.in_flight.as_ref().map_or(0, |file| file.bytes),
            ..durations(times, header.triggered_ns, upload_started_ns, clock.monotonic_ns())
        };
        uploaded.insert(key, (subtask, stats));
    }
    fail_point!("upload.done", error::storage_failed);
    let (mut operators, mut views) = (Vec::new(), Vec::new());
    for node in &pipeline.nodes {
        let take = |subtask| {
            uploaded.remove(&(node.id.clone(), subtask)).ok_or_else(|| {
                error::internal(format!("checkpoint {}: no snapshot of {}/{subtask}", header.checkpoint, node.id))
            })
        };
        let all: Vec<_> = (0..node.parallelism).map(take).collect::<Result<_>>()?;
        let (subtasks, stats): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let version = header.versions.of(&node.id);
        views.push(OperatorCheckpoint {
            id: node.id.clone(),
            version: version.map(|version| header.versions.view(version)),
            total: CheckpointStats::total(&stats),
            subtasks: stats,
        });
        let versions = version.cloned().into_iter().collect();
        operators.push(OperatorMetadata { versions, ..OperatorMetadata::new(&node.id, subtasks) });
    }
    let metadata = CheckpointMetadata {
        format: CheckpointMetadata::FORMAT,
        job_id: header.job_id,
        job_name: header.job_name,
        checkpoint_id: header.checkpoint,
        kind: header.kind,
        taken_at_ms: header.taken_at_ms,
        seed: Some(header.seed),
        max_parallelism: pipeline.max_parallelism,
        schemas: header.versions.schemas.clone(),
        operators,
    };
    Ok(UploadedCheckpoint { metadata, operators: views, local })
}

/// Stores the files of one subtask's snapshot, except files that `base` has stored already.
fn upload_snapshot(
    subtask: SubtaskSnapshot,
    files: &CheckpointFiles,
    base: Option<&CheckpointMetadata>,
) -> Result<SubtaskMetadata> {
    let store = files as &dyn FileStore;
    let before = base.and_then(|base| base.subtask(&subtask.node, subtask.subtask));
    let upload = |snapshot: Option<Box<dyn StateSnapshot>>, before: Option<&StateHandle>| {
        let Some(snapshot) = snapshot else { return Ok(None) };
        let reusable: Vec<FileRef> =
            before.map(|handle| files.reusable(&handle.files)).transpose()?.unwrap_or_default();
        snapshot.upload(store, &reusable).map(Some)
    };
    fail_point!("upload.state", error::storage_failed);
    let state = upload(subtask.state, before.and_then(|subtask| subtask.state.as_ref()))?;
    let broadcast = upload(subtask.broadcast, before.and_then(|subtask| subtask.broadcast.as_ref()))?;
    fail_point!("upload.in-flight", error::storage_failed);
    let in_flight =
        subtask.in_flight.map(|in_flight| store.put("in-flight", in_flight.encode()?.into())).transpose()?;
    let output = upload_output(&subtask.prepared, files, before)?;
    if let Some(finish) = subtask.prepared.finish {
        finish()?;
    }
    Ok(SubtaskMetadata {
        source_position: subtask.source_position,
        state,
        broadcast,
        in_flight,
        committable: subtask.prepared.committable,
        output,
        counters: subtask.counters,
        positions: subtask.positions,
        watermark: subtask.watermark,
    })
}

/// Stores the files that a sink prepared, except those that the checkpoint which this one builds on has stored already. A file that
/// another checkpoint was to store may not be there, because that upload may not have ended.
fn upload_output(
    prepared: &Prepared,
    files: &CheckpointFiles,
    before: Option<&SubtaskMetadata>,
) -> Result<Vec<FileRef>> {
    if prepared.files.is_empty() {
        return Ok(Vec::new());
    }
    let held = before.map(|before| files.reusable(&before.output)).transpose()?.unwrap_or_default();
    let store = |file: &PreparedFile| match held.iter().find(|held| held.name == file.name) {
        Some(held) => Ok(held.clone()),
        None => {
            fail_point!("outbox.upload", error::storage_failed);
            files.put_file(&file.name, &file.file)
        }
    };
    prepared.files.iter().map(store).collect()
}

/// Returns the times of one subtask, without bytes.
fn durations(times: BarrierTimes, triggered_ns: u64, upload_started_ns: u64, now_ns: u64) -> CheckpointStats {
    // Rounded to microseconds.
    let ms = |ns: u64| (ns / 1_000) as f64 / 1_000.0;
    CheckpointStats {
        end_to_end_ms: ms(now_ns.saturating_sub(triggered_ns)),
        start_delay_ms: ms(times.start_delay_ns),
        alignment_ms: ms(times.alignment_ns),
        sync_ms: ms(times.sync_ns),
        async_ms: ms(now_ns.saturating_sub(upload_started_ns)),
        unaligned: times.unaligned,
        ..CheckpointStats::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CheckpointStorage, StorageLocation};

    #[test]
    fn an_upload_ends_with_its_attempt_and_stores_nothing_after_it_is_given_up() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = StorageLocation::Folder(folder.path().to_owned());
        let storage = CheckpointStorage::open(&root, runtime.handle().clone()).unwrap();
        let (ended, waits) = crossbeam_channel::unbounded();
        let (started, has_started) = crossbeam_channel::unbounded();
        let mut uploads = CheckpointUploads::default();
        for checkpoint in [7, 8] {
            let files = storage.files("job", checkpoint, CheckpointKind::Checkpoint).unwrap();
            let (started, ended) = (started.clone(), ended.clone());
            let started = uploads.begin(checkpoint, files, move |files| {
                started.send(()).unwrap();
                let error = loop {
                    if let Err(error) = files.put("file", "bytes".into()) {
                        break error;
                    }
                };
                ended.send((checkpoint, error.code)).unwrap();
            });
            started.unwrap();
            has_started.recv().unwrap();
        }
        uploads.give_up(7);
        assert_eq!(waits.recv().unwrap(), (7, "storage-failed"));
        uploads.end();
        assert_eq!(waits.try_recv().unwrap(), (8, "storage-failed"), "`end` waits for the upload");
    }
}
