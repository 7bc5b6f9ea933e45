//! `ListState`: one cell per distinct key of the turn.
//!
//! Elements added to a list that was not read are appended in the host, and nothing is loaded. The first read of any key loads the
//! lists of all keys in one call. A list that was set or changed in place replaces the stored one.

use super::turn_state::{Cells, TurnState, state_field};
use super::{ExpiringState, Source, StateCodec};
use crate::FunctionError;
use crate::bindings::cofferdam::function::{state::Lists, types::Column};
use crate::column;
use crate::fields::Binder;
use crate::shape::StateType;
use std::marker::PhantomData;

pub(crate) struct ListCells<T, C> {
    source: Source,
    cells: Vec<Cell<T>>,
    /// The stored lists of all keys, once they are loaded. Elements added before are among them.
    loaded: Option<Lists>,
    /// The key of each element to append.
    added_keys: Vec<u32>,
    added: Column,
    /// Scratch memory of `flush`.
    replaced_keys: Vec<u32>,
    replaced: Lists,
    /// Why an element could not be written.
    error: Option<FunctionError>,
    codec: PhantomData<fn() -> C>,
}

struct Cell<T> {
    elements: Vec<T>,
    /// Whether `elements` is up to date.
    known: bool,
    /// Whether it replaces the stored list.
    replaces: bool,
}

impl<T, C: StateCodec<T>> Cells for ListCells<T, C> {
    fn new(source: Source) -> Self {
        ListCells {
            source,
            cells: Vec::new(),
            loaded: None,
            added_keys: Vec::new(),
            added: column::empty(),
            replaced_keys: Vec::new(),
            replaced: Lists { elements: column::empty(), ends: Vec::new() },
            error: None,
            codec: PhantomData,
        }
    }

    fn begin(&mut self, keys: usize) {
        // The vectors of the cells keep their allocations.
        self.cells.truncate(keys);
        for cell in &mut self.cells {
            cell.elements.clear();
            cell.known = false;
            cell.replaces = false;
        }
        self.cells.resize_with(keys, || Cell { elements: Vec::new(), known: false, replaces: false });
        self.loaded = None;
        self.added_keys.clear();
        column::clear(&mut self.added);
        self.error = None;
    }

    fn flush(&mut self) -> Result<(), FunctionError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.append();
        self.replaced_keys.clear();
        self.replaced.ends.clear();
        column::clear(&mut self.replaced.elements);
        for (key, cell) in self.cells.iter().enumerate().filter(|(_, cell)| cell.replaces) {
            for element in &cell.elements {
                C::write(element, &mut self.replaced.elements.bytes)?;
                column::end_value(&mut self.replaced.elements);
            }
            self.replaced.ends.push(column::len(&self.replaced.elements) as u32);
            self.replaced_keys.push(key as u32);
        }
        if !self.replaced_keys.is_empty() {
            self.source.host.list_replace(self.source.state, &self.replaced_keys, &self.replaced);
        }
        Ok(())
    }
}

impl<T, C: StateCodec<T>> ListCells<T, C> {
    /// Hands the added elements to the host.
    fn append(&mut self) {
        if !self.added_keys.is_empty() {
            self.source.host.list_append(self.source.state, &self.added_keys, &self.added);
            self.added_keys.clear();
            column::clear(&mut self.added);
        }
    }

    #[inline]
    fn read(&mut self, key: usize) -> &mut Cell<T> {
        if !self.cells[key].known {
            self.decode(key);
        }
        &mut self.cells[key]
    }

    /// Decodes the list of a key that was not read in this turn yet.
    #[inline(never)]
    fn decode(&mut self, key: usize) {
        if self.source.returns_expired {
            return self.ask_for_one(key);
        }
        if self.loaded.is_none() {
            // The loaded lists must contain the added elements.
            self.append();
            self.loaded = Some(self.source.host.list_load(self.source.state));
        }
        let Some(lists) = &self.loaded else { return };
        let start = if key == 0 { 0 } else { lists.ends[key - 1] as usize };
        let cell = &mut self.cells[key];
        cell.known = true;
        cell.elements.clear();
        for index in start..lists.ends[key] as usize {
            match C::read(column::value(&lists.elements, index)) {
                Ok(element) => cell.elements.push(element),
                Err(error) => self.source.unreadable(&error),
            }
        }
    }

    /// Asks the host for one key. The list stays unknown, so that the next read asks again: an expired element is returned once.
    fn ask_for_one(&mut self, key: usize) {
        // The returned list must contain the added elements.
        self.append();
        let elements = self.source.host.list_get(self.source.state, key as u32);
        let cell = &mut self.cells[key];
        cell.elements.clear();
        for index in 0..column::len(&elements) {
            match C::read(column::value(&elements, index)) {
                Ok(element) => cell.elements.push(element),
                Err(error) => self.source.unreadable(&error),
            }
        }
    }

    fn add(&mut self, key: usize, element: T) {
        if self.loaded.is_some() {
            // A list that is loaded but not decoded yet would miss the element.
            self.read(key);
        }
        let cell = &mut self.cells[key];
        if !cell.replaces {
            match C::write(&element, &mut self.added.bytes) {
                Ok(()) => {
                    column::end_value(&mut self.added);
                    self.added_keys.push(key as u32);
                }
                Err(error) => {
                    self.error.get_or_insert(error);
                }
            }
        }
        if cell.known {
            cell.elements.push(element);
        }
    }

    fn replace(&mut self, key: usize) -> &mut Vec<T> {
        let cell = &mut self.cells[key];
        cell.known = true;
        cell.replaces = true;
        &mut cell.elements
    }
}

/// One list per key, declared as a field of the function: `last: ListState<i32>`. A key without a list has an empty one.
///
/// The elements are stored like the value of a [`ValueState`](crate::ValueState). See [`ValueState`](crate::ValueState) for where a state can be used.
pub struct ListState<T: StateType, C = <T as StateType>::Codec> {
    state: TurnState<ListCells<T, C>>,
}

impl<T: StateType, C: StateCodec<T>> ListState<T, C> {
    fn bound(binder: &Binder, name: &'static str) -> Self {
        ListState { state: TurnState::bind(binder, name) }
    }

    /// Returns the elements, oldest first.
    pub fn get(&mut self) -> &[T] {
        let (cells, key) = self.state.current();
        &cells.read(key).elements
    }

    /// Returns the number of elements.
    pub fn len(&mut self) -> usize {
        self.get().len()
    }

    /// Returns whether the list has no elements.
    pub fn is_empty(&mut self) -> bool {
        self.get().is_empty()
    }

    /// Appends an element. Reads nothing unless the list was read before.
    pub fn add(&mut self, element: T) {
        let (cells, key) = self.state.current();
        cells.add(key, element);
    }

    /// Appends elements in order. Reads nothing unless the list was read before.
    pub fn add_all(&mut self, elements: impl IntoIterator<Item = T>) {
        for element in elements {
            self.add(element);
        }
    }

    /// Replaces the list. Reads nothing. An empty list clears.
    pub fn set(&mut self, elements: impl IntoIterator<Item = T>) {
        let (cells, key) = self.state.current();
        let list = cells.replace(key);
        list.clear();
        list.extend(elements);
    }

    /// Changes the list in place and returns what the closure returns.
    pub fn update<R>(&mut self, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        let (cells, key) = self.state.current();
        cells.read(key);
        change(cells.replace(key))
    }

    /// Clears the list. Reads nothing.
    pub fn clear(&mut self) {
        let (cells, key) = self.state.current();
        cells.replace(key).clear();
    }
}

state_field!([T: StateType, C: StateCodec<T>] ListState<T, C>, state, List, T, C, true, String::new());

impl<T: StateType, C: StateCodec<T>> ExpiringState for ListState<T, C> {}
