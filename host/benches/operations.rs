//! Measures what it costs to look after a server with many jobs: `cargo xtask bench operations [-- --ended 10000 --running 100
//! --requests 300]`.
//!
//! The data folder has the records of 10,000 ended jobs, and 100 jobs run: a generator with one record per second and a sink that
//! drops it. One client asks for the first page of the list of jobs again and again. `list_ms_p50` and `list_ms_p99` are
//! quantiles of the time to the whole answer, `list_bytes` is the largest answer of all pages, `all_pages_ms` the time for the whole
//! list, and `show_by_name_ms_p99` that of a job by its name. Prints a table and writes `operations.json` into
//! `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Instant;

use cofferdam_tests::Server;
use serde_json::Value;
use support::{COFFERDAM, Metrics, Options, quantile, rounded, scratch, write_report};
use ureq::Agent;

fn main() {
    let options = Options::read(&["ended", "running", "requests"]);
    let [ended, running, requests] =
        [("ended", 10_000), ("running", 100), ("requests", 300)].map(|(name, default)| options.number(name, default));
    let folder = scratch("operations");
    write_records(&folder.join("data"), ended);
    let server = Server::start(Path::new(COFFERDAM), &folder, &[]).expect("the server starts");
    for number in 0..running {
        let pipeline = format!(
            "name = \"running-{number}\"\n[source.in]\nconnector = \"generator\"\nrate = 1\n[sink.out]\ninput = \"in\"\n\
             connector = \"blackhole\"\n"
        );
        server.api.submit_ok(&pipeline).expect("the job is accepted");
    }
    let client = PageClient { agent: Agent::new_with_defaults(), base: server.api.base().to_owned() };
    let listed = client.times(requests, "/v1/jobs");
    let shown = client.times(requests, "/v1/jobs/running-7");
    let (start, mut next) = (Instant::now(), Some("/v1/jobs".to_owned()));
    let (mut jobs, mut largest) = (0, 0);
    while let Some(page) = next {
        let (body, link) = client.get(&page);
        largest = largest.max(body.len());
        jobs += serde_json::from_str::<Value>(&body).expect("JSON").as_array().map_or(0, Vec::len) as u64;
        next = link;
    }
    let all_pages_ms = start.elapsed().as_secs_f64() * 1000.0;
    assert_eq!(jobs, ended + running, "the pages have every job");
    assert!(largest < 1_000_000, "a page has {largest} bytes");
    let mut metrics = Metrics::new();
    for (name, value) in [
        ("list_ms_p50", quantile(&listed, 0.5)),
        ("list_ms_p99", quantile(&listed, 0.99)),
        ("show_by_name_ms_p99", quantile(&shown, 0.99)),
        ("all_pages_ms", all_pages_ms),
        ("list_bytes", largest as f64),
    ] {
        println!("{name:<24} {value:>12.2}");
        metrics.insert(name.to_owned(), rounded(value, 2));
    }
    write_report("operations", &metrics);
    drop(server);
    let _ = fs::remove_dir_all(&folder);
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

    /// Returns the times of requests in milliseconds, ascending.
    fn times(&self, requests: u64, path: &str) -> Vec<f64> {
        let time = |_| {
            let start = Instant::now();
            self.get(path);
            start.elapsed().as_secs_f64() * 1000.0
        };
        let mut times: Vec<f64> = (0..requests).map(time).collect();
        times.sort_by(f64::total_cmp);
        times
    }
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
