//! Event time through the binary, in a server that is killed during the run. Windows over out-of-order input give the same
//! results as a plain computation over the sorted input. The guest is tests/guests/event-time.
//!
//! `COFFERDAM_SEED` repeats a run: its input, and the source positions at which the server is killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, committed_lines, difference, wait_until};
use fastrand::Rng;

const TIMEOUT: Duration = Duration::from_secs(60);
const RECORDS: usize = 24_000;
/// Maximum out-of-orderness of a record, in milliseconds.
const BOUND_MS: i64 = 3000;
const KEYS: i64 = 40;
const GAP_MS: i64 = 2001;
const KILLS: u64 = 2;

struct Record {
    key: String,
    value: i64,
    time: i64,
}

/// Records in order of arrival, each delayed by at most the bound. Times are even, so that no two of them are exactly one
/// session gap apart: whether such records share a session depends on their order of arrival.
fn records(rng: &mut Rng) -> Vec<Record> {
    let mut all: Vec<(i64, Record)> = (0..RECORDS as i64)
        .map(|number| {
            let time = 2 * (number * 25 / 2 + rng.i64(0..25));
            let record = Record { key: format!("k{}", rng.i64(0..KEYS)), value: rng.i64(-100..1000), time };
            (time + rng.i64(0..BOUND_MS), record)
        })
        .collect();
    all.sort_by_key(|(arrival, _)| *arrival);
    all.into_iter().map(|(_, record)| record).collect()
}

/// For each key, start and end: the sum and the number of records.
type Windows<'a> = BTreeMap<(&'a str, i64, i64), (i64, u64)>;

/// The windows that begin at the offset and at every slide before and after it.
fn windows(records: &[Record], size: i64, slide: i64, offset: i64) -> Windows<'_> {
    let mut windows = Windows::new();
    for record in records {
        for start in (record.time - size + 1..=record.time).filter(|start| (start - offset).rem_euclid(slide) == 0) {
            let (sum, count) = windows.entry((&record.key[..], start, start + size)).or_default();
            (*sum, *count) = (*sum + record.value, *count + 1);
        }
    }
    windows
}

fn sessions(records: &[Record]) -> Windows<'_> {
    let mut sorted: Vec<&Record> = records.iter().collect();
    sorted.sort_by_key(|record| (&record.key, record.time));
    let of_one = |one: &&Record, next: &&Record| one.key == next.key && next.time - one.time < GAP_MS;
    let sessions = sorted.chunk_by(of_one).map(|session| {
        let (first, last) = (session[0], session[session.len() - 1]);
        let sum = session.iter().map(|record| record.value).sum();
        ((&first.key[..], first.time, last.time + GAP_MS), (sum, session.len() as u64))
    });
    sessions.collect()
}

fn sorted(windows: Windows<'_>, line: impl Fn(&str, i64, i64, (i64, u64)) -> String) -> Vec<String> {
    let mut lines: Vec<String> = windows.into_iter().map(|((key, start, end), of)| line(key, start, end, of)).collect();
    lines.sort();
    lines
}

/// A time within a day of the epoch, as RFC 3339.
fn time(ms: i64) -> String {
    let (date, seconds) = match ms.div_euclid(1000) {
        seconds @ 0.. => ("1970-01-01", seconds),
        seconds => ("1969-12-31", 86_400 + seconds),
    };
    let fraction = match ms.rem_euclid(1000) {
        0 => String::new(),
        fraction => format!(".{fraction:03}"),
    };
    format!("{date}T{:02}:{:02}:{:02}{fraction}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The expected content of each sink, sorted.
fn expected(records: &[Record]) -> [(&'static str, Vec<String>); 5] {
    let sum = |key: &str, start, end, (sum, _)| format!("{key},{start},{end},{sum}");
    let count = |key: &str, start, end, (_, count)| {
        let (start, end) = (time(start), time(end));
        format!("{{\"column0\":\"{key}\",\"start\":\"{start}\",\"end\":\"{end}\",\"count\":{count}}}")
    };
    [
        ("tumbling", sorted(windows(records, 3000, 3000, 1000), sum)),
        ("sliding", sorted(windows(records, 5000, 2000, 0), sum)),
        ("session", sorted(sessions(records), sum)),
        ("counts", sorted(windows(records, 4000, 500, 0), count)),
        ("late", Vec::new()),
    ]
}

fn pipeline(dir: &Path, backend: &str) -> String {
    let path = dir.display();
    let operator = |name: &str, window: &str, function: &str| {
        format!("[operator.{name}]\ninput = \"records\"\nkey = {{ column = 0 }}\nwindow = {window}\n{function}\n")
    };
    let sum = "component = \"event-time@1\"\nfunction = \"sum\"";
    let sink = |name: &str, inputs: &str| {
        format!("[sink.{name}-lines]\ninputs = [{inputs}]\nconnector = \"file\"\npath = \"{path}/{name}\"\n")
    };
    [
        format!(
            "name = \"windows\"\nparallelism = 2\n[checkpoint]\ninterval = \"10ms\"\n[state]\nbackend = \"{backend}\"\n\
             [source.records]\nconnector = \"file\"\npath = \"{path}/records.csv\"\nformat = \"csv\"\nheader = false\n\
             timestamp = {{ column = 2, format = \"unix-ms\" }}\nwatermark = {{ out_of_orderness = \"{BOUND_MS}ms\" }}\n\
             rate = 8000\n"
        ),
        operator("tumbling", "{ type = \"tumbling\", size = \"3s\", offset = \"1s\" }", sum),
        operator("sliding", "{ type = \"sliding\", size = \"5s\", slide = \"2s\" }", sum),
        operator("session", &format!("{{ type = \"session\", gap = \"{GAP_MS}ms\" }}"), sum),
        operator(
            "counts",
            "{ type = \"sliding\", size = \"4s\", slide = \"500ms\" }",
            "aggregate = { type = \"count\" }",
        ),
        ["tumbling", "sliding", "session", "counts"].map(|name| sink(name, &format!("\"{name}\""))).concat(),
        sink("late", "\"tumbling.late\", \"sliding.late\", \"session.late\", \"counts.late\""),
    ]
    .concat()
}

fn killed_twice(backend: &str) {
    let seed = std::env::var("COFFERDAM_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    let mut rng = Rng::with_seed(seed);
    let records = records(&mut rng);
    let (mut server, dir) = Server::start_fresh(&format!("event-time-{backend}")).unwrap();
    let bytes = fs::read(Checkout::current().component("event-time").unwrap()).unwrap();
    server.api.push(&bytes, Some("event-time@1")).unwrap().ok().unwrap();
    let lines = records.iter().map(|record| format!("{},{},{}\n", record.key, record.value, record.time));
    fs::write(dir.join("records.csv"), lines.collect::<String>()).unwrap();
    let job = server.api.submit_ok(&pipeline(&dir, backend)).unwrap();

    let mut restored = Vec::new();
    for kill in 0..KILLS {
        let part = RECORDS as u64 / KILLS;
        let target = part * kill + part / 5 + rng.u64(0..part * 3 / 5);
        wait_until("the job makes progress", TIMEOUT, || {
            let job = server.api.job(&job)?;
            assert!(matches!(job["status"].as_str(), Some("CREATED" | "RUNNING")), "seed {seed}: {job}");
            // The first kill may come before any checkpoint. After the last one a checkpoint is restored, however slow the disk is.
            let may_kill = kill + 1 < KILLS || !job["last_checkpoint"].is_null();
            Ok((may_kill && job["records_in"].as_u64() >= Some(target)).then_some(()))
        })
        .unwrap();
        sleep(Duration::from_micros(rng.u64(0..30_000))); // Not for a condition: it spreads the kills.
        server.kill().unwrap();
        server = Server::start(&Checkout::current().cofferdam(), &dir, &[]).unwrap();
        let resumed = wait_until("the job is resumed", TIMEOUT, || {
            let job = server.api.job(&job)?;
            assert_ne!(job["status"], "FAILED", "seed {seed}: {job}");
            Ok((job["status"] == "RUNNING" || job["status"] == "FINISHED").then_some(job))
        });
        restored.push(resumed.unwrap()["restored_checkpoint"].as_u64());
    }
    server.api.wait_for(&job, "FINISHED").unwrap();
    for (sink, expected) in expected(&records) {
        if let Some(difference) = difference(&expected, &committed_lines(&dir.join(sink)).unwrap()) {
            panic!("seed {seed}, restored from {restored:?}, sink {sink}: {difference}");
        }
    }
    assert!(restored.iter().any(Option::is_some), "seed {seed}: it began anew, which shows nothing");
}

#[test]
fn windows_on_memory_survive_kills() {
    killed_twice("memory");
}

#[test]
fn windows_on_rocksdb_survive_kills() {
    killed_twice("rocksdb");
}
