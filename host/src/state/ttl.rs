//! Time to live: the encoding of update times, and which entries have expired.
//!
//! In a state with a time to live, each value, list element and map entry begins with the time of its last update. The time is
//! an i64 in milliseconds since the Unix epoch, little endian. Part of the durable format.
//!
//! `turn` decides what a function sees of an expired entry. This module decides what has expired; a backend may drop such
//! entries at any time.

use std::sync::Arc;

use super::description::{StateId, StateKind, StateLayout, TimeToLive, TtlUpdate};
use super::list;
use crate::clock::SharedClock;
use crate::error::{Result, checkpoint_corrupt};

/// Length of the update time before a stored value.
pub const TIME_BYTES: usize = 8;

/// Encodes the update time that precedes a value.
pub fn stamp(now_ms: i64) -> [u8; TIME_BYTES] {
    now_ms.to_le_bytes()
}

/// Splits stored bytes into the update time in milliseconds and the value. Returns `None` if the bytes are too short.
pub fn split(stored: &[u8]) -> Option<(i64, &[u8])> {
    let (time, value) = stored.split_first_chunk::<TIME_BYTES>()?;
    Some((i64::from_le_bytes(*time), value))
}

/// Result of reading a stored value with a time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlRead<'a> {
    /// The value that the reader sees. `None` if the value has expired and must not be returned.
    pub value: Option<&'a [u8]>,
    /// Whether the value has expired.
    pub is_expired: bool,
    /// Whether the read restarts the time to live.
    pub restarts_ttl: bool,
}

impl TtlRead<'_> {
    /// Returns whether the value has expired but is still returned. Like Flink, the reader then removes it.
    pub fn is_expired_but_returned(&self) -> bool {
        self.is_expired && self.value.is_some()
    }
}

impl TimeToLive {
    /// Returns whether an entry has expired. As in Flink, an entry expires exactly at the end of its time to live.
    pub fn is_expired(&self, updated_ms: i64, now_ms: i64) -> bool {
        updated_ms.saturating_add(i64::try_from(self.milliseconds).unwrap_or(i64::MAX)) <= now_ms
    }

    /// Reads a stored value. Reading an expired value does not renew it, even if it is returned.
    ///
    /// Returns `checkpoint-corrupt` if the value does not begin with an update time.
    pub fn read<'a>(&self, stored: &'a [u8], now_ms: i64) -> Result<TtlRead<'a>> {
        let (updated_ms, value) = split(stored)
            .ok_or_else(|| checkpoint_corrupt("a value with a time to live is too short to contain its update time"))?;
        let is_expired = self.is_expired(updated_ms, now_ms);
        Ok(TtlRead {
            value: (!is_expired || self.return_expired).then_some(value),
            is_expired,
            restarts_ttl: !is_expired && self.update == TtlUpdate::ReadAndWrite && updated_ms != now_ms,
        })
    }
}

/// Decides which stored bytes a backend may drop: the times to live of its states, by stored id, and the clock.
#[derive(Clone)]
pub(super) struct ExpiryRules {
    states: Arc<[(StateKind, Option<TimeToLive>)]>,
    clock: SharedClock,
}

impl ExpiryRules {
    /// Returns `None` if no state has a time to live.
    pub fn new(stored: &StateLayout, clock: SharedClock) -> Option<ExpiryRules> {
        let states: Arc<[_]> = stored.iter().map(|state| (state.kind, state.ttl)).collect();
        states.iter().any(|(_, ttl)| ttl.is_some()).then_some(ExpiryRules { states, clock })
    }

    /// Current processing time, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    /// The shortest time to live of all states, in milliseconds.
    pub fn shortest_ms(&self) -> u64 {
        self.states.iter().filter_map(|(_, ttl)| *ttl).map(|ttl| ttl.milliseconds).min().unwrap_or(u64::MAX)
    }

    /// Returns whether entries of `state` expire.
    pub fn has_ttl(&self, state: StateId) -> bool {
        self.states.get(usize::from(state)).is_some_and(|(_, ttl)| ttl.is_some())
    }

    /// Returns the part of a stored entry that has not expired, or `None` if all of it has.
    ///
    /// For a list, the part begins at the first unexpired element. Elements are stored in the order of their times, unless the
    /// clock was set back. Malformed bytes are kept.
    pub fn unexpired<'a>(&self, state: StateId, stored: &'a [u8], now_ms: i64) -> Option<&'a [u8]> {
        let Some(&(kind, Some(ttl))) = self.states.get(usize::from(state)) else { return Some(stored) };
        let is_expired = |stored| split(stored).is_some_and(|(updated_ms, _)| ttl.is_expired(updated_ms, now_ms));
        if kind != StateKind::List {
            return (!is_expired(stored)).then_some(stored);
        }
        let mut rest = stored;
        while !rest.is_empty() {
            match list::split_element(rest) {
                Some((element, after_element)) if is_expired(element) => rest = after_element,
                _ => return Some(rest),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::state::StateDescription;

    fn ttl(update: TtlUpdate, return_expired: bool) -> TimeToLive {
        TimeToLive { milliseconds: 10, update, return_expired }
    }

    fn stored(updated_ms: i64, value: &[u8]) -> Vec<u8> {
        [&stamp(updated_ms)[..], value].concat()
    }

    #[test]
    fn a_value_expires_at_the_end_of_its_time_to_live() {
        let reading = |ttl: TimeToLive, updated_ms, now_ms| {
            let stored = stored(updated_ms, b"v");
            let TtlRead { value, restarts_ttl, .. } = ttl.read(&stored, now_ms).unwrap();
            (value.is_some(), restarts_ttl)
        };
        let written = ttl(TtlUpdate::CreateAndWrite, false);
        assert_eq!(reading(written, 100, 109), (true, false));
        assert_eq!(reading(written, 100, 110), (false, false));
        assert_eq!(reading(ttl(TtlUpdate::ReadAndWrite, true), 100, 110), (true, false), "returned although expired");
        let read = ttl(TtlUpdate::ReadAndWrite, false);
        assert_eq!(reading(read, 100, 100), (true, false), "already updated at this time");
        assert_eq!(reading(read, 100, 109), (true, true));
        assert_eq!(reading(read, 100, 110), (false, false));
        assert_eq!(reading(TimeToLive { milliseconds: u64::MAX, ..read }, i64::MAX - 1, 0), (true, true));
        assert_eq!(read.read(&[0; 7], 0).unwrap_err().code, "checkpoint-corrupt");
    }

    #[test]
    fn only_the_unexpired_part_of_an_entry_is_kept() {
        let mut layout = [StateKind::Value, StateKind::List, StateKind::Value]
            .map(|kind| StateDescription::new("s", kind, "raw", "raw"))
            .to_vec();
        assert!(ExpiryRules::new(&layout, Arc::<ManualClock>::default()).is_none());
        layout[..2].iter_mut().for_each(|state| state.ttl = Some(ttl(TtlUpdate::CreateAndWrite, false)));
        let expiry = ExpiryRules::new(&layout, Arc::<ManualClock>::default()).unwrap();
        let value = stored(0, b"v");
        assert_eq!(expiry.unexpired(0, &value, 9), Some(&value[..]));
        assert_eq!(expiry.unexpired(0, &value, 10), None);
        assert_eq!(expiry.unexpired(2, &value, 10), Some(&value[..]), "the state has no time to live");
        assert_eq!(expiry.unexpired(0, b"short", 10), Some(&b"short"[..]));
        let mut bytes = Vec::new();
        [0, 5].iter().for_each(|&at| list::push_element(&mut bytes, &stamp(at), b"e"));
        assert_eq!(expiry.unexpired(1, &bytes, 9), Some(&bytes[..]));
        assert_eq!(expiry.unexpired(1, &bytes, 10), Some(&bytes[bytes.len() / 2..]));
        assert_eq!(expiry.unexpired(1, &bytes, 15), None);
        assert_eq!(expiry.unexpired(1, &bytes[..3], 15), Some(&bytes[..3]), "malformed lists are kept");
    }
}
