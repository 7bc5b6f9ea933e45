//! The job's side of checkpoints: which one is due, who has answered, and what its manifest will say.
//!
//! One checkpoint is in progress at a time. It counts when its manifest is durable; only then are sinks committed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::view::{CheckpointSummary, SavepointFormat};
use crate::checkpoint::{CheckpointFiles, CheckpointKind, CheckpointManifest, OperatorImage, SubtaskImage};
use crate::error::{self, Result};
use crate::manifest::{NodeKind, Pipeline};
use crate::runtime::{Barrier, BarrierKind, SubtaskPart};
use crate::state::{FileRef, FileStore, ImageFormat, StateImage};

/// A checkpoint in progress.
pub(super) struct Pending {
    pub(super) barrier: Barrier,
    pub(super) triggered_at_ms: i64,
    pub(super) triggered_ns: u64,
    /// Savepoint requests that it answers.
    pub(super) requests: Vec<String>,
    parts: Vec<SubtaskPart>,
    /// Parts that have not arrived yet.
    missing: usize,
}

impl Pending {
    pub(super) fn new(
        barrier: Barrier,
        pipeline: &Pipeline,
        now_ms: i64,
        now_ns: u64,
        requests: Vec<String>,
    ) -> Pending {
        let missing = pipeline.nodes.iter().map(|node| node.parallelism as usize).sum();
        Pending { barrier, triggered_at_ms: now_ms, triggered_ns: now_ns, requests, parts: Vec::new(), missing }
    }

    /// Takes a subtask's parts; the whole when nothing is missing any more.
    pub(super) fn add(&mut self, parts: Vec<SubtaskPart>) -> Option<Vec<SubtaskPart>> {
        self.missing = self.missing.saturating_sub(parts.len());
        self.parts.extend(parts);
        (self.missing == 0).then(|| std::mem::take(&mut self.parts))
    }

    pub(super) fn kind(&self) -> CheckpointKind {
        match self.barrier.kind {
            BarrierKind::Checkpoint => CheckpointKind::Checkpoint,
            BarrierKind::Savepoint | BarrierKind::Stop => CheckpointKind::Savepoint,
            BarrierKind::Final => CheckpointKind::Final,
        }
    }

    pub(super) fn summary(&self, status: &str) -> CheckpointSummary {
        CheckpointSummary {
            id: self.barrier.checkpoint,
            kind: self.kind().as_str().into(),
            status: status.into(),
            triggered_at_ms: self.triggered_at_ms,
            duration_ms: None,
            bytes: 0,
            bytes_uploaded: 0,
            failure: None,
            location: None,
        }
    }
}

/// A savepoint that somebody waits for.
pub(super) struct SavepointRequest {
    pub(super) request_id: String,
    pub(super) stop: bool,
    pub(super) format: SavepointFormat,
}

/// Decides when the next barrier is due, and of which kind.
pub(super) struct Schedule {
    /// What the backend writes fastest.
    native: ImageFormat,
    interval_ns: Option<u64>,
    last_trigger_ns: u64,
    pub(super) records_due: bool,
    pub(super) requests: VecDeque<SavepointRequest>,
    pub(super) sources_running: usize,
}

impl Schedule {
    pub(super) fn new(pipeline: &Pipeline, sources: usize, now_ns: u64) -> Schedule {
        let interval_ns =
            pipeline.checkpoint.interval.map(|interval| u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX));
        Schedule {
            native: ImageFormat::native_of(pipeline.state.backend),
            interval_ns,
            last_trigger_ns: now_ns,
            records_due: false,
            requests: VecDeque::new(),
            sources_running: sources,
        }
    }

    /// The barrier to inject now, where none is in progress, and the requests that it answers.
    pub(super) fn next(&mut self, now_ns: u64, checkpoint: u64) -> Option<(Barrier, Vec<String>)> {
        let due = self.interval_ns.is_some_and(|interval| now_ns.saturating_sub(self.last_trigger_ns) >= interval);
        let mut format = self.native;
        let (kind, requests) = if let Some(request) = self.requests.pop_front() {
            if request.format == SavepointFormat::Canonical {
                format = ImageFormat::Canonical;
            }
            (if request.stop { BarrierKind::Stop } else { BarrierKind::Savepoint }, vec![request.request_id])
        } else if self.sources_running == 0 {
            (BarrierKind::Final, Vec::new())
        } else if due || self.records_due {
            (BarrierKind::Checkpoint, Vec::new())
        } else {
            return None;
        };
        self.records_due = false;
        self.last_trigger_ns = now_ns;
        Some((Barrier { checkpoint, kind, format }, requests))
    }

    /// Nanoseconds until the next periodic checkpoint.
    pub(super) fn wait_ns(&self, now_ns: u64) -> Option<u64> {
        self.interval_ns.map(|interval| (self.last_trigger_ns.saturating_add(interval)).saturating_sub(now_ns))
    }
}

/// What a manifest says beside the images.
pub(super) struct ManifestHead {
    pub(super) job_id: String,
    pub(super) job_name: String,
    pub(super) checkpoint: u64,
    pub(super) kind: CheckpointKind,
    pub(super) taken_at_ms: i64,
}

/// Uploads what the storage does not hold yet and puts the manifest together. Runs in the background.
pub(super) fn upload(
    head: ManifestHead,
    pipeline: &Pipeline,
    parts: Vec<SubtaskPart>,
    files: &CheckpointFiles,
    base: Option<&CheckpointManifest>,
) -> Result<CheckpointManifest> {
    let mut images: BTreeMap<(String, u32), SubtaskImage> = BTreeMap::new();
    for part in parts {
        let state: Option<StateImage> = match part.state {
            Some(snapshot) => {
                let before =
                    base.and_then(|base| base.subtask(&part.node, part.subtask)).and_then(|image| image.state.as_ref());
                let held: Vec<FileRef> = before.map(|image| files.reusable(&image.files)).unwrap_or_default();
                Some(snapshot.upload(files as &dyn FileStore, &held)?)
            }
            None => None,
        };
        let image = SubtaskImage {
            source_position: part.source_position,
            state,
            broadcast: None,
            in_flight: None,
            committable: part.committable,
            counters: part.counters,
        };
        images.insert((part.node, part.subtask), image);
    }
    let mut operators = Vec::new();
    for node in &pipeline.nodes {
        let image = |subtask| {
            let image = images.remove(&(node.id.clone(), subtask));
            image.ok_or_else(|| {
                error::internal(format!("checkpoint {}: no part of {}/{subtask}", head.checkpoint, node.id))
            })
        };
        let subtasks = (0..node.parallelism).map(image).collect::<Result<_>>()?;
        operators.push(OperatorImage { id: node.id.clone(), parallelism: node.parallelism, subtasks });
    }
    Ok(CheckpointManifest {
        format: CheckpointManifest::FORMAT,
        job_id: head.job_id,
        job_name: head.job_name,
        checkpoint_id: head.checkpoint,
        kind: head.kind,
        taken_at_ms: head.taken_at_ms,
        max_parallelism: pipeline.max_parallelism,
        operators,
    })
}

/// The committables of each sink, from the images of its subtasks.
pub(super) fn committables(manifest: &CheckpointManifest, pipeline: &Pipeline) -> BTreeMap<String, Vec<Vec<u8>>> {
    let sinks = pipeline.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Sink(_)));
    let of_sink = |id: &str| {
        let image = manifest.operators.iter().find(|image| image.id == id);
        image
            .map(|image| image.subtasks.iter().filter_map(|subtask| subtask.committable.clone()).collect())
            .unwrap_or_default()
    };
    sinks.map(|sink| (sink.id.clone(), of_sink(&sink.id))).collect()
}

/// The newest complete checkpoint of this attempt: what the next one may build on.
pub(super) type Base = Option<Arc<CheckpointManifest>>;
