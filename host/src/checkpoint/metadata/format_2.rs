//! The metadata's payload in format 2, which is read but no longer written.
//!
//! Format 2 does not count late records, and its subtasks have no watermark. Converts to format 3; must not depend on the current
//! format.

use serde::Deserialize;

use super::checkpoint_metadata::CheckpointKind;
use super::format_3::{MetadataV3, OperatorV3, StateHandleV3, SubtaskV3};
use crate::model::Counters;
use crate::state::FileRef;

#[derive(Deserialize)]
pub(super) struct MetadataV2 {
    pub format: u32,
    pub job_id: String,
    pub job_name: String,
    pub checkpoint_id: u64,
    pub kind: CheckpointKind,
    pub taken_at_ms: i64,
    pub seed: Option<u64>,
    pub max_parallelism: u32,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub operators: Vec<OperatorV2>,
}

#[derive(Deserialize)]
pub(super) struct OperatorV2 {
    pub id: String,
    pub parallelism: u32,
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub subtasks: Vec<SubtaskV2>,
}

#[derive(Deserialize)]
pub(super) struct SubtaskV2 {
    pub source_position: Option<Vec<u8>>,
    pub state: Option<StateHandleV3>,
    pub broadcast: Option<StateHandleV3>,
    pub in_flight: Option<FileRef>,
    pub committable: Option<Vec<u8>>,
    pub counters: CountersV2,
}

/// The counters of formats 1 and 2.
#[derive(Deserialize)]
pub(super) struct CountersV2 {
    records_in: u64,
    records_out: u64,
    faults: u64,
    records_skipped: u64,
    records_dead_lettered: u64,
}

impl From<MetadataV2> for MetadataV3 {
    fn from(metadata: MetadataV2) -> MetadataV3 {
        MetadataV3 {
            // Format 0 does not exist: a payload whose format differs from that of the header stays invalid.
            format: if metadata.format == 2 { 3 } else { 0 },
            job_id: metadata.job_id,
            job_name: metadata.job_name,
            checkpoint_id: metadata.checkpoint_id,
            kind: metadata.kind,
            taken_at_ms: metadata.taken_at_ms,
            seed: metadata.seed,
            max_parallelism: metadata.max_parallelism,
            operators: metadata.operators.into_iter().map(OperatorV3::from).collect(),
        }
    }
}

impl From<OperatorV2> for OperatorV3 {
    fn from(operator: OperatorV2) -> OperatorV3 {
        let OperatorV2 { id, parallelism, subtasks } = operator;
        OperatorV3 { id, parallelism, subtasks: subtasks.into_iter().map(SubtaskV3::from).collect() }
    }
}

impl From<SubtaskV2> for SubtaskV3 {
    fn from(subtask: SubtaskV2) -> SubtaskV3 {
        SubtaskV3 {
            source_position: subtask.source_position,
            state: subtask.state,
            broadcast: subtask.broadcast,
            in_flight: subtask.in_flight,
            committable: subtask.committable,
            counters: subtask.counters.into(),
            watermark: None,
        }
    }
}

impl From<CountersV2> for Counters {
    fn from(old: CountersV2) -> Counters {
        let CountersV2 { records_in, records_out, faults, records_skipped, records_dead_lettered } = old;
        Counters { records_in, records_out, faults, records_skipped, records_dead_lettered, records_late: 0 }
    }
}
