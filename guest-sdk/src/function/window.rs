//! Functions that see all elements of a window at once.

use super::{Function, Windowed, kinds};
use crate::collector::Collector;
use crate::context::Context;
use crate::window::{Elements, Stored, Window};
use crate::{FunctionError, Result};

/// Handles a window of a key that fires, with all of its elements. Emitted records have the timestamp of the window's last
/// millisecond. See [`Function`] for `Key`, `In`, `Out` and `open`.
///
/// The host keeps all elements until the window is cleaned up. An [`AggregateFunction`](crate::AggregateFunction) costs less, if the
/// result can be folded. States belong to the window: each window of each key has its own, until it is cleaned up.
///
/// ```
/// use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::{WindowHarness, Windows};
///
/// /// Emits the median of a window's numbers, and how often the window has fired.
/// #[derive(Function)]
/// struct Median {
///     firings: ValueState<u32>,
/// }
///
/// #[function]
/// impl ProcessWindowFunction for Median {
///     type Key = String;
///     type In = Json<i64>;
///     type Out = Text;
///
///     fn process(
///         &mut self,
///         window: &Window<String>,
///         elements: Elements<Json<i64>>,
///         _ctx: &mut Context,
///         out: &mut Collector<Text>,
///     ) -> Result {
///         let firings = self.firings.get_or_default() + 1;
///         self.firings.set(firings);
///         let mut numbers: Vec<i64> = elements.values().collect();
///         numbers.sort();
///         out.emit(format!("{}: {} ({firings})", window.key(), numbers[numbers.len() / 2]));
///         Ok(())
///     }
/// }
///
/// let windows = Windows::tumbling(Duration::from_secs(1)).allowed_lateness(Duration::from_millis(500));
/// let mut harness = WindowHarness::<Median>::new(windows);
/// for value in [9, 1, 4] {
///     harness.push("a", value, 10)?;
/// }
/// harness.advance_watermark(999)?;
/// harness.push("a", 20, 20)?;
/// assert_eq!(harness.take_output()?, ["a: 4 (1)", "a: 9 (2)"]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait ProcessWindowFunction: Function {
    /// Handles a window that fires.
    ///
    /// # Errors
    /// An error fails the window: it changes nothing, and the operator's `on_fault` decides what happens to it.
    fn process(
        &mut self,
        window: &Window<'_, Self::Key>,
        elements: Elements<'_, Self::In>,
        ctx: &mut Context,
        out: &mut Collector<Self::Out, Self::OutKey>,
    ) -> Result;
}

impl<F: ProcessWindowFunction> Windowed<F> for kinds::ProcessWindow {
    const INPUT_COUNT: usize = 1;

    fn window(
        function: &mut F,
        window: &Window<'_, F::Key>,
        inputs: &[Stored<'_>],
        ctx: &mut Context,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError> {
        function.process(window, inputs[0].elements()?, ctx, out)
    }
}
