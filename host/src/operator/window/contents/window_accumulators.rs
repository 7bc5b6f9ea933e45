//! The accumulators of windows during one turn. The guest merges, adds to and finishes those of all windows in one call each.
//!
//! Invariant: the guest sees an accumulator without bytes only if it does not exist yet.

use std::sync::Arc;

use hashbrown::HashMap;

use super::fired_windows::{AddedRecords, fired_windows, result_records, state_keys};
use super::load_order::LoadOrder;
use crate::error::{self, Error, Result};
use crate::model::row::RowSchema;
use crate::model::{Batch, Column};
use crate::operator::window::plan::turn_plan::{PlannedFiring, WindowTurnPlan};
use crate::state::{EntryCollector, LoadFailure, LoadedEntries, StateBackend, StateId};
use crate::turn::{Guest, OutputBatch, Turn, TurnFailure};

/// The accumulators of the slots that a plan adds to, merges, derives or fires.
pub struct WindowAccumulators {
    state: StateId,
    order: LoadOrder,
    /// The plan adds records to the first so many slots of `order`.
    added: usize,
    loaded: LoadedEntries,
    /// Derived accumulators, by index in `order`.
    derived: HashMap<usize, Vec<u8>>,
    /// For each slot of `order`, whether it was merged.
    merged: Vec<bool>,
    /// For each slot of the plan, whether its accumulator existed before the turn.
    pub existed: Vec<bool>,
}

impl WindowAccumulators {
    /// Loads the accumulators that the plan needs.
    pub fn load(plan: &WindowTurnPlan, state: StateId, backend: &mut dyn StateBackend) -> Result<WindowAccumulators> {
        let mut order = LoadOrder::new(plan);
        plan.adds.iter().for_each(|&(_, slot)| order.add(slot));
        let added = order.slots.len();
        plan.merges.iter().for_each(|&(into, from)| [into, from].into_iter().for_each(|slot| order.add(slot)));
        let derived = plan.merge_rounds.iter().flatten();
        derived.for_each(|merge| [merge.into, merge.left, merge.right].into_iter().for_each(|slot| order.add(slot)));
        plan.fired_contents.iter().for_each(|&slot| order.add(slot));
        let loaded = backend.load(state, &state_keys(plan, order.slots.iter().copied()))?;
        let mut existed = vec![false; plan.slots.len()];
        for (&slot, &is_present) in order.slots.iter().zip(&loaded.present) {
            existed[slot as usize] = is_present;
        }
        let merged = vec![false; order.slots.len()];
        Ok(WindowAccumulators { state, order, added, loaded, derived: HashMap::new(), merged, existed })
    }

    /// The firings whose contents are not empty.
    pub fn nonempty_firings(&self, plan: &WindowTurnPlan) -> Vec<PlannedFiring> {
        let present = self.loaded.present.iter().enumerate();
        let mut exists: Vec<bool> = present.map(|(index, &is_present)| is_present || index < self.added).collect();
        let merged = plan.merges.iter().map(|(into, _)| into);
        let made = merged.chain(plan.merge_rounds.iter().flatten().map(|merge| &merge.into));
        made.for_each(|&slot| exists[self.order.index_of(slot)] = true);
        let has_contents =
            |firing: &&PlannedFiring| plan.contents_of(firing).iter().any(|&slot| exists[self.order.index_of(slot)]);
        plan.firings.iter().filter(has_contents).cloned().collect()
    }

    /// Makes all guest calls of the turn. Returns the results of `firings`, which have the schema `results`.
    pub fn compute(
        &mut self,
        plan: &WindowTurnPlan,
        records: Option<AddedRecords<'_>>,
        (firings, results): (&[PlannedFiring], Option<&Arc<RowSchema>>),
        guest: &mut dyn Guest,
        turn: &mut Turn,
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.merge(plan, guest, turn)?;
        if let Some(records) = records
            && !plan.adds.is_empty()
        {
            self.add(plan, records.batch, guest, turn)?;
        }
        self.derive(plan, guest, turn)?;
        if firings.is_empty() {
            return Ok(Vec::new());
        }
        let fired = self.fired_accumulators(plan, firings, guest, turn)?;
        if fired.len() != firings.len() {
            return Err(error::state_failed("a window that fires has panes without accumulators").into());
        }
        let values = guest.finish(turn, &fired, &fired_windows(plan, firings))?;
        Ok(result_records(plan, firings, values, results))
    }

    /// The accumulator at an index of the load order, if it exists.
    fn value(&self, index: usize) -> Option<&[u8]> {
        let derived = self.derived.get(&index).map(Vec::as_slice);
        derived.or_else(|| self.loaded.present[index].then(|| self.loaded.values.value(index)))
    }

    fn derive(&mut self, plan: &WindowTurnPlan, guest: &mut dyn Guest, turn: &mut Turn) -> Result<(), TurnFailure> {
        for round in &plan.merge_rounds {
            let (mut left, mut right, mut targets) = (Column::new(), Column::new(), Vec::new());
            for merge in round {
                let [into, one, other] = [merge.into, merge.left, merge.right].map(|slot| self.order.index_of(slot));
                match (self.value(one), self.value(other)) {
                    (Some(one), Some(other)) => {
                        left.push(one);
                        right.push(other);
                        targets.push(into);
                    }
                    (one, other) => {
                        if let Some(value) = one.or(other).map(<[u8]>::to_vec) {
                            self.derived.insert(into, value);
                        }
                    }
                }
            }
            if !targets.is_empty() {
                let merged = guest.merge(turn, &left, &right)?;
                self.derived.extend(targets.into_iter().zip(merged.iter().map(<[u8]>::to_vec)));
            }
        }
        Ok(())
    }

    /// The accumulator of each window that fires. Several contents of a window are merged in pairs, those of all windows at once.
    fn fired_accumulators(
        &self,
        plan: &WindowTurnPlan,
        firings: &[PlannedFiring],
        guest: &mut dyn Guest,
        turn: &mut Turn,
    ) -> Result<Column, TurnFailure> {
        let (mut all, mut counts) = (Column::with_capacity(firings.len(), 0), Vec::with_capacity(firings.len()));
        for firing in firings {
            let contents = plan.contents_of(firing).iter();
            let values = contents.filter_map(|&slot| self.value(self.order.index_of(slot)));
            counts.push(values.map(|value| all.push(value)).count());
        }
        while counts.iter().any(|&count| count > 1) {
            let (mut left, mut right) = (Column::new(), Column::new());
            let mut start = 0;
            for &count in &counts {
                for pair in 0..count / 2 {
                    left.push(all.value(start + 2 * pair));
                    right.push(all.value(start + 2 * pair + 1));
                }
                start += count;
            }
            let merged = guest.merge(turn, &left, &right)?;
            let (mut next, mut start, mut taken) = (Column::with_capacity(merged.len(), 0), 0, 0);
            for count in &mut counts {
                next.extend_from(&merged, taken..taken + *count / 2);
                taken += *count / 2;
                if *count % 2 == 1 {
                    next.push(all.value(start + *count - 1));
                }
                start += *count;
                *count = count.div_ceil(2);
            }
            all = next;
        }
        Ok(all)
    }

    /// Merges the accumulators of merged windows. Each guest call makes as many independent merges as possible.
    fn merge(&mut self, plan: &WindowTurnPlan, guest: &mut dyn Guest, turn: &mut Turn) -> Result<(), TurnFailure> {
        if plan.merges.is_empty() {
            return Ok(());
        }
        let mut values: Vec<Option<Vec<u8>>> = (self.loaded.values.iter().zip(&self.loaded.present))
            .map(|(value, &is_present)| is_present.then(|| value.to_vec()))
            .collect();
        let mut remaining = &plan.merges[..];
        while !remaining.is_empty() {
            let (independent, rest) = remaining.split_at(independent_merges(plan, remaining));
            remaining = rest;
            let (mut left, mut right, mut targets) = (Column::new(), Column::new(), Vec::new());
            for &(into, from) in independent {
                let (into, from) = (self.order.index_of(into), self.order.index_of(from));
                self.merged[into] = true;
                self.merged[from] = true;
                match (values[into].take(), values[from].take()) {
                    (Some(one), Some(other)) => {
                        left.push(&one);
                        right.push(&other);
                        targets.push(into);
                    }
                    (one, other) => values[into] = one.or(other),
                }
            }
            if !targets.is_empty() {
                let merged = guest.merge(turn, &left, &right)?;
                targets.iter().zip(merged.iter()).for_each(|(&into, value)| values[into] = Some(value.to_vec()));
            }
        }
        let mut loaded = EntryCollector::new(values.len(), usize::MAX);
        for value in &values {
            loaded.push(value.as_deref()).map_err(|too_large| Error::from(LoadFailure::from(too_large)))?;
        }
        self.loaded = loaded.into_entries();
        Ok(())
    }

    /// Adds the records of the plan. The accumulators that they are added to come first in the load order.
    fn add(
        &mut self,
        plan: &WindowTurnPlan,
        batch: &Batch,
        guest: &mut dyn Guest,
        turn: &mut Turn,
    ) -> Result<(), TurnFailure> {
        let accumulator_of: Vec<u32> = plan.adds.iter().map(|&(_, slot)| self.order.index_of(slot) as u32).collect();
        let is_whole_batch = plan.adds.len() == batch.len() && (0..).zip(&plan.adds).all(|(index, add)| index == add.0);
        let selected;
        let (values, timestamps) = if is_whole_batch {
            (&batch.values, &batch.timestamps)
        } else {
            let records = plan.adds.iter().map(|&(index, _)| index as usize);
            selected = (
                records.clone().map(|index| batch.values.value(index)).collect(),
                records.map(|index| batch.timestamps[index]).collect(),
            );
            (&selected.0, &selected.1)
        };
        let count = self.loaded.values.len();
        if self.added == count {
            self.loaded.values = guest.add(turn, &self.loaded.values, &accumulator_of, values, timestamps)?;
        } else {
            let accumulators = self.loaded.values.slice(0..self.added);
            let mut added = guest.add(turn, &accumulators, &accumulator_of, values, timestamps)?;
            added.extend_from(&self.loaded.values, self.added..count);
            self.loaded.values = added;
        }
        self.loaded.present[..self.added].fill(true);
        Ok(())
    }

    /// The slots that [`WindowAccumulators::stage`] writes to.
    pub fn written_slots(&self) -> impl Iterator<Item = u32> + '_ {
        let is_written = |index: &usize| *index < self.added || self.merged[*index] || self.derived.contains_key(index);
        (0..self.order.slots.len()).filter(is_written).map(|index| self.order.slots[index])
    }

    /// Stages the changed accumulators, except those that the plan empties. `index_of` maps slots to keys of the turn.
    pub fn stage(&self, plan: &WindowTurnPlan, turn: &mut Turn, index_of: &[u32]) {
        for slot in self.written_slots().filter(|&slot| !plan.slots[slot as usize].is_emptied) {
            let (loaded, key) = (self.order.index_of(slot), index_of[slot as usize]);
            match self.value(loaded) {
                Some(value) => turn.put(self.state, key, value),
                None => turn.delete(self.state, key),
            }
        }
    }
}

/// Number of merges, from the first on, that have no slot in common.
fn independent_merges(plan: &WindowTurnPlan, merges: &[(u32, u32)]) -> usize {
    let mut is_used = vec![false; plan.slots.len()];
    let is_independent = |&(into, from): &(u32, u32)| {
        let is_free = !is_used[into as usize] && !is_used[from as usize];
        (is_used[into as usize], is_used[from as usize]) = (true, true);
        is_free
    };
    merges.iter().map(is_independent).take_while(|is_independent| *is_independent).count()
}
