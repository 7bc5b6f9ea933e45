//! Functions that see all elements of a window at once.

use super::{Function, Windowed, kinds};
use crate::FunctionError;
use crate::codec::{Codec, Decode};
use crate::collector::Collector;
use crate::context::{BaseContext, WindowContext};
use crate::window::{Elements, Stored, Window};

/// Handles a window of a key that fires, with all of its elements. What it emits has the timestamp of the window's last
/// millisecond.
///
/// The host keeps all elements until the window is cleaned up: where a result can be folded, an
/// [`AggregateFunction`](crate::AggregateFunction) costs less.
///
/// ```
/// use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::{WindowHarness, Windows};
///
/// const FIRINGS: ValueState<u32> = ValueState::new("firings");
///
/// /// Names the median of a window's numbers, and how often the window has fired.
/// #[derive(Default)]
/// struct Median;
///
/// #[function(states(FIRINGS))]
/// impl ProcessWindowFunction for Median {
///     type In = Json<i64>;
///     type Out = Text;
///
///     fn process(
///         &mut self,
///         _window: &Window,
///         elements: Elements<Json<i64>>,
///         ctx: &mut WindowContext,
///         out: &mut Collector<Text>,
///     ) -> Result {
///         let firings = ctx.state(FIRINGS).get_or_default() + 1;
///         ctx.state(FIRINGS).set(firings);
///         let mut numbers: Vec<i64> = elements.values().collect();
///         numbers.sort();
///         out.emit(format!("{} ({firings})", numbers[numbers.len() / 2]));
///         Ok(())
///     }
/// }
///
/// let mut harness = WindowHarness::<Median>::new(Windows::tumbling(1_000).allowed_lateness(500));
/// for value in [9, 1, 4] {
///     harness.push("a", value, 10)?;
/// }
/// harness.advance_watermark(999)?;
/// harness.push("a", 20, 20)?;
/// assert_eq!(harness.take_output()?, ["4 (1)", "9 (2)"]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait ProcessWindowFunction: Default + 'static {
    /// How records come in.
    type In: Decode;
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
    fn process(
        &mut self,
        window: &Window<'_>,
        elements: Elements<'_, Self::In>,
        ctx: &mut WindowContext<'_>,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError>;
}

impl<F: Function + ProcessWindowFunction> Windowed<F> for kinds::ProcessWindow {
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
        function.process(window, inputs[0].elements()?, ctx, out)
    }
}
