//! The accumulator of a window.

use super::older::Migration;
use super::{Rewriting, StateCodec};
use crate::bindings::exports::cofferdam::function::guest::{StateDescription, StateKind};
use crate::codec::CodecFamily;
use crate::shape::StateType;
use std::marker::PhantomData;

/// Older forms that an accumulator may name.
const FORMS_MAX: usize = 8;

/// How the accumulator of an [`AggregateFunction`](crate::AggregateFunction) or a [`ReduceFunction`](crate::ReduceFunction) is
/// stored. A function names it only if the type of its accumulator has older forms:
/// see [`AggregateFunction::ACCUMULATOR`](crate::AggregateFunction::ACCUMULATOR).
pub struct AccumulatorState<T> {
    older: [Option<&'static Rewriting>; FORMS_MAX],
    accumulator: PhantomData<fn() -> T>,
}

impl<T> Default for AccumulatorState<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> AccumulatorState<T> {
    const NAME: &str = "accumulator";

    /// An accumulator without older forms.
    pub const fn new() -> Self {
        AccumulatorState { older: [None; FORMS_MAX], accumulator: PhantomData }
    }

    /// Lets a restore read accumulators that are stored as an `Old`. It may be called once for each of up to eight older forms.
    #[must_use]
    pub const fn migrate_from<Old>(mut self) -> Self
    where
        Old: StateType,
        T: StateType<Codec: StateCodec<T> + CodecFamily> + From<Old>,
        <T::Codec as CodecFamily>::Of<Old>: StateCodec<Old>,
    {
        let mut place = 0;
        while self.older[place].is_some() {
            place += 1;
            assert!(place < FORMS_MAX, "an accumulator names more than 8 older forms");
        }
        self.older[place] = Some(Migration::<Old, <T::Codec as CodecFamily>::Of<Old>, T, T::Codec>::REWRITING);
        self
    }

    pub(crate) fn older_forms(&self) -> impl Iterator<Item = &'static Rewriting> {
        self.older.into_iter().flatten()
    }
}

impl<T: StateType<Codec: StateCodec<T>>> AccumulatorState<T> {
    pub(crate) fn describe(&self) -> StateDescription {
        StateDescription {
            name: Self::NAME.to_owned(),
            kind: StateKind::Aggregating,
            form: T::Codec::form(),
            map_key: String::new(),
            ttl: None,
            reads: self.older_forms().map(Rewriting::readable).collect(),
            writes: Vec::new(),
        }
    }
}
