//! Finds the states of an image again in the layout of the operator that restores it: by name, never by place.
//!
//! Stored bytes keep the ids that they were written with. An operator that declares its states in another order, or
//! more of them, gets a translation; a restore therefore rewrites nothing.

use super::{RestoredImage, StateDescription, StateId, StateImage, StateKind, StateLayout};
use crate::error::{self, Result};

/// The translation between an operator's layout and the ids that its entries are stored under.
#[derive(Clone, Debug)]
pub(super) struct StoredLayout {
    /// For each state of the operator's layout the id in `stored`.
    ids: Vec<StateId>,
    /// What the next image says.
    pub stored: StateLayout,
}

impl StoredLayout {
    /// The layout of a backend that starts with images of one operator, or empty. A state that they do not know gets the
    /// next free id. Errors: `checkpoint-mismatch`, and `checkpoint-corrupt` for an image that names a state twice.
    pub fn new(layout: &StateLayout, images: &[RestoredImage<'_>]) -> Result<StoredLayout> {
        refuse_repeated_names(layout, error::internal)?;
        for RestoredImage { image, .. } in images {
            refuse_repeated_names(&image.layout, error::checkpoint_corrupt)?;
            check_against(layout, image)?;
        }
        let mut stored = images.first().map(|image| image.image.layout.clone()).unwrap_or_default();
        let mut ids = Vec::with_capacity(layout.len());
        for state in layout {
            let place = place_of(&stored, &state.name).unwrap_or_else(|| {
                stored.push(state.clone());
                stored.len() - 1
            });
            ids.push(StateId::try_from(place).map_err(|_| error::internal("an operator has more than 65536 states"))?);
        }
        Ok(StoredLayout { ids, stored })
    }

    /// The kind of a stored state.
    pub fn kind(&self, stored: StateId) -> StateKind {
        self.stored.get(usize::from(stored)).map_or(StateKind::Value, |state| state.kind)
    }

    /// The id that entries of `state` are stored under.
    pub fn stored_id(&self, state: StateId) -> Result<StateId> {
        let id = self.ids.get(usize::from(state)).copied();
        id.ok_or_else(|| error::internal(format!("state {state} of {} states", self.ids.len())))
    }
}

fn place_of(layout: &StateLayout, name: &str) -> Option<usize> {
    layout.iter().position(|state| state.name == name)
}

fn refuse_repeated_names(layout: &StateLayout, refuse: fn(String) -> error::Error) -> Result<()> {
    for (place, state) in layout.iter().enumerate() {
        if place_of(layout, &state.name) != Some(place) {
            return Err(refuse(format!("the state `{}` is described twice", state.name)));
        }
    }
    Ok(())
}

/// Whether an operator with this layout can go on from an image: every state of it is declared as it was.
/// Error: `checkpoint-mismatch`.
pub fn check_against(layout: &StateLayout, image: &StateImage) -> Result<()> {
    for old in &image.layout {
        let Some(new) = layout.iter().find(|state| state.name == old.name) else {
            return Err(error::checkpoint_mismatch(format!(
                "the checkpoint holds the state `{}`, which the function does not declare",
                old.name
            ))
            .hint("declare the state again, or start without the checkpoint"));
        };
        if *old != (StateDescription { previous: Vec::new(), ..new.clone() }) {
            return Err(error::checkpoint_mismatch(format!(
                "the state `{}` is {} in the checkpoint, but {} in the function",
                old.name,
                describe(old),
                describe(new)
            )));
        }
    }
    Ok(())
}

fn describe(state: &StateDescription) -> String {
    format!("a {} of schema `{}` in codec `{}`", state.kind.as_str(), state.schema, state.codec)
}
