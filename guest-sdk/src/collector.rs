//! What a function emits, gathered in columns until its call returns.
//!
//! Invariant: one timestamp per value, and either no keys at all or one per value.

use crate::FunctionError;
use crate::bindings::cofferdam::function::types::{Column, Output};
use crate::codec::Encode;
use crate::column;
use std::marker::PhantomData;

/// Takes the records that a function emits to one of its outputs, written by the codec `C`.
///
/// Records leave the function together when its call returns well, or not at all. Emitting returns nothing: a value that
/// the codec cannot write fails the record as soon as the function returns.
pub struct Collector<C> {
    pub(crate) buffer: OutputBuffer,
    codec: PhantomData<C>,
}

impl<C> Collector<C> {
    pub(crate) fn new() -> Self {
        Collector { buffer: OutputBuffer::new(), codec: PhantomData }
    }

    /// Emits a record with the timestamp of the record, or of the timer, that is being handled.
    #[inline]
    pub fn emit<V>(&mut self, value: V)
    where
        C: Encode<V>,
    {
        let timestamp = self.buffer.timestamp;
        self.buffer.push::<C, V>(value, timestamp);
    }

    /// Emits a record with a timestamp of its own, in milliseconds since the Unix epoch.
    pub fn emit_with_timestamp<V>(&mut self, value: V, timestamp: i64)
    where
        C: Encode<V>,
    {
        self.buffer.push::<C, V>(value, timestamp);
    }

    /// Emits a record with a key, for a pipeline that partitions this output by the key that the function chose. A
    /// record of the same output that is emitted without one has the empty key.
    #[inline]
    pub fn emit_keyed<V>(&mut self, key: impl AsRef<[u8]>, value: V)
    where
        C: Encode<V>,
    {
        let timestamp = self.buffer.timestamp;
        self.buffer.push_keyed::<C, V>(key.as_ref(), value, timestamp);
    }
}

/// The columns of one output.
pub(crate) struct OutputBuffer {
    values: Column,
    timestamps: Vec<i64>,
    keys: Option<Column>,
    /// What a record gets that is emitted without a timestamp.
    pub(crate) timestamp: i64,
    /// Why a value could not be written.
    pub(crate) error: Option<FunctionError>,
}

impl OutputBuffer {
    pub(crate) fn new() -> Self {
        OutputBuffer { values: column::empty(), timestamps: Vec::new(), keys: None, timestamp: i64::MIN, error: None }
    }

    /// Makes room for as many records and bytes as came in, so that an echo never grows a column.
    pub(crate) fn reserve(&mut self, records: usize, bytes: usize) {
        self.values.bytes.reserve(bytes);
        self.values.offsets.reserve(records + 1);
        self.timestamps.reserve(records);
    }

    /// Adds a record; where others of this output have keys, with the empty one.
    #[inline]
    pub(crate) fn push<C: Encode<V>, V>(&mut self, value: V, timestamp: i64) {
        if self.push_value::<C, V>(value, timestamp)
            && let Some(keys) = &mut self.keys
        {
            column::end_value(keys);
        }
    }

    #[inline]
    fn push_keyed<C: Encode<V>, V>(&mut self, key: &[u8], value: V, timestamp: i64) {
        if !self.push_value::<C, V>(value, timestamp) {
            return;
        }
        let keys = match &mut self.keys {
            Some(keys) => keys,
            None => self.begin_keys(),
        };
        column::append(&mut keys.bytes, key);
        column::end_value(keys);
    }

    /// Whether the value could be written.
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

    /// The keys, where the last record is the first that has one: those before it get the empty one.
    #[cold]
    fn begin_keys(&mut self) -> &mut Column {
        let mut offsets = Vec::with_capacity(self.timestamps.capacity() + 1);
        offsets.resize(self.timestamps.len(), 0);
        self.keys.insert(Column { bytes: Vec::with_capacity(self.values.bytes.capacity()), offsets })
    }

    #[cold]
    fn fail(&mut self, error: FunctionError) {
        // What the codec wrote of the value stays behind: the turn fails, and with it the column goes.
        self.error.get_or_insert(error);
    }

    /// The gathered records as output `index`, or `None` where there are none. The buffer is empty after it.
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

    /// Forgets everything.
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
