//! Functions of a key, with its state and timers.

use super::{Function, Records, decode, kinds};
use crate::codec::Decode;
use crate::collector::Collector;
use crate::context::KeyedContext;
use crate::{FunctionError, Result};

/// Handles the records and timers of a key, with the state of that key. See [`Function`] for `Key`, `In`, `Out`, `open` and `on_timer`.
///
/// ```
/// use cofferdam_sdk::prelude::*;
///
/// /// Emits the key of records that follow each other within a minute.
/// #[derive(Function)]
/// struct Busy {
///     last: ValueState<Timestamp>,
/// }
///
/// #[function]
/// impl KeyedProcessFunction for Busy {
///     type Key = String;
///     type In = Bytes;
///     type Out = Text;
///
///     fn process_element(&mut self, _: &[u8], ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
///         let time = ctx.require_timestamp()?;
///         if self.last.get().is_some_and(|last| time - last < Duration::from_mins(1)) {
///             out.emit(ctx.key());
///         }
///         self.last.set(time);
///         Ok(())
///     }
/// }
///
/// let mut harness = cofferdam_sdk::testing::Harness::<Busy>::new();
/// harness.push_batch([("a", "", 0), ("b", "", 10_000), ("a", "", 59_999), ("b", "", 70_000)])?;
/// assert_eq!(harness.take_output()?, ["a"]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait KeyedProcessFunction: Function {
    /// Handles one record.
    ///
    /// # Errors
    /// An error fails the record: it changes nothing, and the operator's `on_fault` decides what happens to it.
    fn process_element(
        &mut self,
        value: <Self::In as Decode>::Value<'_>,
        ctx: &mut KeyedContext<Self::Key>,
        out: &mut Collector<Self::Out, Self::OutKey>,
    ) -> Result;
}

impl<F: KeyedProcessFunction> Records<F> for kinds::KeyedProcess {
    const KEYED: &'static [bool] = &[true];

    #[inline(always)]
    fn first(
        function: &mut F,
        record: &[u8],
        ctx: &mut KeyedContext<F::Key>,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError> {
        function.process_element(decode::<F::In>(record)?, ctx, out)
    }
}
