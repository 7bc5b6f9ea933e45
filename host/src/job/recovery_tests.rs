//! Failures in the middle of a job change no result: sums, windows and the order within a key are those of a job without
//! failures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use super::host::Host;
use super::testing::{TestHost, wait};
use super::view::{FailureOutcome, JobDetail, JobStatus};
use crate::model::{default_max_parallelism, group_of_key, hash_key, subtask_of_group};

/// Runs a pipeline whose paths start in the test's folder until it has ended.
fn run(test: &TestHost, host: &Host, pipeline_text: &str) -> JobDetail {
    let id = host.submit(test.submission(pipeline_text)).unwrap().summary.id;
    let job = wait(host, &id, |job| job.summary.status.is_final());
    assert_eq!(job.summary.status, JobStatus::Finished, "{:?}", job.failure);
    job
}

/// Returns the rows that a sink has published: those of each subtask together, in their order.
fn rows(folder: &Path) -> Vec<Value> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let parts: BTreeSet<_> = entries.filter(|path| path.is_file()).collect();
    let text: String = parts.iter().map(|part| fs::read_to_string(part).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the ids of the checkpoints that published output.
fn publishing_checkpoints(folder: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let parts = names.filter_map(|name| Some(name.strip_suffix(".txt")?.to_owned()));
    parts.filter_map(|part| part.rsplit('-').next().map(str::to_owned)).collect()
}

fn number(row: &Value, field: &str) -> i64 {
    let value = &row[field];
    let text = value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
    text.parse::<f64>().unwrap_or_else(|_| panic!("no number `{field}` in {row}")) as i64
}

fn milliseconds(row: &Value, field: &str) -> i64 {
    row[field].as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond()
}

const KEYS: i64 = 40;
const PARALLELISM: u32 = 4;

/// Returns the subtask that gets a key.
fn subtask_of(key: i64) -> u32 {
    let max_parallelism = default_max_parallelism(PARALLELISM);
    let group = group_of_key(hash_key(key.to_string().as_bytes()), max_parallelism);
    subtask_of_group(group, PARALLELISM, max_parallelism)
}

#[test]
fn each_key_keeps_its_count_and_sum_when_a_subtask_fails_at_seventy_percent_of_its_input() {
    let test = TestHost::new();
    let host = test.open();
    let mut sources = String::new();
    for source in ["left", "right"] {
        let mut lines = String::from("key,value,at\n");
        for n in 0..5_000 {
            writeln!(lines, "{},{},{n}", n % KEYS, n % KEYS).unwrap();
        }
        fs::write(test.folder.path().join(format!("{source}.csv")), lines).unwrap();
        write!(
            sources,
            "[source.{source}]\nconnector = \"file\"\npath = \"{source}.csv\"\nformat = \"csv\"\nrate = 5000\n\
             timestamp = {{ field = \"at\", format = \"unix-ms\" }}\nwatermark = \"ascending\"\n"
        )
        .unwrap();
    }
    let operator = |id: &str, aggregate: &str| {
        format!(
            "[operator.{id}]\ninputs = [\"left\", \"right\"]\nkey = {{ field = \"key\" }}\n\
             window = {{ type = \"tumbling\", size = \"1h\" }}\naggregate = {{ {aggregate} }}\n\
             [sink.{id}s]\ninput = \"{id}\"\nconnector = \"file\"\npath = \"{id}s\"\nformat = \"ndjson\"\n"
        )
    };
    let failing = subtask_of(7);
    let keys = (0..KEYS).filter(|key| subtask_of(*key) == failing).count();
    let after = keys * 250 * 7 / 10;
    let pipeline = format!(
        "name = \"sums\"\nparallelism = {PARALLELISM}\n[checkpoint]\nrecords = 1000\n[restart]\ndelay = \"10ms\"\n\
         [fault_injection]\nfailures = [{{ at = \"record\", node = \"sum\", subtask = {failing}, after = {after} }}]\n\
         {sources}{}{}",
        operator("count", "type = \"count\""),
        operator("sum", "type = \"sum\", field = \"value\"")
    );
    let job = run(&test, &host, &pipeline);
    let [failure] = &job.failures[..] else { panic!("one failure: {:?}", job.failures) };
    assert_eq!((failure.operator.as_deref(), failure.subtask), (Some("sum"), Some(failing)));
    for (sink, field, of_key) in [("counts", "count", 250), ("sums", "sum", 0)] {
        let rows = rows(&test.folder.path().join(sink));
        let found: BTreeMap<i64, i64> = rows.iter().map(|row| (number(row, "key"), number(row, field))).collect();
        let expected = (0..KEYS).map(|key| (key, if of_key == 0 { key * 250 } else { of_key })).collect();
        assert_eq!((rows.len() as i64, found), (KEYS, expected), "{sink}");
    }
}

/// Returns the sum of the timestamps within a window of 1,000 ms: the records of a key have the timestamps 0 to 2,999 and
/// their timestamps as values.
fn sum_of_window(start: i64) -> i64 {
    (start.max(0)..(start + 1_000).min(3_000)).sum()
}

#[test]
fn each_window_is_exact_when_the_source_fails_after_two_checkpoints() {
    let test = TestHost::new();
    let host = test.open();
    let mut lines = String::from("key,value,at\n");
    for at in 0..3_000 {
        for key in 0..100 {
            writeln!(lines, "{key},{at},{at}").unwrap();
        }
    }
    fs::write(test.folder.path().join("events.csv"), lines).unwrap();
    let operator = |id: &str, window: &str| {
        format!(
            "[operator.{id}]\ninput = \"events\"\nkey = {{ field = \"key\" }}\nwindow = {{ {window} }}\n\
             aggregate = {{ type = \"sum\", field = \"value\" }}\nparallelism = 2\n[sink.{id}-out]\ninput = \"{id}\"\n\
             connector = \"file\"\npath = \"{id}\"\nformat = \"ndjson\"\nparallelism = 1\n"
        )
    };
    let pipeline = format!(
        "name = \"windows\"\nstate = {{ backend = \"rocksdb\" }}\n[checkpoint]\nrecords = 30_000\n[restart]\n\
         delay = \"10ms\"\n[fault_injection]\n\
         failures = [{{ at = \"record\", node = \"events\", checkpoints = 2, after = 1000 }}]\n\
         [source.events]\nconnector = \"file\"\npath = \"events.csv\"\nformat = \"csv\"\nrate = 100_000\n\
         timestamp = {{ field = \"at\", format = \"unix-ms\" }}\nwatermark = \"ascending\"\n{}{}",
        operator("tumbling", "type = \"tumbling\", size = \"1s\""),
        operator("sliding", "type = \"sliding\", size = \"1s\", slide = \"100ms\"")
    );
    let job = run(&test, &host, &pipeline);
    let [failure] = &job.failures[..] else { panic!("one failure: {:?}", job.failures) };
    assert_eq!((failure.operator.as_deref(), &failure.code[..]), (Some("events"), "fault-injected"));
    for (id, step, first) in [("tumbling", 1_000, 0), ("sliding", 100, -900)] {
        let rows = rows(&test.folder.path().join(id));
        let windows: Vec<(i64, i64)> =
            (first..3_000).step_by(step).map(|start| (start, sum_of_window(start))).collect();
        assert_eq!(windows.len(), if id == "tumbling" { 3 } else { 39 });
        let mut of_keys: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
        for row in &rows {
            assert_eq!(milliseconds(row, "end"), milliseconds(row, "start") + 1_000);
            let window = (milliseconds(row, "start"), number(row, "sum"));
            of_keys.entry(number(row, "key")).or_default().push(window);
        }
        assert_eq!(of_keys.len(), 100);
        for (key, mut of_key) in of_keys {
            of_key.sort_unstable();
            assert_eq!(of_key, windows, "key {key} of {id}");
        }
    }
}

#[test]
fn five_failures_lose_repeat_and_reorder_nothing() {
    const OF_KEY: i64 = 400;
    let test = TestHost::new();
    let host = test.open();
    let mut lines = String::from("key,n\n");
    for n in 0..50 * OF_KEY {
        writeln!(lines, "{},{n}", n % 50).unwrap();
    }
    fs::write(test.folder.path().join("events.csv"), lines).unwrap();
    // A thousand records are read between two checkpoints, so that the failures occur in this order.
    // The count of a key after each of its records: a gap is a loss, a repetition a duplicate.
    let pipeline = "name = \"five\"\nparallelism = 4\n[checkpoint]\nrecords = 1000\n[restart]\nattempts = 10\n\
         delay = \"5ms\"\n[fault_injection]\nfailures = [\n\
         { at = \"record\", node = \"count\", subtask = 1, after = 100, checkpoints = 1 },\n\
         { at = \"restore\", node = \"count\", subtask = 3, checkpoints = 1 },\n\
         { at = \"snapshot\", node = \"count\", subtask = 2, checkpoints = 3 },\n\
         { at = \"commit\", node = \"out\", checkpoints = 4 },\n\
         { at = \"close\", node = \"out\" },\n]\n\
         [source.events]\nconnector = \"file\"\npath = \"events.csv\"\nformat = \"csv\"\nrate = 2000\n\
         [operator.count]\ninput = \"events\"\nkey = { field = \"key\" }\nwindow = { type = \"global\" }\n\
         trigger = { type = \"count\", count = 1 }\naggregate = { type = \"count\" }\n\
         [sink.out]\ninput = \"count\"\nconnector = \"file\"\npath = \"out\"\nformat = \"ndjson\"\n";
    let job = run(&test, &host, pipeline);
    let steps = job.failures.iter().map(|failure| {
        assert_eq!((&failure.code[..], failure.outcome), ("fault-injected", FailureOutcome::Restart), "{failure:?}");
        failure.message.rsplit(' ').next().unwrap()
    });
    assert_eq!(steps.collect::<Vec<_>>(), ["Record", "Restore", "Snapshot", "Commit", "Close"]);
    let attempts: Vec<u32> = job.failures.iter().map(|failure| failure.attempt).collect();
    assert_eq!((attempts, job.summary.restarts), (vec![1, 2, 3, 4, 5], 5));
    let checkpoints = publishing_checkpoints(&test.out());
    assert!(checkpoints.len() >= 8, "{checkpoints:?}");
    let mut counts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for row in rows(&test.out()) {
        counts.entry(number(&row, "key")).or_default().push(number(&row, "count"));
    }
    assert_eq!(counts.len(), 50);
    for (key, counts) in counts {
        assert_eq!(counts, (1..=OF_KEY).collect::<Vec<_>>(), "key {key}");
    }
}
