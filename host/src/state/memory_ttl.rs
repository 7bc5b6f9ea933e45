//! Drops from the memory backend what has expired, a few entries at a time: with each turn that is applied, and never from a
//! group that a snapshot shares.

use std::ops::Bound;
use std::sync::Arc;

use super::StateSize;
use super::memory::{Group, Map, Single, forget};
use super::ttl::Expiry;

/// Slots that are looked at for expired entries with each turn, and with each of its writes: more than a turn can add.
const SLOTS_PER_TURN: usize = 16;
const SLOTS_PER_WRITE: usize = 4;
/// Entries of one map that count as a slot.
const ENTRIES_PER_SLOT: usize = 16;

/// Walks round all slots of all groups and drops what has expired. A table that grows or shrinks meanwhile may have slots
/// that are passed over or met twice; the next round meets them.
pub(super) struct CleanUp {
    expiry: Expiry,
    group: usize,
    /// Within the group's singles, then behind them its maps.
    slot: usize,
    /// Within the slot's map: the sub-key that was looked at last.
    after: Option<Box<[u8]>>,
}

impl CleanUp {
    pub fn new(expiry: Expiry) -> CleanUp {
        CleanUp { expiry, group: 0, slot: 0, after: None }
    }

    /// Goes some slots on, after a turn of so many writes.
    pub fn step(&mut self, writes: usize, groups: &mut [Arc<Group>], size: &mut StateSize) {
        let now_ms = self.expiry.now_ms();
        for _ in 0..SLOTS_PER_TURN + SLOTS_PER_WRITE * writes {
            // To write to a group that a snapshot shares would copy it.
            let group = groups.get_mut(self.group).and_then(Arc::get_mut);
            let is_done = group.is_none_or(|group| !self.visit(group, now_ms, size));
            if is_done {
                (self.group, self.slot, self.after) = ((self.group + 1) % groups.len().max(1), 0, None);
            }
        }
    }

    /// Looks at one slot; false behind the last one.
    fn visit(&mut self, group: &mut Group, now_ms: i64, size: &mut StateSize) -> bool {
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

    fn visit_single(&self, group: &mut Group, now_ms: i64, size: &mut StateSize) {
        let Ok(mut entry) = group.singles.get_bucket_entry(self.slot) else { return };
        let Single { state, key, value } = entry.get_mut();
        match self.expiry.living(*state, value, now_ms).map(<[u8]>::len) {
            None => {
                forget(size, key, &[], value);
                entry.remove();
            }
            Some(living) if living < value.len() => {
                let expired = value.len() - living;
                value.drain(..expired);
                size.bytes -= expired as u64;
            }
            Some(_) => {}
        }
    }

    /// Looks at the next entries of a map; true behind the last one.
    fn visit_map(&mut self, map: &mut Map, now_ms: i64, size: &mut StateSize) -> bool {
        let Map { state, key, entries } = map;
        if !self.expiry.has_ttl(*state) {
            return true;
        }
        let start = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = entries.range::<[u8], _>((start, Bound::Unbounded)).take(ENTRIES_PER_SLOT);
        let (mut seen, mut last, mut expired) = (0, None, Vec::new());
        for (sub_key, value) in next {
            (seen, last) = (seen + 1, Some(sub_key));
            if self.expiry.living(*state, value, now_ms).is_none() {
                expired.push(sub_key.clone());
            }
        }
        self.after = last.cloned();
        for sub_key in expired {
            if let Some(value) = entries.remove(&sub_key) {
                forget(size, key, &sub_key, &value);
            }
        }
        seen < ENTRIES_PER_SLOT
    }
}
