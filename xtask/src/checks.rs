//! `cargo xtask lint` and `cargo xtask test`: the checks that must pass before a change is merged. CI runs `test`.

use std::env;

use anyhow::Result;
use cofferdam_tests::{Example, S3};

use crate::web;
use crate::workspace::{Workspace, run, step, succeeds};

/// The crates of the host and those of the SDK, compiled by separate commands. Cargo merges the features of all
/// packages in one command, and the SDK's features of shared dependencies would compile wasmtime again.
const HOST_CRATES: &[&str] =
    &["-p", "cofferdam", "-p", "cofferdam-tests", "-p", "late-flights-expected", "-p", "xtask"];
const GUEST_CRATES: &[&str] = &[
    "-p",
    "cofferdam-sdk",
    "-p",
    "cofferdam-sdk-macros",
    "-p",
    "late-flights",
    "-p",
    "crossing",
    "-p",
    "flights",
    "-p",
    "keyed-count",
    "-p",
    "relay",
    "-p",
    "kinds",
    "-p",
    "event-time",
    "-p",
    "rows",
    "-p",
    "evolving",
];

#[derive(clap::Args)]
pub struct TestArguments {
    /// Skips the lints and reduces the crash runs, for quick iterations
    #[arg(long)]
    fast: bool,
    /// Passed to `cargo test`, such as `--test crash` or a part of a test's name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn test(workspace: &Workspace, arguments: &TestArguments) -> Result<()> {
    if !arguments.fast && arguments.arguments.is_empty() {
        lint(workspace)?;
    }
    workspace.build(&workspace.checkout.guests()?)?;
    if env::var_os("COFFERDAM_WITHOUT_S3").is_none() {
        step("install an S3-compatible server for the tests", || S3::install(&workspace.checkout).map(drop))?;
    }
    if arguments.arguments.is_empty() {
        step("test the SDK and the examples", || {
            run(workspace.cargo(&["test", "--release"]).args(guest_crates(workspace)?))
        })?;
        web::check_where_possible(workspace)?;
    }
    step("test", || {
        // A failure hides no other one.
        let mut command = workspace.cargo(&["test", "--release", "--no-fail-fast"]);
        command
            .args(HOST_CRATES)
            .args(&arguments.arguments)
            .env("COFFERDAM_TEST_COMPONENTS", workspace.checkout.components());
        if arguments.fast {
            command.env("COFFERDAM_CRASH_RUNS", "1");
        }
        run(&mut command)
    })
}

/// Returns the arguments that select the SDK's crates and the examples.
fn guest_crates(workspace: &Workspace) -> Result<Vec<String>> {
    let examples = Example::all(&workspace.checkout)?.into_iter().flat_map(|example| ["-p".to_owned(), example.name]);
    Ok(GUEST_CRATES.iter().map(|word| word.to_string()).chain(examples).collect())
}

pub fn lint(workspace: &Workspace) -> Result<()> {
    step("rustfmt", || run(&mut workspace.cargo(&["fmt", "--all", "--check"])))?;
    step("tidy", || {
        run(&mut workspace.cargo(&["test", "--quiet", "--release", "-p", "cofferdam-tests", "--test", "tidy"]))
    })?;
    let host_crates = HOST_CRATES.iter().map(|word| word.to_string()).collect();
    for crates in [host_crates, guest_crates(workspace)?] {
        step("clippy", || {
            let mut command = workspace.cargo(&["clippy", "--release", "--all-targets"]);
            run(command.args(&crates).args(["--", "-D", "warnings"]))
        })?;
    }
    step("clippy without Kafka", || {
        let arguments = ["clippy", "--release", "-p", "cofferdam", "--no-default-features", "--lib", "--bins"];
        run(workspace.cargo(&arguments).args(["--", "-D", "warnings"]))
    })?;
    if !succeeds(&mut workspace.cargo(&["deny", "--version"])) {
        eprintln!(
            "==> cargo-deny is not installed, so licences and sources are not checked. To install it: cargo install --locked cargo-deny"
        );
        return Ok(());
    }
    step("cargo deny", || run(&mut workspace.cargo(&["deny", "check", "bans", "licenses", "sources"])))?;
    step("cargo deny advisories", || {
        // The database needs the network. Without it, the check is skipped instead of failing.
        if !succeeds(&mut workspace.cargo(&["deny", "fetch", "db"])) {
            eprintln!("    the advisory database cannot be fetched, so advisories are not checked");
            return Ok(());
        }
        run(&mut workspace.cargo(&["deny", "check", "advisories"]))
    })
}
