//! Checks whether stored states fit the states that an operator declares.
//!
//! Compares kinds, codecs, schemas and the encoding of map keys. Looks at descriptions only, never at entries.

use crate::error::{self, Result};
use crate::state::description::{StateDescription, StateLayout};
use crate::state::row_values::RowConversion;
use crate::state::snapshot::StateHandle;

/// Returns the position of the state called `name`.
pub(in crate::state) fn index_of_state(layout: &StateLayout, name: &str) -> Option<usize> {
    layout.iter().position(|state| state.name == name)
}

/// Returns an error, made by `refuse`, if two states have the same name.
pub(super) fn refuse_repeated_names(layout: &StateLayout, refuse: fn(String) -> error::Error) -> Result<()> {
    for (index, state) in layout.iter().enumerate() {
        if index_of_state(layout, &state.name) != Some(index) {
            return Err(refuse(format!("the state `{}` is described twice", state.name)));
        }
    }
    Ok(())
}

/// Returns whether values stored as `old` need no migration to be read as `new`.
pub(in crate::state) fn has_same_schema(old: &StateDescription, new: &StateDescription) -> bool {
    old.schema == new.schema && old.codec == new.codec
}

/// Returns whether an operator with this layout would have written the same bytes, so that a backend can take over the
/// files without reading them.
pub(in crate::state) fn is_stored_as_declared(layout: &StateLayout, handle: &StateHandle) -> bool {
    let is_same = |old: &StateDescription, new: &StateDescription| {
        old.kind == new.kind
            && old.map_key == new.map_key
            && has_same_schema(old, new)
            && old.ttl.is_some() == new.ttl.is_some()
    };
    handle.layout.iter().all(|old| layout.iter().any(|new| new.name == old.name && is_same(old, new)))
}

/// Checks that an operator with this layout can restore a stored state.
///
/// The operator must declare every stored state, with the stored schema or with one that the function migrates to. With
/// `allow_unclaimed`, stored states that are not declared are dropped instead.
///
/// Errors: `checkpoint-mismatch`, and `checkpoint-corrupt` if the stored state names a state twice.
pub fn check_schema_compatibility(layout: &StateLayout, handle: &StateHandle, allow_unclaimed: bool) -> Result<()> {
    refuse_repeated_names(&handle.layout, error::checkpoint_corrupt)?;
    for old in &handle.layout {
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
            describe_kind(old),
            describe_kind(new)
        ))
        .hint("give the new state another name, and drop the old one with --allow-unclaimed-state"));
    }
    if has_same_schema(old, new) || new.readable_form_of(old).is_some() {
        return Ok(());
    }
    match RowConversion::between(old, new) {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => {}
        Err(why) => return Err(unconvertible_rows(new, &why)),
    }
    Err(error::checkpoint_mismatch(format!(
        "the values of state `{name}` have the schema `{}` in codec `{}` in the checkpoint, but `{}` in codec `{}` in the \
         function, and the function declares no migration from the older form",
        old.schema, old.codec, new.schema, new.codec
    ))
    .hint(match new.is_internal() {
        true => {
            "the host stores these values itself: restore the previous window settings, or give the operator another id and \
             drop the old state with --allow-unclaimed-state"
        }
        false => {
            "declare the older form of the state and how it is migrated (in Rust `#[state(migrate_from(Old))]`); or give the state another name, and drop the old one with \
             --allow-unclaimed-state"
        }
    }))
}

fn unconvertible_rows(state: &StateDescription, why: &str) -> error::Error {
    let hint = match state.is_internal() {
        true => {
            "fields can be reordered, removed and added if they are optional or have a default; undo the other changes, or give the \
             operator another id and drop its records with --allow-unclaimed-state"
        }
        false => {
            "fields can be reordered, removed and added if they are optional; for other changes declare the older form of the state \
             and how it is migrated (in Rust `#[state(migrate_from(Old))]`)"
        }
    };
    error::checkpoint_mismatch(format!("the rows in state `{}` cannot be converted: {why}", state.name)).hint(hint)
}

fn describe_kind(state: &StateDescription) -> String {
    match &state.map_key[..] {
        "" => format!("of kind {}", state.kind.as_str()),
        key => format!("of kind {} with keys `{key}`", state.kind.as_str()),
    }
}
