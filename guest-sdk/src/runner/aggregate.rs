//! Functions that fold the records of a window.

use super::{Run, check_keys, failure};
use crate::FunctionError;
use crate::bindings::cofferdam::function::types::{Column, Failure, RecordValues, Timestamps, Windows};
use crate::bindings::exports::cofferdam::function::guest::FunctionKind;
use crate::column;
use crate::context::Context;
use crate::declaration::Declaration;
use crate::fields::Binder;
use crate::function::{Folds, Function};
use crate::host::Host;
use crate::panic::in_record;
use crate::shape::StateType;
use crate::state::StateCodec;
use crate::times::{self, ItemTimes};
use crate::turn_cursor::{ItemStream, NO_ITEM};
use crate::window::Window;
use std::marker::PhantomData;
use std::rc::Rc;

/// Runs a function of kind `K`.
pub(crate) struct AggregateRunner<F, K> {
    function: F,
    opened: bool,
    context: Context,
    kind: PhantomData<K>,
}

impl<F: Function, K: Folds<F>> AggregateRunner<F, K> {
    pub(crate) fn new(host: Rc<dyn Host>) -> Self {
        let binder = Binder::new(F::NAME, Declaration::of::<F>(), host);
        let context = Context::new(binder.cursor.clone());
        AggregateRunner { function: F::create(&binder), opened: false, context, kind: PhantomData }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        self.context.begin(column::empty());
        self.context.cursor.begin(0);
        if !self.opened {
            self.function.open(&mut self.context).map_err(|error| failure(&error, None))?;
            self.opened = true;
        }
        Ok(())
    }

    /// Handles record or accumulator `index` of the call.
    #[inline]
    fn handle<T>(
        &mut self,
        index: usize,
        handle: impl FnOnce(&mut F, &mut Context) -> Result<T, FunctionError>,
    ) -> Result<T, Failure> {
        let record = Some(index as u32);
        in_record(record);
        self.context.cursor.item.set(index as u32);
        let handled = handle(&mut self.function, &mut self.context);
        in_record(None);
        handled.map_err(|error| failure(&error, record))
    }
}

/// A type whose values its own codec stores.
pub(crate) trait Accumulates: StateType<Codec: StateCodec<Self>> {}

impl<T: StateType<Codec: StateCodec<T>>> Accumulates for T {}

/// Reads an accumulator. Empty bytes stand for none. This is right even for a type whose only value has no bytes.
fn read<T: Accumulates>(accumulators: &Column, index: usize) -> Result<Option<T>, FunctionError> {
    match column::value(accumulators, index) {
        [] => Ok(None),
        bytes => T::Codec::read(bytes).map(Some).map_err(|error| format!("the accumulator is not {error}").into()),
    }
}

fn write<T: Accumulates>(accumulator: &T, to: &mut Column) -> Result<(), FunctionError> {
    T::Codec::write(accumulator, &mut to.bytes).map_err(|error| format!("the accumulator: {error}"))?;
    column::end_value(to);
    Ok(())
}

impl<F: Function, K: Folds<F>> Run for AggregateRunner<F, K> {
    fn name_and_kind(&self) -> (&'static str, FunctionKind) {
        (F::NAME, K::KIND)
    }

    fn add(
        &mut self,
        accumulators: Column,
        accumulator_of: Vec<u32>,
        values: RecordValues,
        timestamps: Timestamps,
    ) -> Result<Column, Failure> {
        self.begin()?;
        let values = column::packed(values)?;
        let timestamps = times::of_input(timestamps, column::len(&values))?;
        self.context.cursor.set_items(ItemStream::FirstInput, ItemTimes::inheritable(timestamps));
        let read: Result<Vec<_>, _> = (0..column::len(&accumulators)).map(|index| read(&accumulators, index)).collect();
        let mut folded: Vec<Option<K::Accumulator>> = read.map_err(|error| failure(&error, None))?;
        for (index, &place) in accumulator_of.iter().enumerate() {
            let accumulator = folded[place as usize].take();
            let record = column::value(&values, index);
            let added = self.handle(index, |function, ctx| K::add(function, accumulator, record, ctx))?;
            folded[place as usize] = Some(added);
        }
        let mut written = column::empty();
        for accumulator in &folded {
            match accumulator {
                Some(accumulator) => write(accumulator, &mut written).map_err(|error| failure(&error, None))?,
                None => column::end_value(&mut written),
            }
        }
        self.context.cursor.item.set(NO_ITEM);
        self.context.flush();
        Ok(written)
    }

    fn merge(&mut self, left: Column, right: Column) -> Result<Column, Failure> {
        self.begin()?;
        let mut merged = column::empty();
        for index in 0..column::len(&left) {
            self.handle(index, |function, _| {
                let both = (read::<K::Accumulator>(&left, index)?, read::<K::Accumulator>(&right, index)?);
                match both {
                    (Some(left), Some(right)) => write(&K::merge(function, left, right)?, &mut merged)?,
                    (Some(one), None) | (None, Some(one)) => write(&one, &mut merged)?,
                    (None, None) => column::end_value(&mut merged),
                }
                Ok(())
            })?;
        }
        self.context.cursor.item.set(NO_ITEM);
        self.context.flush();
        Ok(merged)
    }

    fn finish(&mut self, accumulators: Column, windows: Windows) -> Result<RecordValues, Failure> {
        check_keys::<F>(&windows.keys, &windows.key_of)?;
        self.begin()?;
        let mut results = column::empty();
        for (index, &key) in windows.key_of.iter().enumerate() {
            let key = column::value(&windows.keys, key as usize);
            let window = Window::new(key, windows.bounds.as_ref(), index);
            self.handle(index, |function, _| {
                let accumulator = read::<K::Accumulator>(&accumulators, index)?;
                let result = K::result(function, accumulator, &window, &mut results.bytes);
                result.map_err(|error| format!("{window}: {error}").into())
            })?;
            column::end_value(&mut results);
        }
        self.context.cursor.item.set(NO_ITEM);
        self.context.flush();
        Ok(RecordValues::Packed(results))
    }
}
