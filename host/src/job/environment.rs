//! The environment that all jobs of a host share: the component store, the clock, the default checkpoint storage and
//! the instance slots.
//!
//! This module must not depend on a single job.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::capacity::ServerCapacity;
use super::quotas::Quotas;
use super::restore::OriginRegistry;
use super::store::ComponentStore;
use crate::access::{self, AccessPolicy, PipelinePaths};
use crate::checkpoint::{CheckpointMetadata, CheckpointStorage, StorageLocation, StoredCheckpoint};
use crate::clock::SharedClock;
use crate::connector::ingest::IngestLogs;
use crate::error::{self, Result};
use crate::job_log::EndedLogs;
use crate::namespace_usage::NamespaceUsage;
use crate::permits::PermitPool;
use crate::pipeline::{LimitCeilings, PipelineSpec};
use crate::state::SnapshotFormat;
use crate::tracer::Tracer;

/// Name of the folders with one folder for each namespace.
pub const NAMESPACES_FOLDER: &str = "namespaces";

/// The shared environment of all jobs. There is one for each host.
pub struct JobEnvironment {
    /// Name of the namespace of the jobs.
    pub namespace: String,
    /// The uploaded components.
    pub components: Arc<ComponentStore>,
    /// The logs of the sources `http`.
    pub ingest_logs: Arc<IngestLogs>,
    /// The clock of all jobs.
    pub clock: SharedClock,
    /// The runtime that serves calls to checkpoint storage.
    pub runtime: tokio::runtime::Handle,
    /// Where checkpoints are stored, unless the pipeline file sets `storage`.
    pub default_storage: StorageLocation,
    /// Where all other namespaces than `default` store their checkpoints, each in a folder of its own.
    pub namespaces_storage: StorageLocation,
    /// The checkpoints from which jobs without an own checkpoint start.
    pub origins: Arc<OriginRegistry>,
    /// The largest limits that a pipeline may set.
    pub limit_ceilings: LimitCeilings,
    /// Time that the last checkpoint of a job may take when the process ends.
    pub shutdown_time: Duration,
    /// What all jobs share: instances and subtasks.
    pub capacity: ServerCapacity,
    /// Permits of the threads of all jobs to use a processor.
    pub permits: PermitPool,
    /// What pipelines may read, write and reach.
    pub policy: AccessPolicy,
    /// The logs of the jobs that have ended last.
    pub ended_logs: EndedLogs,
    /// What the namespace of the jobs may use.
    pub quotas: Quotas,
    /// What it uses, in bytes.
    pub usage: NamespaceUsage,
    /// Traces submits, checkpoints and restores.
    pub tracer: Tracer,
}

impl JobEnvironment {
    /// Returns the paths of a pipeline with the folder `base_dir`.
    pub fn paths(&self, base_dir: PathBuf) -> PipelinePaths {
        PipelinePaths { base_dir, policy: self.policy.clone() }
    }

    /// Opens the storage for a pipeline's checkpoints and savepoints. Errors: `manifest-invalid`, `path-denied`,
    /// `address-denied`, `storage-failed`.
    pub fn storage(&self, pipeline: &PipelineSpec, base_dir: &Path) -> Result<CheckpointStorage> {
        let own = pipeline.checkpoint.storage.as_ref().map(|text| StorageLocation::parse(text, base_dir)).transpose();
        let own = own.map_err(|why| error::manifest_invalid(format!("`storage` in [checkpoint]: {why}")))?;
        match own {
            Some(own) => {
                self.check_location(&own).map_err(|error| error.context("`storage` in [checkpoint]"))?;
                CheckpointStorage::open_chosen(&own, &self.policy, self.runtime.clone())
            }
            None => CheckpointStorage::open(&self.default_storage, self.runtime.clone()),
        }
    }

    /// Checks that pipelines may use a storage, savepoint or checkpoint at this location. Everything in the server's own
    /// storage is allowed. Errors: `path-denied`, `address-denied`.
    pub fn check_location(&self, location: &StorageLocation) -> Result<()> {
        if self.is_own_storage(location) {
            return Ok(());
        }
        if self.is_in_storage(location, &self.namespaces_storage) {
            return Err(error::path_denied(format!("{location} belongs to another namespace"))
                .hint("use a savepoint of this namespace, or one in a folder that --allow-path allows"));
        }
        match location {
            StorageLocation::Folder(folder) => self.policy.check_path(folder).map_err(|cause| {
                access::denied_or(&cause, || error::storage_failed(format!("{}: {cause}", folder.display())))
            }),
            StorageLocation::S3 { bucket, .. } => self.policy.check_bucket(bucket),
        }
    }

    /// Checks that a job may start from a savepoint or checkpoint, or remove it. Errors: `path-denied`, `address-denied`.
    pub fn check_origin(&self, location: &StorageLocation) -> Result<()> {
        self.check_location(&StoredCheckpoint::outermost_folder(location))
    }

    /// Checks that a job may start from the files of a snapshot: native ones are opened only from the host's own storage, unless
    /// its operator allows others. Error: `native-denied`.
    pub fn check_native_files(&self, location: &StorageLocation, metadata: &CheckpointMetadata) -> Result<()> {
        if self.policy.allows_native_savepoints() || self.is_own_storage(location) {
            return Ok(());
        }
        let subtasks = metadata.operators.iter().flat_map(|operator| &operator.subtasks);
        let mut states = subtasks.filter_map(|subtask| subtask.state.as_ref());
        match states.any(|state| state.format != SnapshotFormat::Canonical) {
            true => Err(error::native_denied(format!("{location} contains native files, and is not in the server's own storage"))
                .hint("take the savepoint without --native, or start the server with --allow-native-savepoints if you trust it")),
            false => Ok(()),
        }
    }

    /// Returns whether a location is in the storage that the operator of the host chose. Only this host writes to it.
    pub fn is_own_storage(&self, location: &StorageLocation) -> bool {
        let is_foreign = self.default_storage.below(&self.namespaces_storage).is_none()
            && self.is_in_storage(location, &self.namespaces_storage);
        self.is_in_storage(location, &self.default_storage) && !is_foreign
    }

    /// Returns whether a location is in the storage with this root, also if links lead there.
    pub fn is_in_storage(&self, location: &StorageLocation, root: &StorageLocation) -> bool {
        let resolved = match location {
            StorageLocation::Folder(folder) => match AccessPolicy::default().resolve(folder) {
                // What does not exist must not lead out by `..` once it does.
                Ok(path) if path.components().all(|part| part != Component::ParentDir) => StorageLocation::Folder(path),
                _ => return false,
            },
            s3 => s3.clone(),
        };
        resolved.below(&root.clone().canonical()).is_some()
    }
}
