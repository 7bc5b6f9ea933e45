//! Runs a function natively, without a host: what Flink's test harnesses are for its functions.
//!
//! ```
//! # use cofferdam_sdk::prelude::*;
//! use cofferdam_sdk::testing::Harness;
//! # #[derive(Default)] struct Shout;
//! # #[function] impl MapFunction for Shout {
//! #     type In = Text; type Out = Text;
//! #     fn map(&mut self, value: &str, _: &mut Context) -> Result<String> { Ok(value.to_uppercase()) }
//! # }
//!
//! let mut harness = Harness::<Shout>::new();
//! harness.push("", "hello", 0)?;
//! assert_eq!(harness.take_output()?, ["HELLO"]);
//! # Ok::<(), FunctionError>(())
//! ```
//!
//! [`WindowHarness`] does the same for functions that windows call, over [`Windows`] that the test chooses, and
//! [`IntervalJoinHarness`] for interval joins.
//!
//! Invariant: a call that fails leaves the harness as it was, but for the lines that it logged. Every call gets a fresh
//! instance, so a function that remembers something in its fields fails its tests.

mod interval_join;
mod memory;
mod read_state;
mod snapshot;
mod states;
mod window_harness;
mod windows;

use crate::bindings::cofferdam::function::log::Level;
use crate::bindings::cofferdam::function::types::{Batch, Column, Failure, Output, TimeDomain};
use crate::bindings::exports::cofferdam::function::function::{DueTimers, FunctionDescription};
use crate::codec::{Codec, Decode, Encode};
use crate::context::some_timestamp;
use crate::declaration::Declaration;
use crate::fields::Binder;
use crate::function::{Function, Kind, Records};
use crate::key::{EncodeKey, encoded};
use crate::runner::Run;
use crate::side_output::SideOutput;
use crate::{BroadcastProcessFunction, CoProcessFunction, FunctionError, Timestamp, column, declaration};
use memory::SharedMemory;
use std::marker::PhantomData;
use std::rc::Rc;

pub use interval_join::IntervalJoinHarness;
pub use window_harness::{WindowHarness, window_key};
pub use windows::Windows;

/// A line that a function logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// The index in its batch of the record that it is about.
    pub record: Option<u32>,
}

/// A record that a function emitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted<T> {
    /// Its value.
    pub value: T,
    /// Its event timestamp, if it has one.
    pub timestamp: Option<Timestamp>,
    /// The key that the function chose, where its output has keys.
    pub key: Option<Vec<u8>>,
}

/// Runs a function of type `F` over what a test pushes. Functions that windows call have a [`WindowHarness`], interval joins an
/// [`IntervalJoinHarness`]; what a function has done is asked in the same way of all three.
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
    /// A harness without state, with the watermark before all time and the wall clock at 0.
    pub fn new() -> Self {
        Harness::bare()
    }

    /// Sets a value of the operator's `config`.
    #[must_use]
    pub fn with_config(self, name: &str, value: &str) -> Self {
        self.configure(name, value);
        self
    }

    /// Sets how often the job was restarted after a failure: see [`TurnContext`](crate::TurnContext).
    #[must_use]
    pub fn with_restarts(self, restarts: u32) -> Self {
        self.memory.with(|memory| memory.restarts = restarts);
        self
    }

    /// Pushes one record: its key (empty for a function that is not keyed), its value, and its event timestamp in
    /// milliseconds.
    ///
    /// # Errors
    /// Where the function fails the record. Nothing of it takes effect then. A panic goes through to the test instead, which
    /// expects it with `#[should_panic]`; in the host it fails its record like an error.
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
    /// Where the function fails one of them. Nothing of any of them takes effect then.
    pub fn push_batch<K, V, T>(&mut self, records: impl IntoIterator<Item = (K, V, T)>) -> Result<(), FunctionError>
    where
        K: EncodeKey,
        T: Into<Timestamp>,
        F::In: Encode<V>,
    {
        let mut encoded = Vec::new();
        for (key, value, timestamp) in records {
            encoded.push((key, encode::<F::In, V>(value)?, timestamp));
        }
        self.push_raw_batch(encoded)
    }

    /// Pushes one record whose value is these bytes.
    ///
    /// # Errors
    /// As [`Harness::push`].
    pub fn push_raw(
        &mut self,
        key: impl EncodeKey,
        value: impl AsRef<[u8]>,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError> {
        self.push_raw_batch([(key, value, timestamp)])
    }

    /// Pushes several records whose values are these bytes as one batch, which is one turn.
    ///
    /// # Errors
    /// As [`Harness::push_batch`].
    pub fn push_raw_batch<K: EncodeKey, V: AsRef<[u8]>, T: Into<Timestamp>>(
        &mut self,
        records: impl IntoIterator<Item = (K, V, T)>,
    ) -> Result<(), FunctionError> {
        self.push_input(0, records)
    }

    fn push_input<K: EncodeKey, V: AsRef<[u8]>, T: Into<Timestamp>>(
        &mut self,
        input: u32,
        records: impl IntoIterator<Item = (K, V, T)>,
    ) -> Result<(), FunctionError> {
        let mut keys = KeyColumn::default();
        let mut values = column::empty();
        let mut timestamps = Vec::new();
        for (key, value, timestamp) in records {
            if F::Kind::KEYED[input as usize] {
                keys.add(encoded(key));
            }
            values.bytes.extend_from_slice(value.as_ref());
            column::end_value(&mut values);
            timestamps.push(timestamp.into().as_millis());
        }
        let KeyColumn { distinct, key_of } = keys;
        let batch = Batch { values, timestamps, keys: column_of(&distinct), key_of };
        let outputs = self.turn(distinct, |runner| runner.process(input, batch))?;
        self.gather(outputs);
        Ok(())
    }

    /// Pushes one record of the first of two inputs that share state: the same as [`Harness::push`].
    ///
    /// # Errors
    /// As [`Harness::push`].
    pub fn push_first<V>(
        &mut self,
        key: impl EncodeKey,
        value: V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError>
    where
        F: CoProcessFunction,
        F::First: Encode<V>,
    {
        self.push_raw(key, encode::<F::First, V>(value)?, timestamp)
    }

    /// Pushes one record of the second of two inputs that share state.
    ///
    /// # Errors
    /// As [`Harness::push`].
    pub fn push_second<V>(
        &mut self,
        key: impl EncodeKey,
        value: V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError>
    where
        F: CoProcessFunction,
        F::Second: Encode<V>,
    {
        self.push_input(1, [(key, encode::<F::Second, V>(value)?, timestamp)])
    }

    /// Pushes one record of the broadcast input, which is a turn of its own.
    ///
    /// # Errors
    /// As [`Harness::push`].
    pub fn push_broadcast<V>(&mut self, value: V, timestamp: impl Into<Timestamp>) -> Result<(), FunctionError>
    where
        F: BroadcastProcessFunction,
        F::Broadcast: Encode<V>,
    {
        self.push_raw_broadcast(encode::<F::Broadcast, V>(value)?, timestamp)
    }

    /// Pushes one record of the broadcast input whose value is these bytes.
    ///
    /// # Errors
    /// As [`Harness::push`].
    pub fn push_raw_broadcast(
        &mut self,
        value: impl AsRef<[u8]>,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError>
    where
        F: BroadcastProcessFunction,
    {
        self.push_input(1, [("", value, timestamp)])
    }

    /// Moves the watermark forward and fires the event-time timers that it reaches, in order of their times.
    ///
    /// A timer that an earlier one deletes does not fire, and one that it registers fires in its place. `i64::MAX` is the end of
    /// the input: timers of processing time fire as well, and those that a timer registers are dropped.
    ///
    /// # Errors
    /// Where a timer fails. It and those after it stay registered, and the watermark has moved.
    pub fn advance_watermark(&mut self, watermark: impl Into<Timestamp>) -> Result<(), FunctionError> {
        let watermark = watermark.into().as_millis();
        self.memory.with(|memory| memory.watermark = memory.watermark.max(watermark));
        self.fire(TimeDomain::Event, watermark)?;
        if watermark == i64::MAX { self.fire(TimeDomain::Processing, i64::MAX) } else { Ok(()) }
    }

    /// Moves the wall clock forward, to milliseconds since the Unix epoch, and fires the processing-time timers that it
    /// reaches, in order of their times.
    ///
    /// # Errors
    /// As [`Harness::advance_watermark`].
    pub fn advance_processing_time(&mut self, time: impl Into<Timestamp>) -> Result<(), FunctionError> {
        let time = time.into().as_millis();
        self.memory.with(|memory| memory.processing_time = memory.processing_time.max(time));
        self.fire(TimeDomain::Processing, time)
    }

    fn fire(&mut self, domain: TimeDomain, until: i64) -> Result<(), FunctionError> {
        // One turn per time: what a timer registers or deletes at a later time is seen before that time comes.
        while let Some((time, keys)) = self.memory.with(|memory| memory.earliest_timers(domain, until)) {
            let due = DueTimers {
                domain,
                keys: column_of(&keys),
                key_of: (0..keys.len() as u32).collect(),
                times: vec![time; keys.len()],
            };
            let fired = keys.clone();
            let taken = self.memory.with(|memory| memory.before_turn());
            self.memory.with(|memory| fired.iter().for_each(|key| memory.delete_timer(domain, time, key)));
            let result = self.turn(keys, |runner| runner.on_timers(due));
            match &result {
                Err(_) => self.memory.with(|memory| memory.roll_back(taken)),
                Ok(_) if until == i64::MAX => self.memory.with(|memory| memory.drop_timers_beside(&taken)),
                Ok(_) => {}
            }
            self.gather(result?);
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

    /// What the function says of itself in `describe`.
    pub fn description(&self) -> &FunctionDescription {
        &self.description
    }

    fn instance(&self) -> Box<dyn Run> {
        F::Kind::run(Rc::new(self.memory.clone()))
    }

    /// Runs a turn on a fresh instance: all of it takes effect, or nothing.
    fn turn<T>(
        &mut self,
        keys: Vec<Vec<u8>>,
        call: impl FnOnce(&mut dyn Run) -> Result<T, Failure>,
    ) -> Result<T, FunctionError> {
        let before = self.memory.with(|memory| {
            memory.keys = keys;
            memory.before_turn()
        });
        match call(&mut *self.instance()) {
            Ok(returned) => Ok(returned),
            Err(Failure { message, record }) => {
                self.memory.with(|memory| memory.roll_back(before));
                Err(match record {
                    Some(record) => format!("record {record}: {message}").into(),
                    None => message.into(),
                })
            }
        }
    }

    fn gather(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            let records = &mut self.outputs[output.index as usize];
            for (index, timestamp) in output.timestamps.iter().enumerate() {
                records.push(Emitted {
                    value: column::value(&output.values, index).to_vec(),
                    timestamp: some_timestamp(*timestamp),
                    key: output.keys.as_ref().map(|keys| column::value(keys, index).to_vec()),
                });
            }
        }
    }

    /// Takes the values that were emitted to the main output since they were taken last.
    ///
    /// # Errors
    /// Where the codec cannot read what it wrote.
    pub fn take_output(&mut self) -> Result<Vec<<F::Out as Codec>::Owned>, FunctionError>
    where
        F::Out: Decode,
    {
        Ok(self.take_emitted()?.into_iter().map(|emitted| emitted.value).collect())
    }

    /// Takes the records that were emitted to the main output, with their timestamps and keys.
    ///
    /// # Errors
    /// Where the codec cannot read what it wrote.
    pub fn take_emitted(&mut self) -> Result<Vec<Emitted<<F::Out as Codec>::Owned>>, FunctionError>
    where
        F::Out: Decode,
    {
        decode::<F::Out>(std::mem::take(&mut self.outputs[0]))
    }

    /// Takes the values that were emitted to the main output as the text that they are written as.
    ///
    /// # Errors
    /// Where they are not UTF-8.
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

    /// The lines that were logged so far, those of failed turns included.
    pub fn logs(&self) -> Vec<LogLine> {
        self.memory.with(|memory| memory.logs.clone())
    }

    /// What a counter of the function's has reached.
    pub fn counter(&self, metric: &str) -> u64 {
        self.memory.with(|memory| memory.committed.counters.get(metric).copied().unwrap_or(0))
    }

    /// What a gauge of the function's was set to last.
    pub fn gauge(&self, metric: &str) -> Option<f64> {
        self.memory.with(|memory| memory.committed.gauges.get(metric).copied())
    }

    /// How many timers are registered on a clock.
    pub fn timers(&self, domain: TimeDomain) -> usize {
        self.memory.with(|memory| memory.committed.timers_of(domain).len())
    }

    /// How often a host import was called, by its name in the contract, such as `value-load`.
    pub fn calls(&self, import: &str) -> u64 {
        self.memory.with(|memory| memory.calls.get(import).copied().unwrap_or(0))
    }
}

fn encode<C: Encode<V>, V>(value: V) -> Result<Vec<u8>, FunctionError> {
    let mut bytes = Vec::new();
    C::encode(value, &mut bytes)?;
    Ok(bytes)
}

/// Refuses a record without a timestamp where event time decides what becomes of it, as a host does.
fn timed(timestamp: i64) -> Result<(), FunctionError> {
    some_timestamp(timestamp).map(drop).ok_or_else(|| "the record has no timestamp".into())
}

fn decode<C: Decode>(records: Vec<Emitted<Vec<u8>>>) -> Result<Vec<Emitted<C::Owned>>, FunctionError> {
    records
        .into_iter()
        .map(|Emitted { value, timestamp, key }| Ok(Emitted { value: C::decode_owned(&value)?, timestamp, key }))
        .collect()
}

/// The distinct keys of a batch, and which record has which.
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
mod kinds_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod window_tests;
