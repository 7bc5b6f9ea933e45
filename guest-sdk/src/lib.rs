//! Write functions for Cofferdam, a stateful stream processor that runs them as WebAssembly components.
//!
//! A counter, whole:
//!
//! ```
//! use cofferdam_sdk::prelude::*;
//!
//! const COUNT: ValueState<u64> = ValueState::new("count");
//!
//! /// Counts the records of each key.
//! #[derive(Default)]
//! struct Counter;
//!
//! #[function(states(COUNT))]
//! impl KeyedProcessFunction for Counter {
//!     type In = Text;
//!     type Out = Text;
//!
//!     fn process_element(&mut self, _word: &str, ctx: &mut Context, out: &mut Collector<Text>) -> Result {
//!         let mut count = ctx.state(COUNT).get_or_default();
//!         count += 1;
//!         ctx.state(COUNT).set(count);
//!         out.emit(format!("{},{count}", ctx.key_str()?));
//!         Ok(())
//!     }
//! }
//!
//! cofferdam_sdk::export!(Counter);
//!
//! // Tests run natively, without a host.
//! let mut harness = cofferdam_sdk::testing::Harness::<Counter>::new();
//! harness.push("tea", "tea", 0)?;
//! harness.push("tea", "tea", 1)?;
//! assert_eq!(harness.take_output()?, ["tea,1", "tea,2"]);
//! # Ok::<(), cofferdam_sdk::FunctionError>(())
//! ```
//!
//! # What to know
//!
//! - **A function keeps nothing.** It is made with `Default` for each instance, and the host may drop an instance between
//!   any two calls and go on with a fresh one. Fields are for caches and for what `open` reads from the config; what has to
//!   be remembered goes into state.
//! - **A call is a turn.** The host hands over a batch of records. Outputs, state and timers take effect together, or,
//!   where a record fails, not at all; the host then finds the bad record by itself and runs the others again.
//! - **There is no clock and no randomness** but what the context gives: a batch that is run again gives the same answers.
//!   `SystemTime::now()` and `Instant::now()` panic; the time of the turn is [`Context::processing_time`](BaseContext::processing_time).
//! - **`println!` goes to the job's log** in the methods of an `impl` with [`function`], and so do `print!`, `eprintln!`, `eprint!` and
//!   `dbg!`. Code elsewhere imports them: `use cofferdam_sdk::println;`. Those of the standard library write to nothing.
//! - **Errors and panics.** Functions return [`Result`]; `?` works on any error and on strings. An error fails the record
//!   that it belongs to, and so does a panic, which costs an instance as well.
//! - **State is cheap.** It is loaded and stored once per batch for all keys; `get` and `set` cost a few nanoseconds.
//!
//! # Kinds of functions
//!
//! | trait | handles |
//! |---|---|
//! | [`MapFunction`], [`FlatMapFunction`] | records, without state |
//! | [`KeyedProcessFunction`] | the records and timers of a key, with its state |
//! | [`CoProcessFunction`] | those of two inputs, which share state and timers |
//! | [`BroadcastProcessFunction`] | those of a keyed input, by rules that every subtask is sent |
//! | [`AggregateFunction`], [`ReduceFunction`] | the records of a window, folded as they arrive |
//! | [`ProcessWindowFunction`] | all elements of a window at once, with a state of the window's own |
//! | [`CoGroupFunction`], [`JoinFunction`] | the elements of a window of two inputs, all at once or pair by pair |
//! | [`IntervalJoinFunction`] | pairs of records of two inputs whose times lie close to each other |
//!
//! # Event time
//!
//! [`Context::watermark`](BaseContext::watermark) is the event time that the input has reached, [`Context::timestamp`](BaseContext::timestamp)
//! the time of the record. A keyed function registers **timers** for its key, in event time or in processing time; one
//! key has at most one per clock and time. Timers fire in order of their times, also those that a timer registers, and what they
//! emit precedes the watermark that made them due. **Windows** are the pipeline's: it says which window a record falls in and
//! when one fires; the function says what becomes of the records. A window's results carry the time of its last millisecond.
//!
//! ```
//! use cofferdam_sdk::prelude::*;
//!
//! const LAST: ValueState<i64> = ValueState::new("last");
//!
//! /// Names the keys of which nothing came for a minute.
//! #[derive(Default)]
//! struct Silent;
//!
//! #[function(states(LAST), timers(event))]
//! impl KeyedProcessFunction for Silent {
//!     type In = Bytes;
//!     type Out = Text;
//!
//!     fn process_element(&mut self, _: &[u8], ctx: &mut Context, _out: &mut Collector<Text>) -> Result {
//!         let time = ctx.timestamp().ok_or("a record has a time")?;
//!         if let Some(last) = ctx.state(LAST).get() {
//!             ctx.delete_event_timer(last + 60_000);
//!         }
//!         ctx.state(LAST).set(time);
//!         ctx.register_event_timer(time + 60_000);
//!         Ok(())
//!     }
//!
//!     fn on_timer(&mut self, _timer: Timer, ctx: &mut Context, out: &mut Collector<Text>) -> Result {
//!         ctx.state(LAST).clear();
//!         out.emit(ctx.key_str()?.to_owned());
//!         Ok(())
//!     }
//! }
//!
//! let mut harness = cofferdam_sdk::testing::Harness::<Silent>::new();
//! harness.push("a", "", 0)?;
//! harness.push("b", "", 30_000)?;
//! harness.push("a", "", 50_000)?;
//! harness.advance_watermark(100_000)?;
//! assert_eq!(harness.take_output()?, ["b"]);
//! # Ok::<(), FunctionError>(())
//! ```
//!
//! # Kinds of state
//!
//! | handle | holds |
//! |---|---|
//! | [`ValueState<T>`](ValueState) | one value per key |
//! | [`ListState<T>`](ListState) | a list per key |
//! | [`MapState<K, V>`](MapState) | a map per key, iterated in order of its keys, which are loaded one by one or page by page |
//! | [`ReducingState<T, R>`](ReducingState) | one value per key, with which each added one is reduced by `R`, such as [`Sum`] |
//! | [`AggregatingState<A>`](AggregatingState) | the accumulator of an [`Aggregator`] per key |
//! | [`BroadcastState<K, V>`](BroadcastState) | a map that every subtask holds whole: see [`BroadcastProcessFunction`] |
//!
//! **Time to live**: `ValueState::new("last").ttl(Ttl::hours(1))`, see [`Ttl`].
//!
//! **A type that changes.** A restore finds a state by its name and compares a fingerprint of the type. Keep the older type,
//! say how it becomes the new one, and name it on the state's const; it may be several:
//!
//! ```
//! # use cofferdam_sdk::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! #[derive(Clone, Serialize, Deserialize, StateType)]
//! struct StatsV1 {
//!     count: u32,
//! }
//!
//! #[derive(Clone, Serialize, Deserialize, StateType)]
//! struct Stats {
//!     count: u64,
//!     total: i64,
//! }
//!
//! impl From<StatsV1> for Stats {
//!     fn from(old: StatsV1) -> Stats {
//!         Stats { count: old.count.into(), total: 0 }
//!     }
//! }
//!
//! const STATS: ValueState<Stats> = ValueState::new("stats").migrate_from::<StatsV1>();
//! # let _ = STATS;
//! ```
//!
//! [`Harness::restore`](testing::Harness::restore) shows in a test that it works, from a snapshot of the function of before.
//!
//! # A crate with functions
//!
//! It has one [`export!`] line, and this in its `Cargo.toml` (`serde` where it derives):
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! cofferdam-sdk = "0.1"
//! serde = { version = "1", features = ["derive"] }
//! ```
//!
//! # What a function uses, it declares
//!
//! [`function`] on the `impl` is the one place: `#[function(name = "track", states(COUNT), broadcast(RULES),
//! side_outputs(LATE), timers(event))]`. The component describes itself from it, and using what is not named there panics with the words to add.

#![warn(missing_docs)]

extern crate self as cofferdam_sdk;

#[doc(hidden)]
pub mod bindings;
pub mod codec;
mod collector;
mod column;
mod context;
mod declaration;
mod export;
mod function;
mod host;
mod panic;
mod print;
mod runner;
mod shape;
mod state;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod timers;
mod window;

pub use bindings::cofferdam::function::context::TurnContext;
pub use bindings::cofferdam::function::log::Level;
pub use bindings::cofferdam::function::types::TimeDomain;
pub use cofferdam_sdk_macros::{StateType, function};
pub use collector::Collector;
pub use context::{BaseContext, BroadcastContext, Context, JoinContext, SideOutput, WindowContext};
#[doc(hidden)]
pub use declaration::Declaration;
#[doc(hidden)]
pub use export::{Exported, assert_distinct, describe};
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::{call, migrate};
#[doc(hidden)]
pub use function::kinds;
pub use function::{
    AggregateFunction, BroadcastProcessFunction, CoGroupFunction, CoProcessFunction, FlatMapFunction, Function,
    IntervalJoinFunction, JoinFunction, KeyedProcessFunction, MapFunction, ProcessWindowFunction, ReduceFunction,
    TwoInputs,
};
#[doc(hidden)]
pub use print::print_line;
pub use shape::{Shape, StateType};
pub use state::{
    AccumulatorState, AggregatingAccess, AggregatingState, Aggregator, Broadcast, BroadcastState, BroadcastView, Keyed,
    ListAccess, ListState, MapAccess, MapIter, MapKey, MapState, Max, Min, OrderedKey, Reducer, ReducingAccess,
    ReducingState, StateCodec, StateHandle, Sum, Ttl, ValueAccess, ValueState,
};
pub use timers::Timer;
pub use window::{Element, Elements, Window};

/// Why a function failed a record: any error, or a text. Made by `?`, by `"why".into()` or `format!(...).into()`.
pub type FunctionError = Box<dyn std::error::Error + Send + Sync>;

/// What functions return.
pub type Result<T = (), E = FunctionError> = std::result::Result<T, E>;

/// Everything that a function needs: `use cofferdam_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::codec::{Bytes, Csv, CsvRow, Json, Postcard, Row, Text};
    pub use crate::{
        AccumulatorState, AggregateFunction, AggregatingState, Aggregator, BaseContext, BroadcastContext,
        BroadcastProcessFunction, BroadcastState, CoGroupFunction, CoProcessFunction, Collector, Context, Element,
        Elements, FlatMapFunction, FunctionError, IntervalJoinFunction, JoinContext, JoinFunction,
        KeyedProcessFunction, Level, ListState, MapFunction, MapState, Max, Min, ProcessWindowFunction, ReduceFunction,
        Reducer, ReducingState, Result, SideOutput, StateType, Sum, TimeDomain, Timer, Ttl, ValueState, Window,
        WindowContext, function,
    };
}
