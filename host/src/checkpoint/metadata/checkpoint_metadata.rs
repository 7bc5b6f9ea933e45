//! The types that describe a checkpoint. Their fields, in this order, are the current durable format.
//!
//! Invariant: decoded metadata is well formed, see [`CheckpointMetadata::defect`]. Must not depend on how it is encoded.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::operator_version::OperatorVersion;
use crate::escape::shown;
use crate::model::row::RowSchema;
use crate::model::{Counters, MAX_PARALLELISM_LIMIT, TurnPositions};
use crate::state::{FileRef, StateHandle};

/// How a checkpoint came about, which decides how long it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointKind {
    /// Taken on schedule or on request; retired once enough newer checkpoints are complete.
    Checkpoint,
    /// Requested by a user, who also removes it.
    Savepoint,
    /// Taken when the sources have ended.
    Final,
}

impl CheckpointKind {
    /// Returns the name of the kind in the HTTP API.
    pub fn as_str(self) -> &'static str {
        match self {
            CheckpointKind::Checkpoint => "checkpoint",
            CheckpointKind::Savepoint => "savepoint",
            CheckpointKind::Final => "final",
        }
    }
}

/// The durable description of a job's consistent state at one barrier.
///
/// Decoded metadata is well formed: each operator has as many subtasks as its parallelism, and operator ids are unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMetadata {
    /// Version of the format; [`CheckpointMetadata::FORMAT`] once decoded.
    pub format: u32,
    /// Id of the job that took the checkpoint.
    pub job_id: String,
    /// Name of the job that took the checkpoint.
    pub job_name: String,
    /// Number of the checkpoint, unique within its job.
    pub checkpoint_id: u64,
    /// How the checkpoint came about.
    pub kind: CheckpointKind,
    /// When the checkpoint was triggered, in milliseconds since the Unix epoch.
    pub taken_at_ms: i64,
    /// Seed of the job's random numbers, which a restored job continues to use. Not set in format 1 and in savepoints
    /// written without a job.
    pub seed: Option<u64>,
    /// Number of key groups.
    pub max_parallelism: u32,
    /// The schemas of rows that the operators refer to, as text, each once.
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub schemas: Vec<String>,
    /// All nodes of the pipeline.
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub operators: Vec<OperatorMetadata>,
}

/// One node of the pipeline: a source, an operator or a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorMetadata {
    /// Id of the node.
    pub id: String,
    /// Number of subtasks.
    pub parallelism: u32,
    /// The version of an operator. Two while a newer version takes over. Empty for sources and sinks, and if the checkpoint has an
    /// older format or was written without a job.
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub versions: Vec<OperatorVersion>,
    /// The subtasks in order of their numbers.
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub subtasks: Vec<SubtaskMetadata>,
}

/// The stored state of one subtask of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskMetadata {
    /// Position at which a source continues to read.
    pub source_position: Option<Vec<u8>>,
    /// Keyed state.
    pub state: Option<StateHandle>,
    /// Broadcast state: the same in every subtask, stored under key group 0 and an empty key.
    pub broadcast: Option<StateHandle>,
    /// In-flight data of an unaligned checkpoint: the records queued for the operator chain that begins with this node.
    pub in_flight: Option<FileRef>,
    /// Data that a sink's committer publishes once the checkpoint is complete.
    pub committable: Option<Vec<u8>>,
    /// Files of output that a sink prepared and that may not be published yet.
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub output: Vec<FileRef>,
    /// Record counts, which a restore sets back.
    pub counters: Counters,
    /// Items that the function of an operator has handled. A turn sees the number before it.
    pub positions: TurnPositions,
    /// Event time that a time-dependent operator had reached, in milliseconds since the Unix epoch. A restore reads it from
    /// the state; the copy here lets a submit check it without reading the state.
    pub watermark: Option<i64>,
}

impl OperatorMetadata {
    /// Returns the metadata of a node without a version.
    pub fn new(id: &str, subtasks: Vec<SubtaskMetadata>) -> OperatorMetadata {
        OperatorMetadata { id: id.to_owned(), parallelism: subtasks.len() as u32, versions: Vec::new(), subtasks }
    }

    /// Returns the newest version.
    pub fn version(&self) -> Option<&OperatorVersion> {
        self.versions.last()
    }
}

impl SubtaskMetadata {
    /// Returns the keyed state and the broadcast state, if any.
    pub fn states(&self) -> impl Iterator<Item = &StateHandle> {
        self.state.iter().chain(&self.broadcast)
    }

    /// Returns all files that the subtask names.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        self.states().flat_map(|state| &state.files).chain(&self.in_flight).chain(&self.output)
    }

    fn files_mut(&mut self) -> impl Iterator<Item = &mut FileRef> {
        let states = self.state.iter_mut().chain(&mut self.broadcast);
        states.flat_map(|state| &mut state.files).chain(&mut self.in_flight).chain(&mut self.output)
    }
}

impl CheckpointMetadata {
    /// The format that this build writes.
    pub const FORMAT: u32 = 5;

    /// Returns all files that the checkpoint names.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        self.operators.iter().flat_map(|operator| &operator.subtasks).flat_map(SubtaskMetadata::files)
    }

    pub(in crate::checkpoint) fn files_mut(&mut self) -> impl Iterator<Item = &mut FileRef> {
        self.operators.iter_mut().flat_map(|operator| &mut operator.subtasks).flat_map(SubtaskMetadata::files_mut)
    }

    /// Returns the length of all files that the checkpoint names, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Returns the subtasks of one node in order; empty if the checkpoint does not contain the node.
    pub fn subtasks(&self, node: &str) -> &[SubtaskMetadata] {
        self.operator(node).map_or(&[], |operator| &operator.subtasks)
    }

    /// Returns one node, if the checkpoint contains it.
    pub fn operator(&self, node: &str) -> Option<&OperatorMetadata> {
        self.operators.iter().find(|operator| operator.id == node)
    }

    /// Returns the text of the rows that each input of a version reads. `None` for other inputs.
    pub fn input_schemas<'a>(&'a self, version: &'a OperatorVersion) -> impl Iterator<Item = Option<&'a str>> + 'a {
        let text = |index: &Option<u32>| Some(self.schemas.get(index.as_ref().copied()? as usize)?.as_str());
        version.inputs.iter().map(text)
    }

    /// Returns one subtask of one node.
    pub fn subtask(&self, node: &str, subtask: u32) -> Option<&SubtaskMetadata> {
        self.subtasks(node).get(subtask as usize)
    }

    /// Returns why the metadata is not well formed, as the end of a sentence that begins with "the metadata".
    pub(super) fn defect(&self) -> Option<String> {
        if self.format != CheckpointMetadata::FORMAT {
            return Some(format!("says that it has format {}, not {}", self.format, CheckpointMetadata::FORMAT));
        }
        let groups = self.max_parallelism;
        if !(1..=MAX_PARALLELISM_LIMIT).contains(&groups) {
            return Some(format!("has an invalid max_parallelism: {groups}"));
        }
        if let Some(text) = self.schemas.iter().find(|text| text.parse::<RowSchema>().is_err()) {
            return Some(format!("has an invalid schema: {}", shown(text.as_bytes())));
        }
        let mut ids = HashSet::new();
        for OperatorMetadata { id, parallelism, versions, subtasks } in &self.operators {
            if !ids.insert(id) {
                return Some(format!("describes `{id}` twice"));
            }
            if *parallelism == 0 || *parallelism > groups || *parallelism as usize != subtasks.len() {
                let count = subtasks.len();
                return Some(format!("describes {count} subtasks of `{id}`, whose parallelism is {parallelism}"));
            }
            let mut inputs = versions.iter().flat_map(|version| &version.inputs).flatten();
            if let Some(index) = inputs.find(|index| **index as usize >= self.schemas.len()) {
                return Some(format!("has no schema {index}, which `{id}` reads"));
            }
        }
        None
    }
}
