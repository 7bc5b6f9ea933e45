//! The pipeline file: its TOML text, and the checked [`PipelineSpec`] that the rest of the host runs.
//!
//! `spec`, `node_spec`, `limits` and `window_settings` define the result. `parse` reads the text with `toml_reader`: the settings of
//! the job in `job_settings`, each node in `node`, `source` and `window`. Finally `graph` wires the nodes. `sections` lists the tables of
//! settings, from which the known keys and the JSON Schema come.
//!
//! Invariant: a `PipelineSpec` is well formed. Its nodes are in topological order, ids are unique, inputs exist, and
//! parallelism is within bounds. The plan of the job checks later what depends on components: functions, outputs, codecs.

mod avro_settings;
mod bounds;
mod connector;
mod connector_keys;
mod duration;
mod fault_injection;
mod fault_settings;
mod filter;
mod grants;
mod graph;
mod interval;
mod job_settings;
mod json_schema;
mod key_selector;
mod limit_ceilings;
mod limits;
mod node;
mod node_spec;
mod operator_settings;
mod parse;
mod record_format;
mod restart;
mod row_operator;
mod secret_reference;
mod sections;
mod setting;
mod setting_rows;
mod sink_settings;
mod source;
mod source_settings;
mod spec;
mod syntax;
mod timestamp_format;
mod toml_reader;
mod window;
mod window_settings;

#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod parse_tests;
#[cfg(test)]
mod rows_tests;
#[cfg(test)]
mod window_tests;

pub use avro_settings::{AVRO_SETTINGS, AvroSettings, REGISTER_SETTINGS, RegistrySettings};
pub use connector::{
    Connector, RecordParts, SinkConfig, SinkConnector, SinkSettings, SourceConfig, SourceConnector, SourceSettings,
};
pub use fault_injection::{FaultInjection, InjectedFailure, InjectionStep};
pub use filter::{Comparison, FilterExpression, FilterOperand, FilterTerm};
pub use grants::{GrantedFolder, Grants, WasiPart};
pub use interval::JoinInterval;
pub use json_schema::json_schema;
pub use key_selector::KeySelector;
pub use limit_ceilings::LimitCeilings;
pub use limits::{FaultShareLimit, GuestLimits, LimitKey, MEMORY_BYTES_MAX, OperatorLimits};
pub use node_spec::{
    AlignmentSettings, FaultPolicy, FunctionReference, InputRole, NodeInput, NodeKind, OperatorNode, OutputPort,
    PipelineNode, RetrySettings, SinkNode, SourceNode, SourceTimestamp, TimestampFormat, TimestampSelector,
    UndecodablePolicy, WatermarkSettings,
};
pub use parse::locate;
pub use record_format::{
    DECODING_SETTINGS, DecodingSettings, ENCODING_SETTINGS, EncodingSettings, FileFormat, SinkFormat, source_format,
};
pub use row_operator::{FieldRename, FieldSelection, RowOperator};
pub use secret_reference::{SecretOrText, SecretReference, is_secret_name};
#[cfg(test)]
pub(crate) use sections::setting_tables;
pub use setting::{Setting, SettingCondition, SettingKind, joined_settings, setting_keys};
pub use source_settings::SOURCE_SETTINGS;
pub use spec::{
    BatchSettings, CheckpointCleanup, CheckpointMode, CheckpointSettings, DeadLetterSettings, ExponentialDelay,
    FailureLimit, HeartbeatSettings, PipelineSpec, RestartStrategy, SandboxSettings, StateBackendKind, StateSettings,
};
pub use toml_reader::{TomlItem, TomlSection};
pub use window_settings::{
    Aggregate, Evictor, NumericAggregate, RetainedElements, WindowAssigner, WindowSettings, WindowTrigger,
};
