//! Measures what bad functions cost others: `cargo xtask bench faults [-- --calls 300 --seconds 10
//! --parts calls,commands,fairness,regions]`.
//!
//! - `calls`, on one thread without a job. A guest loops; `endless_guest_over_deadline_ms_p99` is the processor time of a call beyond its
//!   deadline, for deadlines of 7, 20 and 50 ms. A guest traps, and the next record needs a new instance;
//!   `trap_to_next_record_ms_p99` is the time of both calls.
//! - `commands`: `command_heard_ms_max` is the longest time from a cancel to the end of the job, over these states: running, looping guest,
//!   firing of a million timers, seek in a compressed file, delay before a restart, blocked sink, waiting for a permit beside 64 looping
//!   subtasks. A stop is heard once the job shows it; SIGTERM once the server accepts no connection.
//! - `fairness`: the throughput of a job with a function and a keyed function, two subtasks each, alone and beside a job whose function
//!   loops. `neighbour_fair_share_N` is its part of half of its throughput alone, beside N looping subtasks.
//! - `regions`: a job of two regions. One computes as fast as it can. The other gets five records per second, and in every second period
//!   it fails on each of them and restarts. `other_region_ratio` is the throughput of the first region in those periods, divided by its
//!   throughput in the periods before and after: the median of the rounds. `other_region_faults_per_s` tells how often the other one fails.
//!
//! Prints a table and writes `faults.json` into `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cofferdam::clock::thread_cpu_time;
use cofferdam::model::Batch;
use cofferdam::operator::{FunctionOperator, Operator};
use cofferdam::pipeline::{FaultPolicy, GuestLimits};
use cofferdam::sandbox::{Component, Instance, Sandbox, SandboxOptions};
use cofferdam::turn::FIRST_INPUT;
use cofferdam_tests::{Server, wait_until};
use serde_json::Value;
use support::{COFFERDAM, Metrics, Options, component, median, quantile_of, rounded, scratch, write_report};

/// A step that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);
const DEADLINES_MS: &[u64] = &[7, 20, 50];
/// Interval at which the status of a job is asked for.
const LOOK: Duration = Duration::from_millis(3);

fn main() {
    let options = Options::read(&["calls", "seconds", "parts", "rounds"]);
    let wanted = |part: &str| options.text("parts").is_none_or(|parts| parts.split(',').any(|one| one == part));
    let mut metrics = Metrics::new();
    if wanted("calls") {
        calls(usize::try_from(options.number("calls", 300)).unwrap_or(300).max(10), &mut metrics);
    }
    if wanted("commands") {
        commands(&mut metrics);
    }
    if wanted("fairness") {
        let seconds = Duration::from_secs(options.number("seconds", 10).max(1));
        fairness(seconds, options.number("rounds", 3).max(1), &mut metrics);
    }
    if wanted("regions") {
        let seconds = Duration::from_secs(options.number("seconds", 10).max(1));
        regions(seconds, options.number("rounds", 3).max(1), &mut metrics);
    }
    write_report("faults", &metrics);
}

fn show(metrics: &mut Metrics, name: &str, value: f64, digits: i32) {
    let value = rounded(value, digits);
    println!("{name:<52} {value:>12}");
    metrics.insert(name.to_owned(), value);
}

// Calls.

fn operator(component: &Component, function: &str, deadline: Duration) -> FunctionOperator {
    let (index, description) = component.description().function(function).expect("the component has the function");
    let limits = GuestLimits { deadline, ..GuestLimits::default() };
    let guest = Box::new(Instance::new(component.clone(), index, limits, 0, false));
    support::operator::operator_with_policy(guest, description, FaultPolicy::Skip)
}

fn process(operator: &mut FunctionOperator, record: &[u8]) {
    let mut batch = Batch::default();
    batch.push(record, 0);
    operator.process(FIRST_INPUT, batch, &mut Vec::new()).expect("the record is skipped");
}

fn calls(count: usize, metrics: &mut Metrics) {
    let sandbox = Sandbox::open(SandboxOptions::in_this_process(8)).expect("the sandbox can be opened");
    let bytes = fs::read(component("misbehaving")).expect("the component can be read");
    let component = sandbox.load(&bytes).expect("the component can be loaded");
    let mut over = Vec::new();
    for (index, &deadline_ms) in DEADLINES_MS.iter().cycle().take(count).enumerate() {
        let mut looping = operator(&component, "loop", Duration::from_millis(deadline_ms));
        process(&mut looping, b"a good record, so that there is an instance");
        // Calls begin at any time between two ticks.
        thread::sleep(Duration::from_micros(index as u64 * 37 % 4000));
        let before = thread_cpu_time();
        process(&mut looping, b"!");
        over.push((thread_cpu_time() - before).as_secs_f64() * 1e3 - deadline_ms as f64);
    }
    show(metrics, "endless_guest_over_deadline_ms_p99", quantile_of(&over, 0.99), 2);
    show(metrics, "endless_guest_over_deadline_ms_min", over.iter().copied().fold(f64::MAX, f64::min), 2);
    let mut trapping = operator(&component, "trap", Duration::from_secs(1));
    process(&mut trapping, b"a good record");
    let trap_then_next = |_| {
        let start = Instant::now();
        process(&mut trapping, b"!");
        process(&mut trapping, b"a good record");
        start.elapsed().as_secs_f64() * 1e3
    };
    let times: Vec<f64> = (0..count * 3).map(trap_then_next).collect();
    show(metrics, "trap_to_next_record_ms_p99", quantile_of(&times, 0.99), 3);
}

// Commands.

fn start(name: &str) -> (Server, PathBuf) {
    let folder = scratch(name);
    let server = Server::start(Path::new(COFFERDAM), &folder, &[]).expect("the server starts");
    for name in ["misbehaving", "relay", "event-time"] {
        let bytes = fs::read(component(name)).expect("the component can be read");
        server.api.push(&bytes, Some(&format!("{name}@1"))).and_then(|answer| answer.ok()).expect("it is accepted");
    }
    (server, folder)
}

/// A generator, a function that loops on each of its records, and a sink.
fn looping(name: &str, parallelism: u32, deadline: &str) -> String {
    format!(
        "name = \"{name}\"\nparallelism = {parallelism}\n[source.ticks]\nconnector = \"generator\"\ntemplate = \"!{{n}}\"\n\
         [operator.loop]\ninput = \"ticks\"\ncomponent = \"misbehaving@1\"\nfunction = \"loop\"\non_fault = \"skip\"\n\
         limits = {{ deadline = \"{deadline}\" }}\n[sink.drop]\ninput = \"loop\"\nconnector = \"blackhole\"\n"
    )
}

/// A function and a keyed function, two subtasks each.
fn neighbour(name: &str) -> String {
    format!(
        "name = \"{name}\"\nparallelism = 2\n[source.ticks]\nconnector = \"generator\"\ntemplate = \"{{key}},{{n}}\"\n\
         [operator.forward]\ninput = \"ticks\"\ncomponent = \"relay@1\"\nfunction = \"forward\"\n\
         [operator.count]\ninput = \"forward\"\nkey = \"emitted\"\ncomponent = \"relay@1\"\nfunction = \"count\"\n\
         [sink.drop]\ninput = \"count\"\nconnector = \"blackhole\"\n"
    )
}

fn wait_for(server: &Server, job: &str, what: &str, condition: impl Fn(&Value) -> bool) {
    let found = wait_until(what, PATIENCE, || {
        let job = server.api.job(job)?;
        Ok(condition(&job).then_some(()))
    });
    found.unwrap_or_else(|error| panic!("{error:#}"));
}

fn runs(job: &Value) -> bool {
    job["status"] == "RUNNING" && job["records_in"].as_u64().unwrap_or(0) > 0
}

/// A job whose function loops on its first batch shows no record for a long time.
fn has_started(job: &Value) -> bool {
    job["status"] == "RUNNING"
}

/// Milliseconds from a command until `heard` is true.
fn heard_ms(server: &Server, job: &str, command: &str, heard: impl Fn(&Value) -> bool) -> f64 {
    let start = Instant::now();
    let answer = server.api.post(&format!("/v1/jobs/{job}/{command}"), "application/json", b"{}");
    answer.and_then(|answer| answer.ok()).unwrap_or_else(|error| panic!("{command}: {error:#}"));
    while !heard(&server.api.job(job).expect("the job exists")) {
        assert!(start.elapsed() < PATIENCE, "the job does not hear the {command}");
        thread::sleep(LOOK);
    }
    start.elapsed().as_secs_f64() * 1e3
}

fn is_canceled(job: &Value) -> bool {
    job["status"] == "CANCELED"
}

fn commands(metrics: &mut Metrics) {
    let (server, folder) = start("faults-commands");
    let mut states: Vec<(&str, f64)> = Vec::new();
    {
        let mut cancel = |state: &'static str, pipeline: &str, ready: &dyn Fn(&Value) -> bool| {
            let job = server.api.submit_ok(pipeline).expect("the job is accepted");
            wait_for(&server, &job, state, ready);
            states.push((state, heard_ms(&server, &job, "cancel", is_canceled)));
        };
        cancel("cancel_running", &neighbour("running"), &runs);
        cancel("cancel_looping_guest", &looping("looping", 2, "60s"), &has_started);
        cancel("cancel_firing_timers", &timers(), &|job| job["operators"][1]["records_out"].as_u64().unwrap_or(0) > 0);
        cancel("cancel_restart_delay", &failing(), &|job| job["status"] == "RESTARTING");
    }
    let job = server.api.submit_ok(&looping("stopping", 2, "60s")).expect("the job is accepted");
    wait_for(&server, &job, "the job runs", has_started);
    states.push(("stop_looping_guest", heard_ms(&server, &job, "stop", |job| !job["stop"].is_null())));
    states.push(("cancel_stopping", heard_ms(&server, &job, "cancel", is_canceled)));
    states.push(("cancel_seek", cancel_in_a_seek(&server, &folder)));
    let loops = server.api.submit_ok(&looping("many", 64, "1s")).expect("the job is accepted");
    wait_for(&server, &loops, "the loops run", has_started);
    let job = server.api.submit_ok(&neighbour("beside")).expect("the job is accepted");
    wait_for(&server, &job, "the neighbour runs", runs);
    states.push(("cancel_beside_loops", heard_ms(&server, &job, "cancel", is_canceled)));
    states.push(("sigterm_looping_guest", terminate(server)));
    states.push(("sigterm_blocked_sink", interrupt_a_blocked_sink(&folder)));
    for (state, ms) in &states {
        show(metrics, &format!("command_heard_ms_{state}"), *ms, 1);
    }
    show(metrics, "command_heard_ms_max", states.iter().map(|(_, ms)| *ms).fold(0.0, f64::max), 1);
    let _ = fs::remove_dir_all(&folder);
}

/// A million timers that all are due at the end of the input.
fn timers() -> String {
    "name = \"timers\"\n[source.ticks]\nconnector = \"generator\"\ntemplate = \"{n},event 4102444800000\"\nrecords = 1000000\n\
     [operator.timers]\ninput = \"ticks\"\nkey = { column = 0 }\ncomponent = \"event-time@1\"\nfunction = \"timers\"\n\
     [sink.drop]\ninput = \"timers\"\nconnector = \"blackhole\"\n"
        .to_owned()
}

/// A job that fails and restarts after an hour.
fn failing() -> String {
    "name = \"failing\"\n[restart]\nstrategy = \"fixed-delay\"\nattempts = 5\ndelay = \"1h\"\n\
     [source.ticks]\nconnector = \"generator\"\ntemplate = \"!{n}\"\n\
     [operator.trap]\ninput = \"ticks\"\ncomponent = \"misbehaving@1\"\nfunction = \"trap\"\n\
     [sink.drop]\ninput = \"trap\"\nconnector = \"blackhole\"\n"
        .to_owned()
}

/// Continues from a savepoint behind 4 GB of a compressed file, and cancels while it skips them.
fn cancel_in_a_seek(server: &Server, folder: &Path) -> f64 {
    let path = folder.join("zeros.gz");
    let file = File::create(&path).expect("a file can be created");
    let mut compressed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    let mut line = vec![b'0'; (1 << 20) - 1];
    line.push(b'\n');
    (0..4096).for_each(|_| compressed.write_all(&line).expect("the file can be written"));
    compressed.finish().expect("the file can be written");
    let pipeline = |name: &str, rate: &str| {
        format!(
            "name = \"{name}\"\n[source.lines]\nconnector = \"file\"\npath = \"{}\"\n{rate}\
             [sink.drop]\ninput = \"lines\"\nconnector = \"blackhole\"\n",
            path.display()
        )
    };
    let reading = server.api.submit_ok(&pipeline("reading", "rate = 1500\n")).expect("the job is accepted");
    wait_for(server, &reading, "most of the file is read", |job| job["records_in"].as_u64().unwrap_or(0) > 3500);
    let savepoint = server.api.savepoint(&reading, "stop", "{}").expect("the savepoint is complete");
    server.api.wait_for(&reading, "FINISHED").expect("the job stops");
    let query = format!("/v1/jobs?file_name=seek.toml&base_dir=/&from={savepoint}");
    let text = pipeline("seeking", "rate = 1500\n");
    let answer = server.api.post(&query, "application/toml", text.as_bytes()).and_then(|answer| answer.ok());
    let job = answer.expect("the job is accepted")["id"].as_str().expect("an id").to_owned();
    wait_for(server, &job, "the source seeks", |job| job["restoring"] == true || job["status"] == "RUNNING");
    thread::sleep(Duration::from_millis(200));
    let shown = server.api.job(&job).expect("the job exists");
    assert!(shown["restoring"] == true, "the seek was too short to be cancelled: {shown}");
    heard_ms(server, &job, "cancel", is_canceled)
}

/// Sends SIGTERM. Returns the milliseconds until no connection is accepted.
fn terminate(mut server: Server) -> f64 {
    let start = Instant::now();
    signal(server.process_id(), "TERM");
    while server.api.jobs().is_ok() {
        assert!(start.elapsed() < PATIENCE, "the server does not hear SIGTERM");
        thread::sleep(LOOK);
    }
    let heard = start.elapsed().as_secs_f64() * 1e3;
    let ended = wait_until("the server ends", PATIENCE, || Ok((!server.is_up()?).then_some(())));
    ended.unwrap_or_else(|error| panic!("{error:#}"));
    heard
}

fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status();
    assert!(sent.is_ok_and(|status| status.success()), "a signal can be sent");
}

/// Runs a job whose output nobody reads. Returns the milliseconds from SIGTERM to the end of the process.
fn interrupt_a_blocked_sink(folder: &Path) -> f64 {
    let path = folder.join("blocked.toml");
    let pipeline = "name = \"blocked\"\n[source.ticks]\nconnector = \"generator\"\ntemplate = \"a line {n}\"\n\
                    [sink.out]\ninput = \"ticks\"\nconnector = \"stdout\"\n";
    fs::write(&path, pipeline).expect("a file can be written");
    let mut command = Command::new(COFFERDAM);
    command.arg("run").arg(&path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the process starts");
    thread::sleep(Duration::from_secs(2));
    let start = Instant::now();
    signal(child.id(), "TERM");
    let ended = wait_until("the process ends", PATIENCE, || Ok(child.try_wait()?));
    ended.unwrap_or_else(|error| panic!("{error:#}"));
    start.elapsed().as_secs_f64() * 1e3
}

// Fairness.

fn fairness(seconds: Duration, rounds: u64, metrics: &mut Metrics) {
    let (server, folder) = start("faults-fairness");
    let job = server.api.submit_ok(&neighbour("neighbour")).expect("the job is accepted");
    wait_for(&server, &job, "the neighbour runs", runs);
    thread::sleep(Duration::from_secs(3));
    let mut shares = [(1, Vec::new()), (64, Vec::new())];
    let mut alone = Vec::new();
    for round in 0..rounds {
        let before = throughput(&server, &job, seconds);
        alone.push(before);
        for (parallelism, shares) in &mut shares {
            let evil = looping(&format!("loops-{parallelism}-{round}"), *parallelism, "1s");
            let evil = server.api.submit_ok(&evil).expect("the job is accepted");
            wait_for(&server, &evil, "the loops run", has_started);
            thread::sleep(Duration::from_secs(1));
            shares.push(throughput(&server, &job, seconds) / (before / 2.0));
            heard_ms(&server, &evil, "cancel", is_canceled);
        }
    }
    show(metrics, "neighbour_alone_records_per_s", median(&alone), 0);
    for (parallelism, shares) in &shares {
        show(metrics, &format!("neighbour_fair_share_{parallelism}"), median(shares), 3);
    }
    drop(server);
    let _ = fs::remove_dir_all(&folder);
}

// Regions.

/// Interval of the records of the region that fails.
const RECORD_INTERVAL: Duration = Duration::from_millis(200);

/// A region with a function and a keyed function, and a region whose function traps on a record that begins with `!`.
fn two_regions(address: SocketAddr) -> String {
    format!(
        "name = \"regions\"\n[restart]\nstrategy = \"fixed-delay\"\nattempts = 10000\ndelay = \"20ms\"\n\
         [source.ticks]\nconnector = \"generator\"\ntemplate = \"{{key}},{{n}}\"\n\
         [operator.forward]\ninput = \"ticks\"\ncomponent = \"relay@1\"\nfunction = \"forward\"\n\
         [operator.count]\ninput = \"forward\"\nkey = \"emitted\"\ncomponent = \"relay@1\"\nfunction = \"count\"\n\
         [sink.drop]\ninput = \"count\"\nconnector = \"blackhole\"\n\
         [source.other]\nconnector = \"socket\"\naddress = \"{address}\"\n\
         [operator.trap]\ninput = \"other\"\ncomponent = \"misbehaving@1\"\nfunction = \"trap\"\n\
         [sink.other-drop]\ninput = \"trap\"\nconnector = \"blackhole\"\n"
    )
}

/// Sends a record at each interval over the newest connection. No two records are the same, because a job ends if a record fails again.
struct Feeder {
    address: SocketAddr,
    /// Whether the records are bad.
    is_bad: Arc<AtomicBool>,
}

impl Feeder {
    /// Feeds on a thread of its own until the process ends.
    fn start() -> Feeder {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a listener can be asked without waiting");
        let address = listener.local_addr().expect("the listener has an address");
        let is_bad = Arc::<AtomicBool>::default();
        let bad = is_bad.clone();
        thread::spawn(move || {
            let mut connection = None;
            for number in 0_u64.. {
                while let Ok((accepted, _)) = listener.accept() {
                    connection = Some(accepted);
                }
                let mark = if bad.load(Ordering::Relaxed) { "!" } else { "" };
                if let Some(connection) = &mut connection {
                    // A region that has failed has closed its connection.
                    let _ = connection.write_all(format!("{mark}{number}\n").as_bytes());
                }
                thread::sleep(RECORD_INTERVAL);
            }
        });
        Feeder { address, is_bad }
    }
}

/// One job runs all the time, so that rounds differ in the faults alone.
fn regions(seconds: Duration, rounds: u64, metrics: &mut Metrics) {
    let (server, folder) = start("faults-regions");
    let feeder = Feeder::start();
    let job = server.api.submit_ok(&two_regions(feeder.address)).expect("the job is accepted");
    let fed = |job: &Value| node(job, "trap")["records_in"].as_u64().unwrap_or(0) > 0;
    wait_for(&server, &job, "both regions run", |job| counted(job) > 0.0 && fed(job));
    let measure = |is_bad: bool| {
        feeder.is_bad.store(is_bad, Ordering::Relaxed);
        thread::sleep(Duration::from_secs(1));
        let restarts = || server.api.job(&job).expect("the job exists")["restarts"].as_f64().unwrap_or(0.0);
        let before = restarts();
        let records = throughput_in(&server, &job, seconds, &["RUNNING", "RESTARTING"]);
        (records, (restarts() - before) / seconds.as_secs_f64())
    };
    let (mut before, _) = measure(false);
    let (mut calm, mut ratios, mut faults) = (vec![before], Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (restless, faults_per_s) = measure(true);
        let (after, none) = measure(false);
        assert_eq!(none, 0.0, "the other region restarts without faults");
        ratios.push(restless / f64::midpoint(before, after));
        faults.push(faults_per_s);
        calm.push(after);
        before = after;
    }
    let shown = server.api.job(&job).expect("the job exists");
    assert_eq!(node(&shown, "count")["attempt"], 1, "only the region that failed has restarted: {shown}");
    show(metrics, "region_records_per_s", median(&calm), 0);
    show(metrics, "other_region_faults_per_s", median(&faults), 1);
    show(metrics, "other_region_ratio", median(&ratios), 3);
    show(metrics, "other_region_ratio_min", ratios.iter().copied().fold(f64::MAX, f64::min), 3);
    drop(server);
    let _ = fs::remove_dir_all(&folder);
}

fn node<'a>(job: &'a Value, id: &str) -> &'a Value {
    let mut nodes = job["operators"].as_array().into_iter().flatten();
    nodes.find(|node| node["id"] == id).unwrap_or(&Value::Null)
}

/// Records that the keyed function of a job has taken.
fn counted(job: &Value) -> f64 {
    node(job, "count")["records_in"].as_f64().unwrap_or(0.0)
}

/// Records per second that the keyed function of a job takes.
fn throughput(server: &Server, job: &str, seconds: Duration) -> f64 {
    throughput_in(server, job, seconds, &["RUNNING"])
}

/// The same for a job that is in one of these states.
fn throughput_in(server: &Server, job: &str, seconds: Duration, states: &[&str]) -> f64 {
    let counted = || {
        let shown = server.api.job(job).expect("the job exists");
        assert!(states.iter().any(|state| shown["status"] == *state), "{shown}");
        counted(&shown)
    };
    let (start, before) = (Instant::now(), counted());
    thread::sleep(seconds);
    (counted() - before) / start.elapsed().as_secs_f64()
}
