//! The metadata's payload in format 1, which is read but no longer written.
//!
//! Format 1 has no seed. Its states have no map keys and no time to live, and its subtasks no broadcast state and no
//! in-flight data. Converts to format 2; must not depend on the current format.

use serde::Deserialize;

use super::checkpoint_metadata::CheckpointKind;
use super::format_2::{CountersV2, MetadataV2, OperatorV2, SubtaskV2};
use super::format_3::{StateDescriptionV3, StateHandleV3};
use crate::state::{FileRef, SnapshotFormat, StateKind, StateSize};

#[derive(Deserialize)]
pub(super) struct MetadataV1 {
    format: u32,
    job_id: String,
    job_name: String,
    checkpoint_id: u64,
    kind: CheckpointKind,
    taken_at_ms: i64,
    max_parallelism: u32,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    operators: Vec<OperatorV1>,
}

#[derive(Deserialize)]
struct OperatorV1 {
    id: String,
    parallelism: u32,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    subtasks: Vec<SubtaskV1>,
}

#[derive(Deserialize)]
struct SubtaskV1 {
    source_position: Option<Vec<u8>>,
    state: Option<StateHandleV1>,
    committable: Option<Vec<u8>>,
    counters: CountersV2,
}

#[derive(Deserialize)]
struct StateHandleV1 {
    /// Called the backend in format 1: 0 is memory, whose files are canonical, and 1 is RocksDB.
    format: SnapshotFormat,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    layout: Vec<StateDescriptionV1>,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    files: Vec<FileRef>,
    size: StateSize,
}

#[derive(Deserialize)]
struct StateDescriptionV1 {
    name: String,
    kind: StateKind,
    codec: String,
    schema: String,
}

impl From<MetadataV1> for MetadataV2 {
    fn from(metadata: MetadataV1) -> MetadataV2 {
        MetadataV2 {
            // Format 0 does not exist: a payload whose format differs from that of the header stays invalid.
            format: if metadata.format == 1 { 2 } else { 0 },
            job_id: metadata.job_id,
            job_name: metadata.job_name,
            checkpoint_id: metadata.checkpoint_id,
            kind: metadata.kind,
            taken_at_ms: metadata.taken_at_ms,
            seed: None,
            max_parallelism: metadata.max_parallelism,
            operators: metadata.operators.into_iter().map(OperatorV2::from).collect(),
        }
    }
}

impl From<OperatorV1> for OperatorV2 {
    fn from(operator: OperatorV1) -> OperatorV2 {
        let OperatorV1 { id, parallelism, subtasks } = operator;
        OperatorV2 { id, parallelism, subtasks: subtasks.into_iter().map(SubtaskV2::from).collect() }
    }
}

impl From<SubtaskV1> for SubtaskV2 {
    fn from(subtask: SubtaskV1) -> SubtaskV2 {
        SubtaskV2 {
            source_position: subtask.source_position,
            state: subtask.state.map(StateHandleV3::from),
            broadcast: None,
            in_flight: None,
            committable: subtask.committable,
            counters: subtask.counters,
        }
    }
}

impl From<StateHandleV1> for StateHandleV3 {
    fn from(state: StateHandleV1) -> StateHandleV3 {
        let StateHandleV1 { format, layout, files, size } = state;
        StateHandleV3 { format, layout: layout.into_iter().map(StateDescriptionV3::from).collect(), files, size }
    }
}

impl From<StateDescriptionV1> for StateDescriptionV3 {
    fn from(state: StateDescriptionV1) -> StateDescriptionV3 {
        let StateDescriptionV1 { name, kind, codec, schema } = state;
        StateDescriptionV3 { name, kind, codec, schema, map_key: String::new(), ttl: None }
    }
}
