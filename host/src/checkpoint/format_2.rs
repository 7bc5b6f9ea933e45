//! The payload of a checkpoint metadata in format 2, which is read and no longer written: counters had no late records, and
//! subtasks no watermark.

use serde::Deserialize;

use super::metadata::{CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use crate::model::Counters;
use crate::state::{FileRef, StateHandle};

#[derive(Deserialize)]
pub(super) struct MetadataV2 {
    format: u32,
    job_id: String,
    job_name: String,
    checkpoint_id: u64,
    kind: CheckpointKind,
    taken_at_ms: i64,
    seed: Option<u64>,
    max_parallelism: u32,
    operators: Vec<Operator>,
}

#[derive(Deserialize)]
struct Operator {
    id: String,
    parallelism: u32,
    subtasks: Vec<Subtask>,
}

#[derive(Deserialize)]
struct Subtask {
    source_position: Option<Vec<u8>>,
    state: Option<StateHandle>,
    broadcast: Option<StateHandle>,
    in_flight: Option<FileRef>,
    committable: Option<Vec<u8>>,
    counters: OldCounters,
}

/// The counters of formats 1 and 2.
#[derive(Deserialize)]
pub(super) struct OldCounters {
    records_in: u64,
    records_out: u64,
    faults: u64,
    records_skipped: u64,
    records_dead_lettered: u64,
}

impl From<MetadataV2> for CheckpointMetadata {
    fn from(metadata: MetadataV2) -> CheckpointMetadata {
        let MetadataV2 { format, job_id, job_name, checkpoint_id, kind, taken_at_ms, seed, max_parallelism, operators } =
            metadata;
        // A payload whose format differs from its header's stays invalid, and is refused.
        let format = if format == 2 { CheckpointMetadata::FORMAT } else { 0 };
        let operators = operators.into_iter().map(OperatorMetadata::from).collect();
        CheckpointMetadata {
            format,
            job_id,
            job_name,
            checkpoint_id,
            kind,
            taken_at_ms,
            seed,
            max_parallelism,
            operators,
        }
    }
}

impl From<Operator> for OperatorMetadata {
    fn from(operator: Operator) -> OperatorMetadata {
        let Operator { id, parallelism, subtasks } = operator;
        OperatorMetadata { id, parallelism, subtasks: subtasks.into_iter().map(SubtaskMetadata::from).collect() }
    }
}

impl From<Subtask> for SubtaskMetadata {
    fn from(subtask: Subtask) -> SubtaskMetadata {
        let Subtask { source_position, state, broadcast, in_flight, committable, counters } = subtask;
        let counters = counters.into();
        SubtaskMetadata { source_position, state, broadcast, in_flight, committable, counters, watermark: None }
    }
}

impl From<OldCounters> for Counters {
    fn from(old: OldCounters) -> Counters {
        let OldCounters { records_in, records_out, faults, records_skipped, records_dead_lettered } = old;
        Counters { records_in, records_out, faults, records_skipped, records_dead_lettered, records_late: 0 }
    }
}
