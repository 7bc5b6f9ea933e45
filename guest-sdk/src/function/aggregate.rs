//! Functions that fold the records of a window as they arrive.

use super::{Folds, Function, decode, kinds};
use crate::FunctionError;
use crate::codec::{Codec, Decode, Encode};
use crate::context::BaseContext;
use crate::shape::StateType;
use crate::state::AccumulatorState;
use crate::window::Window;
use serde::{Serialize, de::DeserializeOwned};

/// Folds the records of each window of a key into an accumulator, of which the window's result is made.
///
/// The host keeps the accumulator, and none of the records. Accumulators are merged where windows share what they have in
/// common, and where sessions grow together: `add` and `merge` have to agree, whatever the order.
///
/// ```
/// use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::{WindowHarness, Windows};
///
/// /// The mean of a window's numbers.
/// #[derive(Default)]
/// struct Mean;
///
/// #[function]
/// impl AggregateFunction for Mean {
///     type In = Json<f64>;
///     type Accumulator = (f64, u32);
///     type Out = Text;
///
///     fn create(&mut self) -> (f64, u32) {
///         (0.0, 0)
///     }
///
///     fn add(&mut self, (sum, count): &mut (f64, u32), value: f64, _ctx: &mut BaseContext) -> Result {
///         *sum += value;
///         *count += 1;
///         Ok(())
///     }
///
///     fn merge(&mut self, (sum, count): &mut (f64, u32), other: (f64, u32)) -> Result {
///         *sum += other.0;
///         *count += other.1;
///         Ok(())
///     }
///
///     fn result(&mut self, (sum, count): &(f64, u32), window: &Window) -> Result<String> {
///         Ok(format!("{} from {}: {}", window.key_str()?, window.start_ms, sum / f64::from(*count)))
///     }
/// }
///
/// let mut harness = WindowHarness::<Mean>::new(Windows::tumbling(1_000));
/// harness.push("a", 1.0, 10)?;
/// harness.push("a", 2.0, 999)?;
/// harness.push("a", 7.0, 1_000)?;
/// harness.advance_watermark(1_999)?;
/// assert_eq!(harness.take_output()?, ["a from 0: 1.5", "a from 1000: 7"]);
/// # Ok::<(), FunctionError>(())
/// ```
///
/// It has neither state nor timers of its own:
///
/// ```compile_fail
/// # use cofferdam_sdk::prelude::*;
/// # const COUNT: ValueState<u64> = ValueState::new("count");
/// fn while_adding(ctx: &mut BaseContext) {
///     ctx.state(COUNT);
/// }
/// ```
pub trait AggregateFunction: Default + 'static {
    /// How records come in.
    type In: Decode;
    /// What is kept for each window.
    type Accumulator: StateType + Serialize + DeserializeOwned;
    /// How results go out.
    type Out: Codec + Encode<<Self::Out as Codec>::Owned>;

    /// How the accumulator is kept: say so where its type has older forms,
    /// `AccumulatorState::new("accumulator").migrate_from::<Old>()`.
    const ACCUMULATOR: AccumulatorState<Self::Accumulator> = AccumulatorState::new("accumulator");

    /// Called once per instance, before its first call: the place to read `ctx.config`.
    ///
    /// # Errors
    /// Fails the turn that the instance was made for.
    fn open(&mut self, ctx: &mut BaseContext) -> Result<(), FunctionError> {
        let _ = ctx;
        Ok(())
    }

    /// The accumulator of a window without records.
    fn create(&mut self) -> Self::Accumulator;

    /// Adds a record.
    ///
    /// # Errors
    /// Fails the record: nothing of it takes effect, and the operator's disposition decides what becomes of it.
    fn add(
        &mut self,
        accumulator: &mut Self::Accumulator,
        value: <Self::In as Decode>::Value<'_>,
        ctx: &mut BaseContext,
    ) -> Result<(), FunctionError>;

    /// Adds what `other` holds, as if its records had been added one by one.
    ///
    /// # Errors
    /// Fails the turn: nothing of it takes effect.
    fn merge(&mut self, accumulator: &mut Self::Accumulator, other: Self::Accumulator) -> Result<(), FunctionError>;

    /// The window's result. It may be asked for several times, with records in between.
    ///
    /// # Errors
    /// Fails the turn: nothing of it takes effect.
    fn result(
        &mut self,
        accumulator: &Self::Accumulator,
        window: &Window<'_>,
    ) -> Result<<Self::Out as Codec>::Owned, FunctionError>;
}

/// Reduces the records of each window of a key to one, two at a time. The window's result is what is left.
///
/// ```
/// use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::{WindowHarness, Windows};
///
/// /// The largest number of a window.
/// #[derive(Default)]
/// struct Largest;
///
/// #[function]
/// impl ReduceFunction for Largest {
///     type In = Json<u64>;
///
///     fn reduce(&mut self, largest: u64, value: u64) -> Result<u64> {
///         Ok(largest.max(value))
///     }
/// }
///
/// let mut harness = WindowHarness::<Largest>::new(Windows::tumbling(1_000));
/// for value in [3, 7, 5] {
///     harness.push("a", value, 10)?;
/// }
/// harness.advance_watermark(999)?;
/// assert_eq!(harness.take_output()?, [7]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait ReduceFunction: Default + 'static {
    /// How records come in, and how results go out.
    type In: Decode<Owned: StateType + Serialize + DeserializeOwned> + Encode<<Self::In as Codec>::Owned>;

    /// How the reduced record is kept: see [`AggregateFunction::ACCUMULATOR`].
    const ACCUMULATOR: AccumulatorState<<Self::In as Codec>::Owned> = AccumulatorState::new("accumulator");

    /// Called once per instance, before its first call: the place to read `ctx.config`.
    ///
    /// # Errors
    /// Fails the turn that the instance was made for.
    fn open(&mut self, ctx: &mut BaseContext) -> Result<(), FunctionError> {
        let _ = ctx;
        Ok(())
    }

    /// The two as one. `reduced` may be of several records, and so may `value`.
    ///
    /// # Errors
    /// Fails the record: nothing of it takes effect, and the operator's disposition decides what becomes of it.
    fn reduce(
        &mut self,
        reduced: <Self::In as Codec>::Owned,
        value: <Self::In as Codec>::Owned,
    ) -> Result<<Self::In as Codec>::Owned, FunctionError>;
}

impl<F: Function + AggregateFunction> Folds<F> for kinds::Aggregate {
    type Accumulator = F::Accumulator;

    fn open(function: &mut F, ctx: &mut BaseContext) -> Result<(), FunctionError> {
        function.open(ctx)
    }

    #[inline]
    fn add(
        function: &mut F,
        accumulator: Option<F::Accumulator>,
        record: &[u8],
        ctx: &mut BaseContext,
    ) -> Result<F::Accumulator, FunctionError> {
        let value = decode::<F::In>(record)?;
        let mut accumulator = accumulator.unwrap_or_else(|| function.create());
        function.add(&mut accumulator, value, ctx)?;
        Ok(accumulator)
    }

    fn merge(
        function: &mut F,
        mut left: F::Accumulator,
        right: F::Accumulator,
    ) -> Result<F::Accumulator, FunctionError> {
        function.merge(&mut left, right)?;
        Ok(left)
    }

    fn result(
        function: &mut F,
        accumulator: Option<F::Accumulator>,
        window: &Window<'_>,
        to: &mut Vec<u8>,
    ) -> Result<(), FunctionError> {
        let accumulator = accumulator.unwrap_or_else(|| function.create());
        let result = function.result(&accumulator, window)?;
        F::Out::encode(result, to).map_err(|error| format!("output: {error}").into())
    }
}

impl<F: Function + ReduceFunction> Folds<F> for kinds::Reduce {
    type Accumulator = <F::In as Codec>::Owned;

    fn open(function: &mut F, ctx: &mut BaseContext) -> Result<(), FunctionError> {
        function.open(ctx)
    }

    #[inline]
    fn add(
        function: &mut F,
        accumulator: Option<Self::Accumulator>,
        record: &[u8],
        _: &mut BaseContext,
    ) -> Result<Self::Accumulator, FunctionError> {
        let value = F::In::decode_owned(record).map_err(|error| format!("input is not {error}"))?;
        match accumulator {
            Some(reduced) => function.reduce(reduced, value),
            None => Ok(value),
        }
    }

    fn merge(
        function: &mut F,
        left: Self::Accumulator,
        right: Self::Accumulator,
    ) -> Result<Self::Accumulator, FunctionError> {
        function.reduce(left, right)
    }

    fn result(
        _: &mut F,
        accumulator: Option<Self::Accumulator>,
        _: &Window<'_>,
        to: &mut Vec<u8>,
    ) -> Result<(), FunctionError> {
        let reduced = accumulator.ok_or("nothing was reduced")?;
        F::In::encode(reduced, to).map_err(|error| format!("output: {error}").into())
    }
}
