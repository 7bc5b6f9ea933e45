//! Counts records from Kafka to Kafka, optionally compared with Flink: `cargo xtask bench kafka [--peer flink]`.
//!
//! Both sides run the same job with the same broker: it reads lines of 100 bytes, parses them, counts them by key, and writes a count for
//! each record. Cofferdam runs the functions of `tests/guests/kafka-count` in the sandbox. The Flink job is `peer/flink/KafkaCount.java`.
//!
//! Each run is a separate process, and the sides alternate. A run lasts from the moment when the job has started until a reader of
//! committed records could read the last result. Processor time is that of the process, without the broker's. A figure is the median
//! of the rounds. Then `visible_p99_ms` is measured with few records per second: the time from a record in the input to its committed
//! result. Prints a table and writes `kafka.json` into `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cofferdam::job::{Host, HostOptions, Submission};
use cofferdam_tests::KafkaBroker;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sha2::{Digest, Sha256};
use support::{Metrics, Options, component, cpu_seconds, empty, median, quantile_of, rounded, write_report};

const PARALLELISM: u32 = 2;
const PARTITIONS: u32 = 4;
const RECORDS: u64 = 5_000_000;
const ROUNDS: u64 = 3;
const KEYS: u64 = 10_000;
/// The interval of checkpoints, on both sides.
const INTERVAL_MS: u64 = 1000;
/// With the longest key and number a line has 100 bytes.
const PADDING: usize = 86;
/// Heap size of Flink, several times what it needs.
const HEAP: &str = "-Xmx2g";
/// A run that takes longer fails.
const RUN_MAX: Duration = Duration::from_secs(300);

/// Records of the measurement of visibility, and how many of them are written per second.
const PROBES: u64 = 40_000;
const PROBES_PER_S: u64 = 2_000;

/// The environment variable that tells a process to run Cofferdam: the folder of the run.
const RUN: &str = "COFFERDAM_KAFKA_RUN";
/// Name of the component in Cofferdam.
const COMPONENT: &str = "kafka-count@0.1.0";
/// Environment variable with the class path of the Flink job, which xtask sets.
const FLINK: &str = "COFFERDAM_FLINK_CLASS_PATH";

const GUARANTEES: [&str; 2] = ["at-least-once", "exactly-once"];

/// Result of one run.
#[derive(Clone, Copy)]
struct Run {
    seconds: f64,
    cpu_seconds: f64,
}

/// What both sides need.
struct Bench {
    broker: KafkaBroker,
    scratch: PathBuf,
    records: u64,
    /// Number of output topics so far.
    topics: u32,
}

fn main() {
    if let Some(folder) = std::env::var_os(RUN) {
        return run_ours(Path::new(&folder));
    }
    let options = Options::read(&["rounds", "records"]);
    let (rounds, records) = (options.number("rounds", ROUNDS).max(1), options.number("records", RECORDS));
    let flink = std::env::var(FLINK).ok();
    let broker = KafkaBroker::start("bench-kafka").expect("the broker starts");
    let broker = broker.expect("COFFERDAM_WITHOUT_KAFKA is not set");
    let mut bench = Bench { broker, scratch: support::scratch("kafka"), records, topics: 0 };
    bench.write_input();
    println!("{records} records, {PARALLELISM} subtasks, a checkpoint every {INTERVAL_MS} ms; medians of {rounds}");
    println!("{:<14} {:>10} {:>14} {:>16} {:>14}", "guarantee", "side", "records/s", "from..to", "CPU ns/record");
    let mut metrics = Metrics::new();
    for guarantee in GUARANTEES {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(bench.run(guarantee, None));
            if let Some(class_path) = &flink {
                theirs.push(bench.run(guarantee, Some(class_path)));
            }
        }
        let name = guarantee.replace('-', "_");
        let ours = bench.report(&name, "cofferdam", &ours, &mut metrics);
        if !theirs.is_empty() {
            let theirs = bench.report(&name, "flink", &theirs, &mut metrics);
            let (ratio, cpu) = (theirs.seconds / ours.seconds, theirs.cpu_seconds / ours.cpu_seconds);
            println!("{:<14} {:>10} {ratio:>14.2} {:>16} {cpu:>14.2}", "", "ratio", "");
            metrics.insert(format!("kafka_vs_flink_{name}"), rounded(ratio, 2));
            metrics.insert(format!("kafka_cpu_vs_flink_{name}"), rounded(cpu, 2));
        }
    }
    if let (Some(one), Some(other)) =
        (metrics.get("kafka_cpu_vs_flink_at_least_once"), metrics.get("kafka_cpu_vs_flink_exactly_once"))
    {
        metrics.insert("kafka_cpu_vs_flink".to_owned(), one.min(*other));
    }
    report_visibility("", &bench.visibility(None), &mut metrics);
    if let Some(class_path) = &flink {
        report_visibility("flink_", &bench.visibility(Some(class_path)), &mut metrics);
    }
    let _ = fs::remove_dir_all(&bench.scratch);
    write_report("kafka", &metrics);
}

fn report_visibility(prefix: &str, latencies: &[f64], metrics: &mut Metrics) {
    let (median, p99) = (quantile_of(latencies, 0.5).round(), quantile_of(latencies, 0.99).round());
    println!(
        "{prefix}visible after {median} ms at the median, {p99} ms at p99, with a checkpoint every {INTERVAL_MS} ms"
    );
    metrics.insert(format!("{prefix}visible_p50_ms"), median);
    metrics.insert(format!("{prefix}visible_p99_ms"), p99);
}

impl Bench {
    fn write_input(&self) {
        let client = self.broker.client();
        client.create_topic("in", PARTITIONS).expect("the topic can be created");
        let template = format!("k{{k}},{{n}},{}", "x".repeat(PADDING));
        client.generate("in", 0, self.records, &template, KEYS).expect("the input can be written");
    }

    fn output_topic(&mut self) -> String {
        self.topics += 1;
        let topic = format!("out-{}", self.topics);
        self.broker.client().create_topic(&topic, PARTITIONS).expect("the topic can be created");
        topic
    }

    /// Runs one side in a separate process until all results can be read.
    fn run(&mut self, guarantee: &str, flink: Option<&String>) -> Run {
        let topic = self.output_topic();
        let mut process = self.start(guarantee, "in", &topic, flink);
        let (start, cpu_start) = (Instant::now(), cpu_seconds(process.id()));
        loop {
            let ends = self.broker.client().end_offsets(&topic).expect("the broker answers");
            if ends.iter().sum::<u64>() >= self.records {
                break;
            }
            let status = process.try_wait().expect("the process is a child");
            assert!(status.is_none(), "the process ended with {status:?}");
            assert!(start.elapsed() < RUN_MAX, "not finished: {ends:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let run = Run { seconds: start.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds(process.id()) - cpu_start };
        end(process);
        self.broker.client().delete_topic(&topic).expect("the topic can be deleted");
        let side = if flink.is_some() { "flink" } else { "cofferdam" };
        eprintln!("    {guarantee} {side}: {:.2} s, {:.2} s of CPU", run.seconds, run.cpu_seconds);
        run
    }

    /// Starts one side and waits until its job runs.
    fn start(&self, guarantee: &str, from: &str, to: &str, flink: Option<&String>) -> Child {
        let scratch = &self.scratch.join("run");
        empty(scratch);
        let mut command = match flink {
            Some(class_path) => self.flink(class_path, &[guarantee, from, to], scratch),
            None => self.ours(guarantee, from, to, scratch),
        };
        let log = fs::File::create(self.scratch.join("log")).expect("the log can be written");
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut output = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        let mut line = String::new();
        while line.trim() != "started" {
            line.clear();
            let read = output.read_line(&mut line).expect("its output can be read");
            assert!(
                read > 0,
                "{command:?} ended: {}",
                fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
            );
        }
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        process
    }

    fn ours(&self, guarantee: &str, from: &str, to: &str, scratch: &Path) -> Command {
        let brokers = self.broker.servers();
        let pipeline = format!(
            r#"
name = "kafka-count"
parallelism = {PARALLELISM}
[checkpoint]
interval = "{INTERVAL_MS}ms"
[state]
backend = "memory"
[source.lines]
connector = "kafka"
brokers = "{brokers}"
topic = "{from}"
start = "earliest"
format = "raw"
[operator.parse]
input = "lines"
component = "{COMPONENT}"
function = "parse"
[operator.count]
input = "parse"
key = {{ field = "key" }}
component = "{COMPONENT}"
function = "count"
[sink.counts]
input = "count"
connector = "kafka"
brokers = "{brokers}"
topic = "{to}"
key = {{ field = "key" }}
format = "ndjson"
guarantee = "{guarantee}"
"#
        );
        fs::write(scratch.join("pipeline.toml"), pipeline).expect("the pipeline can be written");
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.env(RUN, scratch);
        command
    }

    fn flink(&self, class_path: &str, arguments: &[&str; 3], scratch: &Path) -> Command {
        let [guarantee, from, to] = arguments;
        let mut command = Command::new("java");
        command.args([HEAP, "-XX:+UseParallelGC", "--add-opens=java.base/java.lang=ALL-UNNAMED"]);
        command.args(["--add-opens=java.base/java.util=ALL-UNNAMED", "-cp", class_path, "KafkaCount", guarantee]);
        command.args([&self.broker.servers(), *from, *to]);
        command.args([PARALLELISM.to_string(), INTERVAL_MS.to_string()]).arg(scratch);
        command
    }

    /// Prints the medians, adds them to `metrics` and returns them.
    fn report(&self, name: &str, side: &str, runs: &[Run], metrics: &mut Metrics) -> Run {
        let all = |of: fn(&Run) -> f64| runs.iter().map(of).collect::<Vec<_>>();
        let (seconds, cpu) = (all(|run| run.seconds), all(|run| run.cpu_seconds));
        let median = Run { seconds: median(&seconds), cpu_seconds: median(&cpu) };
        let million = |seconds: f64| self.records as f64 / seconds / 1e6;
        let cpu_ns = median.cpu_seconds * 1e9 / self.records as f64;
        let span = format!("{:.2}..{:.2} M", million(quantile_of(&seconds, 1.0)), million(quantile_of(&seconds, 0.0)));
        println!("{name:<14} {side:>10} {:>12.2} M {span:>16} {cpu_ns:>14.0}", million(median.seconds));
        metrics.insert(format!("{side}_{name}_records_per_s"), (million(median.seconds) * 1e6).round());
        metrics.insert(format!("{side}_{name}_cpu_ns_per_record"), cpu_ns.round());
        median
    }

    /// Returns for each probe the milliseconds from its place in the input to its committed result. Each has a key of its own.
    fn visibility(&mut self, flink: Option<&String>) -> Vec<f64> {
        let input = self.output_topic();
        let topic = self.output_topic();
        let process = self.start("exactly-once", &input, &topic, flink);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.broker.servers()).set("group.id", "bench");
        let mut reading = config.clone();
        reading
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "5")
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = reading.create().expect("a consumer can be created");
        let mut places = TopicPartitionList::new();
        for partition in 0..PARTITIONS as i32 {
            places.add_partition_offset(&topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&places).expect("the partitions can be assigned");
        let producer: BaseProducer = config.set("linger.ms", "1").create().expect("a producer can be created");
        let start = Instant::now();
        let writing = std::thread::spawn(move || {
            let padding = "x".repeat(PADDING);
            for number in 0..PROBES {
                let due = Duration::from_nanos(number * 1_000_000_000 / PROBES_PER_S);
                std::thread::sleep(due.saturating_sub(start.elapsed()));
                let line = format!("k{number},{number},{padding}");
                let sent = producer.send(BaseRecord::<(), str>::to(&input).payload(&line));
                sent.unwrap_or_else(|(error, _)| panic!("{error}"));
                producer.poll(Duration::ZERO);
            }
            producer.flush(Duration::from_secs(30)).expect("all probes are written");
        });
        let mut latencies = Vec::new();
        while latencies.len() < PROBES as usize {
            assert!(start.elapsed() < RUN_MAX, "{} results", latencies.len());
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message.expect("the broker answers");
            let key = std::str::from_utf8(message.key().expect("a key")).expect("a text");
            let number: u64 = key[1..].parse().expect("a number");
            let due = Duration::from_nanos(number * 1_000_000_000 / PROBES_PER_S);
            latencies.push((start.elapsed().saturating_sub(due)).as_secs_f64() * 1e3);
        }
        writing.join().expect("all probes are written");
        end(process);
        // The first seconds include the start of the job.
        latencies.split_off(latencies.len() / 4)
    }
}

fn end(mut process: Child) {
    let _ = process.kill();
    let _ = process.wait();
}

/// Runs Cofferdam in the process that was started for it, until that is killed.
fn run_ours(folder: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be created");
    let options = HostOptions::new(folder.join("data"), runtime.handle().clone());
    let host = Host::open(options).expect("the host starts");
    let component = fs::read(component("kafka-count")).expect("the component can be read");
    let mut upload = host.new_upload().expect("the data folder can be written");
    upload.write_all(&component).expect("the data folder can be written");
    host.add_component(upload, Sha256::digest(&component).into(), Some(COMPONENT), &|| false)
        .expect("the component is valid");
    let pipeline_text = fs::read_to_string(folder.join("pipeline.toml")).expect("the pipeline can be read");
    let job = host.submit(Submission::new(pipeline_text, "pipeline.toml")).unwrap_or_else(|error| panic!("{error}"));
    // The component is compiled, and no record has been read yet.
    println!("started");
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = host.job(&job.summary.id).expect("the job is known");
        assert!(now.failure.is_none(), "the job failed: {:?}", now.failure);
    }
}
