//! Pairs of an arriving record and one that is kept, found one after the other, and as the columns that a guest gets.

use std::ops::Range;

use hashbrown::HashMap;

use crate::model::{Batch, Column, JoinedPairs, Keys, PairSide};

/// Bytes of kept records that one call gets, about.
const CALL_BYTES: usize = 4 << 20;

/// Pairs in the order in which they were found.
#[derive(Default)]
pub(super) struct Found {
    /// Of each pair the arriving record, by its index in the batch, and the other one.
    pairs: Vec<(u32, u32)>,
    /// Records that are kept, each once.
    values: Column,
    timestamps: Vec<i64>,
    places: HashMap<(u32, Vec<u8>), u32>,
}

impl Found {
    /// Adds the pair of record `at` of the batch and the one that is kept of the same key under `sub_key`.
    pub(super) fn push(&mut self, at: usize, key: u32, sub_key: &[u8], value: &[u8], timestamp: i64) {
        let other = *self.places.entry((key, sub_key.to_vec())).or_insert_with(|| {
            self.values.push(value);
            self.timestamps.push(timestamp);
            self.timestamps.len() as u32 - 1
        });
        self.pairs.push((at as u32, other));
    }

    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether these are as many as one call should get.
    pub(super) fn is_full(&self, pairs: usize) -> bool {
        self.pairs.len() >= pairs || self.values.bytes().len() >= CALL_BYTES
    }

    /// The arriving record of a pair.
    pub(super) fn record(&self, pair: usize) -> usize {
        self.pairs[pair].0 as usize
    }

    /// Pairs `range`. `is_left` says which side the batch is.
    pub(super) fn pairs(&self, range: Range<usize>, batch: &Batch, keys: &Keys, is_left: bool) -> JoinedPairs {
        let (mut of_keys, mut key_of) = (Dictionary::default(), Keys::default());
        let (mut arriving, mut kept) = (SideBuilder::default(), SideBuilder::default());
        for &(at, other) in &self.pairs[range] {
            let key = keys.key_of[at as usize];
            let (place, is_new) = of_keys.place(key);
            if is_new {
                key_of.distinct.push(keys.distinct.value(key as usize));
                key_of.groups.push(keys.groups[key as usize]);
            }
            key_of.key_of.push(place);
            arriving.push(at, &batch.values, &batch.timestamps);
            kept.push(other, &self.values, &self.timestamps);
        }
        let (left, right) = if is_left { (arriving.side, kept.side) } else { (kept.side, arriving.side) };
        JoinedPairs { keys: key_of, left, right }
    }
}

/// Where each value was put that occurs.
#[derive(Default)]
struct Dictionary(HashMap<u32, u32>);

impl Dictionary {
    /// The place of a value, and whether it is a new one.
    fn place(&mut self, value: u32) -> (u32, bool) {
        let next = self.0.len() as u32;
        let place = *self.0.entry(value).or_insert(next);
        (place, place == next && self.0.len() as u32 > next)
    }
}

#[derive(Default)]
struct SideBuilder {
    side: PairSide,
    places: Dictionary,
}

impl SideBuilder {
    fn push(&mut self, value: u32, values: &Column, timestamps: &[i64]) {
        let (place, is_new) = self.places.place(value);
        if is_new {
            self.side.values.push(values.value(value as usize));
            self.side.timestamps.push(timestamps[value as usize]);
        }
        self.side.value_of.push(place);
    }
}
