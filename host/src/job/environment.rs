//! The environment that all jobs of a host share: the component store, the clock, the default checkpoint storage and
//! the instance slots.
//!
//! This module must not depend on a single job.

use std::path::Path;
use std::sync::Arc;

use super::capacity::ServerCapacity;
use super::restore::OriginRegistry;
use super::store::ComponentStore;
use crate::checkpoint::{CheckpointStorage, StorageLocation};
use crate::clock::SharedClock;
use crate::error::{self, Result};
use crate::permits::PermitPool;
use crate::pipeline::{LimitCeilings, PipelineSpec};

/// The shared environment of all jobs. There is one for each host.
pub struct JobEnvironment {
    /// The uploaded components.
    pub components: Arc<ComponentStore>,
    /// The clock of all jobs.
    pub clock: SharedClock,
    /// The runtime that serves calls to checkpoint storage.
    pub runtime: tokio::runtime::Handle,
    /// Where checkpoints are stored, unless the pipeline file sets `storage`.
    pub default_storage: StorageLocation,
    /// The checkpoints from which jobs without an own checkpoint start.
    pub origins: OriginRegistry,
    /// The largest limits that a pipeline may set.
    pub limit_ceilings: LimitCeilings,
    /// What all jobs share: instances and subtasks.
    pub capacity: ServerCapacity,
    /// Permits of the threads of all jobs to use a processor.
    pub permits: PermitPool,
}

impl JobEnvironment {
    /// Opens the storage for a pipeline's checkpoints and savepoints. Errors: `manifest-invalid`, `storage-failed`.
    pub fn storage(&self, pipeline: &PipelineSpec, base_dir: &Path) -> Result<CheckpointStorage> {
        let own = pipeline.checkpoint.storage.as_ref().map(|text| StorageLocation::parse(text, base_dir)).transpose();
        let own = own.map_err(|why| error::manifest_invalid(format!("`storage` in [checkpoint]: {why}")))?;
        CheckpointStorage::open(own.as_ref().unwrap_or(&self.default_storage), self.runtime.clone())
    }
}
