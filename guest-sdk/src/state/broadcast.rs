//! `BroadcastState`: a map that belongs to no key. The keyed input reads it, the broadcast input writes it.

use super::map::{MapOwner, MapState};
use super::map_key::{self, MapKey, OrderedKey};
use super::scan::MapIter;
use super::turn_state::state_field;
use super::{Source, StateCodec};
use crate::bindings::cofferdam::function::state::{MapEntry, Values};
use crate::bindings::cofferdam::function::types::Column;
use crate::context::BroadcastContext;
use crate::fields::Binder;
use crate::shape::StateType;
use std::borrow::Borrow;
use std::ops::RangeBounds;

/// Marks a map that belongs to one key.
pub enum OfOneKey {}

/// Marks a map that belongs to no key, and of which every subtask has a copy.
pub enum OfAllSubtasks {}

impl MapOwner for OfOneKey {
    const IS_KEYED: bool = true;
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

impl MapOwner for OfAllSubtasks {
    const IS_KEYED: bool = false;
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

/// A map that belongs to no key and of which every subtask has a copy, declared as a field of a
/// [`BroadcastProcessFunction`](crate::BroadcastProcessFunction): `rules: BroadcastState<String, u64>`.
///
/// Both inputs may read it. Only the broadcast input may write it, by [`BroadcastState::write`], because a change by the keyed input
/// would reach one subtask only. The first iteration in a turn loads the whole map; further ones load nothing.
pub struct BroadcastState<K, V: StateType, C = <V as StateType>::Codec> {
    map: MapState<K, V, C, OfAllSubtasks>,
}

impl<K: MapKey, V: StateType, C: StateCodec<V>> BroadcastState<K, V, C> {
    fn bound(binder: &Binder, name: &'static str) -> Self {
        BroadcastState { map: MapState::bound(binder, name) }
    }

    /// Returns the map for writing. The context is the one of `process_broadcast`.
    pub fn write(&mut self, _: &BroadcastContext) -> &mut MapState<K, V, C, OfAllSubtasks> {
        &mut self.map
    }

    /// See [`MapState::get`].
    #[inline]
    pub fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
        V: Clone,
    {
        self.map.get(key)
    }

    /// See [`MapState::get_ref`].
    #[inline]
    pub fn get_ref<Q>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
    {
        self.map.get_ref(key)
    }

    /// See [`MapState::get_all`].
    pub fn get_all<'q, Q>(&mut self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized + 'q,
        V: Clone,
    {
        self.map.get_all(keys)
    }

    /// See [`MapState::contains`].
    pub fn contains<Q>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: OrderedKey + ?Sized,
    {
        self.map.contains(key)
    }

    /// See [`MapState::is_empty`].
    pub fn is_empty(&mut self) -> bool
    where
        V: Clone,
    {
        self.map.is_empty()
    }

    /// See [`MapState::iter`].
    pub fn iter(&mut self) -> MapIter<'_, K, V, C, OfAllSubtasks>
    where
        V: Clone,
    {
        self.map.iter()
    }

    /// See [`MapState::keys`].
    pub fn keys(&mut self) -> impl Iterator<Item = K>
    where
        V: Clone,
    {
        self.map.keys()
    }

    /// See [`MapState::values`].
    pub fn values(&mut self) -> impl Iterator<Item = V>
    where
        V: Clone,
    {
        self.map.values()
    }

    /// See [`MapState::range`].
    pub fn range<Q>(&mut self, keys: impl RangeBounds<Q>) -> MapIter<'_, K, V, C, OfAllSubtasks>
    where
        K: Borrow<Q>,
        Q: OrderedKey,
        V: Clone,
    {
        self.map.range(keys)
    }
}

state_field!(
    [K: MapKey, V: StateType, C: StateCodec<V>] BroadcastState<K, V, C>, map, Broadcast, V, C, false,
    map_key::described::<K>()
);
