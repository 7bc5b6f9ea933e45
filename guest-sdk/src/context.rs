//! What a function can see and reach while it handles a record or a timer.
//!
//! Invariant: what a function wrote stays here until `flush`, which hands it to the host once and in the order: state,
//! timers, metrics. A turn that fails is never flushed.

use crate::FunctionError;
use crate::bindings::cofferdam::function::context::TurnContext;
use crate::bindings::cofferdam::function::log::Level;
use crate::bindings::cofferdam::function::types::{Column, Output, TimeDomain};
use crate::codec::{Codec, Encode};
use crate::collector::OutputBuffer;
use crate::column;
use crate::declaration::Declaration;
use crate::host::Host;
use crate::state::{Cells, StateHandle, StateTable};
use crate::timers::TimerChanges;
use std::cell::OnceCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::str::FromStr;

/// A side output. Named by a const, `const LATE: SideOutput<Json<Flight>> = SideOutput::new("late");`, declared with
/// `#[function(side_outputs(LATE))]` and written to with `ctx.output(LATE, flight)`.
pub struct SideOutput<C> {
    name: &'static str,
    codec: PhantomData<fn() -> C>,
}

impl<C> SideOutput<C> {
    /// The side output of that name.
    pub const fn new(name: &'static str) -> Self {
        SideOutput { name, codec: PhantomData }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<C> Clone for SideOutput<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for SideOutput<C> {}

/// The surroundings of the record or timer that is being handled.
pub struct Context {
    host: Rc<dyn Host>,
    function: &'static str,
    timer_domains: Vec<TimeDomain>,
    keys: Column,
    key_count: usize,
    pub(crate) key: usize,
    pub(crate) record: Option<u32>,
    pub(crate) timestamp: i64,
    turn: OnceCell<TurnContext>,
    config: OnceCell<Vec<(String, String)>>,
    states: StateTable,
    pub(crate) timers: TimerChanges,
    sides: Vec<(&'static str, OutputBuffer)>,
    counters: Vec<(&'static str, u64)>,
    gauges: Vec<(&'static str, f64)>,
}

impl Context {
    pub(crate) fn new(function: &'static str, declaration: &Declaration, host: Rc<dyn Host>) -> Self {
        Context {
            host,
            function,
            timer_domains: declaration.timers.clone(),
            keys: column::empty(),
            key_count: 0,
            key: 0,
            record: None,
            timestamp: i64::MIN,
            turn: OnceCell::new(),
            config: OnceCell::new(),
            states: StateTable::new(&declaration.state_names),
            timers: TimerChanges::default(),
            sides: declaration.side_names.iter().map(|&name| (name, OutputBuffer::new())).collect(),
            counters: Vec::new(),
            gauges: Vec::new(),
        }
    }

    /// The key of the record or timer, as the pipeline's `key` made it. Empty where the input is not keyed.
    pub fn key(&self) -> &[u8] {
        if self.key < self.key_count { column::value(&self.keys, self.key) } else { &[] }
    }

    /// The key as text.
    ///
    /// # Errors
    /// Where the key is not UTF-8.
    pub fn key_str(&self) -> Result<&str, FunctionError> {
        std::str::from_utf8(self.key()).map_err(|error| format!("the key is not UTF-8: {error}").into())
    }

    /// The event timestamp in milliseconds since the Unix epoch: of the record, or the time of an event-time timer.
    /// `None` for a record without one and for a processing-time timer.
    pub fn timestamp(&self) -> Option<i64> {
        (self.timestamp != i64::MIN).then_some(self.timestamp)
    }

    /// The event time that the input has reached, in milliseconds; `i64::MIN` before there is any.
    pub fn watermark(&self) -> i64 {
        self.turn().watermark
    }

    /// The wall clock at the start of the turn, in milliseconds since the Unix epoch. It stands still during a turn.
    pub fn processing_time(&self) -> i64 {
        self.turn().processing_time
    }

    /// Where the turn takes place: the operator, the subtask, and the job's seed.
    pub fn turn(&self) -> &TurnContext {
        self.turn.get_or_init(|| self.host.turn())
    }

    /// A value of the operator's `config` in the pipeline.
    pub fn config(&self, name: &str) -> Option<&str> {
        let config = self.config.get_or_init(|| self.host.config());
        config.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A value of the operator's `config`, parsed.
    ///
    /// # Errors
    /// Where there is a value that does not parse, with its name.
    pub fn config_as<T: FromStr>(&self, name: &str) -> Result<Option<T>, FunctionError> {
        let Some(value) = self.config(name) else { return Ok(None) };
        match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(format!("config `{name}`: `{value}` is not what was expected").into()),
        }
    }

    /// The state of the current key.
    ///
    /// # Panics
    /// Where the function does not declare the state, or has no keyed input.
    #[inline]
    pub fn state<H: StateHandle>(&mut self, handle: H) -> H::Access<'_> {
        handle.access(self)
    }

    #[inline]
    pub(crate) fn cells<S: Cells>(&mut self, name: &'static str) -> &mut S {
        if self.key >= self.key_count {
            no_key(self.function, format_args!("state `{name}`"));
        }
        match self.states.cells(name, &self.host, self.key_count) {
            Some(cells) => cells,
            None => undeclared_state(self.function, name),
        }
    }

    /// The cells of a state that belongs to no key.
    pub(crate) fn broadcast_cells<S: Cells>(&mut self, name: &'static str) -> &mut S {
        match self.states.cells(name, &self.host, 1) {
            Some(cells) => cells,
            None => undeclared_broadcast(self.function, name),
        }
    }

    /// Emits a record to a side output, with the timestamp of the record that is being handled.
    ///
    /// # Panics
    /// Where the function does not declare the side output.
    pub fn output<C: Codec + Encode<V>, V>(&mut self, side: SideOutput<C>, value: V) {
        let timestamp = self.timestamp;
        self.output_with_timestamp(side, value, timestamp);
    }

    /// Emits a record to a side output with a timestamp of its own, in milliseconds since the Unix epoch.
    ///
    /// # Panics
    /// Where the function does not declare the side output.
    pub fn output_with_timestamp<C: Codec + Encode<V>, V>(&mut self, side: SideOutput<C>, value: V, timestamp: i64) {
        match self.sides.iter_mut().find(|(name, _)| *name == side.name) {
            Some((_, buffer)) => buffer.push::<C, V>(value, timestamp),
            None => undeclared_side_output(self.function, side.name),
        }
    }

    /// Registers a timer of the current key in event time: it fires when the watermark reaches `time`, in milliseconds.
    /// A key has at most one timer per time; registering it again changes nothing.
    ///
    /// # Panics
    /// Where the function does not declare event-time timers, or has no keyed input.
    pub fn register_event_timer(&mut self, time: i64) {
        let key = self.timer_key(TimeDomain::Event);
        self.timers.register(TimeDomain::Event, key, time);
    }

    /// Deletes an event-time timer of the current key. One that is not there is passed over.
    ///
    /// # Panics
    /// As [`Context::register_event_timer`].
    pub fn delete_event_timer(&mut self, time: i64) {
        let key = self.timer_key(TimeDomain::Event);
        self.timers.delete(TimeDomain::Event, key, time);
    }

    /// Registers a timer of the current key in processing time: it fires when the wall clock reaches `time`, in
    /// milliseconds since the Unix epoch.
    ///
    /// # Panics
    /// Where the function does not declare processing-time timers, or has no keyed input.
    pub fn register_processing_timer(&mut self, time: i64) {
        let key = self.timer_key(TimeDomain::Processing);
        self.timers.register(TimeDomain::Processing, key, time);
    }

    /// Deletes a processing-time timer of the current key. One that is not there is passed over.
    ///
    /// # Panics
    /// As [`Context::register_processing_timer`].
    pub fn delete_processing_timer(&mut self, time: i64) {
        let key = self.timer_key(TimeDomain::Processing);
        self.timers.delete(TimeDomain::Processing, key, time);
    }

    fn timer_key(&self, domain: TimeDomain) -> u32 {
        if !self.timer_domains.contains(&domain) {
            undeclared_timers(self.function, domain);
        }
        if self.key >= self.key_count {
            no_key(self.function, format_args!("timers"));
        }
        self.key as u32
    }

    /// Writes a line to the log, with the index of the record that is being handled. It is written even when the turn fails.
    pub fn log(&self, level: Level, message: impl AsRef<str>) {
        self.host.log(level, message.as_ref(), self.record);
    }

    /// Writes a line to the log at level `debug`: see [`Context::log`].
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(Level::Debug, message);
    }

    /// Writes a line to the log at level `info`: see [`Context::log`].
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(Level::Info, message);
    }

    /// Writes a line to the log at level `warn`: see [`Context::log`].
    pub fn warn(&self, message: impl AsRef<str>) {
        self.log(Level::Warn, message);
    }

    /// Writes a line to the log at level `error`: see [`Context::log`].
    pub fn error(&self, message: impl AsRef<str>) {
        self.log(Level::Error, message);
    }

    /// Adds to a counter of the operator's. It takes effect with the turn.
    pub fn count(&mut self, metric: &'static str, by: u64) {
        match self.counters.iter_mut().find(|(name, _)| *name == metric) {
            Some((_, value)) => *value += by,
            None => self.counters.push((metric, by)),
        }
    }

    /// Sets a gauge of the operator's. It takes effect with the turn; of several values in a turn the last one counts.
    pub fn gauge(&mut self, metric: &'static str, value: f64) {
        match self.gauges.iter_mut().find(|(name, _)| *name == metric) {
            Some((_, gauge)) => *gauge = value,
            None => self.gauges.push((metric, value)),
        }
    }

    /// Begins a turn over these keys.
    pub(crate) fn begin(&mut self, keys: Column) {
        self.key_count = column::len(&keys);
        self.keys = keys;
        self.key = 0;
        self.record = None;
        self.timestamp = i64::MIN;
        self.turn.take();
        self.config.take();
        self.states.begin();
        self.timers.discard();
        self.counters.clear();
        self.gauges.clear();
        self.sides.iter_mut().for_each(|(_, side)| side.discard());
    }

    /// Whether the function declares side outputs.
    #[inline]
    pub(crate) fn has_sides(&self) -> bool {
        !self.sides.is_empty()
    }

    /// Why a value could not be written to a side output.
    pub(crate) fn side_error(&mut self) -> Option<FunctionError> {
        self.sides.iter_mut().find_map(|(name, side)| {
            let error = side.error.take()?;
            Some(format!("side output `{name}`: {error}").into())
        })
    }

    /// Hands what the turn wrote to the host.
    pub(crate) fn flush(&mut self) -> Result<(), FunctionError> {
        self.record = None;
        self.states.flush()?;
        self.timers.flush(&*self.host);
        for (name, by) in self.counters.drain(..) {
            self.host.metric_add(name, by);
        }
        for (name, value) in self.gauges.drain(..) {
            self.host.metric_set(name, value);
        }
        Ok(())
    }

    /// What the turn emitted to side outputs.
    pub(crate) fn take_sides(&mut self) -> impl Iterator<Item = Output> + '_ {
        self.sides.iter_mut().zip(1..).filter_map(|((_, side), index)| side.take(index))
    }
}

#[cold]
fn no_key(function: &str, what: std::fmt::Arguments<'_>) -> ! {
    panic!(
        "function `{function}` uses {what} where there is no key: `open` and the broadcast input have none, and records have one only by the operator's `key` in the pipeline"
    )
}

#[cold]
fn undeclared_state(function: &str, state: &str) -> ! {
    panic!(
        "function `{function}` uses state `{state}` without declaring it: name its const in `#[function(states(...))]`"
    )
}

#[cold]
fn undeclared_broadcast(function: &str, state: &str) -> ! {
    panic!(
        "function `{function}` uses broadcast state `{state}` without declaring it: name its const in `#[function(broadcast(...))]`"
    )
}

#[cold]
fn undeclared_side_output(function: &str, side: &str) -> ! {
    panic!(
        "function `{function}` emits to side output `{side}` without declaring it: name its const in `#[function(side_outputs(...))]`"
    )
}

#[cold]
fn undeclared_timers(function: &str, domain: TimeDomain) -> ! {
    let domain = if domain == TimeDomain::Event { "event" } else { "processing" };
    panic!(
        "function `{function}` uses {domain}-time timers without declaring them: write `#[function(timers({domain}))]`"
    )
}
