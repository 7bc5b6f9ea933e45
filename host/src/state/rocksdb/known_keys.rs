//! Bloom filters of the keys that a database may contain. A key that they exclude needs no lookup in the database.
//!
//! A much larger filter follows each full one, so that a query tests only a few filters. Keys cannot be removed. An added
//! key is never excluded; about one in twenty other keys is not excluded either.

/// Size of the first filter, in blocks: 16 KiB.
const FIRST_BLOCKS: usize = 256;
const GROWTH: usize = 16;
const BITS_PER_KEY: usize = 12;
const BITS_SET_PER_KEY: usize = 6;

/// The bits that one key can set or test: one cache line of the processor.
type FilterBlock = [u64; 8];
const BLOCK_BITS: usize = size_of::<FilterBlock>() * 8;

/// A set of keys without false negatives. Keys are given as 64-bit hashes with a secret seed.
pub(super) struct KnownKeys {
    /// The filters, oldest first. New keys go into the last one.
    filters: Vec<Vec<FilterBlock>>,
    keys_in_last: usize,
}

impl KnownKeys {
    pub fn new() -> KnownKeys {
        KnownKeys { filters: vec![vec![FilterBlock::default(); FIRST_BLOCKS]], keys_in_last: 0 }
    }

    /// Memory of all filters, in bytes.
    pub fn bytes(&self) -> usize {
        self.filters.iter().map(|filter| filter.len() * size_of::<FilterBlock>()).sum()
    }

    /// Returns false only if the key was never added.
    pub fn may_contain(&self, hash: u64) -> bool {
        let bits = bits(hash);
        self.filters.iter().rev().any(|filter| {
            let block = &filter[block_index(hash, filter.len())];
            // Tests all bits without branches: the processor could not predict which bit is missing.
            bits.iter().fold(1, |all, bit| all & (block[bit / 64] >> (bit % 64))) == 1
        })
    }

    /// Adds a key. A key that was added before takes room once more.
    ///
    /// Returns false if the key does not fit into `bytes_max`. The filters are of no further use then.
    #[must_use]
    pub fn add(&mut self, hash: u64, bytes_max: usize) -> bool {
        let blocks = self.filters.last().map_or(0, Vec::len);
        if self.keys_in_last * BITS_PER_KEY >= blocks * BLOCK_BITS {
            let room = bytes_max.saturating_sub(self.bytes()) / size_of::<FilterBlock>();
            if room < blocks / 2 {
                return false;
            }
            self.filters.push(vec![FilterBlock::default(); room.min(blocks * GROWTH)]);
            self.keys_in_last = 0;
        }
        self.keys_in_last += 1;
        let Some(filter) = self.filters.last_mut() else { return false };
        let blocks = filter.len();
        let block = &mut filter[block_index(hash, blocks)];
        bits(hash).iter().for_each(|bit| block[bit / 64] |= 1 << (bit % 64));
        true
    }
}

/// Selects a block by the upper half of the hash.
fn block_index(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

/// Selects bits of a block by the lower half of the hash.
fn bits(hash: u64) -> [usize; BITS_SET_PER_KEY] {
    // Spreads the lower half over the upper bits. Each 9 of them select a bit.
    let bits = (hash & 0xffff_ffff).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::array::from_fn(|number| (bits >> (64 - 9 - 9 * number)) as usize % BLOCK_BITS)
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    #[test]
    fn added_keys_are_never_excluded_and_few_other_keys_pass() {
        let hash = |number: u32| xxh3_64(&number.to_le_bytes());
        let mut known = KnownKeys::new();
        assert!(!known.may_contain(hash(0)));
        assert!((0..200_000).all(|number| known.add(hash(number), BYTES_MAX)));
        assert!((0..200_000).all(|number| known.may_contain(hash(number))));
        let false_positives = (200_000..300_000).filter(|&number| known.may_contain(hash(number))).count();
        assert!(false_positives < 6_000, "{false_positives} of 100,000 absent keys pass the filter");
        assert!(known.bytes() <= BYTES_MAX, "{} bytes", known.bytes());
    }

    #[test]
    fn adding_fails_when_the_memory_limit_is_reached() {
        let mut known = KnownKeys::new();
        let added = (0u32..).find(|number| !known.add(xxh3_64(&number.to_le_bytes()), BYTES_MAX)).unwrap();
        assert!(added as usize > BYTES_MAX * 8 / BITS_PER_KEY * 9 / 10, "{added} keys");
        assert!(known.bytes() <= BYTES_MAX);
    }
}
