//! `ReducingState` and `AggregatingState`: the host stores an accumulator, in the same way as a value.

use super::turn_state::state_field;
use super::{ExpiringState, StateCodec, ValueState};
use crate::fields::Binder;
use crate::shape::StateType;
use std::marker::PhantomData;
use std::ops::Add;

/// How a [`ReducingState`] combines two values.
pub trait Reducer<T>: 'static {
    /// Combines what was accumulated so far with the next value.
    fn reduce(accumulated: T, value: T) -> T;
}

/// The [`Reducer`] that adds.
pub enum Sum {}

/// The [`Reducer`] that keeps the smaller value.
pub enum Min {}

/// The [`Reducer`] that keeps the larger value.
pub enum Max {}

impl<T: Add<Output = T>> Reducer<T> for Sum {
    #[inline]
    fn reduce(accumulated: T, value: T) -> T {
        accumulated + value
    }
}

impl<T: Ord> Reducer<T> for Min {
    #[inline]
    fn reduce(accumulated: T, value: T) -> T {
        accumulated.min(value)
    }
}

impl<T: Ord> Reducer<T> for Max {
    #[inline]
    fn reduce(accumulated: T, value: T) -> T {
        accumulated.max(value)
    }
}

/// How an [`AggregatingState`] folds values into an accumulator.
pub trait Aggregator: 'static {
    /// The type of the values that are added.
    type Input;
    /// The type that is stored.
    type Accumulator: StateType;
    /// The type of the result.
    type Output;

    /// Makes the accumulator of no values.
    fn create() -> Self::Accumulator;

    /// Adds a value to the accumulator.
    fn add(accumulator: &mut Self::Accumulator, value: Self::Input);

    /// Computes the result.
    fn result(accumulator: &Self::Accumulator) -> Self::Output;
}

/// One value per key with which each added value is combined by `R`, declared as a field of the function:
/// `largest: ReducingState<u64, Max>`. `R` is [`Sum`], [`Min`], [`Max`] or a [`Reducer`] of your own.
///
/// The value is stored like that of a [`ValueState`]. See [`ValueState`] for where a state can be used.
///
/// ```
/// # use cofferdam_sdk::prelude::*;
/// #[derive(Function)]
/// struct Largest {
///     largest: ReducingState<u64, Max>,
/// }
///
/// #[function]
/// impl KeyedProcessFunction for Largest {
///     type Key = String;
///     type In = Json<u64>;
///     type Out = Json<Option<u64>>;
///
///     fn process_element(&mut self, n: u64, _: &mut KeyedContext<String>, out: &mut Collector<Self::Out>) -> Result {
///         self.largest.add(n);
///         out.emit(self.largest.get());
///         Ok(())
///     }
/// }
///
/// let mut harness = cofferdam_sdk::testing::Harness::<Largest>::new();
/// harness.push_batch([("a", 3, 0), ("a", 7, 1), ("a", 5, 2)])?;
/// assert_eq!(harness.take_output()?, [Some(3), Some(7), Some(7)]);
/// assert_eq!(harness.read_state("a", |largest| largest.largest.get()), Some(7));
/// # Ok::<(), FunctionError>(())
/// ```
pub struct ReducingState<T: StateType, R, C = <T as StateType>::Codec> {
    value: ValueState<T, C>,
    reducer: PhantomData<fn() -> R>,
}

impl<T: StateType, R: Reducer<T>, C: StateCodec<T>> ReducingState<T, R, C> {
    fn bound(binder: &Binder, name: &'static str) -> Self {
        ReducingState { value: ValueState::bound(binder, name), reducer: PhantomData }
    }

    /// Adds a value. The first one is kept as it is; every other one is combined with those before.
    #[inline]
    pub fn add(&mut self, value: T) {
        let reduced = match self.value.take() {
            Some(accumulated) => R::reduce(accumulated, value),
            None => value,
        };
        self.value.set(reduced);
    }

    /// Returns a copy of the combined value, or `None` if no value was added.
    #[inline]
    pub fn get(&mut self) -> Option<T>
    where
        T: Clone,
    {
        self.value.get()
    }

    /// Returns whether a value was added.
    pub fn exists(&mut self) -> bool {
        self.value.exists()
    }

    /// Clears the state. Reads nothing.
    pub fn clear(&mut self) {
        self.value.clear();
    }
}

state_field!(
    [T: StateType, R: Reducer<T>, C: StateCodec<T>] ReducingState<T, R, C>, value, Reducing, T, C, true, String::new()
);

impl<T: StateType, R: Reducer<T>, C: StateCodec<T>> ExpiringState for ReducingState<T, R, C> {}

/// One accumulator per key to which values are added by an [`Aggregator`], declared as a field of the function:
/// `mean: AggregatingState<Mean>`.
///
/// The accumulator is stored like the value of a [`ValueState`]. See [`ValueState`] for where a state can be used.
///
/// ```
/// # use cofferdam_sdk::prelude::*;
/// struct Mean;
///
/// impl Aggregator for Mean {
///     type Input = f64;
///     type Accumulator = (f64, u32);
///     type Output = f64;
///
///     fn create() -> (f64, u32) {
///         (0.0, 0)
///     }
///
///     fn add((sum, count): &mut (f64, u32), value: f64) {
///         *sum += value;
///         *count += 1;
///     }
///
///     fn result((sum, count): &(f64, u32)) -> f64 {
///         sum / f64::from(*count)
///     }
/// }
///
/// #[derive(Function)]
/// struct Means {
///     mean: AggregatingState<Mean>,
/// }
///
/// #[function]
/// impl KeyedProcessFunction for Means {
///     type Key = String;
///     type In = Json<f64>;
///     type Out = Json<f64>;
///
///     fn process_element(&mut self, n: f64, _: &mut KeyedContext<String>, out: &mut Collector<Json<f64>>) -> Result {
///         self.mean.add(n);
///         out.emit(self.mean.get().unwrap_or_default());
///         Ok(())
///     }
/// }
///
/// let mut harness = cofferdam_sdk::testing::Harness::<Means>::new();
/// harness.push_batch([("a", 1.0, 0), ("a", 2.0, 1)])?;
/// assert_eq!(harness.take_output()?, [1.0, 1.5]);
/// # Ok::<(), FunctionError>(())
/// ```
pub struct AggregatingState<A: Aggregator, C = <<A as Aggregator>::Accumulator as StateType>::Codec> {
    value: ValueState<A::Accumulator, C>,
}

impl<A: Aggregator, C: StateCodec<A::Accumulator>> AggregatingState<A, C> {
    fn bound(binder: &Binder, name: &'static str) -> Self {
        AggregatingState { value: ValueState::bound(binder, name) }
    }

    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: A::Input) {
        self.value.update_or(A::create, |accumulator| A::add(accumulator, value));
    }

    /// Returns the result of all added values, or `None` if no value was added.
    #[inline]
    pub fn get(&mut self) -> Option<A::Output> {
        self.value.get_ref().map(A::result)
    }

    /// Returns whether a value was added.
    pub fn exists(&mut self) -> bool {
        self.value.exists()
    }

    /// Clears the state. Reads nothing.
    pub fn clear(&mut self) {
        self.value.clear();
    }
}

state_field!(
    [A: Aggregator, C: StateCodec<A::Accumulator>] AggregatingState<A, C>, value, Aggregating,
    A::Accumulator, C, true, String::new()
);

impl<A: Aggregator, C: StateCodec<A::Accumulator>> ExpiringState for AggregatingState<A, C> {}
