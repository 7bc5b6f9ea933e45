//! Whose a map is: a key's, or everybody's. Broadcast state is read by the keyed side and written by the other.

use super::map::{MapAccess, MapCells, Side};
use super::scan::MapIter;
use super::{MapKey, OrderedKey, Source, StateCodec};
use crate::bindings::cofferdam::function::state::{MapEntry, Values};
use crate::bindings::cofferdam::function::types::Column;
use std::borrow::Borrow;
use std::ops::RangeBounds;

/// Of maps that belong to a key.
pub enum Keyed {}

/// Of maps that belong to no key, and that every subtask holds whole.
pub enum Broadcast {}

impl Side for Keyed {
    const KEPT_WHOLE: bool = false;

    fn get(source: &Source, key: u32, sub_key: &[u8]) -> Option<Vec<u8>> {
        source.host.map_get(source.state, key, sub_key)
    }

    fn load(source: &Source, key: u32, sub_keys: &Column) -> Values {
        let keys = vec![key; crate::column::len(sub_keys)];
        source.host.map_load(source.state, &keys, sub_keys)
    }

    fn scan(source: &Source, key: u32, after: Option<&[u8]>, limit: u32) -> Vec<MapEntry> {
        source.host.map_scan(source.state, key, after, limit)
    }

    fn store(source: &Source, keys: &[u32], sub_keys: &Column, values: &Column) {
        source.host.map_store(source.state, keys, sub_keys, values);
    }

    fn remove(source: &Source, keys: &[u32], sub_keys: &Column) {
        source.host.map_remove(source.state, keys, sub_keys);
    }

    fn clear(source: &Source, keys: &[u32]) {
        source.host.map_clear(source.state, keys);
    }
}

impl Side for Broadcast {
    const KEPT_WHOLE: bool = true;

    fn get(source: &Source, _: u32, sub_key: &[u8]) -> Option<Vec<u8>> {
        source.host.broadcast_get(source.state, sub_key)
    }

    fn load(source: &Source, _: u32, sub_keys: &Column) -> Values {
        source.host.broadcast_load(source.state, sub_keys)
    }

    fn scan(source: &Source, _: u32, after: Option<&[u8]>, limit: u32) -> Vec<MapEntry> {
        source.host.broadcast_scan(source.state, after, limit)
    }

    fn store(source: &Source, _: &[u32], sub_keys: &Column, values: &Column) {
        source.host.broadcast_store(source.state, sub_keys, values);
    }

    fn remove(source: &Source, _: &[u32], sub_keys: &Column) {
        source.host.broadcast_remove(source.state, sub_keys);
    }

    fn clear(source: &Source, _: &[u32]) {
        source.host.broadcast_clear(source.state);
    }
}

/// A broadcast map as the keyed side sees it: it can be read, and not written. Obtained by `ctx.broadcast(HANDLE)`.
///
/// Iterating it reads it whole once per turn, and costs no call after that.
pub struct BroadcastView<'a, K, V, C> {
    pub(super) map: MapAccess<'a, K, V, C, Broadcast>,
}

impl<'a, K: MapKey, V: 'static, C: StateCodec<V>> BroadcastView<'a, K, V, C> {
    pub(super) fn new(cells: &'a mut MapCells<V, C, Broadcast>) -> Self {
        BroadcastView { map: MapAccess { cells, key: 0, keys: std::marker::PhantomData } }
    }

    /// See [`MapAccess::get`].
    #[inline]
    pub fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
        V: Clone,
    {
        self.map.get(key)
    }

    /// See [`MapAccess::get_ref`].
    #[inline]
    pub fn get_ref<Q>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
    {
        self.map.get_ref(key)
    }

    /// See [`MapAccess::get_all`].
    pub fn get_all<'q, Q>(&mut self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized + 'q,
        V: Clone,
    {
        self.map.get_all(keys)
    }

    /// See [`MapAccess::contains`].
    pub fn contains<Q>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
    {
        self.map.contains(key)
    }

    /// See [`MapAccess::is_empty`].
    pub fn is_empty(&mut self) -> bool
    where
        V: Clone,
    {
        self.map.is_empty()
    }

    /// See [`MapAccess::iter`].
    pub fn iter(&mut self) -> MapIter<'_, K, V, C, Broadcast>
    where
        V: Clone,
    {
        self.map.iter()
    }

    /// See [`MapAccess::keys`].
    pub fn keys(&mut self) -> impl Iterator<Item = K>
    where
        V: Clone,
    {
        self.map.keys()
    }

    /// See [`MapAccess::values`].
    pub fn values(&mut self) -> impl Iterator<Item = V>
    where
        V: Clone,
    {
        self.map.values()
    }

    /// See [`MapAccess::range`].
    pub fn range<Q>(&mut self, keys: impl RangeBounds<Q>) -> MapIter<'_, K, V, C, Broadcast>
    where
        K: Borrow<Q>,
        Q: OrderedKey,
        V: Clone,
    {
        self.map.range(keys)
    }
}
