//! One checkpoint of a job: who has answered, what is uploaded, and what its manifest will say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::schedule::nanoseconds;
use super::view::{CheckpointDetail, CheckpointPart, CheckpointSummary, OperatorCheckpoint};
use crate::checkpoint::{CheckpointFiles, CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use crate::clock::Clock;
use crate::error::{self, Result};
use crate::pipeline::PipelineSpec;
use crate::runtime::{Barrier, BarrierKind, BarrierTimes, SubtaskSnapshot};
use crate::state::{FileRef, FileStore, StateHandle, StateSnapshot};

/// A checkpoint in progress.
pub(super) struct Pending {
    pub(super) barrier: Barrier,
    pub(super) triggered_at_ms: i64,
    /// The requests that it answers.
    pub(super) requests: Vec<String>,
    /// When its barrier begins to overtake records, where it may.
    pub(super) overtakes_at_ns: Option<u64>,
    /// Once it is being uploaded: the complete checkpoint whose files it may name.
    pub(super) based_on: Option<u64>,
    parts: Vec<SubtaskSnapshot>,
    /// Parts that have not arrived yet.
    missing: usize,
}

impl Pending {
    pub(super) fn new(barrier: Barrier, pipeline: &PipelineSpec, now_ms: i64, requests: Vec<String>) -> Pending {
        let missing = pipeline.nodes.iter().map(|node| node.parallelism as usize).sum();
        let after = pipeline.checkpoint.unaligned_after.filter(|_| barrier.kind == BarrierKind::Checkpoint);
        Pending {
            barrier,
            triggered_at_ms: now_ms,
            requests,
            overtakes_at_ns: after.map(|after| barrier.triggered_ns.saturating_add(nanoseconds(after))),
            based_on: None,
            parts: Vec::new(),
            missing,
        }
    }

    /// Whether its barrier is still on its way.
    pub(super) fn is_under_way(&self) -> bool {
        self.missing > 0
    }

    /// Takes a subtask's parts; the whole when nothing is missing any more.
    pub(super) fn add(&mut self, parts: Vec<SubtaskSnapshot>) -> Option<Vec<SubtaskSnapshot>> {
        self.missing = self.missing.saturating_sub(parts.len());
        self.parts.extend(parts);
        (self.missing == 0).then(|| std::mem::take(&mut self.parts))
    }

    pub(super) fn kind(&self) -> CheckpointKind {
        match self.barrier.kind {
            BarrierKind::Checkpoint => CheckpointKind::Checkpoint,
            BarrierKind::Savepoint | BarrierKind::Stop | BarrierKind::Drain => CheckpointKind::Savepoint,
            BarrierKind::Final => CheckpointKind::Final,
        }
    }

    pub(super) fn shown(&self, status: &str) -> CheckpointDetail {
        let summary = CheckpointSummary {
            id: self.barrier.checkpoint,
            kind: self.kind().as_str().into(),
            status: status.into(),
            triggered_at_ms: self.triggered_at_ms,
            duration_ms: None,
            total: CheckpointPart::default(),
            failure: None,
            location: None,
        };
        CheckpointDetail { summary, operators: Vec::new() }
    }
}

/// What a manifest says beside the images.
pub(super) struct MetadataHead {
    pub(super) job_id: String,
    pub(super) job_name: String,
    pub(super) checkpoint: u64,
    pub(super) kind: CheckpointKind,
    pub(super) taken_at_ms: i64,
    pub(super) seed: u64,
    pub(super) triggered_ns: u64,
}

/// The uploads of an attempt. Those that nobody waits for any more store nothing further, and none outlives the attempt: it would
/// store files behind the removal of the others, and write below the folder that the next attempt empties.
#[derive(Default)]
pub(super) struct Uploads(Vec<Upload>);

struct Upload {
    checkpoint: u64,
    given_up: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Uploads {
    /// Runs `upload` on a thread of its own, which no other work can take.
    pub(super) fn begin(
        &mut self,
        checkpoint: u64,
        files: CheckpointFiles,
        upload: impl FnOnce(&CheckpointFiles) + Send + 'static,
    ) -> Result<()> {
        self.0.retain(|upload| !upload.thread.is_finished());
        let given_up = files.abandoned_flag();
        let thread = thread::Builder::new().name(format!("checkpoint {checkpoint}")).spawn(move || upload(&files));
        let thread = thread.map_err(|error| error::storage_failed(format!("no thread for the checkpoint: {error}")))?;
        self.0.push(Upload { checkpoint, given_up, thread });
        Ok(())
    }

    pub(super) fn give_up(&self, checkpoint: u64) {
        let given_up = self.0.iter().filter(|upload| upload.checkpoint == checkpoint);
        given_up.for_each(|upload| upload.given_up.store(true, Ordering::Relaxed));
    }

    /// Gives all of them up, and waits until they have ended.
    pub(super) fn end(&mut self) {
        self.0.iter().for_each(|upload| upload.given_up.store(true, Ordering::Relaxed));
        for upload in self.0.drain(..) {
            // One that panicked has ended, too.
            let _ = upload.thread.join();
        }
    }
}

/// What an upload has made.
pub(super) struct Uploaded {
    pub(super) manifest: CheckpointMetadata,
    pub(super) operators: Vec<OperatorCheckpoint>,
}

/// Uploads what the storage does not hold yet and puts the manifest together. Runs in the background.
pub(super) fn upload(
    head: MetadataHead,
    pipeline: &PipelineSpec,
    parts: Vec<SubtaskSnapshot>,
    files: &CheckpointFiles,
    base: Option<&CheckpointMetadata>,
    clock: &dyn Clock,
) -> Result<Uploaded> {
    let mut images: BTreeMap<(String, u32), (SubtaskMetadata, CheckpointPart)> = BTreeMap::new();
    for part in parts {
        let place = (part.node.clone(), part.subtask);
        let (times, begun_ns, uploaded) = (part.times, clock.monotonic_ns(), files.bytes_uploaded());
        let image = upload_part(part, files, base)?;
        let shown = CheckpointPart {
            bytes: image.files().map(|file| file.bytes).sum(),
            bytes_uploaded: files.bytes_uploaded() - uploaded,
            in_flight_bytes: image.in_flight.as_ref().map_or(0, |file| file.bytes),
            ..durations(times, head.triggered_ns, begun_ns, clock.monotonic_ns())
        };
        images.insert(place, (image, shown));
    }
    let (mut operators, mut shown) = (Vec::new(), Vec::new());
    for node in &pipeline.nodes {
        let image = |subtask| {
            let image = images.remove(&(node.id.clone(), subtask));
            image.ok_or_else(|| {
                error::internal(format!("checkpoint {}: no part of {}/{subtask}", head.checkpoint, node.id))
            })
        };
        let both: Vec<_> = (0..node.parallelism).map(image).collect::<Result<_>>()?;
        let (subtasks, parts): (Vec<_>, Vec<_>) = both.into_iter().unzip();
        operators.push(OperatorMetadata { id: node.id.clone(), parallelism: node.parallelism, subtasks });
        shown.push(OperatorCheckpoint { id: node.id.clone(), total: CheckpointPart::of(&parts), subtasks: parts });
    }
    let manifest = CheckpointMetadata {
        format: CheckpointMetadata::FORMAT,
        job_id: head.job_id,
        job_name: head.job_name,
        checkpoint_id: head.checkpoint,
        kind: head.kind,
        taken_at_ms: head.taken_at_ms,
        seed: Some(head.seed),
        max_parallelism: pipeline.max_parallelism,
        operators,
    };
    Ok(Uploaded { manifest, operators: shown })
}

fn upload_part(
    part: SubtaskSnapshot,
    files: &CheckpointFiles,
    base: Option<&CheckpointMetadata>,
) -> Result<SubtaskMetadata> {
    let store = files as &dyn FileStore;
    let before = base.and_then(|base| base.subtask(&part.node, part.subtask));
    let upload = |snapshot: Option<Box<dyn StateSnapshot>>, before: Option<&StateHandle>| {
        let Some(snapshot) = snapshot else { return Ok(None) };
        let held: Vec<FileRef> = before.map(|image| files.reusable(&image.files)).transpose()?.unwrap_or_default();
        snapshot.upload(store, &held).map(Some)
    };
    let state = upload(part.state, before.and_then(|image| image.state.as_ref()))?;
    let broadcast = upload(part.broadcast, before.and_then(|image| image.broadcast.as_ref()))?;
    let in_flight = part.in_flight.map(|in_flight| store.put("in-flight", in_flight.encode()?.into())).transpose()?;
    Ok(SubtaskMetadata {
        source_position: part.source_position,
        state,
        broadcast,
        in_flight,
        committable: part.committable,
        counters: part.counters,
        watermark: part.watermark,
    })
}

/// What is shown of the times of one part; bytes are still missing.
fn durations(times: BarrierTimes, triggered_ns: u64, begun_ns: u64, now_ns: u64) -> CheckpointPart {
    // A thousandth of a millisecond is as fine as anybody looks.
    let ms = |ns: u64| (ns / 1_000) as f64 / 1_000.0;
    CheckpointPart {
        end_to_end_ms: ms(now_ns.saturating_sub(triggered_ns)),
        start_delay_ms: ms(times.start_delay_ns),
        alignment_ms: ms(times.alignment_ns),
        sync_ms: ms(times.sync_ns),
        async_ms: ms(now_ns.saturating_sub(begun_ns)),
        unaligned: times.unaligned,
        ..CheckpointPart::default()
    }
}

/// The newest complete checkpoint of this attempt: what the next one may build on.
pub(super) type Base = Option<Arc<CheckpointMetadata>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CheckpointStorage, StorageLocation};

    #[test]
    fn no_upload_outlives_the_attempt_or_stores_anything_once_it_is_given_up() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = StorageLocation::Folder(folder.path().to_owned());
        let storage = CheckpointStorage::open(&root, runtime.handle().clone()).unwrap();
        let (ended, waits) = crossbeam_channel::unbounded();
        let (begun, has_begun) = crossbeam_channel::unbounded();
        let mut uploads = Uploads::default();
        for checkpoint in [7, 8] {
            let files = storage.files("job", checkpoint, CheckpointKind::Checkpoint).unwrap();
            let (begun, ended) = (begun.clone(), ended.clone());
            let begun = uploads.begin(checkpoint, files, move |files| {
                begun.send(()).unwrap();
                let error = loop {
                    if let Err(error) = files.put("file", "bytes".into()) {
                        break error;
                    }
                };
                ended.send((checkpoint, error.code)).unwrap();
            });
            begun.unwrap();
            has_begun.recv().unwrap();
        }
        uploads.give_up(7);
        assert_eq!(waits.recv().unwrap(), (7, "storage-failed"));
        uploads.end();
        assert_eq!(waits.try_recv().unwrap(), (8, "storage-failed"), "its end was waited for");
    }
}
