//! Batches of records: values, their event timestamps and, in a keyed stream, their keys.

use std::ops::Range;
use std::sync::Arc;

use super::column::Column;
use super::key_group::Keys;
use super::row::RowSchema;

/// The timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// The attributes of a record that has none: their number, 0.
pub const NO_ATTRIBUTES: &[u8] = &[0];

/// Records in order. `timestamps`, `chosen_keys`, `attributes` and `keys.key_of` have one entry per record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The encoded records.
    pub values: Column,
    /// Event time in milliseconds since the Unix epoch, or [`NO_TIMESTAMP`].
    pub timestamps: Vec<i64>,
    /// The keys that a function chose for its outputs, for a partitioning by `key = "emitted"`.
    pub chosen_keys: Option<Column>,
    /// The keys of the records. A keyed exchange sets them, and the turn that handles the batch shares them.
    pub keys: Option<Arc<Keys>>,
    /// The attributes of the records, such as the headers of a message, in the encoding of the contract (`wit/types.wit`).
    pub attributes: Option<Column>,
    /// The schema of the values if they are rows. `None` for raw bytes and JSON text.
    pub schema: Option<Arc<RowSchema>>,
}

impl Batch {
    /// Returns an empty batch with room for this many records and bytes of values.
    pub fn with_capacity(records: usize, bytes: usize) -> Batch {
        Batch {
            values: Column::with_capacity(records, bytes),
            timestamps: Vec::with_capacity(records),
            chosen_keys: None,
            keys: None,
            attributes: None,
            schema: None,
        }
    }

    /// Appends a record to a batch without keys and attributes.
    #[inline]
    pub fn push(&mut self, value: &[u8], timestamp: i64) {
        self.values.push(value);
        self.timestamps.push(timestamp);
    }

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns the number of bytes of the records, with their keys, timestamps and attributes.
    pub fn bytes(&self) -> usize {
        let column = |column: &Column| column.bytes().len() + column.len() * size_of::<u32>();
        let optional = |optional: &Option<Column>| optional.as_ref().map_or(0, column);
        let keys = self.keys.as_ref().map_or(0, |keys| column(&keys.distinct) + keys.key_of.len() * size_of::<u32>());
        column(&self.values)
            + self.timestamps.len() * size_of::<i64>()
            + optional(&self.chosen_keys)
            + optional(&self.attributes)
            + keys
    }

    /// Returns whether the batch has no records.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns the records in `range` as a new batch. Its key dictionary contains only their keys.
    pub fn slice(&self, range: Range<usize>) -> Batch {
        Batch {
            values: self.values.slice(range.clone()),
            timestamps: self.timestamps[range.clone()].to_vec(),
            chosen_keys: self.chosen_keys.as_ref().map(|keys| keys.slice(range.clone())),
            attributes: self.attributes.as_ref().map(|attributes| attributes.slice(range.clone())),
            schema: self.schema.clone(),
            keys: self.keys.as_ref().map(|keys| Arc::new(slice_keys(keys, range))),
        }
    }

    /// Returns the records with these indexes, in this order, as a new batch. Its key dictionary contains only their keys.
    pub fn select(&self, records: &[usize]) -> Batch {
        let of = |column: &Column| records.iter().map(|&record| column.value(record)).collect();
        Batch {
            values: of(&self.values),
            timestamps: records.iter().map(|&record| self.timestamps[record]).collect(),
            chosen_keys: self.chosen_keys.as_ref().map(of),
            keys: self.keys.as_ref().map(|keys| Arc::new(select_keys(keys, records.iter().copied()))),
            attributes: self.attributes.as_ref().map(of),
            schema: self.schema.clone(),
        }
    }
}

/// Returns the keys of the records in `range`. The dictionary contains only these keys.
pub(super) fn slice_keys(keys: &Keys, range: Range<usize>) -> Keys {
    select_keys(keys, range)
}

/// Returns the keys of these records. The dictionary contains only these keys.
fn select_keys(keys: &Keys, records: impl Iterator<Item = usize>) -> Keys {
    let mut slice = Keys::default();
    let mut moved = vec![u32::MAX; keys.distinct.len()];
    for old in records.map(|record| keys.key_of[record]) {
        let new = &mut moved[old as usize];
        if *new == u32::MAX {
            *new = slice.groups.len() as u32;
            slice.distinct.push(keys.distinct.value(old as usize));
            slice.groups.push(keys.groups[old as usize]);
        }
        slice.key_of.push(*new);
    }
    slice
}
