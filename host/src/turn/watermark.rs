//! The watermark as state: an operator that waits for event time goes on from the time that it had reached, so that what was
//! late before a restart is late after it, and a function sees no time that goes back.
//!
//! Each key group has its own entry of a hidden state (its key is empty), so that it moves with its group. A subtask begins with
//! the smallest of its groups, and with none where one of them has none: what a barrier overtook may come in front of its first. It is written when a snapshot is taken, and never else.

use std::ops::Range;

use super::Turn;
use crate::error::{self, Result};
use crate::model::{KeyGroup, Keys, NO_TIMESTAMP};
use crate::state::internal::WATERMARK as NAME;
use crate::state::{Change, StateDescription, StateKind, Write};

/// The hidden state.
pub(super) fn watermark_state() -> StateDescription {
    StateDescription::new(NAME, StateKind::Value, "raw", "watermark")
}

impl Turn {
    /// The watermark that these groups had reached when the image was taken that the backend was opened with.
    pub(super) fn restored_watermark(&mut self, groups: Range<u32>) -> Result<i64> {
        let (Some(state), Some(backend)) = (self.state_named(NAME), self.backend.as_deref_mut()) else {
            return Ok(NO_TIMESTAMP);
        };
        let keys = Keys {
            distinct: groups.clone().map(|_| &[][..]).collect(),
            groups: groups.map(|group| group as KeyGroup).collect(),
            key_of: Vec::new(),
        };
        let entries = backend.load(state, &keys)?;
        let mut reached = i64::MAX;
        for (is_present, value) in entries.present.iter().zip(entries.values.iter()) {
            let time = match is_present {
                true => value.try_into().map_err(|_| error::state_failed("a watermark that is no time"))?,
                false => NO_TIMESTAMP.to_le_bytes(),
            };
            reached = reached.min(i64::from_le_bytes(time));
        }
        Ok(if entries.present.is_empty() { NO_TIMESTAMP } else { reached })
    }

    /// Writes the watermark for all groups of the subtask, right before a snapshot. Nothing where the operator does not wait for
    /// event time. No turn may be under way.
    pub fn keep_watermark(&mut self, watermark: i64) -> Result<()> {
        let (Some(state), Some(backend)) = (self.state_named(NAME), self.backend.as_deref_mut()) else { return Ok(()) };
        if watermark == NO_TIMESTAMP {
            return Ok(());
        }
        let time = watermark.to_le_bytes();
        let write =
            |group| Write { state, group: group as KeyGroup, key: &[], sub_key: &[], change: Change::Put(&time) };
        backend.apply(&mut self.groups.clone().map(write))
    }
}
