//! What windows hold, during one step: accumulators that a function folds, or the elements themselves.
//!
//! Loaded before the step's turn begins, changed by the guest's answers, and staged behind the guest's part of the turn.

use hashbrown::HashMap;

use super::element::{self, ByInput, Element};
use super::evictor;
use super::span::write_key;
use super::step::{Fire, Step};
use crate::error::Result;
use crate::manifest::Evictor;
use crate::model::{Batch, Column, Elements, Keys, Windows};
use crate::state::{Entries, StateBackend, StateId, list};
use crate::turn::{Failure, Guest, Output, Turn};

/// Records that a step adds.
#[derive(Clone, Copy)]
pub(super) struct Records<'a> {
    pub batch: &'a Batch,
    pub input: u32,
}

/// The keys of the state of some places.
pub(super) fn window_keys(step: &Step, places: impl Iterator<Item = u32>) -> Keys {
    let mut keys = Keys::default();
    for place in places {
        let place = &step.places[place as usize];
        keys.distinct.push_with(|bytes| write_key(bytes, step.keys.distinct.value(place.key as usize), place.window));
        keys.groups.push(step.keys.groups[place.key as usize]);
    }
    keys
}

/// The windows of some fires, with the user's keys.
pub(super) fn windows(step: &Step, fires: &[Fire]) -> Windows {
    let mut windows = Windows::default();
    let mut moved = vec![u32::MAX; step.keys.distinct.len()];
    for fire in fires {
        let place = &step.places[fire.place as usize];
        let key = &mut moved[place.key as usize];
        if *key == u32::MAX {
            *key = windows.keys.groups.len() as u32;
            windows.keys.distinct.push(step.keys.distinct.value(place.key as usize));
            windows.keys.groups.push(step.keys.groups[place.key as usize]);
        }
        windows.keys.key_of.push(*key);
        windows.starts.push(place.window.start);
        windows.ends.push(place.window.end);
    }
    windows
}

/// Results, one per window, as records of the main output.
pub(super) fn results(windows: &Windows, values: Column, last: impl Iterator<Item = i64>) -> Vec<Output> {
    debug_assert_eq!(windows.len(), values.len());
    vec![Output { index: 0, batch: Batch { values, timestamps: last.collect(), ..Batch::default() } }]
}

fn last_of<'a>(step: &'a Step, fires: &'a [Fire]) -> impl Iterator<Item = i64> + 'a {
    fires.iter().map(|fire| step.places[fire.place as usize].window.max_timestamp())
}

const NOT_HELD: u32 = u32::MAX;

/// Places in the order in which they are loaded, and where each of them is in it.
struct Order {
    places: Vec<u32>,
    at: Vec<u32>,
}

impl Order {
    fn new(step: &Step) -> Order {
        Order { places: Vec::new(), at: vec![NOT_HELD; step.places.len()] }
    }

    fn add(&mut self, place: u32) {
        let at = &mut self.at[place as usize];
        if *at == NOT_HELD {
            *at = self.places.len() as u32;
            self.places.push(place);
        }
    }

    fn of(&self, place: u32) -> usize {
        self.at[place as usize] as usize
    }
}

/// Accumulators of the places that a step adds to (the first `added` ones), merges or fires.
pub(super) struct Accumulators {
    state: StateId,
    order: Order,
    added: usize,
    held: Entries,
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

    fn will_hold(&self, step: &Step, place: u32) -> bool {
        let at = self.order.of(place);
        let is_made = step.merges.iter().any(|&(into, _)| into == place)
            || step.derived.iter().flatten().any(|derived| derived.into == place);
        at < self.added || self.held.present[at] || is_made
    }

    /// The fires whose contents are not empty.
    pub fn fires(&self, step: &Step) -> Vec<Fire> {
        let is_held = |fire: &&Fire| step.parts_of(fire).iter().any(|&place| self.will_hold(step, place));
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
    ) -> Result<Vec<Output>, Failure> {
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
        let windows = windows(step, fires);
        let values = guest.finish(turn, &fired, &windows)?;
        Ok(results(&windows, values, last_of(step, fires)))
    }

    /// The accumulator at a place in the order; None where there is none.
    fn value(&self, at: usize) -> Option<&[u8]> {
        let derived = self.derived.get(&at).map(Vec::as_slice);
        derived.or_else(|| self.held.present[at].then(|| self.held.values.value(at)))
    }

    fn derive(&mut self, step: &Step, guest: &mut dyn Guest, turn: &mut Turn) -> Result<(), Failure> {
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
    ) -> Result<Column, Failure> {
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

    fn merge(&mut self, step: &Step, guest: &mut dyn Guest, turn: &mut Turn) -> Result<(), Failure> {
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
        self.held = Entries::with_capacity(held.len());
        for value in &held {
            self.held.push(value.as_deref())?;
        }
        Ok(())
    }

    fn add(&mut self, step: &Step, batch: &Batch, guest: &mut dyn Guest, turn: &mut Turn) -> Result<(), Failure> {
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

/// Lists of the places that a step merges or fires; to others it only appends.
pub(super) struct Lists {
    state: StateId,
    evictor: Option<Evictor>,
    /// With whether more has changed than that elements were appended.
    held: HashMap<u32, (Vec<u8>, bool)>,
    /// The elements that are appended, with their place.
    added: Vec<(u32, Vec<u8>)>,
}

impl Lists {
    pub fn load(
        step: &Step,
        records: Option<Records<'_>>,
        (state, evictor): (StateId, Option<Evictor>),
        backend: &mut dyn StateBackend,
    ) -> Result<Lists> {
        let mut order = Order::new(step);
        step.merges.iter().for_each(|&(into, from)| [into, from].into_iter().for_each(|place| order.add(place)));
        step.parts.iter().for_each(|&place| order.add(place));
        let entries = backend.load(state, &window_keys(step, order.places.iter().copied()))?;
        let lists = order.places.into_iter().zip(entries.values.iter());
        let mut held: HashMap<u32, (Vec<u8>, bool)> =
            lists.map(|(place, list)| (place, (list.to_vec(), false))).collect();
        for (into, from) in &step.merges {
            let moved = held.get_mut(from).map(|(list, is_changed)| {
                *is_changed = true;
                std::mem::take(list)
            });
            if let (Some((list, is_changed)), Some(moved)) = (held.get_mut(into), moved) {
                list.extend_from_slice(&moved);
                *is_changed = true;
            }
        }
        let mut added = Vec::new();
        if let Some(Records { batch, input }) = records {
            let order = step.order.iter().copied().chain(std::iter::repeat(0));
            for (&(index, place), order) in step.adds.iter().zip(order) {
                let (index, mut bytes) = (index as usize, Vec::new());
                element::write(&mut bytes, input, order, batch.timestamps[index], batch.values.value(index));
                if let Some((list, _)) = held.get_mut(&place) {
                    list::push_element(list, &[], &bytes);
                }
                added.push((place, bytes));
            }
        }
        Ok(Lists { state, evictor, held, added })
    }

    /// The fires whose contents are not empty.
    pub fn fires(&self, step: &Step) -> Vec<Fire> {
        let is_held = |place: &u32| self.held.get(place).is_some_and(|(list, _)| !list.is_empty());
        step.fires.iter().filter(|fire| step.parts_of(fire).iter().any(is_held)).cloned().collect()
    }

    /// The elements of windows that fire, as the function gets them: in the order of their arrival.
    pub fn elements(&mut self, step: &Step, fires: &[Fire], inputs: usize) -> Result<Vec<Elements>> {
        let mut all = ByInput::new(inputs);
        for fire in fires {
            let mut column = Column::new();
            for place in step.parts_of(fire) {
                if let Some((list, _)) = self.held.get(place) {
                    list::decode(list, &mut column)?;
                }
            }
            let mut elements = element::all(&column)?;
            match (step.parts_of(fire), self.evictor) {
                (&[place], Some(evictor)) => self.evict(place, evictor, &column, &mut elements),
                // The parts are panes.
                _ if step.orders_elements => elements.sort_by_key(|element| element.place),
                _ => {}
            }
            all.push(&elements);
        }
        Ok(all.inputs)
    }

    /// Takes out of a list what an evictor says, and of its elements where that happens before the function sees them.
    fn evict(&mut self, place: u32, evictor: Evictor, column: &Column, elements: &mut Vec<Element<'_>>) {
        let timestamps: Vec<i64> = elements.iter().map(|element| element.timestamp).collect();
        let kept = evictor::kept(evictor.keeps, &timestamps);
        let Some((list, is_changed)) = self.held.get_mut(&place).filter(|_| kept.contains(&false)) else { return };
        list.clear();
        let kept_bytes = column.iter().zip(&kept).filter(|(_, kept)| **kept);
        kept_bytes.for_each(|(bytes, _)| list::push_element(list, &[], bytes));
        *is_changed = true;
        if !evictor.after {
            let mut stays = kept.iter();
            elements.retain(|_| stays.next().copied().unwrap_or(true));
        }
    }

    /// Places that [`Lists::stage`] writes to.
    pub fn written(&self) -> impl Iterator<Item = u32> + '_ {
        let changed = self.held.iter().filter(|(_, (_, is_changed))| *is_changed).map(|(&place, _)| place);
        self.added.iter().map(|(place, _)| *place).chain(changed)
    }

    /// Stages what the places hold now, but of those that are emptied.
    pub fn stage(&self, step: &Step, turn: &mut Turn, index_of: &[u32]) {
        let stays = |place: u32| !step.places[place as usize].is_emptied;
        let is_changed = |place: &u32| self.held.get(place).is_some_and(|(_, is_changed)| *is_changed);
        for (place, element) in self.added.iter().filter(|(place, _)| stays(*place) && !is_changed(place)) {
            turn.append_element(self.state, index_of[*place as usize], element);
        }
        for (&place, (list, _)) in self.held.iter().filter(|(place, _)| stays(**place) && is_changed(place)) {
            match list.is_empty() {
                true => turn.delete(self.state, index_of[place as usize]),
                false => turn.put(self.state, index_of[place as usize], list),
            }
        }
    }
}

/// The results of an aggregate over whole lists: each is folded from its beginning. A list that an evictor left empty has none.
pub(super) fn aggregate_lists(
    step: &Step,
    fires: &[Fire],
    elements: &Elements,
    guest: &mut dyn Guest,
    turn: &mut Turn,
) -> Result<Vec<Output>, Failure> {
    let (mut held, mut of, mut start) = (Vec::new(), Vec::new(), 0);
    for (fire, &end) in fires.iter().zip(&elements.ends) {
        of.extend((start..end).map(|_| held.len() as u32));
        held.extend((start < end).then(|| fire.clone()));
        start = end;
    }
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let none: Column = held.iter().map(|_| &[][..]).collect();
    let folded = guest.add(turn, &none, &of, &elements.values, &elements.timestamps)?;
    let windows = windows(step, &held);
    let values = guest.finish(turn, &folded, &windows)?;
    Ok(results(&windows, values, last_of(step, &held)))
}
