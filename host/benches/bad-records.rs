//! Measures what bad records cost: `cargo xtask bench bad-records [-- --records 1000000 --neighbour-seconds 5]`.
//!
//! One server reads a file in which every record is bad, with a function of `tests/guests/repairable` that returns an error for each, and a
//! checkpoint each second. Variant `skip` drops the records, `dead-letter` keeps them as letters of the host, which name file and line of
//! each. In both, a neighbour runs beside it that could use all cores: a generator without a rate, and the same function on good records,
//! with one subtask per core. Its share is its records per second beside the bad job, divided by half of those that it reaches alone.
//!
//! A third run is killed in the middle, and afterwards must have one letter for each record. Then a repaired version of the function
//! takes the job over and replays the letters: none may be left, and the sink must have each record once.
//!
//! Rates are in records per second of the bad job, from its first to its last record. Prints a table and writes `bad-records.json` into
//! `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cofferdam_tests::{Server, committed_lines, wait_until};
use serde_json::Value;
use support::{COFFERDAM, Metrics, Options, component, rounded, scratch, write_report};

const PATIENCE: Duration = Duration::from_secs(600);
/// Time between two checkpoints.
const INTERVAL_MS: u64 = 1000;

struct Bench {
    server: Option<Server>,
    folder: PathBuf,
    records: u64,
}

fn main() {
    let options = Options::read(&["records", "neighbour-seconds"]);
    let records = options.number("records", 1_000_000).max(10_000);
    let seconds = Duration::from_secs(options.number("neighbour-seconds", 5).max(1));
    let folder = scratch("bad-records");
    let text = (0..records).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "k{},bad{number}", number % 100);
        text
    });
    fs::write(folder.join("records.csv"), text).expect("the input can be written");
    let mut bench = Bench { server: None, folder, records };
    bench.start();
    bench.push();
    let alone = bench.neighbour_alone(seconds);
    let mut metrics = Metrics::new();
    println!("{records} bad records, beside a neighbour that handles {alone:.0} records/s alone:\n");
    println!(
        "{:<12} {:>12} {:>10} {:>16} {:>16}",
        "policy", "records/s", "log KiB", "checkpoint ms", "neighbour share"
    );
    for policy in ["skip", "dead-letter"] {
        let run = bench.measure(policy, alone);
        let Run { rate, log_kib, checkpoint_ms, share } = run;
        println!("{policy:<12} {rate:>12.0} {log_kib:>10.1} {checkpoint_ms:>16.0} {share:>16.2}");
        let name = policy.replace('-', "_");
        metrics.insert(format!("{name}_records_per_s"), rounded(rate, 0));
        metrics.insert(format!("{name}_log_kib"), rounded(log_kib, 1));
        metrics.insert(format!("{name}_checkpoint_ms_max"), rounded(checkpoint_ms, 0));
        metrics.insert(format!("{name}_neighbour_share"), rounded(share, 2));
    }
    let Replayed { letters, left, repeated, rate } = bench.replay();
    println!(
        "\nafter a kill: {letters} letters; after the replay ({rate:.0} records/s): {left} left, {repeated} records not once"
    );
    metrics.insert("letters_wrong".into(), letters.abs_diff(records) as f64);
    metrics.insert("letters_left".into(), left as f64);
    metrics.insert("replayed_not_once".into(), repeated as f64);
    metrics.insert("replay_records_per_s".into(), rounded(rate, 0));
    write_report("bad-records", &metrics);
}

struct Run {
    rate: f64,
    log_kib: f64,
    checkpoint_ms: f64,
    /// Of the neighbour, beside the bad job.
    share: f64,
}

struct Replayed {
    letters: u64,
    left: u64,
    repeated: u64,
    rate: f64,
}

impl Bench {
    fn start(&mut self) {
        self.server = Some(Server::start(Path::new(COFFERDAM), &self.folder, &[]).expect("the server starts"));
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }

    fn push(&self) {
        let first = fs::read(component("repairable")).expect("the component can be read");
        let mut second = first.clone();
        let level = b"repair-level:1";
        let at = second.windows(level.len()).position(|bytes| bytes == level).expect("the guest has a level");
        second[at + level.len() - 1] = b'2';
        for (bytes, name) in [(first, "repairable@1"), (second, "repairable@2")] {
            let pushed = self.server().api.push(&bytes, Some(name)).and_then(|answer| answer.ok());
            pushed.expect("the component is accepted");
        }
    }

    fn submit(&self, pipeline: &str) -> String {
        self.server().api.submit_ok(pipeline).expect("the job is accepted")
    }

    fn job(&self, id: &str) -> Value {
        self.server().api.job(id).expect("the server answers")
    }

    fn records_in(&self, id: &str) -> u64 {
        self.job(id)["records_in"].as_u64().unwrap_or(0)
    }

    fn wait(&self, what: &str, mut is_true: impl FnMut() -> bool) {
        let waited = wait_until(what, PATIENCE, || Ok(is_true().then_some(())));
        waited.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// The job with the bad records. With `stays`, a second source keeps it running.
    fn pipeline(&self, name: &str, policy: &str, version: u32, stays: bool) -> String {
        let folder = self.folder.display();
        let clock = match stays {
            true => {
                "[source.clock]\nconnector = \"generator\"\nrate = 1\n[sink.rest]\ninput = \"clock\"\nconnector = \"blackhole\"\n"
            }
            false => "",
        };
        format!(
            "name = \"{name}\"\n[checkpoint]\ninterval = \"{INTERVAL_MS}ms\"\n[source.records]\nconnector = \"file\"\n\
             path = \"{folder}/records.csv\"\nformat = \"csv\"\nheader = false\n[operator.check]\ninput = \"records\"\n\
             component = \"repairable@{version}\"\nfunction = \"check\"\non_fault = \"{policy}\"\n[dead_letters]\nlimit = \"4GiB\"\n\
             [sink.out]\ninput = \"check\"\nconnector = \"file\"\npath = \"{folder}/out\"\n{clock}"
        )
    }

    fn neighbour(&self) -> String {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let id = self.submit(&format!(
            "name = \"neighbour\"\nparallelism = {cores}\n[checkpoint]\ninterval = \"1s\"\n[source.good]\nconnector = \"generator\"\n\
             template = \"{{key}},{{n}}\"\n[operator.check]\ninput = \"good\"\ncomponent = \"repairable@1\"\nfunction = \"check\"\n\
             [sink.drop]\ninput = \"check\"\nconnector = \"blackhole\"\n"
        ));
        self.wait("the neighbour reads", || self.records_in(&id) > 0);
        id
    }

    fn cancel(&self, id: &str) {
        let path = format!("/v1/jobs/{id}/cancel");
        let cancelled = self.server().api.post(&path, "application/json", b"").and_then(|answer| answer.ok());
        cancelled.expect("the job can be cancelled");
        self.wait("the end of the neighbour", || self.job(id)["ended_at_ms"].is_i64());
    }

    fn neighbour_alone(&self, seconds: Duration) -> f64 {
        let id = self.neighbour();
        thread::sleep(Duration::from_secs(1));
        let (start, before) = (Instant::now(), self.records_in(&id));
        thread::sleep(seconds);
        let rate = (self.records_in(&id) - before) as f64 / start.elapsed().as_secs_f64();
        self.cancel(&id);
        rate
    }

    /// Runs the bad job to its end, beside the neighbour.
    fn measure(&self, policy: &str, alone: f64) -> Run {
        let log = self.folder.join("server.log");
        let log_bytes = || fs::metadata(&log).map_or(0, |file| file.len());
        let neighbour = self.neighbour();
        let log_before = log_bytes();
        let id = self.submit(&self.pipeline(&format!("bad-{policy}"), policy, 1, false));
        self.wait("the first record", || self.records_in(&id) > 0);
        let (start, neighbour_before) = (Instant::now(), self.records_in(&neighbour));
        self.wait("the last record", || self.records_in(&id) >= self.records || self.job(&id)["ended_at_ms"].is_i64());
        let elapsed = start.elapsed().as_secs_f64();
        let share = (self.records_in(&neighbour) - neighbour_before) as f64 / elapsed / (alone / 2.0);
        let mut checkpoint_ms = 0.0_f64;
        self.wait("the end of the job", || self.job(&id)["ended_at_ms"].is_i64());
        let path = format!("/v1/jobs/{id}/checkpoints");
        let checkpoints = self.server().api.get(&path).and_then(|answer| answer.ok()).expect("the server answers");
        for checkpoint in checkpoints.as_array().into_iter().flatten() {
            assert_eq!(checkpoint["status"], "completed", "{checkpoint}");
            checkpoint_ms = checkpoint_ms.max(checkpoint["duration_ms"].as_f64().unwrap_or(0.0));
        }
        let job = self.job(&id);
        assert_eq!(job["status"], "FINISHED", "{job}");
        let counted = if policy == "skip" { &job["records_skipped"] } else { &job["records_dead_lettered"] };
        assert_eq!(counted.as_u64(), Some(self.records), "{job}");
        self.cancel(&neighbour);
        Run {
            rate: self.records as f64 / elapsed,
            log_kib: (log_bytes() - log_before) as f64 / 1024.0,
            checkpoint_ms,
            share,
        }
    }

    fn letters(&self, id: &str) -> Value {
        let path = format!("/v1/jobs/{id}/dead-letters?limit=0");
        self.server().api.get(&path).and_then(|answer| answer.ok()).expect("the server answers")
    }

    /// Kills the server while letters are written, continues, and replays all letters on a repaired version.
    fn replay(&mut self) -> Replayed {
        let _ = fs::remove_dir_all(self.folder.join("out"));
        let first = self.submit(&self.pipeline("bad-replay", "dead-letter", 1, true));
        self.wait("a third of the records", || self.records_in(&first) >= self.records / 3);
        self.server.take().expect("the server runs").kill().expect("the server can be killed");
        self.start();
        let dead_lettered = |bench: &Bench| bench.job(&first)["records_dead_lettered"].as_u64().unwrap_or(0);
        self.wait("the last record", || dead_lettered(self) >= self.records);
        let savepoint = self.server().api.savepoint(&first, "stop", "").expect("the job can be stopped");
        self.wait("the end of the job", || self.job(&first)["ended_at_ms"].is_i64());
        let letters = self.letters(&first)["total"].as_u64().unwrap_or(0);
        let repaired = self.pipeline("bad-replay", "dead-letter", 2, true);
        let path = format!("/v1/jobs?from={savepoint}");
        let submitted =
            self.server().api.post(&path, "application/toml", repaired.as_bytes()).and_then(|answer| answer.ok());
        let second = submitted.expect("the repaired job is accepted")["id"].as_str().unwrap_or_default().to_owned();
        self.wait("the repaired job", || self.job(&second)["status"] == "RUNNING");
        let start = Instant::now();
        let path = format!("/v1/jobs/{second}/dead-letters/replay");
        let started = self.server().api.post(&path, "application/json", b"").and_then(|answer| answer.ok());
        started.expect("the letters can be replayed");
        self.wait("the end of the replay", || self.letters(&second)["replays"][0]["completed_in"].is_u64());
        let rate = letters as f64 / start.elapsed().as_secs_f64();
        let left = self.letters(&second)["total"].as_u64().unwrap_or(0);
        self.server().api.savepoint(&second, "stop", "").expect("the job can be stopped");
        self.wait("the end of the job", || self.job(&second)["ended_at_ms"].is_i64());
        let mut lines = committed_lines(&self.folder.join("out")).expect("the output can be read");
        let all = lines.len() as u64;
        lines.sort_unstable();
        lines.dedup();
        let repeated = (all - lines.len() as u64) + self.records.abs_diff(lines.len() as u64);
        Replayed { letters, left, repeated, rate }
    }
}
