//! Shared by benchmarks: processes, functions without a job, quantiles, and the report.

#![allow(dead_code, reason = "each benchmark uses a part")]

pub mod operator;
pub mod process;
pub mod row_parts;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The flat metrics of a report.
pub type Metrics = BTreeMap<String, f64>;

/// The binary of this build.
pub const COFFERDAM: &str = env!("CARGO_BIN_EXE_cofferdam");

/// Returns the folder that an environment variable names, which xtask sets.
pub fn folder(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    PathBuf::from(value.unwrap_or_else(|| panic!("{name} is not set: use `cargo xtask bench`")))
}

/// Returns the path of a built component.
pub fn component(name: &str) -> PathBuf {
    folder("COFFERDAM_TEST_COMPONENTS").join(format!("{name}.wasm"))
}

/// Creates an empty folder of this name for the files of a run.
pub fn scratch(name: &str) -> PathBuf {
    let path = folder("COFFERDAM_BENCH_DIR").join(name);
    empty(&path);
    path
}

pub fn empty(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}

/// Writes `NAME.json`.
pub fn write_report(name: &str, metrics: &Metrics) {
    let path = folder("COFFERDAM_BENCH_DIR").join(format!("{name}.json"));
    let json = serde_json::json!({ "name": name, "metrics": metrics });
    fs::write(&path, format!("{json:#}\n")).expect("the report can be written");
}

/// Rounds to `digits` decimal places.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// Returns a quantile: the smallest value that at least this part of the values does not exceed.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Like [`quantile`], of values in any order.
pub fn quantile_of(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, part)
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() % 2 {
        1 => sorted[sorted.len() / 2],
        _ => f64::midpoint(sorted[sorted.len() / 2 - 1], sorted[sorted.len() / 2]),
    }
}

/// Returns the processor time that a process has used, in seconds. Linux reports it in hundredths of a second.
pub fn cpu_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    // User and system time are fields 14 and 15. Skips the name first, since it may contain blanks.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy)]
pub struct Resident {
    /// Memory that the process occupies (`Pss` in procfs). A page that several instances map counts once.
    pub occupied_kib: f64,
    /// The same, but a page counts each time it is mapped (`Rss` in procfs).
    pub mapped_kib: f64,
}

/// Returns the resident memory of a process that shares none with others but its executable.
pub fn resident(process: u32) -> Resident {
    let maps = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("the process runs");
    let kib = |name: &str| {
        let line = maps.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"));
        line.and_then(|kib| kib.trim().parse().ok()).expect("procfs reports the resident memory")
    };
    Resident { occupied_kib: kib("Pss:"), mapped_kib: kib("Rss:") }
}

/// Command-line options of a benchmark: `--NAME VALUE`. Cargo adds `--bench`.
pub struct Options(Vec<(String, String)>);

impl Options {
    /// Panics if an option is not in `known`.
    pub fn read(known: &[&str]) -> Options {
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        let mut options = Vec::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").filter(|name| known.contains(name));
            let name =
                name.unwrap_or_else(|| panic!("`{word}` is not an option; the options are --{}", known.join(" --")));
            let value = words.next().unwrap_or_else(|| panic!("--{name} needs a value"));
            options.push((name.to_owned(), value));
        }
        Options(options)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("--{name} {text}: not a number")))
    }

    /// Numbers, separated by commas.
    pub fn numbers(&self, name: &str, default: &[u64]) -> Vec<u64> {
        let parse = |text: &str| text.parse().unwrap_or_else(|_| panic!("--{name} {text}: not a number"));
        self.text(name).map_or(default.to_vec(), |text| text.split(',').map(parse).collect())
    }
}
