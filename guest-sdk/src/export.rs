//! `export!`: what makes a crate's functions the functions of a component.
//!
//! Invariant: `describe` and the calls count functions in the same order, which is that of the `export!` line.

use crate::bindings::exports::cofferdam::function::function::{ComponentDescription, FunctionDescription};
use crate::declaration;
use crate::function::Function;
#[cfg(target_family = "wasm")]
use crate::{
    bindings::cofferdam::function::types::{Column, Failure},
    runner::{Run, Runner},
};

/// Exports functions as a component: `cofferdam_sdk::export!(Parse, Track);`, once per crate.
///
/// The crate is built as a `cdylib` for wasm. On other targets the line only checks that the types are functions and
/// their names distinct, so that the crate's tests run natively.
#[macro_export]
macro_rules! export {
    ($($function:ty),+ $(,)?) => {
        #[doc(hidden)]
        pub static COFFERDAM_FUNCTIONS: &[$crate::Exported] = &[$($crate::Exported::new::<$function>()),+];

        const _: () = $crate::assert_distinct(&[$(<$function as $crate::Function>::NAME),+]);

        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::cofferdam::function::types::{Batch, Column, Failure, Output};
            use $crate::bindings::exports::cofferdam::function::function::{ComponentDescription, DueTimers, Guest};

            struct Component;

            impl Guest for Component {
                fn describe() -> ComponentDescription {
                    $crate::describe(COFFERDAM_FUNCTIONS)
                }

                fn process(
                    function: u32,
                    input: u32,
                    batch: Batch,
                ) -> ::core::result::Result<::std::vec::Vec<Output>, Failure> {
                    $crate::process(COFFERDAM_FUNCTIONS, function, input, batch)
                }

                fn migrate(
                    function: u32,
                    state: u32,
                    schema: ::std::string::String,
                    values: Column,
                ) -> ::core::result::Result<Column, Failure> {
                    $crate::migrate(COFFERDAM_FUNCTIONS, function, state, &schema, &values)
                }

                fn on_timers(
                    function: u32,
                    timers: DueTimers,
                ) -> ::core::result::Result<::std::vec::Vec<Output>, Failure> {
                    $crate::on_timers(COFFERDAM_FUNCTIONS, function, timers)
                }
            }

            $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}

/// A function on the `export!` line.
#[doc(hidden)]
pub struct Exported {
    describe: fn() -> FunctionDescription,
    #[cfg(target_family = "wasm")]
    migrate: fn(u32, &str, &Column) -> Result<Column, Failure>,
    #[cfg(target_family = "wasm")]
    run: fn() -> Box<dyn Run>,
}

impl Exported {
    pub const fn new<F: Function>() -> Self {
        Exported {
            describe: declaration::describe::<F>,
            #[cfg(target_family = "wasm")]
            migrate: declaration::migrate::<F>,
            #[cfg(target_family = "wasm")]
            run: || Box::new(Runner::<F>::new(std::rc::Rc::new(crate::host::Imports))),
        }
    }
}

/// What the component says of itself.
#[doc(hidden)]
pub fn describe(functions: &[Exported]) -> ComponentDescription {
    declaration::describe_component(functions.iter().map(|exported| (exported.describe)()).collect())
}

/// Fails the build where two functions have the same name.
#[doc(hidden)]
pub const fn assert_distinct(names: &[&str]) {
    let mut i = 0;
    while i < names.len() {
        let mut j = i + 1;
        while j < names.len() {
            assert!(!same(names[i].as_bytes(), names[j].as_bytes()), "two exported functions have the same name");
            j += 1;
        }
        i += 1;
    }
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(target_family = "wasm")]
mod calls {
    use super::*;
    use crate::bindings::cofferdam::function::types::{Batch, Output};
    use crate::bindings::exports::cofferdam::function::function::DueTimers;
    use std::cell::RefCell;

    thread_local! {
        /// The functions of this instance that were called.
        static RUNNERS: RefCell<Vec<Option<Box<dyn Run>>>> = const { RefCell::new(Vec::new()) };
    }

    fn with_runner(
        functions: &[Exported],
        index: u32,
        call: impl FnOnce(&mut dyn Run) -> Result<Vec<Output>, Failure>,
    ) -> Result<Vec<Output>, Failure> {
        let index = index as usize;
        let exported = functions.get(index).ok_or_else(|| no_function(index))?;
        RUNNERS.with_borrow_mut(|runners| {
            if runners.is_empty() {
                crate::panic::install_hook();
                runners.resize_with(functions.len(), || None);
            }
            call(&mut **runners[index].get_or_insert_with(exported.run))
        })
    }

    fn no_function(index: usize) -> Failure {
        Failure { message: format!("the component has no function {index}"), record: None }
    }

    #[doc(hidden)]
    pub fn process(functions: &[Exported], index: u32, input: u32, batch: Batch) -> Result<Vec<Output>, Failure> {
        with_runner(functions, index, |runner| match input {
            0 => runner.process(batch),
            _ => runner.broadcast(batch),
        })
    }

    #[doc(hidden)]
    pub fn migrate(
        functions: &[Exported],
        index: u32,
        state: u32,
        schema: &str,
        values: &Column,
    ) -> Result<Column, Failure> {
        let exported = functions.get(index as usize).ok_or_else(|| no_function(index as usize))?;
        (exported.migrate)(state, schema, values)
    }

    #[doc(hidden)]
    pub fn on_timers(functions: &[Exported], index: u32, timers: DueTimers) -> Result<Vec<Output>, Failure> {
        with_runner(functions, index, |runner| runner.on_timers(timers))
    }
}

#[cfg(target_family = "wasm")]
pub use calls::{migrate, on_timers, process};
