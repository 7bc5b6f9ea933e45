//! A value state during a turn: one cell per distinct key, holding the decoded value.
//!
//! The first read of any key loads the bytes of all keys in one call. A key is decoded when it is first read, and written
//! once at the end of the turn however often it was set.

use super::{Cells, Source, StateCodec};
use crate::FunctionError;
use crate::bindings::cofferdam::function::{state::Values, types::Column};
use crate::column;
use std::marker::PhantomData;

pub(crate) struct ValueCells<T, C> {
    source: Source,
    cells: Vec<Cell<T>>,
    /// What the host knows of all keys, once it was asked.
    loaded: Option<Values>,
    /// Scratch memory of `flush`.
    stored_keys: Vec<u32>,
    stored: Column,
    cleared_keys: Vec<u32>,
    codec: PhantomData<fn() -> C>,
}

struct Cell<T> {
    value: Option<T>,
    /// Whether `value` is what the key has.
    known: bool,
    /// Whether it differs from what the host has.
    changed: bool,
}

impl<T: 'static, C: StateCodec<T>> Cells for ValueCells<T, C> {
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

    /// Reads the value of a key that was not looked at in this turn.
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
}

impl<T, C: StateCodec<T>> ValueCells<T, C> {
    /// Asks for one key. The value stays unknown, so that the next read asks again: what has expired is given once.
    fn ask_for_one(&mut self, key: usize) {
        let value = self.source.host.value_get(self.source.state, key as u32);
        self.cells[key].value = value.map(|bytes| match C::read(&bytes) {
            Ok(value) => value,
            Err(error) => self.source.unreadable(&error),
        });
    }
}

/// The value of the current key. Obtained by `ctx.state(HANDLE)`.
pub struct ValueAccess<'a, T, C> {
    pub(super) cells: &'a mut ValueCells<T, C>,
    pub(super) key: usize,
}

impl<'a, T, C: StateCodec<T>> ValueAccess<'a, T, C> {
    /// A copy of the value, or `None` where the key has none.
    #[inline]
    pub fn get(&mut self) -> Option<T>
    where
        T: Clone,
    {
        self.cells.read(self.key).value.clone()
    }

    /// A copy of the value, or the type's default where the key has none. The default is not written.
    #[inline]
    pub fn get_or_default(&mut self) -> T
    where
        T: Clone + Default,
    {
        self.get().unwrap_or_default()
    }

    /// The value itself, for types that are dear to copy.
    pub fn get_ref(self) -> Option<&'a T> {
        self.cells.read(self.key).value.as_ref()
    }

    /// Sets the value. Reads nothing.
    #[inline]
    pub fn set(&mut self, value: T) {
        self.cells.cells[self.key] = Cell { value: Some(value), known: true, changed: true };
    }

    /// Changes the value in place, beginning with the type's default where the key has none, and returns what the closure
    /// returns.
    #[inline]
    pub fn update<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R
    where
        T: Default,
    {
        self.update_or(T::default, change)
    }

    /// Changes the value in place, beginning with `first()` where the key has none, and returns what the closure returns.
    #[inline]
    pub fn update_or<R>(&mut self, first: impl FnOnce() -> T, change: impl FnOnce(&mut T) -> R) -> R {
        let cell = self.cells.read(self.key);
        (cell.known, cell.changed) = (true, true);
        change(cell.value.get_or_insert_with(first))
    }

    /// Takes the value out: the key has none after it.
    pub fn take(&mut self) -> Option<T> {
        let cell = self.cells.read(self.key);
        (cell.known, cell.changed) = (true, true);
        cell.value.take()
    }

    /// Whether the key has a value.
    pub fn exists(&mut self) -> bool {
        self.cells.read(self.key).value.is_some()
    }

    /// Clears the value. Reads nothing.
    #[inline]
    pub fn clear(&mut self) {
        self.cells.cells[self.key] = Cell { value: None, known: true, changed: true };
    }
}
