//! Functions that see the elements of a window of two inputs: all at once, or pair by pair.

use super::{Function, Windowed, kinds};
use crate::codec::Decode;
use crate::collector::Collector;
use crate::context::{Context, JoinContext};
use crate::window::{Elements, Stored, Window};
use crate::{FunctionError, Result};

/// Handles a window of a key that fires, with the elements of both inputs. One of the inputs may have none. Emitted records have the
/// timestamp of the window's last millisecond. See [`Function`] for `Key`, `Out` and `open`.
///
/// A pipeline names the second input as the operator's `second`.
///
/// ```
/// use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::{WindowHarness, Windows};
///
/// /// Emits orders that were not paid in their window.
/// #[derive(Function)]
/// struct Unpaid;
///
/// #[function]
/// impl CoGroupFunction for Unpaid {
///     type Key = String;
///     type First = Text;
///     type Second = Json<u64>;
///     type Out = Text;
///
///     fn co_group(
///         &mut self,
///         _window: &Window<String>,
///         orders: Elements<Text>,
///         payments: Elements<Json<u64>>,
///         _ctx: &mut Context,
///         out: &mut Collector<Text>,
///     ) -> Result {
///         orders.values().skip(payments.len()).for_each(|order| out.emit(order));
///         Ok(())
///     }
/// }
///
/// let mut harness = WindowHarness::<Unpaid>::new(Windows::tumbling(Duration::from_secs(1)));
/// harness.push_first("ann", "tea", 10)?;
/// harness.push_first("ann", "jam", 20)?;
/// harness.push_second("ann", 250, 30)?;
/// harness.advance_watermark(999)?;
/// assert_eq!(harness.take_output()?, ["jam"]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait CoGroupFunction: Function {
    /// How the records of the first input are read.
    type First: Decode;
    /// How the records of the second input are read.
    type Second: Decode;

    /// Handles a window that fires.
    ///
    /// # Errors
    /// An error fails the window: it changes nothing, and the operator's `on_fault` decides what happens to it.
    fn co_group(
        &mut self,
        window: &Window<'_, Self::Key>,
        first: Elements<'_, Self::First>,
        second: Elements<'_, Self::Second>,
        ctx: &mut Context,
        out: &mut Collector<Self::Out, Self::OutKey>,
    ) -> Result;
}

/// Handles each pair of records of two inputs that have the same key and are in the same window. Emitted records have the timestamp
/// of the window's last millisecond. See [`Function`] for `Key`, `Out` and `open`.
///
/// A pipeline names the second input as the operator's `second`. A record without a partner in the other input is not
/// seen; a [`CoGroupFunction`] sees it.
///
/// ```
/// use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::{WindowHarness, Windows};
///
/// /// Emits every order with every payment of its window.
/// #[derive(Function)]
/// struct Matches;
///
/// #[function]
/// impl JoinFunction for Matches {
///     type Key = String;
///     type First = Text;
///     type Second = Json<u64>;
///     type Out = Text;
///
///     fn join(&mut self, order: &&str, cents: &u64, ctx: &mut JoinContext<String>, out: &mut Collector<Text>) -> Result {
///         out.emit(format!("{}: {order} for {cents}", ctx.key()));
///         Ok(())
///     }
/// }
///
/// let mut harness = WindowHarness::<Matches>::new(Windows::tumbling(Duration::from_secs(1)));
/// harness.push_first("ann", "tea", 10)?;
/// harness.push_second("ann", 250, 30)?;
/// harness.push_second("ann", 300, 40)?;
/// harness.push_second("ann", 900, 1_000)?;
/// harness.advance_watermark(1_999)?;
/// assert_eq!(harness.take_output()?, ["ann: tea for 250", "ann: tea for 300"]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait JoinFunction: Function {
    /// How the records of the first input are read.
    type First: Decode;
    /// How the records of the second input are read.
    type Second: Decode;

    /// Handles one pair. A value may be part of several pairs.
    ///
    /// # Errors
    /// An error fails the window: it changes nothing, and the operator's `on_fault` decides what happens to it.
    fn join(
        &mut self,
        first: &<Self::First as Decode>::Value<'_>,
        second: &<Self::Second as Decode>::Value<'_>,
        ctx: &mut JoinContext<'_, Self::Key>,
        out: &mut Collector<Self::Out, Self::OutKey>,
    ) -> Result;
}

impl<F: CoGroupFunction> Windowed<F> for kinds::CoGroup {
    const INPUT_COUNT: usize = 2;

    fn window(
        function: &mut F,
        window: &Window<'_, F::Key>,
        inputs: &[Stored<'_>],
        ctx: &mut Context,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError> {
        function.co_group(window, inputs[0].elements()?, inputs[1].elements()?, ctx, out)
    }
}

impl<F: JoinFunction> Windowed<F> for kinds::Join {
    const INPUT_COUNT: usize = 2;

    fn window(
        function: &mut F,
        window: &Window<'_, F::Key>,
        inputs: &[Stored<'_>],
        ctx: &mut Context,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError> {
        let seconds = inputs[1].elements::<F::Second>()?;
        for first in inputs[0].elements::<F::First>()? {
            for second in seconds.as_slice() {
                let timestamps = [first.timestamp, second.timestamp];
                let mut pair = JoinContext::new(ctx, window.key_bytes(), timestamps);
                function.join(&first.value, &second.value, &mut pair, out)?;
            }
        }
        Ok(())
    }
}
