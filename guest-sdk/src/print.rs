//! `println!` and similar macros for functions. The macros of the standard library write nowhere in a component.
//!
//! `#[function]` imports these macros into the methods of its `impl`; other code imports them itself: `use cofferdam_sdk::println;`. In
//! tests, which run natively, they do the same as the macros of the standard library.

use std::fmt;

use crate::Level;

/// Writes one line to the function's log, in the same way as `std::println!` writes it to stdout.
#[macro_export]
macro_rules! println {
    () => { $crate::print_line($crate::Level::Info, ::std::format_args!("")) };
    ($($text:tt)*) => { $crate::print_line($crate::Level::Info, ::std::format_args!($($text)*)) };
}

/// Writes one line to the function's log. A log has whole lines only.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => { $crate::print_line($crate::Level::Info, ::std::format_args!($($text)*)) };
}

/// Writes one line to the function's log, as a warning.
#[macro_export]
macro_rules! eprintln {
    () => { $crate::print_line($crate::Level::Warn, ::std::format_args!("")) };
    ($($text:tt)*) => { $crate::print_line($crate::Level::Warn, ::std::format_args!($($text)*)) };
}

/// Writes one line to the function's log, as a warning.
#[macro_export]
macro_rules! eprint {
    ($($text:tt)*) => { $crate::print_line($crate::Level::Warn, ::std::format_args!($($text)*)) };
}

/// Writes a value to the function's log and returns it, like `std::dbg!`.
#[macro_export]
macro_rules! dbg {
    () => { $crate::eprintln!("[{}:{}:{}]", ::std::file!(), ::std::line!(), ::std::column!()) };
    ($value:expr $(,)?) => {
        match $value {
            value => {
                $crate::eprintln!(
                    "[{}:{}:{}] {} = {:#?}",
                    ::std::file!(), ::std::line!(), ::std::column!(), ::std::stringify!($value), &value
                );
                value
            }
        }
    };
    ($($value:expr),+ $(,)?) => { ($($crate::dbg!($value)),+,) };
}

/// Writes a line. The macros call it.
#[doc(hidden)]
#[cfg(target_family = "wasm")]
pub fn print_line(level: Level, text: fmt::Arguments<'_>) {
    use crate::bindings::cofferdam::function::log;

    if log::enabled(level) {
        log::write(level, &text.to_string(), crate::panic::current_record());
    }
}

/// Writes a line. The macros call it.
#[doc(hidden)]
#[cfg(not(target_family = "wasm"))]
pub fn print_line(level: Level, text: fmt::Arguments<'_>) {
    match level {
        Level::Info => std::println!("{text}"),
        _ => std::eprintln!("{text}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macros_take_the_same_arguments_as_those_of_the_standard_library() {
        let name = "a";
        crate::println!();
        crate::println!("{name} {} {n:>3}", 1, n = 2);
        crate::eprintln!();
        crate::eprint!("{name:?}");
        crate::print!("{}", 1,);
        assert_eq!(crate::dbg!(1 + 1), 2);
        assert_eq!(crate::dbg!(1, "b"), (1, "b"));
        crate::dbg!();
    }
}
