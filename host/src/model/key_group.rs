//! Computes the key group of a key, and the subtask that owns a key group.
//!
//! The hash and the formulas are part of the durable format, because a restore finds state by them. They never change. A
//! key's group is its XXH3-64 hash modulo `max_parallelism`. Groups are assigned to subtasks by Flink's formula.

use super::column::Column;

/// The unit in which keyed state is sharded and moved between subtasks. Less than the job's `max_parallelism`.
pub type KeyGroup = u16;

/// Upper limit of `max_parallelism`.
pub const MAX_PARALLELISM_LIMIT: u32 = 32_768;

/// The keys of a batch, as a dictionary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// The distinct keys.
    pub distinct: Column,
    /// The key group of each distinct key.
    pub groups: Vec<KeyGroup>,
    /// For each record, the index of its key in `distinct`.
    pub key_of: Vec<u32>,
}

/// Returns the XXH3-64 hash of a key.
#[inline]
pub fn hash_key(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// Returns the key group of a key with this hash.
#[inline]
pub fn group_of_key(hash: u64, max_parallelism: u32) -> KeyGroup {
    let groups = u64::from(max_parallelism);
    // Equivalent to the modulo but several times faster. This runs for every record.
    let group = if groups.is_power_of_two() { hash & (groups - 1) } else { hash % groups };
    group as KeyGroup
}

/// Returns the subtask that owns a group. As in Flink, each subtask owns a contiguous range of groups.
#[inline]
pub fn subtask_of_group(group: KeyGroup, parallelism: u32, max_parallelism: u32) -> u32 {
    u32::from(group) * parallelism / max_parallelism
}

/// Returns the groups that a subtask owns. The inverse of [`subtask_of_group`].
pub fn groups_of_subtask(subtask: u32, parallelism: u32, max_parallelism: u32) -> std::ops::Range<u32> {
    let start = |subtask: u32| (subtask * max_parallelism).div_ceil(parallelism);
    start(subtask)..start(subtask + 1)
}

/// Returns the intersection of two ranges of groups. It may be empty.
pub fn common_groups(a: &std::ops::Range<u32>, b: &std::ops::Range<u32>) -> std::ops::Range<u32> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// Returns Flink's default of `max_parallelism`: 1.5 times the parallelism, rounded up to a power of two, and at least 128
/// and at most 32768.
pub fn default_max_parallelism(parallelism: u32) -> u32 {
    (parallelism + parallelism / 2).next_power_of_two().clamp(128, MAX_PARALLELISM_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtask_of_group_is_the_inverse_of_groups_of_subtask() {
        for (parallelism, max_parallelism) in [(1, 1), (1, 128), (2, 13), (3, 128), (4, 13), (7, 7), (100, 32_768)] {
            for subtask in 0..parallelism {
                for group in groups_of_subtask(subtask, parallelism, max_parallelism) {
                    assert_eq!(subtask_of_group(group as KeyGroup, parallelism, max_parallelism), subtask);
                }
            }
            assert_eq!(groups_of_subtask(parallelism - 1, parallelism, max_parallelism).end, max_parallelism);
        }
    }

    #[test]
    fn the_group_of_a_key_is_its_hash_modulo_max_parallelism() {
        for max_parallelism in [1, 2, 13, 128, 1000, 32_768] {
            for hash in [0, 1, 12_345_678_901_234_567, u64::MAX] {
                let group = group_of_key(hash, max_parallelism);
                assert_eq!(u64::from(group), hash % u64::from(max_parallelism));
            }
        }
    }

    #[test]
    fn the_durable_hash_stays_what_it_is() {
        assert_eq!(hash_key(b"N14228"), 314_117_315_740_407_462);
        assert_eq!(default_max_parallelism(1), 128);
        assert_eq!(default_max_parallelism(200), 512);
    }
}
