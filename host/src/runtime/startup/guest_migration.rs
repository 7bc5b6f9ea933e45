//! State migration by the function itself: a guest rewrites values that were stored in an older form.

use crate::error::{self, Result};
use crate::model::Column;
use crate::state::{StateForm, StateId, StateLayout, StateMigrator, StoredValues};
use crate::turn::{Guest, TurnFailure};

/// Migrates the states of one layout by calling the guest.
pub(super) struct GuestStateMigrator<'a> {
    pub(super) guest: &'a mut dyn Guest,
    /// Index of the layout's first state among all states of the function.
    pub(super) first_state: usize,
    pub(super) layout: &'a StateLayout,
}

impl StateMigrator for GuestStateMigrator<'_> {
    fn migrate(&mut self, state: StateId, stored: &StateForm, values: &StoredValues) -> Result<Column> {
        let index = self.first_state as u32 + u32::from(state);
        let declared = self.layout.get(usize::from(state));
        let declared =
            declared.ok_or_else(|| error::internal(format!("state {state} is to be migrated, but not declared")))?;
        self.guest.migrate(index, stored, &declared.form(), values).map_err(|failure| match failure {
            TurnFailure::Error(error) => error,
            TurnFailure::Cancelled => error::state_migration_failed("the job was cancelled during the migration"),
            TurnFailure::Fault(fault) => {
                error::state_migration_failed(format!("state `{}`, from {stored}: {fault}", declared.name))
                    .hint("correct the function and submit the job again; no records were processed")
            }
        })
    }
}
