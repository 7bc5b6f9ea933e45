//! Keys, key groups and who owns them.
//!
//! The hash and the two formulas are part of the durable format: a checkpoint's state is found again by them, so they
//! never change. They are those of Flink (group → subtask) over XXH3-64 (key → group).

use super::Column;

/// The unit in which keyed state is sharded and moved. Below the job's `max_parallelism`.
pub type KeyGroup = u16;

/// The largest `max_parallelism`.
pub const MAX_PARALLELISM_LIMIT: u32 = 32_768;

/// The distinct keys of a batch, each with its group, and for each record the index of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    pub distinct: Column,
    pub groups: Vec<KeyGroup>,
    pub key_of: Vec<u32>,
}

/// XXH3-64 of the key's bytes.
#[inline]
pub fn hash_key(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// The group of a key by its hash.
#[inline]
pub fn group_of_key(hash: u64, max_parallelism: u32) -> KeyGroup {
    let groups = u64::from(max_parallelism);
    // The same, and several times as fast: this runs for every record.
    let group = if groups.is_power_of_two() { hash & (groups - 1) } else { hash % groups };
    group as KeyGroup
}

/// The subtask that owns a group, by Flink's formula: contiguous ranges of groups.
#[inline]
pub fn subtask_of_group(group: KeyGroup, parallelism: u32, max_parallelism: u32) -> u32 {
    u32::from(group) * parallelism / max_parallelism
}

/// The groups that a subtask owns: the inverse of [`subtask_of_group`].
pub fn groups_of_subtask(subtask: u32, parallelism: u32, max_parallelism: u32) -> std::ops::Range<u32> {
    let start = |subtask: u32| (subtask * max_parallelism).div_ceil(parallelism);
    start(subtask)..start(subtask + 1)
}

/// The groups that two ranges of them have in common; an empty range where there are none.
pub fn common_groups(a: &std::ops::Range<u32>, b: &std::ops::Range<u32>) -> std::ops::Range<u32> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// Flink's default: the power of two at or above one and a half times the parallelism, within 128 and 32768.
pub fn default_max_parallelism(parallelism: u32) -> u32 {
    (parallelism + parallelism / 2).next_power_of_two().clamp(128, MAX_PARALLELISM_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_the_owner_that_its_range_says() {
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
    fn a_group_is_the_remainder_of_the_hash() {
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
