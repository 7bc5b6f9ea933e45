//! Reads the state of one checkpoint or savepoint: the list of states, the entries of one key, or all entries.
//!
//! Invariant: a reader never writes to the checkpoint. Files that have to be on the local disk go to a scratch folder of their
//! own, so that reads may run concurrently.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use tempfile::{NamedTempFile, TempDir};

use super::bytes_json::bytes_of_argument;
use super::entry::StateEntry;
use super::entry_codec::EntryCodec;
use super::listing::{
    KeyState, OperatorState, StateListing, StateScope, StateSummary, find_state, layout_of, states_of, summary,
    unknown_operator,
};
use crate::checkpoint::{CheckpointMetadata, OperatorMetadata};
use crate::error::{self, Result};
use crate::model::{group_of_key, groups_of_subtask, hash_key, subtask_of_group};
use crate::state::{self, FileStore, RestoreSource, StateDescription, StoredEntry};

/// Reads the state in a checkpoint or savepoint.
pub struct StateReader {
    pub(super) metadata: Arc<CheckpointMetadata>,
    pub(super) files: Arc<dyn FileStore>,
    /// Folder for files that must be on the local disk while they are read.
    scratch: TempDir,
}

impl StateReader {
    /// Reads the checkpoint of `metadata`, whose files are in `files`. `scratch_in` is a folder on the local disk with room
    /// for the state of one subtask. Errors: `state-failed`.
    pub fn new(metadata: Arc<CheckpointMetadata>, files: Arc<dyn FileStore>, scratch_in: &Path) -> Result<StateReader> {
        Ok(StateReader { metadata, files, scratch: scratch_folder(scratch_in)? })
    }

    /// Returns the id of the checkpoint or savepoint.
    pub fn checkpoint(&self) -> u64 {
        self.metadata.checkpoint_id
    }

    /// Lists the states. If `count` is set, counts the entries and bytes of each state, which reads all of it.
    pub fn list(&self, count: bool) -> Result<StateListing> {
        let CheckpointMetadata { job_id, job_name, .. } = &*self.metadata;
        Ok(StateListing {
            job_id: job_id.clone(),
            job_name: job_name.clone(),
            checkpoint: self.metadata.checkpoint_id,
            taken_at_ms: self.metadata.taken_at_ms,
            max_parallelism: self.metadata.max_parallelism,
            operators: self
                .operators_with_state()
                .map(|operator| self.list_operator(operator, count))
                .collect::<Result<_>>()?,
        })
    }

    fn list_operator(&self, operator: &OperatorMetadata, count: bool) -> Result<OperatorState> {
        let mut states: Vec<StateSummary> = states_of(operator).into_iter().map(summary).collect();
        if count {
            let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
            self.visit_operator(operator, &mut |state, entry| {
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
        let handles = operator.subtasks.iter().filter_map(|subtask| subtask.state.as_ref()).chain(broadcast);
        let (mut entries, mut bytes) = (0_u64, 0_u64);
        for size in handles.map(|handle| handle.size) {
            entries = entries.saturating_add(size.entries);
            bytes = bytes.saturating_add(size.bytes);
        }
        Ok(OperatorState { operator: operator.id.clone(), parallelism: operator.parallelism, entries, bytes, states })
    }

    /// Returns the entries of one key, in all windows of the key if the state belongs to windows.
    ///
    /// `key` is text, or `hex:` and digits. For a map, `map_key` selects one entry. Broadcast state has no keys, so there
    /// `key` is the map key. Errors: `state-unknown`; `request-invalid` for a key that cannot be parsed.
    pub fn get(&self, operator: &str, state: &str, key: &str, map_key: Option<&str>) -> Result<KeyState> {
        let operator = self.operator(operator)?;
        let description = find_state(operator, state)?;
        let layout = layout_of(operator);
        let codec = EntryCodec::new(&operator.id, &layout, description);
        let scope = StateScope::of(description.kind);
        let (key, map_key) = match scope {
            StateScope::Keyed => (bytes_of_argument(key).map_err(error::request_invalid)?, map_key),
            StateScope::Broadcast => (Vec::new(), Some(key)),
        };
        if map_key.is_some() && !codec.is_map() {
            return Err(error::request_invalid(format!(
                "`{state}` is a {}, which has no map keys",
                description.kind.as_str()
            )));
        }
        let sub_key = map_key.map(|map_key| codec.sub_key_of_argument(map_key));
        let sub_key = sub_key.transpose().map_err(error::request_invalid)?;
        let groups = self.metadata.max_parallelism;
        let (group, subtask) = match scope {
            StateScope::Keyed => {
                let group = group_of_key(hash_key(&key), groups);
                (group, subtask_of_group(group, operator.parallelism, groups))
            }
            StateScope::Broadcast => (0, 0),
        };
        let mut entries = Vec::new();
        self.visit_subtask(operator, subtask, scope, group.into()..u32::from(group) + 1, &mut |found, entry| {
            if found.name == state && codec.belongs_to(&entry, &key, sub_key.as_deref())? {
                entries.push(codec.show(entry)?);
            }
            Ok(())
        })?;
        Ok(KeyState { checkpoint: self.metadata.checkpoint_id, taken_at_ms: self.metadata.taken_at_ms, entries })
    }

    /// Checks that the operator and its state exist. Errors: `state-unknown`; `request-invalid` for a state without an
    /// operator.
    pub fn check(&self, operator: Option<&str>, state: Option<&str>) -> Result<()> {
        match (operator, state) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(error::request_invalid("name the operator of the state as well")),
            (Some(operator), None) => self.operator(operator).map(drop),
            (Some(operator), Some(state)) => find_state(self.operator(operator)?, state).map(drop),
        }
    }

    /// Passes every entry to `visit`, or only those of one operator or of one of its states. The order is by operator, key
    /// group, state and key. An error of `visit` ends the dump and is returned.
    pub fn dump(
        &self,
        operator: Option<&str>,
        state: Option<&str>,
        visit: &mut dyn FnMut(StateEntry) -> Result<()>,
    ) -> Result<()> {
        self.check(operator, state)?;
        for own in &self.metadata.operators {
            if operator.is_some_and(|operator| operator != own.id) {
                continue;
            }
            let layout = layout_of(own);
            let codecs: BTreeMap<&str, EntryCodec<'_>> = layout
                .iter()
                .map(|description| (&description.name[..], EntryCodec::new(&own.id, &layout, description)))
                .collect();
            self.visit_operator(own, &mut |description, entry| match codecs.get(&description.name[..]) {
                Some(codec) if state.is_none_or(|state| state == description.name) => visit(codec.show(entry)?),
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Passes all entries of an operator to `visit`, each with its state.
    fn visit_operator(
        &self,
        operator: &OperatorMetadata,
        visit: &mut dyn FnMut(&StateDescription, StoredEntry<'_>) -> Result<()>,
    ) -> Result<()> {
        for subtask in 0..operator.parallelism {
            let groups = groups_of_subtask(subtask, operator.parallelism, self.metadata.max_parallelism);
            self.visit_subtask(operator, subtask, StateScope::Keyed, groups, visit)?;
        }
        self.visit_subtask(operator, 0, StateScope::Broadcast, 0..1, visit)
    }

    /// Passes the entries of one subtask whose key group is in `groups` to `visit`, in order.
    pub(super) fn visit_subtask(
        &self,
        operator: &OperatorMetadata,
        subtask: u32,
        scope: StateScope,
        groups: Range<u32>,
        visit: &mut dyn FnMut(&StateDescription, StoredEntry<'_>) -> Result<()>,
    ) -> Result<()> {
        let Some(handle) = operator.subtasks.get(subtask as usize).and_then(|subtask| scope.handle(subtask)) else {
            return Ok(());
        };
        let owned = match scope {
            StateScope::Keyed => groups_of_subtask(subtask, operator.parallelism, self.metadata.max_parallelism),
            StateScope::Broadcast => 0..1,
        };
        let source = RestoreSource { handle, groups: owned, store: &*self.files };
        // A folder for each read, so that concurrent reads do not interfere.
        let scratch = scratch_folder(self.scratch.path())?;
        let undescribed =
            || error::checkpoint_corrupt("an entry belongs to a state that the checkpoint does not describe");
        state::read_snapshot(&source, groups, &scratch.path().join("snapshot"), &mut |entry| {
            visit(handle.layout.get(usize::from(entry.state)).ok_or_else(undescribed)?, entry)
        })
    }

    /// Creates a temporary file on the local disk.
    pub(super) fn scratch_file(&self) -> Result<NamedTempFile> {
        let folder = self.scratch.path();
        NamedTempFile::new_in(folder)
            .map_err(|cause| error::state_failed(format!("cannot create a file in {}: {cause}", folder.display())))
    }

    fn operators_with_state(&self) -> impl Iterator<Item = &OperatorMetadata> {
        self.metadata.operators.iter().filter(|operator| !states_of(operator).is_empty())
    }

    fn operator(&self, id: &str) -> Result<&OperatorMetadata> {
        let found = self.operators_with_state().find(|operator| operator.id == id);
        found.ok_or_else(|| unknown_operator(id, self.operators_with_state().map(|operator| &operator.id[..])))
    }
}

fn scratch_folder(parent: &Path) -> Result<TempDir> {
    tempfile::tempdir_in(parent)
        .map_err(|cause| error::state_failed(format!("cannot create a folder in {}: {cause}", parent.display())))
}
