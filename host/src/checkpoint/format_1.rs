//! The metadata's payload in format 1, which is read and no longer written: states had neither a map's key nor a time to
//! live, subtasks neither broadcast state nor batches in flight.

use serde::Deserialize;

use super::format_2::OldCounters;
use super::metadata::{CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use crate::state::{FileRef, SnapshotFormat, StateDescription, StateHandle, StateKind, StateSize};

#[derive(Deserialize)]
pub(super) struct MetadataV1 {
    format: u32,
    job_id: String,
    job_name: String,
    checkpoint_id: u64,
    kind: CheckpointKind,
    taken_at_ms: i64,
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
    state: Option<State>,
    committable: Option<Vec<u8>>,
    counters: OldCounters,
}

#[derive(Deserialize)]
struct State {
    /// It was called the backend: 0 memory, whose files are canonical, 1 RocksDB.
    format: SnapshotFormat,
    layout: Vec<Description>,
    files: Vec<FileRef>,
    size: StateSize,
}

#[derive(Deserialize)]
struct Description {
    name: String,
    kind: StateKind,
    codec: String,
    schema: String,
}

impl From<MetadataV1> for CheckpointMetadata {
    fn from(metadata: MetadataV1) -> CheckpointMetadata {
        let MetadataV1 { format, job_id, job_name, checkpoint_id, kind, taken_at_ms, max_parallelism, operators } =
            metadata;
        // A payload that does not say what its header does stays wrong, and is refused.
        let format = if format == 1 { CheckpointMetadata::FORMAT } else { 0 };
        let operators = operators.into_iter().map(OperatorMetadata::from).collect();
        CheckpointMetadata {
            format,
            job_id,
            job_name,
            checkpoint_id,
            kind,
            taken_at_ms,
            seed: None,
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
        let Subtask { source_position, state, committable, counters } = subtask;
        let (state, counters) = (state.map(StateHandle::from), counters.into());
        SubtaskMetadata { source_position, state, committable, counters, ..SubtaskMetadata::default() }
    }
}

impl From<State> for StateHandle {
    fn from(state: State) -> StateHandle {
        let State { format, layout, files, size } = state;
        let describe = |old: &Description| StateDescription::new(&old.name, old.kind, &old.codec, &old.schema);
        StateHandle { format, layout: layout.iter().map(describe).collect(), files, size }
    }
}
