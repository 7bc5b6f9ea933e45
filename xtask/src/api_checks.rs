//! `cargo xtask api`: schemathesis sends what the OpenAPI description allows, and what it does not, to a server with tokens.
//!
//! It runs once for each role, with all its checks. `ignored_auth` is one of them: each operation is also sent without a token and with a
//! wrong one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cofferdam_tests::Server;

use crate::pypi;
use crate::workspace::{Workspace, run, step};

const PACKAGE: &str = "schemathesis==4.32.5";
/// The component that is uploaded: its name and its folder.
const COMPONENT: (&str, &str) = ("count-to-ten", "examples/count-to-ten");
/// Says what schemathesis sends as bodies that are not JSON.
const HOOKS: &str = include_str!("schemathesis_hooks.py");
const ROLES: [&str; 3] = ["admin", "submit", "read"];

#[derive(clap::Args)]
pub struct Arguments {
    /// Number of generated requests for each operation
    #[arg(long, default_value_t = 50)]
    examples: u32,
    /// Seed of the generated requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn check(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let program = pypi::program(workspace, PACKAGE, "schemathesis")?;
    workspace.build(&[COMPONENT])?;
    let folder = workspace.checkout.fresh_dir("api")?;
    fs::create_dir_all(folder.join("data"))?;
    fs::write(folder.join("schemathesis_hooks.py"), HOOKS)?;
    let binary = workspace.checkout.cofferdam();
    let tokens = ROLES.iter().map(|role| Ok((*role, token(&binary, &folder, role)?))).collect::<Result<Vec<_>>>()?;
    let server = Server::start(&binary, &folder, &[])?;
    for (role, token) in tokens {
        step(&format!("schemathesis as {role}"), || {
            let mut command = Command::new(&program);
            command.args(["run", &format!("{}/v1/openapi.json", server.api.base())]);
            command.args(["--phases", "examples,coverage,fuzzing,stateful", "--checks", "all"]);
            // A stream has no end that a check could wait for. `host/src/http/stream/` has its tests.
            command.args(["--exclude-path", "/v1/stream"]);
            command.args(["--max-examples", &arguments.examples.to_string(), "--seed", &arguments.seed.to_string()]);
            command.args(["--header", &format!("Authorization: Bearer {token}"), "--no-color"]);
            // The hooks are a module of this folder.
            command.env("SCHEMATHESIS_HOOKS", "schemathesis_hooks").env("PYTHONPATH", &folder);
            command.env(
                "COFFERDAM_API_COMPONENT",
                workspace.checkout.components().join(COMPONENT.0).with_extension("wasm"),
            );
            run(command.current_dir(&folder))
        })?;
    }
    Ok(())
}

/// Creates a token in the data folder.
fn token(binary: &Path, folder: &Path, role: &str) -> Result<String> {
    let mut command = Command::new(binary);
    command.args(["token", "create", "--role", role, "--data-dir"]).arg(folder.join("data"));
    let output = command.output().context("cannot create a token")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
