//! A savepoint from lines of JSON, as a dump writes them: to begin a job with state, or to repair its state.
//!
//! All lines are read and checked before anything is written. They are held in memory: about 100 bytes for each beside its
//! key and value. With a savepoint as its base, everything stays as it is there, apart from the states that the lines name:
//! of these only what the lines say is left.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::ops::Range;

use super::entry_codec::{EncodedEntry, EntryCodec, StateEntry};
use super::reader::{StateReader, StateScope, layout_of, unknown};
use crate::checkpoint::{CheckpointKind, CheckpointMetadata, OperatorMetadata};
use crate::error::{self, Error, Result, TextLocation};
use crate::model::{KeyGroup, groups_of_subtask};
use crate::pipeline::PipelineSpec;
use crate::state::canonical::CanonicalWriter;
use crate::state::{
    self, FileRef, FileStore, SnapshotFormat, StateDescription, StateHandle, StateId, StateLayout, StoredEntry,
};

/// What a savepoint is written for.
#[derive(Clone, Debug)]
pub struct LoadTarget {
    pub job_name: String,
    pub max_parallelism: u32,
    /// Nobody has chosen it: that of a base counts.
    is_default: bool,
    pub(super) operators: Vec<TargetOperator>,
}

#[derive(Clone, Debug)]
pub(super) struct TargetOperator {
    id: String,
    parallelism: u32,
    pub(super) states: StateLayout,
}

/// Lines that were read, in the order in which they are written.
pub struct ParsedEntries {
    entries: Vec<LoadedEntry>,
}

struct LoadedEntry {
    /// Into the target's operators.
    operator: usize,
    /// Into the operator's states.
    state: usize,
    stored: EncodedEntry,
    line: usize,
}

impl LoadTarget {
    /// A pipeline whose functions describe these states, by operator.
    pub fn of_pipeline(pipeline: &PipelineSpec, layouts: &BTreeMap<String, StateLayout>) -> LoadTarget {
        let operators = pipeline.nodes.iter().map(|node| TargetOperator {
            id: node.id.clone(),
            parallelism: node.parallelism,
            states: layouts.get(&node.id).cloned().unwrap_or_default(),
        });
        LoadTarget {
            job_name: pipeline.name.clone(),
            max_parallelism: pipeline.max_parallelism,
            is_default: pipeline.max_parallelism_is_default,
            operators: operators.collect(),
        }
    }

    /// What a checkpoint or savepoint holds.
    pub fn of_image(manifest: &CheckpointMetadata) -> LoadTarget {
        let operators = manifest.operators.iter().map(|operator| TargetOperator {
            id: operator.id.clone(),
            parallelism: operator.parallelism,
            states: layout_of(operator),
        });
        LoadTarget {
            job_name: manifest.job_name.clone(),
            max_parallelism: manifest.max_parallelism,
            is_default: false,
            operators: operators.collect(),
        }
    }

    /// The same, with what only `base` holds; its parallelism counts, and its `max_parallelism` where the pipeline names none.
    /// Error: `checkpoint-mismatch` where the two contradict each other.
    pub fn with_base(mut self, base: &CheckpointMetadata) -> Result<LoadTarget> {
        if self.is_default {
            self.max_parallelism = base.max_parallelism;
        }
        if self.max_parallelism != base.max_parallelism {
            return Err(error::checkpoint_mismatch(format!(
                "the base has max_parallelism {}, the pipeline {}",
                base.max_parallelism, self.max_parallelism
            )));
        }
        let held = LoadTarget::of_image(base).operators;
        for (mut held, image) in held.into_iter().zip(&base.operators) {
            let Some(own) = self.operators.iter_mut().find(|own| own.id == held.id) else {
                self.operators.push(held);
                continue;
            };
            for image in image.subtasks.iter().flat_map(|subtask| subtask.state.iter().chain(&subtask.broadcast)) {
                state::check_schema_compatibility(&own.states, image, true)
                    .map_err(|error| error.context(format!("operator `{}`", own.id)))?;
            }
            own.parallelism = held.parallelism;
            held.states.retain(|state| own.states.iter().all(|known| known.name != state.name));
            own.states.append(&mut held.states);
        }
        let max = self.max_parallelism;
        if let Some(TargetOperator { id, parallelism, .. }) = self.operators.iter().find(|one| one.parallelism > max) {
            let what = format!("`{id}` has parallelism {parallelism}, more than the base's max_parallelism {max}");
            return Err(error::checkpoint_mismatch(what));
        }
        Ok(self)
    }
}

impl ParsedEntries {
    /// Reads all lines; empty ones are passed over. Errors, with the line: `state-line-invalid`, `state-unknown`.
    pub fn read(lines: &mut dyn BufRead, file: &str, target: &LoadTarget, now_ms: i64) -> Result<ParsedEntries> {
        let mut forms = BTreeMap::new();
        for (at, operator) in target.operators.iter().enumerate() {
            for (state, description) in operator.states.iter().enumerate() {
                forms.insert(
                    (&operator.id[..], &description.name[..]),
                    (at, state, EntryCodec::new(&operator.id, &operator.states, description)),
                );
            }
        }
        let mut entries = Vec::new();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let read = lines.read_until(b'\n', &mut text);
            if read.map_err(|cause| error::request_invalid(format!("{file} cannot be read: {cause}")))? == 0 {
                break;
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let located = |column: usize, error: Error| error.at(TextLocation { file: file.to_owned(), line, column });
            let entry: StateEntry = serde_json::from_slice(&text).map_err(|cause| {
                let why = cause.to_string();
                let why = why.rsplit_once(" at line ").map_or(&why[..], |(why, _)| why);
                located(cause.column().max(1), error::state_line_invalid(format!("this is no entry: {why}")))
            })?;
            let Some(&(operator, state, ref form)) = forms.get(&(&entry.operator[..], &entry.state[..])) else {
                return Err(located(1, unknown_state(target, &entry)));
            };
            let stored = form.read(&entry, target.max_parallelism, now_ms).map_err(|why| {
                let place = format!("state `{}` of `{}`", entry.state, entry.operator);
                located(1, error::state_line_invalid(format!("{place}: {why}")))
            })?;
            entries.push(LoadedEntry { operator, state, stored, line });
        }
        let mut loaded = ParsedEntries { entries };
        loaded.entries.sort_by(|a, b| a.place().cmp(&b.place()).then(a.line.cmp(&b.line)));
        match loaded.entries.windows(2).find(|pair| pair[0].place() == pair[1].place()) {
            None => Ok(loaded),
            Some(pair) => {
                let message =
                    format!("a second entry of the same state and key; the first is in line {}", pair[0].line);
                let location = TextLocation { file: file.to_owned(), line: pair[1].line, column: 1 };
                Err(error::state_line_invalid(message).at(location))
            }
        }
    }

    /// How many entries there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Stores the images of all operators in `store`, and returns what the savepoint's manifest says of them. After an error
    /// `store` may hold files that nobody names.
    pub fn write(
        &self,
        target: &LoadTarget,
        base: Option<&StateReader>,
        store: &dyn FileStore,
    ) -> Result<Vec<OperatorMetadata>> {
        let write = |(at, operator)| self.write_operator(at, operator, target.max_parallelism, base, store);
        target.operators.iter().enumerate().map(write).collect()
    }

    fn write_operator(
        &self,
        at: usize,
        operator: &TargetOperator,
        max_parallelism: u32,
        base: Option<&StateReader>,
        store: &dyn FileStore,
    ) -> Result<OperatorMetadata> {
        let start = self.entries.partition_point(|entry| entry.operator < at);
        let end = self.entries.partition_point(|entry| entry.operator <= at);
        let entries = self.entries.get(start..end).unwrap_or_default();
        let mut replaced = vec![false; operator.states.len()];
        entries.iter().for_each(|entry| replaced[entry.state] = true);
        let held = base.and_then(|base| {
            let image = base.manifest.operators.iter().find(|image| image.id == operator.id)?;
            Some((base, image))
        });
        let mut subtasks = Vec::new();
        for subtask in 0..operator.parallelism {
            let groups = groups_of_subtask(subtask, operator.parallelism, max_parallelism);
            let mut writer = SubtaskWriter { operator, subtask, entries, replaced: &replaced, held, store };
            let before = held.and_then(|(_, image)| image.subtasks.get(subtask as usize));
            let mut image = before.cloned().unwrap_or_default();
            image.state = writer.write(StateScope::Keyed, groups)?;
            image.broadcast = writer.write(StateScope::Broadcast, 0..1)?;
            image.in_flight = image.in_flight.map(|file| writer.copy(&file)).transpose()?;
            subtasks.push(image);
        }
        Ok(OperatorMetadata { id: operator.id.clone(), parallelism: operator.parallelism, subtasks })
    }
}

impl LoadedEntry {
    fn place(&self) -> (usize, KeyGroup, usize, &[u8], &[u8]) {
        (self.operator, self.stored.group, self.state, &self.stored.key, &self.stored.sub_key)
    }
}

/// Writes the images of one subtask.
struct SubtaskWriter<'a> {
    operator: &'a TargetOperator,
    subtask: u32,
    /// Of the operator.
    entries: &'a [LoadedEntry],
    /// For each of the operator's states whether the lines have entries of it.
    replaced: &'a [bool],
    /// Of the base.
    held: Option<(&'a StateReader, &'a OperatorMetadata)>,
    store: &'a dyn FileStore,
}

impl SubtaskWriter<'_> {
    fn write(&mut self, part: StateScope, groups: Range<u32>) -> Result<Option<StateHandle>> {
        let states = || self.operator.states.iter().enumerate().filter(|(_, state)| StateScope::of(state.kind) == part);
        if states().next().is_none() {
            return Ok(None);
        }
        let before = self.held.and_then(|(_, held)| part.image(held.subtasks.get(self.subtask as usize)?));
        if let Some(before) = before.filter(|_| states().all(|(at, _)| !self.replaced[at])) {
            let files = before.files.iter().map(|file| self.copy(file)).collect::<Result<_>>()?;
            return Ok(Some(StateHandle { files, ..before.clone() }));
        }
        // Entries that stay keep their order and their form, so states keep their places and descriptions.
        let mut layout: StateLayout = before.map(|image| image.layout.clone()).unwrap_or_default();
        for (at, state) in states() {
            match layout.iter_mut().find(|known| known.name == state.name) {
                Some(known) if self.replaced[at] => *known = state.clone(),
                Some(_) => {}
                None => layout.push(state.clone()),
            }
        }
        let (files, size) = self.merge(part, &layout, groups)?;
        Ok(Some(StateHandle { format: SnapshotFormat::Canonical, layout, files, size }))
    }

    /// The entries of the lines, and those of the base whose states the lines do not have, in one order.
    fn merge(
        &self,
        part: StateScope,
        layout: &StateLayout,
        groups: Range<u32>,
    ) -> Result<(Vec<FileRef>, state::StateSize)> {
        let ids = self.operator.states.iter().map(|state| place_in(layout, state)).collect::<Vec<_>>();
        let start = self.entries.partition_point(|entry| u32::from(entry.stored.group) < groups.start);
        let end = self.entries.partition_point(|entry| u32::from(entry.stored.group) < groups.end);
        let of_part = |entry: &&LoadedEntry| StateScope::of(self.operator.states[entry.state].kind) == part;
        let mut new = Vec::new();
        for loaded in self.entries.get(start..end).unwrap_or_default().iter().filter(of_part) {
            let EncodedEntry { group, key, sub_key, value } = &loaded.stored;
            let state = ids[loaded.state].ok_or_else(|| error::internal("a state has no place in the layout"))?;
            new.push(StoredEntry { group: *group, state, key, sub_key, value });
        }
        new.sort_unstable();
        let mut new = new.into_iter().peekable();
        let mut writer = CanonicalWriter::new(self.store);
        if let Some((base, held)) = self.held {
            base.read(held, self.subtask, part, groups, &mut |description, entry| {
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

    /// A file of the base, stored once more: a savepoint names files of its own only.
    fn copy(&self, file: &FileRef) -> Result<FileRef> {
        let Some((base, _)) = self.held else { return Err(error::internal("a file of no base")) };
        let local = base.scratch_file()?;
        base.files.get_file(file, local.path())?;
        self.store.put_file(&file.name, local.path())
    }
}

fn place_in(layout: &StateLayout, state: &StateDescription) -> Option<StateId> {
    StateId::try_from(layout.iter().position(|known| known.name == state.name)?).ok()
}

fn unknown_state(target: &LoadTarget, entry: &StateEntry) -> Error {
    let with_state = || target.operators.iter().filter(|operator| !operator.states.is_empty());
    match with_state().find(|operator| operator.id == entry.operator) {
        None => unknown("operator", &entry.operator, "keep state", with_state().map(|operator| &operator.id[..])),
        Some(operator) => {
            let names = operator.states.iter().map(|state| &state.name[..]);
            unknown("state", &entry.state, &format!("are in `{}`", operator.id), names)
        }
    }
}

/// What a savepoint that was loaded says of itself; no job took it.
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
        operators,
    }
}
