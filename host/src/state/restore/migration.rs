//! Calls the function to rewrite values of an older schema, in batches.

use crate::error::{self, Error, Result};
use crate::model::Column;
use crate::state::backend::StateMigrator;
use crate::state::description::StateId;

/// Approximate limits of one call of [`StateMigrator::migrate`].
const BATCH_BYTES: usize = 1 << 20;
const BATCH_VALUES: usize = 1024;

/// Returns whether `batch` should be migrated before more values are added to it.
pub(super) fn is_full(batch: &Column) -> bool {
    batch.len() >= BATCH_VALUES || batch.bytes().len() >= BATCH_BYTES
}

/// Returns the error `state-migration-failed`.
pub(super) fn migration_failed(name: &str, schema: &str, reason: String) -> Error {
    error::state_migration_failed(format!("state `{name}` cannot be migrated from schema `{schema}`: {reason}"))
}

/// Migrates values of one state that were stored under `schema`. Returns one value for each of them, in order.
///
/// Returns `state-migration-failed` if the function returns another number of values, or more than 4 GiB of them.
pub(in crate::state) fn migrate_values<'a>(
    migrate: &mut dyn StateMigrator,
    state: StateId,
    name: &str,
    schema: &str,
    values: impl Iterator<Item = &'a [u8]>,
) -> Result<Column> {
    let mut migrated = Column::new();
    let mut batch = Column::new();
    let mut values = values.peekable();
    while let Some(value) = values.next() {
        batch.push(value);
        if !is_full(&batch) && values.peek().is_some() {
            continue;
        }
        let answer = migrate.migrate(state, schema, &batch)?;
        if answer.len() != batch.len() {
            let reason = format!("the function returned {} values for {}", answer.len(), batch.len());
            return Err(migration_failed(name, schema, reason));
        }
        if u32::try_from(migrated.bytes().len() + answer.bytes().len()).is_err() {
            return Err(migration_failed(name, schema, "the migrated values exceed 4 GiB".into()));
        }
        migrated.extend_from(&answer, 0..answer.len());
        batch.clear();
    }
    Ok(migrated)
}
