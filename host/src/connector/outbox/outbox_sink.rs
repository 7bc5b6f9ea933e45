//! The subtask's share of a sink that publishes through the outbox: collects records in parts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempPath;

use super::committable::{OutboxCommittable, OutboxPart, PartContent};
use super::part_writer::{PartWriter, WrittenContent, WrittenPart, unwritable};
use super::publisher::OutboxEncoder;
use crate::connector::context::ConnectorContext;
use crate::connector::sink::{Prepared, PreparedFile, Sink};
use crate::error::Result;
use crate::model::Batch;
use crate::permits::{self, WaitReason};

/// Bytes of parts that all committables of a sink together hold. Larger parts are files.
const INLINE_BYTES: usize = 64 << 10;
/// How long a full sink waits before it looks for a cancel or room again.
const ROOM_WAIT: Duration = Duration::from_millis(50);

/// The settings of a sink that publishes through the outbox.
#[derive(Clone, Debug)]
pub struct OutboxSettings {
    /// Where the records go, see [`super::OutboxPeer::target`].
    pub target: String,
    /// Limit on the bytes that wait for their publication.
    pub max_backlog: u64,
}

/// One subtask's share of the sink.
pub struct OutboxSink {
    encoder: Box<dyn OutboxEncoder>,
    target: String,
    identity: String,
    context: ConnectorContext,
    writer: PartWriter,
    /// Number of files that were begun, for their names.
    files: u64,
    /// Parts that are sealed and not known to be published, oldest first.
    outstanding: Vec<OutstandingPart>,
    /// Bytes of all parts, as counted in the progress.
    held_bytes: u64,
    /// The last checkpoint that was prepared.
    prepared: u64,
    inline_bytes: usize,
}

struct OutstandingPart {
    part: OutboxPart,
    /// The local file. Uploads share it.
    file: Option<Arc<TempPath>>,
}

/// Returns the identity of the publisher of a job's sink.
pub(super) fn identity(job_id: &str, node: &str) -> String {
    format!("cofferdam.{job_id}.{node}")
}

impl OutboxSink {
    /// Opens the sink.
    pub fn open(settings: OutboxSettings, encoder: Box<dyn OutboxEncoder>, context: &ConnectorContext) -> OutboxSink {
        context.progress.set_limit_bytes(settings.max_backlog);
        OutboxSink {
            encoder,
            target: settings.target,
            identity: identity(&context.job_id, &context.node),
            context: context.clone(),
            writer: PartWriter::default(),
            files: 0,
            outstanding: Vec::new(),
            held_bytes: 0,
            prepared: 0,
            inline_bytes: INLINE_BYTES / context.parallelism.max(1) as usize,
        }
    }

    /// Waits while too much waits for its publication.
    fn wait_for_room(&self) -> Result<()> {
        let progress = &self.context.progress;
        while progress.is_full() && !progress.must_pass(self.prepared) {
            self.context.interrupt.check()?;
            permits::wait(WaitReason::Peer, &self.context.wakeup, ROOM_WAIT);
        }
        Ok(())
    }

    /// Drops the parts that are published.
    fn drop_published(&mut self) {
        let Some(published) = self.context.progress.published() else { return };
        let count = self.outstanding.partition_point(|outstanding| outstanding.part.checkpoint <= published);
        self.context.progress.release_parts(count as u64);
        for OutstandingPart { part, .. } in self.outstanding.drain(..count) {
            self.held_bytes = self.held_bytes.saturating_sub(part.bytes);
            self.context.progress.release(part.bytes);
        }
    }

    /// Ends the part before the barrier of a checkpoint.
    fn seal(&mut self, checkpoint: u64) -> Result<()> {
        if self.writer.is_empty() {
            return Ok(());
        }
        fail_point!("outbox.seal", crate::error::sink_unwritable);
        let inline_length = |outstanding: &OutstandingPart| match &outstanding.part.content {
            PartContent::Inline(bytes) => bytes.len(),
            PartContent::File(_) => 0,
        };
        let inline_used: usize = self.outstanding.iter().map(inline_length).sum();
        let path = next_path(&self.context, self.files);
        let WrittenPart { records, bytes, content } =
            self.writer.seal(self.inline_bytes.saturating_sub(inline_used), &|| path.clone())?;
        self.files += 1;
        let subtask = self.context.subtask;
        let (content, file) = match content {
            WrittenContent::Memory(bytes) => (PartContent::Inline(bytes), None),
            WrittenContent::File(path) => {
                let name = format!("part-{checkpoint:08}-{subtask:03}.outbox");
                let file = TempPath::try_from_path(&path).map_err(|cause| unwritable(&path, &cause))?;
                (PartContent::File(name), Some(Arc::new(file)))
            }
        };
        self.context.progress.hold_part();
        self.outstanding
            .push(OutstandingPart { part: OutboxPart { checkpoint, subtask, records, bytes, content }, file });
        Ok(())
    }
}

/// Returns the path of the local file number `number` of a sink.
fn next_path(context: &ConnectorContext, number: u64) -> PathBuf {
    context.working_dir.join(format!("part-{number}"))
}

impl Sink for OutboxSink {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.wait_for_room()?;
        let Self { encoder, writer, context, files, .. } = self;
        let path = || next_path(context, *files);
        let mut grown = 0;
        let encoded = encoder.encode(batch, &mut |record| {
            grown += writer.push(record, &path)?;
            Ok(())
        });
        self.held_bytes += grown;
        self.context.progress.hold(grown);
        encoded
    }

    fn prepare(&mut self, checkpoint: u64) -> Result<Prepared> {
        self.drop_published();
        self.seal(checkpoint)?;
        self.prepared = checkpoint;
        if self.outstanding.is_empty() {
            return Ok(Prepared::default());
        }
        let committable = OutboxCommittable {
            target: self.target.clone(),
            identity: self.identity.clone(),
            published_before: self.context.progress.published(),
            parts: self.outstanding.iter().map(|outstanding| outstanding.part.clone()).collect(),
        };
        let file = |outstanding: &OutstandingPart| match (&outstanding.part.content, &outstanding.file) {
            (PartContent::File(name), Some(file)) => Some(PreparedFile { name: name.clone(), file: Arc::clone(file) }),
            _ => None,
        };
        let files = self.outstanding.iter().filter_map(file).collect();
        Ok(Prepared { committable: Some(committable.encode()?), files, finish: None })
    }

    /// Readers see nothing before a checkpoint.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Drop for OutboxSink {
    fn drop(&mut self) {
        self.context.progress.release(self.held_bytes);
        self.context.progress.release_parts(self.outstanding.len() as u64);
    }
}
