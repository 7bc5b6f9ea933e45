//! The stored form of an interval join: records by side and time, and one entry per key.
//!
//! Everything here is part of the durable format.

use std::sync::Arc;

use crate::error::{self, Result};
use crate::model::row::RowSchema;
use crate::model::{Column, TimeDomain, time_bytes, time_of_bytes};
use crate::state::internal::{JOIN_KEPT as KEY_STATE, JOIN_SIDES as SIDES};
use crate::state::{StateDescription, StateId, StateKind, StateLayout};
use crate::turn::timer_states;

/// The internal states of an interval join. `inputs` are the rows that each input reads.
pub fn join_states(inputs: &[Option<Arc<RowSchema>>]) -> StateLayout {
    let side = |(index, name): (usize, &&str)| {
        let state = StateDescription::new(name, StateKind::Map, "raw", "record");
        let rows = inputs.get(index).cloned().flatten();
        StateDescription { map_key: "raw".into(), ..state.with_rows(vec![rows]) }
    };
    let key_state = StateDescription::new(KEY_STATE, StateKind::Value, "raw", "kept");
    SIDES.iter().enumerate().map(side).chain([key_state]).chain(timer_states(&[TimeDomain::Event])).collect()
}

/// The sub-key of a stored record: sorts by time, then by number.
pub(super) fn record_sub_key(time: i64, number: u64) -> [u8; 16] {
    let mut sub_key = [0; 16];
    sub_key[..8].copy_from_slice(&time_bytes(time));
    sub_key[8..].copy_from_slice(&number.to_be_bytes());
    sub_key
}

/// The time of a stored record. Error: `state-failed` if the sub-key is too short.
pub(super) fn record_time(sub_key: &[u8]) -> Result<i64> {
    let (time, _) =
        sub_key.split_first_chunk().ok_or_else(|| error::state_failed("a stored record of a join has no time"))?;
    Ok(time_of_bytes(*time))
}

/// The entry of a key that has stored records.
#[derive(Clone, Copy)]
pub(super) struct JoinKeyState {
    /// The number of the next record. It distinguishes records with the same time.
    pub next_number: u64,
    /// The time of the earliest registered timer.
    pub timer: i64,
}

impl JoinKeyState {
    pub(super) const EMPTY: JoinKeyState = JoinKeyState { next_number: 0, timer: i64::MAX };

    /// Error: `state-failed` if the bytes have the wrong length.
    pub(super) fn decode(bytes: &[u8]) -> Result<JoinKeyState> {
        let halves = bytes.split_first_chunk().and_then(|(number, timer)| Some((*number, timer.try_into().ok()?)));
        let (number, timer) = halves.ok_or_else(|| error::state_failed("the entry of a join's key cannot be read"))?;
        Ok(JoinKeyState { next_number: u64::from_le_bytes(number), timer: i64::from_le_bytes(timer) })
    }

    /// Appends the stored form to a column.
    pub(super) fn encode(self, column: &mut Column) {
        column.push_with(|bytes| {
            bytes.extend_from_slice(&self.next_number.to_le_bytes());
            bytes.extend_from_slice(&self.timer.to_le_bytes());
        });
    }
}

/// One of the two inputs, seen from its own records.
#[derive(Clone, Copy)]
pub(super) struct JoinSide {
    pub state: StateId,
    /// Lower bound of the other record's time minus this record's time, inclusive, in milliseconds.
    pub lower_ms: i64,
    /// Upper bound, inclusive, in milliseconds.
    pub upper_ms: i64,
}

impl JoinSide {
    /// The first and the last time at which a record of the other side joins one of this side with the given time. Returns `None`
    /// if both lie outside the range of timestamps.
    pub(super) fn join_range(self, time: i64) -> Option<(i64, i64)> {
        let [first, last] = [self.lower_ms, self.upper_ms].map(|bound| i128::from(time) + i128::from(bound));
        let (first, last) = (first.max(i64::MIN.into()), last.min(i64::MAX.into()));
        Some((first.try_into().ok()?, last.try_into().ok()?))
    }

    /// The watermark at which a record of this side expires.
    pub(super) fn expires_at(self, time: i64) -> i64 {
        time.saturating_add(self.upper_ms.max(0))
    }
}
