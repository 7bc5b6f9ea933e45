//! A job whose function is replaced by a version that reads and stores other fields: it continues from a savepoint with the rows that
//! windows, co-groups, interval joins and states hold. The output is that of the version before, over the same savepoint.
//!
//! The guest is tests/guests/evolving; the test generates the input. `host/src/runtime/row_evolution_tests.rs` tests records in flight.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, committed_lines, wait_until};

const TIMEOUT: Duration = Duration::from_secs(120);
const ROWS: u64 = 6000;
/// Minimum number of rows that the first run reads before it is stopped.
const ROWS_BEFORE: u64 = 2000;

const WINDOW: &str = "window = { type = \"tumbling\", size = \"3s\" }";
const SECOND: &str = "second = \"more\"\nsecond_key = { field = \"id\" }";

/// The operators by the name of their function, without the version.
fn operators() -> [(&'static str, String); 4] {
    [
        ("windows", WINDOW.to_owned()),
        ("groups", format!("{SECOND}\n{WINDOW}")),
        ("joins", format!("{SECOND}\ninterval = {{ lower = \"-500ms\", upper = \"500ms\" }}")),
        ("sums", String::new()),
    ]
}

struct Scene {
    server: Server,
    dir: PathBuf,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let (server, dir) = Server::start_fresh(&format!("row-evolution-{name}")).unwrap();
        let bytes = fs::read(Checkout::current().component("evolving").unwrap()).unwrap();
        server.api.push(&bytes, Some("evolving@1")).unwrap().ok().unwrap();
        for (file, seed) in [("first", 1), ("more", 7)] {
            let mut rows = "value,id,unread,note,time\n".to_owned();
            for row in 0..ROWS {
                let (key, value) = ((row * seed) % 7, (row * 37 + seed) % 101);
                writeln!(rows, "{value},{key},x,\"n {row}\",{}", row * 10 + (row * 7) % 5).unwrap();
            }
            fs::write(dir.join(file).with_extension("csv"), rows).unwrap();
        }
        Scene { server, dir }
    }

    /// `run` are settings of the pipeline, `|`, and settings of the sources.
    fn pipeline(&self, (operator, function): (&str, &str), out: &Path, run: &str) -> String {
        let source = |name: &str, rate: &str| {
            format!(
                "[source.{name}]\nconnector = \"file\"\npath = \"{}\"\nformat = \"csv\"\nparallelism = 1\n{rate}\n\
                 timestamp = {{ field = \"time\", format = \"unix-ms\" }}\nwatermark = {{ out_of_orderness = \"1s\" }}\n",
                self.dir.join(name).with_extension("csv").display()
            )
        };
        let (settings, rate) = run.split_once('|').unwrap();
        [
            format!("name = \"evolving\"\n{settings}[restart]\nstrategy = \"none\"\n"),
            source("first", rate),
            source("more", rate),
            format!(
                "[operator.op]\ninput = \"first\"\nkey = {{ field = \"id\" }}\ncomponent = \"evolving@1\"\nfunction = \"{function}\"\n\
                 {operator}\n"
            ),
            format!("[sink.out]\ninput = \"op\"\nconnector = \"file\"\npath = \"{}\"\nformat = \"raw\"\n", out.display()),
            "[sink.rest]\ninput = \"more\"\nconnector = \"blackhole\"\n".to_owned(),
        ]
        .concat()
    }

    /// Runs the first part of the input with the old version. Returns the folder of the savepoint at its end.
    fn savepoint(&self, (name, operator): (&str, &str), backend: &str, format: &str) -> String {
        let out = self.dir.join(name).join("before");
        let api = &self.server.api;
        let run = format!("parallelism = 2\nstate = {{ backend = \"{backend}\" }}\n|rate = 2000");
        let pipeline = self.pipeline((operator, &format!("{name}-old")), &out, &run);
        let job = api.submit_ok(&pipeline).unwrap();
        wait_until("the job reads", TIMEOUT, || {
            let job = api.job(&job)?;
            assert_ne!(job["status"], "FINISHED", "the run was over too early");
            Ok((job["records_in"].as_u64() >= Some(2 * ROWS_BEFORE)).then_some(()))
        })
        .unwrap();
        let location = api.savepoint(&job, "stop", &format!("{{\"format\": \"{format}\"}}")).unwrap();
        api.wait_for(&job, "STOPPED").unwrap();
        location
    }

    /// The output for the rest of the input, with another version, parallelism and backend.
    fn rest(&self, (name, operator): (&str, &str), version: &str, run: &str, savepoint: &str) -> Vec<String> {
        let out = self.dir.join(name).join(format!("{version}-{}", run.len()));
        let pipeline = self.pipeline((operator, &format!("{name}-{version}")), &out, &format!("{run}|"));
        let api = &self.server.api;
        let path = format!("/v1/jobs?from={savepoint}");
        let job = api.post(&path, "application/toml", pipeline.as_bytes()).unwrap().ok().unwrap();
        api.wait_for(job["id"].as_str().unwrap(), "FINISHED").unwrap();
        let mut lines = committed_lines(&out).unwrap();
        lines.sort();
        lines
    }

    /// The error of a submit that starts from a savepoint.
    fn refused(&self, operator: &str, function: &str, savepoint: &str) -> String {
        let pipeline = self.pipeline((operator, function), &self.dir.join("refused"), "|");
        let path = format!("/v1/jobs?from={savepoint}");
        let answer = self.server.api.post(&path, "application/toml", pipeline.as_bytes()).unwrap();
        answer.ok().unwrap_err().to_string()
    }
}

fn check(backend: &str, other: &str, format: &str) {
    let scene = Scene::new(backend);
    for (name, operator) in &operators() {
        let named = (*name, &operator[..]);
        let savepoint = scene.savepoint(named, backend, format);
        let same = format!("parallelism = 2\nstate = {{ backend = \"{backend}\" }}\n");
        let expected = scene.rest(named, "old", &same, &savepoint);
        assert!(!expected.is_empty(), "{name}");
        assert_eq!(scene.rest(named, "new", &same, &savepoint), expected, "{name}");
        let moved = format!("parallelism = 3\nstate = {{ backend = \"{other}\" }}\n");
        assert_eq!(scene.rest(named, "new", &moved, &savepoint), expected, "{name} at another parallelism on {other}");

        let error = scene.refused(operator, &format!("{name}-narrow"), &savepoint);
        for part in ["checkpoint-mismatch", "i64", "i32"] {
            assert!(error.contains(part), "{name}: no `{part}` in {error}");
        }
        if *name == "sums" {
            let error = scene.refused(operator, "sums-by-number", &savepoint);
            assert!(error.contains("checkpoint-mismatch") && error.contains("`string`, but now `i64`"), "{error}");
            dump_shows_rows(&scene, &savepoint, "\"state\":\"sum\"", "\"last\":\"n ");
        }
        if *name == "groups" {
            dump_shows_rows(&scene, &savepoint, "\"state\":\"@elements\"", "\"note\":\"n ");
        }
    }
}

/// Asserts that a dump shows the rows of a state by their fields.
fn dump_shows_rows(scene: &Scene, savepoint: &str, state: &str, field: &str) {
    let mut command = Command::new(Checkout::current().cofferdam());
    let output = command.args(["state", "dump", savepoint, "op"]).current_dir(&scene.dir).output().unwrap();
    let dumped = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = dumped.lines().filter(|line| line.contains(state)).collect();
    assert!(
        !lines.is_empty() && lines.iter().all(|line| line.contains(field) && !line.contains("\"hex\"")),
        "{dumped}"
    );
}

#[test]
fn a_function_with_other_fields_continues_from_a_canonical_savepoint_in_memory() {
    check("memory", "rocksdb", "canonical");
}

#[test]
fn a_function_with_other_fields_continues_from_a_native_savepoint_on_rocksdb() {
    check("rocksdb", "memory", "native");
}
