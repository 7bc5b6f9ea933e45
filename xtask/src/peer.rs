//! Systems that a benchmark runs for comparison. They are installed and compiled here, and passed to the benchmark in
//! its environment.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

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
/// Names Flink's connector, which Maven installs from Maven Central with the clients that it needs.
const CONNECTOR_POM: &str = "host/benches/peer/flink/pom.xml";

impl Peer {
    /// Prepares the peer's side of the benchmark `bench`. Returns the environment variable that the benchmark reads.
    pub fn prepare(self, workspace: &Workspace, bench: &str) -> Result<(&'static str, OsString)> {
        let supported = ["kafka", "keyed-count", "rows"].contains(&bench);
        ensure!(supported, "the benchmark `{bench}` does not support --peer. Leave it out");
        match self {
            Peer::Flink => Ok(("COFFERDAM_FLINK_CLASS_PATH", flink(workspace, bench)?)),
        }
    }
}

/// Returns the class path of Flink and of the compared jobs.
fn flink(workspace: &Workspace, bench: &str) -> Result<OsString> {
    if let Some(missing) = ["java", "javac"].into_iter().find(|name| find_program(name).is_none()) {
        bail!("Flink needs `{missing}`, which is not installed. Install a JDK 17 (Debian: openjdk-17-jdk-headless)");
    }
    let folder = workspace.checkout.target.join("setup/flink");
    let jars = folder.join("pyflink/lib");
    if !jars.join(FLINK_JAR).is_file() {
        pypi::install(&format!("{FLINK_PACKAGE} (230 MB)"), FLINK_PACKAGE, &folder)?;
    }
    ensure!(jars.join(FLINK_JAR).is_file(), "{FLINK_PACKAGE} has no {FLINK_JAR}: remove {}", folder.display());
    let (mut class_path, jobs) = (
        vec![jars.join("*")],
        match bench {
            "kafka" => &["KafkaCount"][..],
            _ => &["KeyedCount", "FlightCount"],
        },
    );
    if bench == "kafka" {
        class_path.push(kafka_connector(workspace)?.join("*"));
    }
    let classes = workspace.checkout.target.join("bench/flink");
    fs::create_dir_all(&classes)?;
    step("compile the peer's jobs", || {
        let mut javac = workspace.command("javac");
        javac.arg("-cp").arg(std::env::join_paths(&class_path)?).arg("-d").arg(&classes);
        run(javac.args(jobs.iter().map(|name| format!("host/benches/peer/flink/{name}.java"))))
    })?;
    class_path.insert(0, classes);
    Ok(std::env::join_paths(class_path)?)
}

/// Returns the folder with the jars of Flink's Kafka connector.
fn kafka_connector(workspace: &Workspace) -> Result<PathBuf> {
    ensure!(
        find_program("mvn").is_some(),
        "Flink's Kafka connector needs `mvn`, which is not installed. Install Maven"
    );
    let folder = workspace.checkout.target.join("setup/flink-kafka");
    let pom = workspace.checkout.root.join(CONNECTOR_POM);
    let installed = folder.join("pom.xml");
    if fs::read(&installed).ok() != Some(fs::read(&pom)?) {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        step("install Flink's Kafka connector from Maven Central", || {
            let mut maven = workspace.command("mvn");
            maven.args(["-q", "-B", "-f"]).arg(&pom).arg("dependency:copy-dependencies");
            run(maven.arg(format!("-DoutputDirectory={}", folder.display())))
        })?;
        fs::copy(&pom, &installed)?;
    }
    Ok(folder)
}
