//! Savepoints of a function whose types have changed. The new version reads the older schema and continues exactly. A schema
//! that a function cannot read is refused before any record is processed. The guest is tests/guests/sums.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, committed_lines, difference, wait_until};

const TIMEOUT: Duration = Duration::from_secs(120);
const KEYS: u64 = 42;
const RECORDS: u64 = KEYS * 500;

struct Scene {
    server: Server,
    dir: PathBuf,
}

fn scene(name: &str) -> Scene {
    let (server, dir) = Server::start_fresh(&format!("migration-{name}")).unwrap();
    let component = fs::read(Checkout::current().component("sums").unwrap()).unwrap();
    server.api.push(&component, Some("sums@1")).unwrap().ok().unwrap();
    Scene { server, dir }
}

impl Scene {
    fn pipeline(&self, function: &str, backend: &str, parallelism: u64, out: &str, rate: &str) -> String {
        format!(
            r#"
            name = "keep"
            parallelism = {parallelism}
            max_parallelism = 13
            [checkpoint]
            interval = "200ms"
            [state]
            backend = "{backend}"
            [source.numbers]
            connector = "generator"
            template = "{{n}}"
            records = {RECORDS}
            parallelism = 1
            {rate}
            [operator.spread]
            input = "numbers"
            component = "sums@1"
            function = "spread"
            parallelism = 1
            [operator.keep]
            input = "spread"
            key = "emitted"
            component = "sums@1"
            function = "{function}"
            [sink.out]
            input = "keep"
            connector = "file"
            path = "{}/{out}"
            "#,
            self.dir.display()
        )
    }

    /// Runs a job until it has read some records and stops it. Returns the savepoint.
    fn stopped(&self, function: &str, backend: &str, format: &str, out: &str) -> String {
        let api = &self.server.api;
        let job = api.submit_ok(&self.pipeline(function, backend, 2, out, "rate = 10000")).unwrap();
        wait_until("the job is under way", TIMEOUT, || {
            let job = api.job(&job)?;
            assert_ne!(job["status"], "FINISHED", "the run was over too early");
            Ok((job["records_in"].as_u64() >= Some(RECORDS / 4)).then_some(()))
        })
        .unwrap();
        let location = api.savepoint(&job, "stop", &format!("{{\"format\":\"{format}\"}}")).unwrap();
        api.wait_for(&job, "FINISHED").unwrap();
        location
    }
}

/// The output of the whole run.
fn expected() -> Vec<String> {
    let mut kept: BTreeMap<u64, (u64, Vec<u64>, u64)> = BTreeMap::new();
    let mut lines = Vec::new();
    for number in (0..RECORDS).map(|n| n % KEYS) {
        let (total, latest, by_digit) = kept.entry(number).or_default();
        *total += number;
        latest.push(number);
        latest.drain(..latest.len().saturating_sub(3));
        *by_digit += number;
        lines.push(format!("{number},{total},{},{}", shown(latest), shown(&[(number % 10, *by_digit)])));
    }
    lines.sort();
    lines
}

fn shown(value: &(impl Debug + ?Sized)) -> String {
    format!("{value:?}")
}

#[test]
fn an_older_form_is_read_and_the_result_is_exact() {
    let scene = scene("read");
    let expected = expected();
    for (number, (from, format, to, parallelism)) in [
        ("memory", "canonical", "memory", 2),
        ("memory", "native", "rocksdb", 3),
        ("rocksdb", "canonical", "memory", 2),
        ("rocksdb", "native", "rocksdb", 2),
        ("rocksdb", "native", "rocksdb", 4),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("out-{number}");
        let savepoint = scene.stopped("keep_old", from, format, &out);
        let before = committed_lines(&scene.dir.join(&out)).unwrap().len();
        assert!(before > 0);
        let resumed = format!("resumed-{number}");
        let pipeline = scene.pipeline("keep_new", to, parallelism, &resumed, "");
        let path = format!("/v1/jobs?from_savepoint={savepoint}");
        let job = scene.server.api.post(&path, "application/toml", pipeline.as_bytes()).unwrap().ok().unwrap();
        let job = scene.server.api.wait_for(job["id"].as_str().unwrap(), "FINISHED").unwrap();
        assert_eq!(job["records_in"], RECORDS);
        let mut lines = committed_lines(&scene.dir.join(&out)).unwrap();
        lines.extend(committed_lines(&scene.dir.join(&resumed)).unwrap());
        lines.sort();
        if let Some(difference) = difference(&expected, &lines) {
            panic!("{from} {format} to {to} at {parallelism}: {difference}");
        }
    }
}

#[test]
fn a_form_that_the_function_does_not_read_is_refused_with_what_to_do() {
    let scene = scene("refused");
    let api = &scene.server.api;
    for (backend, format) in [("memory", "native"), ("rocksdb", "native"), ("rocksdb", "canonical")] {
        let out = format!("out-{backend}-{format}");
        // The old version cannot read the schema of the new one.
        let savepoint = scene.stopped("keep_new", backend, format, &out);
        let refused = format!("refused-{backend}-{format}");
        let pipeline = scene.pipeline("keep_old", backend, 2, &refused, "");
        let jobs = api.get("/v1/jobs").unwrap().ok().unwrap();
        let path = format!("/v1/jobs?from_savepoint={savepoint}");
        let answer = api.post(&path, "application/toml", pipeline.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.code()), (409, "checkpoint-mismatch"), "{}", answer.body);
        for part in ["`keep`", "`total`", "postcard:i64", "postcard:u32", "migrate"] {
            assert!(answer.body.to_string().contains(part), "{part}: {}", answer.body);
        }
        assert_eq!(api.get("/v1/jobs").unwrap().ok().unwrap(), jobs, "no job came of it");
        assert!(!scene.dir.join(&refused).exists(), "nothing was processed");
    }
}
