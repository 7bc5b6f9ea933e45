//! Write functions for Cofferdam, a stateful stream processor that runs them as WebAssembly components.
//!
//! This is a whole function. It counts the flights of each aircraft and adds up their delays, and both survive failures and restarts:
//!
//! ```
//! use cofferdam_sdk::prelude::*;
//!
//! #[derive(Record)]
//! struct Flight { tailnum: String, dep_delay: Option<i32> }
//! #[derive(Debug, Clone, Default, PartialEq, Record)]
//! struct Delays { flights: u64, minutes: i64 }
//!
//! #[derive(Function)]
//! struct Track { delays: ValueState<Delays> }
//! #[function]
//! impl KeyedProcessFunction for Track {
//!     type Key = String;
//!     type In = Flight;
//!     type Out = Delays;
//!     fn process_element(&mut self, flight: Flight, _: &mut KeyedContext<String>, out: &mut Collector<Delays>) -> Result {
//!         let minutes = i64::from(flight.dep_delay.unwrap_or_default());
//!         self.delays.update(|delays| { delays.flights += 1; delays.minutes += minutes });
//!         Ok(self.delays.get().into_iter().for_each(|delays| out.emit(delays)))
//!     }
//! }
//! # let mut harness = cofferdam_sdk::testing::Harness::<Track>::new();
//! # harness.push("N14228", Flight { tailnum: "N14228".to_owned(), dep_delay: Some(2) }, 0)?;
//! # assert_eq!(harness.take_output()?, [Delays { flights: 1, minutes: 2 }]);
//! # Ok::<(), cofferdam_sdk::FunctionError>(())
//! ```
//!
//! A crate names its functions once, `cofferdam_sdk::export!(Track);`, and `cofferdam build` makes a component of it. Tests run
//! natively, without a host. They push and take records as values:
//!
//! ```
//! # use cofferdam_sdk::prelude::*;
//! # #[derive(Record)]
//! # struct Flight { tailnum: String, dep_delay: Option<i32> }
//! # #[derive(Debug, Clone, Default, PartialEq, Record)]
//! # struct Delays { flights: u64, minutes: i64 }
//! # #[derive(Function)]
//! # struct Track { delays: ValueState<Delays> }
//! # #[function]
//! # impl KeyedProcessFunction for Track {
//! #     type Key = String;
//! #     type In = Flight;
//! #     type Out = Delays;
//! #     fn process_element(&mut self, flight: Flight, _: &mut KeyedContext<String>, out: &mut Collector<Delays>) -> Result {
//! #         let minutes = i64::from(flight.dep_delay.unwrap_or_default());
//! #         self.delays.update(|delays| { delays.flights += 1; delays.minutes += minutes });
//! #         Ok(self.delays.get().into_iter().for_each(|delays| out.emit(delays)))
//! #     }
//! # }
//! let mut harness = cofferdam_sdk::testing::Harness::<Track>::new();
//! for dep_delay in [Some(2), None, Some(-3)] {
//!     harness.push("N14228", Flight { tailnum: "N14228".to_owned(), dep_delay }, 0)?;
//! }
//! assert_eq!(harness.take_output()?.last(), Some(&Delays { flights: 3, minutes: -1 }));
//! # Ok::<(), cofferdam_sdk::FunctionError>(())
//! ```
//!
//! # Records
//!
//! A **record** is a struct with [`derive(Record)`](derive@Record). Between functions it is a **row**: typed fields with names. A function
//! declares the fields that it reads and those that it emits. The host decodes CSV or JSON once, and hands over only these fields, so the same
//! component runs over CSV, JSON and the output of another function. Sinks write rows as JSON or CSV.
//!
//! | `type In`, `type Out` | the function gets | the function emits |
//! |---|---|---|
//! | a record | the record | the record, or a reference to it |
//! | a record that borrows, `Flight<'static>` | a `Flight<'_>`, read without allocations | a `Flight<'_>` or its owned twin `OwnedFlight` |
//! | [`Json<T>`](codec::Json) | a `T` | a `T` or a `&T` |
//! | [`Text`](codec::Text), [`Bytes`](codec::Bytes) | the record as it is, a `&str` or `&[u8]` | text or bytes |
//!
//! A type that is no record does not compile as one:
//!
//! ```compile_fail,E0277
//! # use cofferdam_sdk::prelude::*;
//! struct Flight {
//!     tailnum: String,
//! }
//!
//! #[derive(Default)]
//! struct Names;
//!
//! #[function]
//! impl MapFunction for Names {
//!     type In = Flight; // error: `Flight` cannot be the input of a function; an input is a struct with `#[derive(Record)]`
//!     type Out = Text;
//!
//!     fn map(&mut self, flight: Flight, _: &mut Context) -> Result<String> {
//!         Ok(flight.tailnum)
//!     }
//! }
//! ```
//!
//! ```
//! # use cofferdam_sdk::prelude::*;
//! #[derive(Record)]
//! struct Flight<'a> {
//!     tailnum: &'a str,
//! }
//!
//! #[derive(Default)]
//! struct Names;
//!
//! #[function]
//! impl MapFunction for Names {
//!     type In = Flight<'static>;
//!     type Out = Text;
//!
//!     fn map(&mut self, flight: Flight, _: &mut Context) -> Result<String> {
//!         Ok(flight.tailnum.to_lowercase())
//!     }
//! }
//! # let mut harness = cofferdam_sdk::testing::Harness::<Names>::new();
//! # harness.push("", Flight { tailnum: "N1" }, 0)?;
//! # assert_eq!(harness.take_output()?, ["n1"]);
//! # Ok::<(), FunctionError>(())
//! ```
//!
//! So does a field of a type that rows do not have, `Option<Option<T>>`, and a state or an `Out` of another type.
//!
//! ```compile_fail,E0277
//! # use cofferdam_sdk::prelude::*;
//! #[derive(Record)]
//! struct Flight {
//!     seat: (u32, char), // error: `(u32, char)` cannot be a field of a record
//! }
//! ```
//!
//! ```compile_fail,E0277
//! # use cofferdam_sdk::prelude::*;
//! fn emit(out: &mut Collector<Text>) {
//!     out.emit(5); // error: the codec `Text` does not write a `{integer}`
//! }
//! ```
//!
//! # What to know
//!
//! - **Only states survive.** The host may drop an instance between any two calls and continue with a new one. Plain fields are
//!   caches, or hold what `open` reads from the config.
//! - **A call is a turn.** The host passes a batch of records. Outputs, state and timers take effect together. If a record fails,
//!   none of them takes effect; the host then finds the bad record and runs the others again.
//! - **The context is the only clock.** A batch that runs again gives the same results. `SystemTime::now()` and `Instant::now()` panic;
//!   the time of the turn is [`Context::processing_time`]. [`Context::random`] is the only randomness.
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
//! A function can also choose the key of each record that it emits, for a pipeline with `key = "emitted"`. It names their type, so that the
//! pipeline is checked before it runs:
//!
//! ```
//! # use cofferdam_sdk::prelude::*;
//! #[derive(Default)]
//! struct ByLength;
//!
//! #[function]
//! impl FlatMapFunction for ByLength {
//!     type In = Text;
//!     type Out = Text;
//!     type OutKey = u64;
//!
//!     fn flat_map(&mut self, text: &str, _: &mut Context, out: &mut Collector<Text, u64>) -> Result {
//!         out.emit_keyed(text.len() as u64, text);
//!         Ok(())
//!     }
//! }
//! # let mut harness = cofferdam_sdk::testing::Harness::<ByLength>::new();
//! # harness.push("", "tea", 0)?;
//! # assert_eq!(harness.take_emitted()?[0].key.as_deref(), Some(&b"3"[..]));
//! # Ok::<(), FunctionError>(())
//! ```
//!
//! ```compile_fail,E0277
//! # use cofferdam_sdk::prelude::*;
//! fn flat_map(text: &str, out: &mut Collector<Text>) {
//!     out.emit_keyed((), text); // error: the function does not say which type the keys have that it chooses
//! }
//! ```
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
//! A state holds records, numbers, text, lists, tuples and maps of these. Another struct or an enum derives
//! [`StateType`](derive@StateType) and serde's traits.
//!
//! **A type that changes.** A restore finds a state by its name and compares a fingerprint of the type. Keep the older type, define how
//! it becomes the new one, and name it at the field:
//!
//! ```
//! # use cofferdam_sdk::prelude::*;
//! #[derive(Clone, Record)]
//! struct StatsV1 {
//!     count: u32,
//! }
//!
//! #[derive(Clone, Record)]
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
//! [`Harness::restore`](testing::Harness::restore) shows in a test that it works, from a snapshot of the earlier function. If the older type
//! also has a `From` of the new one, `migrate_to(StatsV1)` lets the earlier version of the function continue.
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
//! It has one [`export!`] line, and this in its `Cargo.toml`. Types that derive serde's traits, for `Json<T>` and some states, need `serde`:
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

mod attributes;
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
#[doc(hidden)]
pub mod record;
mod runner;
mod shape;
mod side_output;
mod state;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod time;
mod timers;
mod times;
mod turn_cursor;
mod window;

pub use attributes::Attributes;
pub use bindings::cofferdam::function::context::TurnContext;
pub use bindings::cofferdam::function::log::Level;
pub use bindings::cofferdam::function::types::TimeDomain;
pub use cofferdam_sdk_macros::{Function, Record, StateType, function};
pub use collector::{Collector, EmittedRecord};
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
pub use key::{ChosenKey, EncodeKey, Key, KeyError, KeyPart};
#[doc(hidden)]
pub use print::print_line;
pub use record::{Date, JsonText, RecordField};
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
    pub use crate::codec::{Bytes, Json, Postcard, Text};
    pub use crate::{
        AccumulatorState, AggregateFunction, AggregatingState, Aggregator, BroadcastContext, BroadcastProcessFunction,
        BroadcastState, CoGroupFunction, CoProcessFunction, Collector, Context, Date, Element, Elements,
        FlatMapFunction, Function, FunctionError, IntervalJoinFunction, JoinContext, JoinFunction, JsonText, Key,
        KeyedContext, KeyedProcessFunction, Level, ListState, MapFunction, MapState, Max, Min, ProcessWindowFunction,
        Record, ReduceFunction, Reducer, ReducingState, Result, SideOutput, StateType, Sum, TimeDomain, Timer,
        Timestamp, Ttl, ValueState, Window, function,
    };
    pub use std::time::Duration;
}
