//! Watermarks of single key groups, which differ from the subtask's watermark only for a while after a rescale.
//!
//! Plain data. `watermark.rs` reads and writes it as state.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::model::{KeyGroup, NO_TIMESTAMP};

/// The watermarks of a subtask's key groups while any of them is ahead of the subtask's own watermark. Empty otherwise: a
/// subtask that was not rescaled has one watermark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupWatermarks {
    /// The first key group of the subtask.
    first: u32,
    /// The watermark of each group, starting with `first`.
    watermarks: Vec<i64>,
}

impl GroupWatermarks {
    /// Returns the smallest watermark, and the watermarks of all groups from `first` on.
    pub(super) fn new(first: u32, watermarks: Vec<i64>) -> (i64, GroupWatermarks) {
        let smallest = watermarks.iter().copied().min().unwrap_or(NO_TIMESTAMP);
        let mut group_watermarks = GroupWatermarks { first, watermarks };
        group_watermarks.advance_to(smallest);
        (smallest, group_watermarks)
    }

    /// Returns whether no group is ahead of the subtask.
    pub fn is_empty(&self) -> bool {
        self.watermarks.is_empty()
    }

    /// Returns the watermark of a group, given the watermark of the subtask.
    pub fn of(&self, group: KeyGroup, subtask: i64) -> i64 {
        let index = u32::from(group).checked_sub(self.first);
        let own = index.and_then(|index| self.watermarks.get(index as usize));
        own.map_or(subtask, |own| subtask.max(*own))
    }

    /// Returns the distinct watermarks of all groups and of the subtask, ascending.
    pub fn distinct(&self, subtask: i64) -> Vec<i64> {
        let mut distinct: Vec<i64> = self.watermarks.iter().map(|own| subtask.max(*own)).chain([subtask]).collect();
        distinct.sort_unstable();
        distinct.dedup();
        distinct
    }

    /// Notes that the watermark of the subtask is now `subtask`. Forgets the groups' watermarks once no group is ahead.
    pub fn advance_to(&mut self, subtask: i64) {
        if self.watermarks.iter().all(|own| *own <= subtask) {
            self.watermarks.clear();
        }
    }
}

/// Selects the key groups whose timers may fire: those with exactly the watermark `watermark`.
#[derive(Clone, Copy, Debug)]
pub struct SelectedGroups {
    /// The watermark of the subtask.
    pub subtask: i64,
    /// The watermark of the selected groups.
    pub watermark: i64,
    /// Select only groups whose timers were being fired when their snapshot was taken.
    pub interrupted_only: bool,
}

/// How far the key groups of a subtask have got in event time.
#[derive(Default)]
pub(super) struct EventTimeProgress {
    /// The key groups of the subtask, if it has timers.
    pub groups: Range<u32>,
    pub group_watermarks: GroupWatermarks,
    /// Groups whose timers were being fired when their snapshot was taken, and that have not caught up yet.
    pub interrupted: BTreeSet<KeyGroup>,
    /// Whether some timers that the watermark made due may not have fired yet.
    pub is_firing: bool,
    /// The groups whose timers may fire. `None` selects all groups.
    pub selected: Option<SelectedGroups>,
}

impl EventTimeProgress {
    /// Returns whether timers of `group` may fire.
    #[inline]
    pub fn is_selected(&self, group: KeyGroup) -> bool {
        self.selected.is_none_or(|selected| {
            let has_watermark = self.group_watermarks.of(group, selected.subtask) == selected.watermark;
            has_watermark && (!selected.interrupted_only || self.interrupted.contains(&group))
        })
    }
}
