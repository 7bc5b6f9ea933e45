//! Joins the records of two inputs that have the same key and lie close to each other in event time, as Flink's
//! IntervalJoinOperator does.
//!
//! Each record is kept, in order of time, until the watermark says that nothing can join it any more; the other side's records
//! that an arriving one joins are found among those that are kept. Invariant: of each key that has records kept, a timer is
//! registered that is not behind the moment at which the first of them has to go. Guests see pairs, and none of this.

use std::ops::Range;
use std::sync::Arc;

use super::OperatorFailure;
use super::pairs::Found;
use super::turns::{Bad, FunctionSettings, LATE_DROPPED, Turning, Turns};
use crate::error::{self, Result};
use crate::model::{
    Batch, Column, Counters, Fault, FaultCode, Keys, NO_TIMESTAMP, TimeDomain, time_bytes, time_of_bytes,
};
use crate::pipeline::JoinInterval;
use crate::state::internal::{JOIN_KEPT as KEPT, JOIN_SIDES as SIDES};
use crate::state::{StateDescription, StateId, StateKind, StateLayout};
use crate::turn::{FIRST_INPUT, Guest, OutputBatch, Turn, timer_states};

/// Entries that are read or removed at once.
const PAGE: usize = 64;
const REMOVED_MAX: usize = 4096;
/// Entries that are removed before a barrier may come in between.
const REMOVED_IN_STEP: usize = 1 << 16;

/// The hidden states of an interval join.
pub fn join_states() -> StateLayout {
    let side = |name: &&str| {
        let state = StateDescription::new(name, StateKind::Map, "raw", "record");
        StateDescription { map_key: "raw".into(), ..state }
    };
    let kept = StateDescription::new(KEPT, StateKind::Value, "raw", "kept");
    SIDES.iter().map(side).chain([kept]).chain(timer_states(&[TimeDomain::Event])).collect()
}

/// A time and a number in bytes that sort as they do. Part of the durable format.
fn sub_key(time: i64, number: u64) -> [u8; 16] {
    let mut sub_key = [0; 16];
    sub_key[..8].copy_from_slice(&time_bytes(time));
    sub_key[8..].copy_from_slice(&number.to_be_bytes());
    sub_key
}

/// The time of a record that is kept.
fn time_of(sub_key: &[u8]) -> Result<i64> {
    let (time, _) = sub_key.split_first_chunk().ok_or_else(|| error::state_failed("a record without its time"))?;
    Ok(time_of_bytes(*time))
}

/// What is known of a key that has records kept. Part of the durable format.
#[derive(Clone, Copy)]
struct Kept {
    /// The number of the next record, which tells apart those of one time.
    next: u64,
    /// The time of the first timer that is registered.
    timer: i64,
}

impl Kept {
    const NONE: Kept = Kept { next: 0, timer: i64::MAX };

    fn read(bytes: &[u8]) -> Result<Kept> {
        let halves = bytes.split_first_chunk().and_then(|(next, timer)| Some((*next, timer.try_into().ok()?)));
        let (next, timer) =
            halves.ok_or_else(|| error::state_failed("what is known of a join's key cannot be read"))?;
        Ok(Kept { next: u64::from_le_bytes(next), timer: i64::from_le_bytes(timer) })
    }

    fn write(self, column: &mut Column) {
        column.push_with(|bytes| {
            bytes.extend_from_slice(&self.next.to_le_bytes());
            bytes.extend_from_slice(&self.timer.to_le_bytes());
        });
    }
}

/// One of the two sides.
#[derive(Clone, Copy)]
struct Side {
    state: StateId,
    /// What joins one of its records lies so far behind it, both inclusive.
    lower_ms: i64,
    upper_ms: i64,
}

impl Side {
    /// The first and the last time at which a record of this side and time is joined by one of the other; None where these lie
    /// beyond all times.
    fn joined_by(self, time: i64) -> Option<(i64, i64)> {
        let [first, last] = [self.lower_ms, self.upper_ms].map(|apart| i128::from(time) + i128::from(apart));
        let (first, last) = (first.max(i64::MIN.into()), last.min(i64::MAX.into()));
        Some((first.try_into().ok()?, last.try_into().ok()?))
    }

    /// The watermark at which a record of this side goes.
    fn goes_at(self, time: i64) -> i64 {
        time.saturating_add(self.upper_ms.max(0))
    }
}

/// An interval join in one subtask. See the module.
pub struct IntervalJoin {
    turns: Turns,
    sides: [Side; 2],
    kept: StateId,
    /// The output for late records, where somebody reads them.
    late: Option<usize>,
}

impl IntervalJoin {
    /// `turn` is stateful, with timers; its layout has [`join_states`]. Late records go to the output in front of the dead letters
    /// where `emits_late_records`, else they are counted. Error: `internal` where a state is missing.
    pub fn new(
        guest: Box<dyn Guest>,
        turn: Turn,
        settings: FunctionSettings,
        interval: JoinInterval,
        emits_late_records: bool,
        counters: Counters,
    ) -> Result<IntervalJoin> {
        let JoinInterval { lower_ms, upper_ms } = interval;
        let left = Side { state: turn.internal_state(SIDES[0])?, lower_ms, upper_ms };
        let (from_ms, to_ms) = (upper_ms.saturating_neg(), lower_ms.saturating_neg());
        let right = Side { state: turn.internal_state(SIDES[1])?, lower_ms: from_ms, upper_ms: to_ms };
        let kept = turn.internal_state(KEPT)?;
        let late = emits_late_records.then(|| settings.outputs.saturating_sub(1));
        let turn = turn.with_internal_timers();
        Ok(IntervalJoin { turns: Turns::new(guest, turn, settings, counters), sides: [left, right], kept, late })
    }

    /// The records that are neither late nor without a time; what becomes of the others.
    fn sort_out(&mut self, batch: &Batch, outputs: &mut Vec<OutputBatch>) -> Result<Vec<usize>, OperatorFailure> {
        let mut joined = Vec::with_capacity(batch.len());
        let mut late = Batch::default();
        for (at, (value, &timestamp)) in batch.values.iter().zip(&batch.timestamps).enumerate() {
            if timestamp == NO_TIMESTAMP {
                let message = "the record has no event timestamp, by which it would be joined";
                let fault = Fault::new(FaultCode::TimestampMissing, message);
                self.turns.counters.faults += 1;
                self.meet(batch, at, fault, outputs)?;
            } else if timestamp < self.turns.watermark {
                late.push(value, timestamp);
            } else {
                joined.push(at);
            }
        }
        match self.late {
            Some(index) => self.turns.emit(vec![OutputBatch { index, batch: late }], outputs),
            None if !late.is_empty() => {
                let count = late.len() as u64;
                self.turns.write(&Arc::default(), |turn| {
                    turn.count(LATE_DROPPED, count);
                    Ok(())
                })?;
                self.turns.counters.records_late += count;
            }
            None => {}
        }
        Ok(joined)
    }

    /// A record of the batch meets the disposition.
    fn meet(
        &mut self,
        batch: &Batch,
        at: usize,
        fault: Fault,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<(), OperatorFailure> {
        let bad = Bad::record(batch, at, self.turns.counters.records_in, fault);
        self.turns.dispose(bad, outputs)
    }

    /// Keeps records of a side.
    fn keep(&mut self, side: Side, batch: &Batch, keys: &Arc<Keys>, records: &[usize]) -> Result<(), OperatorFailure> {
        let kept_state = u32::from(self.kept);
        self.turns.write(keys, |turn| {
            let stored = turn.value_load(kept_state)?;
            let mut kept = vec![None; keys.distinct.len()];
            let (mut of, mut sub_keys, mut values) = (Vec::new(), Column::default(), Column::default());
            let (mut timers, mut times) = (Vec::new(), Vec::new());
            for &at in records {
                let (key, time) = (keys.key_of[at], batch.timestamps[at]);
                let place = key as usize;
                let kept = match &mut kept[place] {
                    Some(kept) => kept,
                    none if stored.present[place] => none.insert(Kept::read(stored.values.value(place))?),
                    none => none.insert(Kept::NONE),
                };
                of.push(key);
                sub_keys.push(&sub_key(time, kept.next));
                values.push(batch.values.value(at));
                let goes_at = side.goes_at(time);
                if goes_at < kept.timer || kept.next == 0 {
                    kept.timer = goes_at;
                    timers.push(key);
                    times.push(goes_at);
                }
                kept.next = kept.next.wrapping_add(1);
            }
            turn.map_store(u32::from(side.state), &of, &sub_keys, &values)?;
            turn.timer_register(TimeDomain::Event, &timers, &times)?;
            let (mut changed, mut column) = (Vec::new(), Column::default());
            for (key, kept) in (0..).zip(kept) {
                if let Some(kept) = kept {
                    changed.push(key);
                    kept.write(&mut column);
                }
            }
            Ok(turn.value_store(kept_state, &changed, &column)?)
        })
    }

    /// Finds what of the other side joins these records, from where `cursor` says and as much as one call takes.
    fn find(
        &mut self,
        (ours, other): (Side, Side),
        batch: &Batch,
        keys: &Keys,
        records: &[usize],
        cursor: &mut Cursor,
    ) -> Result<Found, OperatorFailure> {
        let limit = self.turns.settings.batch_records.max(1);
        let mut found = Found::default();
        while let Some(&at) = records.get(cursor.record) {
            let key = keys.key_of[at];
            let Some((first, last)) = ours.joined_by(batch.timestamps[at]) else {
                cursor.record += 1;
                continue;
            };
            let (group, name) = (keys.groups[key as usize], keys.distinct.value(key as usize));
            let begin = first.checked_sub(1).map(|before| sub_key(before, u64::MAX));
            let after = cursor.after.as_deref().or(begin.as_ref().map(|key| &key[..]));
            let wanted = limit.saturating_sub(found.len()).clamp(1, PAGE);
            let page = self
                .turns
                .backend()?
                .scan_map(other.state, group, name, after, wanted)
                .map_err(OperatorFailure::Error)?;
            let mut is_over = page.len() < wanted;
            for (sub_key, value) in &page {
                let time = time_of(sub_key).map_err(OperatorFailure::Error)?;
                if time > last {
                    is_over = true;
                    break;
                }
                found.push(at, key, sub_key, value, time);
            }
            cursor.after = page.into_iter().next_back().map(|(sub_key, _)| sub_key);
            if is_over {
                *cursor = Cursor { record: cursor.record + 1, after: None };
            }
            if found.is_full(limit) {
                break;
            }
        }
        Ok(found)
    }

    /// Hands pairs to the guest.
    fn join(
        &mut self,
        input: u32,
        batch: &Batch,
        keys: &Keys,
        found: &Found,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<(), OperatorFailure> {
        let received = self.turns.counters.records_in;
        self.turns.run(
            found.len(),
            outputs,
            |turns, range: Range<usize>, outputs| {
                let pairs = found.pairs(range, batch, keys, input == FIRST_INPUT);
                turns.attempt_outputs(None, outputs, |guest, turn| guest.join(turn, &pairs))
            },
            |turns, pair, fault, outputs| {
                turns.dispose(Bad::record(batch, found.record(pair), received, fault), outputs)
            },
        )
    }

    /// Removes the records of these keys that have to go, as many as one step takes, and registers a timer for the first that stays
    /// or has to go in the next step.
    fn clean(&mut self, keys: &Arc<Keys>) -> Result<(), OperatorFailure> {
        let kept_state = u32::from(self.kept);
        let (mut gone, mut timers, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let mut left = REMOVED_IN_STEP;
        for key in 0..keys.distinct.len() as u32 {
            self.turns.check_cancelled()?;
            let mut next = None;
            for side in self.sides {
                if let Some(time) = self.clean_side(keys, key, side, &mut left)? {
                    next = Some(next.map_or(time, |next: i64| next.min(time)));
                }
            }
            match next {
                None => gone.push(key),
                Some(time) => {
                    timers.push(key);
                    times.push(time);
                }
            }
        }
        self.turns.write(keys, |turn| {
            turn.value_clear(kept_state, &gone)?;
            turn.timer_register(TimeDomain::Event, &timers, &times)?;
            let stored = turn.value_load(kept_state)?;
            let (mut changed, mut column) = (Vec::new(), Column::default());
            for (&key, &timer) in timers.iter().zip(&times) {
                if stored.present[key as usize] {
                    let Kept { next, .. } = Kept::read(stored.values.value(key as usize))?;
                    changed.push(key);
                    Kept { next, timer }.write(&mut column);
                }
            }
            Ok(turn.value_store(kept_state, &changed, &column)?)
        })
    }

    /// Removes the records of a key and side that have to go, up to `left`. When the first that stays has to, where one does.
    fn clean_side(
        &mut self,
        keys: &Arc<Keys>,
        key: u32,
        side: Side,
        left: &mut usize,
    ) -> Result<Option<i64>, OperatorFailure> {
        let (group, name) = (keys.groups[key as usize], keys.distinct.value(key as usize));
        let mut after: Option<Vec<u8>> = None;
        let mut latest = None;
        loop {
            if *left == 0 {
                // Due already, so that it comes with the next step.
                return Ok(latest.or(Some(self.turns.watermark)));
            }
            let mut removed = Column::default();
            let mut stays = None;
            let mut is_over = false;
            while !is_over && removed.len() < REMOVED_MAX {
                let page = self
                    .turns
                    .backend()?
                    .scan_map(side.state, group, name, after.as_deref(), PAGE)
                    .map_err(OperatorFailure::Error)?;
                is_over = page.len() < PAGE;
                for (sub_key, _) in page {
                    let goes_at = side.goes_at(time_of(&sub_key).map_err(OperatorFailure::Error)?);
                    if goes_at > self.turns.watermark {
                        (stays, is_over) = (Some(goes_at), true);
                        break;
                    }
                    removed.push(&sub_key);
                    latest = Some(goes_at);
                    after = Some(sub_key);
                }
            }
            *left = left.saturating_sub(removed.len());
            self.turns.write(keys, |turn| {
                Ok(turn.map_remove(u32::from(side.state), &vec![key; removed.len()], &removed)?)
            })?;
            if is_over {
                return Ok(stays);
            }
        }
    }
}

/// How far the search for pairs has come.
#[derive(Default)]
struct Cursor {
    /// Index into the records.
    record: usize,
    /// Behind which entry of the other side its search goes on.
    after: Option<Vec<u8>>,
}

impl Turning for IntervalJoin {
    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn turns_mut(&mut self) -> &mut Turns {
        &mut self.turns
    }

    fn take(&mut self, input: u32, batch: Batch, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure> {
        let Some(keys) = batch.keys.clone() else {
            return Err(OperatorFailure::Error(error::internal("a join of records without keys")));
        };
        let [left, right] = self.sides;
        let (ours, other) = if input == FIRST_INPUT { (left, right) } else { (right, left) };
        let records = self.sort_out(&batch, outputs)?;
        self.keep(ours, &batch, &keys, &records)?;
        let mut cursor = Cursor::default();
        while cursor.record < records.len() {
            self.turns.check_cancelled()?;
            let found = self.find((ours, other), &batch, &keys, &records, &mut cursor)?;
            self.join(input, &batch, &keys, &found, outputs)?;
        }
        Ok(())
    }

    fn fire(&mut self, domain: TimeDomain, now: i64, _: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure> {
        let limit = self.turns.settings.batch_records;
        let due = self.turns.turn.due_timers(domain, now, limit).map_err(OperatorFailure::Error)?;
        if due.is_empty() {
            return Ok(false);
        }
        let delete = |turn: &mut Turn| Ok(turn.timer_delete(domain, &due.keys.key_of, &due.times)?);
        self.turns.write(&due.keys, delete)?;
        self.clean(&due.keys)?;
        Ok(true)
    }
}

#[cfg(test)]
#[path = "interval_join_tests.rs"]
mod tests;
