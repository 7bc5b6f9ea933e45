//! States of one value for each key, in a turn: values, and the accumulators of reducing and aggregating states, which the
//! function folds. Also how any state that is no map is read: what is committed, overlaid with what the turn wrote.

use super::staged::StagedChange;
use super::{HostCallError, Turn, backend};
use crate::model::{Column, Keys};
use crate::state::ttl::TtlRead;
use crate::state::{LoadedEntries, StateId, StateKind, TimeToLive};

const VALUES: &[StateKind] = &[StateKind::Value, StateKind::Reducing, StateKind::Aggregating];

impl Turn {
    /// The entries of all keys, as they are or will be stored.
    pub(super) fn load(&mut self, state: StateId) -> Result<LoadedEntries, HostCallError> {
        let entries = backend(&mut self.backend)?.load(state, &self.keys)?;
        let staged = &self.staged[usize::from(state)];
        if staged.is_empty() {
            return Ok(entries);
        }
        let mut merged =
            LoadedEntries { present: entries.present.clone(), values: Column::with_capacity(entries.values.len(), 0) };
        for (key, value) in entries.values.iter().enumerate() {
            match staged.get(key) {
                (StagedChange::None, _) => merged.values.push(value),
                (StagedChange::Put, bytes) => {
                    merged.values.push(bytes);
                    merged.present[key] = true;
                }
                (StagedChange::Append, bytes) => {
                    merged.values.push_with(|buffer| {
                        buffer.extend_from_slice(value);
                        buffer.extend_from_slice(bytes);
                    });
                    merged.present[key] = true;
                }
                (StagedChange::Delete, _) => {
                    merged.values.push(&[]);
                    merged.present[key] = false;
                }
            }
        }
        Ok(merged)
    }

    /// The entry of one key, as it is or will be stored.
    pub(super) fn load_one(&mut self, state: StateId, key: u32) -> Result<Option<Vec<u8>>, HostCallError> {
        self.check_key(key)?;
        let at = key as usize;
        let (change, staged) = self.staged[usize::from(state)].get(at);
        match change {
            StagedChange::Put => return Ok(Some(staged.to_vec())),
            StagedChange::Delete => return Ok(None),
            StagedChange::None | StagedChange::Append => {}
        }
        let mut one = Keys { groups: vec![self.keys.groups[at]], key_of: vec![0], ..Keys::default() };
        one.distinct.push(self.keys.distinct.value(at));
        let entries = backend(&mut self.backend)?.load(state, &one)?;
        if !entries.present.first().copied().unwrap_or(false) && change == StagedChange::None {
            return Ok(None);
        }
        let mut bytes = entries.values.iter().next().unwrap_or(&[]).to_vec();
        bytes.extend_from_slice(staged);
        Ok(Some(bytes))
    }

    /// `state.value-load`.
    pub fn value_load(&mut self, state: u32) -> Result<LoadedEntries, HostCallError> {
        let state = self.check_state(state, VALUES)?;
        let entries = self.load(state)?;
        let Some(ttl) = self.ttl(state) else { return Ok(entries) };
        let stamp = self.stamp(state);
        let staged = &mut self.staged[usize::from(state)];
        seen(&entries, ttl, self.context.processing_time, |key, reading| {
            // What has expired stays: nobody says that the function looks at this key.
            if let Some(value) = reading.value.filter(|_| reading.restarts_ttl) {
                staged.put(key as u32, stamp.bytes(), value);
            }
            Ok(())
        })
    }

    /// `state.value-store`.
    pub fn value_store(&mut self, state: u32, keys: &[u32], values: &Column) -> Result<(), HostCallError> {
        let state = self.check_state(state, VALUES)?;
        self.check_keys(keys, values.len())?;
        self.charge(values.bytes().len() + 16 * keys.len())?;
        let stamp = self.stamp(state);
        let staged = &mut self.staged[usize::from(state)];
        keys.iter().zip(values.iter()).for_each(|(&key, value)| staged.put(key, stamp.bytes(), value));
        Ok(())
    }

    /// `state.value-clear`.
    pub fn value_clear(&mut self, state: u32, keys: &[u32]) -> Result<(), HostCallError> {
        let state = self.check_state(state, VALUES)?;
        self.check_keys(keys, keys.len())?;
        keys.iter().for_each(|&key| self.staged[usize::from(state)].delete(key));
        Ok(())
    }

    /// `state.value-get`.
    pub fn value_get(&mut self, state: u32, key: u32) -> Result<Option<Vec<u8>>, HostCallError> {
        let state = self.check_state(state, VALUES)?;
        let Some(stored) = self.load_one(state, key)? else { return Ok(None) };
        let Some(ttl) = self.ttl(state) else { return Ok(Some(stored)) };
        let reading = ttl.read(&stored, self.context.processing_time)?;
        if let Some(value) = reading.value.filter(|_| reading.restarts_ttl) {
            let stamp = self.stamp(state);
            self.staged[usize::from(state)].put(key, stamp.bytes(), value);
        }
        if reading.is_expired_but_returned() {
            self.staged[usize::from(state)].delete(key);
        }
        Ok(reading.value.map(<[u8]>::to_vec))
    }

    /// `state.value-set`.
    pub fn value_set(&mut self, state: u32, key: u32, value: &[u8]) -> Result<(), HostCallError> {
        let state = self.check_state(state, VALUES)?;
        self.check_key(key)?;
        self.charge(value.len())?;
        let stamp = self.stamp(state);
        self.staged[usize::from(state)].put(key, stamp.bytes(), value);
        Ok(())
    }
}

/// What a reader sees of stored values with a time to live; `note` gets each reading, with its index.
pub(super) fn seen(
    stored: &LoadedEntries,
    ttl: TimeToLive,
    now_ms: i64,
    mut note: impl FnMut(usize, &TtlRead<'_>) -> Result<(), HostCallError>,
) -> Result<LoadedEntries, HostCallError> {
    let mut seen = LoadedEntries::with_capacity(stored.present.len());
    for (index, (bytes, &is_present)) in stored.values.iter().zip(&stored.present).enumerate() {
        if !is_present {
            seen.push(None)?;
            continue;
        }
        let reading = ttl.read(bytes, now_ms)?;
        note(index, &reading)?;
        seen.push(reading.value)?;
    }
    Ok(seen)
}
