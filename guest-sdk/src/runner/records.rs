//! Functions that handle records one by one, and timers.

use super::{Run, Stage, check_keys, failure};
use crate::bindings::cofferdam::function::types::{Batch, Failure, Output, TimeDomain};
use crate::bindings::exports::cofferdam::function::guest::FunctionKind;
use crate::bindings::exports::cofferdam::function::timer_handler::DueTimers;
use crate::collector::Collector;
use crate::context::KeyedContext;
use crate::function::{Function, Records};
use crate::host::Host;
use crate::panic::in_record;
use crate::timers::{Due, Timer};
use crate::times::{self, ItemTimes};
use crate::turn_cursor::ItemStream;
use crate::{FunctionError, Timestamp, column};
use std::marker::PhantomData;
use std::rc::Rc;

/// Runs a function of kind `K`.
pub(crate) struct RecordRunner<F: Function, K> {
    stage: Stage<F>,
    kind: PhantomData<K>,
}

impl<F: Function, K: Records<F>> RecordRunner<F, K> {
    pub(crate) fn new(host: Rc<dyn Host>) -> Self {
        RecordRunner { stage: Stage::new(host), kind: PhantomData }
    }

    /// Handles a batch of one input, each record by `handle`.
    #[inline(always)]
    fn records(
        &mut self,
        batch: Batch,
        stream: ItemStream,
        keyed: bool,
        handle: impl Fn(
            &mut F,
            &[u8],
            &mut KeyedContext<F::Key>,
            &mut Collector<F::Out, F::OutKey>,
        ) -> Result<(), FunctionError>,
    ) -> Result<Vec<Output>, Failure> {
        let Batch { values, timestamps, keys, key_of, attributes } = batch;
        let values = column::packed(values)?;
        let records = column::len(&values);
        let timestamps = times::of_input(timestamps, records)?;
        let stage = &mut self.stage;
        if keyed {
            check_keys::<F>(&keys, &key_of)?;
        }
        stage.begin(column::len(&keys), keys)?;
        if keyed && key_of.len() != records {
            let message = format!("function `{}` needs keys: give its operator a `key` in the pipeline", F::NAME);
            return Err(failure(&message.into(), None));
        }
        stage.context.set_attributes(attributes);
        stage.cursor.set_items(stream, ItemTimes::inheritable(timestamps));
        stage.out.buffer.reserve(records, values.bytes.len());
        // A local pointer stays in a register; a field of the stage is reloaded for each record. `Stage::set_item` and
        // `Stage::emitted` are therefore repeated below for the records that succeed: 1 ns of each.
        let cursor = stage.cursor.clone();
        for index in 0..records {
            let record = index as u32;
            in_record(Some(record));
            cursor.item.set(record);
            if keyed {
                cursor.key.set(key_of.get(index).map_or(0, |&key| key as usize));
            }
            stage.out.buffer.origin = record;
            let handled =
                handle(&mut stage.function, column::value(&values, index), &mut stage.context, &mut stage.out);
            if handled.is_ok() && stage.out.buffer.error.is_none() && !cursor.has_side_error() {
                continue;
            }
            if let Err(error) = handled.and_then(|()| stage.emitted()) {
                in_record(None);
                return Err(failure(&error, Some(record)));
            }
        }
        in_record(None);
        stage.finish()
    }
}

impl<F: Function, K: Records<F>> Run for RecordRunner<F, K> {
    fn name_and_kind(&self) -> (&'static str, FunctionKind) {
        (F::NAME, K::KIND)
    }

    fn process(&mut self, input: u32, batch: Batch) -> Result<Vec<Output>, Failure> {
        match (input, K::KEYED) {
            (0, &[keyed, ..]) => self.records(batch, ItemStream::FirstInput, keyed, K::first),
            (1, &[_, keyed]) => self.records(batch, ItemStream::SecondInput, keyed, K::second),
            _ => Err(failure(&format!("function `{}` has no input {input}", F::NAME).into(), None)),
        }
    }

    fn on_timers(&mut self, timers: DueTimers) -> Result<Vec<Output>, Failure> {
        let DueTimers { domain, keys, key_of, times } = timers;
        let stage = &mut self.stage;
        check_keys::<F>(&keys, &[])?;
        stage.begin(column::len(&keys), keys)?;
        let is_end = stage.context.watermark() == Timestamp::MAX;
        stage.context.timers.begin_firing(domain, &key_of, &times, is_end);
        match domain {
            TimeDomain::Event => stage.cursor.set_items(ItemStream::EventTimers, ItemTimes::inheritable(times)),
            TimeDomain::Processing => {
                stage.cursor.set_items(ItemStream::ProcessingTimers, ItemTimes::none(times.len()));
            }
        }
        while let Some(Due { time, key, item }) = stage.context.timers.next_due() {
            stage.cursor.key.set(key as usize);
            let timestamp = if domain == TimeDomain::Event { time } else { times::NO_TIMESTAMP };
            stage.set_item(item.unwrap_or_else(|| stage.cursor.times.borrow_mut().add(timestamp)));
            let timer = Timer { time: Timestamp::from_millis(time), domain };
            let fired = stage.function.on_timer(timer, &mut stage.context, &mut stage.out);
            let fired = fired.and_then(|()| stage.emitted());
            fired.map_err(|error| failure(&format!("timer at {time}: {error}").into(), None))?;
        }
        stage.finish()
    }
}
