//! Runs one function over the batches that the host hands over. Each family of functions has a runner in its own file.
//!
//! Invariant: the changes of a call go to the host only after its last record succeeded. A runner keeps buffers from call to call, but
//! nothing that changes a result: a fresh runner gives the same results.

mod aggregate;
mod pairs;
mod records;
mod windows;

use crate::FunctionError;
use crate::bindings::cofferdam::function::types::{Batch, Column, Failure, Output, RecordValues, Timestamps, Windows};
use crate::bindings::exports::cofferdam::function::guest::FunctionKind;
use crate::bindings::exports::cofferdam::function::join::Pairs;
use crate::bindings::exports::cofferdam::function::timer_handler::DueTimers;
use crate::bindings::exports::cofferdam::function::window::Elements;
use crate::collector::Collector;
use crate::column;
use crate::context::KeyedContext;
use crate::declaration::Declaration;
use crate::fields::Binder;
use crate::function::Function;
use crate::host::Host;
use crate::key::{self, Key};
use crate::times::malformed;
use crate::turn_cursor::{NO_ITEM, TurnCursor};
use std::rc::Rc;

pub(crate) use aggregate::AggregateRunner;
pub(crate) use pairs::PairRunner;
pub(crate) use records::RecordRunner;
pub(crate) use windows::WindowRunner;

/// The exports of the contract, for a function of any type. A function implements those of its kind; the others return an error.
pub trait Run {
    /// Returns the function's name and kind.
    fn name_and_kind(&self) -> (&'static str, FunctionKind);

    fn process(&mut self, input: u32, batch: Batch) -> Result<Vec<Output>, Failure> {
        let _ = (input, batch);
        Err(wrong_kind(self.name_and_kind(), "records"))
    }

    fn on_timers(&mut self, timers: DueTimers) -> Result<Vec<Output>, Failure> {
        let _ = timers;
        Err(wrong_kind(self.name_and_kind(), "timers"))
    }

    fn add(
        &mut self,
        accumulators: Column,
        accumulator_of: Vec<u32>,
        values: RecordValues,
        timestamps: Timestamps,
    ) -> Result<Column, Failure> {
        let _ = (accumulators, accumulator_of, values, timestamps);
        Err(wrong_kind(self.name_and_kind(), "records to fold"))
    }

    fn merge(&mut self, left: Column, right: Column) -> Result<Column, Failure> {
        let _ = (left, right);
        Err(wrong_kind(self.name_and_kind(), "accumulators"))
    }

    fn finish(&mut self, accumulators: Column, windows: Windows) -> Result<RecordValues, Failure> {
        let _ = (accumulators, windows);
        Err(wrong_kind(self.name_and_kind(), "accumulators"))
    }

    fn process_windows(&mut self, windows: Windows, inputs: Vec<Elements>) -> Result<Vec<Output>, Failure> {
        let _ = (windows, inputs);
        Err(wrong_kind(self.name_and_kind(), "windows"))
    }

    fn join(&mut self, pairs: Pairs) -> Result<Vec<Output>, Failure> {
        let _ = pairs;
        Err(wrong_kind(self.name_and_kind(), "pairs"))
    }
}

#[cold]
fn wrong_kind((name, kind): (&str, FunctionKind), what: &str) -> Failure {
    let kind = match kind {
        FunctionKind::Process => "process",
        FunctionKind::KeyedProcess => "keyed-process",
        FunctionKind::Aggregate => "aggregate",
        FunctionKind::ProcessWindow => "process-window",
        FunctionKind::CoProcess => "co-process",
        FunctionKind::BroadcastProcess => "broadcast-process",
        FunctionKind::CoGroup => "co-group",
        FunctionKind::IntervalJoin => "interval-join",
    };
    malformed(format!("function `{name}` is of kind {kind}, which does not handle {what}"))
}

/// One instance of a function, with its context and its main output.
struct Stage<F: Function> {
    function: F,
    opened: bool,
    cursor: Rc<TurnCursor>,
    context: KeyedContext<F::Key>,
    out: Collector<F::Out, F::OutKey>,
}

impl<F: Function> Stage<F> {
    fn new(host: Rc<dyn Host>) -> Self {
        let binder = Binder::new(F::NAME, Declaration::of::<F>(), host);
        let cursor = binder.cursor.clone();
        Stage {
            function: F::create(&binder),
            opened: false,
            context: KeyedContext::new(cursor.clone(), F::TIMERS),
            cursor,
            out: Collector::new(),
        }
    }

    /// Begins a turn over `places` distinct keys, or windows. `keys` are the keys that the context shows. Opens the function before its
    /// first turn.
    fn begin(&mut self, places: usize, keys: Column) -> Result<(), Failure> {
        self.out.buffer.discard();
        self.context.begin(keys);
        if !self.opened {
            // There is no key in `open`.
            self.cursor.begin(0);
            self.function.open(&mut self.context).map_err(|error| failure(&error, None))?;
            self.opened = true;
        }
        self.cursor.begin(places);
        Ok(())
    }

    /// Sets the record, timer, window or pair that is handled, and to which emitted records belong.
    #[inline]
    fn set_item(&mut self, item: u32) {
        self.cursor.item.set(item);
        self.out.buffer.origin = item;
    }

    /// Returns an error if a codec could not write a value. It fails the record for which the value was emitted.
    #[inline]
    fn emitted(&mut self) -> Result<(), FunctionError> {
        if self.out.buffer.error.is_none() && !self.cursor.has_side_error() {
            return Ok(());
        }
        self.emit_error().map_or(Ok(()), Err)
    }

    #[inline(never)]
    fn emit_error(&mut self) -> Option<FunctionError> {
        match self.out.buffer.error.take() {
            Some(error) => Some(format!("output: {error}").into()),
            None => self.cursor.take_side_error(),
        }
    }

    /// Hands the turn's changes to the host, in the order states, timers, metrics. Returns the outputs.
    fn finish(&mut self) -> Result<Vec<Output>, Failure> {
        let mut flushed = Ok(());
        self.function.visit_fields(&mut |field| {
            if flushed.is_ok() {
                flushed = field.flush();
            }
        });
        flushed.map_err(|error| failure(&error, None))?;
        self.cursor.item.set(NO_ITEM);
        self.context.flush();
        let mut outputs: Vec<Output> = self.out.buffer.take(0, &self.cursor.times.borrow()).into_iter().collect();
        self.function.visit_fields(&mut |field| outputs.extend(field.take_output()));
        Ok(outputs)
    }
}

/// Checks that all keys of a call are of the function's key type. `key_of` has the key of each record.
fn check_keys<F: Function>(keys: &Column, key_of: &[u32]) -> Result<(), Failure> {
    F::Key::check(keys).map_err(|(index, error)| {
        let record = key_of.iter().position(|&key| key as usize == index);
        let (key, name) = (key::shown(column::value(keys, index)), F::Key::type_name());
        let message = format!("the key `{key}` is not a `{name}`, the key type of function `{}`: {error}", F::NAME);
        failure(&message.into(), record.map(|record| record as u32))
    })
}

/// Makes the failure that the host gets: the error with its causes. The backtrace has one line for each cause, the first one first.
#[cold]
fn failure(error: &FunctionError, record: Option<u32>) -> Failure {
    let mut message = error.to_string();
    let mut backtrace = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        message.push_str(": ");
        message.push_str(&words);
        backtrace.push(format!("caused by: {words}"));
        cause = error.source();
    }
    Failure { message, record, backtrace }
}
