//! Counts records by key, optionally compared with Flink: `cargo xtask bench keyed-count [--peer flink]`.
//!
//! Both sides run the same job over the same files. It reads lines, parses them, partitions them by key, counts in keyed state
//! and drops the counts. Cofferdam runs the functions of `tests/guests/keyed-count` in the sandbox. The Flink job is
//! `peer/flink/KeyedCount.java`.
//!
//! Each run is a separate process. The sides alternate, and a figure is the median of the rounds. Wall time and processor time
//! cover the first to the last record, without the start of the process. Processor time is more reliable on a shared
//! machine. Memory is the peak resident memory. Prints a table and writes `keyed-count.json` into `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cofferdam::job::{Host, HostOptions, Submission};
use cofferdam::state;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const PARALLELISM: u32 = 2;
const ROUNDS: usize = 3;
/// Number of input files of a case, which the subtasks of the source share.
const FILES: u64 = 8;
/// Memory limit of RocksDB and its caches, on both sides and over all subtasks. Smaller than the large state.
const STATE_MEMORY_BYTES: usize = 256 << 20;
/// Maximum number of records per batch in Cofferdam. Large, because the benchmark measures throughput. At millions of records
/// per second, a batch still fills before the default linger time ends.
const BATCH_RECORDS: u32 = 16_384;
/// Heap size of Flink, several times what it needs.
const HEAP: &str = "-Xmx2g";
/// A run that takes longer fails.
const RUN_MAX: Duration = Duration::from_secs(600);

/// Environment variables that tell a process to run Cofferdam: the folder of the run, and the number of records.
const RUN: &str = "COFFERDAM_KEYED_COUNT_RUN";
const RECORDS: &str = "COFFERDAM_KEYED_COUNT_RECORDS";
/// Name of the component in Cofferdam.
const COMPONENT: &str = "keyed-count@0.1.0";
/// Environment variable with the class path of the Flink job, which xtask sets.
const FLINK: &str = "COFFERDAM_FLINK_CLASS_PATH";

struct Case {
    metric: &'static str,
    backend: &'static str,
    flink_backend: &'static str,
    ratio: &'static str,
    ratio_target: f64,
    keys: u64,
    records: u64,
}

/// Each case has enough records for several seconds, so that the initial compilation of the JVM matters little.
const CASES: &[Case] = &[
    Case {
        metric: "large_state_rocksdb",
        backend: "rocksdb",
        flink_backend: "rocksdb",
        ratio: "large_state_vs_flink_rocksdb",
        ratio_target: 3.0,
        keys: 10_000_000,
        records: 12_000_000,
    },
    Case {
        metric: "hot_keys_rocksdb",
        backend: "rocksdb",
        flink_backend: "rocksdb",
        ratio: "hot_keys_vs_flink_rocksdb",
        ratio_target: 6.0,
        keys: 4_000,
        records: 10_000_000,
    },
    Case {
        metric: "hot_keys_memory",
        backend: "memory",
        flink_backend: "hashmap",
        ratio: "hot_keys_vs_flink_hashmap",
        ratio_target: 4.0,
        keys: 4_000,
        records: 40_000_000,
    },
];

/// Result of one run, which the process prints as JSON.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Run {
    records: u64,
    nanoseconds: u64,
    /// Processor time of all threads.
    cpu_nanoseconds: u64,
    resident_bytes: u64,
}

impl Run {
    fn cpu_ns_per_record(&self) -> f64 {
        self.cpu_nanoseconds as f64 / self.records as f64
    }

    fn records_per_s(&self) -> f64 {
        self.records as f64 * 1e9 / self.nanoseconds as f64
    }
}

/// Arguments: `[CASE ...] [--rounds N]`. Cargo adds `--bench`.
struct Arguments {
    cases: Vec<&'static Case>,
    rounds: usize,
}

impl Arguments {
    fn read() -> Arguments {
        let (mut cases, mut rounds) = (Vec::new(), ROUNDS);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => {}
                "--rounds" => rounds = words.next().and_then(|number| number.parse().ok()).expect("--rounds N"),
                name => cases.push(CASES.iter().find(|case| case.metric == name).expect("the name of a case")),
            }
        }
        if cases.is_empty() {
            cases = CASES.iter().collect();
        }
        Arguments { cases, rounds: rounds.max(1) }
    }
}

fn main() {
    if let (Some(folder), Ok(records)) = (std::env::var_os(RUN), std::env::var(RECORDS)) {
        return run_ours(Path::new(&folder), records.parse().expect("a number"));
    }
    let flink = std::env::var(FLINK).ok();
    let report = folder("COFFERDAM_BENCH_DIR").join("keyed-count.json");
    let scratch = folder("COFFERDAM_BENCH_DIR").join("keyed-count");
    let Arguments { cases, rounds } = Arguments::read();
    println!(
        "{PARALLELISM} subtasks; {} MiB for RocksDB and its caches; medians of {rounds}",
        STATE_MEMORY_BYTES >> 20
    );
    let heads = ["case", "side", "records/s", "from..to", "CPU ns/record", "resident MiB"];
    println!("{:<20} {:>9} {:>12} {:>16} {:>13} {:>13}", heads[0], heads[1], heads[2], heads[3], heads[4], heads[5]);
    let mut metrics = BTreeMap::new();
    for case in cases {
        let input = scratch.join("input");
        write_input(case, &input);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(start_ours(case, &input, &scratch.join("run")));
            if let Some(class_path) = &flink {
                theirs.push(start_flink(case, class_path, &input, &scratch.join("run")));
            }
        }
        let ours = report_side(case.metric, "cofferdam", &ours, &mut metrics);
        if !theirs.is_empty() {
            let theirs = report_side(&format!("flink_{}", case.metric), "flink", &theirs, &mut metrics);
            let ratio = ours / theirs;
            println!("{:<20} {:>9} {ratio:>12.2}   target {}", "", "ratio", case.ratio_target);
            metrics.insert(case.ratio.to_owned(), (ratio * 100.0).round() / 100.0);
        }
    }
    let _ = fs::remove_dir_all(&scratch);
    let json = serde_json::json!({ "name": "keyed-count", "metrics": metrics });
    fs::write(&report, format!("{json:#}\n")).expect("the report can be written");
}

fn folder(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    PathBuf::from(value.unwrap_or_else(|| panic!("{name} is not set: use `cargo xtask bench keyed-count`")))
}

fn component() -> PathBuf {
    folder("COFFERDAM_TEST_COMPONENTS").join("keyed-count.wasm")
}

fn empty(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}

/// Prints the medians and adds them to `metrics`. Returns the records per second.
fn report_side(metric: &str, side: &str, runs: &[Run], metrics: &mut BTreeMap<String, f64>) -> f64 {
    let sorted = |of: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let middle = |values: &[f64]| values[values.len() / 2];
    let rates = sorted(Run::records_per_s);
    let (rate, cpu) = (middle(&rates), middle(&sorted(Run::cpu_ns_per_record)));
    let resident = middle(&sorted(|run| run.resident_bytes as f64));
    let span = format!("{:.2}..{:.2} M", rates[0] / 1e6, rates[rates.len() - 1] / 1e6);
    let (name, million, mib) = (metric.trim_start_matches("flink_"), rate / 1e6, resident / f64::from(1 << 20));
    println!("{name:<20} {side:>9} {million:>10.2} M {span:>16} {cpu:>13.0} {mib:>13.0}");
    metrics.insert(format!("{metric}_records_per_s"), rate.round());
    metrics.insert(format!("{metric}_cpu_ns_per_record"), cpu.round());
    metrics.insert(format!("{metric}_resident_bytes"), resident);
    rate
}

/// Writes lines `KEY,PAYLOAD`. A key has 16 hexadecimal digits, so that the state does not compress. Every key occurs about
/// equally often, and each round has another order.
fn write_input(case: &Case, folder: &Path) {
    empty(folder);
    let per_file = case.records / FILES;
    for file in 0..FILES {
        let path = folder.join(format!("{file:02}.txt"));
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path).expect("the input can be written"));
        for record in file * per_file..(file + 1) * per_file {
            let round = record / case.keys;
            // The step is coprime to `keys`, which has no other prime factors than 2 and 5. So a round visits every key.
            let step = [7_368_787, 3_481_331, 9_142_817][(round % 3) as usize];
            let key = scatter(record % case.keys * step % case.keys);
            writeln!(out, "{key:016x},{record:015}").expect("the input can be written");
        }
        out.flush().expect("the input can be written");
    }
}

/// SplitMix64: a bijection that scatters adjacent numbers.
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn start_ours(case: &Case, input: &Path, scratch: &Path) -> Run {
    empty(scratch);
    let (input, backend) = (input.display(), case.backend);
    let pipeline = format!(
        r#"
name = "keyed-count"
parallelism = {PARALLELISM}
[batch]
records = {BATCH_RECORDS}
[state]
backend = "{backend}"
[source.lines]
connector = "file"
path = "{input}"
[operator.parse]
input = "lines"
component = "{COMPONENT}"
function = "parse"
[operator.count]
input = "parse"
key = "emitted"
component = "{COMPONENT}"
function = "count"
[sink.drop]
input = "count"
connector = "blackhole"
"#
    );
    fs::write(scratch.join("pipeline.toml"), pipeline).expect("the pipeline can be written");
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    measure(case, command.env(RUN, scratch).env(RECORDS, case.records.to_string()))
}

fn start_flink(case: &Case, class_path: &str, input: &Path, scratch: &Path) -> Run {
    empty(scratch);
    let mut command = Command::new("java");
    command.args([HEAP, "-XX:+UseParallelGC", "--add-opens=java.base/java.lang=ALL-UNNAMED"]);
    command.args(["--add-opens=java.base/java.util=ALL-UNNAMED", "-cp", class_path, "KeyedCount", case.flink_backend]);
    command.arg(input).arg(PARALLELISM.to_string()).arg(STATE_MEMORY_BYTES.to_string()).arg(scratch);
    measure(case, &mut command)
}

/// Runs one side in a separate process.
fn measure(case: &Case, command: &mut Command) -> Run {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("the process can be started");
    assert!(output.status.success(), "{command:?} ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    let run: Run = serde_json::from_str(line).unwrap_or_else(|error| panic!("{command:?} printed {text}: {error}"));
    assert_eq!(run.records, case.records, "every record is counted once");
    eprintln!("    {} {:.2} M records/s", case.metric, run.records_per_s() / 1e6);
    run
}

/// Runs Cofferdam in the process that was started for it. The process exits before the final checkpoint of the job, which is
/// not measured.
fn run_ours(folder: &Path, records: u64) {
    state::set_memory_limit(STATE_MEMORY_BYTES);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be created");
    let options = HostOptions::new(folder.join("data"), runtime.handle().clone());
    let host = Host::open(options).expect("the host starts");
    let mut upload = host.new_upload().expect("the data folder can be written");
    let component = fs::read(component()).expect("the component can be read");
    upload.write_all(&component).expect("the data folder can be written");
    host.add_component(upload, Sha256::digest(&component).into(), Some(COMPONENT), &|| false)
        .expect("the component is valid");
    let pipeline_text = fs::read_to_string(folder.join("pipeline.toml")).expect("the pipeline can be read");
    let submission = Submission::new(pipeline_text, "pipeline.toml");
    let job = host.submit(submission).unwrap_or_else(|error| panic!("{error}"));
    // The component is compiled, and no record has been read yet.
    let (start, cpu_start) = (Instant::now(), cpu_nanoseconds());
    loop {
        std::thread::sleep(Duration::from_millis(5));
        let now = host.job(&job.summary.id).expect("the job is known");
        let nanoseconds = start.elapsed().as_nanos() as u64;
        assert!(start.elapsed() < RUN_MAX && now.failure.is_none(), "the job did not finish: {:?}", now.failure);
        if now.operators.iter().any(|node| node.kind == "sink" && node.records_in >= records) {
            let records = now.summary.records_in;
            let cpu_nanoseconds = cpu_nanoseconds() - cpu_start;
            let run = Run { records, nanoseconds, cpu_nanoseconds, resident_bytes: resident_bytes_max() };
            println!("{}", serde_json::to_string(&run).expect("plain data can be serialized"));
            std::process::exit(0);
        }
    }
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
