//! `export!`: makes the functions of a crate the functions of a component.
//!
//! Invariant: `describe` and the calls count functions in the same order, the order of the `export!` line.

use crate::bindings::exports::cofferdam::function::guest::{ComponentDescription, FunctionDescription};
use crate::declaration;
use crate::function::Function;
#[cfg(target_family = "wasm")]
use crate::{
    bindings::cofferdam::function::types::{Column, Failure},
    bindings::exports::cofferdam::function::guest::Form,
    function::Kind,
    runner::Run,
};

/// Exports functions as a component: `cofferdam_sdk::export!(Parse, Track);`, once per crate.
///
/// The crate is built as a `cdylib` for Wasm. On other targets, where the crate's tests run, the line only checks that the types are
/// functions with distinct names.
#[macro_export]
macro_rules! export {
    ($($function:ty),+ $(,)?) => {
        #[doc(hidden)]
        pub static COFFERDAM_FUNCTIONS: &[$crate::Exported] = &[$($crate::Exported::new::<$function>()),+];

        const _: () = $crate::assert_distinct(&[$(<$function as $crate::Function>::NAME),+]);

        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::cofferdam::function::types::{
                Batch, Column, Failure, Output, RecordValues, Timestamps, Windows,
            };
            use $crate::bindings::exports::cofferdam::function::{
                aggregate, guest, join, migration, timer_handler, window,
            };

            type Returned<T> = ::core::result::Result<T, Failure>;

            struct Component;

            impl guest::Guest for Component {
                fn describe() -> guest::ComponentDescription {
                    $crate::describe(COFFERDAM_FUNCTIONS)
                }

                fn process(function: u32, input: u32, batch: Batch) -> Returned<::std::vec::Vec<Output>> {
                    $crate::call(COFFERDAM_FUNCTIONS, function, |function| function.process(input, batch))
                }
            }

            impl timer_handler::Guest for Component {
                fn on_timers(function: u32, timers: timer_handler::DueTimers) -> Returned<::std::vec::Vec<Output>> {
                    $crate::call(COFFERDAM_FUNCTIONS, function, |function| function.on_timers(timers))
                }
            }

            impl migration::Guest for Component {
                fn migrate(
                    function: u32,
                    state: u32,
                    stored: guest::Form,
                    wanted: guest::Form,
                    values: migration::StoredValues,
                ) -> Returned<Column> {
                    $crate::migrate(COFFERDAM_FUNCTIONS, function, state, [&stored, &wanted], &values.values)
                }
            }

            impl aggregate::Guest for Component {
                fn add(
                    function: u32,
                    accumulators: Column,
                    accumulator_of: ::std::vec::Vec<u32>,
                    values: RecordValues,
                    timestamps: Timestamps,
                ) -> Returned<Column> {
                    $crate::call(COFFERDAM_FUNCTIONS, function, |function| {
                        function.add(accumulators, accumulator_of, values, timestamps)
                    })
                }

                fn merge(function: u32, left: Column, right: Column) -> Returned<Column> {
                    $crate::call(COFFERDAM_FUNCTIONS, function, |function| function.merge(left, right))
                }

                fn finish(function: u32, accumulators: Column, windows: Windows) -> Returned<RecordValues> {
                    $crate::call(COFFERDAM_FUNCTIONS, function, |function| function.finish(accumulators, windows))
                }
            }

            impl window::Guest for Component {
                fn process(
                    function: u32,
                    windows: Windows,
                    inputs: ::std::vec::Vec<window::Elements>,
                ) -> Returned<::std::vec::Vec<Output>> {
                    $crate::call(COFFERDAM_FUNCTIONS, function, |function| function.process_windows(windows, inputs))
                }
            }

            impl join::Guest for Component {
                fn process(function: u32, pairs: join::Pairs) -> Returned<::std::vec::Vec<Output>> {
                    $crate::call(COFFERDAM_FUNCTIONS, function, |function| function.join(pairs))
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
    migrate: fn(u32, &Form, &Form, &Column) -> Result<Column, Failure>,
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
            run: || F::Kind::run(std::rc::Rc::new(crate::host::Imports)),
        }
    }
}

/// Describes the component.
#[doc(hidden)]
pub fn describe(functions: &[Exported]) -> ComponentDescription {
    #[cfg(target_family = "wasm")]
    crate::panic::install_hook();
    declaration::describe_component(functions.iter().map(|exported| (exported.describe)()).collect())
}

/// Fails the build if two functions have the same name.
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
    use std::cell::RefCell;

    thread_local! {
        /// The functions that were called in this instance.
        static RUNNERS: RefCell<Vec<Option<Box<dyn Run>>>> = const { RefCell::new(Vec::new()) };
    }

    /// Calls function `index`. Makes it before its first call.
    #[doc(hidden)]
    pub fn call<T>(
        functions: &[Exported],
        index: u32,
        call: impl FnOnce(&mut dyn Run) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
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
        crate::times::malformed(format!("the component has no function {index}"))
    }

    #[doc(hidden)]
    pub fn migrate(
        functions: &[Exported],
        index: u32,
        state: u32,
        [stored, wanted]: [&Form; 2],
        values: &Column,
    ) -> Result<Column, Failure> {
        crate::panic::install_hook();
        let exported = functions.get(index as usize).ok_or_else(|| no_function(index as usize))?;
        (exported.migrate)(state, stored, wanted, values)
    }
}

#[cfg(target_family = "wasm")]
pub use calls::{call, migrate};
