//! Measures what a job keeps beside a job whose function floods the log: `cargo xtask bench logs [-- --seconds 5 --rounds 3]`.
//!
//! A server runs a neighbour: a generator without a rate and the function `work` of `tests/guests/evil`, with one subtask per core. Beside
//! it run in turn the function `spin-million`, which computes, and `log-million`, which does nothing but write lines: more than a million
//! per second. Both could use all cores, so that the neighbour has half of them. The neighbour's throughput beside the second is divided by
//! that beside the first; 1 means that a flood costs no more than computing.
//!
//! This is repeated for a stderr that is a file, a pipe that is not read, and a pipe whose reader is gone.
//!
//! `neighbour_beside_flood_min` is the least of the three, `lines_per_second` the number of lines that the function has tried to write.
//! Prints a table and writes `logs.json` into `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{ChildStderr, Command};
use std::thread;
use std::time::{Duration, Instant};

use cofferdam_tests::{Api, Server, wait_until};
use serde_json::Value;
use support::{COFFERDAM, Metrics, Options, component, median, rounded, scratch, write_report};

const PATIENCE: Duration = Duration::from_secs(120);
/// Time between the start of a job and the measurement.
const SETTLE: Duration = Duration::from_secs(1);
/// Lines reach the writer of stderr at this rate, instead of 100 per second.
const LIMITS: &str = "limits = { log_lines = 1_000_000, log_bytes = \"64MiB\", deadline = \"60s\" }";

/// What becomes of stderr.
#[derive(Clone, Copy)]
enum Stderr {
    File,
    NotRead,
    Closed,
}

fn main() {
    let options = Options::read(&["seconds", "rounds"]);
    let seconds = Duration::from_secs(options.number("seconds", 5).max(1));
    let rounds = options.number("rounds", 3).max(1);
    let mut metrics = Metrics::new();
    println!("throughput of a job beside a function that computes, and beside one that logs:\n");
    println!("{:<10} {:>16} {:>16} {:>8} {:>14}", "stderr", "computes, rec/s", "logs, rec/s", "ratio", "lines/s");
    for (name, stderr) in [("file", Stderr::File), ("not_read", Stderr::NotRead), ("closed", Stderr::Closed)] {
        let folder = scratch(&format!("logs-{name}"));
        let (server, pipe) = start(&folder, stderr);
        let measured = Measured::new(&server.api, seconds, rounds);
        let ratio = median(&measured.logging) / median(&measured.computing);
        let [computing, logging, lines] =
            [&measured.computing, &measured.logging, &measured.lines].map(|values| median(values));
        println!("{name:<10} {computing:>16.0} {logging:>16.0} {ratio:>8.3} {lines:>14.0}");
        metrics.insert(format!("neighbour_beside_flood_{name}"), rounded(ratio, 3));
        for (name, value) in [("neighbour_beside_flood_min", ratio), ("lines_per_second", lines)] {
            let least = metrics.entry(name.to_owned()).or_insert(value);
            *least = rounded(least.min(value), 3);
        }
        drop((server, pipe));
        let _ = fs::remove_dir_all(&folder);
    }
    write_report("logs", &metrics);
}

fn start(folder: &Path, stderr: Stderr) -> (Server, Option<ChildStderr>) {
    let (server, pipe) = match stderr {
        Stderr::File => (Server::start(Path::new(COFFERDAM), folder, &[]).expect("the server starts"), None),
        Stderr::NotRead | Stderr::Closed => {
            let started = Server::start_piped(Command::new(COFFERDAM), folder, &[]);
            let (server, pipe) = started.expect("the server starts");
            (server, matches!(stderr, Stderr::NotRead).then_some(pipe))
        }
    };
    let bytes = fs::read(component("evil")).expect("the component can be read");
    server.api.push(&bytes, Some("evil@1")).and_then(|answer| answer.ok()).expect("the component is accepted");
    (server, pipe)
}

/// The records per second of the neighbour in each round, and the lines per second of the function that logs.
#[derive(Default)]
struct Measured {
    computing: Vec<f64>,
    logging: Vec<f64>,
    lines: Vec<f64>,
}

impl Measured {
    fn new(api: &Api, seconds: Duration, rounds: u64) -> Measured {
        let neighbour = api.submit_ok(&pipeline("neighbour", "work", "")).expect("the neighbour is accepted");
        await_work(api, &neighbour);
        let mut measured = Measured::default();
        for _ in 0..rounds {
            let (records, _) = beside(api, &neighbour, &pipeline("other", "spin-million", ""), seconds);
            measured.computing.push(records);
            let (records, lines) = beside(api, &neighbour, &pipeline("other", "log-million", LIMITS), seconds);
            measured.logging.push(records);
            measured.lines.push(lines);
        }
        let job = job(api, &neighbour);
        assert!(job["status"] == "RUNNING" && job["restarts"] == 0, "the neighbour runs: {job}");
        measured
    }
}

/// Returns the records per second of the neighbour beside another job, and the lines per second that the other job suppressed.
fn beside(api: &Api, neighbour: &str, other: &str, seconds: Duration) -> (f64, f64) {
    let other = api.submit_ok(other).expect("the job is accepted");
    await_work(api, &other);
    thread::sleep(SETTLE);
    let counts = || (count(&job(api, neighbour), "records_out"), count(&job(api, &other), "log_lines_dropped"));
    let ((records, lines), start) = (counts(), Instant::now());
    thread::sleep(seconds);
    let (later, elapsed) = (counts(), start.elapsed().as_secs_f64());
    let state = job(api, &other);
    assert!(state["status"] == "RUNNING" && state["restarts"] == 0, "the other job runs: {state}");
    let path = format!("/v1/jobs/{other}");
    let cancelled = api.post(&format!("{path}/cancel"), "application/json", b"");
    cancelled.and_then(|answer| answer.ok()).expect("the job is cancelled");
    api.wait_for(&other, "CANCELED").unwrap_or_else(|error| panic!("{error:#}"));
    ((later.0 - records) / elapsed, (later.1 - lines) / elapsed)
}

fn await_work(api: &Api, id: &str) {
    let has_begun = || Ok((count(&job(api, id), "records_out") > 0.0).then_some(()));
    wait_until("the job has begun", PATIENCE, has_begun).unwrap_or_else(|error| panic!("{error:#}"));
}

fn job(api: &Api, id: &str) -> Value {
    api.job(id).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Returns a counter of the function, or 0 before the job has any.
fn count(job: &Value, name: &str) -> f64 {
    let mut nodes = job["operators"].as_array().into_iter().flatten();
    nodes.find(|one| one["id"] == "act").and_then(|node| node[name].as_f64()).unwrap_or(0.0)
}

fn pipeline(name: &str, function: &str, settings: &str) -> String {
    let parallelism = thread::available_parallelism().map_or(2, |cores| cores.get());
    format!(
        "name = \"{name}\"\nparallelism = {parallelism}\n\
         [source.in]\nconnector = \"generator\"\ntemplate = \"{{key}},{{n}}\"\n\
         [operator.act]\ninput = \"in\"\ncomponent = \"evil@1\"\nfunction = \"{function}\"\n{settings}\n\
         [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
    )
}
