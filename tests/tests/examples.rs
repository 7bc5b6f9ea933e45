//! Every example produces the output that its folder states, through the binary and its own component, and every folder is
//! complete.

use std::fs::{self, File};
use std::process::Stdio;

use cofferdam_tests::{Checkout, Example, Outcome, without_kafka};
use serde_json::Value;
use toml_edit::{DocumentMut, Item, value};

/// Settings of one run of an example.
#[derive(Default)]
struct Run {
    /// Its folder below the target folder, if an example has several runs.
    suffix: &'static str,
    /// Parallelism and backend, if they differ from those of the pipeline file.
    engine: Option<(i64, &'static str)>,
    /// The data that the socket's connections send, if it is not in the example's folder.
    connections: Option<Vec<Vec<u8>>>,
}

/// Runs an example. Writes its progress to `run.log` in the folder of the run.
fn outcome(name: &str, run: Run) -> Outcome {
    let checkout = Checkout::current();
    let example = Example::named(&checkout, name).unwrap();
    let dir = checkout.fresh_dir(&format!("tests/example-{name}{}", run.suffix)).unwrap();
    let log = Stdio::from(File::create(dir.join("run.log")).unwrap());
    let mut pipeline = example.pipeline().unwrap();
    if let Some((parallelism, backend)) = run.engine {
        let mut toml: DocumentMut = pipeline.parse().unwrap();
        toml["parallelism"] = value(parallelism);
        toml["state"]["backend"] = value(backend);
        pipeline = toml.to_string();
    }
    let connections = run.connections.map_or_else(|| example.connections(), Ok).unwrap();
    example.run_otherwise(&checkout, &dir, log, &pipeline, connections).unwrap()
}

/// The result is right as the example stands, and with one and three subtasks on both backends.
fn right(name: &str, check: fn(&Value)) {
    if name.starts_with("kafka") && without_kafka() {
        return;
    }
    let engines = [None, Some((1, "memory")), Some((1, "rocksdb")), Some((3, "memory")), Some((3, "rocksdb"))];
    for engine in engines {
        let outcome = outcome(name, Run { engine, ..Run::default() });
        outcome.check().unwrap_or_else(|error| panic!("{engine:?}: {error:#}"));
        check(&outcome.job);
    }
}

macro_rules! examples {
    ($($test:ident $name:literal $check:expr)*) => {
        const TESTED: &[&str] = &[$($name),*];
        $(#[test]
        fn $test() {
            right($name, $check);
        })*
    };
}

examples! {
    count_to_ten "count-to-ten" goes_on_from_a_checkpoint
    fraud_detection "fraud-detection" never_fails
    kafka_sum "kafka-sum" never_fails
    last_events "last-events" never_fails
    message_fan_out "message-fan-out" never_fails
    real_time_counter "real-time-counter" never_fails
    recommendations "recommendations" never_fails
    socket_numbers "socket-numbers" fails_three_times
    state_machine "state-machine" never_fails
    traffic_monitor "traffic-monitor" never_fails
}

fn never_fails(job: &Value) {
    assert_eq!(job["restarts"], 0, "{job}");
}

fn goes_on_from_a_checkpoint(job: &Value) {
    assert_eq!(job["restarts"], 1, "{job}");
    assert!(job["restored_checkpoint"].is_u64(), "it began anew, which shows nothing: {job}");
}

fn fails_three_times(job: &Value) {
    assert_eq!(job["restarts"], 3, "{job}");
}

#[test]
fn socket_numbers_fails_for_good_at_the_fourth_bad_text() {
    let texts = ["1\ntwo\n", "1\n\n", "1 2\n", "3.5\n", "5\n"].map(|text| text.as_bytes().to_vec());
    let run = Run { suffix: "-bad", connections: Some(texts.to_vec()), ..Run::default() };
    let outcome = outcome("socket-numbers", run);
    let job = &outcome.job;
    assert_eq!((job["status"].as_str(), job["restarts"].as_u64()), (Some("FAILED"), Some(3)), "{job}");
    assert!(job["failure"]["message"].as_str().unwrap().contains("`3.5` is not a number"), "{job}");
    assert!(outcome.lines.iter().all(|(_, lines)| lines.is_empty()), "a failed attempt commits nothing: {outcome:?}");
}

/// The folders of the pipeline's sinks, each of which must be `out/NAME`, or `topic-NAME` for a topic.
fn sinks(example: &Example) -> Vec<String> {
    let pipeline: DocumentMut = example.pipeline().unwrap().parse().unwrap();
    let sinks = pipeline["sink"].as_table().unwrap().iter();
    let folder = |path: &str| path.strip_prefix("out/").map(str::to_owned);
    let mut folders: Vec<String> = sinks
        .map(|(id, sink)| {
            let topic = sink.get("topic").and_then(Item::as_str).map(|topic| format!("topic-{topic}"));
            let path = || sink.get("path").and_then(Item::as_str).and_then(folder);
            topic.or_else(path).unwrap_or_else(|| panic!("{}: sink {id}", example.name))
        })
        .collect();
    folders.sort_unstable();
    folders
}

#[test]
fn every_folder_is_whole() {
    let checkout = Checkout::current();
    let examples = Example::all(&checkout).unwrap();
    let names: Vec<&str> = examples.iter().map(|example| example.name.as_str()).collect();
    assert_eq!(names, TESTED, "an example without a test, or a test without an example");
    let front = fs::read_to_string(checkout.root.join("README.md")).unwrap();
    for example in examples {
        let name = &example.name;
        let read = |file: &str| {
            let text = fs::read_to_string(example.folder.join(file)).unwrap_or_default();
            assert!(!text.trim().is_empty(), "{name} has no {file}");
            text
        };
        assert!(
            read("Cargo.toml").contains(&format!("name = \"{name}\"")),
            "the package of {name} is called otherwise"
        );
        assert!(read("src/lib.rs").contains("#[test]"), "{name} has no tests of its own");
        assert!(read("pipeline.toml").contains(&format!("name = \"{name}\"")), "the pipeline of {name}");
        assert!(example.title().unwrap().ends_with('.'), "{name} does not say what it shows");
        assert!(fs::read_dir(example.folder.join("data")).unwrap().next().is_some(), "{name} has no input");
        let readme = read("README.md");
        assert!(readme.contains(&format!("cargo xtask example {name}")), "the README of {name} has no command");
        assert!(readme.lines().count() <= 50, "the README of {name} is longer than a screen");
        assert!(front.contains(&format!("(examples/{name}/README.md)")), "the README does not name {name}");
        let expected = example.expected().unwrap();
        assert!(expected.iter().any(|(_, lines)| !lines.is_empty()), "{name} expects nothing");
        let expected: Vec<String> = expected.into_iter().map(|(sink, _)| sink).collect();
        assert_eq!(expected, sinks(&example), "what is expected of {name}, and its sinks");
    }
}
