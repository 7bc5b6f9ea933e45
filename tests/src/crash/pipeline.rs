//! The pipeline file of a job: the branches of its round, and settings that differ from job to job.

use std::fmt::Write;
use std::path::Path;

use fastrand::Rng;

use super::branches::Branch;
use super::input::{Input, OUT_OF_ORDERNESS_MS};

/// Where a running job keeps its state.
pub const BACKENDS: [&str; 2] = ["memory", "rocksdb"];

const PARALLELISM_MAX: u32 = 4;
/// Duration of a rate-limited run without kills.
const PACED_RUN_MS: u64 = 2_500;

/// Settings that may differ from the previous job's.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) parallelism: u32,
    pub(super) source_parallelism: u32,
    pub(super) backend: String,
    checkpoint_interval_ms: u32,
    unaligned_after: Option<&'static str>,
    retained: u32,
    batch_records: u32,
}

/// How the run is slowed down: sources limited by a rate, or operators too slow for their channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Sources have a rate.
    Sources,
    /// Each turn uses a fresh instance and batches are small, so operators are slower than sources.
    Operators,
}

impl Settings {
    /// Chooses settings at random, with this backend if one is given.
    pub(super) fn random(rng: &mut Rng, backend: Option<&str>, pace: Pace) -> Settings {
        let parallelism = rng.u32(1..=PARALLELISM_MAX);
        let unaligned_after = match (pace, rng.u8(0..4)) {
            (_, 0) => None,
            (Pace::Sources, 1) => Some("20ms"),
            _ => Some("0s"),
        };
        Settings {
            parallelism,
            source_parallelism: rng.u32(1..=parallelism),
            backend: backend.map_or_else(|| BACKENDS[rng.usize(0..BACKENDS.len())].to_owned(), str::to_owned),
            checkpoint_interval_ms: [20, 50, 100, 200][rng.usize(0..4)],
            unaligned_after,
            retained: rng.u32(1..=3),
            batch_records: match pace {
                Pace::Sources => [16, 128, 1024][rng.usize(0..3)],
                Pace::Operators => 48,
            },
        }
    }

    /// Chooses the next job's settings: another parallelism, and any backend unless one is given.
    pub(super) fn next(&self, rng: &mut Rng, backend: Option<&str>, pace: Pace) -> Settings {
        let mut next = Settings::random(rng, backend, pace);
        if next.parallelism == self.parallelism {
            next.parallelism = self.parallelism % PARALLELISM_MAX + 1;
            next.source_parallelism = rng.u32(1..=next.parallelism);
        }
        next
    }
}

/// A round's branches and input.
pub(super) struct Topology {
    pub(super) branches: Vec<Branch>,
    pub(super) pace: Pace,
    /// Number of sinks that read a source directly, each with its own folder.
    pub(super) copies: u32,
    /// Whether a failed job is restarted. Without injected errors no job fails.
    pub(super) restarts: bool,
}

impl Topology {
    /// Returns the sources that are read, without repetition.
    pub(super) fn sources(&self) -> Vec<&'static str> {
        let mut sources: Vec<&str> = self.branches.iter().flat_map(|branch| branch.sources.iter().copied()).collect();
        if self.copies > 0 {
            sources.push("first");
        }
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// Returns the number of records of all sources.
    pub(super) fn records(&self, input: &Input) -> u64 {
        self.sources().iter().map(|source| input.len(source)).sum()
    }

    /// Returns the pipeline file. The input is below `files`, and each sink's folder is below `out`.
    pub(super) fn pipeline(&self, settings: &Settings, input: &Input, files: &Path, out: &Path) -> String {
        let mut text = self.head(settings);
        for source in self.sources() {
            text.push_str(&self.source(source, settings, input, files));
        }
        let mut sink = |id: &str, inputs: &str, more: &str| {
            let path = out.join(id);
            let _ = write!(
                text,
                "[sink.{id}]\ninputs = [{inputs}]\nconnector = \"file\"\npath = \"{}\"\n{more}",
                path.display()
            );
        };
        let source_parallelism = format!("parallelism = {}\n", settings.source_parallelism);
        for branch in &self.branches {
            for output in &branch.outputs {
                let (input, parallelism) = match (&branch.operator[..], output.name) {
                    // Chained to its source at any parallelism, so that no record is in flight to it.
                    ("", _) => (branch.sources[0].to_owned(), &source_parallelism[..]),
                    (_, "") => (branch.name.to_owned(), ""),
                    (_, name) => (format!("{}.{name}", branch.name), ""),
                };
                sink(&branch.sink(output), &format!("\"{input}\""), parallelism);
            }
        }
        for copy in 0..self.copies {
            sink(&copy_sink(copy), "\"first\"", &source_parallelism);
        }
        let late =
            self.branches.iter().filter(|branch| branch.has_late).map(|branch| format!("\"{}.late\"", branch.name));
        let late: Vec<String> = late.collect();
        if !late.is_empty() {
            sink("late", &late.join(", "), "");
        }
        for branch in self.branches.iter().filter(|branch| !branch.operator.is_empty()) {
            let _ = write!(text, "[operator.{}]\n{}", branch.name, branch.operator);
        }
        text
    }

    fn head(&self, settings: &Settings) -> String {
        let Settings { parallelism, backend, checkpoint_interval_ms, retained, batch_records, .. } = settings;
        let unaligned = settings.unaligned_after.map(|after| format!("unaligned_after = \"{after}\"\n"));
        let restart = match self.restarts {
            true => "strategy = \"fixed-delay\"\nattempts = 10000\ndelay = \"20ms\"",
            false => "strategy = \"none\"",
        };
        format!(
            "name = \"crash\"\nparallelism = {parallelism}\n[checkpoint]\ninterval = \"{checkpoint_interval_ms}ms\"\n\
             retained = {retained}\non_cancel = \"keep\"\n{}[restart]\n{restart}\n[state]\nbackend = \"{backend}\"\n\
             [batch]\nrecords = {batch_records}\n[sandbox]\nfresh_instance = {}\n",
            unaligned.unwrap_or_default(),
            self.pace == Pace::Operators
        )
    }

    fn source(&self, name: &str, settings: &Settings, input: &Input, files: &Path) -> String {
        let folder = matches!(name, "first" | "second");
        let file = if folder { name.to_owned() } else { format!("{name}.csv") };
        let parallelism = if folder { settings.source_parallelism } else { 1 };
        let mut text = format!(
            "[source.{name}]\nconnector = \"file\"\npath = \"{}\"\nformat = \"csv\"\nheader = false\nparallelism = {parallelism}\n",
            files.join(file).display()
        );
        if !matches!(name, "serial" | "rules" | "doubtful") {
            let _ = writeln!(text, "timestamp = {{ column = 2, format = \"unix-ms\" }}");
            let _ = writeln!(text, "watermark = {{ out_of_orderness = \"{OUT_OF_ORDERNESS_MS}ms\" }}");
        }
        // Rules arrive one by one during the whole run.
        if self.pace == Pace::Sources || name == "rules" {
            let _ = writeln!(text, "rate = {}", (input.len(name) * 1000 / PACED_RUN_MS).max(1));
        }
        text
    }
}

/// Returns the id of a sink that reads a source directly.
pub(super) fn copy_sink(number: u32) -> String {
    format!("copied-{number:02}")
}
