//! The answers of the state reader, and the lookup of an operator's states by name.
//!
//! The types are part of the HTTP API. Must not read entries.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::entry::StateEntry;
use crate::checkpoint::{OperatorMetadata, SubtaskMetadata};
use crate::error::{self, Error, Result};
use crate::state::{StateDescription, StateHandle, StateKind, StateLayout, TimeToLive};

/// The states in a checkpoint or savepoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateListing {
    /// The job that took the checkpoint or savepoint.
    pub job_id: String,
    pub job_name: String,
    /// The number of the checkpoint or savepoint that was read.
    pub checkpoint: u64,
    /// When it was triggered, in milliseconds since the Unix epoch.
    pub taken_at_ms: i64,
    pub max_parallelism: u32,
    /// The operators that have state.
    pub operators: Vec<OperatorState>,
}

/// The states of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperatorState {
    pub operator: String,
    pub parallelism: u32,
    /// Number of entries of all its states; an estimate with the RocksDB backend.
    pub entries: u64,
    /// Size of all its states in bytes; an estimate with the RocksDB backend.
    pub bytes: u64,
    pub states: Vec<StateSummary>,
}

/// One state of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateSummary {
    pub state: String,
    /// `value`, `list`, `map`, `reducing`, `aggregating` or `broadcast`.
    pub kind: String,
    pub codec: String,
    /// The type of the values, or its fingerprint.
    pub schema: String,
    /// How the keys of a map are encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub ttl: Option<TimeToLive>,
    /// Number of entries, if they were counted. A list is one entry; each entry of a map counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Size of keys, map keys and values in bytes, if the entries were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// The entries of one key in one state.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyState {
    /// The number of the checkpoint or savepoint that was read.
    pub checkpoint: u64,
    /// When it was triggered, in milliseconds since the Unix epoch.
    pub taken_at_ms: i64,
    /// Empty if the key has no entry. A map has one entry for each map key.
    pub entries: Vec<StateEntry>,
}

/// Which state of a subtask: its keyed state, or the broadcast state, which is the same in all subtasks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StateScope {
    Keyed,
    Broadcast,
}

impl StateScope {
    pub fn of(kind: StateKind) -> StateScope {
        match kind {
            StateKind::Broadcast => StateScope::Broadcast,
            _ => StateScope::Keyed,
        }
    }

    /// Returns the stored state of a subtask.
    pub fn handle(self, subtask: &SubtaskMetadata) -> Option<&StateHandle> {
        match self {
            StateScope::Keyed => subtask.state.as_ref(),
            StateScope::Broadcast => subtask.broadcast.as_ref(),
        }
    }
}

/// Returns the states that an operator has in any subtask, each once.
pub(super) fn states_of(operator: &OperatorMetadata) -> Vec<&StateDescription> {
    let mut states: Vec<&StateDescription> = Vec::new();
    for handle in operator.subtasks.iter().flat_map(SubtaskMetadata::states) {
        for description in &handle.layout {
            if states.iter().all(|known| known.name != description.name) {
                states.push(description);
            }
        }
    }
    states
}

/// Returns the same states as a layout.
pub(super) fn layout_of(operator: &OperatorMetadata) -> StateLayout {
    states_of(operator).into_iter().cloned().collect()
}

/// Returns the state `name` of an operator. Errors: `state-unknown`.
pub(super) fn find_state<'a>(operator: &'a OperatorMetadata, name: &str) -> Result<&'a StateDescription> {
    let states = states_of(operator);
    let found = states.iter().find(|state| state.name == name).copied();
    let names = states.iter().map(|state| &state.name[..]);
    found.ok_or_else(|| unknown_state(&operator.id, name, names))
}

/// Returns the error for an operator that does not exist or has no state.
pub(super) fn unknown_operator<'a>(name: &str, operators: impl Iterator<Item = &'a str>) -> Error {
    let operators: Vec<&str> = operators.collect();
    let hint = match operators.is_empty() {
        true => "no operator has state".to_owned(),
        false => format!("operators with state: {}", operators.join(", ")),
    };
    error::state_unknown(format!("there is no operator `{name}` with state")).hint(hint)
}

/// Returns the error for a state that its operator does not have.
pub(super) fn unknown_state<'a>(operator: &str, name: &str, states: impl Iterator<Item = &'a str>) -> Error {
    let states: Vec<&str> = states.collect();
    error::state_unknown(format!("there is no state `{name}` in `{operator}`"))
        .hint(format!("states of `{operator}`: {}", states.join(", ")))
}

pub(super) fn summary(state: &StateDescription) -> StateSummary {
    StateSummary {
        state: state.name.clone(),
        kind: state.kind.as_str().to_owned(),
        codec: state.codec.clone(),
        schema: state.schema.clone(),
        map_key: (!state.map_key.is_empty()).then(|| state.map_key.clone()),
        ttl: state.ttl,
        entries: None,
        bytes: None,
    }
}
