//! The idempotency keys of a log: which requests were accepted, and with which answer.
//!
//! A key is kept for a while from the time its request was received, and the oldest are dropped when there are too many. Must not
//! read or write files.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::frame::RequestKey;
use super::log_position::LogPosition;

/// A request that the log contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeptRequest {
    pub(super) key: RequestKey,
    pub(super) received_ms: i64,
    pub(super) position: LogPosition,
    pub(super) records: u32,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyLookup {
    /// No request of this key is kept.
    Unknown,
    /// A request of this key waits for the disk.
    InProgress,
    /// The request is in the log.
    Accepted(KeptRequest),
    /// A request of this key with another body is in the log, or waits for the disk.
    OtherBody,
}

#[derive(Clone, Copy)]
enum KeyEntry {
    InProgress { body: u64 },
    Accepted(AcceptedKey),
}

#[derive(Clone, Copy)]
struct AcceptedKey {
    body: u64,
    received_ms: i64,
    segment: u64,
    offset: u32,
    records: u32,
}

/// The keys of a log.
pub(super) struct KeyIndex {
    entries: HashMap<u128, KeyEntry, KeyHasher>,
    /// The hashes of accepted keys with their times, oldest first.
    order: VecDeque<(u128, i64)>,
    /// How long a key is kept, in milliseconds.
    kept_ms: i64,
    keys_max: usize,
}

impl KeyIndex {
    /// Creates an empty index. `seed` is secret, so that clients cannot choose keys that collide.
    pub(super) fn new(seed: u64, kept_ms: i64, keys_max: usize) -> KeyIndex {
        let entries = HashMap::with_hasher(KeyHasher { seed, hash: 0 });
        KeyIndex { entries, order: VecDeque::new(), kept_ms, keys_max }
    }

    /// Changes how long and how many keys are kept.
    pub(super) fn set_limits(&mut self, kept_ms: i64, keys_max: usize) {
        (self.kept_ms, self.keys_max) = (kept_ms, keys_max);
    }

    /// Returns how long keys are kept.
    pub(super) fn kept_ms(&self) -> i64 {
        self.kept_ms
    }

    /// Returns what is known of a key.
    pub(super) fn look_up(&mut self, key: RequestKey, now_ms: i64) -> KeyLookup {
        self.drop_expired(now_ms);
        match self.entries.get(&key.hash) {
            None => KeyLookup::Unknown,
            Some(KeyEntry::InProgress { body }) if *body == key.body => KeyLookup::InProgress,
            Some(KeyEntry::Accepted(accepted)) if self.is_expired(accepted.received_ms, now_ms) => KeyLookup::Unknown,
            Some(KeyEntry::Accepted(accepted)) if accepted.body == key.body => {
                let AcceptedKey { received_ms, segment, offset, records, .. } = *accepted;
                let position = LogPosition { segment, offset: u64::from(offset) };
                KeyLookup::Accepted(KeptRequest { key, received_ms, position, records })
            }
            Some(_) => KeyLookup::OtherBody,
        }
    }

    /// Notes that a request waits for the disk.
    pub(super) fn begin(&mut self, key: RequestKey) {
        self.entries.insert(key.hash, KeyEntry::InProgress { body: key.body });
    }

    /// Forgets a request that waited for the disk, because it failed.
    pub(super) fn abandon(&mut self, key: RequestKey) {
        if matches!(self.entries.get(&key.hash), Some(KeyEntry::InProgress { .. })) {
            self.entries.remove(&key.hash);
        }
    }

    /// Notes that a request is in the log.
    pub(super) fn accept(&mut self, request: &KeptRequest) {
        let KeptRequest { key, received_ms, position, records } = *request;
        // Segments are smaller than 4 GiB.
        let offset = u32::try_from(position.offset).unwrap_or(u32::MAX);
        let accepted = AcceptedKey { body: key.body, received_ms, segment: position.segment, offset, records };
        self.entries.insert(key.hash, KeyEntry::Accepted(accepted));
        self.order.push_back((key.hash, received_ms));
        while self.order.len() > self.keys_max {
            self.drop_oldest();
        }
    }

    /// Returns the number of accepted keys.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    fn drop_expired(&mut self, now_ms: i64) {
        while self.order.front().is_some_and(|(_, received_ms)| self.is_expired(*received_ms, now_ms)) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((hash, received_ms)) = self.order.pop_front() else { return };
        // The key may have been used again after it expired.
        if let Some(KeyEntry::Accepted(accepted)) = self.entries.get(&hash)
            && accepted.received_ms == received_ms
        {
            self.entries.remove(&hash);
        }
    }

    fn is_expired(&self, received_ms: i64, now_ms: i64) -> bool {
        received_ms.saturating_add(self.kept_ms) <= now_ms
    }
}

/// Hashes keys under a seed.
#[derive(Clone)]
struct KeyHasher {
    seed: u64,
    hash: u64,
}

impl BuildHasher for KeyHasher {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        self.clone()
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        self.hash = xxh3_64_with_seed(bytes, self.seed ^ self.hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(hash: u128, body: u64, received_ms: i64) -> KeptRequest {
        let position = LogPosition { segment: 3, offset: 64 };
        KeptRequest { key: RequestKey { hash, body }, received_ms, position, records: 2 }
    }

    #[test]
    fn a_key_is_in_progress_then_accepted_then_expired() {
        let mut keys = KeyIndex::new(1, 1000, 10);
        let first = request(1, 7, 50);
        let other = RequestKey { hash: 1, body: 8 };
        assert_eq!(keys.look_up(first.key, 50), KeyLookup::Unknown);
        keys.begin(first.key);
        assert_eq!(keys.look_up(first.key, 50), KeyLookup::InProgress);
        assert_eq!(keys.look_up(other, 50), KeyLookup::OtherBody);
        keys.accept(&first);
        keys.abandon(first.key);
        assert_eq!(keys.look_up(first.key, 1049), KeyLookup::Accepted(first));
        assert_eq!(keys.look_up(other, 1049), KeyLookup::OtherBody);
        assert_eq!(keys.look_up(other, 1050), KeyLookup::Unknown);
        assert_eq!(keys.len(), 0);
        keys.begin(other);
        keys.abandon(other);
        assert_eq!(keys.look_up(first.key, 1050), KeyLookup::Unknown);
    }

    #[test]
    fn the_oldest_keys_are_dropped_when_there_are_too_many() {
        let mut keys = KeyIndex::new(1, 1000, 3);
        (0..10).for_each(|number| keys.accept(&request(number + 1, 0, number as i64)));
        let is_known = |keys: &mut KeyIndex, hash| keys.look_up(RequestKey { hash, body: 0 }, 20) != KeyLookup::Unknown;
        assert_eq!((1..=10).filter(|hash| is_known(&mut keys, *hash)).collect::<Vec<_>>(), [8, 9, 10]);
    }

    #[test]
    fn a_key_that_is_used_again_after_it_expired_is_kept() {
        let mut keys = KeyIndex::new(1, 1000, 10);
        // The clock was set back, so that an expired key is behind one that has not expired.
        keys.accept(&request(1, 0, 500));
        keys.accept(&request(2, 0, 100));
        assert_eq!(keys.look_up(RequestKey { hash: 2, body: 0 }, 1200), KeyLookup::Unknown);
        keys.accept(&request(2, 0, 1200));
        let (kept, now) = (RequestKey { hash: 2, body: 0 }, 1600);
        assert!(matches!(keys.look_up(kept, now), KeyLookup::Accepted(_)));
    }
}
