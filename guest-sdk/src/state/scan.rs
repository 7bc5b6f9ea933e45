//! Iterates over a map: the stored entries, page by page, merged with the entries that the turn knows.
//!
//! Invariant: an entry that the turn knows hides the stored one, so that a turn reads its own writes.

use super::map::{Cell, MapCells, MapOwner};
use super::{MapKey, StateCodec};
use crate::bindings::cofferdam::function::state::MapEntry;
use std::cmp::Ordering;
use std::collections::btree_map;
use std::iter::Peekable;
use std::marker::PhantomData;
use std::ops::Bound;
use std::vec;

/// A range of sub-keys, as bytes.
pub(super) struct Range {
    pub(super) start: Bound<Vec<u8>>,
    pub(super) end: Bound<Vec<u8>>,
}

impl Range {
    pub(super) fn all() -> Self {
        Range { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                start >= end
            }
            _ => false,
        }
    }

    /// Returns the smallest sub-key that the range can contain.
    fn first(&self) -> Vec<u8> {
        match &self.start {
            Bound::Included(start) => start.clone(),
            Bound::Excluded(start) => [start.as_slice(), &[0]].concat(),
            Bound::Unbounded => Vec::new(),
        }
    }

    fn is_over(&self, sub_key: &[u8]) -> bool {
        match &self.end {
            Bound::Included(end) => sub_key > end.as_slice(),
            Bound::Excluded(end) => sub_key >= end.as_slice(),
            Bound::Unbounded => false,
        }
    }
}

/// Iterates over the entries of a map in the order of their keys: see [`MapState::iter`](crate::MapState::iter).
pub struct MapIter<'a, K, V, C, S> {
    cells: &'a MapCells<V, C, S>,
    key: usize,
    range: Range,
    /// The loaded entries that are left.
    page: Peekable<vec::IntoIter<MapEntry>>,
    page_size: u32,
    /// The next page begins after this sub-key.
    after: Option<Vec<u8>>,
    /// Whether the host has no further entries.
    ended: bool,
    known: Peekable<btree_map::Range<'a, Vec<u8>, Cell<V>>>,
    /// The last sub-key that was skipped before the first entry was returned.
    passed: Option<Vec<u8>>,
    has_returned: bool,
    keys: PhantomData<fn() -> K>,
}

impl<'a, K, V, C, S: MapOwner> MapIter<'a, K, V, C, S> {
    pub(super) const FIRST_PAGE: u32 = 64;
    const PAGE_MAX: u32 = 512;

    pub(super) fn new(cells: &'a MapCells<V, C, S>, key: usize, mut range: Range, first_page: u32) -> Self {
        let map = &cells.maps[key];
        if range.is_empty() {
            // `BTreeMap::range` panics for such a range.
            range = Range { start: Bound::Included(Vec::new()), end: Bound::Excluded(Vec::new()) };
        }
        let known = map
            .entries
            .range::<[u8], _>((range.start.as_ref().map(Vec::as_slice), range.end.as_ref().map(Vec::as_slice)));
        let mut iter = MapIter {
            cells,
            key,
            page: Vec::new().into_iter().peekable(),
            page_size: first_page,
            after: None,
            ended: map.whole || range.is_empty(),
            known: known.peekable(),
            passed: None,
            has_returned: false,
            keys: PhantomData,
            range,
        };
        iter.begin();
        iter
    }

    /// Loads the first entry of a range that includes its start. A scan of the host begins after a sub-key.
    fn begin(&mut self) {
        if self.ended {
            return;
        }
        let first = self.range.first();
        if let Some(end) = self.cells.maps[self.key].gap_end(&first) {
            self.after = Some(end.to_vec());
            return;
        }
        if let Bound::Included(start) = &self.range.start {
            let value = S::get(&self.cells.source, self.key as u32, start);
            let first = value.map(|value| MapEntry { key: start.clone(), value });
            self.page = Vec::from_iter(first).into_iter().peekable();
        }
        self.after = match &self.range.start {
            Bound::Included(start) | Bound::Excluded(start) => Some(start.clone()),
            Bound::Unbounded => None,
        };
    }

    /// Continues after the gap that contains the next stored entry. Returns whether there is such a gap.
    fn leave_gap(&mut self) -> bool {
        let Some(next) = self.page.peek() else { return false };
        let Some(end) = self.cells.maps[self.key].gap_end(&next.key) else { return false };
        while self.page.next_if(|entry| entry.key.as_slice() <= end).is_some() {}
        if self.page.peek().is_none() && self.after.as_deref().is_some_and(|after| after < end) {
            self.after = Some(end.to_vec());
        }
        self.pass(end);
        true
    }

    /// Notes that no entry up to a sub-key is returned.
    fn pass(&mut self, sub_key: &[u8]) {
        if !self.has_returned && self.passed.as_deref().is_none_or(|passed| passed < sub_key) {
            self.passed = Some(sub_key.to_vec());
        }
    }

    /// Before the first entry is returned, keeps the skipped range for the next iteration.
    fn note_skipped(&mut self) {
        if !std::mem::replace(&mut self.has_returned, true)
            && let Some(last) = self.passed.take()
        {
            *self.cells.passed.borrow_mut() = Some((self.key, (self.range.first(), last)));
        }
    }

    /// Returns the next stored entry.
    fn stored(&mut self) -> Option<&MapEntry> {
        if self.page.peek().is_none() && !self.ended {
            let page = S::scan(&self.cells.source, self.key as u32, self.after.as_deref(), self.page_size);
            self.ended = page.len() < self.page_size as usize;
            self.page_size = (self.page_size * 4).min(Self::PAGE_MAX);
            self.after = page.last().map(|entry| entry.key.clone());
            self.page = page.into_iter().peekable();
        }
        if self.page.peek().is_some_and(|entry| self.range.is_over(&entry.key)) {
            self.ended = true;
            self.page = Vec::new().into_iter().peekable();
        }
        self.page.peek()
    }
}

impl<K: MapKey, V: Clone, C: StateCodec<V>, S: MapOwner> Iterator for MapIter<'_, K, V, C, S> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        loop {
            let known = self.known.peek().map(|(sub_key, _)| *sub_key);
            let order = match (self.stored(), known) {
                (None, None) => {
                    self.note_skipped();
                    return None;
                }
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(stored), Some(known)) => stored.key.cmp(known),
            };
            let (sub_key, value) = match order {
                Ordering::Less if self.leave_gap() => continue,
                Ordering::Less => {
                    let MapEntry { key, value } = self.page.next()?;
                    (K::read(&key), C::read(&value))
                }
                Ordering::Equal => {
                    self.page.next();
                    continue;
                }
                Ordering::Greater => match self.known.next()? {
                    (sub_key, Cell { value: Some(value), .. }) => (K::read(sub_key), Ok(value.clone())),
                    (sub_key, _) => {
                        self.pass(sub_key);
                        continue;
                    }
                },
            };
            self.note_skipped();
            match (sub_key, value) {
                (Ok(sub_key), Ok(value)) => return Some((sub_key, value)),
                (Err(error), _) | (_, Err(error)) => self.cells.source.unreadable(&error),
            }
        }
    }
}
