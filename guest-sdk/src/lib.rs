//! Write functions for Cofferdam, a stateful stream processor that runs them as WebAssembly components.
//!
//! This is a whole function. It counts the records of each key, and the count survives failures and restarts:
//!
//! ```
//! use cofferdam_sdk::prelude::*;
//!
//! #[derive(Function)]
//! struct Counter { count: ValueState<u64> }
//! #[function]
//! impl KeyedProcessFunction for Counter {
//!     type Key = String;
//!     type In = Text;
//!     type Out = Text;
//!     fn process_element(&mut self, _: &str, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
//!         let count = self.count.update(|count| { *count += 1; *count });
//!         out.emit(format!("{},{count}", ctx.key()));
//!         Ok(())
//!     }
//! }
//! # let mut harness = cofferdam_sdk::testing::Harness::<Counter>::new();
//! # harness.push("tea", "", 0)?;
//! # harness.push("tea", "", 0)?;
//! # assert_eq!(harness.take_output()?, ["tea,1", "tea,2"]);
//! # Ok::<(), cofferdam_sdk::FunctionError>(())
//! ```
//!
//! A crate names its functions once, `cofferdam_sdk::export!(Counter);`, and `cofferdam build` makes a component of it. Tests run
//! natively, without a host:
//!
//! ```
//! # use cofferdam_sdk::prelude::*;
//! # #[derive(Function)]
//! # struct Counter { count: ValueState<u64> }
//! # #[function]
//! # impl KeyedProcessFunction for Counter {
//! #     type Key = String;
//! #     type In = Text;
//! #     type Out = Text;
//! #     fn process_element(&mut self, _: &str, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
//! #         let count = self.count.update(|count| { *count += 1; *count });
//! #         out.emit(format!("{},{count}", ctx.key()));
//! #         Ok(())
//! #     }
//! # }
//! let mut harness = cofferdam_sdk::testing::Harness::<Counter>::new();
//! harness.push("tea", "a record", 0)?;
//! harness.push("tea", "another", 1)?;
//! assert_eq!(harness.take_output()?, ["tea,1", "tea,2"]);
//! # Ok::<(), cofferdam_sdk::FunctionError>(())
//! ```
//!
//! # What to know
//!
//! - **Only states survive.** The host may drop an instance between any two calls and continue with a new one. Plain fields are
//!   caches, or hold what `open` reads from the config.
//! - **A call is a turn.** The host passes a batch of records. Outputs, state and timers take effect together. If a record fails,
//!   none of them takes effect; the host then finds the bad record and runs the others again.
//! - **The context is the only clock.** A batch that runs again gives the same results. `SystemTime::now()` and `Instant::now()` panic;
//!   the time of the turn is [`Context::processing_time`]. There is no randomness.
//! - **`println!` goes to the job's log** in an `impl` with [`macro@function`], and so do `print!`, `eprintln!`, `eprint!` and `dbg!`. Other
//!   code imports them: `use cofferdam_sdk::println;`. The macros of the standard library write nowhere.
//! - **An error fails one record.** Functions return [`Result`]; `?` works on any error and on strings. A panic also fails the record, and
//!   costs an instance.
//! - **State is cheap.** It is loaded and stored once per batch for all keys; `get` and `set` cost a few nanoseconds.
//!
//! # Kinds of functions
//!
//! | trait | handles |
//! |---|---|
//! | [`MapFunction`], [`FlatMapFunction`] | records, without state |
//! | [`KeyedProcessFunction`] | the records and timers of a key, with its state |
//! | [`CoProcessFunction`] | the records of two inputs, which share state and timers |
//! | [`BroadcastProcessFunction`] | the records of a keyed input, by rules that go to every subtask |
//! | [`AggregateFunction`], [`ReduceFunction`] | the records of a window, folded as they arrive |
//! | [`ProcessWindowFunction`] | all elements of a window at once, with state of the window |
//! | [`CoGroupFunction`], [`JoinFunction`] | the elements of a window of two inputs, all at once or pair by pair |
//! | [`IntervalJoinFunction`] | pairs of records of two inputs whose timestamps are close to each other |
//!
//! [`Function`] is the base trait of all of them: the types of keys and records, `open` and `on_timer`.
//!
//! # Keys
//!
//! A pipeline's `key` says which part of a record is its key. The function says which type the key has: `type Key = String`, a number,
//! bytes or a tuple. [`KeyedContext::key`] returns it without a copy. [`Key`] lists the types and their bytes.
//!
//! # State
//!
//! A state is a field of a struct with `#[derive(Function)]`, and there is no other way to get one. A function therefore cannot use
//! a state that it does not declare:
//!
//! ```compile_fail,E0609
//! # use cofferdam_sdk::prelude::*;
//! #[derive(Function)]
//! struct Counter {
//!     count: ValueState<u64>,
//! }
//!
//! fn add(counter: &mut Counter) {
//!     counter.total.set(1); // error: no field `total` on type `&mut Counter`
//! }
//! ```
//!
//! ```
//! # use cofferdam_sdk::prelude::*;
//! #[derive(Function)]
//! struct Counter {
//!     count: ValueState<u64>,
//!     total: ValueState<u64>,
//! }
//!
//! fn add(counter: &mut Counter) {
//!     counter.total.set(1);
//! }
//! ```
//!
//! | field | holds |
//! |---|---|
//! | [`ValueState<T>`](ValueState) | one value per key |
//! | [`ListState<T>`](ListState) | a list per key |
//! | [`MapState<K, V>`](MapState) | a map per key, iterated in the order of its keys, loaded entry by entry or page by page |
//! | [`ReducingState<T, R>`](ReducingState) | one value per key, combined with each added value by `R`, such as [`Sum`] |
//! | [`AggregatingState<A>`](AggregatingState) | the accumulator of an [`Aggregator`] per key |
//! | [`BroadcastState<K, V>`](BroadcastState) | a map of which every subtask has a copy: see [`BroadcastProcessFunction`] |
//!
//! The name of the field in kebab-case is the name of the state. `#[state(...)]` gives a state another name, a [time to live](Ttl), or
//! older forms of its values.
//!
//! **A type that changes.** A restore finds a state by its name and compares a fingerprint of the type. Keep the older type, define how
//! it becomes the new one, and name it at the field:
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
//! #[derive(Function)]
//! struct Track {
//!     #[state(ttl = Duration::from_hours(24), migrate_from(StatsV1))]
//!     stats: ValueState<Stats>,
//! }
//! # #[function]
//! # impl KeyedProcessFunction for Track {
//! #     type Key = String;
//! #     type In = Bytes;
//! #     type Out = Bytes;
//! #     fn process_element(&mut self, _: &[u8], _: &mut KeyedContext<String>, _: &mut Collector<Bytes>) -> Result {
//! #         self.stats.update_or(|| Stats { count: 0, total: 0 }, |stats| stats.count += 1);
//! #         Ok(())
//! #     }
//! # }
//! # cofferdam_sdk::testing::Harness::<Track>::new().push("a", "", 0)?;
//! # Ok::<(), FunctionError>(())
//! ```
//!
//! [`Harness::restore`](testing::Harness::restore) shows in a test that it works, from a snapshot of the earlier function.
//!
//! # Event time
//!
//! [`Context::watermark`] is the event time that the input has reached, [`Context::timestamp`] the time of the record. A function of a key
//! registers **timers** for its key, in event time or in processing time; a key has at most one timer for each clock and time. Timers fire
//! in the order of their times, also those that a timer registers, and what they emit precedes the watermark that made them due.
//! **Windows** belong to the pipeline: it says in which window a record is and when a window fires; the function handles the
//! records. The results of a window have the timestamp of its last millisecond.
//!
//! ```
//! use cofferdam_sdk::prelude::*;
//!
//! const SILENCE: Duration = Duration::from_mins(1);
//!
//! /// Emits the keys without a record for a minute.
//! #[derive(Function)]
//! struct Silent {
//!     last: ValueState<Timestamp>,
//! }
//!
//! #[function(timers(event))]
//! impl KeyedProcessFunction for Silent {
//!     type Key = String;
//!     type In = Bytes;
//!     type Out = Text;
//!
//!     fn process_element(&mut self, _: &[u8], ctx: &mut KeyedContext<String>, _: &mut Collector<Text>) -> Result {
//!         let time = ctx.require_timestamp()?;
//!         if let Some(last) = self.last.get() {
//!             ctx.delete_event_time_timer(last + SILENCE);
//!         }
//!         self.last.set(time);
//!         ctx.register_event_time_timer(time + SILENCE);
//!         Ok(())
//!     }
//!
//!     fn on_timer(&mut self, _: Timer, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
//!         self.last.clear();
//!         out.emit(ctx.key());
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
//! # A crate with functions
//!
//! It has one [`export!`] line, and this in its `Cargo.toml` (`serde` for types that derive its traits):
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! cofferdam-sdk = "0.1"
//! serde = { version = "1", features = ["derive"] }
//! ```

#![deny(missing_docs)]

extern crate self as cofferdam_sdk;

#[doc(hidden)]
pub mod bindings;
pub mod codec;
mod collector;
mod column;
mod context;
mod declaration;
mod export;
mod fields;
mod function;
mod host;
mod key;
mod panic;
mod print;
mod runner;
mod shape;
mod side_output;
mod state;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod time;
mod timers;
mod turn_cursor;
mod window;

pub use bindings::cofferdam::function::context::TurnContext;
pub use bindings::cofferdam::function::log::Level;
pub use bindings::cofferdam::function::types::TimeDomain;
pub use cofferdam_sdk_macros::{Function, StateType, function};
pub use collector::Collector;
pub use context::{BroadcastContext, Context, JoinContext, KeyedContext};
#[doc(hidden)]
pub use declaration::{Declaration, SideOutputCodec};
#[doc(hidden)]
pub use export::{Exported, assert_distinct, describe};
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::{call, migrate};
#[doc(hidden)]
pub use fields::{Binder, Field, FieldType, FunctionFields};
#[doc(hidden)]
pub use function::kinds;
pub use function::{
    AggregateFunction, BroadcastProcessFunction, CoGroupFunction, CoProcessFunction, FlatMapFunction, Function,
    IntervalJoinFunction, JoinFunction, KeyedProcessFunction, MapFunction, ProcessWindowFunction, ReduceFunction,
    TwoInputs,
};
#[doc(hidden)]
pub use key::NoKey;
pub use key::{EncodeKey, Key, KeyError};
#[doc(hidden)]
pub use print::print_line;
pub use shape::{Shape, StateType};
pub use side_output::SideOutput;
pub use state::{
    AccumulatorState, AggregatingState, Aggregator, BroadcastState, ListState, MapIter, MapKey, MapState, Max, Min,
    OfAllSubtasks, OfOneKey, OrderedKey, Reducer, ReducingState, StateCodec, Sum, Ttl, ValueState,
};
#[doc(hidden)]
pub use state::{ExpiringState, StateField, StateOptions};
pub use time::Timestamp;
pub use timers::Timer;
pub use window::{Element, Elements, Window};

/// Why a function failed a record: any error, or a text. Made by `?`, by `"why".into()` or `format!(...).into()`.
pub type FunctionError = Box<dyn std::error::Error + Send + Sync>;

/// The return type of a function's methods.
pub type Result<T = (), E = FunctionError> = std::result::Result<T, E>;

/// Everything that a function needs: `use cofferdam_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::codec::{Bytes, Csv, CsvRow, Json, Postcard, Row, Text};
    pub use crate::{
        AccumulatorState, AggregateFunction, AggregatingState, Aggregator, BroadcastContext, BroadcastProcessFunction,
        BroadcastState, CoGroupFunction, CoProcessFunction, Collector, Context, Element, Elements, FlatMapFunction,
        Function, FunctionError, IntervalJoinFunction, JoinContext, JoinFunction, Key, KeyedContext,
        KeyedProcessFunction, Level, ListState, MapFunction, MapState, Max, Min, ProcessWindowFunction, ReduceFunction,
        Reducer, ReducingState, Result, SideOutput, StateType, Sum, TimeDomain, Timer, Timestamp, Ttl, ValueState,
        Window, function,
    };
    pub use std::time::Duration;
}
