//! Functions of pairs of records whose timestamps are close to each other.

use super::Function;
use crate::Result;
use crate::codec::Decode;
use crate::collector::Collector;
use crate::context::JoinContext;

/// Handles each pair of records of two inputs that have the same key, if the timestamp of the second lies in an interval around
/// that of the first. Emitted records have the later timestamp of the two. See [`Function`] for `Key`, `Out` and `open`.
///
/// A pipeline names the second input as the operator's `second`, and the interval as its `interval`.
///
/// ```
/// use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::IntervalJoinHarness;
///
/// /// Emits every order with the payments of the five seconds after it.
/// #[derive(Function)]
/// struct PaidSoon;
///
/// #[function]
/// impl IntervalJoinFunction for PaidSoon {
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
/// let mut harness = IntervalJoinHarness::<PaidSoon>::new(0, 5_000);
/// harness.push_first("ann", "tea", 1_000)?;
/// harness.push_second("ann", 250, 6_000)?;
/// harness.push_second("ann", 300, 6_001)?;
/// assert_eq!(harness.take_output()?, ["ann: tea for 250"]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait IntervalJoinFunction: Function {
    /// How the records of the first input are read.
    type First: Decode;
    /// How the records of the second input are read.
    type Second: Decode;

    /// Handles one pair. A value may be part of several pairs.
    ///
    /// # Errors
    /// An error fails the pair: it changes nothing, and the operator's `on_fault` decides what happens to it.
    fn join(
        &mut self,
        first: &<Self::First as Decode>::Value<'_>,
        second: &<Self::Second as Decode>::Value<'_>,
        ctx: &mut JoinContext<'_, Self::Key>,
        out: &mut Collector<Self::Out, Self::OutKey>,
    ) -> Result;
}
