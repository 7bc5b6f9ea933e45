//! Checks the descriptions of states.

use std::collections::HashSet;

use super::text_limits::DECLARATIONS_MAX;
use crate::sandbox::bindings::exports::cofferdam::function::guest as wit;
use crate::state::{ReadableForm, StateDescription, StateForm, StateKind, TimeToLive, TtlUpdate};

/// Checks the description of a state. The error completes the sentence "function `name` ...".
pub(super) fn check_state(state: wit::StateDescription) -> Result<StateDescription, String> {
    let name = state.name;
    let kind = match state.kind {
        wit::StateKind::Value => StateKind::Value,
        wit::StateKind::List => StateKind::List,
        wit::StateKind::Map => StateKind::Map,
        wit::StateKind::Reducing => StateKind::Reducing,
        wit::StateKind::Aggregating => StateKind::Aggregating,
        wit::StateKind::Broadcast => StateKind::Broadcast,
    };
    match kind {
        StateKind::Map | StateKind::Broadcast if state.map_key.is_empty() => {
            return Err(format!("does not describe the codec of the keys of the map `{name}`"));
        }
        StateKind::Map => {}
        StateKind::Broadcast if state.ttl.is_some() => {
            return Err(format!("declares a time to live for the broadcast state `{name}`, which cannot have one"));
        }
        StateKind::Broadcast => {}
        _ if !state.map_key.is_empty() => {
            return Err(format!("declares a map key for the state `{name}`, which is not a map"));
        }
        _ => {}
    }
    let (reads, writes) = (state.reads, state.writes);
    if reads.len().max(writes.len()) > DECLARATIONS_MAX {
        return Err(format!("declares more than {DECLARATIONS_MAX} older forms of the state `{name}`"));
    }
    let form = StateForm { codec: state.form.codec, schema: state.form.schema };
    let reads: Vec<ReadableForm> = reads.into_iter().map(readable_form).collect();
    let writes: Vec<StateForm> = writes.into_iter().map(state_form).collect();
    let older: Vec<&StateForm> = reads.iter().map(|reads| &reads.form).collect();
    if older.contains(&&form) || writes.contains(&form) {
        return Err(format!("declares the form of the state `{name}` as an older form, too"));
    }
    if has_repeated(&older) || has_repeated(&writes) {
        return Err(format!("declares an older form of the state `{name}` twice"));
    }
    if !matches!(kind, StateKind::Map | StateKind::Broadcast) && reads.iter().any(|reads| reads.with_sub_keys) {
        return Err(format!("asks for the sub-keys of the state `{name}`, which is not a map"));
    }
    let ttl = match state.ttl {
        Some(wit::TimeToLive { milliseconds: 0, .. }) => {
            return Err(format!("declares a time to live of zero for the state `{name}`"));
        }
        Some(ttl) => Some(TimeToLive {
            milliseconds: ttl.milliseconds,
            update: match ttl.update {
                wit::TtlUpdate::CreateAndWrite => TtlUpdate::CreateAndWrite,
                wit::TtlUpdate::ReadAndWrite => TtlUpdate::ReadAndWrite,
            },
            return_expired: ttl.return_expired,
        }),
        None => None,
    };
    let StateForm { codec, schema } = form;
    let map_key = state.map_key;
    Ok(StateDescription { map_key, ttl, reads, writes, ..StateDescription::new(&name, kind, &codec, &schema) })
}

fn state_form(form: wit::FormResult) -> StateForm {
    StateForm { codec: form.codec, schema: form.schema }
}

fn readable_form(readable: wit::ReadableForm) -> ReadableForm {
    let wit::ReadableForm { form, with_keys, with_sub_keys } = readable;
    ReadableForm { form: state_form(form), with_keys, with_sub_keys }
}

fn has_repeated<T: Eq + std::hash::Hash>(items: &[T]) -> bool {
    items.iter().collect::<HashSet<_>>().len() < items.len()
}

/// Returns all texts of a state except its name.
pub(super) fn texts_of_state(state: &wit::StateDescription) -> impl Iterator<Item = &String> {
    let readable = state.reads.iter().take(DECLARATIONS_MAX + 1).map(|reads| &reads.form);
    let older = readable.chain(state.writes.iter().take(DECLARATIONS_MAX + 1));
    let forms = std::iter::once(&state.form).chain(older);
    forms.flat_map(|form| [&form.codec, &form.schema]).chain([&state.map_key])
}
