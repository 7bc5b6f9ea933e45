//! The watermark as state: after a restart, an operator continues with the watermark that it had reached.
//!
//! So records that were late before the restart are late after it, and functions never see time go backwards.
//!
//! The watermark belongs to the key group. Each group has its own entry, with an empty key, in an internal state, so that the
//! watermark moves with its group. After a rescale, a subtask may own groups with different watermarks. It starts with the
//! smallest, and [`GroupWatermarks`] keeps the others until the subtask has caught up. A group without an entry has no
//! watermark, since an unaligned barrier may have overtaken records before its first one. Entries are written only when a
//! snapshot is taken.
//!
//! A snapshot may be taken while due timers are being fired. The entry records that, and the restored groups first continue
//! firing.
//!
//! Durable format of an entry: the watermark, i64 little endian, then the byte 1 if timers were being fired.

use std::collections::BTreeSet;
use std::ops::Range;

use super::group_watermarks::{EventTimeProgress, GroupWatermarks, SelectedGroups};
use super::transaction::Turn;
use crate::error::{self, Result};
use crate::model::{KeyGroup, Keys, NO_TIMESTAMP};
use crate::state::internal::WATERMARK;
use crate::state::{StateChange, StateWrite};

/// Follows the watermark of a group whose due timers were being fired.
const IS_FIRING: u8 = 1;

impl Turn {
    /// Reads the watermarks of `groups` from the restored state. Sets `context.watermark` to the smallest.
    pub(super) fn restore_watermarks(&mut self, groups: Range<u32>) -> Result<()> {
        let (Some(state), Some(backend)) = (self.state_named(WATERMARK), self.backend.as_deref_mut()) else {
            return Ok(());
        };
        let keys = Keys {
            distinct: groups.clone().map(|_| &[][..]).collect(),
            groups: groups.clone().map(|group| group as KeyGroup).collect(),
            key_of: Vec::new(),
        };
        let entries = backend.load(state, &keys)?;
        let malformed = || error::state_failed("the stored watermark of a key group is malformed");
        let mut watermarks = Vec::with_capacity(keys.groups.len());
        for ((is_present, value), group) in entries.present.iter().zip(entries.values.iter()).zip(&keys.groups) {
            let (time, rest) = match is_present {
                true => value.split_first_chunk().ok_or_else(malformed)?,
                false => (&NO_TIMESTAMP.to_le_bytes(), &[][..]),
            };
            match rest {
                [] => {}
                [IS_FIRING] => drop(self.progress.interrupted.insert(*group)),
                _ => return Err(malformed()),
            }
            watermarks.push(i64::from_le_bytes(*time));
        }
        (self.context.watermark, self.progress.group_watermarks) = GroupWatermarks::new(groups.start, watermarks);
        Ok(())
    }

    /// Discards the restored watermark: all groups of the subtask start without one. Must not be called within a turn.
    pub fn reset_watermark(&mut self) -> Result<()> {
        self.context.watermark = NO_TIMESTAMP;
        self.progress.group_watermarks = GroupWatermarks::default();
        self.progress.interrupted.clear();
        self.write_watermark(NO_TIMESTAMP)
    }

    /// Returns whether the operator uses event time, so that its watermark is part of its state.
    pub fn has_watermark_state(&self) -> bool {
        self.state_named(WATERMARK).is_some()
    }

    /// Returns the watermarks of groups that are ahead of the subtask.
    pub fn group_watermarks(&mut self) -> &mut GroupWatermarks {
        &mut self.progress.group_watermarks
    }

    /// Restricts [`Turn::due_timers`] to some groups. `None` removes the restriction.
    pub fn select_groups(&mut self, selected: Option<SelectedGroups>) {
        self.progress.selected = selected;
    }

    /// Returns the distinct watermarks of the groups whose timers were being fired when their snapshot was taken, ascending.
    /// `subtask` is the watermark of the subtask.
    pub fn interrupted_watermarks(&self, subtask: i64) -> Vec<i64> {
        let EventTimeProgress { interrupted, group_watermarks, .. } = &self.progress;
        let watermarks = interrupted.iter().map(|group| group_watermarks.of(*group, subtask));
        watermarks.collect::<BTreeSet<i64>>().into_iter().collect()
    }

    /// Notes that the groups whose timers were being fired have caught up.
    pub fn clear_interrupted_groups(&mut self) {
        self.progress.interrupted.clear();
    }

    /// Notes whether some timers that the watermark made due may not have fired yet.
    pub fn set_firing(&mut self, is_firing: bool) {
        self.progress.is_firing = is_firing;
    }

    /// Writes the watermark of each group of the subtask. Call it right before a snapshot, and not within a turn. Does nothing
    /// if the operator does not use event time, or has no watermark yet.
    pub fn persist_watermark(&mut self, watermark: i64) -> Result<()> {
        if watermark == NO_TIMESTAMP { Ok(()) } else { self.write_watermark(watermark) }
    }

    fn write_watermark(&mut self, watermark: i64) -> Result<()> {
        let (Some(state), Some(backend)) = (self.state_named(WATERMARK), self.backend.as_deref_mut()) else {
            return Ok(());
        };
        let EventTimeProgress { groups, group_watermarks, interrupted, is_firing, .. } = &self.progress;
        let mut entries: Vec<(KeyGroup, Vec<u8>)> = Vec::with_capacity(groups.len());
        for group in groups.clone().map(|group| group as KeyGroup) {
            let own = group_watermarks.of(group, watermark);
            let is_group_firing = (*is_firing && own == watermark) || interrupted.contains(&group);
            let mut entry = own.to_le_bytes().to_vec();
            entry.extend(is_group_firing.then_some(IS_FIRING));
            entries.push((group, entry));
        }
        backend.apply(&mut entries.iter().map(|(group, entry)| StateWrite {
            state,
            group: *group,
            key: &[],
            sub_key: &[],
            change: StateChange::Put(entry),
        }))
    }
}
