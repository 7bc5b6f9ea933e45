//! Which keys a database may hold, so that those it cannot hold need no look into it: Bloom filters in memory.
//!
//! A filter that has its number of keys is followed by a much larger one, so that they stay few: a key that nobody knows is
//! looked for in each. There is no way to take keys out. A key that was added is never denied; of others about one in twenty
//! is not.

/// Of the first filter, in blocks: 16 KiB.
const FIRST_BLOCKS: usize = 256;
const GROWTH: usize = 16;
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
        let bits = bits(hash);
        self.filters.iter().rev().any(|filter| {
            let block = &filter[place(hash, filter.len())];
            // All of them at once: which is missing first nobody can foresee.
            bits.iter().fold(1, |all, bit| all & (block[bit / 64] >> (bit % 64))) == 1
        })
    }

    /// Adds a key; one that was added before takes room once more. Answers false, and is of no more use, where there is no room for
    /// it in so many bytes.
    #[must_use]
    pub fn add(&mut self, hash: u64, bytes_max: usize) -> bool {
        let blocks = self.filters.last().map_or(0, Vec::len);
        if self.keys_in_last * BITS_PER_KEY >= blocks * BLOCK_BITS {
            let room = bytes_max.saturating_sub(self.bytes()) / size_of::<Block>();
            if room < blocks / 2 {
                return false;
            }
            self.filters.push(vec![Block::default(); room.min(blocks * GROWTH)]);
            self.keys_in_last = 0;
        }
        self.keys_in_last += 1;
        let Some(filter) = self.filters.last_mut() else { return false };
        let blocks = filter.len();
        let block = &mut filter[place(hash, blocks)];
        bits(hash).iter().for_each(|bit| block[bit / 64] |= 1 << (bit % 64));
        true
    }
}

/// The upper half of the hash says which block.
fn place(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

/// The lower half says which bits of it.
fn bits(hash: u64) -> [usize; BITS_SET_PER_KEY] {
    // Spreads the lower half over the upper bits, of which 9 at a time name a bit.
    let bits = (hash & 0xffff_ffff).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::array::from_fn(|number| (bits >> (64 - 9 - 9 * number)) as usize % BLOCK_BITS)
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    #[test]
    fn no_key_that_was_added_is_denied_and_few_others_are_not() {
        let hash = |number: u32| xxh3_64(&number.to_le_bytes());
        let mut known = KnownKeys::new();
        assert!(!known.may_hold(hash(0)));
        assert!((0..200_000).all(|number| known.add(hash(number), BYTES_MAX)));
        assert!((0..200_000).all(|number| known.may_hold(hash(number))));
        let wrong = (200_000..300_000).filter(|&number| known.may_hold(hash(number))).count();
        assert!(wrong < 6_000, "{wrong} of 100,000 keys are taken for known");
        assert!(known.bytes() <= BYTES_MAX, "{} bytes", known.bytes());
    }

    #[test]
    fn it_says_when_there_is_no_room_for_more() {
        let mut known = KnownKeys::new();
        let added = (0u32..).find(|number| !known.add(xxh3_64(&number.to_le_bytes()), BYTES_MAX)).unwrap();
        assert!(added as usize > BYTES_MAX * 8 / BITS_PER_KEY * 9 / 10, "{added} keys");
        assert!(known.bytes() <= BYTES_MAX);
    }
}
