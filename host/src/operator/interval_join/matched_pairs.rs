//! Pairs of an arriving record and a stored one: collected one by one, and handed to the guest as columns.
//!
//! Invariant: pairs keep the order in which they were found. A stored record is copied once, however many pairs it is part of.

use std::ops::Range;

use hashbrown::HashMap;

use crate::model::{Batch, Column, JoinedPairs, Keys, PairSide};

/// Approximate size of the stored records in one guest call, in bytes.
const CALL_BYTES: usize = 4 << 20;

/// Pairs in the order in which they were found.
#[derive(Default)]
pub(super) struct MatchedPairs {
    /// For each pair, the index of the arriving record in its batch and that of the stored record in `values`.
    pairs: Vec<(u32, u32)>,
    /// The stored records, each once.
    values: Column,
    timestamps: Vec<i64>,
    /// The index of each stored record, by its key and sub-key.
    indexes: HashMap<(u32, Vec<u8>), u32>,
}

impl MatchedPairs {
    /// Adds a pair of record `arriving` of the batch and the record that is stored under `sub_key` of the same key.
    pub(super) fn push(&mut self, arriving: usize, key: u32, sub_key: &[u8], value: &[u8], timestamp: i64) {
        let stored = *self.indexes.entry((key, sub_key.to_vec())).or_insert_with(|| {
            self.values.push(value);
            self.timestamps.push(timestamp);
            self.timestamps.len() as u32 - 1
        });
        self.pairs.push((arriving as u32, stored));
    }

    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are enough pairs for one guest call, which takes `limit` pairs.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.pairs.len() >= limit || self.values.bytes().len() >= CALL_BYTES
    }

    /// The index of the arriving record of a pair.
    pub(super) fn arriving(&self, pair: usize) -> usize {
        self.pairs[pair].0 as usize
    }

    /// The content and the timestamp of the stored record of a pair.
    pub(super) fn stored(&self, pair: usize) -> (&[u8], i64) {
        let stored = self.pairs[pair].1 as usize;
        (self.values.value(stored), self.timestamps[stored])
    }

    /// The pairs of a range, as columns. `is_left` says whether the batch is the left side.
    pub(super) fn columns(&self, range: Range<usize>, batch: &Batch, keys: &Keys, is_left: bool) -> JoinedPairs {
        let (mut key_indexes, mut pair_keys) = (FirstOccurrences::default(), Keys::default());
        let (mut arriving, mut stored) = (PairSideBuilder::default(), PairSideBuilder::default());
        for &(record, other) in &self.pairs[range] {
            let key = keys.key_of[record as usize];
            let (index, is_new) = key_indexes.index_of(key);
            if is_new {
                pair_keys.distinct.push(keys.distinct.value(key as usize));
                pair_keys.groups.push(keys.groups[key as usize]);
            }
            pair_keys.key_of.push(index);
            arriving.push(record, &batch.values, &batch.timestamps);
            stored.push(other, &self.values, &self.timestamps);
        }
        let (left, right) = if is_left { (arriving.side, stored.side) } else { (stored.side, arriving.side) };
        JoinedPairs { keys: pair_keys, left, right }
    }
}

/// Numbers values in the order in which they first occur.
#[derive(Default)]
struct FirstOccurrences(HashMap<u32, u32>);

impl FirstOccurrences {
    /// The number of a value, and whether it occurs for the first time.
    fn index_of(&mut self, value: u32) -> (u32, bool) {
        let next = self.0.len() as u32;
        let index = *self.0.entry(value).or_insert(next);
        (index, index == next && self.0.len() as u32 > next)
    }
}

#[derive(Default)]
struct PairSideBuilder {
    side: PairSide,
    indexes: FirstOccurrences,
}

impl PairSideBuilder {
    fn push(&mut self, record: u32, values: &Column, timestamps: &[i64]) {
        let (index, is_new) = self.indexes.index_of(record);
        if is_new {
            self.side.values.push(values.value(record as usize));
            self.side.timestamps.push(timestamps[record as usize]);
        }
        self.side.value_of.push(index);
    }
}
