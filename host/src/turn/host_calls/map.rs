//! The host calls `state.map-*`. Entries are ordered by the bytes of their sub-keys.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::value::read_with_ttl;
use crate::model::Column;
use crate::state::ttl::TtlRead;
use crate::state::{EntryCollector, LoadFailure, LoadedEntries, MapEntry, ScanBudget, StateId, StateKind};
use crate::turn::error::HostCallError;
use crate::turn::transaction::{Turn, backend};

const MAPS: &[StateKind] = &[StateKind::Map];

/// Minimum and maximum number of entries that a scan reads from the backend at once.
const PAGE_MIN: usize = 16;
const PAGE_MAX: usize = 256;

impl Turn {
    /// `state.map-load`: returns the entry `sub_keys[i]` of `keys[i]`, for each `i`.
    pub fn map_load(&mut self, state: u32, keys: &[u32], sub_keys: &Column) -> Result<LoadedEntries, HostCallError> {
        let state = self.check_state(state, MAPS)?;
        self.check_keys(keys, sub_keys.len())?;
        let stored = self.load_entries(state, keys, sub_keys)?;
        let Some(ttl) = self.ttl(state) else { return Ok(stored) };
        read_with_ttl(&stored, ttl, self.context.processing_time, |index, read| {
            self.stage_ttl_effect(state, keys[index], sub_keys.value(index), read)
        })
    }

    /// `state.map-store`: sets the entry `sub_keys[i]` of `keys[i]`, for each `i`.
    pub fn map_store(
        &mut self,
        state: u32,
        keys: &[u32],
        sub_keys: &Column,
        values: &Column,
    ) -> Result<(), HostCallError> {
        let state = self.check_state(state, MAPS)?;
        self.check_keys(keys, sub_keys.len())?;
        self.check_keys(keys, values.len())?;
        if !self.admit_write(sub_keys.bytes().len() + values.bytes().len() + 16 * keys.len())? {
            return Ok(());
        }
        let stamp = self.stamp(state);
        let staged = &mut self.staged_maps[usize::from(state)];
        for ((&key, sub_key), value) in keys.iter().zip(sub_keys.iter()).zip(values.iter()) {
            staged.put(key, sub_key, stamp.bytes(), value);
        }
        let mut written = keys.iter().zip(sub_keys.iter()).zip(values.iter());
        written.try_for_each(|((&key, sub_key), value)| {
            self.check_key_size(state, key, (sub_key.len() + stamp.bytes().len() + value.len(), 0))
        })
    }

    /// `state.map-remove`: removes the entry `sub_keys[i]` of `keys[i]`, for each `i`.
    pub fn map_remove(&mut self, state: u32, keys: &[u32], sub_keys: &Column) -> Result<(), HostCallError> {
        let state = self.check_state(state, MAPS)?;
        self.check_keys(keys, sub_keys.len())?;
        if !self.admit_write(sub_keys.bytes().len() + 16 * keys.len())? {
            return Ok(());
        }
        let staged = &mut self.staged_maps[usize::from(state)];
        keys.iter().zip(sub_keys.iter()).for_each(|(&key, sub_key)| staged.remove(key, sub_key));
        Ok(())
    }

    /// `state.map-clear`: removes all entries of `keys`.
    pub fn map_clear(&mut self, state: u32, keys: &[u32]) -> Result<(), HostCallError> {
        let state = self.check_state(state, MAPS)?;
        self.check_keys(keys, keys.len())?;
        keys.iter().for_each(|&key| self.staged_maps[usize::from(state)].clear(key));
        Ok(())
    }

    /// `state.map-get`: returns one entry of one key.
    pub fn map_get(&mut self, state: u32, key: u32, sub_key: &[u8]) -> Result<Option<Vec<u8>>, HostCallError> {
        let entries = self.map_load(state, &[key], &[sub_key].into_iter().collect())?;
        let is_present = entries.present.first().copied().unwrap_or(false);
        Ok(is_present.then(|| entries.values.bytes().to_vec()))
    }

    /// `state.map-put`: sets one entry of one key.
    pub fn map_put(&mut self, state: u32, key: u32, sub_key: &[u8], value: &[u8]) -> Result<(), HostCallError> {
        let state = self.check_state(state, MAPS)?;
        self.check_key(key)?;
        if !self.admit_write(sub_key.len() + value.len())? {
            return Ok(());
        }
        let stamp = self.stamp(state);
        self.staged_maps[usize::from(state)].put(key, sub_key, stamp.bytes(), value);
        self.check_key_size(state, key, (sub_key.len() + stamp.bytes().len() + value.len(), 0))
    }

    /// `state.map-scan`: returns up to `limit` entries of one key after the sub-key `after`, in order. Returns fewer only if no
    /// more entries follow.
    pub fn map_scan(
        &mut self,
        state: u32,
        key: u32,
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<MapEntry>, HostCallError> {
        let state = self.check_state(state, MAPS)?;
        self.check_key(key)?;
        let (limit, ttl, now_ms) = (limit as usize, self.ttl(state), self.context.processing_time);
        let mut found = Vec::new();
        let limits = self.limits;
        let mut budget = ScanBudget::new(limits.memory);
        let mut after = after.map(<[u8]>::to_vec);
        while found.len() < limit {
            let (page, next) = self.map_page(state, key, after.as_deref(), limit - found.len(), budget)?;
            for (sub_key, stored) in page {
                if found.len() == limit {
                    break;
                }
                let value = match ttl {
                    None => stored,
                    Some(ttl) => {
                        let read = ttl.read(&stored, now_ms)?;
                        let Some(value) = read.value else { continue };
                        self.stage_ttl_effect(state, key, &sub_key, &read)?;
                        value.to_vec()
                    }
                };
                budget.admit(&sub_key, &value).map_err(|failure| limits.read_failed(failure.into()))?;
                found.push((sub_key, value));
            }
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        Ok(found)
    }

    /// Returns the next entries of a map after the sub-key `after`, as staged or committed, and the sub-key after which the
    /// next page starts. Returns `None` instead of that sub-key after the last page.
    ///
    /// A page may have more than `wanted` entries. It may be empty although more entries follow. Fails if its first
    /// entry exceeds `budget`.
    fn map_page(
        &mut self,
        state: StateId,
        key: u32,
        after: Option<&[u8]>,
        wanted: usize,
        budget: ScanBudget,
    ) -> Result<(Vec<MapEntry>, Option<Vec<u8>>), HostCallError> {
        let limits = self.limits;
        let staged = self.staged_maps[usize::from(state)].of(key);
        let mut wanted = wanted.clamp(PAGE_MIN, PAGE_MAX);
        let committed = if staged.is_some_and(|staged| staged.is_cleared) {
            Vec::new()
        } else {
            let (group, name) = (self.keys.groups[key as usize], self.keys.distinct.value(key as usize));
            let (backend, of) = (backend(&mut self.backend)?, (state, group, name));
            let page = match backend.scan_map_within(of, after, wanted, budget) {
                // The page may be larger than what the guest wants. The next entry alone is not.
                Err(LoadFailure::TooLarge) => {
                    wanted = 1;
                    backend.scan_map_within(of, after, wanted, budget)
                }
                page => page,
            };
            page.map_err(|failure| limits.read_failed(failure))?
        };
        let next = if committed.len() < wanted { None } else { committed.last().map(|(sub_key, _)| sub_key.clone()) };
        let Some(staged) = staged else { return Ok((committed, next)) };
        let mut page: BTreeMap<Vec<u8>, Vec<u8>> = committed.into_iter().collect();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let end = next.as_deref().map_or(Bound::Unbounded, Bound::Included);
        for (sub_key, change) in staged.changes.range::<[u8], _>((start, end)) {
            match change {
                Some(value) => page.insert(sub_key.clone(), value.clone()),
                None => page.remove(sub_key),
            };
        }
        Ok((page.into_iter().collect(), next))
    }

    /// Returns the stored bytes of the entry `sub_keys[i]` of key `keys[i]`, for each `i`, as staged or committed.
    fn load_entries(
        &mut self,
        state: StateId,
        keys: &[u32],
        sub_keys: &Column,
    ) -> Result<LoadedEntries, HostCallError> {
        let limits = self.limits;
        let bytes_max = limits.read_bytes(keys.len())?;
        let entries = backend(&mut self.backend)?.load_map_within(state, &self.keys, (keys, sub_keys), bytes_max);
        let entries = entries.map_err(|failure| limits.read_failed(failure))?;
        let staged = &self.staged_maps[usize::from(state)];
        if staged.is_empty() {
            return Ok(entries);
        }
        let mut merged = EntryCollector::new(keys.len(), bytes_max);
        for (index, (&key, sub_key)) in keys.iter().zip(sub_keys.iter()).enumerate() {
            let committed = entries.present[index].then(|| entries.values.value(index));
            let entry = match staged.of(key) {
                Some(map) => map.get(sub_key).or_committed(|| committed),
                None => committed,
            };
            merged.push(entry).map_err(|failure| limits.read_failed(failure.into()))?;
        }
        Ok(merged.into_entries())
    }

    /// Stages the effect of reading an entry with a time to live. If the read restarts its time to live, writes the entry
    /// again. If the entry has expired but is returned, removes it. Charges both like any write, since a guest may read any
    /// number of entries.
    fn stage_ttl_effect(
        &mut self,
        state: StateId,
        key: u32,
        sub_key: &[u8],
        read: &TtlRead<'_>,
    ) -> Result<(), HostCallError> {
        if let Some(value) = read.value.filter(|_| read.restarts_ttl) {
            if !self.admit_write(sub_key.len() + value.len())? {
                return Ok(());
            }
            let stamp = self.stamp(state);
            self.staged_maps[usize::from(state)].put(key, sub_key, stamp.bytes(), value);
        } else if read.is_expired_but_returned() {
            if !self.admit_write(sub_key.len())? {
                return Ok(());
            }
            self.staged_maps[usize::from(state)].remove(key, sub_key);
        }
        Ok(())
    }
}
