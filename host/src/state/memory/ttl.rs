//! Incremental cleanup of expired entries in the memory backend.
//!
//! Each applied turn visits a few slots of the tables and removes expired entries. Groups that a snapshot shares are
//! skipped, because modifying them would copy them.

use std::ops::Bound;
use std::sync::Arc;

use super::group_table::{GroupTable, MapEntries, SingleEntry, subtract_entry};
use crate::state::entry::StateSize;
use crate::state::ttl::ExpiryRules;

/// Slots to visit per turn, plus slots per write of the turn. More than a turn can add.
const SLOTS_PER_TURN: usize = 16;
const SLOTS_PER_WRITE: usize = 4;
/// Number of entries of one map that count as one slot.
const ENTRIES_PER_SLOT: usize = 16;

/// A cursor that walks over all slots of all groups, in an endless loop. If a table grows or shrinks meanwhile, slots may be
/// skipped or visited twice; the next round visits them again.
pub(super) struct IncrementalCleanup {
    expiry: ExpiryRules,
    /// Index of the current group.
    group: usize,
    /// Slot within the current group: first those of the single values, then those of the maps.
    slot: usize,
    /// The last visited sub-key, if the slot contains a map that is only partly visited.
    after: Option<Box<[u8]>>,
}

impl IncrementalCleanup {
    pub fn new(expiry: ExpiryRules) -> IncrementalCleanup {
        IncrementalCleanup { expiry, group: 0, slot: 0, after: None }
    }

    /// Visits the next slots, after a turn with this many writes.
    pub fn run(&mut self, writes: usize, groups: &mut [Arc<GroupTable>], size: &mut StateSize) {
        let now_ms = self.expiry.now_ms();
        for _ in 0..SLOTS_PER_TURN + SLOTS_PER_WRITE * writes {
            // `get_mut` returns `None` for a group that a snapshot shares.
            let group = groups.get_mut(self.group).and_then(Arc::get_mut);
            let is_group_done = group.is_none_or(|group| !self.visit_slot(group, now_ms, size));
            if is_group_done {
                (self.group, self.slot, self.after) = ((self.group + 1) % groups.len().max(1), 0, None);
            }
        }
    }

    /// Visits one slot. Returns false after the last slot of the group.
    fn visit_slot(&mut self, group: &mut GroupTable, now_ms: i64, size: &mut StateSize) -> bool {
        let singles = group.singles.num_buckets();
        if self.slot < singles {
            self.visit_single(group, now_ms, size);
            self.slot += 1;
            return true;
        }
        let is_map_done = match group.maps.get_bucket_entry(self.slot - singles) {
            Ok(mut map) => {
                let is_done = self.visit_map(map.get_mut(), now_ms, size);
                if map.get().entries.is_empty() {
                    map.remove();
                }
                is_done
            }
            Err(_) => true,
        };
        if is_map_done {
            self.after = None;
            self.slot += 1;
        }
        self.slot < singles + group.maps.num_buckets()
    }

    fn visit_single(&self, group: &mut GroupTable, now_ms: i64, size: &mut StateSize) {
        let Ok(mut entry) = group.singles.get_bucket_entry(self.slot) else { return };
        let SingleEntry { state, key, value } = entry.get_mut();
        match self.expiry.unexpired(*state, value, now_ms).map(<[u8]>::len) {
            None => {
                subtract_entry(size, key, &[], value);
                entry.remove();
            }
            Some(unexpired) if unexpired < value.len() => {
                let expired = value.len() - unexpired;
                value.drain(..expired);
                size.bytes -= expired as u64;
            }
            Some(_) => {}
        }
    }

    /// Visits the next entries of a map. Returns true after the last entry.
    fn visit_map(&mut self, map: &mut MapEntries, now_ms: i64, size: &mut StateSize) -> bool {
        let MapEntries { state, key, entries } = map;
        if !self.expiry.has_ttl(*state) {
            return true;
        }
        let start = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = entries.range::<[u8], _>((start, Bound::Unbounded)).take(ENTRIES_PER_SLOT);
        let (mut visited, mut last, mut expired) = (0, None, Vec::new());
        for (sub_key, value) in next {
            (visited, last) = (visited + 1, Some(sub_key));
            if self.expiry.unexpired(*state, value, now_ms).is_none() {
                expired.push(sub_key.clone());
            }
        }
        self.after = last.cloned();
        for sub_key in expired {
            if let Some(value) = entries.remove(&sub_key) {
                subtract_entry(size, key, &sub_key, &value);
            }
        }
        visited < ENTRIES_PER_SLOT
    }
}
