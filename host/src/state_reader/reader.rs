//! Reads the states of one image: what there is, the entries of one key, everything.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempDir};
use utoipa::ToSchema;

use super::bytes_json::bytes_of_argument;
use super::entry_codec::{EntryCodec, StateEntry};
use crate::checkpoint::{CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use crate::error::{self, Error, Result};
use crate::model::{group_of_key, groups_of_subtask, hash_key, subtask_of_group};
use crate::state::{
    self, FileStore, RestoreSource, StateDescription, StateHandle, StateKind, StateLayout, StoredEntry, TimeToLive,
};

/// The state in a checkpoint or savepoint.
pub struct StateReader {
    pub(super) manifest: Arc<CheckpointMetadata>,
    pub(super) files: Arc<dyn FileStore>,
    /// For what has to lie on the local disk while it is read.
    scratch: TempDir,
}

/// What state there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateListing {
    /// The job that took the checkpoint or savepoint.
    pub job_id: String,
    pub job_name: String,
    /// Its id: what the state was is from then.
    pub checkpoint: u64,
    /// When it was triggered, in milliseconds since the Unix epoch.
    pub taken_at_ms: i64,
    pub max_parallelism: u32,
    /// Those that keep state.
    pub operators: Vec<OperatorState>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperatorState {
    pub operator: String,
    pub parallelism: u32,
    /// Entries of all its states; an estimate where RocksDB keeps them.
    pub entries: u64,
    /// Bytes of all its states; an estimate where RocksDB keeps them.
    pub bytes: u64,
    pub states: Vec<StateSummary>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateSummary {
    pub state: String,
    /// `value`, `list`, `map`, `reducing`, `aggregating` or `broadcast`.
    pub kind: String,
    pub codec: String,
    /// Fingerprint of the values' type.
    pub schema: String,
    /// Of a map, how its sub-keys are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub ttl: Option<TimeToLive>,
    /// Where they were counted: a list is one entry, each entry of a map one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Where they were counted: the bytes of keys, sub-keys and values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// The entries of one key in one state.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyState {
    /// The checkpoint or savepoint that was read.
    pub checkpoint: u64,
    /// When it was triggered, in milliseconds since the Unix epoch.
    pub taken_at_ms: i64,
    /// None where the key has none; of a map one for each sub-key.
    pub entries: Vec<StateEntry>,
}

/// Which of an operator's images: its keyed state, or the broadcast state that all subtasks hold alike.
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

    pub fn image(self, subtask: &SubtaskMetadata) -> Option<&StateHandle> {
        match self {
            StateScope::Keyed => subtask.state.as_ref(),
            StateScope::Broadcast => subtask.broadcast.as_ref(),
        }
    }
}

impl StateReader {
    /// The state of a manifest whose files are in `files`; `scratch_in` is a folder on the local disk with room for the state
    /// of one subtask.
    pub fn new(manifest: Arc<CheckpointMetadata>, files: Arc<dyn FileStore>, scratch_in: &Path) -> Result<StateReader> {
        let scratch = tempfile::tempdir_in(scratch_in)
            .map_err(|cause| error::state_failed(format!("no folder in {}: {cause}", scratch_in.display())))?;
        Ok(StateReader { manifest, files, scratch })
    }

    /// The id of the checkpoint or savepoint.
    pub fn checkpoint(&self) -> u64 {
        self.manifest.checkpoint_id
    }

    /// What state there is. Entries and bytes of each single state are counted only where asked for: that reads everything.
    pub fn list(&self, count: bool) -> Result<StateListing> {
        let CheckpointMetadata { job_id, job_name, .. } = &*self.manifest;
        let with_state = self.manifest.operators.iter().filter(|operator| !states_of(operator).is_empty());
        Ok(StateListing {
            job_id: job_id.clone(),
            job_name: job_name.clone(),
            checkpoint: self.manifest.checkpoint_id,
            taken_at_ms: self.manifest.taken_at_ms,
            max_parallelism: self.manifest.max_parallelism,
            operators: with_state.map(|operator| self.list_operator(operator, count)).collect::<Result<_>>()?,
        })
    }

    fn list_operator(&self, operator: &OperatorMetadata, count: bool) -> Result<OperatorState> {
        let mut states: Vec<StateSummary> = states_of(operator).into_iter().map(summary).collect();
        if count {
            let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
            self.visit(operator, &mut |state, entry| {
                let bytes = (entry.key.len() + entry.sub_key.len() + entry.value.len()) as u64;
                let (entries, sum) = counts.entry(state.name.clone()).or_default();
                *entries += 1;
                *sum += bytes;
                Ok(())
            })?;
            for state in &mut states {
                let (entries, bytes) = counts.get(&state.state).copied().unwrap_or_default();
                (state.entries, state.bytes) = (Some(entries), Some(bytes));
            }
        }
        let broadcast = operator.subtasks.iter().find_map(|subtask| subtask.broadcast.as_ref());
        let images = operator.subtasks.iter().filter_map(|subtask| subtask.state.as_ref()).chain(broadcast);
        let (mut entries, mut bytes) = (0_u64, 0_u64);
        for size in images.map(|image| image.size) {
            entries = entries.saturating_add(size.entries);
            bytes = bytes.saturating_add(size.bytes);
        }
        Ok(OperatorState { operator: operator.id.clone(), parallelism: operator.parallelism, entries, bytes, states })
    }

    /// The entries of one key, which is text, or `hex:` and digits: those of all its windows, where they are of windows. Of a
    /// map all or one; of broadcast state, which has no keys, `key` is the sub-key. Errors: `state-unknown`, `request-invalid` for a key that cannot be read.
    pub fn get(&self, operator: &str, state: &str, key: &str, map_key: Option<&str>) -> Result<KeyState> {
        let operator = self.operator(operator)?;
        let description = state_of(operator, state)?;
        let layout = layout_of(operator);
        let form = EntryCodec::new(&operator.id, &layout, description);
        let part = StateScope::of(description.kind);
        let (key, map_key) = match part {
            StateScope::Keyed => (bytes_of_argument(key).map_err(error::request_invalid)?, map_key),
            StateScope::Broadcast => (Vec::new(), Some(key)),
        };
        if map_key.is_some() && !form.is_map() {
            return Err(error::request_invalid(format!(
                "`{state}` is a {}, which has no sub-keys",
                description.kind.as_str()
            )));
        }
        let sub_key = map_key.map(|map_key| form.sub_key_of_argument(map_key));
        let sub_key = sub_key.transpose().map_err(error::request_invalid)?;
        let groups = self.manifest.max_parallelism;
        let (group, subtask) = match part {
            StateScope::Keyed => {
                let group = group_of_key(hash_key(&key), groups);
                (group, subtask_of_group(group, operator.parallelism, groups))
            }
            StateScope::Broadcast => (0, 0),
        };
        let mut entries = Vec::new();
        self.read(operator, subtask, part, group.into()..u32::from(group) + 1, &mut |found, entry| {
            if found.name == state && form.is_of(&entry, &key, sub_key.as_deref())? {
                entries.push(form.show(entry)?);
            }
            Ok(())
        })?;
        Ok(KeyState { checkpoint: self.manifest.checkpoint_id, taken_at_ms: self.manifest.taken_at_ms, entries })
    }

    /// Whether there are such an operator and such a state. Error: `state-unknown`.
    pub fn check(&self, operator: Option<&str>, state: Option<&str>) -> Result<()> {
        match (operator, state) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(error::request_invalid("a state is named together with its operator")),
            (Some(operator), None) => self.operator(operator).map(drop),
            (Some(operator), Some(state)) => state_of(self.operator(operator)?, state).map(drop),
        }
    }

    /// Every entry, or those of one operator, or of one of its states: by operator, then by key group, state and key. What
    /// `visit` fails with ends it.
    pub fn dump(
        &self,
        operator: Option<&str>,
        state: Option<&str>,
        visit: &mut dyn FnMut(StateEntry) -> Result<()>,
    ) -> Result<()> {
        self.check(operator, state)?;
        for image in &self.manifest.operators {
            if operator.is_some_and(|operator| operator != image.id) {
                continue;
            }
            let layout = layout_of(image);
            let forms: BTreeMap<&str, EntryCodec<'_>> = layout
                .iter()
                .map(|description| (&description.name[..], EntryCodec::new(&image.id, &layout, description)))
                .collect();
            self.visit(image, &mut |description, entry| match forms.get(&description.name[..]) {
                Some(form) if state.is_none_or(|state| state == description.name) => visit(form.show(entry)?),
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    /// All entries of an operator, each with its state.
    fn visit(
        &self,
        operator: &OperatorMetadata,
        visit: &mut dyn FnMut(&StateDescription, StoredEntry<'_>) -> Result<()>,
    ) -> Result<()> {
        for subtask in 0..operator.parallelism {
            let groups = groups_of_subtask(subtask, operator.parallelism, self.manifest.max_parallelism);
            self.read(operator, subtask, StateScope::Keyed, groups, visit)?;
        }
        self.read(operator, 0, StateScope::Broadcast, 0..1, visit)
    }

    /// The entries of one subtask whose key group is in `groups`, in order.
    pub(super) fn read(
        &self,
        operator: &OperatorMetadata,
        subtask: u32,
        part: StateScope,
        groups: std::ops::Range<u32>,
        visit: &mut dyn FnMut(&StateDescription, StoredEntry<'_>) -> Result<()>,
    ) -> Result<()> {
        let Some(image) = operator.subtasks.get(subtask as usize).and_then(|subtask| part.image(subtask)) else {
            return Ok(());
        };
        let owned = match part {
            StateScope::Keyed => groups_of_subtask(subtask, operator.parallelism, self.manifest.max_parallelism),
            StateScope::Broadcast => 0..1,
        };
        let restored = RestoreSource { handle: image, groups: owned, store: &*self.files };
        // Of its own for each reading: what may be read at the same time must not meet.
        let scratch = tempfile::tempdir_in(self.scratch.path())
            .map_err(|cause| error::state_failed(format!("no folder in {}: {cause}", self.scratch.path().display())))?;
        let unknown = || error::checkpoint_corrupt("an entry of a state that the image does not describe");
        state::read_snapshot(&restored, groups, &scratch.path().join("image"), &mut |entry| {
            visit(image.layout.get(usize::from(entry.state)).ok_or_else(unknown)?, entry)
        })
    }

    /// A file for what has to lie on the local disk for a moment.
    pub(super) fn scratch_file(&self) -> Result<NamedTempFile> {
        NamedTempFile::new_in(self.scratch.path())
            .map_err(|cause| error::state_failed(format!("no file in {}: {cause}", self.scratch.path().display())))
    }

    fn operator(&self, id: &str) -> Result<&OperatorMetadata> {
        let known = || self.manifest.operators.iter().filter(|operator| !states_of(operator).is_empty());
        let found = known().find(|operator| operator.id == id);
        found.ok_or_else(|| unknown("operator", id, "keep state", known().map(|operator| &operator.id[..])))
    }
}

/// The states that an operator's images describe, each once.
fn states_of(operator: &OperatorMetadata) -> Vec<&StateDescription> {
    let mut states: Vec<&StateDescription> = Vec::new();
    for image in operator.subtasks.iter().flat_map(|subtask| subtask.state.iter().chain(&subtask.broadcast)) {
        for description in &image.layout {
            if states.iter().all(|known| known.name != description.name) {
                states.push(description);
            }
        }
    }
    states
}

/// The same, as a layout.
pub(super) fn layout_of(operator: &OperatorMetadata) -> StateLayout {
    states_of(operator).into_iter().cloned().collect()
}

fn state_of<'a>(operator: &'a OperatorMetadata, name: &str) -> Result<&'a StateDescription> {
    let states = states_of(operator);
    let found = states.iter().find(|state| state.name == name).copied();
    let names = states.iter().map(|state| &state.name[..]);
    found.ok_or_else(|| unknown("state", name, &format!("are in `{}`", operator.id), names))
}

/// The error for a name that nothing has.
pub(super) fn unknown<'a>(what: &str, name: &str, known_as: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let known: Vec<&str> = known.collect();
    let hint = match known.is_empty() {
        true => format!("none {known_as}"),
        false => format!("these {known_as}: {}", known.join(", ")),
    };
    error::state_unknown(format!("there is no {what} `{name}`")).hint(hint)
}

fn summary(state: &StateDescription) -> StateSummary {
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
