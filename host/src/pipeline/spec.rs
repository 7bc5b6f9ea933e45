//! A checked pipeline: the settings of the whole job, and its nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault_injection::FaultInjection;
use super::node_spec::{FaultPolicy, NodeKind, OutputPort, PipelineNode, UndecodablePolicy};

/// A checked pipeline. See the module `pipeline` for its invariant.
#[derive(Clone, Debug)]
pub struct PipelineSpec {
    /// The name of the pipeline, and of its job.
    pub name: String,
    /// Default parallelism of the nodes.
    pub parallelism: u32,
    /// Number of key groups, the upper bound of any parallelism.
    pub max_parallelism: u32,
    /// Whether the pipeline file does not set `max_parallelism`, so that a restore takes it from the checkpoint.
    pub max_parallelism_is_default: bool,
    /// The job's seed, or `None` if it is chosen at submit.
    pub seed: Option<u64>,
    /// When batches are closed.
    pub batch: BatchSettings,
    /// When and where checkpoints are taken.
    pub checkpoint: CheckpointSettings,
    /// Whether the job restarts after a failure, and when.
    pub restart: RestartStrategy,
    /// The failures that the job injects on purpose.
    pub fault_injection: FaultInjection,
    /// Where state is kept.
    pub state: StateSettings,
    /// How functions are run.
    pub sandbox: SandboxSettings,
    /// How many dead letters the host keeps.
    pub dead_letters: DeadLetterSettings,
    /// When a subtask counts as hung.
    pub heartbeat: HeartbeatSettings,
    /// The nodes in topological order: each node comes after its inputs.
    pub nodes: Vec<PipelineNode>,
}

impl PipelineSpec {
    /// Returns the indices of the sources whose records reach a node, directly or through operators.
    pub fn sources_of(&self, node: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut open = vec![node];
        while let Some(index) = open.pop() {
            if seen.insert(index) {
                open.extend(self.nodes[index].inputs.iter().map(|input| input.node));
            }
        }
        seen.retain(|index| matches!(self.nodes[*index].kind, NodeKind::Source(_)));
        seen
    }

    /// Returns whether the host keeps the dead letters of a node: it has some, and no node reads them.
    pub fn keeps_letters(&self, node: usize) -> bool {
        let has_letters = match &self.nodes[node].kind {
            NodeKind::Operator(operator) => operator.on_fault == FaultPolicy::DeadLetter,
            NodeKind::Source(source) => source.on_undecodable == UndecodablePolicy::DeadLetter,
            NodeKind::Sink(_) => false,
        };
        let mut inputs = self.nodes.iter().flat_map(|node| &node.inputs);
        has_letters && !inputs.any(|input| input.node == node && input.port == OutputPort::DeadLetter)
    }

    /// Returns the index of a node.
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }
}

/// The conditions that close a batch, of which the first one counts, and the limit of the batches in channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchSettings {
    /// Number of records.
    pub records: usize,
    /// Size in bytes.
    pub bytes: usize,
    /// Time since the first record.
    pub linger: Duration,
    /// Number of bytes that may wait in the channels of the job.
    pub channel_bytes: usize,
}

impl Default for BatchSettings {
    fn default() -> BatchSettings {
        BatchSettings { records: 1024, bytes: 1 << 20, linger: Duration::from_millis(10), channel_bytes: 128 << 20 }
    }
}

/// The heartbeats of subtasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatSettings {
    /// Time between two checks.
    pub interval: Duration,
    /// Time without progress after which a subtask fails.
    pub timeout: Duration,
}

impl Default for HeartbeatSettings {
    fn default() -> HeartbeatSettings {
        HeartbeatSettings { interval: Duration::from_secs(10), timeout: Duration::from_secs(50) }
    }
}

/// The settings of checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointSettings {
    /// Time between the starts of two checkpoints. Without `interval`, `records` and `event_time`, only the final checkpoint
    /// is taken.
    pub interval: Option<Duration>,
    /// Number of records that the sources read between two checkpoints.
    pub records: Option<u64>,
    /// Interval of event time. A checkpoint is taken each time the watermark of the sources passes a multiple of it.
    pub event_time: Option<Duration>,
    /// Minimum time between the end of one checkpoint and the start of the next. Zero unless `max_concurrent` is 1.
    pub min_pause: Duration,
    /// Maximum number of checkpoints in progress at once, without savepoints.
    pub max_concurrent: usize,
    /// Which records a checkpoint contains.
    pub mode: CheckpointMode,
    /// Time after which a checkpoint's barriers overtake records. `None` means never. If it is set, `max_concurrent` is 1 and
    /// the mode is exactly-once.
    pub unaligned_after: Option<Duration>,
    /// Whether the checkpoints of a cancelled or finished job are deleted.
    pub on_cancel: CheckpointCleanup,
    /// Number of completed checkpoints that are retained.
    pub retained: usize,
    /// Number of consecutive checkpoints that may fail before the job fails.
    pub tolerable_failures: u32,
    /// Time after which an incomplete checkpoint fails.
    pub timeout: Duration,
    /// How long the answer to a stop, a savepoint or a cancel waits for the publication of output.
    pub publish_timeout: Duration,
    /// Storage location, a path or `s3://bucket/folder`. `None` means the default location of the server.
    pub storage: Option<String>,
}

impl CheckpointSettings {
    /// Returns whether checkpoints are taken regularly while the sources run.
    pub fn is_periodic(&self) -> bool {
        self.interval.is_some() || self.records.is_some() || self.event_time.is_some()
    }
}

/// The guarantee of a checkpoint for a subtask with several inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointMode {
    /// The checkpoint contains exactly the records in front of the barriers.
    ExactlyOnce,
    /// The checkpoint may also contain records behind some barriers, which a restore repeats. Inputs never wait for each other.
    AtLeastOnce,
}

/// The policy for the checkpoints of a job that is cancelled or finishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointCleanup {
    /// They are deleted.
    Delete,
    /// They are kept.
    Keep,
}

/// Whether a job restarts after a failure, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartStrategy {
    /// The job fails at once.
    None,
    /// The job restarts after a fixed delay. `limit` counts its restarts.
    FixedDelay {
        /// Maximum number of restarts within an interval.
        limit: FailureLimit,
        /// Time between a failure and the restart.
        delay: Duration,
    },
    /// The job restarts after a fixed delay while it fails rarely enough.
    FailureRate {
        /// Maximum number of failures within an interval.
        limit: FailureLimit,
        /// Time between a failure and the restart.
        delay: Duration,
    },
    /// The job restarts after a delay that grows with each failure.
    ExponentialDelay(ExponentialDelay),
}

/// The number of failures within an interval that are followed by a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimit {
    /// Number of failures.
    pub failures: u32,
    /// The interval. It ends with the failure that is being judged.
    pub interval: Duration,
}

/// The settings of an exponential restart delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExponentialDelay {
    /// Delay after the first failure. No delay is shorter.
    pub initial: Duration,
    /// No delay is longer.
    pub maximum: Duration,
    /// Factor between two delays, in thousandths. At least 1000.
    pub multiplier_thousandths: u64,
    /// Largest share of a delay that is added or subtracted, in thousandths.
    pub jitter_thousandths: u64,
    /// Time without a failure after a restart that makes the next delay `initial` again.
    pub reset_after: Duration,
    /// Maximum number of restarts since the last reset. `None` means no limit.
    pub attempts: Option<u32>,
}

impl Default for ExponentialDelay {
    fn default() -> ExponentialDelay {
        ExponentialDelay {
            initial: Duration::from_secs(1),
            maximum: Duration::from_secs(60),
            multiplier_thousandths: 1_500,
            jitter_thousandths: 100,
            reset_after: Duration::from_secs(3_600),
            attempts: None,
        }
    }
}

/// The kind of state backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateBackendKind {
    /// State is kept in memory.
    Memory,
    /// State is kept in RocksDB.
    RocksDb,
}

/// The limit of the dead letters that the host keeps for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterSettings {
    /// Size of all kept letters, in bytes. The job fails rather than exceed it.
    pub limit_bytes: u64,
    /// Whether the pipeline file sets it.
    pub is_limit_set: bool,
}

impl Default for DeadLetterSettings {
    fn default() -> Self {
        DeadLetterSettings { limit_bytes: 1 << 30, is_limit_set: false }
    }
}

/// The settings of state.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSettings {
    /// The backend of all keyed state.
    pub backend: StateBackendKind,
}

/// The settings of the sandbox.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxSettings {
    /// Whether the instance is dropped after every turn. This shows that a guest keeps no state of its own.
    pub fresh_instance: bool,
}
