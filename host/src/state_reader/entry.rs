//! The types of one entry: as a line of JSON, and as the bytes that a state backend stores.
//!
//! The fields of [`StateEntry`] are part of the HTTP API and of dumps. Must not depend on how values are encoded.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::model::KeyGroup;

/// An entry of a state, as a dump writes it and a load reads it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StateEntry {
    pub operator: String,
    pub state: String,
    /// `value`, `list`, `map`, `reducing`, `aggregating` or `broadcast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// A string, or `{"hex": "..."}` if the key is not text. Broadcast state has no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    /// The window of an entry that belongs to one: `{"start": ..., "end": ...}`, in milliseconds since the Unix epoch, or
    /// `"global"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Value>,
    /// The key group of an entry that belongs to a key group instead of a key: a watermark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_group: Option<KeyGroup>,
    /// The key within a map or within broadcast state; the time of a timer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_key: Option<Value>,
    /// The value in the representation of the state's codec, or `{"hex": "..."}`. For a list, all elements.
    #[schema(value_type = Value)]
    pub value: Box<RawValue>,
    /// When an entry of a state with a time to live was last updated, in milliseconds since the Unix epoch. For a list, one
    /// time for each element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<UpdatedAt>,
}

/// The update times of an entry, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum UpdatedAt {
    /// The time of a whole entry.
    Entry(i64),
    /// The times of the elements of a list.
    Elements(Vec<i64>),
}

/// The stored bytes of an entry, without its state.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EncodedEntry {
    pub group: KeyGroup,
    pub key: Vec<u8>,
    pub sub_key: Vec<u8>,
    pub value: Vec<u8>,
}

/// The key and window that an entry belongs to.
pub(super) struct EntryOwner<'e> {
    /// The key of the records; empty if the entry belongs to no key.
    pub key: Cow<'e, [u8]>,
    /// Start and end of the window, if the entry belongs to one.
    pub window: Option<(i64, i64)>,
    /// The map key; the time of a timer.
    pub sub_key: &'e [u8],
}
