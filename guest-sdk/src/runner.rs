//! Runs one function over the batches and timers that the host hands over.
//!
//! Invariant: what a call wrote is handed to the host only after its last record succeeded. A runner holds memory from
//! call to call, and no meaning: a fresh one gives the same answers.

use crate::FunctionError;
use crate::bindings::cofferdam::function::types::{Batch, Failure, Output, TimeDomain};
use crate::bindings::exports::cofferdam::function::function::DueTimers;
use crate::codec::Decode;
use crate::collector::Collector;
use crate::column;
use crate::context::Context;
use crate::declaration::Declaration;
use crate::function::Function;
use crate::host::Host;
use crate::panic::in_record;
use crate::timers::Timer;
use std::rc::Rc;

/// A function, whatever its types are.
pub(crate) trait Run {
    fn process(&mut self, batch: Batch) -> Result<Vec<Output>, Failure>;
    fn broadcast(&mut self, batch: Batch) -> Result<Vec<Output>, Failure>;
    fn on_timers(&mut self, timers: DueTimers) -> Result<Vec<Output>, Failure>;
}

/// A function with its surroundings.
pub(crate) struct Runner<F: Function> {
    function: F,
    opened: bool,
    context: Context,
    out: Collector<F::Output>,
}

impl<F: Function> Runner<F> {
    pub(crate) fn new(host: Rc<dyn Host>) -> Self {
        Runner {
            function: F::default(),
            opened: false,
            context: Context::new(F::NAME, &Declaration::of::<F>(), host),
            out: Collector::new(),
        }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        self.out.buffer.discard();
        if !self.opened {
            self.function.open_function(&mut self.context).map_err(|error| failure(&error, None))?;
            self.opened = true;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<Output>, Failure> {
        self.context.flush().map_err(|error| failure(&error, None))?;
        Ok(self.out.buffer.take(0).into_iter().chain(self.context.take_sides()).collect())
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

    #[inline(always)] // A call costs more in wasm than what is done here.
    fn element(&mut self, bytes: &[u8]) -> Result<(), FunctionError> {
        let value = F::Input::decode(bytes).map_err(|error| format!("input is not {error}"))?;
        self.function.element(value, &mut self.context, &mut self.out)?;
        self.emitted()
    }
}

impl<F: Function> Run for Runner<F> {
    fn process(&mut self, batch: Batch) -> Result<Vec<Output>, Failure> {
        let Batch { values, timestamps, keys, key_of } = batch;
        self.context.begin(keys);
        self.begin()?;
        if F::KEYED && key_of.len() != timestamps.len() {
            let message = format!("function `{}` needs keys: give its operator a `key` in the pipeline", F::NAME);
            return Err(failure(&message.into(), None));
        }
        self.out.buffer.reserve(timestamps.len(), values.bytes.len());
        for (index, &timestamp) in timestamps.iter().enumerate() {
            let record = index as u32;
            in_record(Some(record));
            self.context.record = Some(record);
            self.context.key = key_of.get(index).map_or(0, |&key| key as usize);
            self.context.timestamp = timestamp;
            self.out.buffer.timestamp = timestamp;
            if let Err(error) = self.element(column::value(&values, index)) {
                in_record(None);
                return Err(failure(&error, Some(record)));
            }
        }
        in_record(None);
        self.finish()
    }

    fn broadcast(&mut self, batch: Batch) -> Result<Vec<Output>, Failure> {
        let Batch { values, timestamps, .. } = batch;
        self.context.begin(column::empty());
        self.begin()?;
        for (index, &timestamp) in timestamps.iter().enumerate() {
            let record = Some(index as u32);
            in_record(record);
            self.context.record = record;
            self.context.timestamp = timestamp;
            self.out.buffer.timestamp = timestamp;
            let value = column::value(&values, index);
            let result = self.function.broadcast_element(value, &mut self.context, &mut self.out);
            if let Err(error) = result.and_then(|()| self.emitted()) {
                in_record(None);
                return Err(failure(&error, record));
            }
        }
        in_record(None);
        self.finish()
    }

    fn on_timers(&mut self, timers: DueTimers) -> Result<Vec<Output>, Failure> {
        let DueTimers { domain, keys, key_of, times } = timers;
        self.context.begin(keys);
        self.begin()?;
        for (&key, &time) in key_of.iter().zip(&times) {
            // An earlier timer of this call may have deleted it.
            if self.context.timers.deleted(domain, key, time) {
                continue;
            }
            let timestamp = if domain == TimeDomain::Event { time } else { i64::MIN };
            self.context.key = key as usize;
            self.context.timestamp = timestamp;
            self.out.buffer.timestamp = timestamp;
            let timer = Timer { time, domain };
            let result = self.function.timer(timer, &mut self.context, &mut self.out).and_then(|()| self.emitted());
            result.map_err(|error| failure(&format!("timer at {time}: {error}").into(), None))?;
        }
        self.finish()
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
