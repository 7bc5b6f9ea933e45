//! Limits the size of one state of one key: `limits.state_per_key` and `limits.list_elements`.
//!
//! A function appends to a list and puts into a map without reading it, so the size of what is stored is not known. Reading it for
//! each write would cost too much, and so would storing the size of each key. Therefore:
//!
//! 1. A write of `n` bytes looks at the stored list or map with the probability `64 * n / limit`. So it is likely to be looked at
//!    when it has 1/64 of the limit, and practically always before it reaches the limit.
//! 2. The size of one that has at least 1/256 of its limit is *known* from then on: each commit adds what it wrote. Writes that
//!    replace entries make this an upper bound.
//! 3. If the known size and the staged writes exceed the limit, the stored size is measured again. Only a measured size is a fault.
//!
//! Small lists and maps, that is nearly all, cost one random number per write. Knowledge ends with the attempt.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::HostCallError;
use super::known_sizes::KeySize;
use super::staged::writes::{StagedChange, StagedMapEntry};
use super::transaction::{Turn, backend};
use crate::escape::shown;
use crate::model::{Fault, FaultCode, Keys};
use crate::pipeline::LimitKey;
use crate::state::{LoadFailure, ScanBudget, StateId, StateKind, list};

/// Number of entries that are read from the backend at once.
const PAGE: usize = 256;

fn hash(state: StateId, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, u64::from(state))
}

impl Turn {
    /// Checks the size of a value.
    #[inline]
    pub(super) fn check_value_size(&self, state: StateId, key: u32, bytes: usize) -> Result<(), HostCallError> {
        match bytes <= self.limits.state_per_key {
            true => Ok(()),
            false => Err(self.key_exceeded(state, key, LimitKey::StatePerKey)),
        }
    }

    /// Checks the size of a list or a map of one key after a write to it was staged. `bytes` and `elements` are those of the write.
    #[inline]
    pub(super) fn check_key_size(
        &mut self,
        state: StateId,
        key: u32,
        (bytes, elements): (usize, usize),
    ) -> Result<(), HostCallError> {
        let written = KeySize { bytes: bytes as u64, elements: elements as u64 };
        let limits = self.key_limits();
        let looks = self.key_sizes.decides_to_look(written);
        let staged = self.staged_size(state, key);
        let is_large = staged.bytes > limits.0 || staged.elements > limits.1;
        if !looks && !is_large && self.key_sizes.is_empty() {
            return Ok(());
        }
        self.look_at_key_size(state, key, looks || is_large)
    }

    /// Compares the size of a list or a map with its limits. Measures the stored part if `looks`, or if its known size is too
    /// large.
    #[cold]
    fn look_at_key_size(&mut self, state: StateId, key: u32, looks: bool) -> Result<(), HostCallError> {
        let limits = self.key_limits();
        let hash = hash(state, self.keys.distinct.value(key as usize));
        let staged = self.staged_size(state, key);
        let fits = |size: KeySize| size.bytes <= limits.0 && size.elements <= limits.1;
        let known = self.key_sizes.known.get(&hash).copied();
        if known.is_some_and(|known| fits(known.add(staged))) || (known.is_none() && !looks) {
            return Ok(());
        }
        let (committed, total) = self.measure(state, key)?;
        self.key_sizes.learn(hash, committed, limits);
        match (total.bytes <= limits.0, total.elements <= limits.1) {
            (true, true) => Ok(()),
            (false, _) => Err(self.key_exceeded(state, key, LimitKey::StatePerKey)),
            (true, false) => Err(self.key_exceeded(state, key, LimitKey::ListElements)),
        }
    }

    /// Bytes and elements that one state of one key may have.
    fn key_limits(&self) -> (u64, u64) {
        (self.limits.state_per_key as u64, self.limits.list_elements as u64)
    }

    /// Returns the size of what is staged for a key: an upper bound for a map.
    fn staged_size(&self, state: StateId, key: u32) -> KeySize {
        let index = usize::from(state);
        match self.layout[index].kind {
            StateKind::Map => {
                let bytes = self.staged_maps[index].of(key).map_or(0, |map| map.put_bytes);
                KeySize { bytes: bytes as u64, elements: 0 }
            }
            _ => {
                let (_, bytes) = self.staged[index].get(key as usize);
                KeySize { bytes: bytes.len() as u64, elements: self.staged[index].elements(key) }
            }
        }
    }

    /// Returns the committed size of a list or a map, and its size after the staged writes. Stops when it is too large.
    fn measure(&mut self, state: StateId, key: u32) -> Result<(KeySize, KeySize), HostCallError> {
        match self.layout[usize::from(state)].kind {
            StateKind::Map => self.measure_map(state, key),
            _ => self.measure_list(state, key),
        }
    }

    fn measure_list(&mut self, state: StateId, key: u32) -> Result<(KeySize, KeySize), HostCallError> {
        let staged = self.staged_size(state, key);
        let (change, _) = self.staged[usize::from(state)].get(key as usize);
        if change != StagedChange::Append {
            return Ok((KeySize::default(), staged));
        }
        let mut one = Keys { groups: vec![self.keys.groups[key as usize]], key_of: vec![0], ..Keys::default() };
        one.distinct.push(self.keys.distinct.value(key as usize));
        let committed = match backend(&mut self.backend)?.load_within(state, &one, self.limits.state_per_key) {
            Ok(entries) => {
                let stored = entries.values.bytes();
                KeySize { bytes: stored.len() as u64, elements: list::elements(stored).count() as u64 }
            }
            // Large enough to be too large, whatever is staged.
            Err(LoadFailure::TooLarge) => KeySize { bytes: self.limits.state_per_key as u64 + 1, elements: 0 },
            Err(LoadFailure::Error(error)) => return Err(error.into()),
        };
        Ok((committed, committed.add(staged)))
    }

    fn measure_map(&mut self, state: StateId, key: u32) -> Result<(KeySize, KeySize), HostCallError> {
        let (mut committed, mut total) = (0, 0);
        let staged = self.staged_maps[usize::from(state)].of(key);
        if let Some(staged) = staged {
            let puts = staged.changes.iter().filter_map(|(sub_key, value)| Some(sub_key.len() + value.as_ref()?.len()));
            total = puts.sum();
        }
        let is_cleared = staged.is_some_and(|staged| staged.is_cleared);
        let (group, name) = (self.keys.groups[key as usize], self.keys.distinct.value(key as usize));
        let backend = backend(&mut self.backend)?;
        let mut after: Option<Vec<u8>> = None;
        // A page may have more bytes than the limit: then its first entries do, too, or the next page is smaller.
        while !is_cleared && total <= self.limits.state_per_key {
            let budget = ScanBudget::new(self.limits.state_per_key.saturating_mul(2).saturating_add(PAGE << 10));
            let page = match backend.scan_map_within((state, group, name), after.as_deref(), PAGE, budget) {
                Ok(page) => page,
                Err(LoadFailure::TooLarge) => {
                    total = usize::MAX;
                    break;
                }
                Err(LoadFailure::Error(error)) => return Err(error.into()),
            };
            for (sub_key, value) in &page {
                let bytes = sub_key.len() + value.len();
                let is_kept = staged.is_none_or(|map| matches!(map.get(sub_key), StagedMapEntry::Unchanged));
                committed += bytes;
                total += if is_kept { bytes } else { 0 };
            }
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => break,
            }
        }
        let size = |bytes: usize| KeySize { bytes: bytes as u64, elements: 0 };
        Ok((size(committed), size(total)))
    }

    /// Adds the staged writes to the known sizes. Called right before they are reset after a commit.
    pub(super) fn update_key_sizes(&mut self) {
        if self.key_sizes.is_empty() {
            return;
        }
        let (keys, sizes) = (self.keys.clone(), &mut self.key_sizes.known);
        for (state, (staged, maps)) in self.staged.iter().zip(&self.staged_maps).enumerate() {
            let hash = |key: u32| hash(state as StateId, keys.distinct.value(key as usize));
            for &key in staged.touched().iter().filter(|_| self.layout[state].kind == StateKind::List) {
                let (change, bytes) = staged.get(key as usize);
                let written = KeySize { bytes: bytes.len() as u64, elements: staged.elements(key) };
                match change {
                    StagedChange::Append => drop(sizes.entry(hash(key)).and_modify(|size| *size = size.add(written))),
                    StagedChange::Put => drop(sizes.entry(hash(key)).and_modify(|size| *size = written)),
                    StagedChange::Delete => drop(sizes.remove(&hash(key))),
                    StagedChange::None => {}
                }
            }
            for (key, map) in maps.touched() {
                let written = KeySize { bytes: map.put_bytes as u64, elements: 0 };
                let before = |size: KeySize| if map.is_cleared { KeySize::default() } else { size };
                sizes.entry(hash(key)).and_modify(|size| *size = before(*size).add(written));
            }
        }
    }

    fn key_exceeded(&self, state: StateId, key: u32, limit: LimitKey) -> HostCallError {
        let name = &self.layout[usize::from(state)].name;
        let key = shown(self.keys.distinct.value(key as usize));
        let what = match limit {
            LimitKey::ListElements => format!("{} elements", self.limits.list_elements),
            limit => limit.format(self.limits.state_per_key as u64),
        };
        HostCallError::LimitExceeded(Fault::new(
            FaultCode::StateExceeded,
            format!("state `{name}` of key `{key}` would exceed {limit}, {what}"),
        ))
    }
}
