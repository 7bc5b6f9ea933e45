//! Maps the states of an operator to the ids under which a backend stores their entries.
//!
//! States are matched by name, never by position. A backend that takes over files keeps the ids in those files. If the
//! operator declares its states in another order, or declares new ones, the ids differ from the positions.

use super::schema_compatibility::{check_schema_compatibility, index_of_state, refuse_repeated_names};
use crate::error::{self, Result};
use crate::state::description::{StateId, StateKind, StateLayout};
use crate::state::snapshot::StateHandle;

/// The mapping from an operator's states to stored ids.
#[derive(Clone, Debug)]
pub(in crate::state) struct StoredLayout {
    /// Stored id of each state of the operator's layout.
    ids: Vec<StateId>,
    /// The stored states by stored id, as the next snapshot records them.
    pub stored: StateLayout,
}

impl StoredLayout {
    /// Returns the mapping of a backend that writes all entries anew. The stored id of each state is its position.
    pub fn new(layout: &StateLayout) -> Result<StoredLayout> {
        StoredLayout::extend(layout, Vec::new())
    }

    /// Returns the mapping of a backend that takes over the files of a snapshot. A state that the snapshot does not contain
    /// gets the next free id. Returns the errors of [`check_schema_compatibility`].
    pub fn of_snapshot(layout: &StateLayout, handle: &StateHandle) -> Result<StoredLayout> {
        check_schema_compatibility(layout, handle, false)?;
        StoredLayout::extend(layout, handle.layout.clone())
    }

    /// Adds the states of `layout` that `stored` does not contain.
    fn extend(layout: &StateLayout, mut stored: StateLayout) -> Result<StoredLayout> {
        refuse_repeated_names(layout, error::internal)?;
        let mut ids = Vec::with_capacity(layout.len());
        for state in layout {
            let index = index_of_state(&stored, &state.name).unwrap_or_else(|| {
                stored.push(state.clone());
                stored.len() - 1
            });
            // The declared time to live may have changed.
            stored[index] = state.clone();
            ids.push(StateId::try_from(index).map_err(|_| error::internal("an operator has more than 65536 states"))?);
        }
        Ok(StoredLayout { ids, stored })
    }

    /// Returns the kind of the state with this stored id.
    pub fn kind(&self, stored: StateId) -> StateKind {
        self.stored.get(usize::from(stored)).map_or(StateKind::Value, |state| state.kind)
    }

    /// Returns the stored id of the operator's state `state`.
    pub fn stored_id(&self, state: StateId) -> Result<StateId> {
        let id = self.ids.get(usize::from(state)).copied();
        id.ok_or_else(|| error::internal(format!("state {state} does not exist: the operator has {}", self.ids.len())))
    }
}
