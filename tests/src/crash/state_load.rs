//! Writes a savepoint with `cofferdam state load`, which dies and fails at the fail points that the round aims at.
//!
//! Whatever happens, the folder is a whole savepoint or none. A folder that is none is removed, and the load repeated.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};

use super::Round;
use super::fail_points::{self, Aim};

/// The operator and the state.
const STATE: [&str; 2] = ["kinds", "count"];

/// Most loads that die or fail.
const LOADS_MAX: usize = 20;

/// Returns the state in a checkpoint or savepoint, as lines.
pub(super) fn dump(binary: &Path, folder: &Path) -> Result<String> {
    let mut command = Command::new(binary);
    let output = command.args(["state", "dump"]).arg(folder).args(STATE).output()?;
    ensure!(output.status.success(), "{command:?}: {}", told(&output));
    Ok(String::from_utf8(output.stdout)?)
}

/// Loads the lines into a new savepoint that is based on another one, and compares what it contains. Returns the log of fail points.
pub(super) fn load(round: &mut Round<'_>, lines: &str, base: &Path) -> Result<String> {
    let [file, to, log] = ["count.jsonl", "loaded", "state-load.log"].map(|name| round.dir.join(name));
    fs::write(&file, lines)?;
    for _ in 0..LOADS_MAX {
        let done = fs::read_to_string(&log).unwrap_or_default();
        let aims = round.aims.iter().filter(|aim| aim.is_of_state_load() && !aim.is_hit(&done));
        let aims: Vec<String> = aims.map(Aim::script).collect();
        let mut command = Command::new(&round.binary);
        command.args(["state", "load"]).arg(&file).arg("--base").arg(base).arg("--to").arg(&to);
        command.env(fail_points::VARIABLE, format!("{};log={}", aims.join(";"), log.display()));
        let output = command.output()?;
        let is_whole = ["manifest", "metadata"].iter().any(|name| to.join(name).is_file());
        round.story.tell(format!("state load: {}, whole {is_whole}, {}", output.status, told(&output).trim()));
        if is_whole {
            let loaded = dump(&round.binary, &to).context("in the loaded savepoint")?;
            ensure!(sorted(&loaded) == sorted(lines), "the loaded savepoint contains {loaded}");
        }
        if output.status.success() {
            ensure!(is_whole, "the load has succeeded, but there is no savepoint");
            return Ok(fs::read_to_string(&log).unwrap_or_default());
        }
        let newly_done = fs::read_to_string(&log).unwrap_or_default().len() > done.len();
        ensure!(newly_done, "the load failed without a fault: {}", told(&output));
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
    }
    bail!("{LOADS_MAX} loads have died or failed")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines
}
