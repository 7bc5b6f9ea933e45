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
use crate::bindings::exports::cofferdam::function::function::FunctionKind;
use crate::codec::{Codec, Decode, Encode};
use crate::collector::Collector;
use crate::context::{Context, KeyedContext};
use crate::declaration::Declaration;
use crate::fields::FunctionFields;
use crate::host::Host;
use crate::key::Key;
use crate::runner::{AggregateRunner, PairRunner, RecordRunner, Run, WindowRunner};
use crate::timers::Timer;
use crate::window::{Stored, Window};
use crate::{FunctionError, Result, StateType};
use serde::{Serialize, de::DeserializeOwned};
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
    /// How records are read. Functions of two inputs name `First` and `Second` (or `Broadcast`) instead.
    type In: Decode;
    /// How records are written. A [`ReduceFunction`] does not name it: it writes what it reads.
    type Out: Codec;
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
    fn on_timer(&mut self, timer: Timer, ctx: &mut KeyedContext<Self::Key>, out: &mut Collector<Self::Out>) -> Result {
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
    /// Names and codecs of the inputs.
    const INPUTS: &'static [(&'static str, &'static str)];

    fn run(host: Rc<dyn Host>) -> Box<dyn Run>;
}

/// Defines the kinds: for each the trait of its functions, their inputs, and their runner.
macro_rules! kinds {
    ($F:ident; $(
        $kind:ident: $function:ident, $wit:ident, [$($input:literal: $codec:ident),+], $runner:ident
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
            const INPUTS: &'static [(&'static str, &'static str)] = &[$(($input, <$F::$codec as Codec>::NAME)),+];

            fn run(host: Rc<dyn Host>) -> Box<dyn Run> {
                Box::new($runner::<$F, Self>::new(host))
            }
        })*
    };
}

kinds! {
    F;
    Map: MapFunction, Process, ["main": In], RecordRunner where F::Out: [Encode<<F::Out as Codec>::Owned>];
    FlatMap: FlatMapFunction, Process, ["main": In], RecordRunner;
    KeyedProcess: KeyedProcessFunction, KeyedProcess, ["main": In], RecordRunner;
    CoProcess: CoProcessFunction, CoProcess, ["first": First, "second": Second], RecordRunner;
    BroadcastProcess: BroadcastProcessFunction, BroadcastProcess, ["main": In, "broadcast": Broadcast], RecordRunner;
    Aggregate: AggregateFunction, Aggregate, ["main": In], AggregateRunner
        where F::Out: [Encode<<F::Out as Codec>::Owned>];
    Reduce: ReduceFunction, Aggregate, ["main": In], AggregateRunner
        where F::In: [Encode<<F::In as Codec>::Owned>], <F::In as Codec>::Owned: [StateType + Serialize + DeserializeOwned];
    ProcessWindow: ProcessWindowFunction, ProcessWindow, ["main": In], WindowRunner;
    CoGroup: CoGroupFunction, CoGroup, ["first": First, "second": Second], WindowRunner;
    Join: JoinFunction, CoGroup, ["first": First, "second": Second], WindowRunner;
    IntervalJoin: IntervalJoinFunction, IntervalJoin, ["first": First, "second": Second], PairRunner;
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
        out: &mut Collector<F::Out>,
    ) -> Result<(), FunctionError>;

    /// Handles a record of the second input. Called only if `KEYED` has two entries.
    fn second(
        function: &mut F,
        record: &[u8],
        ctx: &mut KeyedContext<F::Key>,
        out: &mut Collector<F::Out>,
    ) -> Result<(), FunctionError> {
        let _ = (function, record, ctx, out);
        Ok(())
    }
}

/// A kind of functions that fold the records of a window. The accumulator is stored as postcard.
#[doc(hidden)]
pub trait Folds<F: Function>: Kind<F> {
    type Accumulator: Serialize + DeserializeOwned;

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
    /// Handles a window that fires. `inputs` has one entry per input of the kind.
    fn window(
        function: &mut F,
        window: &Window<'_, F::Key>,
        inputs: &[Stored<'_>],
        ctx: &mut Context,
        out: &mut Collector<F::Out>,
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
