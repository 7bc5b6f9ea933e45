//! A job whose function is replaced by a version that reads and stores other fields: it continues from a savepoint with the rows that
//! windows, co-groups, interval joins and states hold, or from an unaligned checkpoint with rows in flight. The output is that of the
//! version before.
//!
//! The guest is tests/guests/evolving; the test generates the input.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, committed_lines, difference, wait_until};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(120);
const ROWS: u64 = 6000;
/// Minimum number of rows that the first run reads before it is stopped.
const ROWS_BEFORE: u64 = 2000;

/// Settings of a job whose turns are slower than its sources, so that rows wait in its channels.
const SLOW_TURNS: &str = "[batch]\nrecords = 4\n[sandbox]\nfresh_instance = true\n";
/// Most runs until a checkpoint with rows in flight is found. One is enough unless the machine is very fast.
const ATTEMPTS: usize = 20;

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
        api.wait_for(&job, "FINISHED").unwrap();
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

    /// The output of an undisturbed run with the old version.
    fn undisturbed(&self, (name, operator): (&str, &str)) -> Vec<String> {
        let out = self.dir.join(name).join("undisturbed");
        let job = self.server.api.submit_ok(&self.pipeline((operator, &format!("{name}-old")), &out, "|")).unwrap();
        self.server.api.wait_for(&job, "FINISHED").unwrap();
        committed_lines(&out).unwrap()
    }

    /// Runs the old version until an unaligned checkpoint has stored rows in flight to the operator, and cancels it.
    fn checkpoint_with_rows_in_flight(&self, named: (&str, &str), backend: &str) -> UnalignedCheckpoint {
        let attempt = |attempt| self.attempt_rows_in_flight(named, backend, attempt);
        (0..ATTEMPTS).find_map(attempt).expect("every run was over before a checkpoint with rows in flight")
    }

    /// Returns `None` if the job ends before such a checkpoint.
    fn attempt_rows_in_flight(
        &self,
        (name, operator): (&str, &str),
        backend: &str,
        attempt: usize,
    ) -> Option<UnalignedCheckpoint> {
        let out = self.dir.join(name).join(format!("before-{attempt}"));
        let api = &self.server.api;
        let run = format!(
            "parallelism = 2\nstate = {{ backend = \"{backend}\" }}\n\
             checkpoint = {{ interval = \"10ms\", unaligned_after = \"0s\", retained = 1000, on_cancel = \"keep\" }}\n{SLOW_TURNS}|"
        );
        let job = api.submit_ok(&self.pipeline((operator, &format!("{name}-old")), &out, &run)).unwrap();
        let checkpoint = wait_until("a checkpoint with rows in flight", TIMEOUT, || {
            let is_over = api.job(&job)?["status"] == "FINISHED";
            let checkpoints = api.get(&format!("/v1/jobs/{job}/checkpoints"))?.ok()?;
            for checkpoint in checkpoints.as_array().into_iter().flatten() {
                let completed = checkpoint["status"] == "completed" && checkpoint["kind"] == "checkpoint";
                if completed && checkpoint["in_flight_bytes"].as_u64() > Some(0) {
                    let detail = api.get(&format!("/v1/jobs/{job}/checkpoints/details/{}", checkpoint["id"]))?.ok()?;
                    if let Some(location) = location_with_rows_in_flight(&detail) {
                        return Ok(Some(Some((location, checkpoint["id"].as_u64().unwrap()))));
                    }
                }
            }
            Ok(is_over.then_some(None))
        });
        let (location, id) = checkpoint.unwrap()?;
        // The job may finish meanwhile, which is refused and keeps the checkpoint as well.
        api.post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap();
        wait_until("the job ends", TIMEOUT, || {
            Ok(["CANCELLED", "CANCELED", "FINISHED"]
                .iter()
                .any(|end| api.job(&job).unwrap()["status"] == *end)
                .then_some(()))
        })
        .unwrap();
        Some(UnalignedCheckpoint { location, committed: committed_until(&out, id) })
    }

    /// The error of a submit that starts from a savepoint.
    fn refused(&self, operator: &str, function: &str, savepoint: &str) -> String {
        let pipeline = self.pipeline((operator, function), &self.dir.join("refused"), "|");
        let path = format!("/v1/jobs?from={savepoint}");
        let answer = self.server.api.post(&path, "application/toml", pipeline.as_bytes()).unwrap();
        answer.ok().unwrap_err().to_string()
    }
}

/// An unaligned checkpoint that holds rows in flight to the operator.
struct UnalignedCheckpoint {
    location: String,
    /// The lines that were committed with the checkpoint and those before it.
    committed: Vec<String>,
}

/// Returns the folder of a checkpoint if it stored rows in flight to the operator, with the fields of the old version.
fn location_with_rows_in_flight(detail: &Value) -> Option<String> {
    let operator = detail["operators"].as_array()?.iter().find(|operator| operator["id"] == "op")?;
    if operator["in_flight_bytes"].as_u64()? == 0 || detail["unaligned"] != true {
        return None;
    }
    let schema = operator["version"]["inputs"][0].as_str().expect("the operator reads rows");
    assert!(schema.contains("id") && schema.contains("note"), "{schema}");
    let location = detail["location"].as_str()?;
    let files = fs::read_dir(Path::new(location).with_file_name("shared")).unwrap();
    let has_rows = files.map(|file| file.unwrap()).any(|file| {
        let name = file.file_name().into_string().unwrap();
        let is_in_flight = name.starts_with(&format!("{}-", detail["id"])) && name.ends_with("-in-flight");
        let bytes = if is_in_flight { fs::read(file.path()).unwrap() } else { Vec::new() };
        let has = |part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
        // The notes of rows are `n 0`, `n 1` and so on.
        bytes.starts_with(b"COFFFLOW") && has(schema) && has("n ")
    });
    has_rows.then(|| location.to_owned())
}

/// The lines of the parts that were published for the checkpoint `id` and those before it.
fn committed_until(out: &Path, id: u64) -> Vec<String> {
    let mut lines = Vec::new();
    for part in fs::read_dir(out).into_iter().flatten() {
        let part = part.unwrap();
        let name = part.file_name().into_string().unwrap();
        let checkpoint = name.strip_suffix(".txt").and_then(|name| name.rsplit('-').next()?.parse::<u64>().ok());
        if checkpoint.is_some_and(|checkpoint| checkpoint <= id) {
            lines.extend(fs::read_to_string(part.path()).unwrap().lines().map(str::to_owned));
        }
    }
    lines
}

/// Restores an unaligned checkpoint with rows in flight into the same and into another version of each function.
fn check_rows_in_flight(backend: &str, other: &str) {
    let scene = Scene::new(&format!("in-flight-{backend}"));
    for (name, operator) in &operators() {
        let named = (*name, &operator[..]);
        let expected = scene.undisturbed(named);
        let UnalignedCheckpoint { location, committed } = scene.checkpoint_with_rows_in_flight(named, backend);
        let same = format!("parallelism = 2\nstate = {{ backend = \"{backend}\" }}\n");
        let moved = format!("parallelism = 3\nstate = {{ backend = \"{other}\" }}\n");
        for (version, run) in [("old", &same), ("new", &same), ("new", &moved)] {
            let mut lines = scene.rest(named, version, run, &location);
            lines.extend_from_slice(&committed);
            lines.sort();
            if let Some(difference) = difference(&expected, &lines) {
                panic!("{name}-{version} from {location}, {run}: {difference}");
            }
        }
        let error = scene.refused(operator, &format!("{name}-narrow"), &location);
        assert!(error.contains("checkpoint-mismatch"), "{name}: {error}");
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

#[test]
fn rows_in_flight_on_the_memory_backend_are_read_by_a_function_with_other_fields() {
    check_rows_in_flight("memory", "rocksdb");
}

#[test]
fn rows_in_flight_on_rocksdb_are_read_by_a_function_with_other_fields() {
    check_rows_in_flight("rocksdb", "memory");
}
