//! The procedural macros of `cofferdam-sdk`: `#[derive(Function)]`, `#[function]` and `#[derive(StateType)]`. They are used through
//! that crate.
//!
//! Invariant: generated code names everything by its full path, so that it works whatever the user imports.

#![deny(missing_docs)]

mod fields;
mod function;
mod names;
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

/// Lets a struct or enum be kept in state. Its fingerprint consists of the names and types of its fields, in order, and of the
/// names of its variants; the name of the type itself does not matter.
#[proc_macro_derive(StateType)]
pub fn state_type(item: TokenStream) -> TokenStream {
    state_type::expand(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
