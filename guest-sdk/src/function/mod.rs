//! The traits that user code implements, one family per file, and [`Function`], the base trait of all of them.
//!
//! Invariant: the host may drop an instance between any two calls. A function's plain fields are therefore caches; only its states
//! survive.

mod aggregate;
mod broadcast;
mod co_group;
mod co_process;
mod interval_join;
mod keyed;
mod map;
mod window;

use crate::bindings::cofferdam::function::types::TimeDomain;
use crate::bindings::exports::cofferdam::function::guest::{FunctionKind, Port, PortLayout};
use crate::codec::{Codec, Decode, Encode};
use crate::collector::Collector;
use crate::context::{Context, KeyedContext};
use crate::declaration::Declaration;
use crate::fields::FunctionFields;
use crate::host::Host;
use crate::key::{Key, NoKey};
use crate::runner::{AggregateRunner, PairRunner, RecordRunner, Run, WindowRunner};
use crate::state::StateCodec;
use crate::timers::Timer;
use crate::window::{Stored, Window};
use crate::{FunctionError, Result, StateType};
use std::rc::Rc;

pub use aggregate::{AggregateFunction, ReduceFunction};
pub use broadcast::BroadcastProcessFunction;
pub use co_group::{CoGroupFunction, JoinFunction};
pub use co_process::CoProcessFunction;
pub use interval_join::IntervalJoinFunction;
pub use keyed::KeyedProcessFunction;
pub use map::{FlatMapFunction, MapFunction};
pub use window::ProcessWindowFunction;

/// The base trait of all functions: the types of their records and keys, `open`, and `on_timer`.
///
/// Write its items in the `impl` of the function's own trait, such as [`KeyedProcessFunction`]; [`macro@crate::function`] moves them into
/// an `impl` of this trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Cofferdam function",
    note = "put `#[function]` on its `impl` of one of the traits `MapFunction`, `FlatMapFunction`, `KeyedProcessFunction`, `CoProcessFunction`, `BroadcastProcessFunction`, `AggregateFunction`, `ReduceFunction`, `ProcessWindowFunction`, `CoGroupFunction`, `JoinFunction`, `IntervalJoinFunction`"
)]
pub trait Function: FunctionFields {
    /// The type of the keys, such as `String`. Functions without a keyed input do not name it.
    type Key: Key;
    /// The records that the function reads: a struct with `#[derive(Record)]`, or a codec. Functions of two inputs name `First` and `Second`
    /// (or `Broadcast`) instead.
    type In: Decode;
    /// The records that the function emits: a struct with `#[derive(Record)]`, or a codec. A [`ReduceFunction`] does not name it: it writes
    /// what it reads.
    type Out: Codec;
    /// The type of the keys that the function chooses by [`Collector::emit_keyed`]. A function that chooses none does not name it.
    type OutKey: Key;
    /// How the host calls the function.
    #[doc(hidden)]
    type Kind: Kind<Self>;
    /// The name by which a pipeline calls the function.
    const NAME: &'static str;
    /// The clocks on which the function registers timers.
    const TIMERS: &'static [TimeDomain];

    #[doc(hidden)]
    fn declare(declaration: &mut Declaration) {
        let _ = declaration;
    }

    /// Called once for each instance, before its first record, timer or window: the place to read `ctx.config`. There is no key
    /// here, so states cannot be used.
    ///
    /// # Errors
    /// An error fails the turn for which the instance was made.
    fn open(&mut self, ctx: &mut Context) -> Result {
        let _ = ctx;
        Ok(())
    }

    /// Handles a due timer. Functions of a key may have timers if they declare them, `#[function(timers(event))]`.
    ///
    /// At the end of the input, the watermark is [`Timestamp::MAX`](crate::Timestamp::MAX) and every timer is due, also those of
    /// processing time. A timer that is registered then is dropped and counted, so that a timer that always registers the next one
    /// ends.
    ///
    /// # Errors
    /// An error fails the turn: it changes nothing.
    fn on_timer(
        &mut self,
        timer: Timer,
        ctx: &mut KeyedContext<Self::Key>,
        out: &mut Collector<Self::Out, Self::OutKey>,
    ) -> Result {
        let _ = (timer, ctx, out);
        Ok(())
    }
}

/// A function of two inputs. `#[function]` implements it.
pub trait TwoInputs: Function {
    /// How the records of the second input are read.
    type Second: Decode;
}

/// How the host calls a function of type `F`.
#[doc(hidden)]
pub trait Kind<F>: 'static {
    const KIND: FunctionKind;

    /// Describes the inputs.
    fn inputs() -> Vec<Port>;

    fn run(host: Rc<dyn Host>) -> Box<dyn Run>;
}

/// The type of an input's keys.
macro_rules! keys {
    ($F:ident Key) => {
        <$F as Function>::Key
    };
    ($F:ident NoKey) => {
        NoKey
    };
}

/// Defines the kinds: for each the trait of its functions, their inputs, and their runner.
macro_rules! kinds {
    ($F:ident; $(
        $kind:ident: $function:ident, $wit:ident, [$($input:literal: $codec:ident $keys:ident),+], $runner:ident
        $(where $($bound_type:ty: [$($bound:tt)+]),+)?;
    )*) => {
        /// Each kind of function. `#[function]` names one for each function.
        #[doc(hidden)]
        pub mod kinds {
            $(pub enum $kind {})*
        }

        $(impl<$F: $function> Kind<$F> for kinds::$kind
        where
            $($($bound_type: $($bound)+),+)?
        {
            const KIND: FunctionKind = FunctionKind::$wit;

            fn inputs() -> Vec<Port> {
                vec![$(port::<$F::$codec, keys!($F $keys)>($input)),+]
            }

            fn run(host: Rc<dyn Host>) -> Box<dyn Run> {
                Box::new($runner::<$F, Self>::new(host))
            }
        })*
    };
}

/// Describes an input or output whose records have keys of type `K`.
pub(crate) fn port<C: Codec, K: Key>(name: &str) -> Port {
    let row = C::row();
    Port {
        name: name.to_owned(),
        codec: C::NAME.to_owned(),
        schema: row.iter().flat_map(|row| row.fields()).map(|field| field.describe()).collect(),
        layout: PortLayout::Packed,
        key_type: K::type_name(),
    }
}

kinds! {
    F;
    Map: MapFunction, Process, ["main": In Key], RecordRunner where F::Out: [Encode<<F::Out as Codec>::Owned>];
    FlatMap: FlatMapFunction, Process, ["main": In Key], RecordRunner;
    KeyedProcess: KeyedProcessFunction, KeyedProcess, ["main": In Key], RecordRunner;
    CoProcess: CoProcessFunction, CoProcess, ["first": First Key, "second": Second Key], RecordRunner;
    BroadcastProcess: BroadcastProcessFunction, BroadcastProcess, ["main": In Key, "broadcast": Broadcast NoKey],
        RecordRunner;
    Aggregate: AggregateFunction, Aggregate, ["main": In Key], AggregateRunner
        where F::Out: [Encode<<F::Out as Codec>::Owned>], F::Accumulator: [StateType<Codec: StateCodec<F::Accumulator>>];
    Reduce: ReduceFunction, Aggregate, ["main": In Key], AggregateRunner
        where F::In: [Encode<<F::In as Codec>::Owned>],
            <F::In as Codec>::Owned: [StateType<Codec: StateCodec<<F::In as Codec>::Owned>>];
    ProcessWindow: ProcessWindowFunction, ProcessWindow, ["main": In Key], WindowRunner;
    CoGroup: CoGroupFunction, CoGroup, ["first": First Key, "second": Second Key], WindowRunner;
    Join: JoinFunction, CoGroup, ["first": First Key, "second": Second Key], WindowRunner;
    IntervalJoin: IntervalJoinFunction, IntervalJoin, ["first": First Key, "second": Second Key], PairRunner;
}

/// A kind of functions that handle records one by one.
#[doc(hidden)]
pub trait Records<F: Function>: Kind<F> {
    /// For each input, whether its records have keys.
    const KEYED: &'static [bool];

    /// Handles a record of the first input.
    fn first(
        function: &mut F,
        record: &[u8],
        ctx: &mut KeyedContext<F::Key>,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError>;

    /// Handles a record of the second input. Called only if `KEYED` has two entries.
    fn second(
        function: &mut F,
        record: &[u8],
        ctx: &mut KeyedContext<F::Key>,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError> {
        let _ = (function, record, ctx, out);
        Ok(())
    }
}

/// A kind of functions that fold the records of a window.
#[doc(hidden)]
pub trait Folds<F: Function>: Kind<F> {
    type Accumulator: StateType<Codec: StateCodec<Self::Accumulator>>;

    /// Adds a record to the accumulator. There is no accumulator before the first record.
    fn add(
        function: &mut F,
        accumulator: Option<Self::Accumulator>,
        record: &[u8],
        ctx: &mut Context,
    ) -> Result<Self::Accumulator, FunctionError>;

    fn merge(
        function: &mut F,
        left: Self::Accumulator,
        right: Self::Accumulator,
    ) -> Result<Self::Accumulator, FunctionError>;

    /// Appends the result. There is no accumulator if the window has no records.
    fn result(
        function: &mut F,
        accumulator: Option<Self::Accumulator>,
        window: &Window<'_, F::Key>,
        to: &mut Vec<u8>,
    ) -> Result<(), FunctionError>;
}

/// A kind of functions that see all elements of a window at once.
#[doc(hidden)]
pub trait Windowed<F: Function>: Kind<F> {
    const INPUT_COUNT: usize;

    /// Handles a window that fires. `inputs` has one entry per input of the kind.
    fn window(
        function: &mut F,
        window: &Window<'_, F::Key>,
        inputs: &[Stored<'_>],
        ctx: &mut Context,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError>;
}

/// Reads a record of the first input.
#[inline(always)] // A call in Wasm costs more than this function.
fn decode<C: Decode>(record: &[u8]) -> Result<C::Value<'_>, FunctionError> {
    Ok(C::decode(record).map_err(|error| format!("input is not {error}"))?)
}

/// Reads a record of the second input.
#[inline(always)]
fn decode_second<C: Decode>(record: &[u8]) -> Result<C::Value<'_>, FunctionError> {
    Ok(C::decode(record).map_err(|error| format!("second input is not {error}"))?)
}
