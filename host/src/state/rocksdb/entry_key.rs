//! The encoding of an entry's address as a key of the database. Part of the durable format.
//!
//! ```text
//! key group u16, big endian | state id u16, big endian | key
//! key group u16, big endian | state id u16, big endian | key, encoded by `write_ordered` | sub-key      (maps)
//! ```
//!
//! Keys sort by group, then state, then key, then sub-key. So the groups of a subtask form ranges of keys, and the entries of
//! one map are adjacent.

use crate::error::{self, Result};
use crate::model::KeyGroup;
use crate::state::description::{StateId, StateKind, StateLayout};
use crate::state::entry::StoredEntry;
use crate::state::ordered_key::{read_ordered, write_ordered};

/// Length of key group and state id.
const PREFIX_BYTES: usize = 4;

/// Appends the key of an entry to `buffer`. An empty `sub_key` gives the common prefix of a map's keys.
#[inline]
pub(super) fn write_entry_key(
    buffer: &mut Vec<u8>,
    kind: StateKind,
    group: KeyGroup,
    state: StateId,
    key: &[u8],
    sub_key: &[u8],
) {
    buffer.reserve(PREFIX_BYTES + key.len() + sub_key.len());
    buffer.extend_from_slice(&group.to_be_bytes());
    buffer.extend_from_slice(&state.to_be_bytes());
    match kind {
        StateKind::Map => write_ordered(buffer, key),
        _ => buffer.extend_from_slice(key),
    }
    buffer.extend_from_slice(sub_key);
}

/// Returns the stored id in a key of the database.
pub(super) fn state_of_entry_key(key: &[u8]) -> Option<StateId> {
    let (prefix, _) = key.split_first_chunk::<PREFIX_BYTES>()?;
    Some(StateId::from_be_bytes([prefix[2], prefix[3]]))
}

/// Decodes a key of the database, and calls `visit` with the entry. Returns `checkpoint-corrupt` if the key is malformed or
/// belongs to no state of `layout`, and the errors of `visit`.
pub(super) fn visit_entry(
    key: &[u8],
    value: &[u8],
    layout: &StateLayout,
    visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
) -> Result<()> {
    let malformed = || error::checkpoint_corrupt("the database contains a key that belongs to no state");
    let (group, rest) = key.split_first_chunk::<2>().ok_or_else(malformed)?;
    let (state, rest) = rest.split_first_chunk::<2>().ok_or_else(malformed)?;
    let (group, state) = (KeyGroup::from_be_bytes(*group), StateId::from_be_bytes(*state));
    let description = layout.get(usize::from(state)).ok_or_else(malformed)?;
    if description.kind == StateKind::Map {
        let (key, sub_key) = read_ordered(rest).ok_or_else(malformed)?;
        visit(StoredEntry { group, state, key: &key, sub_key, value })
    } else {
        visit(StoredEntry { group, state, key: rest, sub_key: &[], value })
    }
}
