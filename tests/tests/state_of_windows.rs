//! State of windows, panes, timers, joins and clocks. A dump shows it by the key of its records, and `get` finds it there. A
//! savepoint loaded from the dump resumes like the original.
//!
//! The guest is tests/guests/event-time; the test generates the input.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, committed_lines, wait_until};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(120);
const ROWS: u64 = 6000;
/// Minimum number of rows that the first run reads before it is stopped.
const ROWS_BEFORE: u64 = 2000;

const TUMBLING: &str = "{ type = \"tumbling\", size = \"3s\" }";
const SLIDING: &str = "{ type = \"sliding\", size = \"6s\", slide = \"1s\" }";
const SESSION: &str = "{ type = \"session\", gap = \"4s\" }";
const GLOBAL: &str = "{ type = \"global\" }\ntrigger = { type = \"continuous\", interval = \"10s\" }";

fn component(function: &str) -> String {
    format!("component = \"event-time@1\"\nfunction = \"{function}\"")
}

/// Every kind of operator that keeps hidden state, and the states that its dump must contain.
fn operators() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let windowed = |window: &str, function: &str| format!("window = {window}\n{function}");
    let native = |what: &str| format!("aggregate = {{ type = \"{what}\", field = \"value\" }}");
    let two = "second = \"more\"\nsecond_key = { field = \"id\" }";
    vec![
        ("tumbling", windowed(TUMBLING, &native("sum")), vec!["@window", "@event-timers", "@watermark"]),
        (
            "top",
            windowed(TUMBLING, "aggregate = { type = \"top\", field = \"value\", n = 3 }"),
            vec!["@window", "@event-timers"],
        ),
        ("global", windowed(GLOBAL, &native("average")), vec!["@window", "@trigger", "@event-timers"]),
        ("panes", windowed(SLIDING, "aggregate = { type = \"count\" }"), vec!["@window", "@panes", "@event-timers"]),
        ("sliding", windowed(SLIDING, &component("sum")), vec!["@panes", "@event-timers"]),
        ("sessions", windowed(SESSION, &component("sum")), vec!["@sessions", "@event-timers"]),
        ("elements", windowed(TUMBLING, &component("elements")), vec!["@elements", "@event-timers"]),
        ("timers", format!("{two}\n{}", component("both")), vec!["seen", "@event-timers", "@watermark"]),
        (
            "join",
            format!("{two}\ninterval = {{ lower = \"-2s\", upper = \"1s\" }}\n{}", component("near")),
            vec!["@left", "@right", "@kept", "@event-timers", "@watermark"],
        ),
    ]
}

struct Scene {
    server: Server,
    dir: PathBuf,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let (server, dir) = Server::start_fresh(&format!("state-of-windows-{name}")).unwrap();
        let bytes = fs::read(Checkout::current().component("event-time").unwrap()).unwrap();
        server.api.push(&bytes, Some("event-time@1")).unwrap().ok().unwrap();
        // Rows are 10 ms apart and slightly out of order. Each key is silent for 5 s at a time.
        for (file, seed) in [("first", 1), ("more", 7)] {
            let mut rows = "id,value,time\n".to_owned();
            for row in 0..ROWS {
                let key = (row * seed) % 5 + (row / 500) % 4 * 5;
                writeln!(rows, "k{key},{},{}", (row * 37 + seed) % 101, row * 10 + (row * 7) % 5).unwrap();
            }
            fs::write(dir.join(file).with_extension("csv"), rows).unwrap();
        }
        Scene { server, dir }
    }

    fn pipeline(&self, (name, operator): (&str, &str), out: &Path, backend: &str, rate: &str) -> String {
        let source = |name: &str| {
            format!(
                "[source.{name}]\nconnector = \"file\"\npath = \"{}\"\nformat = \"csv\"\nparallelism = 1\n{rate}\n\
                 timestamp = {{ field = \"time\", format = \"unix-ms\" }}\nwatermark = {{ out_of_orderness = \"1s\" }}\n",
                self.dir.join(name).with_extension("csv").display()
            )
        };
        [
            format!("name = \"{name}\"\nparallelism = 2\n[restart]\nstrategy = \"none\"\n"),
            format!("[state]\nbackend = \"{backend}\"\n"),
            source("first"),
            source("more"),
            format!("[operator.op]\ninput = \"first\"\nkey = {{ field = \"id\" }}\n{operator}\n"),
            format!("[sink.out]\ninput = \"op\"\nconnector = \"file\"\npath = \"{}\"\n", out.display()),
            "[sink.rest]\ninput = \"more\"\nconnector = \"blackhole\"\n".to_owned(),
        ]
        .concat()
    }

    /// Runs the first part of the input. Returns the folder of the savepoint at its end.
    fn savepoint(&self, operator: (&str, &str), backend: &str) -> String {
        let out = self.dir.join(operator.0).join("before");
        let api = &self.server.api;
        let job = api.submit_ok(&self.pipeline(operator, &out, backend, "rate = 2000")).unwrap();
        wait_until("the job reads", TIMEOUT, || {
            let job = api.job(&job)?;
            assert_ne!(job["status"], "FINISHED", "the run was over too early");
            Ok((job["records_in"].as_u64() >= Some(2 * ROWS_BEFORE)).then_some(()))
        })
        .unwrap();
        let location = api.savepoint(&job, "stop", "").unwrap();
        api.wait_for(&job, "FINISHED").unwrap();
        location
    }

    /// The output for the rest of the input.
    fn rest(&self, operator: (&str, &str), backend: &str, savepoint: &str, out: &str) -> Vec<String> {
        let out = self.dir.join(operator.0).join(out);
        let pipeline = self.pipeline(operator, &out, backend, "");
        let path = format!("/v1/jobs?from={savepoint}");
        let api = &self.server.api;
        let job = api.post(&path, "application/toml", pipeline.as_bytes()).unwrap().ok().unwrap();
        api.wait_for(job["id"].as_str().unwrap(), "FINISHED").unwrap();
        committed_lines(&out).unwrap()
    }

    fn state(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(Checkout::current().cofferdam());
        let output = command.arg("state").args(arguments).current_dir(&self.dir).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Loads lines of a dump. Returns the folder of the new savepoint.
    fn load(&self, name: &str, lines: &str, base: &str) -> String {
        let file = self.dir.join(format!("{name}.ndjson"));
        fs::write(&file, lines).unwrap();
        let to = self.dir.join(format!("loaded/{name}"));
        self.state(&["load", file.to_str().unwrap(), "--base", base, "--to", to.to_str().unwrap()]);
        to.to_str().unwrap().to_owned()
    }

    /// Asserts that `get` finds each line of the dump under its key.
    fn check_get(&self, savepoint: &str, dumped: &str) {
        let mut seen = BTreeSet::new();
        for line in dumped.lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            let (Some(key), state) = (entry["key"].as_str(), entry["state"].as_str().unwrap()) else { continue };
            // One key per state, because each `get` is a process of its own.
            if seen.insert(state.to_owned()) {
                let found = self.state(&["get", savepoint, "op", state, key]);
                assert!(found.lines().any(|found| found == line), "{line}\nis not in\n{found}");
                let of_key = |line: &&str| {
                    let entry: Value = serde_json::from_str(line).unwrap();
                    entry["state"] == state && entry["key"] == key
                };
                assert_eq!(found.lines().count(), dumped.lines().filter(of_key).count(), "{state} {key}");
            }
        }
    }
}

fn check(backend: &str) {
    let scene = Scene::new(backend);
    for (name, operator, states) in operators() {
        let named = (name, &operator[..]);
        let savepoint = scene.savepoint(named, backend);
        let dumped = scene.state(&["dump", &savepoint, "op"]);
        for state in &states {
            assert!(dumped.contains(&format!("\"state\":\"{state}\"")), "{name}: no `{state}` in\n{dumped}");
        }
        assert!(!dumped.contains("\"hex\""), "{name}: an entry is not decoded:\n{dumped}");
        scene.check_get(&savepoint, &dumped);

        let whole = scene.load(name, &dumped, &savepoint);
        assert_eq!(scene.state(&["dump", &whole, "op"]), dumped, "{name}");
        let of_state = |line: &&str| line.contains(&format!("\"state\":\"{}\"", states[0]));
        let one_state: String = dumped.lines().filter(of_state).map(|line| format!("{line}\n")).collect();
        let one = scene.load(&format!("{name}-one"), &one_state, &savepoint);
        let expected = scene.rest(named, backend, &savepoint, "expected");
        assert!(!expected.is_empty(), "{name}");
        assert_eq!(scene.rest(named, backend, &whole, "whole"), expected, "{name}");
        assert_eq!(scene.rest(named, backend, &one, "one"), expected, "{name}");
    }
}

#[test]
fn state_of_windows_and_timers_in_memory_comes_back_through_a_dump() {
    check("memory");
}

#[test]
fn state_of_windows_and_timers_on_rocksdb_comes_back_through_a_dump() {
    check("rocksdb");
}
