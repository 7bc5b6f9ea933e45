//! A window as functions see it, and the elements that it holds.
//!
//! Invariant: a function always sees all elements of a window. An element that cannot be read fails the window before the call.

use crate::bindings::cofferdam::function::types::{Column, Failure, RecordValues, Timestamps, WindowBounds};
use crate::codec::Decode;
use crate::context::some_timestamp;
use crate::key::{self, Key, checked};
use crate::{FunctionError, Timestamp, column, times};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::vec;

/// A window of a key of type `K`.
pub struct Window<'a, K> {
    key: &'a [u8],
    /// The first millisecond of the window; [`Timestamp::MIN`] for a global window.
    pub start: Timestamp,
    /// The first millisecond after the window; [`Timestamp::MAX`] for a global window.
    pub end: Timestamp,
    types: PhantomData<fn() -> K>,
}

impl<'a, K: Key> Window<'a, K> {
    /// Window `index` of a call. The key has been checked.
    pub(crate) fn new(key: &'a [u8], bounds: Option<&WindowBounds>, index: usize) -> Self {
        let (start, end) = bounds.map_or((i64::MIN, i64::MAX), |bounds| (bounds.starts[index], bounds.ends[index]));
        let [start, end] = [start, end].map(Timestamp::from_millis);
        Window { key, start, end, types: PhantomData }
    }

    /// Returns the key, without copying it: a `&str` if the key is a `String`.
    pub fn key(&self) -> K::Ref<'a> {
        checked::<K>(self.key)
    }
}

impl<K> Window<'_, K> {
    /// Returns the last millisecond of the window, which is the timestamp of its results. A window that ends at
    /// [`Timestamp::MAX`] contains that millisecond.
    pub fn last(&self) -> Timestamp {
        match self.end {
            Timestamp::MAX => Timestamp::MAX,
            end => Timestamp::from_millis(end.as_millis().saturating_sub(1)),
        }
    }

    /// The bytes of the key.
    pub(crate) fn key_bytes(&self) -> &[u8] {
        self.key
    }
}

/// Writes the window's bounds in milliseconds and its key.
impl<K> fmt::Display for Window<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = key::shown(self.key);
        match (self.start, self.end) {
            (Timestamp::MIN, Timestamp::MAX) => write!(f, "global window of `{key}`"),
            (start, end) => write!(f, "window [{start}, {end}) of `{key}`"),
        }
    }
}

/// An element of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<T> {
    /// The record's value.
    pub value: T,
    /// The record's event timestamp, if it has one.
    pub timestamp: Option<Timestamp>,
}

/// The elements of a window, in the order in which they arrived.
pub struct Elements<'a, C: Decode> {
    elements: vec::IntoIter<Element<C::Value<'a>>>,
}

impl<'a, C: Decode> Elements<'a, C> {
    /// Returns the elements that are left to iterate, for a function that reads them more than once.
    pub fn as_slice(&self) -> &[Element<C::Value<'a>>] {
        self.elements.as_slice()
    }

    /// Iterates over the values without their timestamps.
    pub fn values(self) -> impl ExactSizeIterator<Item = C::Value<'a>> {
        self.elements.map(|element| element.value)
    }

    /// Returns whether no elements are left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, C: Decode> Iterator for Elements<'a, C> {
    type Item = Element<C::Value<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.elements.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.elements.size_hint()
    }
}

impl<C: Decode> ExactSizeIterator for Elements<'_, C> {}

/// The elements of several windows that came from one input.
pub(crate) struct StoredInput {
    values: Column,
    timestamps: Vec<i64>,
    ends: Vec<u32>,
    /// The name of the input in errors.
    name: &'static str,
}

impl StoredInput {
    pub(crate) fn new(
        values: RecordValues,
        timestamps: Timestamps,
        ends: Vec<u32>,
        name: &'static str,
    ) -> Result<Self, Failure> {
        let values = column::packed(values)?;
        let timestamps = times::of_input(timestamps, column::len(&values))?;
        Ok(StoredInput { values, timestamps, ends, name })
    }

    /// Returns the elements of window `index`.
    pub(crate) fn of_window(&self, index: usize) -> Stored<'_> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let range = start..self.ends[index] as usize;
        Stored { values: &self.values, timestamps: &self.timestamps, range, input: self.name }
    }
}

/// The elements that one input contributed to a window, as bytes.
pub struct Stored<'a> {
    values: &'a Column,
    timestamps: &'a [i64],
    range: Range<usize>,
    /// The name of the input in errors.
    input: &'static str,
}

impl<'a> Stored<'a> {
    pub(crate) fn elements<C: Decode>(&self) -> Result<Elements<'a, C>, FunctionError> {
        let mut elements = Vec::with_capacity(self.range.len());
        for index in self.range.clone() {
            let value = C::decode(column::value(self.values, index)).map_err(|error| {
                let element = index - self.range.start;
                format!("element {element}: {} is not {error}", self.input)
            })?;
            elements.push(Element { value, timestamp: some_timestamp(self.timestamps[index]) });
        }
        Ok(Elements { elements: elements.into_iter() })
    }
}
