//! Systems that a benchmark runs for comparison. They are installed and compiled here, and passed to the benchmark in
//! its environment.

use std::ffi::OsString;
use std::fs;

use anyhow::{Result, bail, ensure};

use crate::pypi;
use crate::workspace::{Workspace, find_program, run, step};

#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Peer {
    /// Apache Flink, in one process on this machine's Java
    Flink,
}

/// This PyPI package contains Flink's jars.
const FLINK_PACKAGE: &str = "apache-flink-libraries==2.2.1";
const FLINK_JAR: &str = "flink-dist-2.2.1.jar";

impl Peer {
    /// Prepares the peer's side of the benchmark `bench`. Returns the environment variable that the benchmark reads.
    pub fn prepare(self, workspace: &Workspace, bench: &str) -> Result<(&'static str, OsString)> {
        let supported = ["keyed-count", "rows"].contains(&bench);
        ensure!(supported, "the benchmark `{bench}` does not support --peer. Leave it out");
        match self {
            Peer::Flink => Ok(("COFFERDAM_FLINK_CLASS_PATH", flink(workspace)?)),
        }
    }
}

/// Returns the class path of Flink and of the compared jobs.
fn flink(workspace: &Workspace) -> Result<OsString> {
    if let Some(missing) = ["java", "javac"].into_iter().find(|name| find_program(name).is_none()) {
        bail!("Flink needs `{missing}`, which is not installed. Install a JDK 17 (Debian: openjdk-17-jdk-headless)");
    }
    let folder = workspace.checkout.target.join("setup/flink");
    let jars = folder.join("pyflink/lib");
    if !jars.join(FLINK_JAR).is_file() {
        pypi::install(&format!("{FLINK_PACKAGE} (230 MB)"), FLINK_PACKAGE, &folder)?;
    }
    ensure!(jars.join(FLINK_JAR).is_file(), "{FLINK_PACKAGE} has no {FLINK_JAR}: remove {}", folder.display());
    let classes = workspace.checkout.target.join("bench/flink");
    fs::create_dir_all(&classes)?;
    step("compile the peer's jobs", || {
        let mut javac = workspace.command("javac");
        javac.arg("-cp").arg(jars.join("*")).arg("-d").arg(&classes);
        run(javac.args(["KeyedCount", "FlightCount"].map(|name| format!("host/benches/peer/flink/{name}.java"))))
    })?;
    Ok(std::env::join_paths([classes, jars.join("*")])?)
}
