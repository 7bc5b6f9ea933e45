//! The metadata's payload in format 4, which is read but no longer written.
//!
//! Format 4 has no files of a sink's output. Converts to the current format.

use serde::Deserialize;

use super::checkpoint_metadata::{CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use super::operator_version::OperatorVersion;
use crate::model::{Counters, TurnPositions};
use crate::state::{FileRef, StateHandle};

#[derive(Deserialize)]
pub(super) struct MetadataV4 {
    format: u32,
    job_id: String,
    job_name: String,
    checkpoint_id: u64,
    kind: CheckpointKind,
    taken_at_ms: i64,
    seed: Option<u64>,
    max_parallelism: u32,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    schemas: Vec<String>,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    operators: Vec<OperatorV4>,
}

#[derive(Deserialize)]
struct OperatorV4 {
    id: String,
    parallelism: u32,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    versions: Vec<OperatorVersion>,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    subtasks: Vec<SubtaskV4>,
}

#[derive(Deserialize)]
struct SubtaskV4 {
    source_position: Option<Vec<u8>>,
    state: Option<StateHandle>,
    broadcast: Option<StateHandle>,
    in_flight: Option<FileRef>,
    committable: Option<Vec<u8>>,
    counters: Counters,
    positions: TurnPositions,
    watermark: Option<i64>,
}

impl From<MetadataV4> for CheckpointMetadata {
    fn from(metadata: MetadataV4) -> CheckpointMetadata {
        CheckpointMetadata {
            // Format 0 does not exist: a payload whose format differs from that of the header stays invalid.
            format: if metadata.format == 4 { CheckpointMetadata::FORMAT } else { 0 },
            job_id: metadata.job_id,
            job_name: metadata.job_name,
            checkpoint_id: metadata.checkpoint_id,
            kind: metadata.kind,
            taken_at_ms: metadata.taken_at_ms,
            seed: metadata.seed,
            max_parallelism: metadata.max_parallelism,
            schemas: metadata.schemas,
            operators: metadata.operators.into_iter().map(OperatorMetadata::from).collect(),
        }
    }
}

impl From<OperatorV4> for OperatorMetadata {
    fn from(operator: OperatorV4) -> OperatorMetadata {
        let OperatorV4 { id, parallelism, versions, subtasks } = operator;
        OperatorMetadata {
            id,
            parallelism,
            versions,
            subtasks: subtasks.into_iter().map(SubtaskMetadata::from).collect(),
        }
    }
}

impl From<SubtaskV4> for SubtaskMetadata {
    fn from(subtask: SubtaskV4) -> SubtaskMetadata {
        SubtaskMetadata {
            source_position: subtask.source_position,
            state: subtask.state,
            broadcast: subtask.broadcast,
            in_flight: subtask.in_flight,
            committable: subtask.committable,
            output: Vec::new(),
            counters: subtask.counters,
            positions: subtask.positions,
            watermark: subtask.watermark,
        }
    }
}
