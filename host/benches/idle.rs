//! Measures what jobs cost that have almost nothing to do: `cargo xtask bench idle [-- --jobs 100 --seconds 30 --settle 5]`.
//!
//! One server runs 100 jobs: a generator, a function and a keyed function of `tests/guests/relay`, and a sink that drops all records,
//! with one subtask each and no checkpoints. In one variant each generator makes one record per second, in the other one record in ten
//! seconds. After the jobs have settled, the processor time of the server is read from procfs over 30 seconds. The memory of a job is
//! the growth of the server's memory from one job to all jobs, divided by their number. The first job loads the component.
//!
//! `idle_100_jobs_cpu` is in cores, `idle_job_kib` in KiB: memory that the server occupies. Instances of a component share the pages of
//! its initial memory that they do not change; `idle_job_mapped_kib` counts these once for each instance. All three are the larger of the
//! two variants. Prints a table and writes `idle.json` into `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

mod support;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cofferdam_tests::{Server, wait_until};
use support::{COFFERDAM, Metrics, Options, component, cpu_seconds, resident, rounded, scratch, write_report};

/// A variant: the ending of its metrics' names, and the records per second of each job.
const VARIANTS: &[(&str, &str)] = &[("1s", "1"), ("10s", "0.1")];
const COMPONENT: &str = "relay@0.1.0";
const PATIENCE: Duration = Duration::from_secs(120);

struct Measured {
    cores: f64,
    job_kib: f64,
    job_mapped_kib: f64,
    threads: usize,
}

fn main() {
    let options = Options::read(&["jobs", "seconds", "settle", "variants"]);
    let jobs = options.number("jobs", 100).max(2);
    let [seconds, settle] = [("seconds", 30), ("settle", 5)].map(|(name, default)| options.number(name, default));
    let [seconds, settle] = [seconds.max(1), settle].map(Duration::from_secs);
    let wanted = |name: &str| options.text("variants").is_none_or(|names| names.split(',').any(|one| one == name));
    let mut metrics = Metrics::new();
    println!("{jobs} jobs on one server, over {} s:\n", seconds.as_secs());
    println!("{:<24} {:>8} {:>12} {:>8} {:>8}", "a record of a job each", "cores", "KiB per job", "mapped", "threads");
    for (name, rate) in VARIANTS.iter().filter(|(name, _)| wanted(name)) {
        let measured = measure(jobs, rate, settle, seconds);
        let Measured { cores, job_kib, job_mapped_kib, threads } = measured;
        println!("{name:<24} {cores:>8.4} {job_kib:>12.0} {job_mapped_kib:>8.0} {threads:>8}");
        let metrics_of_variant = [
            ("idle_100_jobs_cpu", rounded(cores, 4)),
            ("idle_job_kib", rounded(job_kib, 1)),
            ("idle_job_mapped_kib", rounded(job_mapped_kib, 1)),
        ];
        for (metric, value) in metrics_of_variant {
            metrics.insert(format!("{metric}_{name}"), value);
            let worst = metrics.entry(metric.to_owned()).or_insert(value);
            *worst = worst.max(value);
        }
    }
    write_report("idle", &metrics);
}

fn measure(jobs: u64, rate: &str, settle: Duration, seconds: Duration) -> Measured {
    let folder = scratch("idle");
    let server = Server::start(Path::new(COFFERDAM), &folder, &[]).expect("the server starts");
    let bytes = fs::read(component("relay")).expect("the component can be read");
    let pushed = server.api.push(&bytes, Some(COMPONENT)).and_then(|answer| answer.ok());
    pushed.expect("the component is accepted");
    let submit = |number: u64| server.api.submit_ok(&pipeline(number, rate)).expect("the job is accepted");
    let process = server.process_id();
    let mut ids = vec![submit(0)];
    wait_for_running(&server, &ids);
    thread::sleep(settle);
    let one_job = resident(process);
    ids.extend((1..jobs).map(submit));
    wait_for_running(&server, &ids);
    thread::sleep(settle);
    let (start, cpu_start) = (Instant::now(), cpu_seconds(process));
    thread::sleep(seconds);
    let cores = (cpu_seconds(process) - cpu_start) / start.elapsed().as_secs_f64();
    let all_jobs = resident(process);
    let [job_kib, job_mapped_kib] =
        [all_jobs.occupied_kib - one_job.occupied_kib, all_jobs.mapped_kib - one_job.mapped_kib]
            .map(|kib| kib / (jobs - 1) as f64);
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the server runs").count();
    wait_for_running(&server, &ids);
    drop(server);
    let _ = fs::remove_dir_all(&folder);
    Measured { cores, job_kib, job_mapped_kib, threads }
}

/// Waits until all jobs run and have read their first record.
fn wait_for_running(server: &Server, ids: &[String]) {
    for id in ids {
        let running = wait_until(&format!("job {id} runs"), PATIENCE, || {
            let job = server.api.job(id)?;
            let read = job["records_in"].as_u64().unwrap_or(0) > 0;
            Ok((job["status"] == "RUNNING" && read).then_some(()))
        });
        running.unwrap_or_else(|error| panic!("{error:#}"));
    }
}

fn pipeline(number: u64, rate: &str) -> String {
    format!(
        r#"
name = "idle-{number}"
[source.ticks]
connector = "generator"
template = "{{key}},{{n}}"
rate = {rate}
[operator.forward]
input = "ticks"
component = "{COMPONENT}"
function = "forward"
[operator.count]
input = "forward"
key = "emitted"
component = "{COMPONENT}"
function = "count"
[sink.drop]
input = "count"
connector = "blackhole"
"#
    )
}
