//! The host calls `state.value-*`, for states with one value per key: values, and the accumulators of reducing and
//! aggregating states.
//!
//! Also reads the entries of any state that is not a map, as committed and overlaid with the staged writes.

use crate::model::{Column, Keys};
use crate::state::ttl::TtlRead;
use crate::state::{LoadedEntries, StateId, StateKind, TimeToLive};
use crate::turn::error::HostCallError;
use crate::turn::staged::writes::StagedChange;
use crate::turn::transaction::{Turn, backend};

const VALUES: &[StateKind] = &[StateKind::Value, StateKind::Reducing, StateKind::Aggregating];

impl Turn {
    /// Returns the stored bytes of all keys of the turn, as staged or committed.
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

    /// Returns the stored bytes of one key, as staged or committed.
    pub(super) fn load_one(&mut self, state: StateId, key: u32) -> Result<Option<Vec<u8>>, HostCallError> {
        self.check_key(key)?;
        let index = key as usize;
        let (change, staged) = self.staged[usize::from(state)].get(index);
        match change {
            StagedChange::Put => return Ok(Some(staged.to_vec())),
            StagedChange::Delete => return Ok(None),
            StagedChange::None | StagedChange::Append => {}
        }
        let mut one = Keys { groups: vec![self.keys.groups[index]], key_of: vec![0], ..Keys::default() };
        one.distinct.push(self.keys.distinct.value(index));
        let entries = backend(&mut self.backend)?.load(state, &one)?;
        if !entries.present.first().copied().unwrap_or(false) && change == StagedChange::None {
            return Ok(None);
        }
        let mut bytes = entries.values.iter().next().unwrap_or(&[]).to_vec();
        bytes.extend_from_slice(staged);
        Ok(Some(bytes))
    }

    /// `state.value-load`: returns the values of all keys of the turn.
    pub fn value_load(&mut self, state: u32) -> Result<LoadedEntries, HostCallError> {
        let state = self.check_state(state, VALUES)?;
        let entries = self.load(state)?;
        let Some(ttl) = self.ttl(state) else { return Ok(entries) };
        let stamp = self.stamp(state);
        let staged = &mut self.staged[usize::from(state)];
        read_with_ttl(&entries, ttl, self.context.processing_time, |key, read| {
            // Expired values stay: the call loads all keys, so the function may never look at this one.
            if let Some(value) = read.value.filter(|_| read.restarts_ttl) {
                staged.put(key as u32, stamp.bytes(), value);
            }
            Ok(())
        })
    }

    /// `state.value-store`: sets the value of each of `keys`.
    pub fn value_store(&mut self, state: u32, keys: &[u32], values: &Column) -> Result<(), HostCallError> {
        let state = self.check_state(state, VALUES)?;
        self.check_keys(keys, values.len())?;
        if !self.admit_write(values.bytes().len() + 16 * keys.len())? {
            return Ok(());
        }
        let stamp = self.stamp(state);
        let staged = &mut self.staged[usize::from(state)];
        keys.iter().zip(values.iter()).for_each(|(&key, value)| staged.put(key, stamp.bytes(), value));
        Ok(())
    }

    /// `state.value-clear`: removes the values of `keys`.
    pub fn value_clear(&mut self, state: u32, keys: &[u32]) -> Result<(), HostCallError> {
        let state = self.check_state(state, VALUES)?;
        self.check_keys(keys, keys.len())?;
        keys.iter().for_each(|&key| self.staged[usize::from(state)].delete(key));
        Ok(())
    }

    /// `state.value-get`: returns the value of one key.
    pub fn value_get(&mut self, state: u32, key: u32) -> Result<Option<Vec<u8>>, HostCallError> {
        let state = self.check_state(state, VALUES)?;
        let Some(stored) = self.load_one(state, key)? else { return Ok(None) };
        let Some(ttl) = self.ttl(state) else { return Ok(Some(stored)) };
        let read = ttl.read(&stored, self.context.processing_time)?;
        if let Some(value) = read.value.filter(|_| read.restarts_ttl) {
            let stamp = self.stamp(state);
            self.staged[usize::from(state)].put(key, stamp.bytes(), value);
        }
        if read.is_expired_but_returned() {
            self.staged[usize::from(state)].delete(key);
        }
        Ok(read.value.map(<[u8]>::to_vec))
    }

    /// `state.value-set`: sets the value of one key.
    pub fn value_set(&mut self, state: u32, key: u32, value: &[u8]) -> Result<(), HostCallError> {
        let state = self.check_state(state, VALUES)?;
        self.check_key(key)?;
        if !self.admit_write(value.len())? {
            return Ok(());
        }
        let stamp = self.stamp(state);
        self.staged[usize::from(state)].put(key, stamp.bytes(), value);
        Ok(())
    }
}

/// Reads stored values with a time to live, and returns those that the reader sees. Calls `on_read` with the index and the
/// result of each read.
pub(super) fn read_with_ttl(
    stored: &LoadedEntries,
    ttl: TimeToLive,
    now_ms: i64,
    mut on_read: impl FnMut(usize, &TtlRead<'_>) -> Result<(), HostCallError>,
) -> Result<LoadedEntries, HostCallError> {
    let mut visible = LoadedEntries::with_capacity(stored.present.len());
    for (index, (bytes, &is_present)) in stored.values.iter().zip(&stored.present).enumerate() {
        if !is_present {
            visible.push(None)?;
            continue;
        }
        let read = ttl.read(bytes, now_ms)?;
        on_read(index, &read)?;
        visible.push(read.value)?;
    }
    Ok(visible)
}
