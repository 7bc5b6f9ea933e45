//! `MapState`: for each distinct key of the turn, the decoded entries that the function has read or written.
//!
//! An entry is loaded when it is first read. It is written once, at the end of the turn, however often it was changed; all changes
//! of all keys go to the host in one call. Iterating merges the stored entries with those of the turn: see `scan`.

use super::gaps::{Gaps, SubKeyRange};
use super::map_key::{self, MapKey, OrderedKey};
use super::scan::{MapIter, Range};
use super::turn_state::{Cells, TurnState, state_field};
use super::{ExpiringState, OfOneKey, Source, StateCodec};
use crate::FunctionError;
use crate::bindings::cofferdam::function::state::{MapEntry, Values};
use crate::bindings::cofferdam::function::types::Column;
use crate::column;
use crate::fields::Binder;
use crate::shape::StateType;
use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

/// The owner of a map: one key, or all subtasks (broadcast state). It chooses the functions of the host to call.
pub trait MapOwner: 'static {
    #[doc(hidden)]
    const IS_KEYED: bool;
    /// Whether the first iteration loads all entries for the rest of the turn.
    #[doc(hidden)]
    const KEPT_WHOLE: bool;
    #[doc(hidden)]
    fn get(source: &Source, key: u32, sub_key: &[u8]) -> Option<Vec<u8>>;
    #[doc(hidden)]
    fn load(source: &Source, key: u32, sub_keys: &Column) -> Values;
    #[doc(hidden)]
    fn scan(source: &Source, key: u32, after: Option<&[u8]>, limit: u32) -> Vec<MapEntry>;
    #[doc(hidden)]
    fn store(source: &Source, keys: &[u32], sub_keys: &Column, values: &Column);
    #[doc(hidden)]
    fn remove(source: &Source, keys: &[u32], sub_keys: &Column);
    #[doc(hidden)]
    fn clear(source: &Source, keys: &[u32]);
}

pub(crate) struct MapCells<V, C, S> {
    pub(super) source: Source,
    pub(super) maps: Vec<KnownMap<V>>,
    /// The bytes of the sub-key of the current operation.
    sub_key: Vec<u8>,
    /// Scratch memory of `flush`.
    stored: Changes,
    removed: Changes,
    cleared: Vec<u32>,
    /// The removed range that the last iteration skipped before its first entry, and the index of its map.
    pub(super) passed: RefCell<Option<(usize, SubKeyRange)>>,
    types: PhantomData<fn() -> (C, S)>,
}

/// The entries of one map that the turn has read or written.
pub(super) struct KnownMap<V> {
    pub(super) entries: BTreeMap<Vec<u8>, Cell<V>>,
    /// Whether the map has no other entries.
    pub(super) whole: bool,
    /// Whether the stored map is cleared.
    cleared: bool,
    pub(super) gaps: Option<Box<Gaps>>,
}

impl<V> KnownMap<V> {
    fn new(is_cleared: bool) -> Self {
        KnownMap { entries: BTreeMap::new(), whole: is_cleared, cleared: is_cleared, gaps: None }
    }

    /// Returns the last sub-key of the gap that contains a sub-key, if there is one.
    pub(super) fn gap_end(&self, sub_key: &[u8]) -> Option<&[u8]> {
        self.gaps.as_ref()?.end_of(sub_key)
    }
}

pub(super) struct Cell<V> {
    pub(super) value: Option<V>,
    /// Whether it differs from the stored value.
    changed: bool,
}

/// Changed entries of all keys.
struct Changes {
    keys: Vec<u32>,
    sub_keys: Column,
    values: Column,
}

impl Changes {
    fn new() -> Self {
        Changes { keys: Vec::new(), sub_keys: column::empty(), values: column::empty() }
    }

    fn discard(&mut self) {
        self.keys.clear();
        column::clear(&mut self.sub_keys);
        column::clear(&mut self.values);
    }

    fn add(&mut self, key: usize, sub_key: &[u8]) {
        self.keys.push(key as u32);
        self.sub_keys.bytes.extend_from_slice(sub_key);
        column::end_value(&mut self.sub_keys);
    }
}

impl<V, C: StateCodec<V>, S: MapOwner> Cells for MapCells<V, C, S> {
    const IS_KEYED: bool = S::IS_KEYED;

    fn new(source: Source) -> Self {
        MapCells {
            source,
            maps: Vec::new(),
            sub_key: Vec::new(),
            stored: Changes::new(),
            removed: Changes::new(),
            cleared: Vec::new(),
            passed: RefCell::new(None),
            types: PhantomData,
        }
    }

    fn begin(&mut self, keys: usize) {
        self.maps.clear();
        self.maps.resize_with(keys, || KnownMap::new(false));
        self.passed.take();
    }

    fn flush(&mut self) -> Result<(), FunctionError> {
        self.stored.discard();
        self.removed.discard();
        self.cleared.clear();
        for (key, map) in self.maps.iter().enumerate() {
            if map.cleared {
                self.cleared.push(key as u32);
            }
            for (sub_key, cell) in map.entries.iter().filter(|(_, cell)| cell.changed) {
                match &cell.value {
                    Some(value) => {
                        self.stored.add(key, sub_key);
                        C::write(value, &mut self.stored.values.bytes)?;
                        column::end_value(&mut self.stored.values);
                    }
                    // The map is cleared, so there is nothing to remove.
                    None if map.cleared => {}
                    None => self.removed.add(key, sub_key),
                }
            }
            let buried = map.gaps.iter().filter(|_| !map.cleared).flat_map(|gaps| &gaps.removed);
            buried.for_each(|sub_key| self.removed.add(key, sub_key));
        }
        if !self.cleared.is_empty() {
            S::clear(&self.source, &self.cleared);
        }
        if !self.stored.keys.is_empty() {
            S::store(&self.source, &self.stored.keys, &self.stored.sub_keys, &self.stored.values);
        }
        if !self.removed.keys.is_empty() {
            S::remove(&self.source, &self.removed.keys, &self.removed.sub_keys);
        }
        Ok(())
    }
}

impl<V, C: StateCodec<V>, S: MapOwner> MapCells<V, C, S> {
    fn look_for<Q: OrderedKey + ?Sized>(&mut self, sub_key: &Q) {
        self.sub_key.clear();
        sub_key.write(&mut self.sub_key);
    }

    fn decode(&self, bytes: &[u8]) -> V {
        match C::read(bytes) {
            Ok(value) => value,
            Err(error) => self.source.unreadable(&error),
        }
    }

    /// Adds a stored entry, unless the turn knows a newer one.
    fn learn(&mut self, key: usize, sub_key: Vec<u8>, bytes: Option<&[u8]>) {
        let value = bytes.map(|bytes| self.decode(bytes));
        if !self.holds(key, &sub_key) {
            self.maps[key].entries.insert(sub_key, Cell { value, changed: false });
        }
    }

    /// Whether the entry is known without asking the host. An expired entry that was returned is not known: it is returned once.
    fn knows(&self, key: usize, sub_key: &[u8]) -> bool {
        self.maps[key].whole || self.holds(key, sub_key)
    }

    /// Whether the turn knows the entry better than the host.
    fn holds(&self, key: usize, sub_key: &[u8]) -> bool {
        let map = &self.maps[key];
        let is_known = |cell: &Cell<V>| cell.changed || !self.source.returns_expired;
        map.entries.get(sub_key).is_some_and(is_known) || map.gap_end(sub_key).is_some()
    }

    /// Loads the entry of the current sub-key, if it is not known.
    fn ask(&mut self, key: usize) {
        if self.knows(key, &self.sub_key) {
            return;
        }
        let bytes = S::get(&self.source, key as u32, &self.sub_key);
        self.learn(key, self.sub_key.clone(), bytes.as_deref());
    }

    #[inline]
    fn read(&mut self, key: usize) -> Option<&V> {
        self.ask(key);
        self.maps[key].entries.get(&self.sub_key)?.value.as_ref()
    }

    fn write(&mut self, key: usize, value: Option<V>) {
        let KnownMap { entries, gaps, .. } = &mut self.maps[key];
        if let Some(gaps) = gaps {
            gaps.removed.remove(&self.sub_key);
        }
        match entries.get_mut(&self.sub_key) {
            Some(cell) => *cell = Cell { value, changed: true },
            None => drop(entries.insert(self.sub_key.clone(), Cell { value, changed: true })),
        }
    }

    fn clear(&mut self, key: usize) {
        self.maps[key] = KnownMap::new(true);
        self.passed.take();
    }

    /// Makes a gap of the range that the last iteration skipped, so that the next one does not skip it entry by entry.
    fn bury_passed(&mut self) {
        let Some((key, (first, last))) = self.passed.take() else { return };
        let KnownMap { entries, gaps, .. } = &mut self.maps[key];
        let gaps = gaps.get_or_insert_default();
        let is_removed = |(_, cell): &(&Vec<u8>, &Cell<V>)| cell.value.is_none();
        let within = entries.range(first.clone()..=last.clone()).filter(is_removed);
        let removed: Vec<Vec<u8>> = within.map(|(sub_key, _)| sub_key.clone()).collect();
        for sub_key in removed {
            // An unchanged entry without a value is not stored, so there is nothing to remove.
            if entries.remove(&sub_key).is_some_and(|cell| cell.changed) {
                gaps.removed.insert(sub_key);
            }
        }
        gaps.add((first, last));
    }

    /// Loads several entries in one call.
    fn load(&mut self, key: usize, sub_keys: Vec<Vec<u8>>) {
        let unknown: Vec<_> = sub_keys.into_iter().filter(|sub_key| !self.knows(key, sub_key)).collect();
        if unknown.is_empty() {
            return;
        }
        let mut asked = column::empty();
        for sub_key in &unknown {
            asked.bytes.extend_from_slice(sub_key);
            column::end_value(&mut asked);
        }
        let loaded = S::load(&self.source, key as u32, &asked);
        for (index, sub_key) in unknown.into_iter().enumerate() {
            let bytes = (loaded.present[index] != 0).then(|| column::value(&loaded.values, index));
            self.learn(key, sub_key, bytes);
        }
    }

    /// Loads all entries.
    fn load_whole(&mut self, key: usize) {
        const PAGE: u32 = 1024;
        let mut after: Option<Vec<u8>> = None;
        while !self.maps[key].whole {
            let page = S::scan(&self.source, key as u32, after.as_deref(), PAGE);
            self.maps[key].whole = page.len() < PAGE as usize;
            after = page.last().map(|entry| entry.key.clone());
            for entry in page {
                self.learn(key, entry.key, Some(&entry.value));
            }
        }
    }
}

/// One map per key, declared as a field of the function: `seen: MapState<String, u32>`. It is iterated in the order of its keys.
///
/// Keys are given by reference, as what they borrow as: `get("name")` if they are `String`s. The values are stored like that of a [`ValueState`](crate::ValueState), or as
/// `C` says. See [`ValueState`](crate::ValueState) for where a state can be used.
///
/// ```
/// # use cofferdam_sdk::prelude::*;
/// #[derive(Function)]
/// struct Words {
///     seen: MapState<String, u32>,
/// }
///
/// #[function]
/// impl KeyedProcessFunction for Words {
///     type Key = String;
///     type In = Text;
///     type Out = Text;
///
///     fn process_element(&mut self, word: &str, _: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
///         self.seen.update(word, |count| *count += 1);
///         for (word, count) in self.seen.iter() {
///             out.emit(format!("{word} {count}"));
///         }
///         Ok(())
///     }
/// }
///
/// let mut harness = cofferdam_sdk::testing::Harness::<Words>::new();
/// harness.push_batch([("en", "tea", 0), ("en", "jam", 1)])?;
/// assert_eq!(harness.take_output()?, ["tea 1", "jam 1", "tea 1"]);
/// let seen: Vec<_> = harness.read_state("en", |words| words.seen.iter().collect());
/// assert_eq!(seen, [("jam".to_owned(), 1), ("tea".to_owned(), 1)]);
/// # Ok::<(), FunctionError>(())
/// ```
pub struct MapState<K, V: StateType, C = <V as StateType>::Codec, S = OfOneKey> {
    state: TurnState<MapCells<V, C, S>>,
    keys: PhantomData<fn() -> K>,
}

impl<K: MapKey, V: StateType, C: StateCodec<V>, S: MapOwner> MapState<K, V, C, S> {
    pub(super) fn bound(binder: &Binder, name: &'static str) -> Self {
        MapState { state: TurnState::bind(binder, name), keys: PhantomData }
    }

    pub(super) fn flush(&mut self) -> Result<(), FunctionError> {
        self.state.flush()
    }

    /// Returns a copy of the value under a key, or `None` if there is none.
    #[inline]
    pub fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
        V: Clone,
    {
        self.get_ref(key).cloned()
    }

    /// Returns a copy of the value under a key, or the type's default if there is none. The default is not written.
    #[inline]
    pub fn get_or_default<Q>(&mut self, key: &Q) -> V
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
        V: Clone + Default,
    {
        self.get(key).unwrap_or_default()
    }

    /// Returns the value under a key itself, for types that are expensive to copy.
    #[inline]
    pub fn get_ref<Q>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
    {
        let (cells, map) = self.state.current();
        cells.look_for(key);
        cells.read(map)
    }

    /// Returns copies of the values under several keys. They are loaded in one call, which is cheaper than one by one.
    pub fn get_all<'q, Q>(&mut self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized + 'q,
        V: Clone,
    {
        let written = |key: &Q| {
            let mut sub_key = Vec::new();
            key.write(&mut sub_key);
            sub_key
        };
        let sub_keys: Vec<_> = keys.into_iter().map(written).collect();
        let (cells, map) = self.state.current();
        cells.load(map, sub_keys.clone());
        let entries = &cells.maps[map].entries;
        sub_keys.iter().map(|sub_key| entries.get(sub_key)?.value.clone()).collect()
    }

    /// Returns whether there is a value under a key.
    pub fn contains<Q>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
    {
        self.get_ref(key).is_some()
    }

    /// Sets the value under a key. Reads nothing.
    #[inline]
    pub fn insert<Q>(&mut self, key: &Q, value: V)
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
    {
        let (cells, map) = self.state.current();
        cells.look_for(key);
        cells.write(map, Some(value));
    }

    /// Changes the value under a key in place and returns what the closure returns. The value is the type's default if there is
    /// none.
    pub fn update<Q, R>(&mut self, key: &Q, change: impl FnOnce(&mut V) -> R) -> R
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
        V: Default,
    {
        let (cells, map) = self.state.current();
        cells.look_for(key);
        cells.ask(map);
        let entries = &mut cells.maps[map].entries;
        let mut value = entries.get_mut(&cells.sub_key).and_then(|cell| cell.value.take()).unwrap_or_default();
        let returned = change(&mut value);
        cells.write(map, Some(value));
        returned
    }

    /// Removes the value under a key. Reads nothing.
    pub fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
    {
        let (cells, map) = self.state.current();
        cells.look_for(key);
        cells.write(map, None);
    }

    /// Removes all values. Reads nothing.
    pub fn clear(&mut self) {
        let (cells, map) = self.state.current();
        cells.clear(map);
    }

    /// Returns whether the map has no entries.
    pub fn is_empty(&mut self) -> bool
    where
        V: Clone,
    {
        self.scan(Range::all(), 1).next().is_none()
    }

    /// Iterates over copies of all entries, in the order of the keys.
    pub fn iter(&mut self) -> MapIter<'_, K, V, C, S>
    where
        V: Clone,
    {
        self.scan(Range::all(), MapIter::<K, V, C, S>::FIRST_PAGE)
    }

    /// Iterates over all keys, in order.
    pub fn keys(&mut self) -> impl Iterator<Item = K>
    where
        V: Clone,
    {
        self.iter().map(|(key, _)| key)
    }

    /// Iterates over copies of all values, in the order of their keys.
    pub fn values(&mut self) -> impl Iterator<Item = V>
    where
        V: Clone,
    {
        self.iter().map(|(_, value)| value)
    }

    /// Iterates over copies of the entries whose keys are within a range, in the order of the keys.
    pub fn range<Q>(&mut self, keys: impl RangeBounds<Q>) -> MapIter<'_, K, V, C, S>
    where
        K: Borrow<Q>,
        Q: OrderedKey,
        V: Clone,
    {
        let bytes = |bound: Bound<&Q>| {
            bound.map(|key| {
                let mut bytes = Vec::new();
                key.write(&mut bytes);
                bytes
            })
        };
        let range = Range { start: bytes(keys.start_bound()), end: bytes(keys.end_bound()) };
        self.scan(range, MapIter::<K, V, C, S>::FIRST_PAGE)
    }

    fn scan(&mut self, range: Range, first_page: u32) -> MapIter<'_, K, V, C, S> {
        let (cells, map) = self.state.current();
        cells.bury_passed();
        if S::KEPT_WHOLE {
            cells.load_whole(map);
        } else if cells.source.returns_expired {
            // The host has removed the expired entries that were read.
            cells.maps[map].entries.retain(|_, cell| cell.changed);
        }
        MapIter::new(&*cells, map, range, first_page)
    }
}

state_field!(
    [K: MapKey, V: StateType, C: StateCodec<V>] MapState<K, V, C>, state, Map, V, C, true, map_key::described::<K>()
);

impl<K: MapKey, V: StateType, C: StateCodec<V>> ExpiringState for MapState<K, V, C> {}
