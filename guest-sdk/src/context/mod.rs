//! What a function can see and reach while it handles a record or a timer; and the contexts of functions that can reach less.
//!
//! Invariant: what a function wrote stays here until `flush`, which hands it to the host once and in the order: state,
//! timers, metrics. A turn that fails is never flushed. What a function must not do its context has no method for.

mod base;
mod broadcast;
mod window;

use crate::FunctionError;
use crate::bindings::cofferdam::function::types::{Column, Output, TimeDomain};
use crate::codec::{Codec, Encode};
use crate::collector::OutputBuffer;
use crate::column;
use crate::declaration::Declaration;
use crate::host::Host;
use crate::state::{Cells, StateHandle, StateTable};
use crate::timers::TimerChanges;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

pub use base::BaseContext;
pub(crate) use base::some_timestamp;
pub use broadcast::BroadcastContext;
pub(crate) use window::key_str;
pub use window::{JoinContext, WindowContext};

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

/// The surroundings of the record or timer that is being handled. The clocks, config, log and metrics are those of
/// [`BaseContext`].
pub struct Context {
    base: BaseContext,
    timer_domains: Vec<TimeDomain>,
    keys: Column,
    key_count: usize,
    pub(crate) key: usize,
    states: StateTable,
    pub(crate) timers: TimerChanges,
    sides: Vec<(&'static str, OutputBuffer)>,
}

impl Deref for Context {
    type Target = BaseContext;

    #[inline]
    fn deref(&self) -> &BaseContext {
        &self.base
    }
}

impl DerefMut for Context {
    #[inline]
    fn deref_mut(&mut self) -> &mut BaseContext {
        &mut self.base
    }
}

impl Context {
    pub(crate) fn new(function: &'static str, declaration: &Declaration, host: Rc<dyn Host>) -> Self {
        Context {
            base: BaseContext::new(function, host),
            timer_domains: declaration.timers.clone(),
            keys: column::empty(),
            key_count: 0,
            key: 0,
            states: StateTable::new(&declaration.state_names, &declaration.states),
            timers: TimerChanges::default(),
            sides: declaration.side_names.iter().map(|&name| (name, OutputBuffer::new())).collect(),
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
        key_str(self.key())
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
            no_key(self.base.function, format_args!("state `{name}`"));
        }
        match self.states.cells(name, &self.base.host, self.key_count) {
            Some(cells) => cells,
            None => undeclared_state(self.base.function, name),
        }
    }

    /// The cells of a state that belongs to no key.
    pub(crate) fn broadcast_cells<S: Cells>(&mut self, name: &'static str) -> &mut S {
        match self.states.cells(name, &self.base.host, 1) {
            Some(cells) => cells,
            None => undeclared_broadcast(self.base.function, name),
        }
    }

    /// Emits a record to a side output, with the timestamp of the record that is being handled.
    ///
    /// # Panics
    /// Where the function does not declare the side output.
    pub fn output<C: Codec + Encode<V>, V>(&mut self, side: SideOutput<C>, value: V) {
        let timestamp = self.base.timestamp;
        self.output_with_timestamp(side, value, timestamp);
    }

    /// Emits a record to a side output with a timestamp of its own, in milliseconds since the Unix epoch.
    ///
    /// # Panics
    /// Where the function does not declare the side output.
    pub fn output_with_timestamp<C: Codec + Encode<V>, V>(&mut self, side: SideOutput<C>, value: V, timestamp: i64) {
        match self.sides.iter_mut().find(|(name, _)| *name == side.name) {
            Some((_, buffer)) => buffer.push::<C, V>(value, timestamp),
            None => undeclared_side_output(self.base.function, side.name),
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
            undeclared_timers(self.base.function, domain);
        }
        if self.key >= self.key_count {
            no_key(self.base.function, format_args!("timers"));
        }
        self.key as u32
    }

    /// Begins a turn over these keys.
    pub(crate) fn begin(&mut self, keys: Column) {
        let key_count = column::len(&keys);
        self.keys = keys;
        self.begin_places(key_count);
    }

    /// Begins a turn over so many places that have state: distinct keys, or windows.
    pub(crate) fn begin_places(&mut self, places: usize) {
        self.base.begin();
        self.key_count = places;
        self.key = 0;
        self.states.begin();
        self.timers.discard();
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
        self.states.flush()?;
        self.timers.flush(&*self.base.host);
        self.base.flush();
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
