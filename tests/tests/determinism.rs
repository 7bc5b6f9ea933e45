//! The same records give the same bytes, however they are run: in a used instance, in a fresh one for each turn, in small batches,
//! and through a kill.
//!
//! Runs every example but late-flights, which `holds_nothing.rs` and `cargo xtask crash` run in the same ways, and the guests of the
//! tests. Each sink's lines are compared as bytes, in sorted order: the order of lines of different keys is not part of the result.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cofferdam_tests::{Checkout, Example, Server, committed_lines, difference, wait_until};
use toml_edit::{DocumentMut, Item, Value, value};

const TIMEOUT: Duration = Duration::from_secs(180);

/// Number of records of the guests' input.
const RECORDS: u64 = 2_000;

/// Seconds that a run with a kill takes.
const KILLED_SECONDS: u64 = 4;

/// A pipeline to run in every way.
struct Case {
    name: String,
    pipeline: DocumentMut,
    sinks: Vec<String>,
    /// Largest number of records of one of its sources.
    records: u64,
}

/// How a case runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Warm,
    Fresh,
    SmallBatches,
    Killed,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Warm => "warm",
            Way::Fresh => "fresh",
            Way::SmallBatches => "small-batches",
            Way::Killed => "killed",
        }
    }
}

fn tables<'a>(pipeline: &'a mut DocumentMut, kind: &str) -> Vec<(String, &'a mut dyn toml_edit::TableLike)> {
    let Some(tables) = pipeline.get_mut(kind).and_then(Item::as_table_like_mut) else { return Vec::new() };
    let tables = tables.iter_mut().filter_map(|(id, item)| Some((id.to_string(), item.as_table_like_mut()?)));
    tables.collect()
}

fn set(pipeline: &mut DocumentMut, table: &str, key: &str, to: impl Into<Value>) {
    pipeline[table][key] = value(to);
}

impl Case {
    /// Returns the pipeline of one way, and the folder of its sinks.
    fn pipeline(&self, dir: &Path, way: Way) -> (String, PathBuf) {
        let mut pipeline = self.pipeline.clone();
        let name = format!("{}-{}", self.name, way.name());
        let out = dir.join(&name);
        pipeline["name"] = value(&name);
        pipeline["seed"] = value(7);
        pipeline.remove("fault_injection");
        match way {
            Way::Warm => {}
            Way::Fresh => set(&mut pipeline, "sandbox", "fresh_instance", true),
            Way::SmallBatches => set(&mut pipeline, "batch", "records", 3),
            Way::Killed => {
                pipeline.remove("checkpoint");
                set(&mut pipeline, "checkpoint", "interval", "100ms");
            }
        }
        for (_, source) in tables(&mut pipeline, "source") {
            source.remove("rate");
            if way == Way::Killed {
                source.insert("rate", value((self.records / KILLED_SECONDS).max(1) as i64));
            }
        }
        for (id, sink) in tables(&mut pipeline, "sink") {
            sink.insert("path", value(out.join(id).display().to_string()));
        }
        (pipeline.to_string(), out)
    }

    fn lines(&self, out: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        for sink in &self.sinks {
            let of_sink = committed_lines(&out.join(sink)).unwrap();
            lines.extend(of_sink.into_iter().map(|line| format!("{sink}: {line}")));
        }
        lines
    }
}

/// The small examples, on their own data.
fn examples(checkout: &Checkout, dir: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for example in Example::all(checkout).unwrap() {
        if example.pipeline().unwrap().contains("connector = \"kafka\"") {
            // Runs beside a broker in `examples.rs`.
            continue;
        }
        let mut pipeline: DocumentMut = example.pipeline().unwrap().parse().unwrap();
        let mut records = 1;
        for (_, source) in tables(&mut pipeline, "source") {
            if source.get("connector").and_then(Item::as_str) == Some("socket") {
                // The same lines from a file, since a socket cannot be read again.
                let lines = dir.join(format!("{}.txt", example.name));
                fs::write(&lines, example.connections().unwrap().concat()).unwrap();
                source.insert("connector", value("file"));
                source.insert("path", value(lines.display().to_string()));
                source.remove("address");
            }
            let path = example.folder.join(source.get("path").and_then(Item::as_str).unwrap());
            records = records.max(fs::read_to_string(&path).unwrap().lines().count() as u64);
            source.insert("path", value(path.display().to_string()));
        }
        for (_, operator) in tables(&mut pipeline, "operator") {
            if operator.contains_key("component") {
                operator.insert("component", value(format!("{}@1", example.name)));
            }
            if operator.get("on_fault").and_then(Item::as_str) == Some("fail") {
                operator.insert("on_fault", value("skip"));
            }
        }
        let sinks = tables(&mut pipeline, "sink").into_iter().map(|(id, _)| id).collect();
        cases.push(Case { name: example.name, pipeline, sinks, records });
    }
    cases
}

/// The functions of the tests' guests: component, function, and further settings of the operator.
const GUESTS: &[(&str, &str, &str)] = &[
    ("crossing", "echo", ""),
    ("event-time", "sum", TUMBLING),
    ("event-time", "largest", SLIDING),
    ("event-time", "elements", SLIDING),
    ("event-time", "session-elements", SESSION),
    ("kinds", "kinds", KEY),
    ("relay", "forward", ""),
    ("relay", "count", KEY),
    ("printing", "print", ""),
    ("misbehaving", "echo", KEY),
    ("misbehaving", "error", "on_fault = \"skip\""),
    ("misbehaving", "panic", "on_fault = \"dead-letter\""),
    ("misbehaving", "count-then-trap", "key = { column = 0 }\non_fault = \"skip\""),
];

const KEY: &str = "key = { column = 0 }";
const TUMBLING: &str = "key = { column = 0 }\nwindow = { type = \"tumbling\", size = \"3s\" }";
const SLIDING: &str = "key = { column = 0 }\nwindow = { type = \"sliding\", size = \"4s\", slide = \"1s\" }";
const SESSION: &str = "key = { column = 0 }\nwindow = { type = \"session\", gap = \"75ms\" }";

fn guests(dir: &Path) -> Vec<Case> {
    // Every hundredth record is bad for the guests that misbehave. Records of one key are in the order of their times.
    let line = |number: u64| {
        let mark = if number % 100 == 42 { "!" } else { "" };
        format!("{mark}k{},{},{}\n", number % 7, number * 7919 % 1000, number * 10)
    };
    let plain = dir.join("plain.csv");
    fs::write(&plain, (0..RECORDS).map(line).collect::<String>()).unwrap();
    let mut cases = Vec::new();
    for (number, (component, function, settings)) in GUESTS.iter().enumerate() {
        let path = plain.display();
        let letters = if settings.contains("dead-letter") {
            "[sink.letters]\ninput = \"act.dead-letter\"\nconnector = \"file\"\npath = \"\"\n"
        } else {
            ""
        };
        let pipeline = format!(
            "name = \"n\"\nparallelism = 2\n[source.in]\nconnector = \"file\"\npath = \"{path}\"\nformat = \"csv\"\nheader = false\n\
             parallelism = 1\ntimestamp = {{ column = 2, format = \"unix-ms\" }}\nwatermark = {{ out_of_orderness = \"0s\" }}\n\
             [operator.act]\ninput = \"in\"\ncomponent = \"{component}@1\"\nfunction = \"{function}\"\n{settings}\n\
             [sink.out]\ninput = \"act\"\nconnector = \"file\"\npath = \"\"\n{letters}"
        );
        let mut pipeline: DocumentMut = pipeline.parse().unwrap();
        let sinks = tables(&mut pipeline, "sink").into_iter().map(|(id, _)| id);
        // Positions in dead letters are those of the subtask, which depend on the order in which its channels are read.
        let sinks = sinks.filter(|id| id == "out").collect();
        cases.push(Case { name: format!("guest-{number}-{function}"), pipeline, sinks, records: RECORDS });
    }
    cases
}

fn push(server: &Server, checkout: &Checkout, cases: &[Case]) {
    let of = |case: &Case| -> Vec<String> {
        let mut pipeline = case.pipeline.clone();
        let operators = tables(&mut pipeline, "operator");
        let names = operators.iter().filter_map(|(_, operator)| operator.get("component")?.as_str().map(str::to_owned));
        names.collect()
    };
    let mut names: Vec<String> = cases.iter().flat_map(of).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let bytes = fs::read(checkout.component(name.trim_end_matches("@1")).unwrap()).unwrap();
        server.api.push(&bytes, Some(&name)).unwrap().ok().unwrap();
    }
}

/// Runs all cases in every way, and compares.
fn compare(name: &str, cases: impl FnOnce(&Checkout, &Path) -> Vec<Case>) {
    let checkout = Checkout::current();
    let (server, dir) = Server::start_fresh(name).unwrap();
    let cases = cases(&checkout, &dir);
    push(&server, &checkout, &cases);
    let submit = |server: &Server, case: &Case, way: Way| {
        let (pipeline, out) = case.pipeline(&dir, way);
        let job =
            server.api.submit_ok(&pipeline).unwrap_or_else(|error| panic!("{}: {error:#}\n{pipeline}", case.name));
        (job, out)
    };
    let mut expected = Vec::new();
    for case in &cases {
        let [warm, fresh, small] = [Way::Warm, Way::Fresh, Way::SmallBatches].map(|way| {
            let (job, out) = submit(&server, case, way);
            server.api.wait_for(&job, "FINISHED").unwrap();
            case.lines(&out)
        });
        assert!(!warm.is_empty(), "{} has no output", case.name);
        for (way, lines) in [(Way::Fresh, fresh), (Way::SmallBatches, small)] {
            if let Some(difference) = difference(&warm, &lines) {
                panic!("{} {}: {difference}", case.name, way.name());
            }
        }
        expected.push(warm);
    }
    // All of them run at the same time, so that one kill is enough.
    let killed: Vec<_> = cases.iter().map(|case| submit(&server, case, Way::Killed)).collect();
    wait_until("every job has a checkpoint or has ended", TIMEOUT, || {
        for (job, _) in &killed {
            let job = server.api.job(job)?;
            if job["last_checkpoint"].is_null() && job["status"] != "FINISHED" {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .unwrap();
    server.kill().unwrap();
    let server = Server::start(&checkout.cofferdam(), &dir, &[]).unwrap();
    let mut restored = 0;
    for ((case, expected), (job, out)) in cases.iter().zip(&expected).zip(&killed) {
        let job = server.api.wait_for(job, "FINISHED").unwrap();
        restored += u32::from(job["restored_checkpoint"].is_u64());
        if let Some(difference) = difference(expected, &case.lines(out)) {
            panic!("{} through a kill: {difference}", case.name);
        }
    }
    assert!(restored > 0, "no job was restored, which shows nothing");
}

#[test]
fn every_example_gives_the_same_bytes_however_it_runs() {
    compare("determinism-examples", examples);
}

#[test]
fn every_guest_gives_the_same_bytes_however_it_runs() {
    compare("determinism-guests", |_, dir| guests(dir));
}
