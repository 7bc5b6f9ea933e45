//! The copy of a record that a tap shows.

use std::sync::Arc;

use crate::model::row::RowSchema;
use crate::model::{Batch, NO_TIMESTAMP};
use crate::turn::OutputId;

/// Largest value that is copied completely. Of a larger one, only [`START_BYTES`] are copied.
pub(super) const COPIED_BYTES_MAX: usize = 64 << 10;
/// Number of bytes of a larger value, and largest number of bytes of a key.
pub(super) const START_BYTES: usize = 4 << 10;

/// Where a record passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRoute {
    pub subtask: u32,
    /// The input of the node, if the record is one that it takes.
    pub input: Option<u32>,
    /// The output of the node, if the record is one that it emits.
    pub output: Option<OutputId>,
}

/// The copy of a record.
#[derive(Clone, Debug)]
pub struct TappedRecord {
    pub route: RecordRoute,
    /// Event time in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// The key, or its start.
    pub key: Option<Box<[u8]>>,
    /// The value, or its start.
    pub value: Box<[u8]>,
    /// Number of bytes of the whole value.
    pub value_bytes: usize,
    /// The schema of a row.
    pub schema: Option<Arc<RowSchema>>,
}

impl TappedRecord {
    /// Copies a record of a batch.
    pub(super) fn copy(route: RecordRoute, batch: &Batch, index: usize) -> TappedRecord {
        let start = |bytes: &[u8]| bytes[..bytes.len().min(START_BYTES)].into();
        let value = batch.values.value(index);
        let key = match (&batch.keys, &batch.chosen_keys) {
            (Some(keys), _) => keys.key_of.get(index).map(|key| start(keys.distinct.value(*key as usize))),
            (None, Some(chosen)) => Some(start(chosen.value(index))),
            (None, None) => None,
        };
        TappedRecord {
            route,
            timestamp_ms: batch.timestamps.get(index).copied().filter(|timestamp| *timestamp != NO_TIMESTAMP),
            key,
            value: if value.len() <= COPIED_BYTES_MAX { value.into() } else { start(value) },
            value_bytes: value.len(),
            schema: batch.schema.clone(),
        }
    }

    /// Returns whether only the start of the value was copied.
    pub fn is_cut(&self) -> bool {
        self.value.len() < self.value_bytes
    }
}
