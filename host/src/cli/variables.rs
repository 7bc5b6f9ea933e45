//! Variables of the environment. One that is empty counts as not set.

use std::ffi::OsStr;

use clap::{Arg, Command, CommandFactory, FromArgMatches};

/// Parses the arguments of the process and their variables. Ends the process if they are wrong, and for `--help`.
pub fn parse_arguments<C: CommandFactory + FromArgMatches>() -> C {
    let matches = without_empty_variables(C::command()).get_matches();
    C::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Returns the value of a variable, if it is text.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Takes from each argument its variable, if the variable is empty.
fn without_empty_variables(command: Command) -> Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let without = |argument: Arg| match argument.get_env().is_some_and(is_empty) {
        true => argument.env(None::<&str>),
        false => argument,
    };
    command.mut_args(without).mut_subcommands(without_empty_variables)
}
