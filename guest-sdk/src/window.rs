//! A window as functions see it, and the elements that it holds.
//!
//! Invariant: a function never sees a part of a window. An element that cannot be read fails the window before the call.

use crate::FunctionError;
use crate::bindings::cofferdam::function::types::Column;
use crate::codec::Decode;
use crate::column;
use crate::context::{key_str, some_timestamp};
use std::fmt;
use std::ops::Range;
use std::vec;

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

    /// The last millisecond, which is the timestamp of what the window emits. A window that ends at `i64::MAX` holds it.
    pub fn last_ms(&self) -> i64 {
        if self.end_ms == i64::MAX { i64::MAX } else { self.end_ms.saturating_sub(1) }
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

/// The elements of a window, in the order in which they arrived.
pub struct Elements<'a, C: Decode> {
    elements: vec::IntoIter<Element<C::Value<'a>>>,
}

impl<'a, C: Decode> Elements<'a, C> {
    /// Those that the iteration has not come to yet, for a function that looks at them more than once.
    pub fn as_slice(&self) -> &[Element<C::Value<'a>>] {
        self.elements.as_slice()
    }

    /// The values alone.
    pub fn values(self) -> impl ExactSizeIterator<Item = C::Value<'a>> {
        self.elements.map(|element| element.value)
    }

    /// Whether there are none.
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

/// The elements that one input brought to a window, as bytes.
pub struct Stored<'a> {
    pub(crate) values: &'a Column,
    pub(crate) timestamps: &'a [i64],
    pub(crate) range: Range<usize>,
    /// What the input is called in errors.
    pub(crate) input: &'static str,
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
