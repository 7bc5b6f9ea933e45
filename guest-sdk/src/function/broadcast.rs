//! Functions of a key that follow rules, which a second input brings to every subtask.

use super::{Function, Records, decode, kinds};
use crate::FunctionError;
use crate::codec::{Codec, Decode};
use crate::collector::Collector;
use crate::context::{BroadcastContext, Context};
use crate::timers::Timer;

/// Handles the records and timers of a key, with the state of that key, by rules that a second input brings.
///
/// That input is low in volume and goes whole to every subtask: a pipeline names it as the operator's `broadcast`. Its records
/// have no key; they write [`BroadcastState`](crate::BroadcastState), which the keyed input reads. Every subtask sees the
/// same broadcast records, but each at its own time: what they write must not depend on their order against the keyed input.
///
/// ```
/// use cofferdam_sdk::prelude::*;
///
/// const LIMITS: BroadcastState<String, u64> = BroadcastState::new("limits");
///
/// /// Lets through what is above the limit of its name.
/// #[derive(Default)]
/// struct Above;
///
/// #[function(broadcast(LIMITS))]
/// impl BroadcastProcessFunction for Above {
///     type In = Json<(String, u64)>;
///     type Broadcast = Json<(String, u64)>;
///     type Out = Json<(String, u64)>;
///
///     fn process_element(
///         &mut self,
///         (name, value): (String, u64),
///         ctx: &mut Context,
///         out: &mut Collector<Self::Out>,
///     ) -> Result {
///         if ctx.broadcast(LIMITS).get(&name).is_some_and(|limit| value > limit) {
///             out.emit((name, value));
///         }
///         Ok(())
///     }
///
///     fn process_broadcast(
///         &mut self,
///         (name, limit): (String, u64),
///         ctx: &mut BroadcastContext,
///         _out: &mut Collector<Self::Out>,
///     ) -> Result {
///         ctx.broadcast(LIMITS).insert(&name, limit);
///         Ok(())
///     }
/// }
///
/// let mut harness = cofferdam_sdk::testing::Harness::<Above>::new();
/// harness.push("a", ("tea".to_owned(), 9), 0)?;
/// harness.push_broadcast(("tea".to_owned(), 5), 1)?;
/// harness.push("a", ("tea".to_owned(), 7), 2)?;
/// assert_eq!(harness.take_output()?, [("tea".to_owned(), 7)]);
/// # Ok::<(), FunctionError>(())
/// ```
///
/// The keyed side cannot write broadcast state, or it would not be the same everywhere:
///
/// ```compile_fail
/// # use cofferdam_sdk::prelude::*;
/// # const LIMITS: BroadcastState<String, u64> = BroadcastState::new("limits");
/// fn on_the_keyed_side(ctx: &mut Context) {
///     ctx.broadcast(LIMITS).insert("tea", 5);
/// }
/// ```
pub trait BroadcastProcessFunction: Default + 'static {
    /// How the records of the keyed input come in.
    type In: Decode;
    /// How the records of the broadcast input come in.
    type Broadcast: Decode;
    /// How records go out.
    type Out: Codec;

    /// Called once per instance, before its first record or timer: the place to read `ctx.config`. There is no key here,
    /// and so no keyed state.
    ///
    /// # Errors
    /// Fails the turn that the instance was made for.
    fn open(&mut self, ctx: &mut Context) -> Result<(), FunctionError> {
        let _ = ctx;
        Ok(())
    }

    /// Handles one record of the keyed input. Broadcast state can be read here, and not written.
    ///
    /// # Errors
    /// Fails the record: nothing of it takes effect, and the operator's disposition decides what becomes of it.
    fn process_element(
        &mut self,
        value: <Self::In as Decode>::Value<'_>,
        ctx: &mut Context,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError>;

    /// Handles one record of the broadcast input, in every subtask.
    ///
    /// # Errors
    /// As [`BroadcastProcessFunction::process_element`].
    fn process_broadcast(
        &mut self,
        value: <Self::Broadcast as Decode>::Value<'_>,
        ctx: &mut BroadcastContext<'_>,
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

impl<F: Function + BroadcastProcessFunction> Records<F> for kinds::BroadcastProcess {
    type Out = F::Out;
    const KEYED: &'static [bool] = &[true, false];

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

    fn second(
        function: &mut F,
        record: &[u8],
        ctx: &mut Context,
        out: &mut Collector<F::Out>,
    ) -> Result<(), FunctionError> {
        let rule = F::Broadcast::decode(record).map_err(|error| format!("broadcast input is not {error}"))?;
        function.process_broadcast(rule, &mut BroadcastContext::new(ctx), out)
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
