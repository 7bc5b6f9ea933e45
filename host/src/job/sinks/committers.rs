//! The committers of a job's sinks: publish the output that sinks prepared, when its checkpoint is complete and after a restore.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use parking_lot::Mutex;

use super::output_reader::{LocalOutput, OutputReader, PublishableCheckpoint};
use super::prepared_output::{check_prepared_output, committables, missing_output, of_checkpoint};
use super::recovered::{check_adopted, check_recovered};
use crate::access::{AccessPolicy, PipelinePaths};
use crate::checkpoint::{CheckpointMetadata, CheckpointStorage};
use crate::clock::SharedClock;
use crate::connector::{self, Committer, ConnectorContext, HealthReporter, SinkOutput, SinkProgress};
use crate::error::Result;
use crate::job::dead_letters::letters_folder;
use crate::job::handle::JobHandle;
use crate::job::restore::StartingPoint;
use crate::job::store::JobRecord;
use crate::job::telemetry::SinkCommits;
use crate::model::Interrupt;
use crate::pipeline::{NodeKind, PipelineSpec, SinkNode};
use crate::wakeup::Wakeup;

/// The committer of one sink.
struct SinkCommitter {
    /// The lock is held while the committer works, which may take long.
    committer: Mutex<Box<dyn Committer>>,
    takes_back: bool,
    progress: SinkProgress,
    health: HealthReporter,
}

/// How a sink is recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recovery {
    /// An attempt follows.
    Attempt,
    /// The job has ended.
    End,
}

/// The committers of a job's sinks.
pub struct SinkCommitters {
    /// By node id.
    sinks: BTreeMap<String, SinkCommitter>,
    policy: AccessPolicy,
    clock: SharedClock,
    commits: SinkCommits,
    /// Folder for prepared files that are being read.
    folder: PathBuf,
}

impl SinkCommitters {
    /// Creates the committers of all sinks of a pipeline, and of the dead letters that the host keeps. `interrupt` ends calls that wait.
    pub fn open(
        pipeline: &PipelineSpec,
        job: &JobHandle,
        clock: &SharedClock,
        policy: &AccessPolicy,
        interrupt: &Interrupt,
    ) -> SinkCommitters {
        let record = job.record();
        let folder = job.dir.join("working").join("publishing");
        let mut sinks = BTreeMap::new();
        for (index, node) in pipeline.nodes.iter().enumerate() {
            let name = (record.id.as_str(), node.id.as_str());
            let context = ConnectorContext {
                health: HealthReporter::new(&job.health, name, None, clock, policy.secrets()),
                job_id: record.id.clone(),
                node: node.id.clone(),
                subtask: 0,
                parallelism: node.parallelism,
                clock: clock.clone(),
                base_dir: record.base_dir.clone(),
                working_dir: folder.join(&node.id),
                progress: SinkProgress::default(),
                policy: policy.clone(),
                seed: record.seed,
                interrupt: interrupt.clone(),
                runtime: None,
                ingest: None,
                wakeup: Wakeup::default(),
            };
            let committer = match &node.kind {
                NodeKind::Sink(SinkNode { connector: config, .. }) => connector::committer(config, &context),
                _ if pipeline.keeps_letters(index) => connector::letter_committer(letters_folder(job), &context),
                _ => continue,
            };
            let takes_back = committer.takes_back();
            let ConnectorContext { progress, health, .. } = context;
            let sink = SinkCommitter { committer: Mutex::new(committer), takes_back, progress, health };
            sinks.insert(node.id.clone(), sink);
        }
        SinkCommitters { sinks, policy: policy.clone(), clock: clock.clone(), commits: job.commits.clone(), folder }
    }

    /// Returns how far the publication of each sink is.
    pub fn progress(&self) -> BTreeMap<String, SinkProgress> {
        self.sinks.iter().map(|(id, sink)| (id.clone(), sink.progress.clone())).collect()
    }

    /// Returns whether a node has a committer.
    pub fn has(&self, sink: &str) -> bool {
        self.sinks.contains_key(sink)
    }

    /// Sets the bytes of a sink in complete checkpoints that are not published.
    pub fn set_backlog(&self, sink: &str, bytes: u64) {
        let Some(sink) = self.sinks.get(sink) else { return };
        sink.progress.set_backlog_bytes(bytes);
        if !sink.takes_back {
            sink.health.set_lag(bytes);
        }
    }

    /// Returns whether a sink waits for its publication, so that no barrier would pass it.
    pub fn are_full(&self) -> bool {
        self.sinks.values().any(|sink| sink.progress.is_full())
    }

    /// Lets the barrier of a checkpoint pass all sinks, however full they are.
    pub fn let_pass(&self, checkpoint: u64) {
        self.sinks.values().for_each(|sink| sink.progress.let_pass(checkpoint));
    }

    /// Returns what the publication of a sink waits for, if it is in trouble.
    pub fn trouble(&self, sink: &str) -> Option<String> {
        Some(self.sinks.get(sink)?.progress.trouble()?.message)
    }

    /// Publishes what a sink prepared for a complete checkpoint. After an error the next attempt publishes it.
    pub fn commit_sink(
        &self,
        sink: &str,
        checkpoint: &PublishableCheckpoint,
        storage: &CheckpointStorage,
    ) -> Result<()> {
        let PublishableCheckpoint { metadata, local } = checkpoint;
        let Some(own) = self.sinks.get(sink) else { return Ok(()) };
        let prepared = committables(metadata).remove(sink).unwrap_or_default();
        let begun_ns = self.clock.monotonic_ns();
        let committed = self
            .with_output((sink, prepared), metadata, (storage, local), |output| own.committer.lock().commit(output));
        let seconds = self.clock.monotonic_ns().saturating_sub(begun_ns) as f64 / 1e9;
        self.commits.count(sink, committed.is_ok(), seconds);
        committed.map_err(|error| error.context(format!("sink `{sink}`")))
    }

    /// Calls `work` with the output of a sink in a checkpoint.
    fn with_output<T>(
        &self,
        (sink, committables): (&str, Vec<Vec<u8>>),
        metadata: &CheckpointMetadata,
        (storage, local): (&CheckpointStorage, &LocalOutput),
        work: impl FnOnce(&SinkOutput<'_>) -> Result<T>,
    ) -> Result<T> {
        let files = OutputReader::new(storage, metadata, sink, local, &self.folder)?;
        let checkpoint = metadata.checkpoint_id;
        work(&SinkOutput { job_id: &metadata.job_id, checkpoint, committables, files: &files })
    }

    /// Brings the sinks into line with the starting point of an attempt: publishes what its checkpoint prepared, and
    /// removes what the job prepared or published later. Adds warnings to the job. Errors: `sink-ahead`, `sink-marker-lost`,
    /// `sink-changed`, `interrupted`, and errors of the sinks.
    pub fn recover(
        &self,
        job: &JobHandle,
        pipeline: &PipelineSpec,
        start: &StartingPoint,
        storage: &CheckpointStorage,
    ) -> Result<()> {
        let record = job.record();
        let mut warnings = self.recover_own(start, Recovery::Attempt, None)?;
        if let Some(submitted) = start.submitted().filter(|_| !record.origin_published) {
            warnings.extend(self.adopt(submitted, &start.storage, pipeline, &record)?);
        }
        warn(job, warnings);
        // From now on readers may remove published files, so that no later attempt may expect to find them.
        match (start.own(), start.submitted()) {
            (Some(own), _) => mark_published(storage, own),
            (None, Some(_)) if !record.origin_published => job.update(|record| record.origin_published = true)?,
            _ => {}
        }
        Ok(())
    }

    /// Recovers the sinks of a region that restarts, while the other sinks and the publications go on.
    pub fn recover_region(
        &self,
        job: &JobHandle,
        nodes: &BTreeSet<&str>,
        start: &StartingPoint,
        storage: &CheckpointStorage,
    ) -> Result<()> {
        warn(job, self.recover_own(start, Recovery::Attempt, Some(nodes))?);
        if let Some(own) = start.own() {
            mark_published(storage, own);
        }
        Ok(())
    }

    /// Publishes what a job that does not run again has promised, and removes the rest.
    pub fn recover_last(&self, job: &JobHandle, start: &StartingPoint, storage: &CheckpointStorage) -> Result<()> {
        warn(job, self.recover_own(start, Recovery::End, None)?);
        if let Some(own) = start.own() {
            mark_published(storage, own);
        }
        Ok(())
    }

    /// Recovers each sink to the job's own checkpoint, or to the state before its first one. `only` names the nodes of a region. Returns
    /// warnings.
    fn recover_own(
        &self,
        start: &StartingPoint,
        recovery: Recovery,
        only: Option<&BTreeSet<&str>>,
    ) -> Result<Vec<String>> {
        let own = start.own();
        let mut prepared = own.map(|own| committables(own)).unwrap_or_default();
        let mut warnings = Vec::new();
        for (sink, SinkCommitter { committer, takes_back, .. }) in &self.sinks {
            if only.is_some_and(|only| !only.contains(sink.as_str()) || !takes_back) {
                continue;
            }
            let recover = |output: Option<&SinkOutput<'_>>| match recovery {
                Recovery::Attempt => committer.lock().recover(output),
                Recovery::End => committer.lock().recover_last(output),
            };
            let committables = prepared.remove(sink.as_str()).unwrap_or_default();
            let recovered = match own {
                Some(own) => {
                    self.with_output((sink, committables), own, (&start.storage, &LocalOutput::new()), |output| {
                        recover(Some(output))
                    })
                }
                None => recover(None),
            };
            let recovered = recovered.map_err(|error| error.context(format!("sink `{sink}`")))?;
            let missing = check_recovered(recovered, sink, own.map(|own| &**own))?;
            warnings.extend(missing.iter().map(|name| missing_output(sink, name)));
        }
        Ok(warnings)
    }

    /// Publishes what the sinks of another job prepared for a checkpoint. Returns warnings. Error: `sink-changed`.
    fn adopt(
        &self,
        submitted: &CheckpointMetadata,
        storage: &CheckpointStorage,
        pipeline: &PipelineSpec,
        record: &JobRecord,
    ) -> Result<Vec<String>> {
        let paths = PipelinePaths { base_dir: record.base_dir.clone(), policy: self.policy.clone() };
        // This also checks sinks that the pipeline no longer has.
        check_prepared_output(submitted, pipeline, &paths)?;
        let mut prepared = committables(submitted);
        let mut warnings = Vec::new();
        for (sink, SinkCommitter { committer, .. }) in &self.sinks {
            let committables = prepared.remove(sink.as_str()).unwrap_or_default();
            let local = LocalOutput::new();
            let adopted = self.with_output((sink, committables), submitted, (storage, &local), |output| {
                committer.lock().adopt(output, record.assume_lost)
            });
            let adopted = adopted.map_err(|error| of_checkpoint(submitted, error))?;
            let missing = check_adopted(adopted, sink, submitted, record.allow_duplicates)?;
            warnings.extend(missing.iter().map(|name| missing_output(sink, name)));
        }
        Ok(warnings)
    }

    /// After a cancel: removes output that was prepared and not published, except that of sinks in `unpublished`, which a checkpoint has
    /// promised. Published output stays.
    pub fn discard_prepared(&self, unpublished: &BTreeSet<String>) {
        for (sink, SinkCommitter { committer, .. }) in self.sinks.iter().filter(|(id, _)| !unpublished.contains(*id)) {
            if let Err(error) = committer.lock().discard() {
                tracing::warn!("cannot remove the prepared output of sink `{sink}`: {error}");
            }
        }
    }
}

/// Shows and logs warnings.
fn warn(job: &JobHandle, warnings: Vec<String>) {
    for warning in warnings {
        tracing::warn!(job = %job.record().name, "{warning}");
        job.warn(warning);
    }
}

/// Records in the storage that the output of a checkpoint is published.
pub fn mark_published(storage: &CheckpointStorage, metadata: &CheckpointMetadata) {
    let committables = committables(metadata);
    if committables.is_empty() {
        return;
    }
    // A file sink finds out by itself. The marker of an outbox may expire.
    let is_outbox = |committable: &Vec<u8>| connector::is_outbox_committable(committable);
    let is_durable = committables.values().flatten().any(is_outbox);
    if let Err(error) = storage.mark_published(metadata, is_durable) {
        // A restore of the checkpoint then asks the sinks.
        tracing::warn!(job = %metadata.job_name, checkpoint = metadata.checkpoint_id, "cannot record that the output is published: {error}");
    }
}
