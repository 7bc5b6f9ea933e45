//! States of which the accumulator is kept: reducing and aggregating. The host keeps it like a value.

use super::{StateCodec, ValueAccess};
use std::marker::PhantomData;
use std::ops::Add;

/// How a [`ReducingState`](crate::ReducingState) makes one value of two.
pub trait Reducer<T>: 'static {
    /// The two as one. `accumulated` is what came before.
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

/// How an [`AggregatingState`](crate::AggregatingState) folds what is added to it.
pub trait Aggregator: 'static {
    /// What is added.
    type Input;
    /// What is kept.
    type Accumulator: 'static;
    /// What is read.
    type Output;

    /// The accumulator of nothing.
    fn create() -> Self::Accumulator;

    /// Adds a value to it.
    fn add(accumulator: &mut Self::Accumulator, value: Self::Input);

    /// What it amounts to.
    fn result(accumulator: &Self::Accumulator) -> Self::Output;
}

/// The reduced value of the current key. Obtained by `ctx.state(HANDLE)`.
pub struct ReducingAccess<'a, T, R, C> {
    pub(super) value: ValueAccess<'a, T, C>,
    pub(super) reducer: PhantomData<R>,
}

impl<T, R: Reducer<T>, C: StateCodec<T>> ReducingAccess<'_, T, R, C> {
    /// Adds a value: the first one as it is, every other one reduced with those before.
    #[inline]
    pub fn add(&mut self, value: T) {
        let reduced = match self.value.take() {
            Some(accumulated) => R::reduce(accumulated, value),
            None => value,
        };
        self.value.set(reduced);
    }

    /// A copy of what all added values make, or `None` where there are none.
    #[inline]
    pub fn get(&mut self) -> Option<T>
    where
        T: Clone,
    {
        self.value.get()
    }

    /// Whether a value was added.
    pub fn exists(&mut self) -> bool {
        self.value.exists()
    }

    /// Forgets what was added. Reads nothing.
    pub fn clear(&mut self) {
        self.value.clear();
    }
}

/// The aggregate of the current key. Obtained by `ctx.state(HANDLE)`.
pub struct AggregatingAccess<'a, A: Aggregator, C> {
    pub(super) value: ValueAccess<'a, A::Accumulator, C>,
}

impl<A: Aggregator, C: StateCodec<A::Accumulator>> AggregatingAccess<'_, A, C> {
    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: A::Input) {
        self.value.update_or(A::create, |accumulator| A::add(accumulator, value));
    }

    /// What all added values amount to, or `None` where there are none.
    #[inline]
    pub fn get(&mut self) -> Option<A::Output> {
        let value = ValueAccess { cells: &mut *self.value.cells, key: self.value.key };
        value.get_ref().map(A::result)
    }

    /// Whether a value was added.
    pub fn exists(&mut self) -> bool {
        self.value.exists()
    }

    /// Forgets what was added. Reads nothing.
    pub fn clear(&mut self) {
        self.value.clear();
    }
}
