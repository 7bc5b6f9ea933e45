//! The procedural macros of `cofferdam-sdk`: `#[function]` and `#[derive(StateType)]`. They are used through that crate.
//!
//! Invariant: what a macro writes names everything by its full path, so that it works whatever the user imported.

mod function;
mod state_type;

use proc_macro::TokenStream;

/// Makes a type a function that `export!` takes. It goes on the `impl` of one of the SDK's function traits, and is the one
/// place where a function says what it uses:
///
/// ```text
/// #[function(
///     name = "track",              // by default the type's name in kebab-case
///     states(STATS, LAST),         // consts of type ValueState, ListState, MapState, ReducingState, AggregatingState
///     broadcast(RULES),            // consts of type BroadcastState, for a BroadcastProcessFunction
///     side_outputs(LATE),          // consts of type SideOutput
///     timers(event, processing),   // the clocks on which it registers timers; not for windows and joins
/// )]
/// ```
#[proc_macro_attribute]
pub fn function(arguments: TokenStream, item: TokenStream) -> TokenStream {
    function::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Lets a struct or enum be kept in state. Its fingerprint is made of the names and types of its fields, in order, and of
/// the names of its variants; the name of the type itself does not matter.
#[proc_macro_derive(StateType)]
pub fn state_type(item: TokenStream) -> TokenStream {
    state_type::expand(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
