//! `cargo xtask`: every command that people and CI use. See `cargo xtask --help`.
//!
//! It is built in the dev profile, in seconds; everything that it builds uses the release profile, so that RocksDB and
//! wasmtime are compiled once.

#![allow(clippy::disallowed_methods)] // It is no part of the engine: it reads the clock to say how long things took.

mod baseline;
mod bench;
mod checks;
mod crash;
mod demo;
mod example;
mod peer;
mod setup;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every command that people and CI use", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs 336,776 real flights through a server that is killed twice, and checks the result.
    Demo(demo::Arguments),
    /// Builds and runs one of the examples, and compares its result with what it should be; without a name lists them.
    Example(example::Arguments),
    /// Kills a server at random in many rounds, and compares what its jobs commit with a plain model.
    Crash(crash::Arguments),
    /// Runs everything that CI runs: formatting, lints, all tests.
    Test(checks::TestArguments),
    /// Runs a benchmark; prints a table and writes bench/NAME.json in the target folder.
    Bench(bench::Arguments),
    /// Runs the checks that need no test: rustfmt, clippy, tidy, cargo-deny where it is installed.
    Lint,
    /// Installs what is missing to build: libclang, a C++ compiler, Rust's wasm target.
    Setup,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let workspace = setup::run(Workspace::new())?;
    match command {
        Command::Demo(arguments) => demo::run(&workspace, &arguments),
        Command::Example(arguments) => example::run(&workspace, &arguments),
        Command::Crash(arguments) => crash::run(&workspace, &arguments),
        Command::Test(arguments) => checks::test(&workspace, &arguments),
        Command::Bench(arguments) => bench::run(&workspace, &arguments),
        Command::Lint => checks::lint(&workspace),
        Command::Setup => {
            println!("everything that building needs is there");
            Ok(())
        }
    }
}
