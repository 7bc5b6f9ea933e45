//! The handles that user code names its states by: consts, which hold a name and what is to be known of the state.

use super::broadcast::{Broadcast, BroadcastView, Keyed};
use super::fold::{AggregatingAccess, Aggregator, Reducer, ReducingAccess};
use super::map::{MapAccess, MapCells};
use super::map_key::{self, MapKey};
use super::older::{Migration, OlderForm, OlderForms};
use super::{ListAccess, StateCodec, Ttl, ValueAccess};
use crate::bindings::exports::cofferdam::function::function::{StateDescription, StateKind};
use crate::codec::{CodecFamily, Postcard};
use crate::context::{BroadcastContext, Context};
use crate::shape::{Shape, StateType};
use std::marker::PhantomData;

/// What every handle holds.
#[derive(Clone, Copy)]
struct Settings {
    name: &'static str,
    ttl: Option<Ttl>,
    older: OlderForms,
}

impl Settings {
    const fn named(name: &'static str) -> Self {
        Settings { name, ttl: None, older: OlderForms::NONE }
    }
}

/// Writes what all handles have in common. `$value` is what their codec writes.
macro_rules! handles {
    ($(
        $(#[$doc:meta])*
        $handle:ident<$($parameter:ident),+; $codec:ty> of $value:ty, $kind:ident, ($map_key:expr)
        where [$($bounds:tt)*], all [$($all:tt)*];
    )*) => {$(
        $(#[$doc])*
        pub struct $handle<$($parameter,)+ C = $codec>
        where
            $($all)*
        {
            settings: Settings,
            types: PhantomData<fn() -> ($($parameter,)+ C)>,
        }

        impl<$($parameter),+> $handle<$($parameter),+>
        where
            $($all)*
        {
            /// The state of that name, written as postcard.
            pub const fn new(name: &'static str) -> Self {
                Self::with_codec(name)
            }
        }

        impl<$($parameter,)+ C> $handle<$($parameter,)+ C>
        where
            $($all)*
        {
            /// The state of that name, written by the codec `C`.
            pub const fn with_codec(name: &'static str) -> Self {
                $handle { settings: Settings::named(name), types: PhantomData }
            }

            /// Its name.
            pub const fn name(&self) -> &'static str {
                self.settings.name
            }

            /// Has a restore read values that are stored as an `Old`, written by the same codec. It may be said of several
            /// older forms, one after the other.
            #[must_use]
            pub const fn migrate_from<Old>(self) -> Self
            where
                Old: StateType,
                $value: From<Old>,
                C: CodecFamily + StateCodec<$value>,
                C::Of<Old>: StateCodec<Old>,
            {
                self.migrate_from_codec::<Old, C::Of<Old>>()
            }

            /// As `migrate_from`, of values that were written by the codec `OldC`.
            #[must_use]
            pub const fn migrate_from_codec<Old, OldC>(mut self) -> Self
            where
                Old: StateType,
                OldC: StateCodec<Old>,
                $value: From<Old>,
                C: StateCodec<$value>,
            {
                self.settings.older = self.settings.older.and(Migration::<Old, OldC, $value, C>::FORM);
                self
            }
        }

        impl<$($parameter,)+ C> Clone for $handle<$($parameter,)+ C>
        where
            $($all)*
        {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($parameter,)+ C> Copy for $handle<$($parameter,)+ C>
        where
            $($all)*
        {
        }

        impl<$($parameter,)+ C> sealed::Describe for $handle<$($parameter,)+ C>
        where
            $value: StateType,
            C: StateCodec<$value>,
            $($all)*
            $($bounds)*
        {
            fn name(&self) -> &'static str {
                self.settings.name
            }

            fn describe(&self) -> StateDescription {
                StateDescription {
                    name: self.settings.name.to_owned(),
                    kind: StateKind::$kind,
                    codec: C::NAME.to_owned(),
                    schema: Shape::fingerprint::<$value>(C::NAME),
                    map_key: $map_key,
                    ttl: self.settings.ttl.map(Ttl::describe),
                    previous: self.older_forms().map(|form| (form.fingerprint)()).collect(),
                }
            }

            fn older_forms(&self) -> impl Iterator<Item = &'static OlderForm> {
                self.settings.older.iter()
            }
        }
    )*};
}

handles! {
    /// One value per key. Named by a const: `const COUNT: ValueState<u64> = ValueState::new("count");`
    ///
    /// The function declares it, `#[function(states(COUNT))]`, and reaches it with `ctx.state(COUNT)`: see
    /// [`ValueAccess`]. `ValueState<T, Json<T>>` with [`ValueState::with_codec`] keeps it as JSON.
    ValueState<T; Postcard<T>> of T, Value, (String::new()) where [], all [];

    /// One list per key. Named by a const: `const LAST: ListState<i32> = ListState::new("last");`
    ///
    /// The function declares it, `#[function(states(LAST))]`, and reaches it with `ctx.state(LAST)`: see [`ListAccess`].
    ListState<T; Postcard<T>> of T, List, (String::new()) where [], all [];

    /// One map per key, in order of its keys. Named by a const: `const SEEN: MapState<String, u32> = MapState::new("seen");`
    ///
    /// The function declares it, `#[function(states(SEEN))]`, and reaches it with `ctx.state(SEEN)`: see [`MapAccess`].
    ///
    /// ```
    /// # use cofferdam_sdk::prelude::*;
    /// const SEEN: MapState<String, u32> = MapState::new("seen");
    ///
    /// #[derive(Default)]
    /// struct Words;
    ///
    /// #[function(states(SEEN))]
    /// impl KeyedProcessFunction for Words {
    ///     type In = Text;
    ///     type Out = Text;
    ///
    ///     fn process_element(&mut self, word: &str, ctx: &mut Context, out: &mut Collector<Text>) -> Result {
    ///         ctx.state(SEEN).update(word, |count| *count += 1);
    ///         for (word, count) in ctx.state(SEEN).iter() {
    ///             out.emit(format!("{word} {count}"));
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut harness = cofferdam_sdk::testing::Harness::<Words>::new();
    /// harness.push_batch([("en", "tea", 0), ("en", "jam", 1)])?;
    /// assert_eq!(harness.take_output()?, ["tea 1", "jam 1", "tea 1"]);
    /// assert_eq!(harness.map_of(SEEN, "en")?, [("jam".to_owned(), 1), ("tea".to_owned(), 1)]);
    /// # Ok::<(), FunctionError>(())
    /// ```
    MapState<K, V; Postcard<V>> of V, Map, (map_key::described::<K>()) where [K: MapKey], all [];

    /// One value per key that each added value is reduced with. `R` says how: see [`Reducer`]. Named by a const:
    /// `const LARGEST: ReducingState<u64, Max> = ReducingState::new("largest");`
    ///
    /// The function declares it, `#[function(states(LARGEST))]`, and reaches it with `ctx.state(LARGEST)`: see
    /// [`ReducingAccess`].
    ///
    /// ```
    /// # use cofferdam_sdk::prelude::*;
    /// const LARGEST: ReducingState<u64, Max> = ReducingState::new("largest");
    ///
    /// #[derive(Default)]
    /// struct Largest;
    ///
    /// #[function(states(LARGEST))]
    /// impl KeyedProcessFunction for Largest {
    ///     type In = Json<u64>;
    ///     type Out = Json<Option<u64>>;
    ///
    ///     fn process_element(&mut self, n: u64, ctx: &mut Context, out: &mut Collector<Self::Out>) -> Result {
    ///         ctx.state(LARGEST).add(n);
    ///         out.emit(ctx.state(LARGEST).get());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut harness = cofferdam_sdk::testing::Harness::<Largest>::new();
    /// harness.push_batch([("a", 3, 0), ("a", 7, 1), ("a", 5, 2)])?;
    /// assert_eq!(harness.take_output()?, [Some(3), Some(7), Some(7)]);
    /// assert_eq!(harness.reduced_of(LARGEST, "a")?, Some(7));
    /// # Ok::<(), FunctionError>(())
    /// ```
    ReducingState<T, R; Postcard<T>> of T, Reducing, (String::new()) where [R: Reducer<T>], all [];

    /// One accumulator per key that values are added to. `A` says how: see [`Aggregator`]. Named by a const:
    /// `const MEAN: AggregatingState<Mean> = AggregatingState::new("mean");`
    ///
    /// The function declares it, `#[function(states(MEAN))]`, and reaches it with `ctx.state(MEAN)`: see
    /// [`AggregatingAccess`].
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
    /// const MEAN: AggregatingState<Mean> = AggregatingState::new("mean");
    ///
    /// #[derive(Default)]
    /// struct Means;
    ///
    /// #[function(states(MEAN))]
    /// impl KeyedProcessFunction for Means {
    ///     type In = Json<f64>;
    ///     type Out = Json<f64>;
    ///
    ///     fn process_element(&mut self, value: f64, ctx: &mut Context, out: &mut Collector<Json<f64>>) -> Result {
    ///         ctx.state(MEAN).add(value);
    ///         out.emit(ctx.state(MEAN).get().unwrap_or_default());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut harness = cofferdam_sdk::testing::Harness::<Means>::new();
    /// harness.push_batch([("a", 1.0, 0), ("a", 2.0, 1)])?;
    /// assert_eq!(harness.take_output()?, [1.0, 1.5]);
    /// assert_eq!(harness.aggregate_of(MEAN, "a")?, Some(1.5));
    /// # Ok::<(), FunctionError>(())
    /// ```
    AggregatingState<A; Postcard<<A as Aggregator>::Accumulator>> of A::Accumulator, Aggregating, (String::new())
        where [], all [A: Aggregator,];

    /// The accumulator of a window: what an [`AggregateFunction`](crate::AggregateFunction) or a
    /// [`ReduceFunction`](crate::ReduceFunction) folds records into. It stands there as a const only where its type has older
    /// forms: see [`AggregateFunction::ACCUMULATOR`](crate::AggregateFunction::ACCUMULATOR).
    AccumulatorState<T; Postcard<T>> of T, Aggregating, (String::new()) where [], all [];

    /// A map that belongs to no key: every subtask holds it whole. The broadcast input of a
    /// [`BroadcastProcessFunction`](crate::BroadcastProcessFunction) writes it, the keyed input reads it. Named by a const:
    /// `const RULES: BroadcastState<String, u64> = BroadcastState::new("rules");`
    ///
    /// The function declares it, `#[function(broadcast(RULES))]`, and reaches it with `ctx.broadcast(RULES)`: see
    /// [`BroadcastView`] and [`MapAccess`].
    BroadcastState<K, V; Postcard<V>> of V, Broadcast, (map_key::described::<K>()) where [K: MapKey], all [];
}

macro_rules! with_ttl {
    ($($handle:ident<$($parameter:ident),+> where [$($all:tt)*];)*) => {$(
        impl<$($parameter,)+ C> $handle<$($parameter,)+ C>
        where
            $($all)*
        {
            /// Gives its entries a time to live.
            #[must_use]
            pub const fn ttl(mut self, ttl: Ttl) -> Self {
                self.settings.ttl = Some(ttl);
                self
            }
        }
    )*};
}

with_ttl! {
    ValueState<T> where [];
    ListState<T> where [];
    MapState<K, V> where [];
    ReducingState<T, R> where [];
    AggregatingState<A> where [A: Aggregator];
}

/// A handle that [`Context::state`] takes.
pub trait StateHandle: sealed::Describe {
    /// What can be done with the state of the current key.
    type Access<'a>;

    #[doc(hidden)]
    fn access(self, context: &mut Context) -> Self::Access<'_>;
}

pub(crate) mod sealed {
    use super::{OlderForm, StateDescription};

    pub trait Describe: Copy {
        fn name(&self) -> &'static str;
        fn describe(&self) -> StateDescription;
        fn older_forms(&self) -> impl Iterator<Item = &'static OlderForm>;
    }
}

impl<T: StateType, C: StateCodec<T>> StateHandle for ValueState<T, C> {
    type Access<'a> = ValueAccess<'a, T, C>;

    #[inline]
    fn access(self, context: &mut Context) -> ValueAccess<'_, T, C> {
        let key = context.key;
        ValueAccess { cells: context.cells(self.settings.name), key }
    }
}

impl<T: StateType, C: StateCodec<T>> StateHandle for ListState<T, C> {
    type Access<'a> = ListAccess<'a, T, C>;

    #[inline]
    fn access(self, context: &mut Context) -> ListAccess<'_, T, C> {
        let key = context.key;
        ListAccess { cells: context.cells(self.settings.name), key }
    }
}

impl<K: MapKey, V: StateType, C: StateCodec<V>> StateHandle for MapState<K, V, C> {
    type Access<'a> = MapAccess<'a, K, V, C>;

    #[inline]
    fn access(self, context: &mut Context) -> MapAccess<'_, K, V, C> {
        let key = context.key;
        MapAccess { cells: context.cells::<MapCells<V, C, Keyed>>(self.settings.name), key, keys: PhantomData }
    }
}

impl<T: StateType, R: Reducer<T>, C: StateCodec<T>> StateHandle for ReducingState<T, R, C> {
    type Access<'a> = ReducingAccess<'a, T, R, C>;

    #[inline]
    fn access(self, context: &mut Context) -> ReducingAccess<'_, T, R, C> {
        let key = context.key;
        let value = ValueAccess { cells: context.cells(self.settings.name), key };
        ReducingAccess { value, reducer: PhantomData }
    }
}

impl<A: Aggregator<Accumulator: StateType>, C: StateCodec<A::Accumulator>> StateHandle for AggregatingState<A, C> {
    type Access<'a> = AggregatingAccess<'a, A, C>;

    #[inline]
    fn access(self, context: &mut Context) -> AggregatingAccess<'_, A, C> {
        let key = context.key;
        AggregatingAccess { value: ValueAccess { cells: context.cells(self.settings.name), key } }
    }
}

impl Context {
    /// A broadcast map, to be read. It is written by the broadcast input: see
    /// [`BroadcastContext::broadcast`](crate::BroadcastContext::broadcast).
    ///
    /// # Panics
    /// Where the function does not declare it.
    pub fn broadcast<K: MapKey, V: StateType, C: StateCodec<V>>(
        &mut self,
        handle: BroadcastState<K, V, C>,
    ) -> BroadcastView<'_, K, V, C> {
        BroadcastView::new(self.broadcast_cells::<MapCells<V, C, Broadcast>>(handle.settings.name))
    }
}

impl BroadcastContext<'_> {
    /// A broadcast map, to be read and written.
    ///
    /// # Panics
    /// Where the function does not declare it.
    pub fn broadcast<K: MapKey, V: StateType, C: StateCodec<V>>(
        &mut self,
        handle: BroadcastState<K, V, C>,
    ) -> MapAccess<'_, K, V, C, Broadcast> {
        (**self).broadcast(handle).map
    }
}
