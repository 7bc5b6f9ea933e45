//! The sizes of large lists and maps, as far as they are known. `key_sizes.rs` describes how they become known.

use hashbrown::HashMap;

use super::limits::TurnLimits;

/// A list or map is looked at this often, on average, before it reaches its limit.
const LOOKS_PER_LIMIT: u64 = 64;
/// The size of a list or map is known from this part of its limit on.
const KNOWN_DIVISOR: u64 = 256;
/// Number of keys whose size is known. With more of them, all are forgotten: each has cost many writes.
const KNOWN_MAX: usize = 4096;

/// Size of a list or a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeySize {
    pub bytes: u64,
    /// Number of elements of a list.
    pub elements: u64,
}

impl KeySize {
    pub fn add(self, other: KeySize) -> KeySize {
        KeySize { bytes: self.bytes + other.bytes, elements: self.elements + other.elements }
    }
}

/// The known sizes of large lists and maps.
#[derive(Default)]
pub(super) struct KeySizes {
    /// Upper bounds of the committed sizes, by the hash of state and key.
    pub known: HashMap<u64, KeySize>,
    /// State of the generator that decides which writes look at the stored size.
    random: u64,
    /// The probability of a look for each byte and for each element that is written, as a part of 2^64.
    chance_per_byte: u64,
    chance_per_element: u64,
}

impl KeySizes {
    pub fn new(seed: u64, limits: &TurnLimits) -> KeySizes {
        let mut sizes = KeySizes { random: seed | 1, ..KeySizes::default() };
        sizes.set_limits(limits);
        sizes
    }

    pub fn set_limits(&mut self, limits: &TurnLimits) {
        let chance = |limit: usize| (u64::MAX / limit.max(1) as u64).saturating_mul(LOOKS_PER_LIMIT);
        (self.chance_per_byte, self.chance_per_element) = (chance(limits.state_per_key), chance(limits.list_elements));
    }

    /// Returns whether no size is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Decides whether a write of this size looks at the stored size.
    #[inline]
    pub fn decides_to_look(&mut self, written: KeySize) -> bool {
        // xorshift64: fast, and good enough for a sample.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let by_bytes = self.chance_per_byte.saturating_mul(written.bytes);
        self.random < by_bytes.max(self.chance_per_element.saturating_mul(written.elements))
    }

    pub fn learn(&mut self, hash: u64, size: KeySize, limits: (u64, u64)) {
        if size.bytes >= limits.0 / KNOWN_DIVISOR || size.elements >= limits.1 / KNOWN_DIVISOR {
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            self.known.insert(hash, size);
        } else {
            self.known.remove(&hash);
        }
    }
}
