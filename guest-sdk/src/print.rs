//! `println!` and its kin for functions. Those of the standard library write to nothing in a component.
//!
//! `#[function]` brings these into the methods of its `impl`; other code imports them: `use cofferdam_sdk::println;`. In tests,
//! which run natively, they do what the standard library's do.

use std::fmt;

use crate::Level;

/// Writes one line to the function's log, as `std::println!` writes it to stdout.
#[macro_export]
macro_rules! println {
    () => { $crate::print_line($crate::Level::Info, ::std::format_args!("")) };
    ($($text:tt)*) => { $crate::print_line($crate::Level::Info, ::std::format_args!($($text)*)) };
}

/// Writes one line to the function's log, since a log has no parts of lines.
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

/// Writes a value to the function's log and returns it, as `std::dbg!` does.
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

/// What the macros call.
#[doc(hidden)]
#[cfg(target_family = "wasm")]
pub fn print_line(level: Level, text: fmt::Arguments<'_>) {
    crate::bindings::cofferdam::function::log::write(level, &text.to_string(), crate::panic::current_record());
}

/// What the macros call.
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
    fn the_macros_take_what_those_of_the_standard_library_take() {
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
