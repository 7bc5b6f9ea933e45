//! Operators with several inputs, from files to the end of the job: unions, and two inputs that share their state.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::testing::{function, run_to_end};
use super::{ExecutionPlan, FunctionPlan, GuestFactory};
use crate::error::Result;
use crate::model::{Batch, Counters, JoinedPairs};
use crate::pipeline::PipelineSpec;
use crate::sandbox::{FunctionDescription, FunctionKind};
use crate::state::{StateDescription, StateKind};
use crate::turn::{Guest, OutputBatch, Turn, TurnFailure};

/// For each key the number of records of the first and of the second input, and the subtask that processed them.
type KeyTotals = BTreeMap<String, (u64, u64, u32)>;

/// Counts the records of both inputs in one state of their key.
struct TwoInputCounter(Arc<Mutex<KeyTotals>>);

impl Guest for TwoInputCounter {
    fn process(&mut self, turn: &mut Turn, input: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let keys = batch.keys.clone().unwrap();
        for &key in &keys.key_of {
            let before = turn.value_get(0, key).unwrap().unwrap_or_default();
            let (mut first, mut second): (u64, u64) = postcard::from_bytes(&before).unwrap_or_default();
            *if input == 0 { &mut first } else { &mut second } += 1;
            turn.value_set(0, key, &postcard::to_allocvec(&(first, second)).unwrap()).unwrap();
            let name = String::from_utf8(keys.distinct.value(key as usize).to_vec()).unwrap();
            let subtask = turn.context.subtask;
            let other = self.0.lock().insert(name, (first, second, subtask));
            assert!(other.is_none_or(|(.., other)| other == subtask), "a key was processed by two subtasks");
        }
        Ok(Vec::new())
    }

    /// Counts a pair as a record of the first input.
    fn join(&mut self, turn: &mut Turn, pairs: &JoinedPairs) -> Result<Vec<OutputBatch>, TurnFailure> {
        for &key in &pairs.keys.key_of {
            let name = String::from_utf8(pairs.keys.distinct.value(key as usize).to_vec()).unwrap();
            self.0.lock().entry(name).or_insert((0, 0, turn.context.subtask)).0 += 1;
        }
        Ok(Vec::new())
    }
}

fn count_function(kind: FunctionKind) -> FunctionDescription {
    FunctionDescription {
        states: vec![StateDescription::new("counts", StateKind::Value, "postcard", "(u64, u64)")],
        ..function("count", kind, "json")
    }
}

fn plan(pipeline_text: &str, kind: FunctionKind, dir: &Path, totals: &Arc<Mutex<KeyTotals>>) -> Result<ExecutionPlan> {
    let totals = totals.clone();
    let make: GuestFactory = Arc::new(move |_| Box::new(TwoInputCounter(totals.clone())));
    let function = FunctionPlan { description: count_function(kind), make };
    let functions = BTreeMap::from([("count".to_owned(), function)]);
    ExecutionPlan::new(PipelineSpec::parse(pipeline_text, "pipeline.toml")?, functions, dir)
}

/// Runs a pipeline with `sources` source subtasks to its end. Returns what the function saw, and the counters of each node.
fn run(pipeline_text: &str, kind: FunctionKind, dir: &Path, sources: usize) -> (KeyTotals, BTreeMap<String, Counters>) {
    let totals = Arc::<Mutex<KeyTotals>>::default();
    let plan = Arc::new(plan(pipeline_text, kind, dir, &totals).unwrap());
    let stats = run_to_end(&plan, dir, sources);
    let counters = stats.into_iter().map(|stats| (stats.node, stats.counters)).collect();
    let totals = totals.lock().clone();
    (totals, counters)
}

/// Writes the input files. The key is `id` in `left.csv` and `more.ndjson`, and `who` in `right.ndjson`; one record has no `who`.
fn files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let rows = (0..900).map(|n| format!("{n},k{}\n", n % 7));
    fs::write(dir.path().join("left.csv"), format!("n,id\n{}", rows.collect::<String>())).unwrap();
    let more = (0..300).map(|n| format!("{{\"id\":\"k{}\",\"n\":{n}}}\n", n % 3));
    fs::write(dir.path().join("more.ndjson"), more.collect::<String>()).unwrap();
    let right = (0..500).map(|n| format!("{{\"n\":{n},\"who\":\"k{}\"}}\n", n % 10));
    let right = right.collect::<String>() + "{\"n\":500,\"id\":\"k1\"}\n";
    fs::write(dir.path().join("right.ndjson"), right).unwrap();
    dir
}

const SOURCES: &str = "[batch]\nrecords = 20\n\
    [source.left]\nconnector = \"file\"\npath = \"left.csv\"\nformat = \"csv\"\nparallelism = 2\n\
    [source.more]\nconnector = \"file\"\npath = \"more.ndjson\"\nformat = \"ndjson\"\n";
/// The event time of `left` and `right`.
const TIMESTAMP: &str = "timestamp = { field = \"n\", format = \"unix-ms\" }\n";
const RIGHT: &str = "[source.right]\nconnector = \"file\"\npath = \"right.ndjson\"\nformat = \"ndjson\"\n";
const REST: &str =
    "component = \"native\"\nfunction = \"count\"\n[sink.out]\ninput = \"count\"\nconnector = \"blackhole\"\n";

/// Returns the totals without the subtasks.
fn counts(totals: &KeyTotals) -> Vec<(&str, u64, u64)> {
    totals.iter().map(|(key, (first, second, _))| (&**key, *first, *second)).collect()
}

#[test]
fn two_keyed_inputs_share_the_state_of_their_keys() {
    let dir = files();
    for (backend, parallelism) in [("memory", 1), ("memory", 3), ("rocksdb", 1), ("rocksdb", 3)] {
        let pipeline_text = format!(
            "name = \"two\"\n[state]\nbackend = \"{backend}\"\n{SOURCES}{RIGHT}\
             [operator.count]\ninputs = [\"left\", \"more\"]\nkey = {{ field = \"id\" }}\nsecond = \"right\"\n\
             second_key = {{ field = \"who\" }}\non_fault = \"skip\"\nparallelism = {parallelism}\n{REST}"
        );
        let (totals, counters) = run(&pipeline_text, FunctionKind::CoProcess, dir.path(), 4);
        // 900 rows over 7 keys, of which the first 4 have one more; 300 over 3 keys; 500 of the second input over 10 keys.
        let mut expected: Vec<_> =
            ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9"].iter().map(|key| (*key, 128, 50)).collect();
        for (at, expected) in expected.iter_mut().enumerate() {
            match at {
                0..3 => expected.1 = 129 + 100,
                3 => expected.1 = 129,
                4..7 => {}
                _ => expected.1 = 0,
            }
        }
        assert_eq!(counts(&totals), expected, "{backend}, {parallelism}");
        let counters = counters["count"];
        assert_eq!((counters.records_in, counters.records_skipped), (900 + 300 + 501, 1));
        let subtasks: std::collections::BTreeSet<u32> = totals.values().map(|total| total.2).collect();
        assert_eq!(subtasks.len(), parallelism);
    }
}

/// The parallelism of the operator differs from that of its sources, and each input has its key in another place. The sink has no key: one
/// input is forwarded and the others are rebalanced.
#[test]
fn a_union_mixes_parallelisms_and_formats() {
    let dir = files();
    let pipeline_text = format!(
        "name = \"union\"\n{SOURCES}[operator.count]\ninputs = [\"left\", \"more\"]\nkey = {{ field = \"id\" }}\n\
         parallelism = 3\n{REST}[sink.all]\ninputs = [\"left\", \"more\", \"count\"]\nconnector = \"blackhole\"\nparallelism = 2\n"
    );
    let (totals, counters) = run(&pipeline_text, FunctionKind::KeyedProcess, dir.path(), 3);
    let expected = [
        ("k0", 229, 0),
        ("k1", 229, 0),
        ("k2", 229, 0),
        ("k3", 129, 0),
        ("k4", 128, 0),
        ("k5", 128, 0),
        ("k6", 128, 0),
    ];
    assert_eq!(counts(&totals), expected);
    assert_eq!((counters["count"].records_in, counters["count"].faults), (1200, 0));
    assert_eq!(counters["all"].records_in, 1200, "forwarded and rebalanced records");
}

/// Returns the sources with timestamps in `left`.
fn timed_sources() -> String {
    SOURCES.replace("[source.more]", &format!("{TIMESTAMP}[source.more]"))
}

#[test]
fn a_second_input_and_its_function_belong_together() {
    let dir = files();
    let refused = |kind: FunctionKind, inputs: &str| {
        let window = match kind {
            FunctionKind::CoGroup => "window = { type = \"tumbling\", size = \"1s\" }\n",
            _ => "",
        };
        let pipeline_text = format!(
            "name = \"two\"\n{}{RIGHT}{TIMESTAMP}[sink.rest]\ninputs = [\"right\", \"more\"]\nconnector = \"blackhole\"\n\
             [operator.count]\ninput = \"left\"\nkey = {{ field = \"id\" }}\n{window}{inputs}\n{REST}",
            timed_sources()
        );
        let error = plan(&pipeline_text, kind, dir.path(), &Arc::default()).err().map(|error| {
            let (_, key) = error.subject.clone().unwrap_or_default();
            (error.code, key, error.message)
        });
        error.unwrap_or_default()
    };
    let interval = "interval = { lower = \"-1s\", upper = \"1s\" }\n";
    for kind in [FunctionKind::CoProcess, FunctionKind::CoGroup, FunctionKind::IntervalJoin] {
        let refused = |inputs: &str| {
            let own = if kind == FunctionKind::IntervalJoin { interval } else { "" };
            refused(kind, &format!("{own}{inputs}"))
        };
        let (code, key, message) = refused("");
        assert_eq!((code, key), ("manifest-invalid", "function"));
        assert!(message.ends_with("which has a second input, so it needs a `second`"), "{message}");
        let (code, key, _) = refused("second = \"right\"\nsecond_key = { field = \"who\" }\nbroadcast = \"right\"");
        assert_eq!((code, key), ("manifest-invalid", "broadcast"));
        // The CSV file has no field with this name.
        let (code, key, _) = refused("second = \"left\"\nsecond_key = { field = \"who\" }");
        assert_eq!((code, key), ("manifest-key", "second_key"));
        assert_eq!(refused("second = \"right\"").0, "", "both inputs have a key with the same name");
    }
    let (code, key, message) = refused(FunctionKind::IntervalJoin, "second = \"right\"");
    assert_eq!((code, key), ("manifest-invalid", "function"));
    assert!(message.ends_with("so it needs an `interval`"), "{message}");
    let (code, key, _) = refused(FunctionKind::CoProcess, &format!("{interval}second = \"right\""));
    assert_eq!((code, key), ("manifest-invalid", "interval"));
    for kind in [FunctionKind::KeyedProcess, FunctionKind::BroadcastProcess] {
        let (code, key, message) = refused(kind, "second = \"right\"\nbroadcast = \"right\"");
        assert_eq!((code, key), ("manifest-invalid", "second"));
        assert!(message.ends_with("has a `second`, but its function `count` has no second input"), "{message}");
    }
    assert_eq!(refused(FunctionKind::BroadcastProcess, "").1, "function");
}

#[test]
fn an_interval_join_pairs_records_within_its_interval() {
    let dir = files();
    fs::write(dir.path().join("timeless.ndjson"), "{\"n\":null,\"who\":\"k1\"}\n").unwrap();
    for (backend, parallelism) in [("memory", 1), ("memory", 3), ("rocksdb", 1), ("rocksdb", 3)] {
        let pipeline_text = format!(
            "name = \"join\"\n[state]\nbackend = \"{backend}\"\n[batch]\nrecords = 20\n\
             [source.left]\nconnector = \"file\"\npath = \"left.csv\"\nformat = \"csv\"\n{TIMESTAMP}{RIGHT}{TIMESTAMP}\
             [source.timeless]\nconnector = \"file\"\npath = \"timeless.ndjson\"\nformat = \"ndjson\"\n{TIMESTAMP}\
             [operator.count]\ninput = \"left\"\nkey = {{ field = \"id\" }}\nsecond = [\"right\", \"timeless\"]\n\
             second_key = {{ field = \"who\" }}\ninterval = {{ lower = \"-5ms\", upper = \"7ms\", upper_exclusive = true }}\n\
             on_fault = \"dead-letter\"\nparallelism = {parallelism}\n{REST}\
             [sink.late]\ninput = \"count.late\"\nconnector = \"blackhole\"\n\
             [sink.bad]\ninput = \"count.dead-letter\"\nconnector = \"blackhole\"\n"
        );
        let (totals, counters) = run(&pipeline_text, FunctionKind::IntervalJoin, dir.path(), 3);
        let mut expected = BTreeMap::new();
        for (left, right) in (0..900i64).flat_map(|left| (0..500i64).map(move |right| (left, right))) {
            if left % 7 == right % 10 && (-5..7).contains(&(right - left)) {
                *expected.entry(format!("k{}", left % 7)).or_insert(0) += 1;
            }
        }
        let seen: BTreeMap<String, u64> = totals.into_iter().map(|(key, (pairs, ..))| (key, pairs)).collect();
        assert_eq!(seen, expected, "{backend}, {parallelism}");
        // One record has no timestamp, and one has no key.
        assert_eq!((counters["bad"].records_in, counters["late"].records_in), (2, 0));
    }
}

/// Only an operator that has late records has an output for them.
#[test]
fn late_records_are_an_output_of_an_interval_join() {
    let dir = files();
    let join = "[operator.count]\ninput = \"left\"\nkey = { field = \"id\" }\nsecond = \"left\"\n\
                interval = { lower = \"0s\", upper = \"1s\" }\n";
    let with = |late: &str, kind| {
        let sources = timed_sources();
        let (sources, _) = sources.split_once("[source.more]").unwrap();
        let join = if kind == FunctionKind::CoProcess { join.replace("interval", "config") } else { join.to_owned() };
        let pipeline_text = format!("name = \"late\"\n{sources}{join}{REST}{late}");
        plan(&pipeline_text, kind, dir.path(), &Arc::default()).err().map(|error| error.code)
    };
    let sink = "[sink.late]\ninput = \"count.late\"\nconnector = \"blackhole\"\n";
    assert_eq!(with(sink, FunctionKind::IntervalJoin), None);
    assert_eq!(with(sink, FunctionKind::CoProcess), Some("manifest-unknown-input"));
}
