//! Measures what a job keeps of the cores beside a job that attacks it: `cargo xtask bench fairness [-- --seconds 5 --classes loop,trap
//! --parallelism 1,64]`.
//!
//! One server runs a neighbour: a generator without a rate and the function `work` of `tests/guests/evil`, with one subtask per core. It
//! could use all cores. Beside it runs one attacker at a time, of each class and at each parallelism, which could use all cores as well.
//! A fair share is then half of the cores, whatever the attacker's parallelism.
//!
//! The share of the neighbour is its throughput beside the attacker, divided by half of its throughput alone, which is measured directly
//! before and after. 1 is fair; an attacker that is stopped by its own limits leaves more. A lost record of the neighbour is one that the
//! source has made and the function has not returned when the job is stopped by a savepoint, or that was skipped.
//!
//! Other processes of the machine would take their time from both, but not evenly. A measurement during which they use more than 8 % of the
//! cores is repeated.
//!
//! `neighbour_share_min` is the worst of all classes, `neighbour_records_lost` the sum. Prints a table and writes `fairness.json` into
//! `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

mod support;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cofferdam_tests::{Server, wait_until};
use serde_json::Value;
use support::{COFFERDAM, Metrics, Options, component, cpu_seconds, rounded, scratch, write_report};

/// A class of attackers.
struct Class {
    name: &'static str,
    /// The operator `act`.
    operator: &'static str,
}

const EVIL: &str = "component = \"evil@1\"\non_fault = \"skip\"\n";
const CLASSES: &[Class] = &[
    Class { name: "loop", operator: "function = \"loop\"\n" },
    Class { name: "memory", operator: "function = \"memory-bomb\"\n" },
    Class { name: "output", operator: "function = \"output-large\"\n" },
    Class { name: "trap", operator: "function = \"trap\"\n" },
    Class { name: "state", operator: "function = \"state-of-a-turn-in-the-map\"\nkey = { column = 0 }\n" },
    Class { name: "log", operator: "function = \"log-steadily\"\n" },
    // Within all limits, but greedy.
    Class { name: "busy", operator: "function = \"work\"\n" },
    Class { name: "native", operator: "" },
];
/// An operator of the host, without a component.
const NATIVE: &str = "key = { column = 0 }\nwindow = { type = \"global\" }\ntrigger = { type = \"count\", count = 1000 }\n\
                      aggregate = { type = \"count\" }\n";
const PATIENCE: Duration = Duration::from_secs(120);
/// How much of the cores other processes may use during a measurement.
const OTHERS_MAX: f64 = 0.08;
/// Number of measurements until one is taken as it is.
const MEASUREMENTS_MAX: u32 = 4;
/// Time between the start of an attack and the measurement.
const SETTLE: Duration = Duration::from_secs(2);

struct Stage {
    server: Server,
    neighbour: String,
    seconds: Duration,
}

fn main() {
    let options = Options::read(&["seconds", "classes", "parallelism"]);
    let seconds = Duration::from_secs(options.number("seconds", 5).max(1));
    let wanted = |name: &str| options.text("classes").is_none_or(|names| names.split(',').any(|one| one == name));
    let folder = scratch("fairness");
    let stage = Stage::start(&folder, seconds);
    let mut metrics = Metrics::new();
    println!("share that a neighbour keeps of its half of the cores, over {} s:\n", seconds.as_secs());
    println!("{:<16} {:>8} {:>14} {:>14} {:>8}", "attacker", "subtasks", "alone, rec/s", "beside, rec/s", "share");
    let mut alone = stage.throughput();
    for class in CLASSES.iter().filter(|class| wanted(class.name)) {
        for parallelism in options.numbers("parallelism", &[1, 64]) {
            let attacker = stage.attack(class, parallelism);
            let beside = stage.throughput();
            stage.end(&attacker);
            let after = stage.throughput();
            let share = beside / (f64::midpoint(alone, after) / 2.0);
            println!(
                "{:<16} {parallelism:>8} {:>14.0} {beside:>14.0} {share:>8.2}",
                class.name,
                f64::midpoint(alone, after)
            );
            metrics.insert(format!("neighbour_share_{}_{parallelism}", class.name), rounded(share, 3));
            let worst = metrics.entry("neighbour_share_min".to_owned()).or_insert(share);
            *worst = rounded(worst.min(share), 3);
            alone = after;
        }
    }
    let lost = stage.stop_neighbour();
    println!("\n{lost} records of the neighbour were lost");
    metrics.insert("neighbour_records_lost".to_owned(), lost);
    let _ = fs::remove_dir_all(&folder);
    write_report("fairness", &metrics);
}

impl Stage {
    fn start(folder: &Path, seconds: Duration) -> Stage {
        let server = Server::start(Path::new(COFFERDAM), folder, &[]).expect("the server starts");
        let bytes = fs::read(component("evil")).expect("the component can be read");
        server.api.push(&bytes, Some("evil@1")).and_then(|answer| answer.ok()).expect("the component is accepted");
        let neighbour = pipeline("neighbour", cores(), &format!("{EVIL}function = \"work\"\n"));
        let neighbour = server.api.submit_ok(&neighbour).expect("the neighbour is accepted");
        let stage = Stage { server, neighbour, seconds };
        stage.wait("the neighbour has begun", || (stage.returned() > 0.0).then_some(()));
        thread::sleep(SETTLE);
        stage
    }

    fn wait<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        wait_until(what, PATIENCE, || Ok(condition())).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn job(&self, id: &str) -> Value {
        self.server.api.job(id).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Returns how many records the neighbour's function has returned.
    fn returned(&self) -> f64 {
        let job = self.job(&self.neighbour);
        assert_ne!(job["status"], "FAILED", "the neighbour runs: {job}");
        count(&job, "act", "records_out")
    }

    /// Returns how many records per second the neighbour's function returns.
    fn throughput(&self) -> f64 {
        for _ in 1..MEASUREMENTS_MAX {
            let (throughput, others) = self.measure();
            if others <= OTHERS_MAX {
                return throughput;
            }
            eprintln!("other processes used {:.0} % of the cores: measured again", others * 100.0);
        }
        self.measure().0
    }

    /// Returns the records per second, and how much of the cores other processes used meanwhile.
    fn measure(&self) -> (f64, f64) {
        let used_by_others = || machine_cpu_seconds() - cpu_seconds(self.server.process_id());
        let (others, before, start) = (used_by_others(), self.returned(), Instant::now());
        thread::sleep(self.seconds);
        let after = self.returned();
        let (elapsed, others) = (start.elapsed().as_secs_f64(), used_by_others() - others);
        ((after - before) / elapsed, others / elapsed / cores() as f64)
    }

    /// Starts an attacker and waits until it attacks. Returns its id.
    fn attack(&self, class: &Class, parallelism: u64) -> String {
        let operator = if class.operator.is_empty() { NATIVE.to_owned() } else { format!("{EVIL}{}", class.operator) };
        let pipeline = pipeline("attacker", parallelism, &operator);
        let id = self.server.api.submit_ok(&pipeline).expect("the attacker is accepted");
        self.wait("the attacker runs", || (self.job(&id)["status"] == "RUNNING").then_some(()));
        let before = cpu_seconds(self.server.process_id());
        self.wait("the server computes", || (cpu_seconds(self.server.process_id()) > before + 0.5).then_some(()));
        thread::sleep(SETTLE);
        let job = self.job(&id);
        assert_eq!(job["status"], "RUNNING", "the attacker of class {} still runs: {job}", class.name);
        id
    }

    fn end(&self, id: &str) {
        let path = format!("/v1/jobs/{id}");
        let cancelled = self.server.api.post(&format!("{path}/cancel"), "application/json", b"");
        cancelled.and_then(|answer| answer.ok()).expect("the attacker is cancelled");
        self.wait("the attacker is removed", || {
            let answer = self.server.api.delete(&path).unwrap_or_else(|error| panic!("{error:#}"));
            (answer.status == 204).then_some(())
        });
    }

    /// Stops the neighbour and returns how many of its records were lost.
    fn stop_neighbour(&self) -> f64 {
        let api = &self.server.api;
        api.savepoint(&self.neighbour, "stop", "").expect("the neighbour stops");
        let job = self.wait("the neighbour has ended", || {
            let job = self.job(&self.neighbour);
            (!["RUNNING", "STOPPING"].contains(&job["status"].as_str().unwrap_or_default())).then_some(job)
        });
        assert_eq!(job["restarts"], 0, "{job}");
        assert_eq!(count(&job, "act", "faults"), 0.0, "{job}");
        count(&job, "in", "records_out") - count(&job, "act", "records_out")
    }
}

fn cores() -> u64 {
    thread::available_parallelism().map_or(2, |cores| cores.get() as u64)
}

/// Returns the processor time that all processes have used.
fn machine_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").expect("procfs is available");
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = ticks.map(|ticks| ticks.parse().expect("a number")).collect();
    // User, nice and system; then idle and I/O wait; then interrupts. Guests are part of user.
    [0, 1, 2, 5, 6].iter().filter_map(|field| ticks.get(*field)).sum::<f64>() / 100.0
}

/// Returns a counter of a node, or 0 before the job has any.
fn count(job: &Value, node: &str, name: &str) -> f64 {
    let mut nodes = job["operators"].as_array().into_iter().flatten();
    nodes.find(|one| one["id"] == node).and_then(|node| node[name].as_f64()).unwrap_or(0.0)
}

fn pipeline(name: &str, parallelism: u64, operator: &str) -> String {
    format!(
        r#"
name = "{name}"
parallelism = {parallelism}
[source.in]
connector = "generator"
template = "{{key}},{{n}}"
[operator.act]
input = "in"
{operator}
[sink.out]
input = "act"
connector = "blackhole"
"#
    )
}
