//! `cargo xtask`: the commands for developers and CI. See `cargo xtask --help`.
//!
//! The program itself uses the dev profile and compiles in seconds. Everything it builds uses the release profile, so
//! that RocksDB and wasmtime are compiled once.

#![allow(clippy::disallowed_methods)] // Not part of the engine; it reads the clock to report durations.

mod api_checks;
mod baseline;
mod bench;
mod checks;
mod crash;
mod demo;
mod docs;
mod example;
mod fail_points;
mod fuzz;
mod kafka;
mod languages;
mod peer;
mod pypi;
mod setup;
mod web;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Commands for developers and CI", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Processes 336,776 real flights while the server is killed twice, and checks the result.
    Demo(demo::Arguments),
    /// Builds and runs an example and compares its result with the expected one. Lists the examples if no name is
    /// given.
    Example(example::Arguments),
    /// Kills a server at random and at its fail points in many rounds, and compares the committed output with a plain model.
    Crash(crash::Arguments),
    /// Runs the fuzz targets: parsers of untrusted bytes.
    Fuzz(fuzz::Arguments),
    /// Runs everything that CI runs: formatting, lints, all tests.
    Test(checks::TestArguments),
    /// Runs a benchmark, prints a table and writes bench/NAME.json in the target folder.
    Bench(bench::Arguments),
    /// Builds functions in C, TypeScript and Python, and runs them through a kill and with fresh instances.
    Languages(languages::Arguments),
    /// Checks the HTTP API against its description with schemathesis, as each role.
    Api(api_checks::Arguments),
    /// Starts and stops an Apache Kafka broker on loopback, and works with its topics.
    Kafka(kafka::Arguments),
    /// Runs the checks that are not tests: rustfmt, clippy, tidy, and cargo-deny if it is installed.
    Lint,
    /// Writes and checks the schema of the pipeline file, manual pages and completions of shells. The latter two are below docs in the target
    /// folder.
    Docs(docs::Arguments),
    /// Builds the dashboard, and tests it in a browser. Needs Node.js, unlike everything else.
    Web(web::Arguments),
    /// Installs missing build requirements: libclang, a C++ compiler, Rust's wasm target.
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
    let workspace = match &command {
        // Needs no compiler.
        Command::Kafka(_) => Workspace::new(),
        Command::Web(web) if !web.needs_server() => Workspace::new(),
        _ => setup::run(Workspace::new())?,
    };
    match command {
        Command::Demo(arguments) => demo::run(&workspace, &arguments),
        Command::Example(arguments) => example::run(&workspace, &arguments),
        Command::Crash(arguments) => crash::run(&workspace, &arguments),
        Command::Fuzz(arguments) => fuzz::run_targets(&workspace, &arguments),
        Command::Test(arguments) => checks::test(&workspace, &arguments),
        Command::Bench(arguments) => bench::run(&workspace, &arguments),
        Command::Languages(arguments) => languages::run_all(&workspace, &arguments),
        Command::Api(arguments) => api_checks::check(&workspace, &arguments),
        Command::Kafka(arguments) => kafka::run(&workspace, &arguments),
        Command::Docs(arguments) => docs::write(&workspace, &arguments),
        Command::Web(arguments) => web::build(&workspace, &arguments),
        Command::Lint => checks::lint(&workspace),
        Command::Setup => {
            println!("all build requirements are installed");
            Ok(())
        }
    }
}
