//! The metadata's payload in format 3, which is read but no longer written.
//!
//! Format 3 has neither schemas of rows nor versions of operators; its states have no generation. Converts to the current format.

use serde::Deserialize;

use super::checkpoint_metadata::{CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use crate::model::{Counters, TurnPositions};
use crate::state::{FileRef, SnapshotFormat, StateDescription, StateHandle, StateKind, StateSize, TimeToLive};

#[derive(Deserialize)]
pub(super) struct MetadataV3 {
    pub format: u32,
    pub job_id: String,
    pub job_name: String,
    pub checkpoint_id: u64,
    pub kind: CheckpointKind,
    pub taken_at_ms: i64,
    pub seed: Option<u64>,
    pub max_parallelism: u32,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub operators: Vec<OperatorV3>,
}

#[derive(Deserialize)]
pub(super) struct OperatorV3 {
    pub id: String,
    pub parallelism: u32,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub subtasks: Vec<SubtaskV3>,
}

#[derive(Deserialize)]
pub(super) struct SubtaskV3 {
    pub source_position: Option<Vec<u8>>,
    pub state: Option<StateHandleV3>,
    pub broadcast: Option<StateHandleV3>,
    pub in_flight: Option<FileRef>,
    pub committable: Option<Vec<u8>>,
    pub counters: Counters,
    pub watermark: Option<i64>,
}

#[derive(Deserialize)]
pub(super) struct StateHandleV3 {
    pub format: SnapshotFormat,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub layout: Vec<StateDescriptionV3>,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub files: Vec<FileRef>,
    pub size: StateSize,
}

#[derive(Deserialize)]
pub(super) struct StateDescriptionV3 {
    pub name: String,
    pub kind: StateKind,
    pub codec: String,
    pub schema: String,
    pub map_key: String,
    pub ttl: Option<TimeToLive>,
}

impl From<MetadataV3> for CheckpointMetadata {
    fn from(metadata: MetadataV3) -> CheckpointMetadata {
        CheckpointMetadata {
            // Format 0 does not exist: a payload whose format differs from that of the header stays invalid.
            format: if metadata.format == 3 { CheckpointMetadata::FORMAT } else { 0 },
            job_id: metadata.job_id,
            job_name: metadata.job_name,
            checkpoint_id: metadata.checkpoint_id,
            kind: metadata.kind,
            taken_at_ms: metadata.taken_at_ms,
            seed: metadata.seed,
            max_parallelism: metadata.max_parallelism,
            schemas: Vec::new(),
            operators: metadata.operators.into_iter().map(OperatorMetadata::from).collect(),
        }
    }
}

impl From<OperatorV3> for OperatorMetadata {
    fn from(operator: OperatorV3) -> OperatorMetadata {
        let OperatorV3 { id, parallelism, subtasks } = operator;
        let subtasks = subtasks.into_iter().map(SubtaskMetadata::from).collect();
        OperatorMetadata { id, parallelism, versions: Vec::new(), subtasks }
    }
}

impl From<SubtaskV3> for SubtaskMetadata {
    fn from(subtask: SubtaskV3) -> SubtaskMetadata {
        SubtaskMetadata {
            source_position: subtask.source_position,
            state: subtask.state.map(StateHandle::from),
            broadcast: subtask.broadcast.map(StateHandle::from),
            in_flight: subtask.in_flight,
            committable: subtask.committable,
            output: Vec::new(),
            counters: subtask.counters,
            positions: TurnPositions::default(),
            watermark: subtask.watermark,
        }
    }
}

impl From<StateHandleV3> for StateHandle {
    fn from(state: StateHandleV3) -> StateHandle {
        let StateHandleV3 { format, layout, files, size } = state;
        StateHandle { format, layout: layout.into_iter().map(StateDescription::from).collect(), files, size }
    }
}

impl From<StateDescriptionV3> for StateDescription {
    fn from(state: StateDescriptionV3) -> StateDescription {
        let StateDescriptionV3 { name, kind, codec, schema, map_key, ttl } = state;
        StateDescription { map_key, ttl, ..StateDescription::new(&name, kind, &codec, &schema) }
    }
}
