//! `cargo xtask bench NAME`: runs one benchmark of the host. It prints a table and leaves `bench/NAME.json` in the target
//! folder, with a flat map `metrics`.

use anyhow::{Result, ensure};

use crate::peer::Peer;
use crate::workspace::{self, Workspace, step};

/// The components that benchmarks load: crate and folder.
const COMPONENTS: &[(&str, &str)] = &[
    ("crossing", "tests/guests/crossing"),
    ("event-time", "tests/guests/event-time"),
    ("keyed-count", "tests/guests/keyed-count"),
];

#[derive(clap::Args)]
pub struct Arguments {
    /// A file of host/benches, such as `crossing`.
    name: String,
    /// Runs this beside ours, on the same input.
    #[arg(long)]
    peer: Option<Peer>,
    /// Handed on to the benchmark.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let name = arguments.name.as_str();
    let source = workspace.place.root.join("host/benches").join(format!("{name}.rs"));
    ensure!(source.exists(), "there is no benchmark `{name}`: {} does not exist", source.display());
    let folder = workspace.place.target.join("bench");
    std::fs::create_dir_all(&folder)?;
    let peer = arguments.peer.map(|peer| peer.prepare(workspace, name)).transpose()?;
    workspace.build(COMPONENTS)?;
    step(&format!("bench {name}"), || {
        let mut command = workspace.cargo(&["bench", "-p", "cofferdam", "--bench", name, "--"]);
        command.args(&arguments.arguments).env("COFFERDAM_BENCH_DIR", &folder).envs(peer);
        workspace::run(command.env("COFFERDAM_TEST_COMPONENTS", workspace.place.components()))
    })?;
    let report = folder.join(format!("{name}.json"));
    ensure!(report.exists(), "the benchmark wrote no {}", report.display());
    println!("{}", report.display());
    Ok(())
}
