//! The watermark as state: an operator that waits for event time goes on from the time that it had reached, so that what was
//! late before a restart is late after it, and a function sees no time that goes back.
//!
//! Each key group has its own entry of a hidden state (its key is empty), so that it moves with its group. A subtask begins with
//! the smallest of its groups, and with none where one of them has none: what a barrier overtook may come in front of its first. It is written when a snapshot is taken, and never else.

use std::ops::Range;

use super::Turn;
use crate::error::{self, Result};
use crate::model::{KeyGroup, Keys, NO_TIMESTAMP};
use crate::state::{Change, StateDescription, StateKind, Write};

const NAME: &str = "@watermark";

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

    /// Begins anew in event time: the groups of the subtask have reached none, whatever the image says. No turn may be under way.
    pub fn forget_watermark(&mut self) -> Result<()> {
        self.context.watermark = NO_TIMESTAMP;
        self.write_watermark(NO_TIMESTAMP)
    }

    /// Whether the operator waits for event time, so that its watermark is part of its state.
    pub fn keeps_watermark(&self) -> bool {
        self.state_named(NAME).is_some()
    }

    /// Writes the watermark for all groups of the subtask, right before a snapshot. Nothing where the operator does not wait for
    /// event time. No turn may be under way.
    pub fn keep_watermark(&mut self, watermark: i64) -> Result<()> {
        if watermark == NO_TIMESTAMP { Ok(()) } else { self.write_watermark(watermark) }
    }

    fn write_watermark(&mut self, watermark: i64) -> Result<()> {
        let (Some(state), Some(backend)) = (self.state_named(NAME), self.backend.as_deref_mut()) else { return Ok(()) };
        let time = watermark.to_le_bytes();
        let write =
            |group| Write { state, group: group as KeyGroup, key: &[], sub_key: &[], change: Change::Put(&time) };
        backend.apply(&mut self.groups.clone().map(write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::manifest::StateBackendKind;
    use crate::model::TimeDomain;
    use crate::state::{self, StateOptions};
    use crate::turn::{TurnContext, timer_states};

    #[test]
    fn a_watermark_that_was_reset_does_not_come_back_with_the_next_snapshot() {
        let layout = timer_states(&[TimeDomain::Event]);
        let (kind, clock) = (StateBackendKind::Memory, SystemClock::shared());
        let options = StateOptions::empty(kind, Default::default(), layout.clone(), 4, clock);
        let backend = state::open(options).unwrap();
        let mut turn = Turn::stateful(TurnContext::default(), layout, backend).with_timers(0..4).unwrap();
        turn.keep_watermark(i64::MAX).unwrap();
        assert_eq!(turn.restored_watermark(0..4).unwrap(), i64::MAX);
        turn.forget_watermark().unwrap();
        // Before the first watermark of the new input a snapshot writes none.
        turn.keep_watermark(NO_TIMESTAMP).unwrap();
        assert_eq!(turn.restored_watermark(0..4).unwrap(), NO_TIMESTAMP);
        assert_eq!(turn.context.watermark, NO_TIMESTAMP);
    }
}
