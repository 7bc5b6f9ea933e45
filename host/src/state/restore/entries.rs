//! Reads the entries of a subtask from stored snapshots, and converts them to what the operator declares now.
//!
//! The snapshots may come from other subtasks, the other backend or an older version of the function. The conversion
//! translates state ids, migrates values of older forms, and adds or removes update times when a time to live was added
//! or removed. Entries of states that are not declared are skipped.

use super::migration::{StoredValue, is_full, migrate_values, migration_failed};
use super::read_snapshot::read_snapshot;
use super::schema_compatibility::{check_schema_compatibility, has_same_schema, index_of_state};
use super::stored_layout::StoredLayout;
use crate::error::{self, Result};
use crate::model::{Column, KeyGroup, common_groups};
use crate::state::backend::{StateMigrator, StateOptions};
use crate::state::description::{ReadableForm, StateDescription, StateId, StateKind};
use crate::state::entry::StoredEntry;
use crate::state::row_values::RowConversion;
use crate::state::snapshot::{RestoreSource, StateHandle};
use crate::state::{list, ttl};

/// Calls `visit` for the entries of `sources` that belong to the subtask, with the state ids of `stored`. Each entry is
/// visited once, in no particular order.
///
/// Errors: those of [`crate::state::open`].
pub(in crate::state) fn read_entries(
    options: &mut StateOptions<'_>,
    sources: &[RestoreSource<'_>],
    stored: &StoredLayout,
    visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
) -> Result<()> {
    let scratch = options.working_dir.join("restore");
    let mut migrate = options.migrate.take();
    let interrupt = options.interrupt.clone();
    for source in sources {
        let mut states = conversions(options, source.handle, stored)?;
        let now_ms = options.clock.wall_ms();
        let groups = common_groups(&options.groups, &source.groups);
        read_snapshot(source, groups, &scratch, &mut |entry| {
            interrupt.check()?;
            match states.get_mut(usize::from(entry.state)).and_then(Option::as_mut) {
                None => Ok(()),
                Some(state) if !state.rewrites_values() => visit(StoredEntry { state: state.id, ..entry }),
                Some(state) => {
                    state.push(entry, now_ms)?;
                    if is_full(&state.values) { state.flush(&mut migrate, visit) } else { Ok(()) }
                }
            }
        })?;
        states.iter_mut().flatten().try_for_each(|state| state.flush(&mut migrate, visit))?;
    }
    Ok(())
}

/// Returns the conversion of each stored state, or `None` for a state that is dropped.
fn conversions(
    options: &StateOptions<'_>,
    handle: &StateHandle,
    stored: &StoredLayout,
) -> Result<Vec<Option<StateConversion>>> {
    check_schema_compatibility(&options.layout, handle, options.allow_unclaimed)?;
    let convert = |old: &StateDescription| {
        let Some(index) = index_of_state(&options.layout, &old.name) else { return Ok(None) };
        let new = &options.layout[index];
        let state = index as StateId;
        Ok(Some(StateConversion {
            id: stored.stored_id(state)?,
            state,
            name: old.name.clone(),
            kind: new.kind,
            conversion: EntryConversion::between(old, new),
            had_ttl: old.ttl.is_some(),
            has_ttl: new.ttl.is_some(),
            entries: Vec::new(),
            times_ms: Vec::new(),
            values: Column::new(),
        }))
    };
    handle.layout.iter().map(convert).collect()
}

/// How the values of a stored state become values of the declared one.
enum EntryConversion {
    None,
    /// The host copies the fields of rows.
    Rows(RowConversion),
    /// The function migrates values of this form.
    Function(ReadableForm),
}

impl EntryConversion {
    /// Returns the conversion between two states that are compatible. A migration by the function takes precedence.
    fn between(old: &StateDescription, new: &StateDescription) -> EntryConversion {
        if has_same_schema(old, new) {
            return EntryConversion::None;
        }
        match (new.readable_form_of(old), RowConversion::between(old, new)) {
            (Some(older), _) => EntryConversion::Function(older.clone()),
            (None, Ok(Some(rows))) => EntryConversion::Rows(rows),
            (None, _) => EntryConversion::None,
        }
    }
}

/// Converts the entries of one stored state. Buffers entries so that their values are migrated in batches.
struct StateConversion {
    /// Stored id of the state from now on.
    id: StateId,
    /// Index of the state in the operator's layout.
    state: StateId,
    name: String,
    kind: StateKind,
    conversion: EntryConversion,
    had_ttl: bool,
    has_ttl: bool,
    /// The buffered entries.
    entries: Vec<BufferedEntry>,
    /// Update time of each of `values`.
    times_ms: Vec<i64>,
    /// The values of all buffered entries.
    values: Column,
}

/// An entry whose values are in the buffer of a [`StateConversion`].
struct BufferedEntry {
    group: KeyGroup,
    key: Vec<u8>,
    sub_key: Vec<u8>,
    /// End of its values in [`StateConversion::values`]. They start at the end of the previous entry.
    end: usize,
}

impl StateConversion {
    /// Returns whether stored values differ from what the operator would store now.
    fn rewrites_values(&self) -> bool {
        !matches!(self.conversion, EntryConversion::None) || self.had_ttl != self.has_ttl
    }

    /// Adds an entry to the buffer: the elements of a list, or the single value, each with its update time.
    fn push(&mut self, entry: StoredEntry<'_>, now_ms: i64) -> Result<()> {
        let mut elements = Column::new();
        match self.kind {
            StateKind::List => list::decode(entry.value, &mut elements)?,
            _ => elements.push(entry.value),
        }
        if u32::try_from(self.values.bytes().len() + elements.bytes().len()).is_err() {
            return Err(error::state_failed(format!("an entry of state `{}` is too large to be migrated", self.name)));
        }
        for element in elements.iter() {
            let (time_ms, value) = match self.had_ttl {
                false => (now_ms, element),
                true => ttl::split(element).ok_or_else(|| {
                    error::checkpoint_corrupt(format!("a value of state `{}` has no update time", self.name))
                })?,
            };
            self.times_ms.push(time_ms);
            self.values.push(value);
        }
        let StoredEntry { group, key, sub_key, .. } = entry;
        let end = self.values.len();
        self.entries.push(BufferedEntry { group, key: key.to_vec(), sub_key: sub_key.to_vec(), end });
        Ok(())
    }

    /// Converts all buffered entries, and calls `visit` for each.
    fn flush(
        &mut self,
        migrate: &mut Option<&mut dyn StateMigrator>,
        visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
    ) -> Result<()> {
        let values = self.take_migrated_values(migrate)?;
        let (mut start, mut value, mut element) = (0, Vec::new(), Vec::new());
        for BufferedEntry { group, key, sub_key, end } in self.entries.drain(..) {
            value.clear();
            for index in start..end {
                element.clear();
                if self.has_ttl {
                    element.extend_from_slice(&ttl::stamp(self.times_ms[index]));
                }
                element.extend_from_slice(values.value(index));
                match self.kind {
                    StateKind::List => list::push_element(&mut value, &[], &element),
                    _ => value.extend_from_slice(&element),
                }
            }
            start = end;
            visit(StoredEntry { group, state: self.id, key: &key, sub_key: &sub_key, value: &value })?;
        }
        self.times_ms.clear();
        Ok(())
    }

    /// Takes the buffered values, in the declared form.
    fn take_migrated_values(&mut self, migrate: &mut Option<&mut dyn StateMigrator>) -> Result<Column> {
        let values = std::mem::take(&mut self.values);
        let older = match &self.conversion {
            _ if values.is_empty() => return Ok(values),
            EntryConversion::None => return Ok(values),
            EntryConversion::Rows(rows) => return rows.convert_all(&self.name, values.iter()),
            EntryConversion::Function(older) => older,
        };
        let Some(migrate) = migrate else {
            let reason = "no function that could migrate it is available";
            return Err(migration_failed(&self.name, &older.form, reason.into()));
        };
        let starts = std::iter::once(0).chain(self.entries.iter().map(|entry| entry.end));
        let stored = self.entries.iter().zip(starts).flat_map(|(BufferedEntry { key, sub_key, end, .. }, start)| {
            (start..*end).map(|index| StoredValue { key, sub_key, value: values.value(index) })
        });
        migrate_values(*migrate, self.state, &self.name, older, stored)
    }
}
