//! The options of one attempt to run a plan.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::access::PipelinePaths;
use crate::checkpoint::CheckpointMetadata;
use crate::clock::SharedClock;
use crate::connector::ingest::IngestAccess;
use crate::connector::{HealthBoard, LetterQuota, SinkProgress};
use crate::fault_groups::FaultRecorder;
use crate::job_log::JobLog;
use crate::model::Interrupt;
use crate::namespace_usage::ByteAccount;
use crate::permits::JobShare;
use crate::runtime::injected_failures::InjectedFailures;
use crate::runtime::plan::regions::Region;
use crate::runtime::replay::replay_board::ReplayBoard;
use crate::runtime::source::checkpoint_triggers::CheckpointTriggers;
use crate::runtime::subtask_event::SubtaskEventListener;
use crate::runtime::tap::JobTaps;
use crate::state::FileStore;
use crate::tracer::OpenSpan;

/// The options of one attempt to run a plan.
pub struct ExecutionOptions {
    /// Id of the job, for the names of files that sinks write.
    pub job_id: String,
    /// Folder against which the paths of connectors are resolved, and what the connectors may access.
    pub paths: PipelinePaths,
    /// Folder for the running state. Its previous contents are deleted.
    pub working_dir: PathBuf,
    /// Seed of the guests' random numbers.
    pub seed: u64,
    /// Source of wall-clock and monotonic time.
    pub clock: SharedClock,
    /// The checkpoint to restore, if any.
    pub restore: Option<RestoredCheckpoint>,
    /// Whether restored states that no function declares are dropped, instead of refused.
    pub allow_unclaimed_state: bool,
    /// Whether sources and operators forget the watermarks of the restored checkpoint.
    pub reset_watermarks: bool,
    /// The job's share of the processors.
    pub share: JobShare,
    /// Ends the attempt, also during a restore.
    pub interrupt: Interrupt,
    /// The part of the graph to run. `None` means all of it.
    pub region: Option<Arc<Region>>,
    /// The triggers of checkpoints that the sources of all regions share. `None` means new ones.
    pub triggers: Option<Arc<CheckpointTriggers>>,
    /// Failures on purpose.
    pub injected: Arc<InjectedFailures>,
    /// Receives the events of all subtasks.
    pub listener: SubtaskEventListener,
    /// Where connectors show their health.
    pub health: HealthBoard,
    /// The log of the job.
    pub log: Arc<JobLog>,
    /// The state of all jobs of the namespace.
    pub namespace_state: ByteAccount,
    /// The taps of the job.
    pub taps: Arc<JobTaps>,
    /// Records the faults of functions. `None` for a trial.
    pub faults: Option<Arc<FaultRecorder>>,
    /// Runs the tasks of asynchronous connectors.
    pub runtime: Option<Handle>,
    /// Where dead letters are kept and replayed from.
    pub letters: LetterOptions,
    /// How far the publications of sinks are, by node.
    pub sinks: BTreeMap<String, SinkProgress>,
    /// The logs of sources `http`. `None` where no source is read.
    pub ingest: Option<IngestAccess>,
    /// Traces the start. It ends once all subtasks have opened their state.
    pub span: Arc<OpenSpan>,
}

/// How the host keeps the dead letters of a job that no node reads.
#[derive(Clone, Default)]
pub struct LetterOptions {
    /// The folder of the letters. `None` drops them.
    pub folder: Option<PathBuf>,
    /// The limit of all letters.
    pub quota: LetterQuota,
    /// The replays of letters.
    pub replays: ReplayBoard,
    /// SHA-256 of the component of each operator, for the letters.
    pub components: BTreeMap<String, String>,
}

impl ExecutionOptions {
    /// Returns whether a chain of the plan runs.
    pub(crate) fn runs_chain(&self, chain: usize) -> bool {
        self.region.as_ref().is_none_or(|region| region.has_chain(chain))
    }
}

/// A checkpoint that an attempt restores.
#[derive(Clone)]
pub struct RestoredCheckpoint {
    /// Describes the state of all nodes.
    pub metadata: Arc<CheckpointMetadata>,
    /// Reads the files of the checkpoint.
    pub files: Arc<dyn FileStore>,
}
