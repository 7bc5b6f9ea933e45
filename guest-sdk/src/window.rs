//! A window as functions see it, and the elements that it holds.
//!
//! Invariant: elements are decoded as they are looked at. One that cannot be read ends the iteration and fails the window,
//! whatever the function makes of the others.

use crate::FunctionError;
use crate::bindings::cofferdam::function::types::Column;
use crate::codec::Decode;
use crate::column;
use crate::context::{key_str, some_timestamp};
use std::cell::OnceCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

/// A window of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window<'a> {
    /// The key, as the pipeline's `key` made it.
    pub key: &'a [u8],
    /// The first millisecond; of a global window `i64::MIN`.
    pub start_ms: i64,
    /// The first millisecond behind it; of a global window `i64::MAX`.
    pub end_ms: i64,
}

impl<'a> Window<'a> {
    /// The key as text.
    ///
    /// # Errors
    /// Where the key is not UTF-8.
    pub fn key_str(&self) -> Result<&'a str, FunctionError> {
        key_str(self.key)
    }

    /// The last millisecond, which is the timestamp of what the window emits.
    pub fn last_ms(&self) -> i64 {
        self.end_ms.saturating_sub(1)
    }
}

impl fmt::Display for Window<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = String::from_utf8_lossy(self.key);
        match (self.start_ms, self.end_ms) {
            (i64::MIN, i64::MAX) => write!(f, "global window of `{key}`"),
            (start, end) => write!(f, "window [{start}, {end}) of `{key}`"),
        }
    }
}

/// An element of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<T> {
    /// The record's value.
    pub value: T,
    /// Its event timestamp in milliseconds since the Unix epoch, where it has one.
    pub timestamp: Option<i64>,
}

/// The elements of a window, in the order in which they arrived. They are decoded as they are looked at; a clone begins
/// where this one is.
pub struct Elements<'a, C> {
    stored: Stored<'a>,
    codec: PhantomData<fn() -> C>,
}

impl<'a, C: Decode> Elements<'a, C> {
    /// The values alone.
    pub fn values(self) -> impl Iterator<Item = C::Value<'a>> {
        self.map(|element| element.value)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, C: Decode> Iterator for Elements<'a, C> {
    type Item = Element<C::Value<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.stored.range.next()?;
        let Stored { values, timestamps, input, unreadable, .. } = self.stored;
        match C::decode(column::value(values, index)) {
            Ok(value) => Some(Element { value, timestamp: some_timestamp(timestamps[index]) }),
            Err(error) => {
                self.stored.range = 0..0;
                let _ = unreadable.set(format!("{input} is not {error}").into());
                None
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stored.range.size_hint()
    }
}

impl<C: Decode> ExactSizeIterator for Elements<'_, C> {}

impl<C> Clone for Elements<'_, C> {
    fn clone(&self) -> Self {
        Elements { stored: self.stored.clone(), codec: PhantomData }
    }
}

/// The elements that one input brought to a window, as bytes.
#[derive(Clone)]
pub struct Stored<'a> {
    pub(crate) values: &'a Column,
    pub(crate) timestamps: &'a [i64],
    pub(crate) range: Range<usize>,
    /// What the input is called in errors.
    pub(crate) input: &'static str,
    /// Why an element could not be read.
    pub(crate) unreadable: &'a OnceCell<FunctionError>,
}

impl<'a> Stored<'a> {
    pub(crate) fn elements<C: Decode>(&self) -> Elements<'a, C> {
        Elements { stored: self.clone(), codec: PhantomData }
    }
}
