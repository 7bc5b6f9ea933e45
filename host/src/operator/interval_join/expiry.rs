//! Removes expired records of an interval join when a key's timer is due.
//!
//! Invariant: one step removes at most [`REMOVED_PER_STEP`] records, so that a barrier can pass between two steps. The key's next
//! timer is registered in the same turn that removes its entry or changes it.

use std::sync::Arc;

use super::join_operator::IntervalJoin;
use super::join_state::{JoinKeyState, JoinSide, record_time};
use crate::model::{Column, Keys, TimeDomain};
use crate::operator::failure::OperatorFailure;

/// Records that are read at once.
const PAGE: usize = 64;

/// Records that one turn removes, about.
const REMOVED_PER_TURN: usize = 4096;

/// Records that one step removes, about.
pub(super) const REMOVED_PER_STEP: usize = 1 << 16;

impl IntervalJoin {
    /// Removes the expired records of these keys, as many as one step may. Registers a timer for the next record to expire.
    pub(super) fn remove_expired(&mut self, keys: &Arc<Keys>) -> Result<(), OperatorFailure> {
        let key_state = u32::from(self.key_state);
        let (mut empty, mut timers, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let mut budget = REMOVED_PER_STEP;
        for key in 0..keys.distinct.len() as u32 {
            self.runner.check_cancelled()?;
            let mut next: Option<i64> = None;
            for side in self.sides {
                if let Some(time) = self.remove_expired_of_side(keys, key, side, &mut budget)? {
                    next = Some(next.map_or(time, |next| next.min(time)));
                }
            }
            match next {
                None => empty.push(key),
                Some(time) => {
                    timers.push(key);
                    times.push(time);
                }
            }
        }
        self.runner.run_host_turn(keys, |turn| {
            turn.value_clear(key_state, &empty)?;
            turn.timer_register(TimeDomain::Event, &timers, &times)?;
            let stored = turn.value_load(key_state)?;
            let (mut changed, mut column) = (Vec::new(), Column::default());
            for (&key, &timer) in timers.iter().zip(&times) {
                if stored.present[key as usize] {
                    let state = JoinKeyState::decode(stored.values.value(key as usize))?;
                    changed.push(key);
                    JoinKeyState { timer, ..state }.encode(&mut column);
                }
            }
            Ok(turn.value_store(key_state, &changed, &column)?)
        })
    }

    /// Removes the expired records of one key and side, at most `budget`. Returns the watermark at which the next record expires,
    /// if any is left.
    fn remove_expired_of_side(
        &mut self,
        keys: &Arc<Keys>,
        key: u32,
        side: JoinSide,
        budget: &mut usize,
    ) -> Result<Option<i64>, OperatorFailure> {
        let (group, name) = (keys.groups[key as usize], keys.distinct.value(key as usize));
        let mut after: Option<Vec<u8>> = None;
        let mut last_removed = None;
        loop {
            if *budget == 0 {
                // This time is already due, so the next step continues here.
                return Ok(last_removed.or(Some(self.runner.watermark)));
            }
            let mut expired = Column::default();
            let mut next = None;
            let mut is_done = false;
            while !is_done && expired.len() < REMOVED_PER_TURN {
                let page = self.runner.backend()?.scan_map(side.state, group, name, after.as_deref(), PAGE)?;
                is_done = page.len() < PAGE;
                for (sub_key, _) in page {
                    let expires_at = side.expires_at(record_time(&sub_key)?);
                    if expires_at > self.runner.watermark {
                        (next, is_done) = (Some(expires_at), true);
                        break;
                    }
                    expired.push(&sub_key);
                    last_removed = Some(expires_at);
                    after = Some(sub_key);
                }
            }
            *budget = budget.saturating_sub(expired.len());
            self.runner.run_host_turn(keys, |turn| {
                Ok(turn.map_remove(u32::from(side.state), &vec![key; expired.len()], &expired)?)
            })?;
            if is_done {
                return Ok(next);
            }
        }
    }
}
