//! Runs a function natively, without a host, like Flink's test harnesses.
//!
//! ```
//! # use cofferdam_sdk::prelude::*;
//! use cofferdam_sdk::testing::Harness;
//! #[derive(Record)]
//! struct Flight { carrier: String, delay: Option<i32> }
//!
//! #[derive(Debug, PartialEq, Record)]
//! struct Late { carrier: String }
//!
//! # #[derive(Default)] struct LateFlights;
//! # #[function] impl FlatMapFunction for LateFlights {
//! #     type In = Flight; type Out = Late;
//! #     fn flat_map(&mut self, flight: Flight, _: &mut Context, out: &mut Collector<Late>) -> Result {
//! #         if flight.delay > Some(15) { out.emit(Late { carrier: flight.carrier }); }
//! #         Ok(())
//! #     }
//! # }
//! let mut harness = Harness::<LateFlights>::new();
//! harness.push("", Flight { carrier: "UA".to_owned(), delay: Some(16) }, 0)?;
//! harness.push("", Flight { carrier: "AA".to_owned(), delay: None }, 0)?;
//! assert_eq!(harness.take_output()?, [Late { carrier: "UA".to_owned() }]);
//! # Ok::<(), FunctionError>(())
//! ```
//!
//! [`WindowHarness`] does the same for functions that windows call, over [`Windows`] that the test chooses, and
//! [`IntervalJoinHarness`] for interval joins.
//!
//! Invariant: a call that fails changes nothing in the harness except that log lines stay. Every call gets a new instance, so a function
//! that relies on its plain fields fails its tests.

mod interval_join;
mod memory;
mod read_state;
mod snapshot;
mod states;
mod window_harness;
mod windows;

use crate::attributes::{self, Attributes};
use crate::bindings::cofferdam::function::log::Level;
use crate::bindings::cofferdam::function::types::{
    Batch, Column, Failure, Output, RecordValues, TimeDomain, Timestamps,
};
use crate::bindings::exports::cofferdam::function::guest::FunctionDescription;
use crate::bindings::exports::cofferdam::function::timer_handler::DueTimers;
use crate::codec::{Bytes, Codec, Decode, Encode};
use crate::context::some_timestamp;
use crate::declaration::Declaration;
use crate::fields::Binder;
use crate::function::{Function, Kind, Records};
use crate::key::{EncodeKey, encoded};
use crate::runner::Run;
use crate::side_output::SideOutput;
use crate::times::{self, ItemTimes, NO_TIMESTAMP};
use crate::turn_cursor::ItemStream;
use crate::{BroadcastProcessFunction, CoProcessFunction, FunctionError, Timestamp, TwoInputs, column, declaration};
use memory::SharedMemory;
use std::marker::PhantomData;
use std::rc::Rc;

pub use interval_join::IntervalJoinHarness;
pub use window_harness::{WindowHarness, window_key};
pub use windows::Windows;

/// A line that a function logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The level of the line.
    pub level: Level,
    /// The text of the line.
    pub message: String,
    /// The index in its batch of the record that was being handled.
    pub record: Option<u32>,
}

/// A record that a function emitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted<T> {
    /// Its value.
    pub value: T,
    /// Its event timestamp, if it has one.
    pub timestamp: Option<Timestamp>,
    /// The key that the function chose, if its output has keys.
    pub key: Option<Vec<u8>>,
    /// The names and values of its headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A record as a harness pushes it.
struct Pushed {
    key: Vec<u8>,
    value: Vec<u8>,
    timestamp: i64,
    attributes: Option<Vec<u8>>,
}

impl Pushed {
    fn new<C: Encode<V>, V>(
        key: impl EncodeKey,
        value: V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<Self, FunctionError> {
        let timestamp = timestamp.into().as_millis();
        Ok(Pushed { key: encoded(key), value: encode::<C, V>(value)?, timestamp, attributes: None })
    }
}

/// The keys and items of a turn.
struct Items {
    keys: Vec<Vec<u8>>,
    stream: ItemStream,
    /// The timestamps of the items.
    times: Vec<i64>,
}

impl Items {
    /// Items without keys.
    fn keyless(stream: ItemStream, times: Vec<i64>) -> Self {
        Items { keys: Vec::new(), stream, times }
    }
}

/// Runs a function of type `F` over the records that a test pushes. Functions that windows call have a [`WindowHarness`], interval joins
/// an [`IntervalJoinHarness`]; both have the methods of this type that return results.
pub struct Harness<F> {
    memory: SharedMemory,
    outputs: Vec<Vec<Emitted<Vec<u8>>>>,
    description: FunctionDescription,
    function: PhantomData<F>,
}

impl<F: Function<Kind: Records<F>>> Default for Harness<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Function<Kind: Records<F>>> Harness<F> {
    /// A harness without state. The watermark is [`Timestamp::MIN`], and the wall clock is at 0.
    pub fn new() -> Self {
        Harness::bare()
    }

    /// Sets a value of the operator's `config`.
    #[must_use]
    pub fn with_config(self, name: &str, value: &str) -> Self {
        self.configure(name, value);
        self
    }

    /// Pushes one record: its key (ignored if the function is not keyed), its value, and its event timestamp. A number is taken as
    /// milliseconds; `i64::MIN` stands for no timestamp.
    ///
    /// # Errors
    /// Returns the error if the function fails the record. The record changes nothing then. A panic reaches the test, which can expect it
    /// with `#[should_panic]`; in the host it fails its record like an error.
    pub fn push<V>(
        &mut self,
        key: impl EncodeKey,
        value: V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError>
    where
        F::In: Encode<V>,
    {
        self.push_batch([(key, value, timestamp)])
    }

    /// Pushes several records as one batch, which is one turn.
    ///
    /// # Errors
    /// Returns the error if the function fails one of the records. None of them changes anything then.
    pub fn push_batch<K, V, T>(&mut self, records: impl IntoIterator<Item = (K, V, T)>) -> Result<(), FunctionError>
    where
        K: EncodeKey,
        T: Into<Timestamp>,
        F::In: Encode<V>,
    {
        let record = |(key, value, timestamp): (K, V, T)| Pushed::new::<F::In, V>(key, value, timestamp);
        let records = records.into_iter().map(record).collect::<Result<_, _>>()?;
        self.push_input(0, records)
    }

    /// Pushes one record with attributes, such as the headers of a message, or `:topic`, `:partition` and `:offset`.
    ///
    /// # Errors
    /// The same as of [`Harness::push`].
    pub fn push_with_attributes<V>(
        &mut self,
        key: impl EncodeKey,
        value: V,
        timestamp: impl Into<Timestamp>,
        attributes: &[(&str, &[u8])],
    ) -> Result<(), FunctionError>
    where
        F::In: Encode<V>,
    {
        let record = Pushed::new::<F::In, V>(key, value, timestamp)?;
        self.push_input(0, vec![Pushed { attributes: Some(attributes::written(attributes)), ..record }])
    }

    /// Pushes one record of the first of two inputs: the same as [`Harness::push`].
    ///
    /// # Errors
    /// The same as of [`Harness::push`].
    pub fn push_first<V>(
        &mut self,
        key: impl EncodeKey,
        value: V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError>
    where
        F: CoProcessFunction,
        F::In: Encode<V>,
    {
        self.push(key, value, timestamp)
    }

    /// Pushes one record of the second of two inputs.
    ///
    /// # Errors
    /// The same as of [`Harness::push`].
    pub fn push_second<V>(
        &mut self,
        key: impl EncodeKey,
        value: V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError>
    where
        F: CoProcessFunction + TwoInputs,
        <F as TwoInputs>::Second: Encode<V>,
    {
        self.push_input(1, vec![Pushed::new::<<F as TwoInputs>::Second, V>(key, value, timestamp)?])
    }

    /// Pushes one record of the broadcast input, which is a turn of its own.
    ///
    /// # Errors
    /// The same as of [`Harness::push`].
    pub fn push_broadcast<V>(&mut self, value: V, timestamp: impl Into<Timestamp>) -> Result<(), FunctionError>
    where
        F: BroadcastProcessFunction,
        F::Broadcast: Encode<V>,
    {
        self.push_input(1, vec![Pushed::new::<F::Broadcast, V>("", value, timestamp)?])
    }

    /// Pushes one record whose value is these bytes, to show what the function does with bytes that its input cannot read.
    ///
    /// # Errors
    /// The same as of [`Harness::push`].
    pub fn push_bytes(
        &mut self,
        key: impl EncodeKey,
        value: &[u8],
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError> {
        self.push_input(0, vec![Pushed::new::<Bytes, _>(key, value, timestamp)?])
    }

    fn push_input(&mut self, input: u32, records: Vec<Pushed>) -> Result<(), FunctionError> {
        let mut keys = KeyColumn::default();
        let mut values = column::empty();
        let has_attributes = records.iter().any(|record| record.attributes.is_some());
        let mut attributes = column::empty();
        let mut timestamps = Vec::new();
        for record in records {
            if F::Kind::KEYED[input as usize] {
                keys.add(record.key);
            }
            values.bytes.extend_from_slice(&record.value);
            column::end_value(&mut values);
            attributes.bytes.extend_from_slice(record.attributes.as_deref().unwrap_or(&[0]));
            column::end_value(&mut attributes);
            timestamps.push(record.timestamp);
        }
        let stream = if input == 0 { ItemStream::FirstInput } else { ItemStream::SecondInput };
        let KeyColumn { distinct, key_of } = keys;
        let items = Items { keys: distinct, stream, times: timestamps };
        let batch = Batch {
            values: RecordValues::Packed(values),
            timestamps: times::to_contract(items.times.clone()),
            keys: column_of(&items.keys),
            key_of,
            attributes: has_attributes.then_some(attributes),
        };
        self.emitting_turn(items, |runner| runner.process(input, batch))
    }

    /// Advances the watermark and fires the event-time timers that it reaches, in the order of their times.
    ///
    /// A timer that an earlier one deletes does not fire, and a timer that an earlier one registers fires at its time.
    /// [`Timestamp::MAX`] is the end of the input: timers of processing time fire as well, and timers that a timer registers are dropped.
    ///
    /// # Errors
    /// Returns the error if a timer fails. That timer and those after it stay registered, and the watermark has advanced.
    pub fn advance_watermark(&mut self, watermark: impl Into<Timestamp>) -> Result<(), FunctionError> {
        let watermark = watermark.into().as_millis();
        self.memory.with(|memory| memory.watermark = memory.watermark.max(watermark));
        self.fire(TimeDomain::Event, watermark)?;
        if watermark == i64::MAX { self.fire(TimeDomain::Processing, i64::MAX) } else { Ok(()) }
    }

    /// Advances the wall clock and fires the processing-time timers that it reaches, in the order of their times.
    ///
    /// # Errors
    /// The same as of [`Harness::advance_watermark`].
    pub fn advance_processing_time(&mut self, time: impl Into<Timestamp>) -> Result<(), FunctionError> {
        let time = time.into().as_millis();
        self.memory.with(|memory| memory.processing_time = memory.processing_time.max(time));
        self.fire(TimeDomain::Processing, time)
    }

    fn fire(&mut self, domain: TimeDomain, until: i64) -> Result<(), FunctionError> {
        // One turn per time, so that a timer can register or delete timers for later times.
        while let Some((time, keys)) = self.memory.with(|memory| memory.earliest_timers(domain, until)) {
            let due = DueTimers {
                domain,
                keys: column_of(&keys),
                key_of: (0..keys.len() as u32).collect(),
                times: vec![time; keys.len()],
            };
            let fired = keys.clone();
            let (stream, time_of_records) = match domain {
                TimeDomain::Event => (ItemStream::EventTimers, time),
                TimeDomain::Processing => (ItemStream::ProcessingTimers, NO_TIMESTAMP),
            };
            let items = Items { stream, times: vec![time_of_records; keys.len()], keys };
            let taken = self.memory.with(|memory| memory.before_turn());
            self.memory.with(|memory| fired.iter().for_each(|key| memory.delete_timer(domain, time, key)));
            let result = self.emitting_turn(items, |runner| runner.on_timers(due));
            match &result {
                Err(_) => self.memory.with(|memory| memory.roll_back(taken)),
                Ok(_) if until == i64::MAX => self.memory.with(|memory| memory.drop_timers_not_in(&taken)),
                Ok(_) => {}
            }
            result?;
        }
        Ok(())
    }
}

impl<F: Function> Harness<F> {
    fn bare() -> Self {
        let description = declaration::describe::<F>();
        Harness {
            memory: SharedMemory::new(&description.states),
            outputs: description.outputs.iter().map(|_| Vec::new()).collect(),
            description,
            function: PhantomData,
        }
    }

    fn configure(&self, name: &str, value: &str) {
        self.memory.with(|memory| memory.config.push((name.to_owned(), value.to_owned())));
    }

    /// Returns the description of the function.
    pub fn description(&self) -> &FunctionDescription {
        &self.description
    }

    fn instance(&self) -> Box<dyn Run> {
        F::Kind::run(Rc::new(self.memory.clone()))
    }

    /// Runs a turn on a new instance. All of it takes effect, or nothing.
    fn turn<T>(
        &mut self,
        items: &Items,
        call: impl FnOnce(&mut dyn Run) -> Result<T, Failure>,
    ) -> Result<T, FunctionError> {
        let before = self.memory.with(|memory| {
            memory.keys.clone_from(&items.keys);
            memory.stream = items.stream;
            memory.before_turn()
        });
        match call(&mut *self.instance()) {
            Ok(returned) => {
                self.memory.with(|memory| memory.advance(items.times.len() as u64));
                Ok(returned)
            }
            Err(Failure { message, record, .. }) => {
                self.memory.with(|memory| memory.roll_back(before));
                Err(match record {
                    Some(record) => format!("record {record}: {message}").into(),
                    None => message.into(),
                })
            }
        }
    }

    /// Runs a turn whose outputs are kept.
    fn emitting_turn(
        &mut self,
        items: Items,
        call: impl FnOnce(&mut dyn Run) -> Result<Vec<Output>, Failure>,
    ) -> Result<(), FunctionError> {
        let outputs = self.turn(&items, call)?;
        let times = ItemTimes::inheritable(items.times);
        for output in outputs {
            let values = column::packed(output.values).map_err(|failure| failure.message)?;
            let timestamps = match output.timestamps {
                Timestamps::Inherited => output.origins.iter().filter_map(|&origin| times.get(origin)).collect(),
                timestamps => times::of_input(timestamps, column::len(&values)).map_err(|failure| failure.message)?,
            };
            let part =
                |column: &Option<Column>, index| column.as_ref().map(|column| column::value(column, index).to_vec());
            for (index, timestamp) in timestamps.into_iter().enumerate() {
                let attributes = part(&output.attributes, index).unwrap_or_default();
                let attributes = Attributes::new(&attributes);
                self.outputs[output.index as usize].push(Emitted {
                    value: column::value(&values, index).to_vec(),
                    timestamp: some_timestamp(timestamp),
                    key: part(&output.keys, index),
                    headers: attributes.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
                });
            }
        }
        Ok(())
    }

    /// Takes the values that were emitted to the main output since the last call.
    ///
    /// # Errors
    /// Returns an error if the codec cannot read what it wrote.
    pub fn take_output(&mut self) -> Result<Vec<<F::Out as Codec>::Owned>, FunctionError>
    where
        F::Out: Decode,
    {
        Ok(self.take_emitted()?.into_iter().map(|emitted| emitted.value).collect())
    }

    /// Takes the records that were emitted to the main output, with their timestamps and keys.
    ///
    /// # Errors
    /// Returns an error if the codec cannot read what it wrote.
    pub fn take_emitted(&mut self) -> Result<Vec<Emitted<<F::Out as Codec>::Owned>>, FunctionError>
    where
        F::Out: Decode,
    {
        decode::<F::Out>(std::mem::take(&mut self.outputs[0]))
    }

    /// Takes the values that were emitted to the main output, as the text that the codec wrote.
    ///
    /// # Errors
    /// Returns an error if they are not UTF-8.
    pub fn take_text(&mut self) -> Result<Vec<String>, FunctionError> {
        let records = std::mem::take(&mut self.outputs[0]);
        records.into_iter().map(|record| Ok(String::from_utf8(record.value)?)).collect()
    }

    /// Takes the values that were emitted to a side output: `harness.take_side_output(|f| &f.late)`.
    ///
    /// # Errors
    /// Returns an error if the codec cannot read what it wrote.
    pub fn take_side_output<C: Decode>(
        &mut self,
        side: impl FnOnce(&F) -> &SideOutput<C>,
    ) -> Result<Vec<C::Owned>, FunctionError> {
        let binder = Binder::new(F::NAME, Declaration::of::<F>(), Rc::new(self.memory.clone()));
        let index = side(&F::create(&binder)).index();
        let records = decode::<C>(std::mem::take(&mut self.outputs[index]))?;
        Ok(records.into_iter().map(|emitted| emitted.value).collect())
    }

    /// Returns all logged lines, including those of failed turns.
    pub fn logs(&self) -> Vec<LogLine> {
        self.memory.with(|memory| memory.logs.clone())
    }

    /// Returns the value of a counter of the function.
    pub fn counter(&self, metric: &str) -> u64 {
        self.memory.with(|memory| memory.committed.counters.get(metric).copied().unwrap_or(0))
    }

    /// Returns the last value of a gauge of the function.
    pub fn gauge(&self, metric: &str) -> Option<f64> {
        self.memory.with(|memory| memory.committed.gauges.get(metric).copied())
    }

    /// Returns the observations of a histogram of the function, in their order.
    pub fn observations(&self, metric: &str) -> Vec<f64> {
        self.memory.with(|memory| memory.committed.observations.get(metric).cloned().unwrap_or_default())
    }

    /// Returns the number of timers that are registered on a clock.
    pub fn timers(&self, domain: TimeDomain) -> usize {
        self.memory.with(|memory| memory.committed.timers_of(domain).len())
    }

    /// Returns how often a host import was called. Imports have their names of the contract, such as `value-load`.
    pub fn calls(&self, import: &str) -> u64 {
        self.memory.with(|memory| memory.calls.get(import).copied().unwrap_or(0))
    }
}

fn encode<C: Encode<V>, V>(value: V) -> Result<Vec<u8>, FunctionError> {
    let mut bytes = Vec::new();
    C::encode(value, &mut bytes)?;
    Ok(bytes)
}

/// Refuses a record without a timestamp, like a host that assigns records by event time.
fn timed(timestamp: i64) -> Result<(), FunctionError> {
    some_timestamp(timestamp).map(drop).ok_or_else(|| "the record has no timestamp".into())
}

fn decode<C: Decode>(records: Vec<Emitted<Vec<u8>>>) -> Result<Vec<Emitted<C::Owned>>, FunctionError> {
    records
        .into_iter()
        .map(|Emitted { value, timestamp, key, headers }| {
            Ok(Emitted { value: C::decode_owned(&value)?, timestamp, key, headers })
        })
        .collect()
}

/// The distinct keys of a batch, and the key of each record.
#[derive(Default)]
struct KeyColumn {
    distinct: Vec<Vec<u8>>,
    key_of: Vec<u32>,
}

impl KeyColumn {
    fn add(&mut self, key: Vec<u8>) {
        let index = self.distinct.iter().position(|known| *known == key).unwrap_or_else(|| {
            self.distinct.push(key);
            self.distinct.len() - 1
        });
        self.key_of.push(index as u32);
    }
}

fn column_of(values: &[Vec<u8>]) -> Column {
    let mut column = column::empty();
    for value in values {
        column.bytes.extend_from_slice(value);
        column::end_value(&mut column);
    }
    column
}

#[cfg(test)]
mod event_time_tests;
#[cfg(test)]
mod harness_tests;
#[cfg(test)]
mod kinds_tests;
#[cfg(test)]
mod record_tests;
#[cfg(test)]
mod window_tests;
