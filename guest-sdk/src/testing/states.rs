//! The states of a harness, with the time of each entry's last update.
//!
//! Invariant: an expired entry stays, as in a host that has not cleaned up yet. It cannot be read, or once if its state returns expired
//! entries.

use crate::bindings::exports::cofferdam::function::guest::{StateDescription, TimeToLive, TtlUpdate};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The index of a state, and a key. Broadcast state has the empty key.
pub(super) type Place = (u32, Vec<u8>);

/// Bytes, and the processing time of their last update.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stamped {
    pub(super) bytes: Vec<u8>,
    updated: i64,
}

/// The entries of one key in one state, in order: one value, the elements of a list, or the entries of a map by their sub-keys. Values
/// and elements have empty sub-keys.
pub(super) type Held = Vec<(Vec<u8>, Stamped)>;

/// All states.
#[derive(Clone, Default)]
pub(super) struct States {
    pub(super) held: BTreeMap<Place, Held>,
    /// The time to live of each state.
    ttl: Vec<Option<TimeToLive>>,
}

impl States {
    pub(super) fn new(states: &[StateDescription]) -> Self {
        States { held: BTreeMap::new(), ttl: states.iter().map(|state| state.ttl).collect() }
    }

    fn is_readable(ttl: Option<TimeToLive>, stamped: &Stamped, now: i64) -> bool {
        ttl.is_none_or(|ttl| ttl.return_expired || !is_expired(ttl, stamped, now))
    }

    fn ttl(&self, state: u32) -> Option<TimeToLive> {
        self.ttl.get(state as usize).copied().flatten()
    }

    /// Returns the readable entries of a key, without changing them.
    pub(super) fn peek(&self, state: u32, key: &[u8], now: i64) -> impl Iterator<Item = (&[u8], &[u8])> {
        let ttl = self.ttl(state);
        let held = self.held.get(&(state, key.to_vec())).map_or(&[][..], Vec::as_slice);
        let readable = held.iter().filter(move |(_, stamped)| Self::is_readable(ttl, stamped, now));
        readable.map(|(sub_key, stamped)| (sub_key.as_slice(), stamped.bytes.as_slice()))
    }

    /// Reads the entries whose sub-keys are `wanted`. Refreshes live entries if the state says so. Removes expired entries if `once`.
    pub(super) fn read(
        &mut self,
        (state, key): Place,
        now: i64,
        mut wanted: impl FnMut(&[u8]) -> bool,
        once: bool,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let ttl = self.ttl(state);
        let mut read = Vec::new();
        let Some(held) = self.held.get_mut(&(state, key)) else { return read };
        held.retain_mut(|(sub_key, stamped)| {
            if !Self::is_readable(ttl, stamped, now) || !wanted(sub_key) {
                return true;
            }
            read.push((sub_key.clone(), stamped.bytes.clone()));
            let has_expired = ttl.is_some_and(|ttl| is_expired(ttl, stamped, now));
            if ttl.is_some_and(|ttl| ttl.update == TtlUpdate::ReadAndWrite) && !has_expired {
                stamped.updated = now;
            }
            !(once && has_expired)
        });
        read
    }

    /// Sets a value, or one entry of a map.
    pub(super) fn put(&mut self, place: Place, sub_key: &[u8], bytes: &[u8], now: i64) {
        let stamped = Stamped { bytes: bytes.to_vec(), updated: now };
        let held = self.held.entry(place).or_default();
        match held.binary_search_by(|(other, _)| other.as_slice().cmp(sub_key)) {
            Ok(at) => held[at].1 = stamped,
            Err(at) => held.insert(at, (sub_key.to_vec(), stamped)),
        }
    }

    /// Appends an element to a list.
    pub(super) fn append(&mut self, place: Place, bytes: &[u8], now: i64) {
        let held = self.held.entry(place).or_default();
        held.push((Vec::new(), Stamped { bytes: bytes.to_vec(), updated: now }));
    }

    /// Removes one entry of a map.
    pub(super) fn remove(&mut self, place: &Place, sub_key: &[u8]) {
        if let Some(held) = self.held.get_mut(place) {
            held.retain(|(other, _)| other != sub_key);
        }
    }

    /// Removes all entries of a key.
    pub(super) fn clear(&mut self, place: &Place) {
        self.held.remove(place);
    }
}

fn is_expired(ttl: TimeToLive, stamped: &Stamped, now: i64) -> bool {
    stamped.updated.saturating_add(i64::try_from(ttl.milliseconds).unwrap_or(i64::MAX)) <= now
}
