//! The records that a function emits, collected in columns until its call returns.
//!
//! Invariant: there is one timestamp per value, and either one key per value or no keys.

use crate::bindings::cofferdam::function::types::{Column, Output};
use crate::codec::Encode;
use crate::column;
use crate::key::EncodeKey;
use crate::{FunctionError, Timestamp};
use std::marker::PhantomData;

/// Takes the records that a function emits to its main output, and writes them by the codec `C`.
///
/// All records of a call leave the function together when the call succeeds, or not at all. `emit` returns nothing: a value that the
/// codec cannot write fails the record as soon as the function returns.
pub struct Collector<C> {
    pub(crate) buffer: OutputBuffer,
    codec: PhantomData<C>,
}

impl<C> Collector<C> {
    pub(crate) fn new() -> Self {
        Collector { buffer: OutputBuffer::new(), codec: PhantomData }
    }

    /// Emits a record with the timestamp of the record, timer or window that is being handled.
    #[inline]
    pub fn emit<V>(&mut self, value: V)
    where
        C: Encode<V>,
    {
        let timestamp = self.buffer.timestamp;
        self.buffer.push::<C, V>(value, timestamp);
    }

    /// Emits a record with a timestamp of its own.
    pub fn emit_with_timestamp<V>(&mut self, value: V, timestamp: Timestamp)
    where
        C: Encode<V>,
    {
        self.buffer.push::<C, V>(value, timestamp.as_millis());
    }

    /// Emits a record with a key, for a pipeline that partitions this output by the key that the function chose
    /// (`key = "emitted"`). A record of the same output that is emitted without a key has the empty key.
    ///
    /// The key is what the next function declares as its `type Key`: text, bytes, a number, a tuple. See [`Key`](crate::Key).
    #[inline]
    pub fn emit_keyed<V>(&mut self, key: impl EncodeKey, value: V)
    where
        C: Encode<V>,
    {
        let timestamp = self.buffer.timestamp;
        self.buffer.push_keyed::<C, V>(&key, value, timestamp);
    }
}

/// The columns of one output.
pub(crate) struct OutputBuffer {
    values: Column,
    timestamps: Vec<i64>,
    keys: Option<Column>,
    /// The timestamp of records that are emitted without one.
    pub(crate) timestamp: i64,
    /// Why a value could not be written.
    pub(crate) error: Option<FunctionError>,
}

impl OutputBuffer {
    pub(crate) fn new() -> Self {
        OutputBuffer { values: column::empty(), timestamps: Vec::new(), keys: None, timestamp: i64::MIN, error: None }
    }

    /// Reserves room for as many records and bytes as came in, so that an echo never grows a column.
    pub(crate) fn reserve(&mut self, records: usize, bytes: usize) {
        self.values.bytes.reserve(bytes);
        self.values.offsets.reserve(records + 1);
        self.timestamps.reserve(records);
    }

    /// Adds a record. It gets the empty key if other records of this output have keys.
    #[inline]
    pub(crate) fn push<C: Encode<V>, V>(&mut self, value: V, timestamp: i64) {
        if self.push_value::<C, V>(value, timestamp)
            && let Some(keys) = &mut self.keys
        {
            column::end_value(keys);
        }
    }

    #[inline]
    fn push_keyed<C: Encode<V>, V>(&mut self, key: &impl EncodeKey, value: V, timestamp: i64) {
        if !self.push_value::<C, V>(value, timestamp) {
            return;
        }
        let keys = match &mut self.keys {
            Some(keys) => keys,
            None => self.begin_keys(),
        };
        key.encode_key(&mut keys.bytes);
        column::end_value(keys);
    }

    /// Adds a value. Returns whether the codec could write it.
    #[inline(always)] // A call costs more in wasm than what is done here.
    fn push_value<C: Encode<V>, V>(&mut self, value: V, timestamp: i64) -> bool {
        if let Err(error) = C::encode(value, &mut self.values.bytes) {
            self.fail(error.into());
            return false;
        }
        column::end_value(&mut self.values);
        self.timestamps.push(timestamp);
        true
    }

    /// Begins the column of keys for the first record with a key. The records before it get the empty key.
    #[cold]
    fn begin_keys(&mut self) -> &mut Column {
        let mut offsets = Vec::with_capacity(self.timestamps.capacity() + 1);
        offsets.resize(self.timestamps.len(), 0);
        self.keys.insert(Column { bytes: Vec::with_capacity(self.values.bytes.capacity()), offsets })
    }

    #[cold]
    fn fail(&mut self, error: FunctionError) {
        // The part that the codec wrote stays in the column: the turn fails, and the column is dropped.
        self.error.get_or_insert(error);
    }

    /// Takes the records as output `index`, or returns `None` if there are none. The buffer is empty afterwards.
    pub(crate) fn take(&mut self, index: u32) -> Option<Output> {
        if self.timestamps.is_empty() {
            self.discard();
            return None;
        }
        Some(Output {
            index,
            values: std::mem::replace(&mut self.values, Column { bytes: Vec::new(), offsets: start() }),
            timestamps: std::mem::take(&mut self.timestamps),
            keys: self.keys.take(),
        })
    }

    /// Drops all records.
    pub(crate) fn discard(&mut self) {
        column::clear(&mut self.values);
        self.timestamps.clear();
        self.keys = None;
        self.error = None;
    }
}

fn start() -> Vec<u32> {
    vec![0]
}
