//! How the time to live lies in what is stored: a value, an element of a list or an entry of a map begins with the time of
//! its last update (i64 milliseconds since the Unix epoch, little endian). Part of the durable format.
//!
//! What a turn sees of it is the turn's to say; here is what has expired, which a backend may drop at any time.

use std::sync::Arc;

use super::{StateId, StateKind, StateLayout, TimeToLive, TtlUpdate, list};
use crate::clock::SharedClock;
use crate::error::{Result, checkpoint_corrupt};

/// Bytes in front of a value of a state with a time to live.
pub const TIME_BYTES: usize = 8;

/// The bytes in front of a value that is written now.
pub fn stamp(now_ms: i64) -> [u8; TIME_BYTES] {
    now_ms.to_le_bytes()
}

/// The time of the last update, and the value. None where the bytes are too short to have one.
pub fn split(stored: &[u8]) -> Option<(i64, &[u8])> {
    let (time, value) = stored.split_first_chunk::<TIME_BYTES>()?;
    Some((i64::from_le_bytes(*time), value))
}

/// What reading makes of a stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading<'a> {
    /// What the reader gets.
    pub value: Option<&'a [u8]>,
    pub is_expired: bool,
    /// Whether the value's time begins anew by being read.
    pub begins_anew: bool,
}

impl Reading<'_> {
    /// Whether the value has expired and is seen all the same: who reads it removes it, as in Flink.
    pub fn is_given_once(&self) -> bool {
        self.is_expired && self.value.is_some()
    }
}

impl TimeToLive {
    /// Whether an entry that was last updated then has expired, as Flink has it: at the end of its time, and not only behind it.
    pub fn is_expired(&self, updated_ms: i64, now_ms: i64) -> bool {
        updated_ms.saturating_add(i64::try_from(self.milliseconds).unwrap_or(i64::MAX)) <= now_ms
    }

    /// Reads a stored value. One that has expired stays expired, also where it may still be seen.
    /// Error: `checkpoint-corrupt` where it does not begin with a time.
    pub fn read<'a>(&self, stored: &'a [u8], now_ms: i64) -> Result<Reading<'a>> {
        let (updated_ms, value) = split(stored)
            .ok_or_else(|| checkpoint_corrupt("a value with a time to live is too short to have its time"))?;
        let is_expired = self.is_expired(updated_ms, now_ms);
        Ok(Reading {
            value: (!is_expired || self.return_expired).then_some(value),
            is_expired,
            begins_anew: !is_expired && self.update == TtlUpdate::ReadAndWrite && updated_ms != now_ms,
        })
    }
}

/// What a backend may drop: the times to live of its states, by stored id, and the clock that they run by.
#[derive(Clone)]
pub(super) struct Expiry {
    states: Arc<[(StateKind, Option<TimeToLive>)]>,
    clock: SharedClock,
}

impl Expiry {
    /// None where no state has a time to live.
    pub fn new(stored: &StateLayout, clock: SharedClock) -> Option<Expiry> {
        let states: Arc<[_]> = stored.iter().map(|state| (state.kind, state.ttl)).collect();
        states.iter().any(|(_, ttl)| ttl.is_some()).then_some(Expiry { states, clock })
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    /// The shortest time to live, in milliseconds.
    pub fn shortest_ms(&self) -> u64 {
        self.states.iter().filter_map(|(_, ttl)| *ttl).map(|ttl| ttl.milliseconds).min().unwrap_or(u64::MAX)
    }

    pub fn has_ttl(&self, state: StateId) -> bool {
        self.states.get(usize::from(state)).is_some_and(|(_, ttl)| ttl.is_some())
    }

    /// What is left of a stored entry; None where nothing is. Of a list that is what begins with its first element that
    /// lives: elements stand in the order of their times, but for a clock that was set back. Bytes that make no sense are left.
    pub fn living<'a>(&self, state: StateId, stored: &'a [u8], now_ms: i64) -> Option<&'a [u8]> {
        let Some(&(kind, Some(ttl))) = self.states.get(usize::from(state)) else { return Some(stored) };
        let is_expired = |stored| split(stored).is_some_and(|(updated_ms, _)| ttl.is_expired(updated_ms, now_ms));
        if kind != StateKind::List {
            return (!is_expired(stored)).then_some(stored);
        }
        let mut rest = stored;
        while !rest.is_empty() {
            match list::split_element(rest) {
                Some((element, behind)) if is_expired(element) => rest = behind,
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
    fn a_value_lives_until_its_time_is_over() {
        let reading = |ttl: TimeToLive, updated_ms, now_ms| {
            let stored = stored(updated_ms, b"v");
            let Reading { value, begins_anew, .. } = ttl.read(&stored, now_ms).unwrap();
            (value.is_some(), begins_anew)
        };
        let written = ttl(TtlUpdate::CreateAndWrite, false);
        assert_eq!(reading(written, 100, 109), (true, false));
        assert_eq!(reading(written, 100, 110), (false, false));
        assert_eq!(reading(ttl(TtlUpdate::ReadAndWrite, true), 100, 110), (true, false), "seen, and yet expired");
        let read = ttl(TtlUpdate::ReadAndWrite, false);
        assert_eq!(reading(read, 100, 100), (true, false), "already anew");
        assert_eq!(reading(read, 100, 109), (true, true));
        assert_eq!(reading(read, 100, 110), (false, false));
        assert_eq!(reading(TimeToLive { milliseconds: u64::MAX, ..read }, i64::MAX - 1, 0), (true, true));
        assert_eq!(read.read(&[0; 7], 0).unwrap_err().code, "checkpoint-corrupt");
    }

    #[test]
    fn what_lives_of_an_entry_is_left() {
        let mut layout = [StateKind::Value, StateKind::List, StateKind::Value]
            .map(|kind| StateDescription::new("s", kind, "raw", "raw"))
            .to_vec();
        assert!(Expiry::new(&layout, Arc::<ManualClock>::default()).is_none());
        layout[..2].iter_mut().for_each(|state| state.ttl = Some(ttl(TtlUpdate::CreateAndWrite, false)));
        let expiry = Expiry::new(&layout, Arc::<ManualClock>::default()).unwrap();
        let value = stored(0, b"v");
        assert_eq!(expiry.living(0, &value, 9), Some(&value[..]));
        assert_eq!(expiry.living(0, &value, 10), None);
        assert_eq!(expiry.living(2, &value, 10), Some(&value[..]), "no time to live");
        assert_eq!(expiry.living(0, b"short", 10), Some(&b"short"[..]));
        let mut bytes = Vec::new();
        [0, 5].iter().for_each(|&at| list::push_element(&mut bytes, &stamp(at), b"e"));
        assert_eq!(expiry.living(1, &bytes, 9), Some(&bytes[..]));
        assert_eq!(expiry.living(1, &bytes, 10), Some(&bytes[bytes.len() / 2..]));
        assert_eq!(expiry.living(1, &bytes, 15), None);
        assert_eq!(expiry.living(1, &bytes[..3], 15), Some(&bytes[..3]), "no list");
    }
}
