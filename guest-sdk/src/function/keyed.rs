//! Functions of a key, with its state and timers.

use super::{Function, Records, decode, kinds};
use crate::FunctionError;
use crate::codec::{Codec, Decode};
use crate::collector::Collector;
use crate::context::Context;
use crate::timers::Timer;

/// Handles the records and timers of a key, with the state of that key.
pub trait KeyedProcessFunction: Default + 'static {
    /// How records come in.
    type In: Decode;
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

    /// Handles one record.
    ///
    /// # Errors
    /// Fails the record: nothing of it takes effect, and the operator's disposition decides what becomes of it.
    fn process_element(
        &mut self,
        value: <Self::In as Decode>::Value<'_>,
        ctx: &mut Context,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError>;

    /// Handles a timer that is due. Only called of functions that declare timers, `#[function(timers(event))]`.
    ///
    /// At the end of the input event time comes to its end (`ctx.watermark()` is `i64::MAX`), and every timer is due, of
    /// processing time too. A timer that is registered from here on is dropped and counted, so that one that always registers the next
    /// ends.
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

impl<F: Function + KeyedProcessFunction> Records<F> for kinds::KeyedProcess {
    type Out = F::Out;
    const KEYED: &'static [bool] = &[true];

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
        function.process_element(decode::<F::In>(record)?, ctx, out)
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
