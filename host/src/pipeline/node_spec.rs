//! The checked nodes of a pipeline: sources, operators and sinks, with their settings.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::connector::{SinkConfig, SourceConfig};
use super::grants::Grants;
use super::interval::JoinInterval;
use super::key_selector::KeySelector;
use super::limits::OperatorLimits;
use super::record_format::{DecodingSettings, EncodingSettings};
use super::row_operator::RowOperator;
use super::window_settings::WindowSettings;
use crate::model::LogLevel;

/// A node of a pipeline: a source, an operator or a sink.
#[derive(Clone, Debug)]
pub struct PipelineNode {
    /// The id, unique in the pipeline.
    pub id: String,
    /// Number of subtasks.
    pub parallelism: u32,
    /// The inputs; none for a source.
    pub inputs: Vec<NodeInput>,
    /// The key that partitions the inputs, except broadcast inputs. Without a key, inputs are forwarded if the parallelism is
    /// equal, and otherwise rebalanced.
    pub key: Option<KeySelector>,
    /// The key of the second input, if it differs from `key`.
    pub second_key: Option<KeySelector>,
    /// The settings of its kind.
    pub kind: NodeKind,
}

impl PipelineNode {
    /// Returns the key that partitions an input of this role, and the name of its setting in the pipeline file.
    pub fn key_of(&self, role: InputRole) -> Option<(&KeySelector, &'static str)> {
        let second = self.second_key.as_ref().filter(|_| role == InputRole::Second).map(|key| (key, "second_key"));
        match role {
            InputRole::Broadcast => None,
            InputRole::First | InputRole::Second => second.or_else(|| Some((self.key.as_ref()?, "key"))),
        }
    }

    /// Returns whether the node has an input of this role.
    pub fn has_input(&self, role: InputRole) -> bool {
        self.inputs.iter().any(|input| input.role == role)
    }
}

/// An edge of the graph, as its consumer refers to it: `track`, `track.late`, `track.dead-letter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInput {
    /// Index of the producer in [`super::PipelineSpec::nodes`].
    pub node: usize,
    /// The output of the producer.
    pub port: OutputPort,
    /// The role of the input for the consumer.
    pub role: InputRole,
}

/// The role of an input for its operator. Inputs of one role form one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputRole {
    /// `input` or `inputs`: the only input of most functions, and the first input of functions with two.
    First,
    /// `second`: the second input, which is also partitioned by key.
    Second,
    /// `broadcast`: the second input, of which every subtask gets all records.
    Broadcast,
}

/// An output of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputPort {
    /// The main output.
    Main,
    /// A side output, by its name in the function's description.
    Side(String),
    /// The dead letters of an operator or a source.
    DeadLetter,
}

/// The kind of a node, with its settings.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a pipeline has few nodes, and they are rarely moved")]
pub enum NodeKind {
    /// Reads records.
    Source(SourceNode),
    /// Processes records.
    Operator(OperatorNode),
    /// Writes records.
    Sink(SinkNode),
}

/// The settings of a sink.
#[derive(Clone, Debug)]
pub struct SinkNode {
    /// The connector.
    pub connector: SinkConfig,
    /// The format in which it writes records.
    pub encoding: EncodingSettings,
}

/// The settings of a source.
#[derive(Clone, Debug)]
pub struct SourceNode {
    /// The connector.
    pub connector: SourceConfig,
    /// How the fields of its records are read.
    pub decoding: DecodingSettings,
    /// The event timestamp of a record, if records have one.
    pub timestamp: Option<SourceTimestamp>,
    /// The watermark, if the source emits one.
    pub watermark: Option<WatermarkSettings>,
    /// Maximum rate over all subtasks, in records per 1000 seconds. `None` means unlimited.
    pub rate: Option<u64>,
    /// The policy for undecodable records.
    pub on_undecodable: UndecodablePolicy,
    /// Whether records carry their original bytes and their position as attributes, for dead letters.
    pub keep_raw: bool,
    /// Whether a node divides its records by the keys that the connector has for them: `key = "record"`.
    pub wants_keys: bool,
}

/// The policy for a record that a source cannot decode, because it has no proper end or an unreadable timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UndecodablePolicy {
    /// The job fails after it has processed all records before this one.
    #[default]
    Fail,
    /// The record is skipped and counted.
    Skip,
    /// The record is counted and sent to the source's output `dead-letter`, or kept by the host if nothing reads it.
    DeadLetter,
}

/// Where the event timestamp of a record comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceTimestamp {
    /// From the connector, which has one for each record, such as that of a message.
    Record,
    /// From the record itself.
    Field(TimestampSelector),
}

impl SourceTimestamp {
    /// Returns the place in the record, if it comes from there.
    pub fn selector(&self) -> Option<&TimestampSelector> {
        match self {
            SourceTimestamp::Record => None,
            SourceTimestamp::Field(selector) => Some(selector),
        }
    }
}

/// The place of the event timestamp in a record, and its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampSelector {
    /// The field, as [`KeySelector::Field`] or [`KeySelector::Column`].
    pub at: KeySelector,
    /// The format.
    pub format: TimestampFormat,
    /// The time zone of times without an offset: `UTC`, an offset, or a name.
    pub zone: Option<String>,
}

/// The format of an event timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimestampFormat {
    /// A date and time as in RFC 3339.
    Rfc3339,
    /// Seconds since the Unix epoch.
    UnixS,
    /// Milliseconds since the Unix epoch.
    UnixMs,
    /// Microseconds since the Unix epoch.
    UnixUs,
    /// A pattern of `strptime`, such as `%d.%m.%Y %H:%M`.
    Pattern(String),
}

impl TimestampFormat {
    /// Returns its name in a pipeline file.
    pub fn as_str(&self) -> &str {
        match self {
            TimestampFormat::Rfc3339 => "rfc3339",
            TimestampFormat::UnixS => "unix-s",
            TimestampFormat::UnixMs => "unix-ms",
            TimestampFormat::UnixUs => "unix-us",
            TimestampFormat::Pattern(pattern) => pattern,
        }
    }
}

/// The watermark of a source. The default suits ascending timestamps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatermarkSettings {
    /// Delay of the watermark behind the largest timestamp.
    pub out_of_orderness: Duration,
    /// Time without records after which a subtask is idle and no longer holds up the watermark.
    pub idle_after: Option<Duration>,
    /// Alignment with the watermarks of other sources.
    pub alignment: Option<AlignmentSettings>,
}

/// The alignment of watermarks: sources of one group wait for each other.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignmentSettings {
    /// The name of the group.
    pub group: String,
    /// A subtask stops reading while its watermark is further than this ahead of the group's smallest watermark.
    pub max_drift: Duration,
}

/// The settings of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorNode {
    /// The function, or `None` if `windows` has a built-in aggregate or `rows` is set.
    pub function: Option<FunctionReference>,
    /// The filter and the selection of an operator without a component.
    pub rows: Option<RowOperator>,
    /// The windows of a window operator.
    pub windows: Option<WindowSettings>,
    /// Passed to the function unchanged.
    pub config: BTreeMap<String, String>,
    /// The interval of an interval join.
    pub interval: Option<JoinInterval>,
    /// The policy for records on which the function fails, after the last retry if there are any.
    pub on_fault: FaultPolicy,
    /// Whether a record on which the function fails is tried again first.
    pub retry: Option<RetrySettings>,
    /// The limits of the operator.
    pub limits: OperatorLimits,
    /// The level of the function's log lines.
    pub log_level: Option<LogLevel>,
    /// What the function may use besides its turn.
    pub grants: Grants,
}

/// A reference to a function of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionReference {
    /// The component, as `name@version`, `sha256:...` or a path.
    pub component: String,
    /// The name of the function.
    pub name: String,
}

/// The policy for a record on which a function fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultPolicy {
    /// The job fails, and its restart strategy applies.
    Fail,
    /// The record is skipped and counted.
    Skip,
    /// The record and the fault are sent to the operator's output `dead-letter`, or kept by the host if nothing reads it.
    DeadLetter,
}

impl FaultPolicy {
    /// Returns the value of the setting `on_fault`.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultPolicy::Fail => "fail",
            FaultPolicy::Skip => "skip",
            FaultPolicy::DeadLetter => "dead-letter",
        }
    }
}

/// How a record on which the function fails is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Number of retries.
    pub attempts: u32,
    /// Time before the first retry. It doubles with each further one.
    pub backoff: Duration,
}

impl RetrySettings {
    /// Returns the time before retry number `attempt`, counted from 1.
    pub fn wait_before(&self, attempt: u32) -> Duration {
        let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        self.backoff.saturating_mul(factor)
    }
}
