//! Measures the cost of windows and timers: `cargo xtask bench windows`.
//!
//! - Windows: sums 100 records per key and second in tumbling windows of 60 s, and in sliding windows of 60 s that start every
//!   second. Uses an aggregate of a component and a built-in one. Measures the processor time per record, and the ratio of
//!   sliding to tumbling windows. Runs alternate in one process.
//! - Timers: sets a million timers on RocksDB with a memory limit. Measures the resident memory of the process, compared with
//!   the same process with a thousand timers, and the processor time to set and to fire a timer.
//!
//! Prints a table and writes `windows.json` into `COFFERDAM_BENCH_DIR`. `--rounds N`, `--seconds N` and `--timers N` reduce the
//! size.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cofferdam::access::PipelinePaths;
use cofferdam::clock::SystemClock;
use cofferdam::job::{Host, HostOptions, Submission};
use cofferdam::model::{Batch, DueTimers, Interrupt, TimeDomain};
use cofferdam::permits::JobShare;
use cofferdam::pipeline::PipelineSpec;
use cofferdam::runtime::{Execution, ExecutionOptions, ExecutionPlan, FunctionPlan, GuestOptions, SubtaskEvent};
use cofferdam::sandbox::{FunctionDescription, FunctionKind, PortDescription};
use cofferdam::state;
use cofferdam::turn::{Guest, OutputBatch, Turn, TurnFailure, timer_states};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const KEYS: u64 = 100;
const RECORDS_PER_KEY_AND_SECOND: u64 = 100;
/// Event time that the input covers.
const SECONDS: u64 = 300;
const ROUNDS: usize = 5;
const TIMERS: u64 = 1_000_000;
/// Memory limit of RocksDB and its caches in the process with the timers.
const STATE_MEMORY_BYTES: usize = 64 << 20;
/// A run that takes longer fails.
const RUN_MAX: Duration = Duration::from_secs(600);
/// Name of the component.
const COMPONENT: &str = "event-time@0.1.0";
/// Environment variable that tells a process how many timers to set.
const TIMERS_OF: &str = "COFFERDAM_WINDOWS_TIMERS";

const WINDOWS: &[(&str, &str)] = &[
    ("tumbling", r#"{ type = "tumbling", size = "60s" }"#),
    ("sliding", r#"{ type = "sliding", size = "60s", slide = "1s" }"#),
];

fn main() {
    if let Ok(timers) = std::env::var(TIMERS_OF) {
        return run_timers(timers.parse().expect("a number"));
    }
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<u64>().ok()
    };
    let mut metrics = BTreeMap::new();
    windows(number("--rounds").map_or(ROUNDS, |n| n as usize), number("--seconds").unwrap_or(SECONDS), &mut metrics);
    timers(number("--timers").unwrap_or(TIMERS), &mut metrics);
    let json = serde_json::json!({ "name": "windows", "metrics": metrics });
    fs::write(folder("COFFERDAM_BENCH_DIR").join("windows.json"), format!("{json:#}\n"))
        .expect("the report can be written");
}

fn folder(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    PathBuf::from(value.unwrap_or_else(|| panic!("{name} is not set: use `cargo xtask bench windows`")))
}

fn windows(rounds: usize, seconds: u64, metrics: &mut BTreeMap<String, f64>) {
    let scratch = tempfile::tempdir().expect("a folder can be made");
    let input = scratch.path().join("input.csv");
    let records = write_input(&input, seconds);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be created");
    let host = Host::open(HostOptions::new(scratch.path().join("data"), runtime.handle().clone()));
    let host = host.expect("the host starts");
    let component = folder("COFFERDAM_TEST_COMPONENTS").join("event-time.wasm");
    let component = fs::read(component).expect("the component can be read");
    let mut upload = host.new_upload().expect("the data folder can be written");
    upload.write_all(&component).expect("the data folder can be written");
    host.add_component(upload, Sha256::digest(&component).into(), Some(COMPONENT), &|| false)
        .expect("the component is valid");
    println!(
        "{KEYS} keys, {RECORDS_PER_KEY_AND_SECOND} records per key and second, {records} records; medians of {rounds}"
    );
    println!("{:<12} {:>16} {:>16} {:>8}   CPU ns/record", "aggregate", "tumbling 60 s", "60 s by 1 s", "ratio");
    let guest = format!("component = \"{COMPONENT}\"\nfunction = \"sum\"");
    for (name, aggregate) in
        [("component", &guest[..]), ("built-in", "aggregate = { type = \"sum\", field = \"value\" }")]
    {
        let mut runs = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (at, (window, definition)) in WINDOWS.iter().enumerate() {
                runs[at].push(run_windows(&host, &input, window, definition, aggregate, records));
            }
        }
        let [tumbling, sliding] = runs.map(|mut values| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        });
        let ratio = sliding / tumbling;
        println!("{name:<12} {tumbling:>16.0} {sliding:>16.0} {ratio:>8.2}");
        let of = if name == "built-in" { "_built_in" } else { "" };
        metrics.insert(format!("tumbling{of}_cpu_ns_per_record"), tumbling.round());
        metrics.insert(format!("sliding{of}_cpu_ns_per_record"), sliding.round());
        metrics.insert(format!("sliding_over_tumbling{of}"), (ratio * 100.0).round() / 100.0);
    }
    host.shutdown();
}

/// Writes lines `key,time,value` in order of time, with the keys of each second mixed. Returns the number of records.
fn write_input(path: &Path, seconds: u64) -> u64 {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).expect("the input can be written"));
    writeln!(out, "key,time,value").expect("the input can be written");
    let per_second = KEYS * RECORDS_PER_KEY_AND_SECOND;
    for record in 0..seconds * per_second {
        let (second, within) = (record / per_second, record % per_second);
        let (key, ms) = (within * 37 % KEYS, within * 1000 / per_second);
        writeln!(out, "key-{key:03},{},{}", second * 1000 + ms, record % 10).expect("the input can be written");
    }
    out.flush().expect("the input can be written");
    seconds * per_second
}

/// Runs one job, and returns its processor time per record in nanoseconds.
fn run_windows(host: &Host, input: &Path, window: &str, definition: &str, aggregate: &str, records: u64) -> f64 {
    let input = input.display();
    let pipeline = format!(
        r#"
name = "{window}"
[source.lines]
connector = "file"
path = "{input}"
format = "csv"
timestamp = {{ field = "time", format = "unix-ms" }}
watermark = "ascending"
[operator.sums]
input = "lines"
key = {{ field = "key" }}
window = {definition}
{aggregate}
[sink.drop]
input = "sums"
connector = "blackhole"
"#
    );
    let submission = Submission::new(pipeline, "pipeline.toml");
    let cpu_start = cpu_nanoseconds();
    let job = host.submit(submission).unwrap_or_else(|error| panic!("{error}"));
    let ended = host.await_end(&job.summary.id, RUN_MAX).expect("the job is known");
    let cpu = cpu_nanoseconds() - cpu_start;
    assert!(ended.failure.is_none(), "{:?}", ended.failure);
    assert_eq!(ended.summary.records_in, records, "every record is read once");
    let results = ended.operators.iter().find(|node| node.kind == "sink").map_or(0, |sink| sink.records_in);
    let seconds = records / KEYS / RECORDS_PER_KEY_AND_SECOND;
    let expected = if window == "tumbling" { seconds.div_ceil(60) } else { seconds + 59 };
    assert_eq!(results, expected * KEYS, "every window of every key fires once");
    host.remove_job(&job.summary.id, false).expect("the job has ended");
    cpu as f64 / records as f64
}

/// Result of a process with timers, which it prints as JSON.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct TimersRun {
    resident_bytes: u64,
    set_cpu_ns: u64,
    fire_cpu_ns: u64,
}

fn timers(count: u64, metrics: &mut BTreeMap<String, f64>) {
    let run = |count: u64| {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        let output = command
            .env(TIMERS_OF, count.to_string())
            .stderr(Stdio::inherit())
            .output()
            .expect("the process can be started");
        assert!(output.status.success(), "the process ended with {}", output.status);
        serde_json::from_slice::<TimersRun>(&output.stdout).expect("the process prints its result")
    };
    let (few, many) = (run(1000), run(count));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let per_timer = |nanoseconds: u64| nanoseconds as f64 / count as f64;
    println!(
        "{count} timers on RocksDB with {} MiB: {:.0} MiB resident ({:.0} with 1000 timers); {:.0} ns to set, {:.0} ns to fire",
        STATE_MEMORY_BYTES >> 20,
        mib(many.resident_bytes),
        mib(few.resident_bytes),
        per_timer(many.set_cpu_ns),
        per_timer(many.fire_cpu_ns),
    );
    metrics.insert("timers_state_memory_mib".into(), mib(STATE_MEMORY_BYTES as u64));
    metrics.insert("timers_resident_mib".into(), mib(many.resident_bytes).round());
    metrics.insert("timers_resident_mib_with_1000".into(), mib(few.resident_bytes).round());
    metrics.insert("timer_set_cpu_ns".into(), per_timer(many.set_cpu_ns).round());
    metrics.insert("timer_fire_cpu_ns".into(), per_timer(many.fire_cpu_ns).round());
}

/// Sets a timer far after the watermark for each record. Counts the timers set and fired.
struct Alarm {
    set: Arc<AtomicU64>,
    fired: Arc<AtomicU64>,
}

impl Guest for Alarm {
    fn process(&mut self, turn: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let keys = batch.keys.clone().expect("the input is keyed");
        let times: Vec<i64> = batch.timestamps.iter().map(|time| time + i64::MAX / 2).collect();
        turn.timer_register(TimeDomain::Event, &keys.key_of, &times)?;
        self.set.fetch_add(times.len() as u64, Ordering::Relaxed);
        Ok(Vec::new())
    }

    fn on_timers(&mut self, _: &mut Turn, _: TimeDomain, timers: &DueTimers) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.fired.fetch_add(timers.len() as u64, Ordering::Relaxed);
        Ok(Vec::new())
    }
}

/// A plan whose one operator sets a timer for each of `count` records. The operator counts the timers set and fired.
fn timers_plan(count: u64, set: &Arc<AtomicU64>, fired: &Arc<AtomicU64>) -> Arc<ExecutionPlan> {
    let text = format!(
        r#"
name = "timers"
[state]
backend = "rocksdb"
[source.numbers]
connector = "generator"
template = "{{n}}"
records = {count}
timestamp = {{ column = 0, format = "unix-ms" }}
watermark = "ascending"
[operator.alarm]
input = "numbers"
key = "value"
component = "native"
function = "alarm"
[sink.out]
input = "alarm"
connector = "blackhole"
"#
    );
    let pipeline = PipelineSpec::parse(&text, "bench").expect("the pipeline is well formed");
    let port = |name: &str| PortDescription::new(name, "raw");
    let timers = vec![TimeDomain::Event];
    let description = FunctionDescription {
        name: "alarm".into(),
        kind: FunctionKind::KeyedProcess,
        input: port("in"),
        second_input: None,
        outputs: vec![port("out")],
        states: Vec::new(),
        broadcast_states: Vec::new(),
        internal: timer_states(&timers),
        timers,
    };
    let counts = (set.clone(), fired.clone());
    let make = Arc::new(move |_: &GuestOptions| {
        Box::new(Alarm { set: counts.0.clone(), fired: counts.1.clone() }) as Box<dyn Guest>
    });
    let functions = BTreeMap::from([("alarm".to_string(), FunctionPlan { description, make })]);
    Arc::new(ExecutionPlan::new(pipeline, functions, Path::new(".")).expect("the plan can be made"))
}

/// Sets the timers, lets the end of the input fire them, and prints the cost. Runs in a process of its own.
fn run_timers(count: u64) {
    state::set_memory_limit(STATE_MEMORY_BYTES);
    let (set, fired) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let plan = timers_plan(count, &set, &fired);
    let scratch = tempfile::tempdir().expect("a folder can be made");
    let options = ExecutionOptions {
        namespace_state: Default::default(),
        taps: Default::default(),
        log: Default::default(),
        health: Default::default(),
        job_id: "bench".into(),
        paths: PipelinePaths::default(),
        working_dir: scratch.path().to_path_buf(),
        seed: 7,
        clock: SystemClock::shared(),
        allow_unclaimed_state: false,
        reset_watermarks: false,
        region: None,
        triggers: None,
        share: JobShare::default(),
        injected: Arc::default(),
        interrupt: Interrupt::default(),
        restore: None,
        runtime: None,
        letters: Default::default(),
        sinks: Default::default(),
        faults: None,
        span: Default::default(),
        ingest: None,
        listener: Arc::new(|event| {
            if let SubtaskEvent::Failed(failure) = event {
                panic!("{failure:?}");
            }
        }),
    };
    let begun = (Instant::now(), cpu_nanoseconds());
    let await_count = |counter: &AtomicU64| {
        while counter.load(Ordering::Relaxed) < count {
            assert!(begun.0.elapsed() < RUN_MAX, "only {} of {count} timers", counter.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(1));
        }
        cpu_nanoseconds()
    };
    let execution = Execution::start(&plan, options).expect("the attempt can be started");
    let all_set = await_count(&set);
    let all_fired = await_count(&fired);
    drop(execution);
    let run = TimersRun {
        resident_bytes: resident_bytes_max(),
        set_cpu_ns: all_set - begun.1,
        fire_cpu_ns: all_fired - all_set,
    };
    println!("{}", serde_json::to_string(&run).expect("plain data can be serialized"));
}

/// Returns the peak resident memory of this process.
fn resident_bytes_max() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("procfs is available");
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map(|kib: u64| kib << 10).expect("procfs is available")
}

/// Returns the processor time that this process has used. Linux reports it in hundredths of a second.
fn cpu_nanoseconds() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("procfs is available");
    // User and system time are fields 14 and 15. Skips the name first, since it may contain blanks.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<u64>().expect("a number")).sum::<u64>() * 10_000_000
}
