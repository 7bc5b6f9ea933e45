//! Finds the states of an image again in the layout of the operator that restores it: by name, never by place.
//!
//! Stored bytes keep the ids that they were written with as long as their files are taken as they are. An operator that
//! declares its states in another order, or more of them, gets a translation.

use super::{StateDescription, StateHandle, StateId, StateKind, StateLayout};
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
    /// Of a backend whose entries are all written anew: every state has its own place as its id.
    pub fn new(layout: &StateLayout) -> Result<StoredLayout> {
        StoredLayout::behind(layout, Vec::new())
    }

    /// Of a backend that takes over the files of an image which [`is_as_declared`]. A state that the image does not know
    /// gets the next free id. Errors: those of [`check_schema_compatibility`].
    pub fn of_image(layout: &StateLayout, image: &StateHandle) -> Result<StoredLayout> {
        check_schema_compatibility(layout, image, false)?;
        StoredLayout::behind(layout, image.layout.clone())
    }

    fn behind(layout: &StateLayout, mut stored: StateLayout) -> Result<StoredLayout> {
        refuse_repeated_names(layout, error::internal)?;
        let mut ids = Vec::with_capacity(layout.len());
        for state in layout {
            let place = place_of(&stored, &state.name).unwrap_or_else(|| {
                stored.push(state.clone());
                stored.len() - 1
            });
            // How long entries live may have changed.
            stored[place] = state.clone();
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

pub(super) fn place_of(layout: &StateLayout, name: &str) -> Option<usize> {
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

/// Whether values that were stored as `old` have the form that `new` declares: nothing is to be migrated.
pub(super) fn is_same_form(old: &StateDescription, new: &StateDescription) -> bool {
    old.schema == new.schema && old.codec == new.codec
}

/// Whether the bytes of an image are what an operator with this layout would have written itself.
pub(super) fn is_as_declared(layout: &StateLayout, image: &StateHandle) -> bool {
    let same = |old: &StateDescription, new: &StateDescription| {
        old.kind == new.kind
            && old.map_key == new.map_key
            && is_same_form(old, new)
            && old.ttl.is_some() == new.ttl.is_some()
    };
    image.layout.iter().all(|old| layout.iter().any(|new| new.name == old.name && same(old, new)))
}

/// Whether an operator with this layout can go on from an image: every state of it is declared, as it was or in a form
/// that the function migrates it to. With `allow_unclaimed`, states that are not declared are dropped.
///
/// Errors: `checkpoint-mismatch`, and `checkpoint-corrupt` for an image that names a state twice.
pub fn check_schema_compatibility(layout: &StateLayout, image: &StateHandle, allow_unclaimed: bool) -> Result<()> {
    refuse_repeated_names(&image.layout, error::checkpoint_corrupt)?;
    for old in &image.layout {
        match layout.iter().find(|state| state.name == old.name) {
            Some(new) => check_state(old, new)?,
            None if allow_unclaimed => {}
            None => {
                return Err(error::checkpoint_mismatch(format!(
                    "the checkpoint holds the state `{}`, which the function does not declare",
                    old.name
                ))
                .hint("declare the state again, or drop it with --allow-unclaimed-state"));
            }
        }
    }
    Ok(())
}

fn check_state(old: &StateDescription, new: &StateDescription) -> Result<()> {
    let name = &old.name;
    if old.kind != new.kind || old.map_key != new.map_key {
        return Err(error::checkpoint_mismatch(format!(
            "the state `{name}` is {} in the checkpoint, but {} in the function",
            kind_of(old),
            kind_of(new)
        ))
        .hint("give the new state another name, and drop the old one with --allow-unclaimed-state"));
    }
    if is_same_form(old, new) || new.previous.contains(&old.schema) {
        return Ok(());
    }
    Err(error::checkpoint_mismatch(format!(
        "the values of state `{name}` have the schema `{}` in codec `{}` in the checkpoint, but `{}` in codec `{}` in the \
         function, which does not say how to read the older form",
        old.schema, old.codec, new.schema, new.codec
    ))
    .hint(match new.is_internal() {
        true => "these values are the host's own: set the windows as they were, or give the operator another id and drop what it \
                 held with --allow-unclaimed-state",
        false => "declare the older type with `.migrate_from::<Old>()`; or give the state another name, and drop the old one with \
                  --allow-unclaimed-state",
    }))
}

fn kind_of(state: &StateDescription) -> String {
    match &state.map_key[..] {
        "" => format!("of kind {}", state.kind.as_str()),
        key => format!("of kind {} with keys `{key}`", state.kind.as_str()),
    }
}
