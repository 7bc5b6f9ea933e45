//! The host calls `state.value-*`, for states with one value per key: values, and the accumulators of reducing and
//! aggregating states.
//!
//! Also reads the entries of any state that is not a map, as committed and overlaid with the staged writes.

use crate::model::{Column, Keys};
use crate::state::ttl::TtlRead;
use crate::state::{EntryCollector, LoadedEntries, StateId, StateKind, TimeToLive, TooLarge};
use crate::turn::error::{HostCallError, invalid};
use crate::turn::staged::writes::{StagedChange, StagedWrites};
use crate::turn::transaction::{Turn, backend};

const VALUES: &[StateKind] = &[StateKind::Value, StateKind::Reducing, StateKind::Aggregating];

impl Turn {
    /// Returns the stored bytes of all keys of the turn, as staged or committed.
    pub(super) fn load(&mut self, state: StateId) -> Result<LoadedEntries, HostCallError> {
        let limits = self.limits;
        let bytes_max = limits.read_bytes(self.keys.distinct.len())?;
        let entries = backend(&mut self.backend)?.load_within(state, &self.keys, bytes_max);
        let entries = entries.map_err(|failure| limits.read_failed(failure))?;
        let staged = &self.staged[usize::from(state)];
        if staged.is_empty() {
            return Ok(entries);
        }
        merge_staged(&entries, staged, bytes_max).map_err(|failure| limits.read_failed(failure.into()))
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
        let limits = self.limits;
        let entries = backend(&mut self.backend)?.load_within(state, &one, limits.memory);
        let entries = entries.map_err(|failure| limits.read_failed(failure))?;
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
        keys.iter().zip(values.iter()).try_for_each(|(&key, value)| self.check_value_size(state, key, value.len()))
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
        self.check_value_size(state, key, value.len())
    }
}

/// Returns the entries overlaid with the staged writes.
fn merge_staged(entries: &LoadedEntries, staged: &StagedWrites, bytes_max: usize) -> Result<LoadedEntries, TooLarge> {
    let mut merged = EntryCollector::new(entries.present.len(), bytes_max);
    for (key, (value, &is_present)) in entries.values.iter().zip(&entries.present).enumerate() {
        match staged.get(key) {
            (StagedChange::None, _) => merged.push(is_present.then_some(value))?,
            (StagedChange::Put, bytes) => merged.push(Some(bytes))?,
            (StagedChange::Append, bytes) => merged.push_joined(value, bytes)?,
            (StagedChange::Delete, _) => merged.push(None)?,
        }
    }
    Ok(merged.into_entries())
}

/// Reads stored values with a time to live, and returns those that the reader sees. Calls `on_read` with the index and the
/// result of each read.
pub(super) fn read_with_ttl(
    stored: &LoadedEntries,
    ttl: TimeToLive,
    now_ms: i64,
    mut on_read: impl FnMut(usize, &TtlRead<'_>) -> Result<(), HostCallError>,
) -> Result<LoadedEntries, HostCallError> {
    // What is visible is not larger than what is stored.
    let mut visible = EntryCollector::new(stored.present.len(), usize::MAX);
    let too_large = |_: TooLarge| invalid("the values exceed 4 GiB");
    for (index, (bytes, &is_present)) in stored.values.iter().zip(&stored.present).enumerate() {
        if !is_present {
            visible.push(None).map_err(too_large)?;
            continue;
        }
        let read = ttl.read(bytes, now_ms)?;
        on_read(index, &read)?;
        visible.push(read.value).map_err(too_large)?;
    }
    Ok(visible.into_entries())
}
