//! Functions of two keyed inputs that share state and timers.

use super::{Function, Records, decode, decode_second, kinds};
use crate::FunctionError;
use crate::codec::{Codec, Decode};
use crate::collector::Collector;
use crate::context::Context;
use crate::timers::Timer;

/// Handles the records of two inputs and the timers of a key, with the state of that key, which both inputs share.
///
/// A pipeline names the second input as the operator's `second`. Records of one key that came on different inputs come in no
/// order that could be told.
///
/// ```
/// use cofferdam_sdk::prelude::*;
///
/// const ORDERS: ListState<String> = ListState::new("orders");
/// const PAID: ValueState<bool> = ValueState::new("paid");
///
/// /// Holds the orders of a customer back until a payment has come, and drops them where none comes within an hour.
/// #[derive(Default)]
/// struct Paid;
///
/// #[function(states(ORDERS, PAID), timers(event))]
/// impl CoProcessFunction for Paid {
///     type First = Text;
///     type Second = Json<u64>;
///     type Out = Text;
///
///     fn process_first(&mut self, order: &str, ctx: &mut Context, out: &mut Collector<Text>) -> Result {
///         if ctx.state(PAID).exists() {
///             out.emit(order);
///         } else {
///             ctx.state(ORDERS).add(order.to_owned());
///             let time = ctx.timestamp().ok_or("an order has a time")?;
///             ctx.register_event_timer(time + 3_600_000);
///         }
///         Ok(())
///     }
///
///     fn process_second(&mut self, _cents: u64, ctx: &mut Context, out: &mut Collector<Text>) -> Result {
///         ctx.state(PAID).set(true);
///         ctx.state(ORDERS).get().iter().for_each(|order| out.emit(order));
///         ctx.state(ORDERS).clear();
///         Ok(())
///     }
///
///     fn on_timer(&mut self, _timer: Timer, ctx: &mut Context, _out: &mut Collector<Text>) -> Result {
///         ctx.state(ORDERS).clear();
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
pub trait CoProcessFunction: Default + 'static {
    /// How the records of the first input come in.
    type First: Decode;
    /// How the records of the second input come in.
    type Second: Decode;
    /// How records go out.
    type Out: Codec;

    /// Called once per instance, before its first record or timer: the place to read `ctx.config`. There is no key here,
    /// and so no state.
    ///
    /// # Errors
    /// Fails the turn that the instance was made for.
    fn open(&mut self, ctx: &mut Context) -> Result<(), FunctionError> {
        let _ = ctx;
        Ok(())
    }

    /// Handles one record of the first input.
    ///
    /// # Errors
    /// Fails the record: nothing of it takes effect, and the operator's disposition decides what becomes of it.
    fn process_first(
        &mut self,
        value: <Self::First as Decode>::Value<'_>,
        ctx: &mut Context,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError>;

    /// Handles one record of the second input.
    ///
    /// # Errors
    /// As [`CoProcessFunction::process_first`].
    fn process_second(
        &mut self,
        value: <Self::Second as Decode>::Value<'_>,
        ctx: &mut Context,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError>;

    /// Handles a timer that is due. Only called of functions that declare timers, `#[function(timers(event))]`.
    ///
    /// # Errors
    /// Fails the turn: nothing of it takes effect.
    fn on_timer(
        &mut self,
        timer: Timer,
        ctx: &mut Context,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError> {
        let _ = (timer, ctx, out);
        Ok(())
    }
}

impl<F: Function + CoProcessFunction> Records<F> for kinds::CoProcess {
    type Out = F::Out;
    const KEYED: &'static [bool] = &[true, true];

    fn open(function: &mut F, ctx: &mut Context) -> Result<(), FunctionError> {
        function.open(ctx)
    }

    #[inline(always)]
    fn first(
        function: &mut F,
        record: &[u8],
        ctx: &mut Context,
        out: &mut Collector<F::Out>,
    ) -> Result<(), FunctionError> {
        function.process_first(decode::<F::First>(record)?, ctx, out)
    }

    #[inline(always)]
    fn second(
        function: &mut F,
        record: &[u8],
        ctx: &mut Context,
        out: &mut Collector<F::Out>,
    ) -> Result<(), FunctionError> {
        function.process_second(decode_second::<F::Second>(record)?, ctx, out)
    }

    fn timer(
        function: &mut F,
        timer: Timer,
        ctx: &mut Context,
        out: &mut Collector<F::Out>,
    ) -> Result<(), FunctionError> {
        function.on_timer(timer, ctx, out)
    }
}
