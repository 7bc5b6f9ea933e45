//! Functions that see the elements of a window of two inputs: all at once, or pair by pair.

use super::{Function, Windowed, kinds};
use crate::FunctionError;
use crate::codec::{Codec, Decode};
use crate::collector::Collector;
use crate::context::{BaseContext, JoinContext, WindowContext};
use crate::window::{Elements, Stored, Window};

/// Handles a window of a key that fires, with all elements that two inputs brought. One of them may have none. What it emits
/// has the timestamp of the window's last millisecond.
///
/// A pipeline names the second input as the operator's `second`.
///
/// ```
/// use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::{WindowHarness, Windows};
///
/// /// Orders that were not paid in their window.
/// #[derive(Default)]
/// struct Unpaid;
///
/// #[function]
/// impl CoGroupFunction for Unpaid {
///     type First = Text;
///     type Second = Json<u64>;
///     type Out = Text;
///
///     fn co_group(
///         &mut self,
///         _window: &Window,
///         orders: Elements<Text>,
///         payments: Elements<Json<u64>>,
///         _ctx: &mut WindowContext,
///         out: &mut Collector<Text>,
///     ) -> Result {
///         orders.values().skip(payments.len()).for_each(|order| out.emit(order));
///         Ok(())
///     }
/// }
///
/// let mut harness = WindowHarness::<Unpaid>::new(Windows::tumbling(1_000));
/// harness.push_first("ann", "tea", 10)?;
/// harness.push_first("ann", "jam", 20)?;
/// harness.push_second("ann", 250, 30)?;
/// harness.advance_watermark(999)?;
/// assert_eq!(harness.take_output()?, ["jam"]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait CoGroupFunction: Default + 'static {
    /// How the records of the first input come in.
    type First: Decode;
    /// How the records of the second input come in.
    type Second: Decode;
    /// How records go out.
    type Out: Codec;

    /// Called once per instance, before its first window: the place to read `ctx.config`.
    ///
    /// # Errors
    /// Fails the turn that the instance was made for.
    fn open(&mut self, ctx: &mut BaseContext) -> Result<(), FunctionError> {
        let _ = ctx;
        Ok(())
    }

    /// Handles a window that fires.
    ///
    /// # Errors
    /// Fails the window: nothing of it takes effect, and the operator's disposition decides what becomes of it.
    fn co_group(
        &mut self,
        window: &Window<'_>,
        first: Elements<'_, Self::First>,
        second: Elements<'_, Self::Second>,
        ctx: &mut WindowContext<'_>,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError>;
}

/// Handles each pair of records of two inputs that have the same key and fall in the same window. What it emits has the
/// timestamp of the window's last millisecond.
///
/// A pipeline names the second input as the operator's `second`. A record that meets none of the other input is not seen:
/// [`CoGroupFunction`] sees those as well.
///
/// ```
/// use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::{WindowHarness, Windows};
///
/// /// Every order with every payment of its window.
/// #[derive(Default)]
/// struct Matches;
///
/// #[function]
/// impl JoinFunction for Matches {
///     type First = Text;
///     type Second = Json<u64>;
///     type Out = Text;
///
///     fn join(&mut self, order: &&str, cents: &u64, ctx: &mut JoinContext, out: &mut Collector<Text>) -> Result {
///         out.emit(format!("{}: {order} for {cents}", ctx.key_str()?));
///         Ok(())
///     }
/// }
///
/// let mut harness = WindowHarness::<Matches>::new(Windows::tumbling(1_000));
/// harness.push_first("ann", "tea", 10)?;
/// harness.push_second("ann", 250, 30)?;
/// harness.push_second("ann", 300, 40)?;
/// harness.push_second("ann", 900, 1_000)?;
/// harness.advance_watermark(1_999)?;
/// assert_eq!(harness.take_output()?, ["ann: tea for 250", "ann: tea for 300"]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait JoinFunction: Default + 'static {
    /// How the records of the first input come in.
    type First: Decode;
    /// How the records of the second input come in.
    type Second: Decode;
    /// How records go out.
    type Out: Codec;

    /// Called once per instance, before its first pair: the place to read `ctx.config`.
    ///
    /// # Errors
    /// Fails the turn that the instance was made for.
    fn open(&mut self, ctx: &mut BaseContext) -> Result<(), FunctionError> {
        let _ = ctx;
        Ok(())
    }

    /// Handles one pair. Values may be seen in several.
    ///
    /// # Errors
    /// Fails the window: nothing of it takes effect, and the operator's disposition decides what becomes of it.
    fn join(
        &mut self,
        first: &<Self::First as Decode>::Value<'_>,
        second: &<Self::Second as Decode>::Value<'_>,
        ctx: &mut JoinContext<'_>,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError>;
}

impl<F: Function + CoGroupFunction> Windowed<F> for kinds::CoGroup {
    type Out = F::Out;

    fn open(function: &mut F, ctx: &mut BaseContext) -> Result<(), FunctionError> {
        function.open(ctx)
    }

    fn window(
        function: &mut F,
        window: &Window<'_>,
        inputs: &[Stored<'_>],
        ctx: &mut WindowContext<'_>,
        out: &mut Collector<F::Out>,
    ) -> Result<(), FunctionError> {
        function.co_group(window, inputs[0].elements()?, inputs[1].elements()?, ctx, out)
    }
}

impl<F: Function + JoinFunction> Windowed<F> for kinds::Join {
    type Out = F::Out;

    fn open(function: &mut F, ctx: &mut BaseContext) -> Result<(), FunctionError> {
        function.open(ctx)
    }

    fn window(
        function: &mut F,
        window: &Window<'_>,
        inputs: &[Stored<'_>],
        ctx: &mut WindowContext<'_>,
        out: &mut Collector<F::Out>,
    ) -> Result<(), FunctionError> {
        let seconds = inputs[1].elements::<F::Second>()?;
        for first in inputs[0].elements::<F::First>()? {
            for second in seconds.as_slice() {
                let mut pair = ctx.of_pair(window.key, [first.timestamp, second.timestamp]);
                function.join(&first.value, &second.value, &mut pair, out)?;
            }
        }
        Ok(())
    }
}
