//! `cargo xtask lint` and `cargo xtask test`: what must hold before a change is merged. CI runs `test`.

use anyhow::Result;

use crate::workspace::{Workspace, run, step, succeeds};

/// The components that the tests upload: crate and folder.
pub const TEST_COMPONENTS: &[(&str, &str)] = &[
    ("late-flights", "examples/late-flights"),
    ("misbehaving", "tests/guests/misbehaving"),
    ("ungranted", "tests/guests/ungranted"),
];

#[derive(clap::Args)]
pub struct TestArguments {
    /// For the loop of writing and trying: no lints, and a few crash runs in place of all.
    #[arg(long)]
    fast: bool,
    /// Handed on to `cargo test`, such as `--test crash` or a part of a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn test(workspace: &Workspace, arguments: &TestArguments) -> Result<()> {
    if !arguments.fast && arguments.arguments.is_empty() {
        lint(workspace)?;
    }
    workspace.build(TEST_COMPONENTS)?;
    step("test", || {
        let mut command = workspace.cargo(&["test", "--release", "--workspace"]);
        command.args(&arguments.arguments).env("COFFERDAM_TEST_COMPONENTS", workspace.place.components());
        if arguments.fast {
            command.env("COFFERDAM_CRASH_RUNS", "1");
        }
        run(&mut command)
    })
}

pub fn lint(workspace: &Workspace) -> Result<()> {
    step("rustfmt", || run(&mut workspace.cargo(&["fmt", "--all", "--check"])))?;
    step("tidy", || {
        run(&mut workspace.cargo(&["test", "--quiet", "--release", "-p", "cofferdam-tests", "--test", "tidy"]))
    })?;
    step("clippy", || {
        let targets = ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
        run(&mut workspace.cargo(&targets))
    })?;
    if !succeeds(&mut workspace.cargo(&["deny", "--version"])) {
        eprintln!(
            "==> cargo-deny is not installed, so licences and sources are not checked. Next: cargo install --locked cargo-deny"
        );
        return Ok(());
    }
    step("cargo deny", || run(&mut workspace.cargo(&["deny", "check", "bans", "licenses", "sources"])))?;
    step("cargo deny advisories", || {
        // Needs the network: without it the database cannot be fetched, which is no fault of the change.
        if !succeeds(&mut workspace.cargo(&["deny", "fetch", "db"])) {
            eprintln!("    the advisory database cannot be fetched here, so advisories are not checked");
            return Ok(());
        }
        run(&mut workspace.cargo(&["deny", "check", "advisories"]))
    })
}
