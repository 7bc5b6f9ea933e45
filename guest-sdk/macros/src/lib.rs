//! The procedural macros of `cofferdam-sdk`: `#[derive(Function)]`, `#[function]`, `#[derive(Record)]` and `#[derive(StateType)]`. They
//! are used through that crate.
//!
//! Invariant: generated code names everything by its full path, so that it works whatever the user imports.

#![deny(missing_docs)]

mod fields;
mod function;
mod names;
mod record;
mod state_type;

use proc_macro::TokenStream;

/// Makes a struct the struct of a function, and declares its states and side outputs.
///
/// Each field that is a state or a side output is declared. Its name in kebab-case is its name in the pipeline, in checkpoints and in
/// `cofferdam state`. All other fields get their `Default`. They are caches, because the host may drop an instance between any two
/// calls. A struct without states and side outputs may derive `Default` instead; a struct cannot derive both.
///
/// ```text
/// #[derive(Function)]
/// struct Track {
///     stats: ValueState<Stats>,
///
///     #[state(
///         name = "last",                        // instead of the field's name
///         ttl = Duration::from_hours(1),        // or a `Ttl` with further options
///         migrate_from(Old, Older as Json<Older>), // older forms of its values; `as` names another codec
///         migrate_to(Old),                      // older forms as which values can be rewritten, for an earlier version
///     )]
///     last_delays: ListState<i32>,
///
///     #[side_output(name = "too-late")]
///     late: SideOutput<Text>,
///
///     keep: usize,
/// }
/// ```
///
/// States are recognized by the names of their types (`ValueState`, `ListState`, `MapState`, `ReducingState`, `AggregatingState`,
/// `BroadcastState`), and side outputs by `SideOutput`. A field whose type has another name, such as an alias, needs `#[state]` or
/// `#[side_output]`.
#[proc_macro_derive(Function, attributes(state, side_output))]
pub fn derive_function(item: TokenStream) -> TokenStream {
    fields::expand(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Goes on the `impl` of one of the SDK's function traits and makes the type a function that `export!` takes.
///
/// ```text
/// #[function(
///     name = "track",              // by default the type's name in kebab-case
///     timers(event, processing),   // the clocks on which it registers timers; not for windows and joins
/// )]
/// ```
///
/// The items that all functions have in common (`type Key`, `type In`, `type Out`, `fn open`, `fn on_timer`) are written in the same
/// `impl`. They belong to the trait `Function`, and this attribute moves them there.
#[proc_macro_attribute]
pub fn function(arguments: TokenStream, item: TokenStream) -> TokenStream {
    function::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct a record: the type of rows that functions read, emit, and keep in state.
///
/// The fields of the struct are the fields of the row, by their names. The order does not matter between functions. A row may have more
/// fields than the record that reads it.
///
/// ```text
/// #[derive(Record)]
/// struct Flight {
///     tailnum: String,
///     #[record(rename = "dep delay")]     // the name in rows, if it is not the field's
///     dep_delay: Option<i32>,             // may be missing
///     #[record(alias = "org")]            // an older name
///     origin: String,
///     #[record(default = 1)]              // for rows without the field
///     seats: u32,
/// }
/// ```
///
/// | type of a field | type in rows |
/// |---|---|
/// | `bool`, `i8` to `i64`, `u8` to `u64`, `f32`, `f64` | the same |
/// | `String`, `&'a str` | `string` |
/// | `Vec<u8>`, `&'a [u8]` | `bytes` |
/// | `Timestamp`, `Date` | `timestamp`, `date` |
/// | `JsonText`, `JsonText<&'a str>` | `json` |
/// | `Option<T>` | `T?` |
/// | `Vec<T>` | `list<T>` |
/// | `BTreeMap<String, T>`, `HashMap<String, T>` | `map<T>` |
/// | another record | `{name:T,...}` |
///
/// A record that borrows from the row is read without allocations. Its codec is the type with `'static`:
///
/// ```text
/// #[derive(Record)]
/// struct Flight<'a> {
///     tailnum: &'a str,
///     dep_delay: Option<i32>,
/// }
///
/// type In = Flight<'static>;              // the function gets a `Flight<'_>`
/// ```
///
/// The derive makes its owned twin, `OwnedFlight`, which has the same fields with `String` instead of `&str`. The twin is a record too.
/// Records that it contains must implement `Debug`, `Clone` and `PartialEq`, as the twin does.
///
/// A record that owns its memory is also a `StateType`: it is stored as a row.
#[proc_macro_derive(Record, attributes(record))]
pub fn derive_record(item: TokenStream) -> TokenStream {
    record::expand(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Lets a struct or enum be kept in state. Its fingerprint consists of the names and types of its fields, in order, and of the
/// names of its variants; the name of the type itself does not matter.
#[proc_macro_derive(StateType)]
pub fn state_type(item: TokenStream) -> TokenStream {
    state_type::expand(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
