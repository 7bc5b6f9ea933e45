//! The records that a function emits, collected in columns until its call returns.
//!
//! Invariant: there is one origin per value. Keys and attributes have one entry per value, or there are none.

use crate::bindings::cofferdam::function::types::{Column, Output, RecordValues};
use crate::codec::Encode;
use crate::column;
use crate::key::{ChosenKey, EncodeKey, NoKey};
use crate::times::ItemTimes;
use crate::{FunctionError, Timestamp, attributes};
use std::marker::PhantomData;

/// Takes the records that a function emits to its main output, and writes them by the codec `C`. `K` is the type of the keys that the
/// function chooses for them, its `OutKey`, if it does.
///
/// All records of a call leave the function together when the call succeeds, or not at all. `emit` returns nothing: a value that the
/// codec cannot write fails the record as soon as the function returns.
pub struct Collector<C, K = NoKey> {
    pub(crate) buffer: OutputBuffer,
    types: PhantomData<(C, fn() -> K)>,
}

impl<C, K> Collector<C, K> {
    pub(crate) fn new() -> Self {
        Collector { buffer: OutputBuffer::new(), types: PhantomData }
    }

    /// Emits a record with the timestamp of the record, timer or window that is being handled.
    #[inline]
    pub fn emit<V>(&mut self, value: V)
    where
        C: Encode<V>,
    {
        self.buffer.push::<C, V>(value);
    }

    /// Emits a record with a timestamp of its own.
    pub fn emit_with_timestamp<V>(&mut self, value: V, timestamp: Timestamp)
    where
        C: Encode<V>,
    {
        self.emit_with(value).timestamp(timestamp);
    }

    /// Emits a record, and returns it for further settings: a timestamp, headers, a key.
    ///
    /// ```
    /// # use cofferdam_sdk::prelude::*;
    /// fn emit(line: &str, out: &mut Collector<Text>) {
    ///     out.emit_with(line).timestamp(Timestamp::from_secs(5)).header("source", "sensor 7");
    /// }
    /// ```
    pub fn emit_with<V>(&mut self, value: V) -> EmittedRecord<'_, K>
    where
        C: Encode<V>,
    {
        EmittedRecord { position: self.buffer.push::<C, V>(value), buffer: &mut self.buffer, key: PhantomData }
    }

    /// Emits a record with a key, for a pipeline that partitions this output by the key that the function chose
    /// (`key = "emitted"`). A record of the same output that is emitted without a key has the empty key.
    ///
    /// The function names the type of these keys, the `type Key` of the next function: `type OutKey = String;`. Its collector is a
    /// `Collector<Self::Out, String>`.
    #[inline]
    pub fn emit_keyed<V>(&mut self, key: K::Ref<'_>, value: V)
    where
        C: Encode<V>,
        K: ChosenKey,
    {
        self.buffer.push_keyed::<C, V>(&key, value);
    }
}

/// A record that was just emitted: see [`Collector::emit_with`].
pub struct EmittedRecord<'a, K = NoKey> {
    buffer: &'a mut OutputBuffer,
    /// `None` if the codec could not write the value.
    position: Option<usize>,
    key: PhantomData<fn() -> K>,
}

impl<'a, K> EmittedRecord<'a, K> {
    pub(crate) fn new(buffer: &'a mut OutputBuffer, position: Option<usize>) -> Self {
        EmittedRecord { buffer, position, key: PhantomData }
    }

    /// Gives the record a timestamp of its own.
    pub fn timestamp(self, timestamp: Timestamp) -> Self {
        if let Some(position) = self.position {
            self.buffer.extras().timestamps.push((position as u32, timestamp.as_millis()));
        }
        self
    }

    /// Adds a header, such as those of a message. A sink that has no headers ignores it.
    ///
    /// # Panics
    /// Panics if the name begins with `:`, or if the record has more than 127 headers.
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        if let Some(position) = self.position {
            attributes::add_to_last(self.buffer.attributes(position), name, value.as_ref());
        }
        self
    }

    /// Sets the key: see [`Collector::emit_keyed`].
    pub fn key(self, key: K::Ref<'_>) -> Self
    where
        K: ChosenKey,
    {
        if let Some(position) = self.position {
            let keys = self.buffer.keys(position);
            // Of several calls the last one counts.
            keys.bytes.truncate(keys.offsets[position] as usize);
            key.encode_key(&mut keys.bytes);
            keys.offsets[position + 1] = keys.bytes.len() as u32;
        }
        self
    }
}

/// The columns of one output.
pub(crate) struct OutputBuffer {
    values: Column,
    origins: Vec<u32>,
    /// The item to which emitted records belong.
    pub(crate) origin: u32,
    extras: Option<Box<Extras>>,
    /// Why a value could not be written.
    pub(crate) error: Option<FunctionError>,
}

/// What some records of an output have.
#[derive(Default)]
struct Extras {
    keys: Option<Column>,
    attributes: Option<Column>,
    /// Positions of records, and the timestamps that the function gave them.
    timestamps: Vec<(u32, i64)>,
}

impl OutputBuffer {
    pub(crate) fn new() -> Self {
        OutputBuffer { values: column::empty(), origins: Vec::new(), origin: 0, extras: None, error: None }
    }

    /// Reserves room for as many records and bytes as came in, so that an echo never grows a column.
    pub(crate) fn reserve(&mut self, records: usize, bytes: usize) {
        self.values.bytes.reserve(bytes);
        self.values.offsets.reserve(records + 1);
        self.origins.reserve(records);
    }

    /// Adds a record, and returns its position. It has an empty key and no headers yet if other records of this output have them.
    #[inline]
    pub(crate) fn push<C: Encode<V>, V>(&mut self, value: V) -> Option<usize> {
        if !self.push_value::<C, V>(value) {
            return None;
        }
        if let Some(extras) = &mut self.extras {
            if let Some(keys) = &mut extras.keys {
                column::end_value(keys);
            }
            if let Some(attributes) = &mut extras.attributes {
                attributes::end_without(attributes);
            }
        }
        Some(self.origins.len() - 1)
    }

    #[inline]
    fn push_keyed<C: Encode<V>, V>(&mut self, key: &impl EncodeKey, value: V) {
        if !self.push_value::<C, V>(value) {
            return;
        }
        let extras = match &mut self.extras {
            Some(extras) if extras.keys.is_some() => extras,
            _ => self.begin_keys(self.origins.len() - 1),
        };
        if let Some(keys) = &mut extras.keys {
            key.encode_key(&mut keys.bytes);
            column::end_value(keys);
        }
        if let Some(attributes) = &mut extras.attributes {
            attributes::end_without(attributes);
        }
    }

    /// Adds a value. Returns whether the codec could write it.
    #[inline(always)] // A call costs more in wasm than what is done here.
    fn push_value<C: Encode<V>, V>(&mut self, value: V) -> bool {
        if let Err(error) = C::encode(value, &mut self.values.bytes) {
            self.fail(error.into());
            return false;
        }
        column::end_value(&mut self.values);
        self.origins.push(self.origin);
        true
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// Begins the column of keys for the first record with a key. The `records` before it have the empty key.
    #[cold]
    fn begin_keys(&mut self, records: usize) -> &mut Extras {
        let mut offsets = Vec::with_capacity(self.origins.capacity() + 1);
        offsets.resize(records + 1, 0);
        let bytes = Vec::with_capacity(self.values.bytes.capacity());
        let extras = self.extras();
        extras.keys = Some(Column { bytes, offsets });
        extras
    }

    /// Returns the column of keys. It ends with that of the record at `position`.
    fn keys(&mut self, position: usize) -> &mut Column {
        let extras = self.extras();
        extras.keys.get_or_insert_with(|| Column { bytes: Vec::new(), offsets: vec![0; position + 2] })
    }

    /// Returns the column of attributes. It ends with those of the record at `position`.
    fn attributes(&mut self, position: usize) -> &mut Column {
        self.extras().attributes.get_or_insert_with(|| attributes::none(position + 1))
    }

    #[cold]
    fn fail(&mut self, error: FunctionError) {
        // The part that the codec wrote stays in the column: the turn fails, and the column is dropped.
        self.error.get_or_insert(error);
    }

    /// Takes the records as output `index`, or returns `None` if there are none. The buffer is empty afterwards.
    pub(crate) fn take(&mut self, index: u32, times: &ItemTimes) -> Option<Output> {
        if self.origins.is_empty() {
            self.discard();
            return None;
        }
        let Extras { keys, attributes, timestamps } = self.extras.take().map(|extras| *extras).unwrap_or_default();
        let (timestamps, origins) = times.of_output(std::mem::take(&mut self.origins), &timestamps);
        let values = std::mem::replace(&mut self.values, column::empty());
        Some(Output { index, values: RecordValues::Packed(values), timestamps, origins, keys, attributes })
    }

    /// Drops all records.
    pub(crate) fn discard(&mut self) {
        column::clear(&mut self.values);
        self.origins.clear();
        self.extras = None;
        self.error = None;
    }
}
