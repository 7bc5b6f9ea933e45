//! Functions of two keyed inputs that share state and timers.

use super::{Function, Records, decode, decode_second, kinds};
use crate::codec::Decode;
use crate::collector::Collector;
use crate::context::KeyedContext;
use crate::{FunctionError, Result};

/// Handles the records of two inputs and the timers of a key, with the state of that key, which both inputs share. See [`Function`]
/// for `Key`, `Out`, `open` and `on_timer`.
///
/// A pipeline names the second input as the operator's `second`. The order of records that have the same key and come from
/// different inputs is not defined.
///
/// ```
/// use cofferdam_sdk::prelude::*;
///
/// /// Holds the orders of a customer until a payment arrives. Drops them if none arrives within an hour.
/// #[derive(Function)]
/// struct Paid {
///     orders: ListState<String>,
///     paid: ValueState<bool>,
/// }
///
/// #[function(timers(event))]
/// impl CoProcessFunction for Paid {
///     type Key = String;
///     type First = Text;
///     type Second = Json<u64>;
///     type Out = Text;
///
///     fn process_first(&mut self, order: &str, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
///         if self.paid.exists() {
///             out.emit(order);
///         } else {
///             self.orders.add(order.to_owned());
///             let deadline = ctx.require_timestamp()? + Duration::from_hours(1);
///             ctx.register_event_time_timer(deadline);
///         }
///         Ok(())
///     }
///
///     fn process_second(&mut self, _cents: u64, _: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
///         self.paid.set(true);
///         self.orders.get().iter().for_each(|order| out.emit(order));
///         self.orders.clear();
///         Ok(())
///     }
///
///     fn on_timer(&mut self, _: Timer, _: &mut KeyedContext<String>, _: &mut Collector<Text>) -> Result {
///         self.orders.clear();
///         Ok(())
///     }
/// }
///
/// let mut harness = cofferdam_sdk::testing::Harness::<Paid>::new();
/// harness.push_first("ann", "tea", 0)?;
/// harness.push_first("bob", "jam", 1_000)?;
/// harness.push_second("ann", 250, 5_000)?;
/// harness.advance_watermark(3_601_000)?;
/// harness.push_second("bob", 300, 3_700_000)?;
/// harness.push_first("bob", "bread", 3_800_000)?;
/// assert_eq!(harness.take_output()?, ["tea", "bread"]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait CoProcessFunction: Function {
    /// How the records of the first input are read.
    type First: Decode;
    /// How the records of the second input are read.
    type Second: Decode;

    /// Handles one record of the first input.
    ///
    /// # Errors
    /// An error fails the record: it changes nothing, and the operator's `on_fault` decides what happens to it.
    fn process_first(
        &mut self,
        value: <Self::First as Decode>::Value<'_>,
        ctx: &mut KeyedContext<Self::Key>,
        out: &mut Collector<Self::Out, Self::OutKey>,
    ) -> Result;

    /// Handles one record of the second input.
    ///
    /// # Errors
    /// The same as of [`CoProcessFunction::process_first`].
    fn process_second(
        &mut self,
        value: <Self::Second as Decode>::Value<'_>,
        ctx: &mut KeyedContext<Self::Key>,
        out: &mut Collector<Self::Out, Self::OutKey>,
    ) -> Result;
}

impl<F: CoProcessFunction> Records<F> for kinds::CoProcess {
    const KEYED: &'static [bool] = &[true, true];

    #[inline(always)]
    fn first(
        function: &mut F,
        record: &[u8],
        ctx: &mut KeyedContext<F::Key>,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError> {
        function.process_first(decode::<F::First>(record)?, ctx, out)
    }

    #[inline(always)]
    fn second(
        function: &mut F,
        record: &[u8],
        ctx: &mut KeyedContext<F::Key>,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError> {
        function.process_second(decode_second::<F::Second>(record)?, ctx, out)
    }
}
