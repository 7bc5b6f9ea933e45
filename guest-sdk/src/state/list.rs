//! A list state during a turn: one cell per distinct key.
//!
//! Elements that are added without the list being read go to the host as they are, and nothing is read. The first read
//! of any key loads the lists of all keys in one call. A list that was set or changed in place replaces the one before.

use super::{Cells, Source, StateCodec};
use crate::FunctionError;
use crate::bindings::cofferdam::function::{state::Lists, types::Column};
use crate::column;
use std::marker::PhantomData;

pub(crate) struct ListCells<T, C> {
    source: Source,
    cells: Vec<Cell<T>>,
    /// What the host knows of all keys, once it was asked, what was added before that included.
    loaded: Option<Lists>,
    /// Elements to append: for each its key, and its bytes.
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
    /// Whether `elements` is the list of the key.
    known: bool,
    /// Whether it replaces the list that the host has.
    replaces: bool,
}

impl<T: 'static, C: StateCodec<T>> Cells for ListCells<T, C> {
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
        // The vectors of the cells keep their memory.
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

    /// Reads the list of a key that was not looked at in this turn.
    #[inline(never)]
    fn decode(&mut self, key: usize) {
        if self.source.returns_expired {
            return self.ask_for_one(key);
        }
        if self.loaded.is_none() {
            // What was added has to be in what is loaded.
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

    /// Asks for one key. The list stays unknown, so that the next read asks again: what has expired is given once.
    fn ask_for_one(&mut self, key: usize) {
        // What was added has to be in what is asked for.
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

/// The list of the current key. Obtained by `ctx.state(HANDLE)`. A key without a list has an empty one.
pub struct ListAccess<'a, T, C> {
    pub(super) cells: &'a mut ListCells<T, C>,
    pub(super) key: usize,
}

impl<'a, T, C: StateCodec<T>> ListAccess<'a, T, C> {
    /// The elements, oldest first.
    pub fn get(self) -> &'a [T] {
        &self.cells.read(self.key).elements
    }

    /// How many elements the list has.
    pub fn len(&mut self) -> usize {
        self.cells.read(self.key).elements.len()
    }

    /// Whether the list has no elements.
    pub fn is_empty(&mut self) -> bool {
        self.len() == 0
    }

    /// Appends an element. Reads nothing unless the list was read before.
    pub fn add(&mut self, element: T) {
        self.cells.add(self.key, element);
    }

    /// Appends elements in order. Reads nothing unless the list was read before.
    pub fn add_all(&mut self, elements: impl IntoIterator<Item = T>) {
        for element in elements {
            self.cells.add(self.key, element);
        }
    }

    /// Replaces the list. Reads nothing. An empty one clears.
    pub fn set(&mut self, elements: impl IntoIterator<Item = T>) {
        let list = self.cells.replace(self.key);
        list.clear();
        list.extend(elements);
    }

    /// Changes the list in place and returns what the closure returns.
    pub fn update<R>(&mut self, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        self.cells.read(self.key);
        change(self.cells.replace(self.key))
    }

    /// Clears the list. Reads nothing.
    pub fn clear(&mut self) {
        self.cells.replace(self.key).clear();
    }
}
