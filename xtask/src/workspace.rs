//! The checkout in which commands run: runs Cargo and builds the binary and the components.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use cofferdam_tests::Checkout;

/// The checkout, and the environment that Cargo needs.
pub struct Workspace {
    pub checkout: Checkout,
    environment: Vec<(&'static str, OsString)>,
}

impl Workspace {
    pub fn new() -> Workspace {
        Workspace { checkout: Checkout::current(), environment: Vec::new() }
    }

    /// Sets a variable for all later commands.
    pub fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.environment.push((name, value.into()));
    }

    /// Returns a command in the workspace's root.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.checkout.root).envs(self.environment.iter().cloned());
        command.env("CARGO_TARGET_DIR", &self.checkout.target);
        command
    }

    /// Returns a command for the Cargo that runs this program.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments);
        command
    }

    /// Builds the host's binary, the program that computes the expected result of late-flights, and the components
    /// `crates`, which are folders below the root.
    pub fn build<S: AsRef<str>>(&self, crates: &[(S, S)]) -> Result<()> {
        step("build cofferdam (the first time takes about a quarter of an hour: RocksDB and wasmtime)", || {
            run(&mut self.cargo(&["build", "--release", "-p", "cofferdam", "-p", "late-flights-expected"]))
        })?;
        fs::create_dir_all(self.checkout.components())?;
        for (name, folder) in crates {
            let (name, folder) = (name.as_ref(), folder.as_ref());
            step(&format!("build the component {name}"), || self.build_component(name, folder))?;
        }
        Ok(())
    }

    fn build_component(&self, name: &str, folder: &str) -> Result<()> {
        let output = self.checkout.components().join(format!("{name}.wasm"));
        let mut command = self.command(self.checkout.cofferdam());
        run(command.current_dir(self.checkout.root.join(folder)).arg("build").arg("--out").arg(&output))
    }
}

/// Prints a step, runs it, and prints its duration.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {what}");
    let start = Instant::now();
    let result = work().with_context(|| format!("failed: {what}"))?;
    eprintln!("    done in {:.1} s", start.elapsed().as_secs_f64());
    Ok(result)
}

/// Runs a command to its end. The error contains the command.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{} ended with {status}", words(command));
    }
    Ok(())
}

/// Returns whether a command runs and succeeds. Discards its output.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Finds a program on the `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn words(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
