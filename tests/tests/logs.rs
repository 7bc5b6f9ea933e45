//! The log: floods and dead readers of stderr cost no job anything; levels are set at run time; lines are kept, followed and counted.
//!
//! The guests are tests/guests/evil and tests/guests/printing.

#![allow(clippy::disallowed_methods, reason = "a test outside of the host")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cofferdam_tests::{Api, Checkout, Server, committed_lines, wait_until};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(120);

/// Records of the neighbour of a function that floods the log.
const RECORDS: usize = 3000;

/// A server whose stderr belongs to the test.
struct Flooded {
    server: Server,
    dir: PathBuf,
}

impl Flooded {
    fn new(server: Server, dir: PathBuf) -> Flooded {
        push(&server.api, "evil");
        Flooded { server, dir }
    }

    fn start(name: &str) -> (Flooded, ChildStderr) {
        let checkout = Checkout::current();
        let dir = checkout.fresh_dir(&format!("tests/logs-{name}")).unwrap();
        let (server, stderr) = Server::start_piped(Command::new(checkout.cofferdam()), &dir, &[]).unwrap();
        (Flooded::new(server, dir), stderr)
    }

    /// Runs a job beside another one whose function floods the log, and stops the server.
    fn check(mut self, stderr: Option<ChildStderr>) {
        let api = &self.server.api;
        let limits = "limits = { log_lines = 1_000_000, log_bytes = \"64MiB\", deadline = \"60s\" }";
        let flood = api.submit_ok(&endless("flood", "log-million", limits)).unwrap();
        wait_until("lines are suppressed", TIMEOUT, || {
            Ok((operator(&api.job(&flood)?)["log_lines_dropped"].as_u64() > Some(1_000_000)).then_some(()))
        })
        .unwrap();
        for round in 0..2 {
            let neighbour = self.neighbour(round);
            let neighbour = api.wait_for(&neighbour, "FINISHED").unwrap();
            assert_eq!(neighbour["restarts"], 0, "{neighbour}");
            assert_eq!(committed_lines(&self.dir.join(format!("out-{round}"))).unwrap().len(), RECORDS);
        }
        let job = api.job(&flood).unwrap();
        assert_eq!((&job["status"], &job["restarts"]), (&json!("RUNNING"), &json!(0)), "{job}");
        let page = api.get(&format!("/v1/jobs/{flood}/logs?operator=act")).unwrap().ok().unwrap();
        assert!(page["suppressed"].as_u64() > Some(1_000_000), "{page}");
        assert!(!page["lines"].as_array().unwrap().is_empty(), "{page}");
        let shown = cofferdam(api, &["job", "show", &flood]);
        assert!(shown.contains("lines suppressed"), "{shown}");
        // A reader that wakes up is told what it has missed.
        let woken = stderr.map(|stderr| {
            let (sender, receiver) = mpsc::channel();
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    if line.contains("lines were dropped here because stderr was not read") {
                        let _ = sender.send(());
                    }
                }
            });
            receiver
        });
        if let Some(woken) = woken {
            woken.recv_timeout(TIMEOUT).expect("the number of dropped lines is told");
        }
        api.post(&format!("/v1/jobs/{flood}/cancel"), "application/json", b"").unwrap().ok().unwrap();
        api.wait_for(&flood, "CANCELED").unwrap();
        let status = self.server.terminate().unwrap();
        assert!(status.success(), "{status}");
    }

    fn neighbour(&self, round: usize) -> String {
        let dir = self.dir.display();
        let records: String = (0..RECORDS).map(|number| format!("k,{number}\n")).collect();
        fs::write(self.dir.join("records.csv"), records).unwrap();
        let pipeline = format!(
            "name = \"neighbour-{round}\"\n[checkpoint]\ninterval = \"200ms\"\n\
             [source.in]\nconnector = \"file\"\npath = \"{dir}/records.csv\"\nformat = \"csv\"\nheader = false\n\
             [operator.act]\ninput = \"in\"\ncomponent = \"evil@1\"\nfunction = \"echo\"\n\
             [sink.out]\ninput = \"act\"\nconnector = \"file\"\npath = \"{dir}/out-{round}\"\n"
        );
        self.server.api.submit_ok(&pipeline).unwrap()
    }
}

fn push(api: &Api, guest: &str) {
    let component = fs::read(Checkout::current().component(guest).unwrap()).unwrap();
    api.push(&component, Some(&format!("{guest}@1"))).unwrap().ok().unwrap();
}

/// A job of the guest `evil` that never ends.
fn endless(name: &str, function: &str, settings: &str) -> String {
    format!(
        "name = \"{name}\"\n[source.in]\nconnector = \"generator\"\ntemplate = \"k,{{n}}\"\n\
         [operator.act]\ninput = \"in\"\ncomponent = \"evil@1\"\nfunction = \"{function}\"\n{settings}\n\
         [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
    )
}

/// A job of the guest `printing`, which prints four lines for each record.
fn printing(name: &str, source: &str, settings: &str) -> String {
    format!(
        "name = \"{name}\"\n[source.in]\nconnector = \"generator\"\ntemplate = \"tea {{n}}\"\n{source}\n\
         [operator.act]\ninput = \"in\"\ncomponent = \"printing@1\"\nfunction = \"print\"\n{settings}\n\
         [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
    )
}

fn operator(job: &Value) -> Value {
    let operators = job["operators"].as_array().cloned().unwrap_or_default();
    operators.into_iter().find(|operator| operator["id"] == "act").unwrap_or_default()
}

/// Runs the command line, which must succeed. Returns its stdout.
fn cofferdam(api: &Api, arguments: &[&str]) -> String {
    let mut command = Command::new(Checkout::current().cofferdam());
    let output = command.args(["--server", api.base()]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_flood_and_a_stderr_that_is_not_read_cost_no_job_anything() {
    let (flooded, stderr) = Flooded::start("stalled");
    flooded.check(Some(stderr));
}

#[test]
fn a_flood_and_a_stderr_that_was_closed_cost_no_job_anything() {
    let (flooded, mut stderr) = Flooded::start("closed");
    // The reader reads something first, like `| head -c 1`.
    let job = flooded.server.api.submit_ok(&endless("first", "log-flood", "limits = { deadline = \"60s\" }")).unwrap();
    stderr.read_exact(&mut [0]).unwrap();
    drop(stderr);
    flooded.server.api.post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    flooded.check(None);
}

#[test]
fn a_flood_without_a_stderr_costs_no_job_anything() {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir("tests/logs-absent").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" 2>&-", "sh"]).arg(checkout.cofferdam());
    Flooded::new(Server::start_by(shell, &dir, &[]).unwrap(), dir).check(None);
}

/// Returns the lines of a page, after `after`.
fn page(api: &Api, job: &str, query: &str) -> (Vec<Value>, u64) {
    let page = api.get(&format!("/v1/jobs/{job}/logs?{query}")).unwrap().ok().unwrap();
    (page["lines"].as_array().unwrap().clone(), page["next"].as_u64().unwrap())
}

/// Waits until at least ten lines in a row satisfy the condition.
fn await_lines(api: &Api, job: &str, what: &str, is_expected: impl Fn(&Value) -> bool) {
    let mut after = page(api, job, "limit=1").1;
    wait_until(what, TIMEOUT, || {
        let (lines, next) = page(api, job, &format!("operator=act&after={after}"));
        let are_expected = lines.iter().all(&is_expected);
        if !are_expected || lines.len() >= 10 {
            after = next;
        }
        Ok((are_expected && lines.len() >= 10).then_some(()))
    })
    .unwrap();
}

/// Checks that an event on another thread names its request, which the audit log has as well.
fn check_request_of_log(api: &Api, dir: &Path) {
    let log = fs::read_to_string(dir.join("server.log")).unwrap();
    let line = log.lines().find(|line| line.contains("the level of the operator's log lines was set")).unwrap();
    let id = line.split_once("request{request_id=\"").and_then(|(_, rest)| rest.split_once('"'));
    let id = id.unwrap_or_else(|| panic!("no request in {line}")).0;
    let page = api.get("/v1/audit").unwrap().ok().unwrap();
    let entry = page["entries"].as_array().unwrap().iter().find(|entry| entry["request_id"] == id);
    assert_eq!(entry.unwrap_or_else(|| panic!("no {id} in {page}"))["method"], "PUT");
}

#[test]
fn the_level_of_a_function_is_set_while_it_runs() {
    let (server, dir) = Server::start_fresh("logs-level").unwrap();
    let api = &server.api;
    push(api, "printing");
    let job = api.submit_ok(&printing("levels", "rate = 20", "log = \"off\"")).unwrap();
    wait_until("records are processed", TIMEOUT, || {
        Ok((operator(&api.job(&job)?)["records_out"].as_u64() >= Some(20)).then_some(()))
    })
    .unwrap();
    assert_eq!(page(api, &job, "operator=act").0, Vec::<Value>::new());
    let path = format!("/v1/jobs/{job}/operators/act/log-level");
    let set = |body: Value| api.put(&path, &body.to_string()).unwrap();
    assert_eq!(
        set(json!({"level": "info"})).ok().unwrap(),
        json!({"operator": "act", "level": "info", "is_set": true})
    );
    await_lines(api, &job, "the function prints", |_| true);
    set(json!({"level": "warn"})).ok().unwrap();
    await_lines(api, &job, "the function prints warnings only", |line| line["level"] == "warn");
    let (lines, _) = page(api, &job, "operator=act&level=info&limit=1000");
    assert!(lines.iter().any(|line| line["level"] == "info"), "{lines:?}");
    let (lines, _) = page(api, &job, "operator=act&level=warn&limit=1000");
    assert!(lines.iter().all(|line| line["level"] == "warn" && line["subtask"] == 0), "{lines:?}");
    assert_eq!(operator(&api.job(&job).unwrap())["log_level"], "warn");
    assert!(cofferdam(api, &["log-level", "levels", "act"]).contains("act: warn (set"));
    check_request_of_log(api, &dir);
    assert!(cofferdam(api, &["log-level", "levels", "act", "default"]).contains("act: off (as"));
    assert_eq!(api.get(&path).unwrap().ok().unwrap(), json!({"operator": "act", "level": "off", "is_set": false}));
    for (path, body, code) in [
        (path.as_str(), json!({"level": "loud"}), "request-invalid"),
        (path.as_str(), json!({"levels": "info"}), "request-invalid"),
        (&format!("/v1/jobs/{job}/operators/none/log-level"), json!({"level": "info"}), "request-not-found"),
        (&format!("/v1/jobs/{job}/operators/in/log-level"), json!({"level": "info"}), "request-not-found"),
        ("/v1/jobs/none/operators/act/log-level", json!({"level": "info"}), "job-not-found"),
    ] {
        assert_eq!(api.put(path, &body.to_string()).unwrap().code(), code, "{path} {body}");
    }
    for (query, code) in
        [("level=loud", "request-invalid"), ("after=x", "request-invalid"), ("operator=none", "request-not-found")]
    {
        assert_eq!(api.get(&format!("/v1/jobs/{job}/logs?{query}")).unwrap().code(), code, "{query}");
    }
    api.post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    api.wait_for(&job, "CANCELED").unwrap();
    assert_eq!(set(json!({"level": "info"})).code(), "job-state");
}

#[test]
fn a_reader_follows_each_line_until_the_job_ends() {
    let (server, _) = Server::start_fresh("logs-follow").unwrap();
    push(&server.api, "printing");
    let job = server.api.submit_ok(&printing("followed", "rate = 50\nrecords = 100", "")).unwrap();
    let followed = cofferdam(&server.api, &["logs", "followed", "-f", "-n", "1000", "--json"]);
    let lines: Vec<Value> = followed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: BTreeSet<u64> = lines.iter().map(|line| line["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), lines.len(), "no line is printed twice");
    for number in 0..100 {
        let text = format!("stdout saw tea {number}");
        assert_eq!(lines.iter().filter(|line| line["message"] == text.as_str()).count(), 1, "`{text}` in {followed}");
    }
    assert_eq!(lines.last().unwrap()["message"], "job ended: finished");
    server.api.wait_for(&job, "FINISHED").unwrap();
    // The last lines stay for a while.
    let text = cofferdam(&server.api, &["logs", "followed", "act", "-n", "4"]);
    assert!(text.lines().count() == 4 && text.contains(" INFO act/0: a helper saw tea 99"), "{text}");
}

/// Reads the log of the server as JSON, one event per line.
fn events(dir: &Path) -> Vec<Value> {
    let log = fs::read_to_string(dir.join("server.log")).unwrap();
    let event = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    log.lines().map(event).collect()
}

#[test]
fn a_log_in_json_has_an_event_in_each_line() {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir("tests/logs-json").unwrap();
    let mut server = Server::start(&checkout.cofferdam(), &dir, &["--log-format", "json"]).unwrap();
    push(&server.api, "printing");
    push(&server.api, "evil");
    let job = server.api.submit_ok(&printing("events", "records = 3", "")).unwrap();
    server.api.wait_for(&job, "FINISHED").unwrap();
    // Lines that try to break out of their event.
    let flood = server.api.submit_ok(&endless("flood", "log-flood", "limits = { deadline = \"60s\" }")).unwrap();
    wait_until("lines are suppressed", TIMEOUT, || {
        Ok((operator(&server.api.job(&flood)?)["log_lines_dropped"].as_u64() > Some(0)).then_some(()))
    })
    .unwrap();
    assert!(server.terminate().unwrap().success());
    let events = events(&dir);
    for event in &events {
        assert!(
            event["timestamp"].is_string() && event["level"].is_string() && event["message"].is_string(),
            "{event}"
        );
    }
    let printed = events.iter().find(|event| event["message"] == "stdout saw tea 0").expect("the function has printed");
    let fields = json!({"job": "events", "operator": "act", "function": "print", "subtask": 0, "target": "guest", "level": "INFO"});
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(&printed[name], value, "{name} of {printed}");
    }
    assert!(events.iter().any(|event| event["message"] == "job ended" && event["job"] == "events"));
    assert!(events.iter().any(|event| event["suppressed"].as_u64() > Some(0)), "suppressed lines are told");
}
