//! Writes the state of a savepoint from parsed entries.
//!
//! Without a base, the savepoint has only the states that the entries fill. With a base savepoint, everything stays as it is
//! there except the states that the entries name; of these only the given entries remain. Invariant: the savepoint names files
//! of its own only. Must not complete the savepoint; its caller does.

use std::ops::Range;

use super::entry::EncodedEntry;
use super::listing::StateScope;
use super::load_target::{LoadTarget, TargetOperator};
use super::parsed_entries::{ParsedEntries, ParsedEntry};
use super::reader::StateReader;
use crate::checkpoint::{CheckpointKind, CheckpointMetadata, OperatorMetadata};
use crate::error::{self, Result};
use crate::model::groups_of_subtask;
use crate::state::canonical::CanonicalWriter;
use crate::state::{
    FileRef, FileStore, SnapshotFormat, StateDescription, StateHandle, StateId, StateLayout, StateSize, StoredEntry,
};

impl ParsedEntries {
    /// Stores the state of all operators in `store`. Returns their part of the savepoint's metadata. After an error `store`
    /// may contain files that nothing names.
    pub fn write(
        &self,
        target: &LoadTarget,
        base: Option<&StateReader>,
        store: &dyn FileStore,
    ) -> Result<Vec<OperatorMetadata>> {
        let write = |(index, operator)| self.write_operator(index, operator, target.max_parallelism, base, store);
        target.operators.iter().enumerate().map(write).collect()
    }

    fn write_operator(
        &self,
        index: usize,
        operator: &TargetOperator,
        max_parallelism: u32,
        base: Option<&StateReader>,
        store: &dyn FileStore,
    ) -> Result<OperatorMetadata> {
        let start = self.entries.partition_point(|entry| entry.operator < index);
        let end = self.entries.partition_point(|entry| entry.operator <= index);
        let entries = self.entries.get(start..end).unwrap_or_default();
        let mut replaced = vec![false; operator.states.len()];
        entries.iter().for_each(|entry| replaced[entry.state] = true);
        let base = base.and_then(|base| {
            let stored = base.metadata.operators.iter().find(|stored| stored.id == operator.id)?;
            Some((base, stored))
        });
        let mut subtasks = Vec::new();
        for subtask in 0..operator.parallelism {
            let groups = groups_of_subtask(subtask, operator.parallelism, max_parallelism);
            let mut writer = SubtaskLoader { operator, subtask, entries, replaced: &replaced, base, store };
            let before = base.and_then(|(_, stored)| stored.subtasks.get(subtask as usize));
            let mut metadata = before.cloned().unwrap_or_default();
            metadata.state = writer.write(StateScope::Keyed, groups)?;
            metadata.broadcast = writer.write(StateScope::Broadcast, 0..1)?;
            metadata.in_flight = metadata.in_flight.map(|file| writer.copy(&file)).transpose()?;
            subtasks.push(metadata);
        }
        let versions = base.map(|(_, stored)| stored.versions.clone()).unwrap_or_default();
        Ok(OperatorMetadata { versions, ..OperatorMetadata::new(&operator.id, subtasks) })
    }
}

/// Writes the state of one subtask.
struct SubtaskLoader<'a> {
    operator: &'a TargetOperator,
    subtask: u32,
    /// The entries of the operator.
    entries: &'a [ParsedEntry],
    /// For each state of the operator, whether `entries` replaces it.
    replaced: &'a [bool],
    /// The base and the operator in it.
    base: Option<(&'a StateReader, &'a OperatorMetadata)>,
    store: &'a dyn FileStore,
}

impl SubtaskLoader<'_> {
    fn write(&mut self, scope: StateScope, groups: Range<u32>) -> Result<Option<StateHandle>> {
        let states =
            || self.operator.states.iter().enumerate().filter(|(_, state)| StateScope::of(state.kind) == scope);
        if states().next().is_none() {
            return Ok(None);
        }
        let before = self.base.and_then(|(_, stored)| scope.handle(stored.subtasks.get(self.subtask as usize)?));
        if let Some(before) = before.filter(|_| states().all(|(index, _)| !self.replaced[index])) {
            let files = before.files.iter().map(|file| self.copy(file)).collect::<Result<_>>()?;
            return Ok(Some(StateHandle { files, ..before.clone() }));
        }
        // Entries of the base keep their order and encoding, so their states keep positions and descriptions.
        let mut layout: StateLayout = before.map(|handle| handle.layout.clone()).unwrap_or_default();
        for (index, state) in states() {
            match layout.iter_mut().find(|known| known.name == state.name) {
                Some(known) if self.replaced[index] => *known = state.clone(),
                Some(_) => {}
                None => layout.push(state.clone()),
            }
        }
        let (files, size) = self.merge(scope, &layout, groups)?;
        Ok(Some(StateHandle { format: SnapshotFormat::Canonical, layout, files, size }))
    }

    /// Merges the parsed entries with the base's entries of states that are not replaced, in one order.
    fn merge(&self, scope: StateScope, layout: &StateLayout, groups: Range<u32>) -> Result<(Vec<FileRef>, StateSize)> {
        let ids = self.operator.states.iter().map(|state| state_id(layout, state)).collect::<Vec<_>>();
        let start = self.entries.partition_point(|entry| u32::from(entry.encoded.group) < groups.start);
        let end = self.entries.partition_point(|entry| u32::from(entry.encoded.group) < groups.end);
        let in_scope = |entry: &&ParsedEntry| StateScope::of(self.operator.states[entry.state].kind) == scope;
        let mut new = Vec::new();
        for parsed in self.entries.get(start..end).unwrap_or_default().iter().filter(in_scope) {
            let EncodedEntry { group, key, sub_key, value } = &parsed.encoded;
            let state = ids[parsed.state].ok_or_else(|| error::internal("a state is missing in the layout"))?;
            new.push(StoredEntry { group: *group, state, key, sub_key, value });
        }
        new.sort_unstable();
        let mut new = new.into_iter().peekable();
        let mut writer = CanonicalWriter::new(self.store);
        if let Some((base, stored)) = self.base {
            base.visit_subtask(stored, self.subtask, scope, groups, &mut |description, entry| {
                let own = self.operator.states.iter().position(|state| state.name == description.name);
                if own.is_some_and(|own| self.replaced[own]) {
                    return Ok(());
                }
                while let Some(before) = new.next_if(|new| *new < entry) {
                    writer.push(before)?;
                }
                writer.push(entry)
            })?;
        }
        new.try_for_each(|entry| writer.push(entry))?;
        writer.finish()
    }

    /// Copies a file of the base, since a savepoint names files of its own only.
    fn copy(&self, file: &FileRef) -> Result<FileRef> {
        let Some((base, _)) = self.base else { return Err(error::internal("there is no base to copy a file from")) };
        let local = base.scratch_file()?;
        base.files.get_file(file, local.path())?;
        self.store.put_file(&file.name, local.path())
    }
}

fn state_id(layout: &StateLayout, state: &StateDescription) -> Option<StateId> {
    StateId::try_from(layout.iter().position(|known| known.name == state.name)?).ok()
}

/// Returns the metadata of a loaded savepoint, which no job has taken. `job_id` is a new id.
pub fn loaded_metadata(
    target: &LoadTarget,
    base: Option<&CheckpointMetadata>,
    operators: Vec<OperatorMetadata>,
    job_id: String,
    now_ms: i64,
) -> CheckpointMetadata {
    CheckpointMetadata {
        format: CheckpointMetadata::FORMAT,
        job_id,
        job_name: target.job_name.clone(),
        checkpoint_id: base.map_or(1, |base| base.checkpoint_id),
        kind: CheckpointKind::Savepoint,
        taken_at_ms: now_ms,
        seed: base.and_then(|base| base.seed),
        max_parallelism: target.max_parallelism,
        schemas: base.map(|base| base.schemas.clone()).unwrap_or_default(),
        operators,
    }
}
