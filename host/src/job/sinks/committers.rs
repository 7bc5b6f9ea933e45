//! Publishes the output that sinks prepared, when its checkpoint is complete and after a restore.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::prepared_output::{check_prepared_output, committables, missing_output, of_checkpoint};
use crate::access::{AccessPolicy, PipelinePaths};
use crate::checkpoint::{CheckpointMetadata, CheckpointStorage};
use crate::clock::SharedClock;
use crate::connector::{self, Committer, ConnectorContext, HealthReporter};
use crate::error::Result;
use crate::job::dead_letters::letters_folder;
use crate::job::handle::JobHandle;
use crate::job::restore::StartingPoint;
use crate::model::Interrupt;
use crate::pipeline::{NodeKind, PipelineSpec, SinkNode};
use crate::wakeup::Wakeup;

/// The committers of a job's sinks.
pub struct SinkCommitters {
    /// By node id.
    committers: BTreeMap<String, Box<dyn Committer>>,
    policy: AccessPolicy,
}

impl SinkCommitters {
    /// Creates the committers of all sinks of a pipeline, and of the dead letters that the host keeps.
    pub fn open(
        pipeline: &PipelineSpec,
        job: &JobHandle,
        clock: &SharedClock,
        policy: &AccessPolicy,
    ) -> SinkCommitters {
        let record = job.record();
        let mut committers = BTreeMap::new();
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
                policy: policy.clone(),
                seed: record.seed,
                interrupt: Interrupt::default(),
                wakeup: Wakeup::default(),
            };
            let committer = match &node.kind {
                NodeKind::Sink(SinkNode { connector: config, .. }) => connector::committer(config, &context),
                _ if pipeline.keeps_letters(index) => connector::letter_committer(letters_folder(job), &context),
                _ => continue,
            };
            committers.insert(node.id.clone(), committer);
        }
        SinkCommitters { committers, policy: policy.clone() }
    }

    /// Keeps only the committers of these nodes.
    pub fn only(mut self, nodes: &BTreeSet<&str>) -> SinkCommitters {
        self.committers.retain(|sink, _| nodes.contains(sink.as_str()));
        self
    }

    /// Publishes what the sinks prepared for a complete checkpoint. After an error it is published by the next attempt.
    pub fn commit(&self, metadata: &CheckpointMetadata, storage: &CheckpointStorage) -> Result<()> {
        for (sink, committables) in &committables(metadata) {
            if let Some(committer) = self.committers.get(*sink) {
                committer.commit(committables).map_err(|error| error.context(format!("sink `{sink}`")))?;
            }
        }
        mark_published(storage, metadata);
        Ok(())
    }

    /// Brings the sinks into line with the starting point of an attempt: publishes what its checkpoint prepared, and
    /// removes what the job prepared or published later. Adds warnings to the job.
    pub fn recover(
        &self,
        job: &JobHandle,
        pipeline: &PipelineSpec,
        start: &StartingPoint,
        storage: &CheckpointStorage,
    ) -> Result<()> {
        let record = job.record();
        let mut warnings = self.recover_own(start)?;
        if let Some(submitted) = start.submitted().filter(|_| !record.origin_published) {
            warnings.extend(self.adopt(submitted, pipeline, record.base_dir)?);
        }
        for warning in warnings {
            tracing::warn!(job = %record.name, "{warning}");
            job.warn(warning);
        }
        // From now on readers may remove published files, so that no later attempt may expect to find them.
        match (start.own(), start.submitted()) {
            (Some(own), _) => mark_published(storage, own),
            (None, Some(_)) if !record.origin_published => job.update(|record| record.origin_published = true)?,
            _ => {}
        }
        Ok(())
    }

    /// Recovers each sink to the job's own checkpoint, or to the state before its first one. Returns warnings.
    fn recover_own(&self, start: &StartingPoint) -> Result<Vec<String>> {
        let own = start.own();
        let prepared = own.map(|own| committables(own)).unwrap_or_default();
        let mut warnings = Vec::new();
        for (sink, committer) in &self.committers {
            let committables = prepared.get(sink.as_str()).map(Vec::as_slice).unwrap_or_default();
            let recovered = committer.recover(own.map(|metadata| metadata.checkpoint_id), committables);
            let missing = recovered.map_err(|error| error.context(format!("sink `{sink}`")))?;
            warnings.extend(missing.iter().map(|name| missing_output(sink, name)));
        }
        Ok(warnings)
    }

    /// Publishes what the sinks of another job prepared for a checkpoint. Returns warnings. Error: `sink-changed`.
    fn adopt(&self, submitted: &CheckpointMetadata, pipeline: &PipelineSpec, base_dir: PathBuf) -> Result<Vec<String>> {
        let paths = PipelinePaths { base_dir, policy: self.policy.clone() };
        // This also checks sinks that the pipeline no longer has.
        check_prepared_output(submitted, pipeline, &paths)?;
        let mut warnings = Vec::new();
        for (sink, committables) in committables(submitted) {
            let Some(committer) = self.committers.get(sink) else { continue };
            let missing = committer.adopt(&committables).map_err(|error| of_checkpoint(submitted, error))?;
            warnings.extend(missing.iter().map(|name| missing_output(sink, name)));
        }
        Ok(warnings)
    }

    /// After a cancel: removes output that was prepared and not published. Published output stays.
    pub fn discard_prepared(&self) {
        for (sink, committer) in &self.committers {
            if let Err(error) = committer.recover(Some(u64::MAX), &[]) {
                tracing::warn!("cannot remove the prepared output of sink `{sink}`: {error}");
            }
        }
    }
}

/// Records in the storage that the output of a checkpoint is published.
fn mark_published(storage: &CheckpointStorage, metadata: &CheckpointMetadata) {
    if committables(metadata).is_empty() {
        return;
    }
    if let Err(error) = storage.mark_published(metadata) {
        // A restore of the checkpoint then looks for the published output in the sinks' folders.
        tracing::warn!(checkpoint = metadata.checkpoint_id, "cannot record that the output is published: {error}");
    }
}
