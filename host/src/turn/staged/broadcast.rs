//! The broadcast states of an operator, and the staged writes to them.
//!
//! Invariant: only turns of the broadcast input write, so that the state is identical in every subtask.

use std::collections::BTreeMap;

use super::writes::StagedMap;
use crate::state::{BroadcastState, MapEntry, ScanBudget, TooLarge};

/// Committed broadcast states and staged writes.
pub(in crate::turn) struct StagedBroadcast {
    /// The committed states.
    pub state: BroadcastState,
    /// Whether the current turn may write.
    pub is_writable: bool,
    /// The staged writes of each state.
    pub staged: Vec<StagedMap>,
}

impl StagedBroadcast {
    pub fn new(state: BroadcastState) -> StagedBroadcast {
        let staged = state.layout().iter().map(|_| StagedMap::default()).collect();
        StagedBroadcast { state, is_writable: false, staged }
    }

    /// Returns the value under a sub-key, as staged or committed.
    pub fn get(&self, map: usize, sub_key: &[u8]) -> Option<&[u8]> {
        self.staged.get(map)?.get(sub_key).or_committed(|| self.state.get(map, sub_key))
    }

    /// Returns up to `limit` entries after the sub-key `after`, as staged or committed. They must not exceed the budget.
    pub fn scan(
        &self,
        map: usize,
        after: Option<&[u8]>,
        limit: usize,
        mut budget: ScanBudget,
    ) -> Result<Vec<MapEntry>, TooLarge> {
        let Some(staged) = self.staged.get(map) else { return Ok(Vec::new()) };
        let mut copied = |(sub_key, value): (&[u8], &[u8])| {
            budget.admit(sub_key, value)?;
            Ok((sub_key.to_vec(), value.to_vec()))
        };
        let committed = self.state.range(map, after).filter(|_| !staged.is_cleared);
        if staged.changes.is_empty() {
            return committed.take(limit).map(&mut copied).collect();
        }
        // Merges the whole map. Turns rarely scan a map that they write, and broadcast state is small.
        let mut merged: BTreeMap<&[u8], Option<&[u8]>> = committed.map(|(key, value)| (key, Some(value))).collect();
        let changes = staged.changes.iter().map(|(sub_key, change)| (sub_key.as_slice(), change.as_deref()));
        merged.extend(changes.filter(|(sub_key, _)| after.is_none_or(|after| *sub_key > after)));
        let entries = merged.into_iter().filter_map(|(sub_key, value)| Some((sub_key, value?)));
        entries.take(limit).map(copied).collect()
    }

    /// Applies the staged writes.
    pub fn commit(&mut self) {
        for (map, staged) in self.staged.iter_mut().enumerate() {
            let StagedMap { is_cleared, changes, .. } = std::mem::take(staged);
            if is_cleared {
                self.state.clear(map);
            }
            changes.into_iter().for_each(|(sub_key, change)| self.state.write(map, sub_key, change));
        }
    }

    /// Discards the staged writes, and forbids writes until a turn allows them. Turns of timers, for example, never do.
    pub fn reset(&mut self) {
        self.is_writable = false;
        self.staged.iter_mut().for_each(|staged| *staged = StagedMap::default());
    }
}
