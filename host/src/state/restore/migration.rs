//! Calls the function to rewrite values of an older form, in batches.

use crate::error::{self, Error, Result};
use crate::model::Column;
use crate::state::backend::{StateMigrator, StoredValues};
use crate::state::description::{ReadableForm, StateForm, StateId};

/// Approximate limits of one call of [`StateMigrator::migrate`].
const BATCH_BYTES: usize = 1 << 20;
const BATCH_VALUES: usize = 1024;

/// A stored value and where it is stored.
#[derive(Clone, Copy)]
pub(in crate::state) struct StoredValue<'a> {
    /// Empty in a broadcast state.
    pub key: &'a [u8],
    /// Empty unless the state is a map.
    pub sub_key: &'a [u8],
    pub value: &'a [u8],
}

/// Returns whether `batch` should be migrated before more values are added to it.
pub(super) fn is_full(batch: &Column) -> bool {
    batch.len() >= BATCH_VALUES || batch.bytes().len() >= BATCH_BYTES
}

/// Returns the error `state-migration-failed`.
pub(super) fn migration_failed(name: &str, form: &StateForm, reason: String) -> Error {
    error::state_migration_failed(format!("state `{name}` cannot be migrated from {form}: {reason}"))
}

impl StoredValues {
    /// Returns an empty batch for values of this form.
    fn of_form(form: &ReadableForm) -> StoredValues {
        StoredValues {
            keys: form.with_keys.then(Column::new),
            sub_keys: form.with_sub_keys.then(Column::new),
            values: Column::new(),
        }
    }

    fn push(&mut self, stored: StoredValue<'_>) {
        if let Some(keys) = &mut self.keys {
            keys.push(stored.key);
        }
        if let Some(sub_keys) = &mut self.sub_keys {
            sub_keys.push(stored.sub_key);
        }
        self.values.push(stored.value);
    }

    fn is_full(&self) -> bool {
        is_full(&self.values) || self.keys.iter().chain(&self.sub_keys).any(is_full)
    }

    fn clear(&mut self) {
        self.values.clear();
        self.keys.iter_mut().chain(&mut self.sub_keys).for_each(Column::clear);
    }
}

/// Migrates values of one state that were stored in an older form. Returns one value for each of them, in order.
///
/// Returns `state-migration-failed` if the function returns another number of values, or more than 4 GiB of them.
pub(in crate::state) fn migrate_values<'a>(
    migrate: &mut dyn StateMigrator,
    state: StateId,
    name: &str,
    older: &ReadableForm,
    stored: impl Iterator<Item = StoredValue<'a>>,
) -> Result<Column> {
    let mut migrated = Column::new();
    let mut batch = StoredValues::of_form(older);
    let mut stored = stored.peekable();
    while let Some(value) = stored.next() {
        batch.push(value);
        if !batch.is_full() && stored.peek().is_some() {
            continue;
        }
        let answer = migrate.migrate(state, &older.form, &batch)?;
        if answer.len() != batch.values.len() {
            let reason = format!("the function returned {} values for {}", answer.len(), batch.values.len());
            return Err(migration_failed(name, &older.form, reason));
        }
        if u32::try_from(migrated.bytes().len() + answer.bytes().len()).is_err() {
            return Err(migration_failed(name, &older.form, "the migrated values exceed 4 GiB".into()));
        }
        migrated.extend_from(&answer, 0..answer.len());
        batch.clear();
    }
    Ok(migrated)
}
