//! One entry of a state as a line of JSON, and back.
//!
//! Invariant: a shown entry can be read again to the same bytes. Must not depend on where entries are stored.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use super::bytes_json::{bytes_from, bytes_of_argument, hex_from, show_bytes, show_hex};
use super::entry::{EncodedEntry, EntryOwner, StateEntry, UpdatedAt};
use super::internal_values::{show_window, window_from};
use super::map_key::MapKeyShape;
use super::value_codec::{ValueCodec, raw_json};
use crate::error::{self, Result};
use crate::model::{Column, KeyGroup, group_of_key, hash_key};
use crate::state::internal::{self, KeyForm, read_window_key, write_window_key};
use crate::state::{StateDescription, StateKind, StateLayout, StoredEntry, list, ttl};

const TIME_BYTES: usize = size_of::<i64>();
pub(super) const WINDOW_EXPECTED: &str = "`window`: expected {\"start\": ..., \"end\": ...} or \"global\"";

/// Shows and reads the entries of one state.
pub(super) struct EntryCodec<'a> {
    operator: &'a str,
    pub state: &'a StateDescription,
    key: KeyForm,
    value: ValueCodec,
    /// `None` if the encoding of the sub-keys is unknown: then they are shown in hex.
    sub_key: Option<MapKeyShape>,
}

impl<'a> EntryCodec<'a> {
    /// `layout` contains all states of the operator.
    pub fn new(operator: &'a str, layout: &StateLayout, state: &'a StateDescription) -> EntryCodec<'a> {
        let key = KeyForm::of(layout, state);
        let map_key = match key {
            KeyForm::Timer { .. } => "ordered:i64",
            // A time, and a number that distinguishes records with the same time.
            _ if internal::JOIN_SIDES.contains(&&state.name[..]) => "ordered:(i64,u64)",
            _ => &state.map_key,
        };
        EntryCodec { operator, state, key, value: ValueCodec::of(state), sub_key: MapKeyShape::parse(map_key) }
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

    /// Returns the key and window that an entry belongs to. Errors: `checkpoint-corrupt`.
    pub fn owner<'e>(&self, entry: &StoredEntry<'e>) -> Result<EntryOwner<'e>> {
        let owned_by_window = |key: &[u8], sub_key| {
            let (key, start, end) = read_window_key(key).ok_or_else(|| self.corrupt("has no window in its key"))?;
            Ok(EntryOwner { key: key.into(), window: Some((start, end)), sub_key })
        };
        let KeyForm::Timer { .. } = self.key else {
            return match self.has_window() {
                true => owned_by_window(entry.key, entry.sub_key),
                false => Ok(EntryOwner { key: entry.key.into(), window: None, sub_key: entry.sub_key }),
            };
        };
        let (time, key) =
            entry.sub_key.split_at_checked(TIME_BYTES).ok_or_else(|| self.corrupt("is a timer without its time"))?;
        match self.has_window() {
            true => owned_by_window(key, time),
            false => Ok(EntryOwner { key: key.into(), window: None, sub_key: time }),
        }
    }

    /// Whether an entry belongs to `key` and, if given, has `sub_key`. An entry of a key group belongs to each key of the
    /// group.
    pub fn belongs_to(&self, entry: &StoredEntry<'_>, key: &[u8], sub_key: Option<&[u8]>) -> Result<bool> {
        let owner = self.owner(entry)?;
        let has_key = self.key == KeyForm::Group || *owner.key == *key;
        Ok(has_key && sub_key.is_none_or(|sub_key| owner.sub_key == sub_key))
    }

    fn corrupt(&self, defect: &str) -> error::Error {
        error::checkpoint_corrupt(format!("an entry of `{}` {defect}", self.state.name))
    }

    /// Returns an entry as JSON. Errors: `checkpoint-corrupt` if the bytes are not an entry of this state.
    pub fn show(&self, entry: StoredEntry<'_>) -> Result<StateEntry> {
        let (value, updated_at) = match self.state.kind {
            StateKind::List => self.show_list(entry.value)?,
            _ => {
                let (time, value) = self.split_update_time(entry.value)?;
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
            let (time, value) = self.split_update_time(element)?;
            values.push(self.value.show(value)?);
            times.extend(time);
        }
        Ok((raw_json(&values)?, self.state.ttl.is_some().then_some(UpdatedAt::Elements(times))))
    }

    /// Splits a stored value into its update time, if the state has a time to live, and the value itself.
    fn split_update_time<'v>(&self, stored: &'v [u8]) -> Result<(Option<i64>, &'v [u8])> {
        if self.state.ttl.is_none() {
            return Ok((None, stored));
        }
        let short = || self.corrupt("is too short for its update time");
        ttl::split(stored).map(|(time, value)| (Some(time), value)).ok_or_else(short)
    }

    /// Encodes an entry for storage with `groups` key groups. An entry of a state with a time to live that does not say when
    /// it was updated gets the time `now_ms`. The error says what is wrong with the entry.
    pub fn encode(&self, entry: &StateEntry, groups: u32, now_ms: i64) -> Result<EncodedEntry, String> {
        let kind = self.state.kind.as_str();
        if let Some(other) = entry.kind.as_ref().filter(|other| *other != kind) {
            return Err(format!("`kind` is {other:?}, but the state is a {kind}"));
        }
        let key = match (&entry.key, self.has_key()) {
            (Some(key), true) => bytes_from(key).ok_or("`key`: expected a string or {\"hex\": ...}")?,
            (None, false) => Vec::new(),
            (None, true) => return Err("`key` is missing".into()),
            (Some(_), false) => return Err(format!("unexpected `key`: {} has no keys", self.keyless_state())),
        };
        let window = match (&entry.window, self.has_window()) {
            (Some(window), true) => Some(window_from(window).ok_or(WINDOW_EXPECTED)?),
            (None, false) => None,
            (None, true) => return Err("`window` is missing".into()),
            (Some(_), false) => return Err("unexpected `window`: the state does not belong to windows".into()),
        };
        let group = self.encode_key_group(entry.key_group, &key, groups)?;
        let sub_key = match (&entry.map_key, self.is_map()) {
            (Some(key), true) => self.encode_sub_key(key).map_err(|why| format!("`map_key`: {why}"))?,
            (None, false) => Vec::new(),
            (None, true) => return Err("`map_key` is missing".into()),
            (Some(_), false) => return Err(format!("unexpected `map_key`: a {kind} has no map keys")),
        };
        if matches!(self.key, KeyForm::Timer { .. }) && sub_key.len() != TIME_BYTES {
            return Err("`map_key`: expected the time of the timer".into());
        }
        let value = self.encode_value(entry, now_ms)?;
        Ok(self.encode_owner(group, EntryOwner { key: key.into(), window, sub_key: &sub_key }, value))
    }

    fn encode_key_group(&self, group: Option<KeyGroup>, key: &[u8], groups: u32) -> Result<KeyGroup, String> {
        match (group, self.key) {
            (Some(group), KeyForm::Group) if u32::from(group) < groups => Ok(group),
            (Some(group), KeyForm::Group) => {
                Err(format!("`key_group` is {group}, but max_parallelism is only {groups}"))
            }
            (None, KeyForm::Group) => Err("`key_group` is missing".into()),
            (Some(_), _) => Err("unexpected `key_group`: the state belongs to keys".into()),
            (None, _) if self.has_key() => Ok(group_of_key(hash_key(key), groups)),
            (None, _) => Ok(0),
        }
    }

    fn encode_value(&self, entry: &StateEntry, now_ms: i64) -> Result<Vec<u8>, String> {
        if self.state.ttl.is_none() && entry.updated_at.is_some() {
            return Err("unexpected `updated_at`: the state has no time to live".into());
        }
        if self.state.kind == StateKind::List {
            return self.encode_list(entry, now_ms);
        }
        let time = match &entry.updated_at {
            None => now_ms,
            Some(UpdatedAt::Entry(time)) => *time,
            Some(UpdatedAt::Elements(_)) => return Err("`updated_at`: expected one time".into()),
        };
        let value = self.value.encode(&entry.value).map_err(|why| format!("`value`: {why}"))?;
        Ok([self.update_time_prefix(&ttl::stamp(time)), &value].concat())
    }

    /// The inverse of [`EntryCodec::owner`].
    fn encode_owner(&self, group: KeyGroup, owner: EntryOwner<'_>, value: Vec<u8>) -> EncodedEntry {
        let EntryOwner { key, window, sub_key } = owner;
        let mut key = Cow::into_owned(key);
        if let Some((start, end)) = window {
            let record_key = std::mem::take(&mut key);
            write_window_key(&mut key, &record_key, start, end);
        }
        match self.key {
            KeyForm::Timer { .. } => EncodedEntry { group, key: Vec::new(), sub_key: [sub_key, &key].concat(), value },
            _ => EncodedEntry { group, key, sub_key: sub_key.to_vec(), value },
        }
    }

    fn keyless_state(&self) -> &'static str {
        if self.key == KeyForm::Group { "this state" } else { "broadcast state" }
    }

    fn encode_list(&self, entry: &StateEntry, now_ms: i64) -> Result<Vec<u8>, String> {
        let elements: Vec<&RawValue> =
            serde_json::from_str(entry.value.get()).map_err(|_| "`value`: expected a list of elements")?;
        if elements.is_empty() {
            return Err("`value` is an empty list, which is the same as no entry: remove the line".into());
        }
        let times = match &entry.updated_at {
            None => vec![now_ms; elements.len()],
            Some(UpdatedAt::Elements(times)) if times.len() == elements.len() => times.clone(),
            Some(_) => return Err("`updated_at`: expected a list with one time for each element".into()),
        };
        let mut stored = Vec::new();
        for (index, (element, time)) in elements.into_iter().zip(times).enumerate() {
            let value = self.value.encode(element).map_err(|why| format!("`value`, element {index}: {why}"))?;
            list::push_element(&mut stored, self.update_time_prefix(&ttl::stamp(time)), &value);
        }
        Ok(stored)
    }

    /// Returns `time` if the state has a time to live, and nothing otherwise.
    fn update_time_prefix<'t>(&self, time: &'t [u8]) -> &'t [u8] {
        if self.state.ttl.is_some() { time } else { &[] }
    }

    fn encode_sub_key(&self, key: &Value) -> Result<Vec<u8>, String> {
        match (hex_from(key), &self.sub_key) {
            (Some(bytes), _) => bytes,
            (None, Some(shape)) => shape.encode(key),
            (None, None) => Err("expected {\"hex\": ...}".into()),
        }
    }

    /// Encodes a map key from a command line or a URL: `hex:` and digits, JSON, or text for a map with string keys.
    pub fn sub_key_of_argument(&self, argument: &str) -> Result<Vec<u8>, String> {
        match (&self.sub_key, serde_json::from_str(argument)) {
            (Some(MapKeyShape::String | MapKeyShape::Bytes), _) => bytes_of_argument(argument),
            _ if argument.starts_with("hex:") => bytes_of_argument(argument),
            (_, Ok(key)) => self.encode_sub_key(&key),
            (Some(MapKeyShape::Char), Err(_)) => self.encode_sub_key(&argument.into()),
            (_, Err(_)) => Err(format!("`{argument}` is not JSON")),
        }
        .map_err(|why| format!("the map key: {why}"))
    }
}
