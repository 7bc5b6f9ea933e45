//! State migration by the function itself: a guest rewrites values that were stored under an older schema.

use crate::error::{self, Result};
use crate::model::Column;
use crate::state::{StateId, StateLayout, StateMigrator};
use crate::turn::{Guest, TurnFailure};

/// Migrates the states of one layout by calling the guest.
pub(super) struct GuestStateMigrator<'a> {
    pub(super) guest: &'a mut dyn Guest,
    /// Index of the layout's first state among all states of the function.
    pub(super) first_state: usize,
    pub(super) layout: &'a StateLayout,
}

impl StateMigrator for GuestStateMigrator<'_> {
    fn migrate(&mut self, state: StateId, schema: &str, values: &Column) -> Result<Column> {
        let index = self.first_state as u32 + u32::from(state);
        self.guest.migrate(index, schema, values).map_err(|failure| match failure {
            TurnFailure::Error(error) => error,
            TurnFailure::Cancelled => error::state_migration_failed("the job was cancelled during the migration"),
            TurnFailure::Fault(fault) => {
                let name = self.layout.get(usize::from(state)).map_or("", |state| &state.name[..]);
                error::state_migration_failed(format!("state `{name}`, from schema `{schema}`: {fault}"))
                    .hint("correct the function and submit the job again; no records were processed")
            }
        })
    }
}
