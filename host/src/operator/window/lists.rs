//! Elements of windows during one step: of most windows only appended to, of those that merge or fire loaded.

use hashbrown::HashMap;

use super::contents::{Order, Records, last_of, results, window_keys, windows};
use super::element::{self, ByInput, Element};
use super::evictor;
use super::step::{Fire, Step};
use crate::error::Result;
use crate::model::{Column, WindowElements};
use crate::pipeline::Evictor;
use crate::state::{StateBackend, StateId, list};
use crate::turn::{Guest, OutputBatch, Turn, TurnFailure};

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

    /// How much was loaded.
    pub fn bytes(&self) -> usize {
        self.held.values().map(|(list, _)| list.len()).sum()
    }

    /// The fires whose contents are not empty.
    pub fn fires(&self, step: &Step) -> Vec<Fire> {
        let is_held = |place: &u32| self.held.get(place).is_some_and(|(list, _)| !list.is_empty());
        step.fires.iter().filter(|fire| step.parts_of(fire).iter().any(is_held)).cloned().collect()
    }

    /// The elements of windows that fire, as the function gets them: in the order of their arrival.
    pub fn elements(&mut self, step: &Step, fires: &[Fire], inputs: usize) -> Result<Vec<WindowElements>> {
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
    elements: &WindowElements,
    guest: &mut dyn Guest,
    turn: &mut Turn,
) -> Result<Vec<OutputBatch>, TurnFailure> {
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
