//! The interval join of one subtask: stores arriving records, finds their pairs and hands these to the guest.

use std::sync::Arc;

use super::join_state::{JoinKeyState, JoinSide, record_sub_key, record_time};
use super::matched_pairs::MatchedPairs;
use crate::error::{self, Result};
use crate::model::row::RowSchema;
use crate::model::{Batch, Column, Counters, Fault, FaultCode, Keys, NO_TIMESTAMP, TimeDomain};
use crate::operator::failure::OperatorFailure;
use crate::operator::faults::dead_letter::PairedRecord;
use crate::operator::faults::fault_policy::FailedItem;
use crate::operator::late_records::LateRecordHandling;
use crate::operator::turn_runner::runner::{FunctionSettings, TurnRunner};
use crate::operator::turn_runner::turn_driven::TurnDriven;
use crate::pipeline::JoinInterval;
use crate::state::StateId;
use crate::state::internal::{JOIN_KEPT as KEY_STATE, JOIN_SIDES as SIDES};
use crate::turn::{FIRST_INPUT, Guest, OutputBatch, Turn};

/// Stored records that are read at once.
const PAGE: usize = 64;

/// An interval join in one subtask.
pub struct IntervalJoin {
    pub(super) runner: TurnRunner,
    /// The left and the right side.
    pub(super) sides: [JoinSide; 2],
    /// The state with one entry per key.
    pub(super) key_state: StateId,
    late_records: LateRecordHandling,
    /// The schemas of the last batches of the left and the right side, for dead letters.
    schemas: [Option<Arc<RowSchema>>; 2],
}

/// How far the search for pairs has come.
#[derive(Default)]
struct PairSearchCursor {
    /// Index into the records that take part.
    record: usize,
    /// The search continues after this sub-key of the other side.
    after: Option<Vec<u8>>,
}

impl IntervalJoin {
    /// `turn` is stateful and has timers; its layout contains [`join_states`](super::join_states). If `emits_late_records`, late
    /// records go to the output for late records, otherwise they are counted. Error: `internal` if a state is missing.
    pub fn new(
        guest: Box<dyn Guest>,
        turn: Turn,
        settings: FunctionSettings,
        interval: JoinInterval,
        emits_late_records: bool,
        counters: Counters,
    ) -> Result<IntervalJoin> {
        let JoinInterval { lower_ms, upper_ms } = interval;
        let left = JoinSide { state: turn.internal_state(SIDES[0])?, lower_ms, upper_ms };
        let (from_ms, to_ms) = (upper_ms.saturating_neg(), lower_ms.saturating_neg());
        let right = JoinSide { state: turn.internal_state(SIDES[1])?, lower_ms: from_ms, upper_ms: to_ms };
        let key_state = turn.internal_state(KEY_STATE)?;
        let late_records = LateRecordHandling::new(emits_late_records);
        let runner = TurnRunner::new(guest, turn.with_internal_timers(), settings, counters);
        Ok(IntervalJoin { runner, sides: [left, right], key_state, late_records, schemas: [None, None] })
    }

    /// Returns the records that take part in the join. Handles late records and those without a timestamp.
    fn split_off_late(
        &mut self,
        input: u32,
        batch: &Batch,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<Vec<usize>, OperatorFailure> {
        let mut joined = Vec::with_capacity(batch.len());
        let mut late = Vec::new();
        for (index, &timestamp) in batch.timestamps.iter().enumerate() {
            if timestamp == NO_TIMESTAMP {
                let message = "the record has no event timestamp; an interval join needs one";
                let fault = Fault::new(FaultCode::TimestampMissing, message);
                self.runner.counters.faults += 1;
                let item = FailedItem::record(input, batch, index, self.runner.counters.records_in, fault);
                self.runner.apply_fault_policy(item, outputs)?;
            } else if timestamp < self.runner.watermark {
                late.push(index as u32);
            } else {
                joined.push(index);
            }
        }
        if !late.is_empty() {
            let late_records = self.late_records;
            if matches!(late_records, LateRecordHandling::Count) {
                self.runner.run_host_turn(&Arc::default(), |turn| {
                    late_records.stage_metric(turn, late.len());
                    Ok(())
                })?;
            }
            late_records.after_commit(&mut self.runner, batch, &late, outputs);
        }
        Ok(joined)
    }

    /// Stores records of a side, and registers a timer for the first of each key to expire.
    fn store(
        &mut self,
        side: JoinSide,
        batch: &Batch,
        keys: &Arc<Keys>,
        records: &[usize],
    ) -> Result<(), OperatorFailure> {
        let key_state = u32::from(self.key_state);
        self.runner.run_host_turn(keys, |turn| {
            let stored = turn.value_load(key_state)?;
            let mut states = vec![None; keys.distinct.len()];
            let (mut record_keys, mut sub_keys, mut values) = (Vec::new(), Column::default(), Column::default());
            let (mut timers, mut times) = (Vec::new(), Vec::new());
            for &record in records {
                let (key, time) = (keys.key_of[record], batch.timestamps[record]);
                let index = key as usize;
                let state = match &mut states[index] {
                    Some(state) => state,
                    none if stored.present[index] => none.insert(JoinKeyState::decode(stored.values.value(index))?),
                    none => none.insert(JoinKeyState::EMPTY),
                };
                record_keys.push(key);
                sub_keys.push(&record_sub_key(time, state.next_number));
                values.push(batch.values.value(record));
                let expires_at = side.expires_at(time);
                if expires_at < state.timer || state.next_number == 0 {
                    state.timer = expires_at;
                    timers.push(key);
                    times.push(expires_at);
                }
                state.next_number = state.next_number.wrapping_add(1);
            }
            turn.map_store(u32::from(side.state), &record_keys, &sub_keys, &values)?;
            turn.timer_register(TimeDomain::Event, &timers, &times)?;
            let (mut changed, mut column) = (Vec::new(), Column::default());
            for (key, state) in (0..).zip(states) {
                if let Some(state) = state {
                    changed.push(key);
                    state.encode(&mut column);
                }
            }
            Ok(turn.value_store(key_state, &changed, &column)?)
        })
    }

    /// Finds pairs of these records and the stored records of the other side. Starts at `cursor`, advances it, and stops when
    /// there are enough pairs for one guest call.
    fn find_pairs(
        &mut self,
        (own, other): (JoinSide, JoinSide),
        batch: &Batch,
        keys: &Keys,
        records: &[usize],
        cursor: &mut PairSearchCursor,
    ) -> Result<MatchedPairs, OperatorFailure> {
        let limit = self.runner.settings.batch_records.max(1);
        let mut pairs = MatchedPairs::default();
        while let Some(&record) = records.get(cursor.record) {
            let key = keys.key_of[record];
            let Some((first, last)) = own.join_range(batch.timestamps[record]) else {
                cursor.record += 1;
                continue;
            };
            let (group, name) = (keys.groups[key as usize], keys.distinct.value(key as usize));
            let before_first = first.checked_sub(1).map(|before| record_sub_key(before, u64::MAX));
            let after = cursor.after.as_deref().or(before_first.as_ref().map(|key| &key[..]));
            let wanted = limit.saturating_sub(pairs.len()).clamp(1, PAGE);
            let page = self.runner.backend()?.scan_map(other.state, group, name, after, wanted)?;
            let mut is_done = page.len() < wanted;
            for (sub_key, value) in &page {
                let time = record_time(sub_key)?;
                if time > last {
                    is_done = true;
                    break;
                }
                pairs.push(record, key, sub_key, value, time);
            }
            cursor.after = page.into_iter().next_back().map(|(sub_key, _)| sub_key);
            if is_done {
                *cursor = PairSearchCursor { record: cursor.record + 1, after: None };
            }
            if pairs.is_full(limit) {
                break;
            }
        }
        Ok(pairs)
    }

    /// Hands pairs to the guest. A pair that it fails on reaches the fault policy as its arriving record,
    /// with the stored one beside it.
    fn join_pairs(
        &mut self,
        input: u32,
        batch: &Batch,
        keys: &Keys,
        pairs: &MatchedPairs,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<(), OperatorFailure> {
        let records_before = self.runner.counters.records_in;
        let position = self.runner.turn.positions.events;
        let other_schema = self.schemas[usize::from(input == FIRST_INPUT)].as_deref();
        self.runner.run_items(
            pairs.len(),
            outputs,
            |runner, range, outputs| {
                runner.turn.context.position = position + range.start as u64;
                let columns = pairs.columns(range, batch, keys, input == FIRST_INPUT);
                runner.run_turn_and_emit(None, outputs, |guest, turn| guest.join(turn, &columns))
            },
            |runner, pair, fault, outputs| {
                let (value, timestamp) = pairs.stored(pair);
                let joined_with = Some(PairedRecord { timestamp, value, schema: other_schema });
                let record = FailedItem::record(input, batch, pairs.arriving(pair), records_before, fault);
                let item = FailedItem { joined_with, ..record };
                runner.apply_fault_policy(item, outputs)
            },
        )?;
        self.runner.turn.positions.events += pairs.len() as u64;
        Ok(())
    }
}

impl TurnDriven for IntervalJoin {
    fn runner(&self) -> &TurnRunner {
        &self.runner
    }

    fn runner_mut(&mut self) -> &mut TurnRunner {
        &mut self.runner
    }

    fn process_batch(
        &mut self,
        input: u32,
        batch: Batch,
        outputs: &mut Vec<OutputBatch>,
    ) -> Result<(), OperatorFailure> {
        let Some(keys) = batch.keys.clone() else {
            return Err(error::internal("an interval join received records without keys").into());
        };
        let [left, right] = self.sides;
        let (own, other) = if input == FIRST_INPUT { (left, right) } else { (right, left) };
        self.schemas[usize::from(input != FIRST_INPUT)].clone_from(&batch.schema);
        let records = self.split_off_late(input, &batch, outputs)?;
        self.store(own, &batch, &keys, &records)?;
        let mut cursor = PairSearchCursor::default();
        while cursor.record < records.len() {
            self.runner.check_cancelled()?;
            let pairs = self.find_pairs((own, other), &batch, &keys, &records, &mut cursor)?;
            self.join_pairs(input, &batch, &keys, &pairs, outputs)?;
        }
        Ok(())
    }

    fn fire_timers(&mut self, domain: TimeDomain, now: i64, _: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure> {
        let limit = self.runner.settings.batch_records;
        let due = self.runner.turn.due_timers(domain, now, limit)?;
        if due.is_empty() {
            return Ok(false);
        }
        self.runner.run_host_turn(&due.keys, |turn| Ok(turn.timer_delete(domain, &due.keys.key_of, &due.times)?))?;
        self.remove_expired(&due.keys)?;
        Ok(true)
    }
}
