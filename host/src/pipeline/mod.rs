//! The pipeline file: what a person writes in TOML, and the checked [`PipelineSpec`] that the rest of the host runs.
//!
//! A `PipelineSpec` is well formed: its nodes are in topological order, ids are unique, inputs exist, parallelism is within
//! bounds. What only the components can tell (functions, outputs, codecs) is checked later, by the job's plan.

mod duration;
mod graph;
mod interval;
mod node;
mod parse;
#[cfg(test)]
mod parse_tests;
mod reader;
mod syntax;
mod window;

pub use interval::JoinInterval;
pub use parse::locate;
pub use window::{
    Aggregate, Evictor, NumericAggregate, RetainedElements, WindowAssigner, WindowSettings, WindowTrigger,
};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A checked pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineSpec {
    pub name: String,
    /// The default of every node.
    pub parallelism: u32,
    pub max_parallelism: u32,
    /// Whether the manifest does not name it, so that a restore takes it from the image.
    pub max_parallelism_is_default: bool,
    /// The job's seed; chosen at submit where the manifest names none.
    pub seed: Option<u64>,
    pub batch: BatchSettings,
    pub checkpoint: CheckpointSettings,
    pub restart: RestartStrategy,
    pub state: StateSettings,
    pub sandbox: SandboxSettings,
    /// In topological order: a node's inputs stand before it.
    pub nodes: Vec<PipelineNode>,
}

impl PipelineSpec {
    /// The sources whose records reach a node, through however many operators, by their index.
    pub fn sources_of(&self, node: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut open = vec![node];
        while let Some(at) = open.pop() {
            if seen.insert(at) {
                open.extend(self.nodes[at].inputs.iter().map(|input| input.node));
            }
        }
        seen.retain(|at| matches!(self.nodes[*at].kind, NodeKind::Source(_)));
        seen
    }
}

/// When a batch closes: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchSettings {
    pub records: usize,
    pub bytes: usize,
    pub linger: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointSettings {
    /// Time between the starts of two checkpoints. Without `interval` and `records` only the final one is taken.
    pub interval: Option<Duration>,
    /// Records that the sources read between two checkpoints.
    pub records: Option<u64>,
    /// A checkpoint each time the watermark of the sources passes a multiple of this.
    pub event_time: Option<Duration>,
    /// Time between the end of one checkpoint and the start of the next. Not zero with `max_concurrent` = 1 only.
    pub min_pause: Duration,
    /// How many checkpoints may be in progress at once, savepoints not counted.
    pub max_concurrent: usize,
    pub mode: CheckpointMode,
    /// How long after its start a checkpoint's barriers overtake the records in front of them. Never where none;
    /// else `max_concurrent` is 1 and the mode exactly-once.
    pub unaligned_after: Option<Duration>,
    /// What becomes of the checkpoints of a job that is cancelled or comes to its end.
    pub on_cancel: CheckpointCleanup,
    /// How many complete checkpoints are kept.
    pub retained: usize,
    /// How many checkpoints in a row may fail before the job does.
    pub tolerable_failures: u32,
    pub timeout: Duration,
    /// Where they are stored, a path or `s3://bucket/folder`; the server's own place where the manifest names none.
    pub storage: Option<String>,
}

impl CheckpointSettings {
    /// Whether checkpoints are taken while the sources run, without being asked for.
    pub fn is_periodic(&self) -> bool {
        self.interval.is_some() || self.records.is_some() || self.event_time.is_some()
    }
}

/// What a checkpoint of a subtask with several inputs holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointMode {
    /// The records in front of the barriers, each once.
    ExactlyOnce,
    /// Perhaps also records behind some barriers, which are read again after a restore: inputs never wait for each other.
    AtLeastOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointCleanup {
    Delete,
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RestartStrategy {
    None,
    FixedDelay { attempts: u32, delay: Duration },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateBackendKind {
    Memory,
    RocksDb,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StateSettings {
    pub backend: StateBackendKind,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SandboxSettings {
    /// Throw the instance away after every turn. Shows that a guest holds nothing.
    pub fresh_instance: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PipelineNode {
    pub id: String,
    pub parallelism: u32,
    pub inputs: Vec<NodeInput>,
    /// Partitions the inputs by key; without one they are forwarded (same parallelism) or rebalanced. Not for broadcast ones.
    pub key: Option<KeySelector>,
    /// The same for the second input, where it is not `key` as well.
    pub second_key: Option<KeySelector>,
    pub kind: NodeKind,
}

impl PipelineNode {
    /// By what an input of this role is partitioned, and the key of the manifest that says so.
    pub fn key_of(&self, role: InputRole) -> Option<(&KeySelector, &'static str)> {
        let second = self.second_key.as_ref().filter(|_| role == InputRole::Second).map(|key| (key, "second_key"));
        match role {
            InputRole::Broadcast => None,
            InputRole::First | InputRole::Second => second.or_else(|| Some((self.key.as_ref()?, "key"))),
        }
    }

    pub fn has_input(&self, role: InputRole) -> bool {
        self.inputs.iter().any(|input| input.role == role)
    }
}

/// An edge of the graph, as its consumer names it: `track`, `track.late`, `track.dead-letter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInput {
    /// Index into [`PipelineSpec::nodes`].
    pub node: usize,
    pub port: OutputPort,
    pub role: InputRole,
}

/// As what an operator reads an input. Inputs of one role are one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputRole {
    /// `input` or `inputs`: that of most functions, and the first of those that have two.
    First,
    /// `second`: the other one, partitioned by key as well.
    Second,
    /// `broadcast`: the other one, which every subtask gets whole.
    Broadcast,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputPort {
    Main,
    /// A side output by its name in the function's description.
    Side(String),
    DeadLetter,
}

/// Where the key of a record is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySelector {
    /// The whole value.
    Value,
    /// What the function upstream chose with `emit_keyed`.
    Emitted,
    /// By name: a CSV column of a source with a header, or a JSON field (`a.b` reaches into an object).
    Field(String),
    /// A CSV column by its place, from 0.
    Column(usize),
}

#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    Source(SourceNode),
    Operator(OperatorNode),
    Sink(SinkConfig),
}

#[derive(Clone, Debug, PartialEq)]
pub struct SourceNode {
    pub connector: SourceConfig,
    pub timestamp: Option<TimestampSelector>,
    pub watermark: Option<WatermarkSettings>,
    /// Records per second over all subtasks; unlimited where none.
    pub rate: Option<u64>,
    pub on_undecodable: UndecodablePolicy,
}

/// What happens to a record that a source cannot decode: it has no proper end, or its timestamp cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UndecodablePolicy {
    /// The job fails, behind the records in front of it.
    #[default]
    Fail,
    /// The record is left out and counted.
    Skip,
}

/// Where the event timestamp of a record is found and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampSelector {
    /// [`KeySelector::Field`] or [`KeySelector::Column`].
    pub at: KeySelector,
    pub format: TimestampFormat,
    /// The time zone of times that name none: `UTC`, an offset, or a name.
    pub zone: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimestampFormat {
    Rfc3339,
    UnixS,
    UnixMs,
    UnixUs,
}

impl TimestampFormat {
    /// Its name in a pipeline file.
    pub fn as_str(self) -> &'static str {
        match self {
            TimestampFormat::Rfc3339 => "rfc3339",
            TimestampFormat::UnixS => "unix-s",
            TimestampFormat::UnixMs => "unix-ms",
            TimestampFormat::UnixUs => "unix-us",
        }
    }
}

/// How a source's watermark is made, and when it holds nobody up. The default is that of ascending timestamps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatermarkSettings {
    /// The watermark is the largest timestamp seen, less this.
    pub out_of_orderness: Duration,
    /// A subtask that has read nothing for so long is idle.
    pub idle_after: Option<Duration>,
    pub alignment: Option<AlignmentSettings>,
}

/// Sources of one group wait for each other.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignmentSettings {
    pub group: String,
    /// A subtask that is further than this ahead of the group's smallest watermark does not read.
    pub max_drift: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OperatorNode {
    /// None where an aggregate of `windows` stands in its place.
    pub function: Option<FunctionReference>,
    pub windows: Option<WindowSettings>,
    /// Handed to the function as it is.
    pub config: BTreeMap<String, String>,
    /// Of an interval join.
    pub interval: Option<JoinInterval>,
    pub on_fault: FaultPolicy,
    pub limits: GuestLimits,
}

/// A function of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionReference {
    /// `name@version`, `sha256:...` or a path.
    pub component: String,
    pub name: String,
}

/// What happens to a record that makes its function fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultPolicy {
    /// The job fails; its restart strategy decides.
    Fail,
    /// The record is dropped and counted.
    Skip,
    /// The record goes to the operator's output `dead-letter`, with the fault.
    DeadLetter,
}

/// The largest `limits.memory`, in bytes: what one place in the sandbox's pool has.
pub const MEMORY_BYTES_MAX: usize = 1 << 30;

/// Limits of one guest call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestLimits {
    pub memory_bytes: usize,
    pub deadline: Duration,
    pub output_bytes: usize,
}

impl Default for GuestLimits {
    fn default() -> Self {
        GuestLimits { memory_bytes: 64 << 20, deadline: Duration::from_secs(1), output_bytes: 16 << 20 }
    }
}

/// How values of a stream are written, as far as the host cares: for selecting keys and timestamps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueFormat {
    /// Whole lines, or bytes that the host does not look into.
    Raw,
    Json,
    /// The names of the columns, where they are known.
    Csv(Option<Vec<String>>),
}

/// How a source's records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    Lines,
    Csv,
    Ndjson,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// A file, or every file of a folder in order of their names. `.gz` is read through gzip.
    File { path: PathBuf, format: FileFormat, header: bool },
    /// Records `template` with `{n}` replaced by the record's number; `keys` distinct values of `{key}`.
    Generator { records: Option<u64>, template: String, keys: u64 },
    /// Lines from a TCP server. Cannot be replayed.
    Socket { address: String, format: FileFormat },
}

impl SourceConfig {
    /// How its records are written, and whether a header names their columns. None where its template says it.
    pub fn format(&self) -> Option<(FileFormat, bool)> {
        match self {
            SourceConfig::File { format, header, .. } => Some((*format, *header)),
            SourceConfig::Socket { format, .. } => Some((*format, false)),
            SourceConfig::Generator { .. } => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum SinkConfig {
    /// Exactly-once: one file per subtask and checkpoint, published by the checkpoint.
    File {
        path: PathBuf,
    },
    Stdout,
    Blackhole,
}
