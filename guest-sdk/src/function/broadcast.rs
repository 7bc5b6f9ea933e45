//! Functions of a key whose behaviour depends on rules from a second input, which goes to every subtask.

use super::{Function, Records, decode, kinds};
use crate::codec::Decode;
use crate::collector::Collector;
use crate::context::{BroadcastContext, KeyedContext};
use crate::{FunctionError, Result};

/// Handles the records and timers of a key, with the state of that key, by rules from a second input. See [`Function`] for `Key`, `In`,
/// `Out`, `open` and `on_timer`.
///
/// The second input has few records, and each of them goes to every subtask: a pipeline names it as the operator's `broadcast`. Its
/// records have no key. They write [`BroadcastState`](crate::BroadcastState), which the keyed input reads. Every subtask sees the same
/// broadcast records, but not at the same time: what they write must not depend on their order relative to the keyed input.
///
/// ```
/// use cofferdam_sdk::prelude::*;
///
/// /// Lets a value pass if it is above the limit of its name.
/// #[derive(Function)]
/// struct Above {
///     limits: BroadcastState<String, u64>,
/// }
///
/// #[function]
/// impl BroadcastProcessFunction for Above {
///     type Key = String;
///     type In = Json<(String, u64)>;
///     type Broadcast = Json<(String, u64)>;
///     type Out = Json<(String, u64)>;
///
///     fn process_element(
///         &mut self,
///         (name, value): (String, u64),
///         _ctx: &mut KeyedContext<String>,
///         out: &mut Collector<Self::Out>,
///     ) -> Result {
///         if self.limits.get(&name).is_some_and(|limit| value > limit) {
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
///         self.limits.write(ctx).insert(&name, limit);
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
/// The keyed input cannot write broadcast state, because the change would reach one subtask only:
///
/// ```compile_fail,E0308
/// # use cofferdam_sdk::prelude::*;
/// fn in_process_element(limits: &mut BroadcastState<String, u64>, ctx: &mut KeyedContext<String>) {
///     limits.write(ctx).insert("tea", 5);
/// }
/// ```
///
/// ```
/// # use cofferdam_sdk::prelude::*;
/// fn in_process_broadcast(limits: &mut BroadcastState<String, u64>, ctx: &mut BroadcastContext) {
///     limits.write(ctx).insert("tea", 5);
/// }
/// ```
pub trait BroadcastProcessFunction: Function {
    /// How the records of the broadcast input are read.
    type Broadcast: Decode;

    /// Handles one record of the keyed input. It can read broadcast state.
    ///
    /// # Errors
    /// An error fails the record: it changes nothing, and the operator's `on_fault` decides what happens to it.
    fn process_element(
        &mut self,
        value: <Self::In as Decode>::Value<'_>,
        ctx: &mut KeyedContext<Self::Key>,
        out: &mut Collector<Self::Out, Self::OutKey>,
    ) -> Result;

    /// Handles one record of the broadcast input, in every subtask. It can write broadcast state.
    ///
    /// # Errors
    /// The same as of [`BroadcastProcessFunction::process_element`].
    fn process_broadcast(
        &mut self,
        value: <Self::Broadcast as Decode>::Value<'_>,
        ctx: &mut BroadcastContext<'_>,
        out: &mut Collector<Self::Out, Self::OutKey>,
    ) -> Result;
}

impl<F: BroadcastProcessFunction> Records<F> for kinds::BroadcastProcess {
    const KEYED: &'static [bool] = &[true, false];

    #[inline(always)]
    fn first(
        function: &mut F,
        record: &[u8],
        ctx: &mut KeyedContext<F::Key>,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError> {
        function.process_element(decode::<F::In>(record)?, ctx, out)
    }

    fn second(
        function: &mut F,
        record: &[u8],
        ctx: &mut KeyedContext<F::Key>,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError> {
        let rule = F::Broadcast::decode(record).map_err(|error| format!("broadcast input is not {error}"))?;
        function.process_broadcast(rule, &mut BroadcastContext::new(ctx), out)
    }
}
