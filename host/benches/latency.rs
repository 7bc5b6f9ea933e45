//! Measures how long a record takes through a job: `cargo xtask bench latency [-- --seconds 20 --runs 5 --rates 20000,100000
//! --linger 0ms --backend rocksdb]`.
//!
//! A TCP server in this process sends lines at a fixed rate to `cofferdam run`, and a reader takes them from its standard output. Two
//! functions of `tests/guests/relay` and a keyed exchange lie in between, with two subtasks each and a checkpoint each second. All
//! other settings are the defaults.
//!
//! The sender is an open loop: line `n` has the intended time `start + n / rate`, whether or not earlier lines are through, and
//! carries that time. A line that the sender writes late, because the connection is full or the machine is busy, therefore counts from
//! its intended time. The sender wakes up each 100 µs, so up to that much of a latency is its own. The first two seconds of a run are not
//! counted. Each line must arrive once.
//!
//! A figure is the median of the runs. `p99_ms_20k` is the 99th percentile at 20,000 records per second; `p99_ms` is the worst of the
//! rates. Prints a table and writes `latency.json` into `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

mod support;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{COFFERDAM, Metrics, Options, component, cpu_seconds, median, quantile, rounded, scratch, write_report};

const RATES: &[u64] = &[20_000, 100_000];
const SECONDS: u64 = 20;
const RUNS: u64 = 5;
/// Start of a run that is not counted: the first batches of a process are slow.
const WARM_UP: Duration = Duration::from_secs(2);
/// Number of distinct keys.
const KEYS: u64 = 1000;
/// Time between two looks of the sender at the clock.
const TICK: Duration = Duration::from_micros(100);
/// A process that needs longer to connect, or to end, has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The reported percentiles, by the beginning of their metrics' names.
const PERCENTILES: &[(&str, f64)] = &[("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999)];

struct Settings {
    seconds: u64,
    linger: Option<String>,
    backend: String,
}

/// Result of one run.
struct Run {
    /// Sorted latencies, in milliseconds.
    latencies: Vec<f64>,
    /// Processor time of the process per second, in cores.
    cores: f64,
}

fn main() {
    let options = Options::read(&["seconds", "runs", "rates", "linger", "backend"]);
    let settings = Settings {
        seconds: options.number("seconds", SECONDS).max(WARM_UP.as_secs() + 1),
        linger: options.text("linger").map(str::to_owned),
        backend: options.text("backend").unwrap_or("rocksdb").to_owned(),
    };
    let runs = options.number("runs", RUNS).max(1);
    let mut metrics = Metrics::new();
    println!(
        "milliseconds from the intended time of sending to stdout, medians of {runs} runs of {} s:\n",
        settings.seconds
    );
    println!(
        "{:>10} {:>9} {:>9} {:>9} {:>9} {:>8}   p99, min..max",
        "records/s", "p50", "p99", "p99.9", "max", "cores"
    );
    for rate in options.numbers("rates", RATES) {
        let folder = scratch("latency");
        let runs: Vec<Run> = (0..runs).map(|_| run(rate, &settings, &folder)).collect();
        let _ = fs::remove_dir_all(&folder);
        report(rate, &runs, &mut metrics);
    }
    write_report("latency", &metrics);
}

/// Prints the medians and adds them to `metrics`.
fn report(rate: u64, runs: &[Run], metrics: &mut Metrics) {
    let of_runs = |part: f64| -> Vec<f64> { runs.iter().map(|run| quantile(&run.latencies, part)).collect() };
    let label = if rate.is_multiple_of(1000) { format!("{}k", rate / 1000) } else { rate.to_string() };
    for (name, part) in PERCENTILES {
        let value = rounded(median(&of_runs(*part)), 3);
        metrics.insert(format!("{name}_{label}"), value);
        let worst = metrics.entry((*name).to_owned()).or_insert(value);
        *worst = worst.max(value);
    }
    let cores = median(&runs.iter().map(|run| run.cores).collect::<Vec<_>>());
    metrics.insert(format!("cores_{label}"), rounded(cores, 3));
    let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|part| median(&of_runs(part)));
    let mut spread = of_runs(0.99);
    spread.sort_by(f64::total_cmp);
    let (low, high) = (spread[0], spread[spread.len() - 1]);
    println!("{rate:>10} {p50:>9.2} {p99:>9.2} {p999:>9.2} {max:>9.2} {cores:>8.2}   {low:.2}..{high:.2}");
}

fn run(rate: u64, settings: &Settings, folder: &Path) -> Run {
    support::empty(folder);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let pipeline = pipeline(&listener.local_addr().expect("the port is known").to_string(), settings);
    fs::write(folder.join("pipeline.toml"), pipeline).expect("the pipeline can be written");
    let log = folder.join("log");
    let mut child = Command::new(COFFERDAM)
        .arg("run")
        .arg(folder.join("pipeline.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log).expect("the log can be written"))
        .spawn()
        .expect("cofferdam can be started");
    let connection = accept(&listener, &mut child, &log);
    let records = rate * settings.seconds;
    let stdout = child.stdout.take().expect("stdout is a pipe");
    let (start, cpu_start) = (Instant::now(), cpu_seconds(child.id()));
    let sender = thread::spawn(move || send(connection, rate, records, start));
    let reader = thread::spawn(move || receive(stdout, records, start));
    sender.join().expect("all lines can be sent");
    // The connection stays open, so that the processor time can be read before the job ends.
    let cores = (cpu_seconds(child.id()) - cpu_start) / start.elapsed().as_secs_f64();
    let mut latencies = reader.join().unwrap_or_else(|_| panic!("the lines did not arrive. The log:\n{}", text(&log)));
    let status = child.wait().expect("the process can be waited for");
    assert!(status.success(), "cofferdam ended with {status}:\n{}", text(&log));
    latencies.sort_by(f64::total_cmp);
    let run = Run { latencies, cores };
    eprintln!("    {rate} records/s: p99 {:.2} ms", quantile(&run.latencies, 0.99));
    run
}

fn text(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}

/// Returns the source's connection. Fails if the process ends before it connects.
fn accept(listener: &TcpListener, child: &mut Child, log: &Path) -> TcpStream {
    listener.set_nonblocking(true).expect("the listener can be asked");
    let start = Instant::now();
    loop {
        if let Ok((connection, _)) = listener.accept() {
            connection.set_nonblocking(false).and_then(|()| connection.set_nodelay(true)).expect("a live connection");
            return connection;
        }
        let ended = child.try_wait().expect("the process can be waited for");
        assert!(ended.is_none() && start.elapsed() < PATIENCE, "cofferdam did not connect:\n{}", text(log));
        thread::sleep(Duration::from_millis(5));
    }
}

fn pipeline(address: &str, settings: &Settings) -> String {
    let (component, backend) = (component("relay"), &settings.backend);
    let component = component.display();
    let batch = settings.linger.as_ref().map_or(String::new(), |linger| format!("[batch]\nlinger = \"{linger}\"\n"));
    format!(
        r#"
name = "latency"
parallelism = 2
{batch}
[checkpoint]
interval = "1s"
[state]
backend = "{backend}"
[source.lines]
connector = "socket"
address = "{address}"
[operator.forward]
input = "lines"
component = "{component}"
function = "forward"
[operator.count]
input = "forward"
key = "emitted"
component = "{component}"
function = "count"
[sink.out]
input = "count"
connector = "stdout"
"#
    )
}

/// Sends line `n` at `start + n / rate`: `KEY,NANOSECONDS`, the time relative to `start`. Closes the connection at the end.
fn send(mut connection: TcpStream, rate: u64, records: u64, start: Instant) {
    let intended = |record: u64| record * 1_000_000_000 / rate;
    let (mut next, mut lines) = (0, String::new());
    while next < records {
        let now = start.elapsed().as_nanos() as u64;
        lines.clear();
        while next < records && intended(next) <= now {
            // The step is coprime to the number of keys, so that neighbours differ.
            let _ = writeln!(lines, "{},{}", next * 7919 % KEYS, intended(next));
            next += 1;
        }
        connection.write_all(lines.as_bytes()).expect("the process reads");
        if next < records {
            thread::sleep(TICK);
        }
    }
}

/// Reads lines `KEY,NANOSECONDS,COUNT` to the end. Returns the latencies after the warm-up, in milliseconds.
fn receive(mut stdout: impl Read, records: u64, start: Instant) -> Vec<f64> {
    let warm_up = WARM_UP.as_nanos() as u64;
    let (mut buffer, mut filled, mut lines) = (vec![0; 1 << 20], 0, 0);
    let mut latencies = Vec::with_capacity(records as usize);
    loop {
        let count = stdout.read(&mut buffer[filled..]).expect("stdout can be read");
        let now = start.elapsed().as_nanos() as u64;
        filled += count;
        let mut rest = &buffer[..filled];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let intended = intended_time(&rest[..end]);
            if intended >= warm_up {
                latencies.push(now.saturating_sub(intended) as f64 / 1e6);
            }
            lines += 1;
            rest = &rest[end + 1..];
        }
        let left = rest.len();
        buffer.copy_within(filled - left..filled, 0);
        filled = left;
        if count == 0 {
            assert_eq!(lines, records, "every line must arrive once");
            return latencies;
        }
    }
}

/// Returns the second field of a line.
fn intended_time(line: &[u8]) -> u64 {
    let field = line.split(|&byte| byte == b',').nth(1);
    let number = field.and_then(|field| std::str::from_utf8(field).ok()?.parse().ok());
    number.unwrap_or_else(|| panic!("`{}` is not one of the sent lines", String::from_utf8_lossy(line)))
}
