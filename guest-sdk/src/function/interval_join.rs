//! Functions of pairs of records whose times lie close to each other.

use crate::FunctionError;
use crate::codec::{Codec, Decode};
use crate::collector::Collector;
use crate::context::{BaseContext, JoinContext};

/// Handles each pair of records of two inputs that have the same key, where the timestamp of the second lies in an interval
/// around that of the first. What it emits has the later timestamp of the two.
///
/// A pipeline names the second input as the operator's `second`, and the interval as its `interval`.
///
/// ```
/// use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::IntervalJoinHarness;
///
/// /// Every order with the payments of the five seconds after it.
/// #[derive(Default)]
/// struct PaidSoon;
///
/// #[function]
/// impl IntervalJoinFunction for PaidSoon {
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
/// let mut harness = IntervalJoinHarness::<PaidSoon>::new(0, 5_000);
/// harness.push_first("ann", "tea", 1_000)?;
/// harness.push_second("ann", 250, 6_000)?;
/// harness.push_second("ann", 300, 6_001)?;
/// assert_eq!(harness.take_output()?, ["ann: tea for 250"]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait IntervalJoinFunction: Default + 'static {
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
    /// Fails the pair: nothing of it takes effect, and the operator's disposition decides what becomes of it.
    fn join(
        &mut self,
        first: &<Self::First as Decode>::Value<'_>,
        second: &<Self::Second as Decode>::Value<'_>,
        ctx: &mut JoinContext<'_>,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError>;
}
