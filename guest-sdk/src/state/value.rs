//! `ValueState`: one cell per distinct key of the turn, which holds the decoded value.
//!
//! The first read of any key loads the bytes of all keys in one call. A value is decoded when its key is first read. It is written
//! once, at the end of the turn, however often it was set.

use super::turn_state::{Cells, TurnState, state_field};
use super::{ExpiringState, Source, StateCodec};
use crate::FunctionError;
use crate::bindings::cofferdam::function::{state::Values, types::Column};
use crate::column;
use crate::fields::Binder;
use crate::shape::StateType;
use std::marker::PhantomData;

pub(crate) struct ValueCells<T, C> {
    source: Source,
    cells: Vec<Cell<T>>,
    /// The stored values of all keys, once they are loaded.
    loaded: Option<Values>,
    /// Scratch memory of `flush`.
    stored_keys: Vec<u32>,
    stored: Column,
    cleared_keys: Vec<u32>,
    codec: PhantomData<fn() -> C>,
}

struct Cell<T> {
    value: Option<T>,
    /// Whether `value` is up to date.
    known: bool,
    /// Whether it differs from the stored value.
    changed: bool,
}

impl<T, C: StateCodec<T>> Cells for ValueCells<T, C> {
    fn new(source: Source) -> Self {
        ValueCells {
            source,
            cells: Vec::new(),
            loaded: None,
            stored_keys: Vec::new(),
            stored: column::empty(),
            cleared_keys: Vec::new(),
            codec: PhantomData,
        }
    }

    fn begin(&mut self, keys: usize) {
        self.cells.clear();
        self.cells.resize_with(keys, || Cell { value: None, known: false, changed: false });
        self.loaded = None;
    }

    fn flush(&mut self) -> Result<(), FunctionError> {
        self.stored_keys.clear();
        self.cleared_keys.clear();
        column::clear(&mut self.stored);
        for (key, cell) in self.cells.iter().enumerate().filter(|(_, cell)| cell.changed) {
            match &cell.value {
                Some(value) => {
                    C::write(value, &mut self.stored.bytes)?;
                    column::end_value(&mut self.stored);
                    self.stored_keys.push(key as u32);
                }
                None => self.cleared_keys.push(key as u32),
            }
        }
        if !self.stored_keys.is_empty() {
            self.source.host.value_store(self.source.state, &self.stored_keys, &self.stored);
        }
        if !self.cleared_keys.is_empty() {
            self.source.host.value_clear(self.source.state, &self.cleared_keys);
        }
        Ok(())
    }
}

impl<T, C: StateCodec<T>> ValueCells<T, C> {
    #[inline]
    fn read(&mut self, key: usize) -> &mut Cell<T> {
        if !self.cells[key].known {
            self.decode(key);
        }
        &mut self.cells[key]
    }

    /// Decodes the value of a key that was not read in this turn yet.
    #[inline(never)]
    fn decode(&mut self, key: usize) {
        if self.source.returns_expired {
            return self.ask_for_one(key);
        }
        let loaded = self.loaded.get_or_insert_with(|| self.source.host.value_load(self.source.state));
        let cell = &mut self.cells[key];
        cell.known = true;
        if loaded.present[key] != 0 {
            match C::read(column::value(&loaded.values, key)) {
                Ok(value) => cell.value = Some(value),
                Err(error) => self.source.unreadable(&error),
            }
        }
    }

    /// Asks the host for one key. The value stays unknown, so that the next read asks again: an expired value is returned once.
    fn ask_for_one(&mut self, key: usize) {
        let value = self.source.host.value_get(self.source.state, key as u32);
        self.cells[key].value = value.map(|bytes| match C::read(&bytes) {
            Ok(value) => value,
            Err(error) => self.source.unreadable(&error),
        });
    }
}

/// One value per key, declared as a field of the function: `count: ValueState<u64>`.
///
/// A record is stored as a row, and any other value as postcard; `ValueState<T, Json<T>>` stores it as JSON. In a function that windows call, each window of
/// each key has a value of its own.
///
/// The methods read and write the value of the record's key. They cannot be used in `open` or for the broadcast input, where there is
/// no key: they panic there.
pub struct ValueState<T: StateType, C = <T as StateType>::Codec> {
    state: TurnState<ValueCells<T, C>>,
}

impl<T: StateType, C: StateCodec<T>> ValueState<T, C> {
    pub(super) fn bound(binder: &Binder, name: &'static str) -> Self {
        ValueState { state: TurnState::bind(binder, name) }
    }

    pub(super) fn flush(&mut self) -> Result<(), FunctionError> {
        self.state.flush()
    }

    /// Returns a copy of the value, or `None` if the key has none.
    #[inline]
    pub fn get(&mut self) -> Option<T>
    where
        T: Clone,
    {
        self.get_ref().cloned()
    }

    /// Returns a copy of the value, or the type's default if the key has none. The default is not written.
    #[inline]
    pub fn get_or_default(&mut self) -> T
    where
        T: Clone + Default,
    {
        self.get().unwrap_or_default()
    }

    /// Returns the value itself, for types that are expensive to copy.
    #[inline]
    pub fn get_ref(&mut self) -> Option<&T> {
        let (cells, key) = self.state.current();
        cells.read(key).value.as_ref()
    }

    /// Sets the value. Reads nothing.
    #[inline]
    pub fn set(&mut self, value: T) {
        let (cells, key) = self.state.current();
        cells.cells[key] = Cell { value: Some(value), known: true, changed: true };
    }

    /// Changes the value in place and returns what the closure returns. The value is the type's default if the key has none.
    #[inline]
    pub fn update<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R
    where
        T: Default,
    {
        self.update_or(T::default, change)
    }

    /// Changes the value in place and returns what the closure returns. The value is `first()` if the key has none.
    #[inline]
    pub fn update_or<R>(&mut self, first: impl FnOnce() -> T, change: impl FnOnce(&mut T) -> R) -> R {
        let (cells, key) = self.state.current();
        let cell = cells.read(key);
        (cell.known, cell.changed) = (true, true);
        change(cell.value.get_or_insert_with(first))
    }

    /// Removes the value and returns it.
    pub fn take(&mut self) -> Option<T> {
        let (cells, key) = self.state.current();
        let cell = cells.read(key);
        (cell.known, cell.changed) = (true, true);
        cell.value.take()
    }

    /// Returns whether the key has a value.
    pub fn exists(&mut self) -> bool {
        self.get_ref().is_some()
    }

    /// Clears the value. Reads nothing.
    #[inline]
    pub fn clear(&mut self) {
        let (cells, key) = self.state.current();
        cells.cells[key] = Cell { value: None, known: true, changed: true };
    }
}

state_field!([T: StateType, C: StateCodec<T>] ValueState<T, C>, state, Value, T, C, true, String::new());

impl<T: StateType, C: StateCodec<T>> ExpiringState for ValueState<T, C> {}
