//! `cofferdam tap`: real records of a running job, decoded; a client that does not read delays nothing, and is told what it missed.

#![allow(clippy::disallowed_methods, reason = "a test outside of the host")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use cofferdam_tests::{Api, Checkout, Server, wait_until};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(120);

fn job(name: &str, source: &str, keep: &str) -> String {
    format!(
        "name = \"{name}\"\n[source.in]\nconnector = \"generator\"\n{source}\n[operator.pick]\ninput = \"in\"\n\
         select = {{ keep = [{keep}] }}\n[sink.out]\ninput = \"pick\"\nconnector = \"blackhole\"\n"
    )
}

fn tap(api: &Api, arguments: &[&str]) -> Output {
    let mut command = Command::new(Checkout::current().cofferdam());
    command.arg("tap").args(arguments).env("COFFERDAM_SERVER", api.base()).output().unwrap()
}

/// Returns the records that a tap shows.
fn records(api: &Api, arguments: &[&str]) -> Vec<Value> {
    let output = tap(api, &[&["--json"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn records_are_shown_as_they_pass_with_their_fields() {
    let (server, dir) = Server::start_fresh("tap").unwrap();
    let api = &server.api;
    let template = "rate = 100\ntemplate = '{\"number\": {n}, \"name\": \"x\"}'\nfields = { number = \"i64\", name = \"string\" }\n";
    let id = api.submit_ok(&job("numbers", &format!("format = \"ndjson\"\n{template}"), "\"number\"")).unwrap();
    api.wait_for(&id, "RUNNING").unwrap();

    let emitted = records(api, &["numbers", "pick", "--limit", "5"]);
    assert_eq!(emitted.len(), 5);
    for record in &emitted {
        assert_eq!((&record["output"], &record["subtask"]), (&json!("main"), &json!(0)), "{record}");
        let fields = record["value"].as_object().unwrap();
        assert!(fields.len() == 1 && fields["number"].is_i64(), "{record}");
    }
    let numbers: Vec<i64> = emitted.iter().map(|record| record["value"]["number"].as_i64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|earlier, later| earlier < later), "{numbers:?}");
    for (arguments, side, port) in [
        (&["numbers", "pick", "--in", "-n", "1"][..], "input", "input"),
        (&["numbers", "in", "-n", "1"], "output", "main"),
        (&["numbers", "out", "-n", "1"], "input", "input"),
    ] {
        let record = &records(api, arguments)[0];
        assert!(record[side] == port && record["value"]["number"].is_i64(), "{arguments:?}: {record}");
    }
    let text = String::from_utf8(tap(api, &["numbers", "pick", "-n", "1"]).stdout).unwrap();
    assert!(text.starts_with("main/0  ") && text.contains("{\"number\":"), "{text}");

    check_refusals(api, &dir);
    // A tap that is open ends with its job.
    let base = api.base().to_owned();
    let reading = thread::spawn(move || tap(&Api::new(&base), &["numbers", "pick", "--every", "1000000"]));
    thread::sleep(Duration::from_millis(300));
    api.post(&format!("/v1/jobs/{id}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    api.wait_for(&id, "CANCELED").unwrap();
    let output = reading.join().unwrap();
    // If the job has ended before the tap was open, it is refused.
    assert!(output.status.success() || output.status.code() == Some(5), "{output:?}");
    assert_eq!(tap(api, &["numbers", "pick"]).status.code(), Some(5));
}

fn check_refusals(api: &Api, dir: &Path) {
    for (path, code) in [
        ("numbers/tap/none", "request-not-found"),
        ("none/tap/pick", "job-not-found"),
        ("numbers/tap/in?side=in", "request-invalid"),
        ("numbers/tap/out?side=out", "request-invalid"),
        ("numbers/tap/pick?side=both", "request-invalid"),
        ("numbers/tap/pick?every=x", "request-invalid"),
    ] {
        assert_eq!(api.get(&format!("/v1/jobs/{path}")).unwrap().code(), code, "{path}");
    }
    assert!(!fs::read_to_string(dir.join("server.log")).unwrap().contains("panicked"));
}

/// A tap that the test reads itself.
struct RawTap(BufReader<TcpStream>);

impl RawTap {
    fn open(api: &Api, path: &str) -> RawTap {
        let address = api.base().strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
        RawTap(BufReader::new(stream))
    }

    /// Reads until the next summary. Returns it, and the number of records before it.
    fn next_summary(&mut self) -> (Value, u64) {
        let (mut records, mut is_summary, mut line) = (0, false, Vec::new());
        loop {
            line.clear();
            assert_ne!(self.0.read_until(b'\n', &mut line).unwrap(), 0, "the stream ended");
            let text = String::from_utf8_lossy(&line);
            match text.trim_end().split_once(": ") {
                Some(("event", name)) => {
                    is_summary = name == "summary";
                    records += u64::from(name == "record");
                }
                Some(("data", data)) if is_summary => return (serde_json::from_str(data).unwrap(), records),
                _ => {}
            }
        }
    }
}

fn records_out(api: &Api, job: &str) -> u64 {
    let job = api.job(job).unwrap();
    let operators = job["operators"].as_array().unwrap();
    operators.iter().find(|operator| operator["id"] == "pick").unwrap()["records_out"].as_u64().unwrap_or(0)
}

#[test]
fn a_client_that_does_not_read_delays_nothing_and_is_told_what_it_missed() {
    let (server, _) = Server::start_fresh("tap-slow").unwrap();
    let api = &server.api;
    let padding = "x".repeat(3000);
    let template = format!("template = '{{\"number\": {{n}}, \"padding\": \"{padding}\"}}'");
    let fields = "fields = { number = \"i64\", padding = \"string\" }";
    let source = format!("format = \"ndjson\"\n{template}\n{fields}");
    let id = api.submit_ok(&job("large", &source, "\"number\", \"padding\"")).unwrap();
    wait_until("records pass", TIMEOUT, || Ok((records_out(api, &id) > 0).then_some(()))).unwrap();
    let mut told = None;
    // How much fits into the buffers of the connection differs between machines.
    for pause_s in [3, 8, 20] {
        let mut tap = RawTap::open(api, "/v1/jobs/large/tap/pick?side=in&rate=1000");
        assert_eq!(tap.next_summary().0["shown"], 0, "the tap is open");
        let (before, start) = (records_out(api, &id), Instant::now());
        thread::sleep(Duration::from_secs(pause_s));
        wait_until("records pass while nobody reads", TIMEOUT, || {
            Ok((records_out(api, &id) > before + 2000).then_some(()))
        })
        .unwrap();
        let mut received = 0;
        while start.elapsed() < TIMEOUT {
            let (summary, records) = tap.next_summary();
            received += records;
            assert_eq!(summary["shown"], received, "{summary}");
            if summary["dropped"].as_u64() > Some(0) {
                told = Some(summary);
                break;
            }
            if start.elapsed() > Duration::from_secs(pause_s + 10) {
                break;
            }
        }
        if told.is_some() {
            break;
        }
    }
    let told = told.expect("a client that does not read is told that records were dropped");
    assert!(told["passed"].as_u64().unwrap() > 2000, "{told}");
    assert_eq!(api.job(&id).unwrap()["restarts"], 0);
}
