//! The watermark as state: an operator that waits for event time goes on from the time that it had reached, so that what was
//! late before a restart is late after it, and a function sees no time that goes back.
//!
//! The watermark belongs to the key group. Each group has its own entry of a hidden state (its key is empty), so that it moves
//! with its group. After a rescale a subtask may own groups that have reached different watermarks: it begins with the smallest,
//! and [`GroupWatermarks`] keeps the others until the subtask has caught up with them. A group without an entry has none: what a
//! barrier overtook may come in front of its first. The entries are written when a snapshot is taken, and never else.
//!
//! A snapshot may be taken while the timers that a watermark has made due are being fired. The entry says so, and the groups go
//! on with that when they are restored, before anything else. Part of the durable format: the watermark, little endian, and
//! behind it a byte where firing was in progress.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Turn;
use crate::error::{self, Result};
use crate::model::{KeyGroup, Keys, NO_TIMESTAMP};
use crate::state::internal::WATERMARK as NAME;
use crate::state::{StateChange, StateDescription, StateKind, StateWrite};

/// Behind the watermark of a group whose due timers were being fired.
const IS_FIRING: u8 = 1;

/// The watermarks of the key groups of a subtask, while any of them is ahead of the subtask's own. Empty otherwise, which is the
/// rule: a subtask that was not rescaled has one watermark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupWatermarks {
    first: u32,
    reached: Vec<i64>,
}

impl GroupWatermarks {
    /// `reached` has an entry for each group from `first` on.
    fn new(first: u32, reached: Vec<i64>) -> (i64, GroupWatermarks) {
        let smallest = reached.iter().copied().min().unwrap_or(NO_TIMESTAMP);
        let mut watermarks = GroupWatermarks { first, reached };
        watermarks.advance_to(smallest);
        (smallest, watermarks)
    }

    /// Whether all groups have reached the watermark of the subtask, and no more.
    pub fn is_empty(&self) -> bool {
        self.reached.is_empty()
    }

    /// The watermark of a group of a subtask that has reached `subtask`.
    pub fn of(&self, group: KeyGroup, subtask: i64) -> i64 {
        let place = u32::from(group).checked_sub(self.first);
        let own = place.and_then(|place| self.reached.get(place as usize));
        own.map_or(subtask, |own| subtask.max(*own))
    }

    /// The watermarks that occur in a subtask that has reached `subtask`, each once, ascending.
    pub fn distinct(&self, subtask: i64) -> Vec<i64> {
        let mut distinct: Vec<i64> = self.reached.iter().map(|own| subtask.max(*own)).chain([subtask]).collect();
        distinct.sort_unstable();
        distinct.dedup();
        distinct
    }

    /// The subtask has reached `subtask`. Forgets all where no group is ahead of that.
    pub fn advance_to(&mut self, subtask: i64) {
        if self.reached.iter().all(|own| *own <= subtask) {
            self.reached.clear();
        }
    }
}

/// The hidden state.
pub(super) fn watermark_state() -> StateDescription {
    StateDescription::new(NAME, StateKind::Value, "raw", "watermark")
}

impl Turn {
    /// Reads the watermarks that these groups had reached when the image was taken that the backend was opened with. Sets
    /// `context.watermark` to the smallest.
    pub(super) fn restore_watermarks(&mut self, groups: Range<u32>) -> Result<()> {
        let (Some(state), Some(backend)) = (self.state_named(NAME), self.backend.as_deref_mut()) else {
            return Ok(());
        };
        let keys = Keys {
            distinct: groups.clone().map(|_| &[][..]).collect(),
            groups: groups.clone().map(|group| group as KeyGroup).collect(),
            key_of: Vec::new(),
        };
        let entries = backend.load(state, &keys)?;
        let mut reached = Vec::with_capacity(keys.groups.len());
        for ((is_present, value), group) in entries.present.iter().zip(entries.values.iter()).zip(&keys.groups) {
            let (time, rest) = match is_present {
                true => value.split_first_chunk().ok_or_else(|| error::state_failed("a watermark that is no time"))?,
                false => (&NO_TIMESTAMP.to_le_bytes(), &[][..]),
            };
            match rest {
                [] => {}
                [IS_FIRING] => drop(self.interrupted.insert(*group)),
                _ => return Err(error::state_failed("a watermark that is no time")),
            }
            reached.push(i64::from_le_bytes(*time));
        }
        (self.context.watermark, self.group_watermarks) = GroupWatermarks::new(groups.start, reached);
        Ok(())
    }

    /// Begins anew in event time: the groups of the subtask have reached none, whatever the image says. No turn may be under way.
    pub fn reset_watermark(&mut self) -> Result<()> {
        self.context.watermark = NO_TIMESTAMP;
        self.group_watermarks = GroupWatermarks::default();
        self.interrupted.clear();
        self.write_watermark(NO_TIMESTAMP)
    }

    /// Whether the operator waits for event time, so that its watermark is part of its state.
    pub fn has_watermark_state(&self) -> bool {
        self.state_named(NAME).is_some()
    }

    /// The watermarks of groups that are ahead of the subtask.
    pub fn group_watermarks(&mut self) -> &mut GroupWatermarks {
        &mut self.group_watermarks
    }

    /// Restricts [`Turn::due_timers`] to some groups. None lifts the restriction.
    pub fn select_groups(&mut self, selected: Option<SelectedGroups>) {
        self.selected_groups = selected;
    }

    pub(super) fn is_selected(&self, group: KeyGroup) -> bool {
        self.selected_groups.is_none_or(|selected| {
            let is_reached = self.group_watermarks.of(group, selected.subtask) == selected.watermark;
            is_reached && (!selected.interrupted_only || self.interrupted.contains(&group))
        })
    }

    /// The watermarks of the groups whose due timers were being fired in a subtask that has reached `subtask`, ascending.
    pub fn interrupted_watermarks(&self, subtask: i64) -> Vec<i64> {
        let reached = self.interrupted.iter().map(|group| self.group_watermarks.of(*group, subtask));
        reached.collect::<BTreeSet<i64>>().into_iter().collect()
    }

    /// The groups whose due timers were being fired have caught up.
    pub fn clear_interrupted_groups(&mut self) {
        self.interrupted.clear();
    }

    /// Notes whether there may be timers left that the subtask's watermark has made due.
    pub fn set_firing(&mut self, is_firing: bool) {
        self.is_firing = is_firing;
    }

    /// Writes the watermark for all groups of the subtask, right before a snapshot; for a group that is ahead its own. Writes
    /// nothing where the operator does not wait for event time. No turn may be under way.
    pub fn persist_watermark(&mut self, watermark: i64) -> Result<()> {
        if watermark == NO_TIMESTAMP { Ok(()) } else { self.write_watermark(watermark) }
    }

    fn write_watermark(&mut self, watermark: i64) -> Result<()> {
        let (Some(state), Some(backend)) = (self.state_named(NAME), self.backend.as_deref_mut()) else { return Ok(()) };
        let mut entries: Vec<(KeyGroup, Vec<u8>)> = Vec::with_capacity(self.groups.len());
        for group in self.groups.clone().map(|group| group as KeyGroup) {
            let reached = self.group_watermarks.of(group, watermark);
            let is_firing = (self.is_firing && reached == watermark) || self.interrupted.contains(&group);
            let mut entry = reached.to_le_bytes().to_vec();
            entry.extend(is_firing.then_some(IS_FIRING));
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

/// Groups whose timers may be due: those that have reached exactly `watermark`, in a subtask that has reached `subtask`.
#[derive(Clone, Copy, Debug)]
pub struct SelectedGroups {
    pub subtask: i64,
    pub watermark: i64,
    /// Of these only the ones whose due timers were being fired when their snapshot was taken.
    pub interrupted_only: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::model::TimeDomain;
    use crate::pipeline::StateBackendKind;
    use crate::state::{self, StateOptions};
    use crate::turn::{TurnContext, timer_states};

    #[test]
    fn a_watermark_that_was_reset_does_not_come_back_with_the_next_snapshot() {
        let layout = timer_states(&[TimeDomain::Event]);
        let (kind, clock) = (StateBackendKind::Memory, SystemClock::shared());
        let options = StateOptions::empty(kind, Default::default(), layout.clone(), 4, clock);
        let backend = state::open(options).unwrap();
        let mut turn = Turn::stateful(TurnContext::default(), layout, backend).with_timers(0..4).unwrap();
        turn.persist_watermark(i64::MAX).unwrap();
        turn.restore_watermarks(0..4).unwrap();
        assert_eq!(turn.context.watermark, i64::MAX);
        turn.reset_watermark().unwrap();
        // Before the first watermark of the new input a snapshot writes none.
        turn.persist_watermark(NO_TIMESTAMP).unwrap();
        turn.restore_watermarks(0..4).unwrap();
        assert_eq!(turn.context.watermark, NO_TIMESTAMP);
    }
}
