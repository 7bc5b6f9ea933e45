//! Functions that fold the records of a window as they arrive.

use super::{Folds, Function, decode, kinds};
use crate::codec::{Codec, Decode, Encode};
use crate::context::Context;
use crate::shape::StateType;
use crate::state::{AccumulatorState, StateCodec};
use crate::window::Window;
use crate::{FunctionError, Result};

/// Folds the records of each window of a key into an accumulator, and makes the window's result of it. See [`Function`] for `Key`,
/// `In`, `Out` and `open`.
///
/// The host stores the accumulator and no records. It merges accumulators of sliding windows and of sessions that grow
/// together. `add` and `merge` must give the same result in any order. An aggregate function has neither states nor timers.
///
/// ```
/// use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::{WindowHarness, Windows};
///
/// /// Computes the mean of a window's numbers.
/// #[derive(Function)]
/// struct Mean;
///
/// #[function]
/// impl AggregateFunction for Mean {
///     type Key = String;
///     type In = Json<f64>;
///     type Accumulator = (f64, u32);
///     type Out = Text;
///
///     fn create(&mut self) -> (f64, u32) {
///         (0.0, 0)
///     }
///
///     fn add(&mut self, (sum, count): &mut (f64, u32), value: f64, _ctx: &mut Context) -> Result {
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
///     fn result(&mut self, (sum, count): &(f64, u32), window: &Window<String>) -> Result<String> {
///         Ok(format!("{} from {}: {}", window.key(), window.start, sum / f64::from(*count)))
///     }
/// }
///
/// let mut harness = WindowHarness::<Mean>::new(Windows::tumbling(Duration::from_secs(1)));
/// harness.push("a", 1.0, 10)?;
/// harness.push("a", 2.0, 999)?;
/// harness.push("a", 7.0, 1_000)?;
/// harness.advance_watermark(1_999)?;
/// assert_eq!(harness.take_output()?, ["a from 0: 1.5", "a from 1000: 7"]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait AggregateFunction: Function {
    /// The type of the accumulator, which is stored for each window.
    type Accumulator: StateType<Codec: StateCodec<Self::Accumulator>>;

    /// How the accumulator is stored. A function names it if the type of its accumulator has older forms:
    /// `AccumulatorState::new().migrate_from::<Old>()`.
    const ACCUMULATOR: AccumulatorState<Self::Accumulator> = AccumulatorState::new();

    /// Makes the accumulator of a window without records.
    fn create(&mut self) -> Self::Accumulator;

    /// Adds a record to the accumulator.
    ///
    /// # Errors
    /// An error fails the record: it changes nothing, and the operator's `on_fault` decides what happens to it.
    fn add(
        &mut self,
        accumulator: &mut Self::Accumulator,
        value: <Self::In as Decode>::Value<'_>,
        ctx: &mut Context,
    ) -> Result;

    /// Merges another accumulator into this one, as if its records had been added one by one.
    ///
    /// # Errors
    /// An error fails the turn: it changes nothing.
    fn merge(&mut self, accumulator: &mut Self::Accumulator, other: Self::Accumulator) -> Result;

    /// Returns the window's result. The host may ask for it several times, with more records in between.
    ///
    /// # Errors
    /// An error fails the turn: it changes nothing.
    fn result(
        &mut self,
        accumulator: &Self::Accumulator,
        window: &Window<'_, Self::Key>,
    ) -> Result<<Self::Out as Codec>::Owned>;
}

/// Reduces the records of each window of a key to one record, two at a time. That record is the window's result. See [`Function`]
/// for `In` and `open`.
///
/// ```
/// use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::{WindowHarness, Windows};
///
/// /// Emits the largest number of a window.
/// #[derive(Function)]
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
/// let mut harness = WindowHarness::<Largest>::new(Windows::tumbling(Duration::from_secs(1)));
/// for value in [3, 7, 5] {
///     harness.push("a", value, 10)?;
/// }
/// harness.advance_watermark(999)?;
/// assert_eq!(harness.take_output()?, [7]);
/// # Ok::<(), FunctionError>(())
/// ```
pub trait ReduceFunction: Function {
    /// How the reduced record is stored: see [`AggregateFunction::ACCUMULATOR`].
    const ACCUMULATOR: AccumulatorState<<Self::In as Codec>::Owned> = AccumulatorState::new();

    /// Combines two records. Each of them may be the result of earlier calls.
    ///
    /// # Errors
    /// An error fails the record: it changes nothing, and the operator's `on_fault` decides what happens to it.
    fn reduce(
        &mut self,
        reduced: <Self::In as Codec>::Owned,
        value: <Self::In as Codec>::Owned,
    ) -> Result<<Self::In as Codec>::Owned>;
}

impl<F: AggregateFunction> Folds<F> for kinds::Aggregate
where
    F::Out: Encode<<F::Out as Codec>::Owned>,
{
    type Accumulator = F::Accumulator;

    #[inline]
    fn add(
        function: &mut F,
        accumulator: Option<F::Accumulator>,
        record: &[u8],
        ctx: &mut Context,
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
        window: &Window<'_, F::Key>,
        to: &mut Vec<u8>,
    ) -> Result<(), FunctionError> {
        let accumulator = accumulator.unwrap_or_else(|| function.create());
        let result = function.result(&accumulator, window)?;
        F::Out::encode(result, to).map_err(|error| format!("output: {error}").into())
    }
}

impl<F: ReduceFunction> Folds<F> for kinds::Reduce
where
    F::In: Encode<<F::In as Codec>::Owned>,
    <F::In as Codec>::Owned: StateType<Codec: StateCodec<<F::In as Codec>::Owned>>,
{
    type Accumulator = <F::In as Codec>::Owned;

    #[inline]
    fn add(
        function: &mut F,
        accumulator: Option<Self::Accumulator>,
        record: &[u8],
        _: &mut Context,
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
        _: &Window<'_, F::Key>,
        to: &mut Vec<u8>,
    ) -> Result<(), FunctionError> {
        let reduced = accumulator.ok_or("the window has no records")?;
        F::In::encode(reduced, to).map_err(|error| format!("output: {error}").into())
    }
}
