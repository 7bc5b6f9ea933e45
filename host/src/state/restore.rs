//! Brings the entries of images, of whatever subtasks, backend and age, into the form that an operator has now: ids by the
//! states' names, values of older schemas migrated, times to live added or taken away.
//!
//! Nothing is handed on of a state that is not declared; whether that is allowed is checked before anything is read.

use super::layout::{StoredLayout, check_schema_compatibility, is_same_form, place_of};
use super::{
    RestoreSource, StateDescription, StateHandle, StateId, StateKind, StateMigrator, StateOptions, StoredEntry, list,
    read_snapshot, ttl,
};
use crate::error::{self, Result};
use crate::model::{Column, KeyGroup, common_groups};

/// What one call of [`StateMigrator::migrate`] gets, about.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_VALUES: usize = 1024;

/// Hands the entries of `images` that belong to the subtask to `visit`, under the ids of `stored`. The entries of one
/// state, key and sub-key come once; there is no other order.
///
/// Errors: those of [`super::open`], and `state-migration-failed`.
pub(super) fn read_entries(
    options: &mut StateOptions<'_>,
    images: &[RestoreSource<'_>],
    stored: &StoredLayout,
    visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
) -> Result<()> {
    let scratch = options.working_dir.join("restore");
    let mut migrate = options.migrate.take();
    let interrupt = options.interrupt.clone();
    for image in images {
        let mut states = conversions(options, image.handle, stored)?;
        let now_ms = options.clock.wall_ms();
        let groups = common_groups(&options.groups, &image.groups);
        read_snapshot(image, groups, &scratch, &mut |entry| {
            interrupt.check()?;
            match states.get_mut(usize::from(entry.state)).and_then(Option::as_mut) {
                None => Ok(()),
                Some(state) if !state.rewrites() => visit(StoredEntry { state: state.id, ..entry }),
                Some(state) => {
                    state.push(entry, now_ms)?;
                    if state.is_full() { state.flush(&mut migrate, visit) } else { Ok(()) }
                }
            }
        })?;
        states.iter_mut().flatten().try_for_each(|state| state.flush(&mut migrate, visit))?;
    }
    Ok(())
}

/// For each state of an image what becomes of it; none where it is dropped.
fn conversions(
    options: &StateOptions<'_>,
    image: &StateHandle,
    stored: &StoredLayout,
) -> Result<Vec<Option<Conversion>>> {
    check_schema_compatibility(&options.layout, image, options.allow_unclaimed)?;
    let convert = |old: &StateDescription| {
        let Some(place) = place_of(&options.layout, &old.name) else { return Ok(None) };
        let new = &options.layout[place];
        let state = place as StateId;
        Ok(Some(Conversion {
            id: stored.stored_id(state)?,
            state,
            name: old.name.clone(),
            kind: new.kind,
            older: (!is_same_form(old, new)).then(|| old.schema.clone()),
            was_timed: old.ttl.is_some(),
            is_timed: new.ttl.is_some(),
            owners: Vec::new(),
            times_ms: Vec::new(),
            values: Column::new(),
        }))
    };
    image.layout.iter().map(convert).collect()
}

/// One state of an image on its way, with the entries that wait to be rewritten together.
struct Conversion {
    /// As the operator stores it from now on.
    id: StateId,
    /// Its place in the operator's layout.
    state: StateId,
    name: String,
    kind: StateKind,
    /// The schema that the values have, where it is not the declared one.
    older: Option<String>,
    was_timed: bool,
    is_timed: bool,
    owners: Vec<Owner>,
    /// For each of `values` the time of its last update.
    times_ms: Vec<i64>,
    values: Column,
}

/// The entry that some of the waiting values belong to.
struct Owner {
    group: KeyGroup,
    key: Vec<u8>,
    sub_key: Vec<u8>,
    /// Behind its last value.
    end: usize,
}

impl Conversion {
    fn rewrites(&self) -> bool {
        self.older.is_some() || self.was_timed != self.is_timed
    }

    fn is_full(&self) -> bool {
        self.values.len() >= BATCH_VALUES || self.values.bytes().len() >= BATCH_BYTES
    }

    /// Takes an entry apart: the elements of a list, or the one value, each with its time.
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
            let (time_ms, value) = match self.was_timed {
                false => (now_ms, element),
                true => ttl::split(element).ok_or_else(|| {
                    error::checkpoint_corrupt(format!("a value of state `{}` has no time of its update", self.name))
                })?,
            };
            self.times_ms.push(time_ms);
            self.values.push(value);
        }
        let StoredEntry { group, key, sub_key, .. } = entry;
        self.owners.push(Owner { group, key: key.to_vec(), sub_key: sub_key.to_vec(), end: self.values.len() });
        Ok(())
    }

    /// Hands on all that wait, in the form that the operator has now.
    fn flush(
        &mut self,
        migrate: &mut Option<&mut dyn StateMigrator>,
        visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
    ) -> Result<()> {
        let values = self.migrated(migrate)?;
        let (mut start, mut value, mut element) = (0, Vec::new(), Vec::new());
        for Owner { group, key, sub_key, end } in self.owners.drain(..) {
            value.clear();
            for at in start..end {
                element.clear();
                if self.is_timed {
                    element.extend_from_slice(&ttl::stamp(self.times_ms[at]));
                }
                element.extend_from_slice(values.value(at));
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

    /// The waiting values in the declared schema.
    fn migrated(&mut self, migrate: &mut Option<&mut dyn StateMigrator>) -> Result<Column> {
        let values = std::mem::take(&mut self.values);
        let Some(schema) = self.older.as_deref().filter(|_| !values.is_empty()) else { return Ok(values) };
        match migrate {
            Some(migrate) => migrate_values(*migrate, self.state, &self.name, schema, values.iter()),
            None => Err(migration_failed(&self.name, schema, "there is no function that migrates it".into())),
        }
    }
}

fn migration_failed(name: &str, schema: &str, what: String) -> error::Error {
    error::state_migration_failed(format!("state `{name}`, from schema `{schema}`: {what}"))
}

/// Has values of a state rewritten that were stored under an older schema, one for each, a batch after the other.
pub(super) fn migrate_values<'a>(
    migrate: &mut dyn StateMigrator,
    state: StateId,
    name: &str,
    schema: &str,
    values: impl Iterator<Item = &'a [u8]>,
) -> Result<Column> {
    let failed = |what: String| migration_failed(name, schema, what);
    let mut migrated = Column::new();
    let mut batch = Column::new();
    let mut values = values.peekable();
    while let Some(value) = values.next() {
        batch.push(value);
        let is_full = batch.len() >= BATCH_VALUES || batch.bytes().len() >= BATCH_BYTES;
        if !is_full && values.peek().is_some() {
            continue;
        }
        let answer = migrate.migrate(state, schema, &batch)?;
        if answer.len() != batch.len() {
            return Err(failed(format!("the function gave {} values for {}", answer.len(), batch.len())));
        }
        if u32::try_from(migrated.bytes().len() + answer.bytes().len()).is_err() {
            return Err(failed("its values are larger than 4 GiB".into()));
        }
        migrated.extend_from(&answer, 0..answer.len());
        batch.clear();
    }
    Ok(migrated)
}
