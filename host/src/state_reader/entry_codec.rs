//! One entry of a state as a line of JSON, and back: the codec that the function declared says how its value looks.
//!
//! What is shown can be loaded again, to the same bytes: what would not come back so is shown as `{"hex": "..."}`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::bytes_json::{bytes_from, bytes_of_argument, hex_from, show_bytes, show_hex};
use super::internal_values::{InternalValueFormat, show_window, window_from};
use super::map_key::MapKeyShape;
use super::postcard_json;
use super::value_shape::ValueShape;
use crate::error::{self, Result};
use crate::model::{Column, KeyGroup, group_of_key, hash_key};
use crate::state::internal::{self, KeyForm, read_window_key, write_window_key};
use crate::state::{StateDescription, StateKind, StateLayout, StoredEntry, list, ttl};

/// An entry, as a dump writes it and a load reads it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StateEntry {
    pub operator: String,
    pub state: String,
    /// `value`, `list`, `map`, `reducing`, `aggregating` or `broadcast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// A string, or `{"hex": "..."}` where the key is no text. Broadcast state has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    /// Of what belongs to a window: `{"start": ..., "end": ...}`, in milliseconds since the Unix epoch, or `"global"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Value>,
    /// Of what belongs to no key, but to a key group: a watermark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_group: Option<KeyGroup>,
    /// Of an entry of a map or of broadcast state; of a timer its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_key: Option<Value>,
    /// As the state's codec has it, else `{"hex": "..."}`; of a list all elements.
    #[schema(value_type = Value)]
    pub value: Box<RawValue>,
    /// Of a state with a time to live: when the entry was updated last, in milliseconds since the Unix epoch; of a list
    /// for each element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<UpdatedAt>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum UpdatedAt {
    Entry(i64),
    Elements(Vec<i64>),
}

/// An entry without its state, as it is stored.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EncodedEntry {
    pub group: KeyGroup,
    pub key: Vec<u8>,
    pub sub_key: Vec<u8>,
    pub value: Vec<u8>,
}

/// Whose an entry is.
pub(super) struct EntryOwner<'e> {
    /// The key of the records; empty where it is of none.
    pub key: Cow<'e, [u8]>,
    /// Its start and end.
    pub window: Option<(i64, i64)>,
    /// Of a timer its time.
    pub sub_key: &'e [u8],
}

const TIME_BYTES: usize = size_of::<i64>();
pub(super) const WINDOW_EXPECTED: &str = "`window`: expected {\"start\": ..., \"end\": ...} or \"global\"";

/// How the entries of one state look.
pub(super) struct EntryCodec<'a> {
    operator: &'a str,
    pub state: &'a StateDescription,
    key: KeyForm,
    value: ValueCodec,
    /// None where the form of sub-keys is not known: then they are bytes.
    sub_key: Option<MapKeyShape>,
}

enum ValueCodec {
    Json,
    Postcard(ValueShape),
    Text,
    Internal(InternalValueFormat),
    Unknown,
}

impl<'a> EntryCodec<'a> {
    /// `layout` has all states of the operator.
    pub fn new(operator: &'a str, layout: &StateLayout, state: &'a StateDescription) -> EntryCodec<'a> {
        let shape = || state.schema.strip_prefix("postcard:").and_then(ValueShape::parse);
        let value = match (InternalValueFormat::of(state), &state.codec[..]) {
            (Some(form), _) => ValueCodec::Internal(form),
            (None, "json") => ValueCodec::Json,
            (None, "postcard") => shape().map_or(ValueCodec::Unknown, ValueCodec::Postcard),
            (None, "csv" | "raw") => ValueCodec::Text,
            (None, _) => ValueCodec::Unknown,
        };
        let key = KeyForm::of(layout, state);
        let map_key = match key {
            KeyForm::Timer { .. } => "ordered:i64",
            // A time, and a number that tells apart the records of one time.
            _ if internal::JOIN_SIDES.contains(&&state.name[..]) => "ordered:(i64,u64)",
            _ => &state.map_key,
        };
        EntryCodec { operator, state, key, value, sub_key: MapKeyShape::parse(map_key) }
    }

    /// Whether entries have sub-keys.
    pub fn is_map(&self) -> bool {
        matches!(self.state.kind, StateKind::Map | StateKind::Broadcast)
    }

    fn has_key(&self) -> bool {
        self.state.kind != StateKind::Broadcast && self.key != KeyForm::Group
    }

    fn has_window(&self) -> bool {
        self.has_key() && matches!(self.key, KeyForm::Window | KeyForm::Timer { of_window: true })
    }

    /// Whose an entry is. Error: `checkpoint-corrupt`.
    pub fn owner<'e>(&self, entry: &StoredEntry<'e>) -> Result<EntryOwner<'e>> {
        let of_window = |key: &[u8], sub_key| {
            let (key, start, end) = read_window_key(key).ok_or_else(|| self.corrupt("lies under no window"))?;
            Ok(EntryOwner { key: key.into(), window: Some((start, end)), sub_key })
        };
        let KeyForm::Timer { .. } = self.key else {
            return match self.has_window() {
                true => of_window(entry.key, entry.sub_key),
                false => Ok(EntryOwner { key: entry.key.into(), window: None, sub_key: entry.sub_key }),
            };
        };
        let (time, key) =
            entry.sub_key.split_at_checked(TIME_BYTES).ok_or_else(|| self.corrupt("is a timer without its time"))?;
        match self.has_window() {
            true => of_window(key, time),
            false => Ok(EntryOwner { key: key.into(), window: None, sub_key: time }),
        }
    }

    /// Whether an entry is of this key, and has this sub-key where one is named. What belongs to a key group is of each of its
    /// keys.
    pub fn is_of(&self, entry: &StoredEntry<'_>, key: &[u8], sub_key: Option<&[u8]>) -> Result<bool> {
        let owner = self.owner(entry)?;
        let is_of_key = self.key == KeyForm::Group || *owner.key == *key;
        Ok(is_of_key && sub_key.is_none_or(|sub_key| owner.sub_key == sub_key))
    }

    fn corrupt(&self, what: &str) -> error::Error {
        error::checkpoint_corrupt(format!("an entry of `{}` {what}", self.state.name))
    }

    /// Error: `checkpoint-corrupt` for bytes that are no entry of such a state.
    pub fn show(&self, entry: StoredEntry<'_>) -> Result<StateEntry> {
        let (value, updated_at) = match self.state.kind {
            StateKind::List => self.show_list(entry.value)?,
            _ => {
                let (time, value) = self.split(entry.value)?;
                (self.value.show(value)?, time.map(UpdatedAt::Entry))
            }
        };
        let owner = self.owner(&entry)?;
        Ok(StateEntry {
            operator: self.operator.to_owned(),
            state: self.state.name.clone(),
            kind: Some(self.state.kind.as_str().to_owned()),
            key: self.has_key().then(|| show_bytes(&owner.key)),
            window: owner.window.map(|(start, end)| show_window(start, end)),
            key_group: (self.key == KeyForm::Group).then_some(entry.group),
            map_key: self.is_map().then(|| self.show_sub_key(owner.sub_key)),
            value,
            updated_at,
        })
    }

    fn show_sub_key(&self, sub_key: &[u8]) -> Value {
        match &self.sub_key {
            None => show_hex(sub_key),
            Some(shape) => shape.decode(sub_key).unwrap_or_else(|| show_hex(sub_key)),
        }
    }

    fn show_list(&self, stored: &[u8]) -> Result<(Box<RawValue>, Option<UpdatedAt>)> {
        let mut elements = Column::new();
        list::decode(stored, &mut elements)?;
        let (mut values, mut times) = (Vec::new(), Vec::new());
        for element in elements.iter() {
            let (time, value) = self.split(element)?;
            values.push(self.value.show(value)?);
            times.extend(time);
        }
        Ok((raw(&values)?, self.state.ttl.is_some().then_some(UpdatedAt::Elements(times))))
    }

    /// The time in front of a value, where the state has a time to live.
    fn split<'v>(&self, stored: &'v [u8]) -> Result<(Option<i64>, &'v [u8])> {
        if self.state.ttl.is_none() {
            return Ok((None, stored));
        }
        let short = || self.corrupt("is too short for its time");
        ttl::split(stored).map(|(time, value)| (Some(time), value)).ok_or_else(short)
    }

    /// What is stored for an entry where there are so many key groups; a state with a time to live is updated `now_ms` where
    /// the entry does not say when. An error says what is wrong with the entry.
    pub fn read(&self, entry: &StateEntry, groups: u32, now_ms: i64) -> Result<EncodedEntry, String> {
        let kind = self.state.kind.as_str();
        if let Some(other) = entry.kind.as_ref().filter(|other| *other != kind) {
            return Err(format!("`kind` is {other:?}, but the state is a {kind}"));
        }
        let key = match (&entry.key, self.has_key()) {
            (Some(key), true) => bytes_from(key).ok_or("`key`: expected a string or {\"hex\": ...}")?,
            (None, false) => Vec::new(),
            (None, true) => return Err("it has no `key`".into()),
            (Some(_), false) => return Err(format!("it has a `key`, and {} has none", self.keyless())),
        };
        let window = match (&entry.window, self.has_window()) {
            (Some(window), true) => Some(window_from(window).ok_or(WINDOW_EXPECTED)?),
            (None, false) => None,
            (None, true) => return Err("it has no `window`".into()),
            (Some(_), false) => return Err("it has a `window`, and the state is of no window".into()),
        };
        let group = match (entry.key_group, self.key) {
            (Some(group), KeyForm::Group) if u32::from(group) < groups => group,
            (Some(group), KeyForm::Group) => {
                return Err(format!("`key_group` is {group}, and max_parallelism {groups}"));
            }
            (None, KeyForm::Group) => return Err("it has no `key_group`".into()),
            (Some(_), _) => return Err("it has a `key_group`, and the state is of keys".into()),
            (None, _) if self.has_key() => group_of_key(hash_key(&key), groups),
            (None, _) => 0,
        };
        let sub_key = match (&entry.map_key, self.is_map()) {
            (Some(key), true) => self.sub_key_from(key).map_err(|why| format!("`map_key`: {why}"))?,
            (None, false) => Vec::new(),
            (None, true) => return Err("it has no `map_key`".into()),
            (Some(_), false) => return Err(format!("it has a `map_key`, and a {kind} has none")),
        };
        if self.state.ttl.is_none() && entry.updated_at.is_some() {
            return Err("it has `updated_at`, and the state has no time to live".into());
        }
        let value = match self.state.kind {
            StateKind::List => self.list_from(entry, now_ms)?,
            _ => {
                let time = match &entry.updated_at {
                    None => now_ms,
                    Some(UpdatedAt::Entry(time)) => *time,
                    Some(UpdatedAt::Elements(_)) => return Err("`updated_at`: expected one time".into()),
                };
                let value = self.value.bytes(&entry.value).map_err(|why| format!("`value`: {why}"))?;
                [self.stamp(&ttl::stamp(time)), &value].concat()
            }
        };
        if matches!(self.key, KeyForm::Timer { .. }) && sub_key.len() != TIME_BYTES {
            return Err("`map_key`: expected the time of the timer".into());
        }
        Ok(self.stored(group, EntryOwner { key: key.into(), window, sub_key: &sub_key }, value))
    }

    /// The other way round than [`EntryCodec::owner`].
    fn stored(&self, group: KeyGroup, owner: EntryOwner<'_>, value: Vec<u8>) -> EncodedEntry {
        let EntryOwner { key, window, sub_key } = owner;
        let mut key = key.into_owned();
        if let Some((start, end)) = window {
            let of_records = std::mem::take(&mut key);
            write_window_key(&mut key, &of_records, start, end);
        }
        match self.key {
            KeyForm::Timer { .. } => EncodedEntry { group, key: Vec::new(), sub_key: [sub_key, &key].concat(), value },
            _ => EncodedEntry { group, key, sub_key: sub_key.to_vec(), value },
        }
    }

    /// What a state without keys is.
    fn keyless(&self) -> &'static str {
        if self.key == KeyForm::Group { "this state" } else { "broadcast state" }
    }

    fn list_from(&self, entry: &StateEntry, now_ms: i64) -> Result<Vec<u8>, String> {
        let elements: Vec<&RawValue> =
            serde_json::from_str(entry.value.get()).map_err(|_| "`value`: expected a list of elements")?;
        if elements.is_empty() {
            return Err("`value` is an empty list, and that is no entry: leave the line out".into());
        }
        let times = match &entry.updated_at {
            None => vec![now_ms; elements.len()],
            Some(UpdatedAt::Elements(times)) if times.len() == elements.len() => times.clone(),
            Some(_) => return Err("`updated_at`: expected a list with the time of each element".into()),
        };
        let mut stored = Vec::new();
        for (index, (element, time)) in elements.into_iter().zip(times).enumerate() {
            let value = self.value.bytes(element).map_err(|why| format!("`value`, element {index}: {why}"))?;
            list::push_element(&mut stored, self.stamp(&ttl::stamp(time)), &value);
        }
        Ok(stored)
    }

    /// What stands in front of a value: its time, where the state has a time to live.
    fn stamp<'t>(&self, time: &'t [u8]) -> &'t [u8] {
        if self.state.ttl.is_some() { time } else { &[] }
    }

    fn sub_key_from(&self, key: &Value) -> Result<Vec<u8>, String> {
        match (hex_from(key), &self.sub_key) {
            (Some(bytes), _) => bytes,
            (None, Some(shape)) => shape.encode(key),
            (None, None) => Err("expected {\"hex\": ...}".into()),
        }
    }

    /// A sub-key as a person writes it in a command line or a URL: `hex:` and digits, JSON, or text for a map by strings.
    pub fn sub_key_of_argument(&self, argument: &str) -> Result<Vec<u8>, String> {
        match (&self.sub_key, serde_json::from_str(argument)) {
            (Some(MapKeyShape::String | MapKeyShape::Bytes), _) => bytes_of_argument(argument),
            _ if argument.starts_with("hex:") => bytes_of_argument(argument),
            (_, Ok(key)) => self.sub_key_from(&key),
            (Some(MapKeyShape::Char), Err(_)) => self.sub_key_from(&argument.into()),
            (_, Err(_)) => Err(format!("`{argument}` is not JSON")),
        }
        .map_err(|why| format!("the sub-key: {why}"))
    }
}

impl ValueCodec {
    fn show(&self, bytes: &[u8]) -> Result<Box<RawValue>> {
        if let ValueCodec::Json = self {
            return json_text(bytes).map_or_else(|| raw(&show_hex(bytes)), Ok);
        }
        let value = match self {
            ValueCodec::Text => Some(show_bytes(bytes)),
            ValueCodec::Internal(form) => {
                form.show(bytes).filter(|value| form.bytes(value).is_ok_and(|again| again == bytes))
            }
            // Bytes that another encoder could have written otherwise would not come back as they are.
            ValueCodec::Postcard(shape) => postcard_json::decode(shape, bytes)
                .filter(|value| hex_from(value).is_none())
                .filter(|value| postcard_json::encode(shape, value).is_ok_and(|again| again == bytes)),
            ValueCodec::Json | ValueCodec::Unknown => None,
        };
        raw(&value.unwrap_or_else(|| show_hex(bytes)))
    }

    fn bytes(&self, value: &RawValue) -> Result<Vec<u8>, String> {
        let parsed: Value = serde_json::from_str(value.get()).map_err(|error| error.to_string())?;
        if let Some(bytes) = hex_from(&parsed) {
            return bytes;
        }
        match self {
            ValueCodec::Json => Ok(value.get().as_bytes().to_vec()),
            ValueCodec::Postcard(shape) => postcard_json::encode(shape, &parsed),
            ValueCodec::Internal(form) => form.bytes(&parsed),
            ValueCodec::Text => bytes_from(&parsed).ok_or_else(|| "expected a string or {\"hex\": ...}".into()),
            ValueCodec::Unknown => {
                Err("expected {\"hex\": ...}, since the state's schema does not say its type".into())
            }
        }
    }
}

/// JSON as it is, on one line. None where the bytes are not JSON, or would be taken for bytes in hex.
fn json_text(bytes: &[u8]) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let parsed: Value = serde_json::from_str(text).ok()?;
    if hex_from(&parsed).is_some() || text.trim_ascii().len() != text.len() {
        return None;
    }
    // Line ends stand between the parts of JSON only: within strings they are escaped.
    RawValue::from_string(text.replace(['\n', '\r'], " ")).ok()
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>> {
    to_raw_value(value).map_err(|cause| error::internal(format!("an entry cannot be written as JSON: {cause}")))
}
