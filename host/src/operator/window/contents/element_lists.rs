//! The elements of windows during one turn.
//!
//! Most windows are only appended to, without loading their lists. Windows that merge or fire are loaded.

use std::sync::Arc;

use hashbrown::HashMap;

use super::fired_windows::{AddedRecords, fired_windows, result_records, state_keys};
use super::load_order::LoadOrder;
use super::stored_window_element::{ElementsByInput, StoredWindowElement};
use crate::error::Result;
use crate::model::row::RowSchema;
use crate::model::{Column, WindowElements};
use crate::operator::window::evictor::retained;
use crate::operator::window::plan::turn_plan::{PlannedFiring, WindowTurnPlan};
use crate::pipeline::Evictor;
use crate::state::{LoadFailure, StateBackend, StateId, list};
use crate::turn::{Guest, OutputBatch, Turn, TurnFailure};

/// The list of a slot that merges or fires.
struct LoadedList {
    list: Vec<u8>,
    /// Whether the list changed other than by appending elements.
    is_rewritten: bool,
}

/// The element lists of a turn.
pub struct ElementLists {
    state: StateId,
    evictor: Option<Evictor>,
    loaded: HashMap<u32, LoadedList>,
    /// The appended elements, each with its slot.
    appended: Vec<(u32, Vec<u8>)>,
}

impl ElementLists {
    /// Loads the lists that the plan merges or fires, merges them, and appends the records. Fails if they have more than
    /// `bytes_max` bytes.
    pub fn load(
        plan: &WindowTurnPlan,
        records: Option<AddedRecords<'_>>,
        (state, evictor): (StateId, Option<Evictor>),
        backend: &mut dyn StateBackend,
        bytes_max: usize,
    ) -> Result<ElementLists, LoadFailure> {
        let mut order = LoadOrder::new(plan);
        plan.merges.iter().for_each(|&(into, from)| [into, from].into_iter().for_each(|slot| order.add(slot)));
        plan.fired_contents.iter().for_each(|&slot| order.add(slot));
        let entries = backend.load_within(state, &state_keys(plan, order.slots.iter().copied()), bytes_max)?;
        let mut loaded: HashMap<u32, LoadedList> = HashMap::with_capacity(order.slots.len());
        for (slot, list) in order.slots.into_iter().zip(entries.values.iter()) {
            loaded.insert(slot, LoadedList { list: list.to_vec(), is_rewritten: false });
        }
        for (into, from) in &plan.merges {
            let moved = loaded.get_mut(from).map(|from| {
                from.is_rewritten = true;
                std::mem::take(&mut from.list)
            });
            if let (Some(into), Some(moved)) = (loaded.get_mut(into), moved) {
                into.list.extend_from_slice(&moved);
                into.is_rewritten = true;
            }
        }
        let mut lists = ElementLists { state, evictor, loaded, appended: Vec::new() };
        if let Some(records) = records {
            lists.append(plan, records);
        }
        Ok(lists)
    }

    fn append(&mut self, plan: &WindowTurnPlan, AddedRecords { batch, input }: AddedRecords<'_>) {
        let numbers = plan.element_numbers.iter().copied().chain(std::iter::repeat(0));
        for (&(index, slot), number) in plan.adds.iter().zip(numbers) {
            let (index, mut bytes) = (index as usize, Vec::new());
            let (timestamp, value) = (batch.timestamps[index], batch.values.value(index));
            StoredWindowElement { input, number, timestamp, value }.encode(&mut bytes);
            if let Some(loaded) = self.loaded.get_mut(&slot) {
                list::push_element(&mut loaded.list, &[], &bytes);
            }
            self.appended.push((slot, bytes));
        }
    }

    /// Size of the loaded lists, in bytes.
    pub fn loaded_bytes(&self) -> usize {
        self.loaded.values().map(|loaded| loaded.list.len()).sum()
    }

    /// The firings whose contents are not empty.
    pub fn nonempty_firings(&self, plan: &WindowTurnPlan) -> Vec<PlannedFiring> {
        let has_elements = |slot: &u32| self.loaded.get(slot).is_some_and(|loaded| !loaded.list.is_empty());
        plan.firings.iter().filter(|firing| plan.contents_of(firing).iter().any(has_elements)).cloned().collect()
    }

    /// The elements of windows that fire, by input and in order of arrival. Evicts elements.
    pub fn fired_elements(
        &mut self,
        plan: &WindowTurnPlan,
        firings: &[PlannedFiring],
        inputs: usize,
    ) -> Result<Vec<WindowElements>> {
        let mut all = ElementsByInput::new(inputs);
        for firing in firings {
            let mut column = Column::new();
            for slot in plan.contents_of(firing) {
                if let Some(loaded) = self.loaded.get(slot) {
                    list::decode(&loaded.list, &mut column)?;
                }
            }
            let mut elements = StoredWindowElement::decode_all(&column)?;
            match (plan.contents_of(firing), self.evictor) {
                (&[slot], Some(evictor)) => self.evict(slot, evictor, &column, &mut elements),
                // The elements come from several panes.
                _ if plan.orders_elements => elements.sort_by_key(|element| element.number),
                _ => {}
            }
            all.push_window(&elements);
        }
        Ok(all.inputs)
    }

    /// Removes evicted elements from the list of a slot. Also removes them from `elements` if the evictor works before the function.
    fn evict(&mut self, slot: u32, evictor: Evictor, column: &Column, elements: &mut Vec<StoredWindowElement<'_>>) {
        let timestamps: Vec<i64> = elements.iter().map(|element| element.timestamp).collect();
        let stays = retained(evictor.keeps, &timestamps);
        let Some(loaded) = self.loaded.get_mut(&slot).filter(|_| stays.contains(&false)) else { return };
        loaded.list.clear();
        let retained_bytes = column.iter().zip(&stays).filter(|(_, stays)| **stays);
        retained_bytes.for_each(|(bytes, _)| list::push_element(&mut loaded.list, &[], bytes));
        loaded.is_rewritten = true;
        if !evictor.after {
            let mut stays = stays.iter();
            elements.retain(|_| stays.next().copied().unwrap_or(true));
        }
    }

    /// The slots that [`ElementLists::stage`] writes to. A slot may occur several times.
    pub fn written_slots(&self) -> impl Iterator<Item = u32> + '_ {
        let rewritten = self.loaded.iter().filter(|(_, loaded)| loaded.is_rewritten).map(|(&slot, _)| slot);
        self.appended.iter().map(|(slot, _)| *slot).chain(rewritten)
    }

    /// Stages the changed lists, except those that the plan empties. `index_of` maps slots to keys of the turn.
    pub fn stage(&self, plan: &WindowTurnPlan, turn: &mut Turn, index_of: &[u32]) {
        let is_kept = |slot: u32| !plan.slots[slot as usize].is_emptied;
        let is_rewritten = |slot: &u32| self.loaded.get(slot).is_some_and(|loaded| loaded.is_rewritten);
        for (slot, element) in self.appended.iter().filter(|(slot, _)| is_kept(*slot) && !is_rewritten(slot)) {
            turn.append_element(self.state, index_of[*slot as usize], element);
        }
        for (&slot, loaded) in self.loaded.iter().filter(|(slot, loaded)| is_kept(**slot) && loaded.is_rewritten) {
            match loaded.list.is_empty() {
                true => turn.delete(self.state, index_of[slot as usize]),
                false => turn.put(self.state, index_of[slot as usize], &loaded.list),
            }
        }
    }
}

/// The results of an aggregate over whole lists, with the schema `results`. A list that an evictor left empty has no result.
pub fn aggregate_elements(
    plan: &WindowTurnPlan,
    (firings, results): (&[PlannedFiring], Option<&Arc<RowSchema>>),
    elements: &WindowElements,
    guest: &mut dyn Guest,
    turn: &mut Turn,
) -> Result<Vec<OutputBatch>, TurnFailure> {
    let (mut nonempty, mut accumulator_of, mut start) = (Vec::new(), Vec::new(), 0);
    for (firing, &end) in firings.iter().zip(&elements.ends) {
        accumulator_of.extend((start..end).map(|_| nonempty.len() as u32));
        nonempty.extend((start < end).then(|| firing.clone()));
        start = end;
    }
    if nonempty.is_empty() {
        return Ok(Vec::new());
    }
    let empty: Column = nonempty.iter().map(|_| &[][..]).collect();
    let accumulators = guest.add(turn, &empty, &accumulator_of, &elements.values, &elements.timestamps)?;
    let values = guest.finish(turn, &accumulators, &fired_windows(plan, &nonempty))?;
    Ok(result_records(plan, &nonempty, values, results))
}
