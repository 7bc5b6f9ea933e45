//! The surroundings that a connector is opened with.

use std::path::PathBuf;

use tokio::runtime::Handle;

use super::health::HealthReporter;
use super::ingest::IngestAccess;
use super::sink_progress::SinkProgress;
use crate::access::{AccessPolicy, Secret};
use crate::clock::SharedClock;
use crate::error::Result;
use crate::model::Interrupt;
use crate::pipeline::SecretReference;
use crate::wakeup::Wakeup;

/// The job, node and subtask that a connector is opened for.
#[derive(Clone)]
pub struct ConnectorContext {
    /// The id of the job.
    pub job_id: String,
    /// The node's id in the pipeline.
    pub node: String,
    /// Index of the subtask, below `parallelism`.
    pub subtask: u32,
    /// Number of subtasks of the node.
    pub parallelism: u32,
    /// The clock of the job.
    pub clock: SharedClock,
    /// The folder that relative paths of the pipeline file refer to.
    pub base_dir: PathBuf,
    /// A folder for files that the subtask needs while it runs. It is removed with the attempt, and may not exist yet.
    pub working_dir: PathBuf,
    /// What the job may read, write and reach.
    pub policy: AccessPolicy,
    /// The job's seed.
    pub seed: u64,
    /// Ends long work before the first record, such as seeking to a restored position, with the error `interrupted`.
    pub interrupt: Interrupt,
    /// Shows the health of the connector.
    pub health: HealthReporter,
    /// How far the publication of a sink is.
    pub progress: SinkProgress,
    /// Runs the tasks of asynchronous clients. `None` where no source is read: in a check at submit, and in tests.
    pub runtime: Option<Handle>,
    /// The logs of sources `http`. `None` in a check at submit, and in tests.
    pub ingest: Option<IngestAccess>,
    /// Wakes the subtask. A source with threads of its own wakes it when records have arrived.
    pub wakeup: Wakeup,
}

impl ConnectorContext {
    /// Reads the value of a secret. Errors: `secret-missing`, `secret-denied`.
    pub fn secret(&self, reference: &SecretReference) -> Result<Secret> {
        self.policy.secrets().read(reference, &self.base_dir)
    }
}
