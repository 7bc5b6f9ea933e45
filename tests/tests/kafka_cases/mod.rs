//! What the tests with a Kafka broker share, and those tests by subject.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use cofferdam_tests::{Checkout, KafkaBroker, KafkaRecord, Server, wait_until};
use serde_json::{Value, json};

mod avro;
mod event_time;
mod failures;
mod long_failures;

pub const TIMEOUT: Duration = Duration::from_secs(120);

/// The broker of the tests that do not kill it. `None` if the user does without.
pub fn shared() -> Option<&'static KafkaBroker> {
    static SHARED: OnceLock<Option<KafkaBroker>> = OnceLock::new();
    SHARED.get_or_init(|| KafkaBroker::start("broker-shared").unwrap()).as_ref()
}

pub fn fresh(name: &str) -> PathBuf {
    Checkout::current().fresh_dir(&format!("tests/kafka-{name}")).unwrap()
}

/// The result of `cofferdam run`.
pub struct Ran {
    pub succeeded: bool,
    pub stderr: String,
}

pub fn run(dir: &Path, pipeline: &str) -> Ran {
    fs::write(dir.join("pipeline.toml"), pipeline).unwrap();
    let mut command = Command::new(Checkout::current().cofferdam());
    let output = command.args(["run", "--json", "pipeline.toml"]).current_dir(dir).output().unwrap();
    Ran { succeeded: output.status.success(), stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// A pipeline from a Kafka source into a Kafka sink. `source` and `sink` are further settings.
pub fn pipeline(brokers: &str, (from, source): (&str, &str), (to, sink): (&str, &str)) -> String {
    format!(
        "name = \"kafka\"\n[checkpoint]\ninterval = \"200ms\"\n\
         [source.in]\nconnector = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{from}\"\nformat = \"raw\"\n{source}\n\
         [sink.out]\ninput = \"in\"\nconnector = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{to}\"\nformat = \"raw\"\n{sink}\n"
    )
}

pub fn values(records: &[KafkaRecord]) -> Vec<&str> {
    records.iter().map(|record| record.value.as_deref().unwrap_or("null")).collect()
}

pub fn sorted(mut values: Vec<&str>) -> Vec<&str> {
    values.sort_unstable();
    values
}

/// Asserts that a topic holds the numbers 0 to `count`, each once, and in ascending order for each key (the number modulo `keys`).
pub fn assert_exact(broker: &KafkaBroker, topic: &str, count: u64, keys: u64) {
    let records = broker.client().read(topic).unwrap();
    let mut newest: BTreeMap<u64, i64> = BTreeMap::new();
    let mut seen = vec![0_u32; count as usize];
    for record in &records {
        let number: u64 = record.value.as_deref().unwrap().parse().unwrap();
        seen[number as usize] += 1;
        let newest = newest.entry(number % keys).or_insert(-1);
        assert!((number as i64) > *newest, "{number} comes after {newest} of the same key");
        *newest = number as i64;
    }
    let missing: Vec<usize> = (0..seen.len()).filter(|&number| seen[number] == 0).take(10).collect();
    let repeated: Vec<usize> = (0..seen.len()).filter(|&number| seen[number] > 1).take(10).collect();
    assert!(missing.is_empty() && repeated.is_empty(), "missing {missing:?}, repeated {repeated:?}");
    assert_eq!(broker.client().open_transactions().unwrap(), Vec::<String>::new());
}

/// Sends the numbers `from` to `to` with the key `k{number modulo 7}`, so that each key is in one partition.
pub fn send_numbers(broker: &KafkaBroker, topic: &str, from: u64, to: u64) {
    let request = json!({"do": "generate", "topic": topic, "from": from, "to": to, "template": "{n}", "keys": 7,
        "keyed": true, "start": 1_700_000_000_000_u64});
    broker.client().request(&request, |_| Ok(())).unwrap();
}

/// Waits until a topic has this many committed records.
pub fn wait_for_records(broker: &KafkaBroker, topic: &str, count: usize) {
    let mut last = 0;
    let arrived = wait_until("all records arrive", TIMEOUT, || {
        last = broker.client().read(topic)?.len();
        Ok((last >= count).then_some(()))
    });
    arrived.unwrap_or_else(|error| panic!("{last} of {count} in `{topic}`: {error}"));
}

/// Stops a job with a savepoint, waits for its end, and returns the savepoint.
pub fn stop(running: &Server, job: &str) -> String {
    let savepoint = running.api.savepoint(job, "stop", "{}").unwrap();
    wait_until("the job has stopped", TIMEOUT, || {
        let view = running.api.job(job)?;
        let runs = ["CREATED", "RUNNING", "FAILING", "RESTARTING"].map(Some).contains(&view["status"].as_str());
        Ok((!runs).then_some(()))
    })
    .unwrap();
    savepoint
}

pub fn server(dir: &Path) -> Server {
    Server::start(&Checkout::current().cofferdam(), dir, &[]).unwrap()
}

/// Returns the state of a connector as the job shows it.
pub fn health(job: &Value, node: &str) -> String {
    let nodes = job["operators"].as_array();
    let of = |one: &&Value| one["id"] == node;
    let found = nodes.and_then(|nodes| nodes.iter().find(of)).cloned().unwrap_or_default();
    found["health"]["state"].as_str().unwrap_or("").to_owned()
}

/// Waits until a connector has this state, and returns its message.
pub fn wait_for_health(running: &Server, job: &str, node: &str, wanted: &str) -> String {
    let mut last = Value::Null;
    let reached = wait_until(&format!("`{node}` is {wanted}"), TIMEOUT, || {
        last = running.api.job(job)?;
        Ok((health(&last, node) == wanted).then_some(()))
    });
    reached.unwrap_or_else(|error| panic!("{error}: {last}"));
    let nodes = last["operators"].as_array().into_iter().flatten();
    let found = nodes.filter(|one| one["id"] == node).map(|one| one["health"]["message"].as_str().unwrap_or(""));
    found.collect()
}

/// Waits until a job has failed, and returns its failure.
pub fn wait_for_failure(running: &Server, job: &str) -> (String, String) {
    let view = running.api.wait_for(job, "FAILED").unwrap();
    let text = |name: &str| view["failure"][name].as_str().unwrap_or("").to_owned();
    (text("code"), text("message"))
}

/// Submits a job that starts from a savepoint or checkpoint. `query` is appended.
pub fn submit_from(running: &Server, from: &str, query: &str, pipeline: &str) -> String {
    let path = format!("/v1/jobs?from={from}{query}");
    let answer = running.api.post(&path, "application/toml", pipeline.as_bytes()).unwrap().ok().unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

/// Sends a signal to a server by its name.
pub fn signal(server: &Server, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(server.process_id().to_string()).status().unwrap();
    assert!(status.success(), "cannot send SIG{name}");
}

/// Waits until a job has read this many records and a later complete checkpoint holds their output. Returns its folder.
pub fn wait_for_promise(dir: &Path, running: &Server, job: &str, records: u64) -> String {
    wait_until("the records are read", TIMEOUT, || {
        let view = running.api.job(job)?;
        Ok((view["records_in"].as_u64() >= Some(records)).then_some(()))
    })
    .unwrap();
    let folder = dir.join("data/checkpoints").join(job);
    let newest = || {
        let names = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let complete = names.filter(|path| ["manifest", "metadata"].iter().any(|name| path.join(name).is_file()));
        let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("chk-")?.parse::<u64>().ok();
        complete.filter_map(|path| Some((number(&path)?, path))).max()
    };
    let before = newest().map_or(0, |(id, _)| id);
    wait_until("the next two checkpoints are complete", TIMEOUT, || {
        Ok(newest().filter(|(id, _)| *id >= before + 2).map(|(_, path)| path.display().to_string()))
    })
    .unwrap()
}
