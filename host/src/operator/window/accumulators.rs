//! Accumulators of windows during one step: loaded, merged, added to, derived and finished, each once for all windows together.

use hashbrown::HashMap;

use super::contents::{Order, Records, last_of, results, window_keys, windows};
use super::step::{Fire, Step};
use crate::error::{self, Result};
use crate::model::{Batch, Column};
use crate::state::{LoadedEntries, StateBackend, StateId};
use crate::turn::{Guest, OutputBatch, Turn, TurnFailure};

/// Accumulators of the places that a step adds to (the first `added` ones), merges or fires.
pub(super) struct Accumulators {
    state: StateId,
    order: Order,
    added: usize,
    held: LoadedEntries,
    /// By their place in `order`.
    derived: HashMap<usize, Vec<u8>>,
    /// Those that have changed other than by adding.
    merged: Vec<bool>,
    /// What was there before the step.
    pub was_present: Vec<bool>,
}

impl Accumulators {
    pub fn load(step: &Step, state: StateId, backend: &mut dyn StateBackend) -> Result<Accumulators> {
        let mut order = Order::new(step);
        step.adds.iter().for_each(|&(_, place)| order.add(place));
        let added = order.places.len();
        step.merges.iter().for_each(|&(into, from)| [into, from].into_iter().for_each(|place| order.add(place)));
        let derived = step.derived.iter().flatten();
        derived.for_each(|one| [one.into, one.left, one.right].into_iter().for_each(|place| order.add(place)));
        step.parts.iter().for_each(|&place| order.add(place));
        let held = backend.load(state, &window_keys(step, order.places.iter().copied()))?;
        let mut was_present = vec![false; step.places.len()];
        for (&place, &is_present) in order.places.iter().zip(&held.present) {
            was_present[place as usize] = is_present;
        }
        let merged = vec![false; order.places.len()];
        Ok(Accumulators { state, order, added, held, derived: HashMap::new(), merged, was_present })
    }

    /// The fires whose contents are not empty.
    pub fn fires(&self, step: &Step) -> Vec<Fire> {
        let mut holds: Vec<bool> =
            (self.held.present.iter().enumerate()).map(|(at, &is_present)| is_present || at < self.added).collect();
        let merged = step.merges.iter().map(|(into, _)| into);
        let made = merged.chain(step.derived.iter().flatten().map(|derived| &derived.into));
        made.for_each(|&place| holds[self.order.of(place)] = true);
        let is_held = |fire: &&Fire| step.parts_of(fire).iter().any(|&place| holds[self.order.of(place)]);
        step.fires.iter().filter(is_held).cloned().collect()
    }

    /// Does all that the guest has to do; the results are those of `fires`.
    pub fn compute(
        &mut self,
        step: &Step,
        records: Option<Records<'_>>,
        fires: &[Fire],
        guest: &mut dyn Guest,
        turn: &mut Turn,
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.merge(step, guest, turn)?;
        if let Some(records) = records
            && !step.adds.is_empty()
        {
            self.add(step, records.batch, guest, turn)?;
        }
        self.derive(step, guest, turn)?;
        if fires.is_empty() {
            return Ok(Vec::new());
        }
        let fired = self.put_together(step, fires, guest, turn)?;
        if fired.len() != fires.len() {
            return Err(error::state_failed("a window that fires has panes, but nothing is kept of them").into());
        }
        let windows = windows(step, fires);
        let values = guest.finish(turn, &fired, &windows)?;
        Ok(results(&windows, values, last_of(step, fires)))
    }

    /// The accumulator at a place in the order; None where there is none.
    fn value(&self, at: usize) -> Option<&[u8]> {
        let derived = self.derived.get(&at).map(Vec::as_slice);
        derived.or_else(|| self.held.present[at].then(|| self.held.values.value(at)))
    }

    fn derive(&mut self, step: &Step, guest: &mut dyn Guest, turn: &mut Turn) -> Result<(), TurnFailure> {
        for round in &step.derived {
            let (mut left, mut right, mut into_both) = (Column::new(), Column::new(), Vec::new());
            for derived in round {
                let [into, one, other] = [derived.into, derived.left, derived.right].map(|place| self.order.of(place));
                match (self.value(one), self.value(other)) {
                    (Some(one), Some(other)) => {
                        left.push(one);
                        right.push(other);
                        into_both.push(into);
                    }
                    (one, other) => {
                        if let Some(value) = one.or(other).map(<[u8]>::to_vec) {
                            self.derived.insert(into, value);
                        }
                    }
                }
            }
            if !into_both.is_empty() {
                let both = guest.merge(turn, &left, &right)?;
                self.derived.extend(into_both.into_iter().zip(both.iter().map(<[u8]>::to_vec)));
            }
        }
        Ok(())
    }

    /// The accumulator of each window that fires. Those of several parts are merged pair by pair, all windows at once.
    fn put_together(
        &self,
        step: &Step,
        fires: &[Fire],
        guest: &mut dyn Guest,
        turn: &mut Turn,
    ) -> Result<Column, TurnFailure> {
        let (mut all, mut counts) = (Column::with_capacity(fires.len(), 0), Vec::with_capacity(fires.len()));
        for fire in fires {
            let parts = step.parts_of(fire).iter().filter_map(|&place| self.value(self.order.of(place)));
            counts.push(parts.map(|value| all.push(value)).count());
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

    fn merge(&mut self, step: &Step, guest: &mut dyn Guest, turn: &mut Turn) -> Result<(), TurnFailure> {
        if step.merges.is_empty() {
            return Ok(());
        }
        let mut held: Vec<Option<Vec<u8>>> = (self.held.values.iter().zip(&self.held.present))
            .map(|(value, &is_present)| is_present.then(|| value.to_vec()))
            .collect();
        let mut rest = &step.merges[..];
        while !rest.is_empty() {
            // As many as have nothing to do with each other.
            let mut busy = vec![false; step.places.len()];
            let free = |&(into, from): &(u32, u32)| {
                let is_free = !busy[into as usize] && !busy[from as usize];
                (busy[into as usize], busy[from as usize]) = (true, true);
                is_free
            };
            let together = rest.iter().map(free).take_while(|is_free| *is_free).count();
            let (now, later) = rest.split_at(together);
            rest = later;
            let (mut left, mut right, mut into_both) = (Column::new(), Column::new(), Vec::new());
            for &(into, from) in now {
                let (into, from) = (self.order.of(into), self.order.of(from));
                self.merged[into] = true;
                self.merged[from] = true;
                match (held[into].take(), held[from].take()) {
                    (Some(one), Some(other)) => {
                        left.push(&one);
                        right.push(&other);
                        into_both.push(into);
                    }
                    (one, other) => held[into] = one.or(other),
                }
            }
            if !into_both.is_empty() {
                let both = guest.merge(turn, &left, &right)?;
                into_both.iter().zip(both.iter()).for_each(|(&into, value)| held[into] = Some(value.to_vec()));
            }
        }
        self.held = LoadedEntries::with_capacity(held.len());
        for value in &held {
            self.held.push(value.as_deref())?;
        }
        Ok(())
    }

    fn add(&mut self, step: &Step, batch: &Batch, guest: &mut dyn Guest, turn: &mut Turn) -> Result<(), TurnFailure> {
        let of: Vec<u32> = step.adds.iter().map(|&(_, place)| self.order.of(place) as u32).collect();
        let is_whole = step.adds.len() == batch.len() && (0..).zip(&step.adds).all(|(index, add)| index == add.0);
        let part;
        let (values, timestamps) = if is_whole {
            (&batch.values, &batch.timestamps)
        } else {
            let records = step.adds.iter().map(|&(index, _)| index as usize);
            part = (
                records.clone().map(|index| batch.values.value(index)).collect(),
                records.map(|index| batch.timestamps[index]).collect(),
            );
            (&part.0, &part.1)
        };
        let count = self.held.values.len();
        if self.added == count {
            self.held.values = guest.add(turn, &self.held.values, &of, values, timestamps)?;
        } else {
            let mut added = guest.add(turn, &self.held.values.slice(0..self.added), &of, values, timestamps)?;
            added.extend_from(&self.held.values, self.added..count);
            self.held.values = added;
        }
        self.held.present[..self.added].fill(true);
        Ok(())
    }

    /// Places that [`Accumulators::stage`] writes to.
    pub fn written(&self) -> impl Iterator<Item = u32> + '_ {
        let is_written = |at: &usize| *at < self.added || self.merged[*at] || self.derived.contains_key(at);
        (0..self.order.places.len()).filter(is_written).map(|at| self.order.places[at])
    }

    /// Stages what the places hold now, but of those that are emptied.
    pub fn stage(&self, step: &Step, turn: &mut Turn, index_of: &[u32]) {
        for place in self.written().filter(|&place| !step.places[place as usize].is_emptied) {
            let (at, index) = (self.order.of(place), index_of[place as usize]);
            match self.value(at) {
                Some(value) => turn.put(self.state, index, value),
                None => turn.delete(self.state, index),
            }
        }
    }
}
