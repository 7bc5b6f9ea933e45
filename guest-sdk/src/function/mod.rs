//! The traits that user code implements, a family in each file, and the one trait that all of them become.
//!
//! A function is made with `Default` for each instance, and the host may drop an instance between any two calls. What a
//! function keeps in its fields may therefore be a cache, and never state.

mod aggregate;
mod broadcast;
mod co_group;
mod co_process;
mod interval_join;
mod keyed;
mod map;
mod window;

use crate::FunctionError;
use crate::bindings::exports::cofferdam::function::function::FunctionKind;
use crate::codec::{Codec, Decode};
use crate::collector::Collector;
use crate::context::{BaseContext, Context, WindowContext};
use crate::declaration::Declaration;
use crate::host::Host;
use crate::runner::{AggregateRunner, PairRunner, RecordRunner, Run, WindowRunner};
use crate::timers::Timer;
use crate::window::{Stored, Window};
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

/// A function of any kind. `#[function]` on the `impl` of one of the traits of this crate writes it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Cofferdam function",
    note = "put `#[cofferdam_sdk::function]` on its `impl` of one of the traits `MapFunction`, `FlatMapFunction`, `KeyedProcessFunction`, `CoProcessFunction`, `BroadcastProcessFunction`, `AggregateFunction`, `ReduceFunction`, `ProcessWindowFunction`, `CoGroupFunction`, `JoinFunction`, `IntervalJoinFunction`"
)]
pub trait Function: Default + 'static {
    /// How records come in, on the first input where there are two.
    type Input: Decode;
    /// How records go out.
    type Output: Codec;
    /// How the host calls it.
    #[doc(hidden)]
    type Kind: Kind<Self>;
    /// The name that a pipeline calls it by.
    const NAME: &'static str;

    #[doc(hidden)]
    fn declare(declaration: &mut Declaration);
}

/// A function of two inputs. `#[function]` writes it.
pub trait TwoInputs: Function {
    /// How the records of the second input come in.
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

/// Writes the kinds: the trait of their functions, the inputs of these, and what runs them.
macro_rules! kinds {
    ($($kind:ident: $function:ident, $wit:ident, [$($input:literal: $codec:ident),+], $runner:ident;)*) => {
        /// Each kind of function. `#[function]` names one for each function.
        #[doc(hidden)]
        pub mod kinds {
            $(pub enum $kind {})*
        }

        $(impl<F: Function + $function> Kind<F> for kinds::$kind {
            const KIND: FunctionKind = FunctionKind::$wit;
            const INPUTS: &'static [(&'static str, &'static str)] = &[$(($input, <F::$codec as Codec>::NAME)),+];

            fn run(host: Rc<dyn Host>) -> Box<dyn Run> {
                Box::new($runner::<F, Self>::new(host))
            }
        })*
    };
}

kinds! {
    Map: MapFunction, Process, ["main": In], RecordRunner;
    FlatMap: FlatMapFunction, Process, ["main": In], RecordRunner;
    KeyedProcess: KeyedProcessFunction, KeyedProcess, ["main": In], RecordRunner;
    CoProcess: CoProcessFunction, CoProcess, ["first": First, "second": Second], RecordRunner;
    BroadcastProcess: BroadcastProcessFunction, BroadcastProcess, ["main": In, "broadcast": Broadcast], RecordRunner;
    Aggregate: AggregateFunction, Aggregate, ["main": In], AggregateRunner;
    Reduce: ReduceFunction, Aggregate, ["main": In], AggregateRunner;
    ProcessWindow: ProcessWindowFunction, ProcessWindow, ["main": In], WindowRunner;
    CoGroup: CoGroupFunction, CoGroup, ["first": First, "second": Second], WindowRunner;
    Join: JoinFunction, CoGroup, ["first": First, "second": Second], WindowRunner;
    IntervalJoin: IntervalJoinFunction, IntervalJoin, ["first": First, "second": Second], PairRunner;
}

/// A kind of functions that handle records one by one.
#[doc(hidden)]
pub trait Records<F>: Kind<F> {
    type Out: Codec;
    /// For each input whether its records have keys.
    const KEYED: &'static [bool];

    fn open(function: &mut F, ctx: &mut Context) -> Result<(), FunctionError>;

    /// Handles a record of the first input.
    fn first(
        function: &mut F,
        record: &[u8],
        ctx: &mut Context,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError>;

    /// Handles a record of the second input. Only called where `KEYED` has two.
    fn second(
        function: &mut F,
        record: &[u8],
        ctx: &mut Context,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError> {
        let _ = (function, record, ctx, out);
        Ok(())
    }

    fn timer(
        function: &mut F,
        timer: Timer,
        ctx: &mut Context,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError> {
        let _ = (function, timer, ctx, out);
        Ok(())
    }
}

/// A kind of functions that fold the records of a window. The accumulator is kept as postcard.
#[doc(hidden)]
pub trait Folds<F>: Kind<F> {
    type Accumulator: Serialize + DeserializeOwned;

    fn open(function: &mut F, ctx: &mut BaseContext) -> Result<(), FunctionError>;

    /// The accumulator with a record, which is the first one where there is none yet.
    fn add(
        function: &mut F,
        accumulator: Option<Self::Accumulator>,
        record: &[u8],
        ctx: &mut BaseContext,
    ) -> Result<Self::Accumulator, FunctionError>;

    fn merge(
        function: &mut F,
        left: Self::Accumulator,
        right: Self::Accumulator,
    ) -> Result<Self::Accumulator, FunctionError>;

    /// Appends the result. There is no accumulator where a window has no records.
    fn result(
        function: &mut F,
        accumulator: Option<Self::Accumulator>,
        window: &Window<'_>,
        to: &mut Vec<u8>,
    ) -> Result<(), FunctionError>;
}

/// A kind of functions that see all elements of a window at once.
#[doc(hidden)]
pub trait Windowed<F>: Kind<F> {
    type Out: Codec;

    fn open(function: &mut F, ctx: &mut BaseContext) -> Result<(), FunctionError>;

    /// Handles a window that fires. `inputs` are as many as the kind has.
    fn window(
        function: &mut F,
        window: &Window<'_>,
        inputs: &[Stored<'_>],
        ctx: &mut WindowContext<'_>,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError>;
}

/// A record of the first input.
#[inline(always)] // A call costs more in wasm than what is done here.
fn decode<C: Decode>(record: &[u8]) -> Result<C::Value<'_>, FunctionError> {
    Ok(C::decode(record).map_err(|error| format!("input is not {error}"))?)
}

/// A record of the second input.
#[inline(always)]
fn decode_second<C: Decode>(record: &[u8]) -> Result<C::Value<'_>, FunctionError> {
    Ok(C::decode(record).map_err(|error| format!("second input is not {error}"))?)
}
