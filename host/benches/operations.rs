//! Measures what it costs to look after a server with many jobs: `cargo xtask bench operations [-- --ended 10000 --running 100
//! --names 10000 --requests 300]`.
//!
//! The data folder has the records of 10,000 ended jobs and a component with 10,000 names. 100 jobs run: a generator with one record per
//! second and a sink that drops it. One more job has filled every list that belongs to a job: it has log lines, dead letters, checkpoints,
//! savepoints and events. One client asks for the first page of each list that the OpenAPI description has, with the largest `limit`.
//!
//! `list_ms_p99` is the largest 99th percentile of the times to a whole answer, and `list_bytes_max` the largest answer; each list has its
//! own metrics as well. `all_pages_ms` is the time for the whole list of jobs, `show_by_name_ms_p99` that of a job by its name. An answer of
//! 1 MB or more ends the benchmark with an error. Prints a table and writes `operations.json` into `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cofferdam_tests::{Api, Server, wait_until};
use serde_json::Value;
use support::{COFFERDAM, Metrics, Options, component, quantile, rounded, scratch, write_report};
use ureq::Agent;

const ANSWER_BYTES_MAX: usize = 1_000_000;
const PAGE_ITEMS_MAX: u64 = 1000;
/// The job that fills the lists.
const BUSY_JOB: &str = "busy";
const SAVEPOINTS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let options = Options::read(&["ended", "running", "names", "requests"]);
    let [ended, running, names, requests] = [("ended", 10_000), ("running", 100), ("names", 10_000), ("requests", 300)]
        .map(|(name, default)| options.number(name, default));
    let folder = scratch("operations");
    push_with_names(&folder, names);
    write_records(&folder.join("data"), ended);
    let server = Server::start(Path::new(COFFERDAM), &folder, &[]).expect("the server starts");
    for number in 0..running {
        let pipeline = format!(
            "name = \"running-{number}\"\n[source.in]\nconnector = \"generator\"\nrate = 1\n[sink.out]\ninput = \"in\"\n\
             connector = \"blackhole\"\n"
        );
        server.api.submit_ok(&pipeline).expect("the job is accepted");
    }
    fill_lists(&server.api);
    let client = PageClient { agent: Agent::new_with_defaults(), base: server.api.base().to_owned() };
    let mut metrics = Metrics::new();
    println!("{:<34} {:>10} {:>10} {:>12}", "list", "p50, ms", "p99, ms", "bytes");
    let (mut slowest, mut largest) = (0.0_f64, 0);
    for (path, target) in lists(&client) {
        let (times, bytes) = client.measure(requests, &target);
        assert!(bytes < ANSWER_BYTES_MAX, "{target} has {bytes} bytes");
        let (p50, p99) = (quantile(&times, 0.5), quantile(&times, 0.99));
        println!("{path:<34} {p50:>10.2} {p99:>10.2} {bytes:>12}");
        let name = path.replace("/v1/", "").replace("/{id}", "").replace(['/', '-'], "_");
        metrics.insert(format!("{name}_list_ms_p99"), rounded(p99, 2));
        metrics.insert(format!("{name}_list_bytes"), bytes as f64);
        (slowest, largest) = (slowest.max(p99), largest.max(bytes));
    }
    let (shown, _) = client.measure(requests, "/v1/jobs/running-7");
    let all_pages_ms = client.all_jobs_ms(ended + running + 1);
    println!();
    for (name, value) in [
        ("list_ms_p99", slowest),
        ("list_bytes_max", largest as f64),
        ("show_by_name_ms_p99", quantile(&shown, 0.99)),
        ("all_pages_ms", all_pages_ms),
    ] {
        println!("{name:<24} {value:>12.2}");
        metrics.insert(name.to_owned(), rounded(value, 2));
    }
    write_report("operations", &metrics);
    drop(server);
    let _ = fs::remove_dir_all(&folder);
}

/// Returns the routes of the description that have pages or answer with an array, and the paths to request.
fn lists(client: &PageClient) -> Vec<(String, String)> {
    let (description, _) = client.get("/v1/openapi.json");
    let description: Value = serde_json::from_str(&description).expect("JSON");
    let mut lists = Vec::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        let operation = &item["get"];
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let is_paged = parameters.iter().any(|parameter| parameter["name"] == "limit");
        let is_array = operation["responses"]["200"]["content"]["application/json"]["schema"]["type"] == "array";
        if is_paged || is_array {
            let limit = if is_paged { format!("?limit={PAGE_ITEMS_MAX}") } else { String::new() };
            lists.push((path.clone(), path.replace("{id}", BUSY_JOB) + &limit));
        }
    }
    assert!(lists.len() >= 9, "the description has {lists:?}");
    lists
}

struct PageClient {
    agent: Agent,
    base: String,
}

impl PageClient {
    /// Returns an answer and the path of the next page.
    fn get(&self, path: &str) -> (String, Option<String>) {
        let mut answer = self.agent.get(format!("{}{path}", self.base)).call().expect("an answer");
        let link = answer.headers().get("link").map(|link| link.to_str().expect("text").to_owned());
        let body = answer.body_mut().read_to_string().expect("the whole answer");
        (body, link.map(|link| link[1..link.find('>').expect("a link")].to_owned()))
    }

    /// Returns the times of requests in milliseconds, ascending, and the size of the largest answer.
    fn measure(&self, requests: u64, path: &str) -> (Vec<f64>, usize) {
        let mut largest = 0;
        let time = |_| {
            let start = Instant::now();
            largest = largest.max(self.get(path).0.len());
            start.elapsed().as_secs_f64() * 1000.0
        };
        let mut times: Vec<f64> = (0..requests).map(time).collect();
        times.sort_by(f64::total_cmp);
        (times, largest)
    }

    /// Returns the time for all pages of the list of jobs, in milliseconds.
    fn all_jobs_ms(&self, expected: u64) -> f64 {
        let (start, mut next, mut jobs) = (Instant::now(), Some("/v1/jobs".to_owned()), 0);
        while let Some(page) = next {
            let (body, link) = self.get(&page);
            jobs += serde_json::from_str::<Value>(&body).expect("JSON").as_array().map_or(0, Vec::len) as u64;
            next = link;
        }
        assert_eq!(jobs, expected, "the pages have every job");
        start.elapsed().as_secs_f64() * 1000.0
    }
}

/// Uploads a component, and gives it more names while the server is stopped. An upload for each name would take minutes.
fn push_with_names(folder: &Path, names: u64) {
    let mut server = Server::start(Path::new(COFFERDAM), folder, &[]).expect("the server starts");
    let bytes = fs::read(component("evil")).expect("the component can be read");
    let pushed = server.api.push(&bytes, Some("evil@1")).and_then(|answer| answer.ok()).expect("it is accepted");
    server.terminate().expect("the server ends");
    let sha256 = pushed["sha256"].as_str().expect("a digest");
    let path = folder.join(format!("data/components/{sha256}.json"));
    let mut view: Value = serde_json::from_slice(&fs::read(&path).expect("the description")).expect("JSON");
    let more = (2..=names).map(|name| Value::from(format!("evil@{name}")));
    view["names"].as_array_mut().expect("names").extend(more);
    fs::write(path, view.to_string()).expect("the description can be written");
}

/// Writes the records of jobs that have ended.
fn write_records(data_dir: &Path, number: u64) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/job-v1.json");
    let mut record: Value = serde_json::from_slice(&fs::read(fixture).expect("the fixture")).expect("JSON");
    for job in 0..number {
        record["id"] = format!("{job:016x}").into();
        record["name"] = format!("ended-{job}").into();
        record["status"] = "FINISHED".into();
        record["submitted_at_ms"] = job.into();
        record["ended_at_ms"] = (job + 1).into();
        let folder = data_dir.join("jobs").join(format!("{job:016x}"));
        fs::create_dir_all(&folder).expect("the folder can be created");
        fs::write(folder.join("job.json"), record.to_string()).expect("the record can be written");
    }
}

/// Starts a job, and waits until it has more log lines and dead letters than a page has. From then on it has one record per second.
fn fill_lists(api: &Api) {
    let filler = "x".repeat(500);
    let pipeline = format!(
        "name = \"{BUSY_JOB}\"\n[checkpoint]\nrecords = 2\n\
         [source.in]\nconnector = \"generator\"\ntemplate = \"{{n}} {filler}\"\nrecords = 3000\nrate = 300\n\
         [source.clock]\nconnector = \"generator\"\nrate = 1\n[sink.rest]\ninput = \"clock\"\nconnector = \"blackhole\"\n\
         [operator.logs]\ninput = \"in\"\ncomponent = \"evil@1\"\nfunction = \"log-steadily\"\n\
         limits = {{ log_lines = 100_000, log_bytes = \"64MiB\" }}\n[sink.logged]\ninput = \"logs\"\nconnector = \"blackhole\"\n\
         [operator.refuses]\ninput = \"in\"\ncomponent = \"evil@1\"\nfunction = \"error\"\non_fault = \"dead-letter\"\n\
         [sink.refused]\ninput = \"refuses\"\nconnector = \"blackhole\"\n"
    );
    api.submit_ok(&pipeline).expect("the job is accepted");
    for _ in 0..SAVEPOINTS {
        api.savepoint(BUSY_JOB, "savepoints", "").expect("a savepoint");
    }
    let get = |list: &str| {
        let answer = api.get(&format!("/v1/jobs/{BUSY_JOB}/{list}")).and_then(|answer| answer.ok());
        answer.unwrap_or_else(|error| panic!("{error:#}"))
    };
    let is_filled = || Ok((get("dead-letters?limit=0")["total"].as_u64() > Some(PAGE_ITEMS_MAX)).then_some(()));
    wait_until("the job has filled its lists", PATIENCE, is_filled).unwrap_or_else(|error| panic!("{error:#}"));
}
