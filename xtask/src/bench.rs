//! `cargo xtask bench NAME`: runs one benchmark of the host. Prints a table and writes `bench/NAME.json` in the target
//! folder, with a flat map `metrics`.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::baseline::Comparison;
use crate::peer::Peer;
use crate::pypi;
use crate::workspace::{self, Workspace, step};

/// Components that benchmarks load: crate and folder.
const COMPONENTS: &[(&str, &str)] = &[
    ("crossing", "tests/guests/crossing"),
    ("event-time", "tests/guests/event-time"),
    ("evil", "tests/guests/evil"),
    ("flights", "tests/guests/flights"),
    ("kafka-count", "tests/guests/kafka-count"),
    ("keyed-count", "tests/guests/keyed-count"),
    ("misbehaving", "tests/guests/misbehaving"),
    ("relay", "tests/guests/relay"),
    ("repairable", "tests/guests/repairable"),
];

#[derive(clap::Args)]
pub struct Arguments {
    /// A file of host/benches, such as `crossing`, or `encodings`
    name: String,
    /// Runs another system on the same input
    #[arg(long)]
    peer: Option<Peer>,
    /// Compares this checkout with another build of the same benchmark, in alternating pairs
    ///
    /// BINARY is the benchmark executable of the other build. Build it in a checkout of that version with `cargo bench
    /// -p cofferdam --bench NAME --no-run`; Cargo prints its path, target/release/deps/NAME-HASH. If its contract
    /// differs, put that version's components into a folder `components` beside it; otherwise both sides load those of
    /// this checkout. The ratio of each metric is the speed here divided by the speed of the baseline.
    #[arg(long, value_name = "BINARY")]
    baseline: Option<PathBuf>,
    /// Number of pairs of runs with --baseline
    #[arg(long, value_name = "N", default_value_t = 10, requires = "baseline", value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Passed to the benchmark, on both sides of a comparison
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let name = arguments.name.as_str();
    if name == "encodings" {
        return encodings(workspace);
    }
    let source = workspace.checkout.root.join("host/benches").join(format!("{name}.rs"));
    ensure!(source.exists(), "there is no benchmark `{name}`: {} does not exist", source.display());
    let folder = workspace.checkout.target.join("bench");
    std::fs::create_dir_all(&folder)?;
    let mut environment = Vec::from_iter(arguments.peer.map(|peer| peer.prepare(workspace, name)).transpose()?);
    if name == "rows" {
        environment.push(("COFFERDAM_FLIGHTS", pypi::flights(workspace)?.into_os_string()));
    }
    workspace.build(COMPONENTS)?;
    let report = folder.join(format!("{name}.json"));
    if let Some(baseline) = &arguments.baseline {
        let comparison = Comparison {
            workspace,
            name,
            baseline,
            pairs: arguments.pairs as usize,
            arguments: &arguments.arguments,
            environment,
        };
        comparison.run(&report)?;
        println!("{}", report.display());
        return Ok(());
    }
    step(&format!("bench {name}"), || {
        let mut command = workspace.cargo(&["bench", "-p", "cofferdam", "--bench", name, "--"]);
        command.args(&arguments.arguments).env("COFFERDAM_BENCH_DIR", &folder).envs(environment);
        workspace::run(command.env("COFFERDAM_TEST_COMPONENTS", workspace.checkout.components()))
    })?;
    ensure!(report.exists(), "the benchmark wrote no {}", report.display());
    println!("{}", report.display());
    Ok(())
}

/// Compares encodings of rows and parsers, without the host. The compared crates are dependencies of `tests/comparisons` alone.
fn encodings(workspace: &Workspace) -> Result<()> {
    let table = pypi::flights(workspace)?;
    let folder = workspace.checkout.target.join("bench");
    std::fs::create_dir_all(&folder)?;
    let report = folder.join("encodings.json");
    step("bench encodings", || {
        let mut command =
            workspace.cargo(&["run", "--release", "--manifest-path", "tests/comparisons/Cargo.toml", "--"]);
        workspace::run(command.arg(table).arg(&report))
    })?;
    println!("{}", report.display());
    Ok(())
}
