//! Runs one function over what the host hands over. Each family of functions has a runner in a file of its own.
//!
//! Invariant: what a call wrote is handed to the host only after its last record succeeded. A runner holds memory from
//! call to call, and no meaning: a fresh one gives the same answers.

mod aggregate;
mod pairs;
mod records;
mod windows;

use crate::FunctionError;
use crate::bindings::cofferdam::function::types::{Batch, Column, Failure, Output, Windows};
use crate::bindings::exports::cofferdam::function::function::{DueTimers, FunctionKind};
use crate::bindings::exports::cofferdam::function::join::Pairs;
use crate::bindings::exports::cofferdam::function::window::Elements;
use crate::codec::Codec;
use crate::collector::Collector;
use crate::context::Context;
use crate::declaration::Declaration;
use crate::function::Function;
use crate::host::Host;
use std::rc::Rc;

pub(crate) use aggregate::AggregateRunner;
pub(crate) use pairs::PairRunner;
pub(crate) use records::RecordRunner;
pub(crate) use windows::WindowRunner;

/// A function, whatever its types are: the exports of the contract, one to one. A function answers to those of its kind.
pub trait Run {
    /// The function's name, and its kind.
    fn who(&self) -> (&'static str, FunctionKind);

    fn process(&mut self, input: u32, batch: Batch) -> Result<Vec<Output>, Failure> {
        let _ = (input, batch);
        Err(wrong_kind(self.who(), "records"))
    }

    fn on_timers(&mut self, timers: DueTimers) -> Result<Vec<Output>, Failure> {
        let _ = timers;
        Err(wrong_kind(self.who(), "timers"))
    }

    fn add(
        &mut self,
        accumulators: Column,
        accumulator_of: Vec<u32>,
        values: Column,
        timestamps: Vec<i64>,
    ) -> Result<Column, Failure> {
        let _ = (accumulators, accumulator_of, values, timestamps);
        Err(wrong_kind(self.who(), "records to fold"))
    }

    fn merge(&mut self, left: Column, right: Column) -> Result<Column, Failure> {
        let _ = (left, right);
        Err(wrong_kind(self.who(), "accumulators"))
    }

    fn finish(&mut self, accumulators: Column, windows: Windows) -> Result<Column, Failure> {
        let _ = (accumulators, windows);
        Err(wrong_kind(self.who(), "accumulators"))
    }

    fn process_windows(&mut self, windows: Windows, inputs: Vec<Elements>) -> Result<Vec<Output>, Failure> {
        let _ = (windows, inputs);
        Err(wrong_kind(self.who(), "windows"))
    }

    fn join(&mut self, pairs: Pairs) -> Result<Vec<Output>, Failure> {
        let _ = pairs;
        Err(wrong_kind(self.who(), "pairs"))
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
    Failure { message: format!("function `{name}` is of kind {kind}, which does not handle {what}"), record: None }
}

/// A function with its surroundings.
struct Stage<F, C> {
    function: F,
    opened: bool,
    context: Context,
    out: Collector<C>,
}

impl<F: Function, C: Codec> Stage<F, C> {
    fn new(host: Rc<dyn Host>) -> Self {
        Stage {
            function: F::default(),
            opened: false,
            context: Context::new(F::NAME, &Declaration::of::<F>(), host),
            out: Collector::new(),
        }
    }

    /// Forgets what a turn that failed emitted, and opens the function where that was not done yet.
    fn begin(&mut self, open: impl Fn(&mut F, &mut Context) -> Result<(), FunctionError>) -> Result<(), Failure> {
        self.out.buffer.discard();
        if !self.opened {
            open(&mut self.function, &mut self.context).map_err(|error| failure(&error, None))?;
            self.opened = true;
        }
        Ok(())
    }

    /// The timestamp of what is handled, and of what is emitted for it.
    #[inline]
    fn set_timestamp(&mut self, timestamp: i64) {
        self.context.timestamp = timestamp;
        self.out.buffer.timestamp = timestamp;
    }

    /// A value that a codec could not write fails the record that it was emitted for.
    #[inline]
    fn emitted(&mut self) -> Result<(), FunctionError> {
        if self.out.buffer.error.is_none() && !self.context.has_sides() {
            return Ok(());
        }
        self.emit_error().map_or(Ok(()), Err)
    }

    #[inline(never)]
    fn emit_error(&mut self) -> Option<FunctionError> {
        match self.out.buffer.error.take() {
            Some(error) => Some(format!("output: {error}").into()),
            None => self.context.side_error(),
        }
    }

    fn finish(&mut self) -> Result<Vec<Output>, Failure> {
        self.context.flush().map_err(|error| failure(&error, None))?;
        Ok(self.out.buffer.take(0).into_iter().chain(self.context.take_sides()).collect())
    }
}

/// What the host is told: the error and all that it was caused by.
#[cold]
fn failure(error: &FunctionError, record: Option<u32>) -> Failure {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    Failure { message, record }
}
