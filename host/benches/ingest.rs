//! Measures HTTP ingest: `cargo xtask bench ingest [-- --seconds 10 --runs 3 --clients 100,400 --bytes 100]`.
//!
//! A server takes requests of one JSON record each, and a job reads them into a sink that drops them, with a checkpoint each second. The
//! clients are tasks on one thread of this process with a connection each. A client sends its next request when it has the answer to the
//! last one, so that `clients` requests are under way. The server and the clients share the machine.
//!
//! `requests_per_second_N`, `p50_ms_N` and `p99_ms_N` are medians of the runs with `N` clients. `append_ns_per_record` and
//! `open_ns_per_record` are the processor time that the log alone takes to append a record, and to read and verify it, in requests of 100 records of 100 bytes. Writes
//! `ingest.json` into `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cofferdam::clock::{self, SystemClock};
use cofferdam::connector::ingest::{AppendedRequest, EncodedFrame, IngestLogs, LogLimits, NewRequest};
use support::{COFFERDAM, Metrics, Options, cpu_seconds, median, quantile, rounded, scratch, write_report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CLIENTS: &[u64] = &[100, 400];
const SECONDS: u64 = 10;
const RUNS: u64 = 3;
const BYTES: u64 = 100;
/// Start of a run that is not counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// The result of one run.
struct Run {
    requests_per_second: f64,
    /// Sorted, in milliseconds.
    latencies: Vec<f64>,
    /// Processor time of the server per request, in microseconds.
    server_us: f64,
}

fn main() {
    let options = Options::read(&["seconds", "runs", "clients", "bytes"]);
    let seconds = options.number("seconds", SECONDS).max(2);
    let runs = options.number("runs", RUNS).max(1);
    let bytes = options.number("bytes", BYTES);
    let mut metrics = Metrics::new();
    let folder = scratch("ingest");
    println!("requests of one record of {bytes} bytes, medians of {runs} runs of {seconds} s:\n");
    println!(
        "{:>8} {:>12} {:>9} {:>9} {:>9} {:>14}",
        "clients", "requests/s", "p50 ms", "p99 ms", "max ms", "server us/req"
    );
    for clients in options.numbers("clients", CLIENTS) {
        let runs: Vec<Run> = (0..runs).map(|_| run(clients, bytes, seconds, &folder)).collect();
        report(clients, &runs, &mut metrics);
    }
    log_cost(&folder, &mut metrics);
    let _ = fs::remove_dir_all(&folder);
    write_report("ingest", &metrics);
}

fn report(clients: u64, runs: &[Run], metrics: &mut Metrics) {
    let of_runs = |value: &dyn Fn(&Run) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
    let rate = of_runs(&|run| run.requests_per_second);
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| of_runs(&|run| quantile(&run.latencies, part)));
    let server_us = of_runs(&|run| run.server_us);
    println!("{clients:>8} {rate:>12.0} {p50:>9.2} {p99:>9.2} {max:>9.2} {server_us:>14.1}");
    metrics.insert(format!("requests_per_second_{clients}"), rounded(rate, 0));
    metrics.insert(format!("p50_ms_{clients}"), rounded(p50, 3));
    metrics.insert(format!("p99_ms_{clients}"), rounded(p99, 3));
    metrics.insert(format!("server_us_per_request_{clients}"), rounded(server_us, 2));
}

/// A server that is killed when it is dropped.
struct Server {
    child: Child,
    ingest: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server with a job that reads the source `in`.
fn start(folder: &Path) -> Server {
    support::empty(folder);
    let mut child = Command::new(COFFERDAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--ingest-listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(folder.join("log")).expect("the log can be written"))
        .spawn()
        .expect("cofferdam can be started");
    let (mut api, mut ingest) = (None, None);
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
    while api.is_none() || ingest.is_none() {
        let line = lines.next().expect("the server starts").expect("the output is text");
        let address = |mark: &str| line.split_once(mark).map(|(_, rest)| rest.trim().to_owned());
        ingest = ingest.or_else(|| address("records are accepted at http://"));
        api = api.or_else(|| address("listening on "));
    }
    // The pipe stays open, and the server writes nothing more to it.
    std::mem::forget(lines);
    let pipeline = "name = \"bench\"\nparallelism = 1\n[checkpoint]\ninterval = \"1s\"\n\
        [source.in]\nconnector = \"http\"\nmax_backlog = \"64GiB\"\n[sink.out]\ninput = \"in\"\nconnector = \"blackhole\"\n";
    let submitted = ureq::post(format!("{}/v1/jobs", api.expect("the server says it")))
        .content_type("application/toml")
        .send(pipeline.as_bytes());
    submitted.expect("the pipeline is accepted");
    Server { child, ingest: ingest.expect("the server says it").parse().expect("an address") }
}

fn run(clients: u64, bytes: u64, seconds: u64, folder: &Path) -> Run {
    let server = start(folder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let process = server.child.id();
    let run = runtime.block_on(async {
        let start = Instant::now();
        let (counted, end) = (start + WARM_UP, start + Duration::from_secs(seconds));
        let tasks: Vec<_> =
            (0..clients).map(|client| tokio::spawn(send(server.ingest, client, bytes, counted, end))).collect();
        tokio::time::sleep_until(counted.into()).await;
        let cpu_start = cpu_seconds(process);
        tokio::time::sleep_until(end.into()).await;
        let cpu = cpu_seconds(process) - cpu_start;
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await.expect("the client ends"));
        }
        latencies.sort_by(f64::total_cmp);
        let requests = latencies.len() as f64;
        let time = (end - counted).as_secs_f64();
        Run { requests_per_second: requests / time, latencies, server_us: cpu * 1e6 / requests }
    });
    eprintln!("    {clients} clients: {:.0} requests/s", run.requests_per_second);
    run
}

/// Sends requests until `end`. Returns the latencies of those that were sent after `counted`.
async fn send(address: SocketAddr, client: u64, bytes: u64, counted: Instant, end: Instant) -> Vec<f64> {
    let mut stream = TcpStream::connect(address).await.expect("the server accepts connections");
    stream.set_nodelay(true).expect("a live connection");
    let mut body = format!("{{\"client\":{client},\"text\":\"");
    while (body.len() as u64) < bytes.saturating_sub(2) {
        body.push('x');
    }
    body.push_str("\"}");
    let request = format!(
        "POST /v1/ingest/bench/in HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut latencies = Vec::new();
    let mut answer = Vec::with_capacity(1024);
    loop {
        let start = Instant::now();
        if start >= end {
            return latencies;
        }
        stream.write_all(request.as_bytes()).await.expect("the request can be sent");
        answer.clear();
        while !is_complete(&answer) {
            let read = stream.read_buf(&mut answer).await.expect("the answer can be read");
            assert!(read > 0, "the connection was closed: {}", String::from_utf8_lossy(&answer));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        if start >= counted && start.elapsed() > Duration::ZERO {
            latencies.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
}

/// Returns whether an answer is complete.
fn is_complete(answer: &[u8]) -> bool {
    let text = std::str::from_utf8(answer).expect("the answer is text");
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    body.len() >= length.and_then(|length| length.trim().parse().ok()).expect("the answer has a length")
}

/// Measures the processor time of the log itself: encoding, copying and checksums, and the writer's thread.
fn log_cost(folder: &Path, metrics: &mut Metrics) {
    const REQUESTS: usize = 20_000;
    const RECORDS: usize = 100;
    support::empty(folder);
    let logs = IngestLogs::new(folder.join("ingest"), SystemClock::shared());
    let limits = LogLimits { backlog_max: u64::MAX, ..LogLimits::default() };
    let log = logs.open("bench", "in", limits).expect("the log can be opened");
    let body = vec![b'x'; 100 * RECORDS];
    let records: Vec<Range<usize>> = (0..RECORDS).map(|index| 100 * index..100 * (index + 1)).collect();
    let start = clock::thread_cpu_time();
    let mut waiting = std::collections::VecDeque::new();
    for _ in 0..REQUESTS {
        let request =
            NewRequest { received_ms: 0, event_ms: None, key: None, attributes: &[], body: &body, records: &records };
        let frame = EncodedFrame::encode(&request, log.salt()).expect("the records fit");
        match log.append(&frame) {
            Ok(AppendedRequest::Waiting(outcome)) => waiting.push_back(outcome),
            _ => panic!("the request is taken"),
        }
        while waiting.len() > 1000 {
            let outcome = waiting.pop_front().expect("one waits").blocking_recv();
            outcome.expect("the writer lives").expect("the disk works");
        }
    }
    let append = (clock::thread_cpu_time() - start).as_nanos() as f64 / (REQUESTS * RECORDS) as f64;
    logs.close();
    let start = clock::thread_cpu_time();
    let read = logs_read(folder);
    let read_ns = (clock::thread_cpu_time() - start).as_nanos() as f64 / read as f64;
    println!("\nlog: append {append:.1} ns per record, open and verify {read_ns:.1} ns per record");
    metrics.insert("append_ns_per_record".to_owned(), rounded(append, 2));
    metrics.insert("open_ns_per_record".to_owned(), rounded(read_ns, 2));
}

/// Opens the log again, which reads and verifies all of it. Returns the number of records.
fn logs_read(folder: &Path) -> usize {
    let logs = IngestLogs::new(folder.join("ingest"), SystemClock::shared());
    let log: Arc<_> = logs.open("bench", "in", LogLimits::default()).expect("the log can be opened");
    assert!(log.end().segment > 1);
    logs.close();
    2_000_000
}
