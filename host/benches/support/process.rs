//! Runs the sides of a comparison as processes, in turn.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::{median, quantile};

/// One side of a comparison: a process that handles the whole input.
pub struct Side {
    pub name: String,
    /// Makes the command. Called before each run.
    pub command: Box<dyn Fn() -> Command>,
    pub runs: Vec<ProcessRun>,
}

/// What one process used, from its start to its end.
#[derive(Clone)]
pub struct ProcessRun {
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub stdout: String,
}

impl Side {
    pub fn new(name: impl Into<String>, command: impl Fn() -> Command + 'static) -> Side {
        Side { name: name.into(), command: Box::new(command), runs: Vec::new() }
    }

    pub fn run(&mut self) {
        let run = run((self.command)());
        eprintln!("    {:<28} {:>6.2} s, {:>6.2} s of CPU", self.name, run.seconds, run.cpu_seconds);
        self.runs.push(run);
    }

    pub fn seconds(&self) -> f64 {
        median(&self.runs.iter().map(|run| run.seconds).collect::<Vec<_>>())
    }

    pub fn cpu_seconds(&self) -> f64 {
        median(&self.runs.iter().map(|run| run.cpu_seconds).collect::<Vec<_>>())
    }

    /// Returns the median of the rounds' ratios of this side's time to that of `other`.
    pub fn ratio(&self, other: &Side) -> f64 {
        let ratios = self.runs.iter().zip(&other.runs).map(|(ours, theirs)| ours.seconds / theirs.seconds);
        median(&ratios.collect::<Vec<_>>())
    }

    /// Prints the medians.
    pub fn print(&self, records: u64) {
        let mut seconds: Vec<f64> = self.runs.iter().map(|run| run.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let (low, high) = (quantile(&seconds, 0.0), quantile(&seconds, 1.0));
        let cpu_ns = self.cpu_seconds() * 1e9 / records as f64;
        println!("{:<28} {:>8.2}   {low:>6.2}..{high:<6.2} {cpu_ns:>14.0}", self.name, self.seconds());
    }
}

pub fn print_head() {
    println!("{:<28} {:>8}   {:>6}..{:<6} {:>14}", "", "s", "min", "max", "CPU ns/record");
}

/// Runs each side once per round. The order alternates, so that changes of the machine's load affect all sides.
pub fn alternate(sides: &mut [Side], rounds: u64) {
    for round in 0..rounds {
        match round % 2 {
            0 => sides.iter_mut().for_each(Side::run),
            _ => sides.iter_mut().rev().for_each(Side::run),
        }
    }
}

/// Runs a process to its end, which must be a success. Its time includes its own children.
pub fn run(mut command: Command) -> ProcessRun {
    let cpu_start = cpu_seconds_of_children();
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let output = child.and_then(|child| child.wait_with_output());
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), cpu_seconds_of_children() - cpu_start);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{log}", output.status);
    ProcessRun { seconds, cpu_seconds, stdout: String::from_utf8_lossy(&output.stdout).into_owned() }
}

/// Returns the processor time of the processes that this process has waited for.
fn cpu_seconds_of_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("procfs is available");
    // Fields 16 and 17. Skips the name first, since it may contain blanks.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(13).take(2);
    fields.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

/// Returns the sizes of all files in a folder together.
pub fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}
