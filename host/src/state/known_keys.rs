//! Which keys a database may hold, so that those it cannot hold need no look into it: Bloom filters in memory.
//!
//! A filter that has its number of keys is followed by one of twice the size. Who keeps it decides when it is too large;
//! there is no way to take keys out. A key that was added is never denied; of others about one in twenty is not.

/// Of the first filter, in blocks: 16 KiB.
const FIRST_BLOCKS: usize = 256;
const GROWTH: usize = 2;
const BITS_PER_KEY: usize = 12;
const BITS_SET_PER_KEY: usize = 6;

/// What one key touches: one line of the processor's cache.
type Block = [u64; 8];
const BLOCK_BITS: usize = size_of::<Block>() * 8;

/// See the module. Keys are given as hashes of 64 bits that nobody can choose.
pub(super) struct KnownKeys {
    /// From the oldest to the one that is being filled.
    filters: Vec<Vec<Block>>,
    keys_in_last: usize,
}

impl KnownKeys {
    pub fn new() -> KnownKeys {
        KnownKeys { filters: vec![vec![Block::default(); FIRST_BLOCKS]], keys_in_last: 0 }
    }

    pub fn bytes(&self) -> usize {
        self.filters.iter().map(|filter| filter.len() * size_of::<Block>()).sum()
    }

    pub fn may_hold(&self, hash: u64) -> bool {
        let mask = mask(hash);
        self.filters.iter().rev().any(|filter| {
            let block = &filter[place(hash, filter.len())];
            block.iter().zip(mask).all(|(held, asked)| held & asked == asked)
        })
    }

    pub fn add(&mut self, hash: u64) {
        if self.may_hold(hash) {
            return;
        }
        let blocks = self.filters.last().map_or(0, Vec::len);
        if self.keys_in_last * BITS_PER_KEY >= blocks * BLOCK_BITS {
            self.filters.push(vec![Block::default(); blocks * GROWTH]);
            self.keys_in_last = 0;
        }
        self.keys_in_last += 1;
        let Some(filter) = self.filters.last_mut() else { return };
        let at = place(hash, filter.len());
        filter[at].iter_mut().zip(mask(hash)).for_each(|(held, added)| *held |= added);
    }
}

/// The upper half of the hash says which block.
fn place(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

/// The lower half says which bits of it.
fn mask(hash: u64) -> Block {
    // Spreads the lower half over the upper bits, of which 9 at a time name a bit.
    let mut bits = (hash & 0xffff_ffff).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut mask = Block::default();
    for _ in 0..BITS_SET_PER_KEY {
        let bit = (bits >> (64 - 9)) as usize;
        mask[bit / 64] |= 1 << (bit % 64);
        bits <<= 9;
    }
    mask
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    #[test]
    fn no_key_that_was_added_is_denied_and_few_others_are_not() {
        let hash = |number: u32| xxh3_64(&number.to_le_bytes());
        let mut known = KnownKeys::new();
        assert!(!known.may_hold(hash(0)));
        (0..200_000).for_each(|number| known.add(hash(number)));
        assert!((0..200_000).all(|number| known.may_hold(hash(number))));
        let wrong = (200_000..300_000).filter(|&number| known.may_hold(hash(number))).count();
        assert!(wrong < 6_000, "{wrong} of 100,000 keys are taken for known");
        assert!(known.bytes() < 2_000_000, "{} bytes", known.bytes());
    }
}
