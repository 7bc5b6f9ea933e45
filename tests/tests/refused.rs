//! Refused requests: one clear error with a stable code, and no change of the server's state.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use cofferdam_tests::{Answer, Api, Checkout, Server, committed_lines};
use serde_json::Value;

/// The state of a server that a refused request must not change.
#[derive(Debug, PartialEq)]
struct Traces {
    components: Value,
    jobs: Value,
    /// All files below the server's folder except its logs, with their sizes.
    files: BTreeMap<PathBuf, u64>,
}

impl Traces {
    fn of(api: &Api, work_dir: &Path) -> Traces {
        let mut files = BTreeMap::new();
        list(work_dir, &mut files);
        // The audit log has a line of each request that may change something.
        files.retain(|path, _| !path.ends_with("server.log") && !path.starts_with(work_dir.join("data/audit")));
        Traces { components: api.components().unwrap(), jobs: api.jobs().unwrap(), files }
    }
}

fn list(folder: &Path, files: &mut BTreeMap<PathBuf, u64>) {
    for entry in fs::read_dir(folder).unwrap() {
        let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata())).unwrap();
        let metadata = metadata.unwrap();
        if metadata.is_dir() {
            list(&path, files);
        }
        // Folders count too: an empty folder must not be left behind.
        files.insert(path, if metadata.is_dir() { 0 } else { metadata.len() });
    }
}

fn start(name: &str) -> (Server, PathBuf) {
    let (server, dir) = Server::start_fresh(&format!("refused-{name}")).unwrap();
    fs::write(dir.join("records.txt"), "one\ntwo\n").unwrap();
    (server, dir)
}

fn component(name: &str) -> Vec<u8> {
    fs::read(Checkout::current().component(name).unwrap()).unwrap()
}

fn push_misbehaving(api: &Api) {
    api.push(&component("misbehaving"), Some("misbehaving@1")).unwrap().ok().unwrap();
}

/// Asserts that the answer is this refusal and that it changed nothing. `says` is a part of its message.
fn assert_refused(answer: &Answer, status: u16, code: &str, says: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
    assert_eq!(answer.content_type, "application/problem+json");
    assert_eq!(answer.body["status"], status);
    let text = answer.body.to_string();
    assert!(text.contains(says), "`{says}` is not in {text}");
}

fn refuse_component(name: &str, bytes: &[u8], status: u16, code: &str, says: &str) {
    let (server, dir) = start(name);
    let before = Traces::of(&server.api, &dir);
    assert_refused(&server.api.push(bytes, Some("test@1")).unwrap(), status, code, says);
    assert_eq!(Traces::of(&server.api, &dir), before);
}

#[test]
fn bytes_that_are_no_wasm() {
    refuse_component("no-wasm", b"#!/bin/sh\necho hello\n", 400, "component-not-wasm", "");
    refuse_component("empty", b"", 400, "component-truncated", "");
}

#[test]
fn a_core_module() {
    refuse_component(
        "core-module",
        &wat::parse_str("(module)").unwrap(),
        400,
        "component-core-module",
        "cofferdam build",
    );
}

#[test]
fn a_component_cut_short() {
    let whole = component("misbehaving");
    refuse_component("cut-short", &whole[..whole.len() / 2], 400, "component-invalid", "");
}

#[test]
fn a_component_of_another_world() {
    let other = wat::parse_str(
        r#"(component
            (core module $m (func (export "run")))
            (core instance $i (instantiate $m))
            (func $run (canon lift (core func $i "run")))
            (export "run" (func $run)))"#,
    );
    refuse_component("other-world", &other.unwrap(), 400, "component-wrong-world", "cofferdam:function/guest");
}

#[test]
fn a_component_of_an_earlier_contract() {
    let old = wat::parse_str(r#"(component (instance $i) (export "cofferdam:function/function@0.1.0" (instance $i)))"#);
    refuse_component("earlier-contract", &old.unwrap(), 400, "component-contract-version", "rebuild the component");
}

#[test]
fn imports_that_are_not_granted() {
    refuse_component("ungranted", &component("ungranted"), 400, "component-import-denied", "acme:test/vault");
}

#[test]
fn a_component_over_the_size_limit() {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir("tests/refused-too-large").unwrap();
    let server = Server::start(&checkout.cofferdam(), &dir, &["--component-max", "64KiB"]).unwrap();
    let before = Traces::of(&server.api, &dir);
    let answer = server.api.push(&vec![0; (64 << 10) + 1], None).unwrap();
    assert_refused(&answer, 413, "component-too-large", "64");
    assert_eq!(Traces::of(&server.api, &dir), before);
}

/// Sends a request by hand, because client libraries cannot break off in the middle of one.
fn send_raw(api: &Api, head: &str, body: &[u8], cut: bool) -> String {
    let address = api.base().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("{head}\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    if cut {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer); // The server may hang up on such a client.
    answer
}

#[test]
fn a_truncated_upload() {
    let (server, dir) = start("truncated");
    let before = Traces::of(&server.api, &dir);
    let bytes = component("misbehaving");
    let head = format!("POST /v1/components?name=test@1 HTTP/1.1\r\nContent-Length: {}", bytes.len());
    let answer = send_raw(&server.api, &head, &bytes[..bytes.len() / 2], true);
    assert!(answer.is_empty() || answer.contains("component-truncated"), "{answer}");
    assert_eq!(Traces::of(&server.api, &dir), before);

    // The body was truncated on the way and its length corrected. The announced digest reveals it.
    let head = format!("{head}\r\nX-Content-Sha256: {}", "0".repeat(64));
    let answer = send_raw(&server.api, &head, &bytes, false);
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("component-truncated"), "{answer}");
    assert_eq!(Traces::of(&server.api, &dir), before);
}

#[test]
fn a_name_that_is_taken() {
    let (server, dir) = start("name-taken");
    push_misbehaving(&server.api);
    let before = Traces::of(&server.api, &dir);
    let answer = server.api.push(&component("late-flights"), Some("misbehaving@1")).unwrap();
    assert_refused(&answer, 409, "component-name-taken", "misbehaving@1");
    assert_eq!(Traces::of(&server.api, &dir), before);
}

/// A valid pipeline file, which tests change.
const MANIFEST: &str = r#"name = "echo"

[source.lines]
connector = "file"
path = "records.txt"

[operator.act]
input = "lines"
component = "misbehaving@1"
function = "echo"

[sink.out]
input = "act"
connector = "file"
path = "out"
"#;

fn submit(api: &Api, pipeline: &str, dir: &Path) -> Answer {
    let path = format!("/v1/jobs?file_name=pipeline.toml&base_dir={}", dir.display());
    api.post(&path, "application/toml", pipeline.as_bytes()).unwrap()
}

/// Replaces a part of the valid pipeline file and expects the refusal. `line` is the line it must name, 0 for none.
fn refuse_pipeline(api: &Api, dir: &Path, (from, to): (&str, &str), expected: (u16, &str), says: &str, line: usize) {
    assert!(MANIFEST.contains(from));
    let before = Traces::of(api, dir);
    let answer = submit(api, &MANIFEST.replace(from, to), dir);
    assert_refused(&answer, expected.0, expected.1, says);
    if line > 0 {
        assert_eq!(answer.body["location"]["line"], line, "{}", answer.body);
        assert_eq!(answer.body["location"]["file"], "pipeline.toml", "{}", answer.body);
    }
    assert_eq!(Traces::of(api, dir), before);
}

#[test]
fn a_wrong_pipeline_file_is_refused() {
    let (server, dir) = start("manifest");
    push_misbehaving(&server.api);
    let refuse = |change, expected, says, line| refuse_pipeline(&server.api, &dir, change, expected, says, line);
    refuse(("path = \"records.txt\"", "path = records.txt"), (400, "manifest-syntax"), "", 5);
    refuse(("function = ", "functoin = "), (400, "manifest-unknown-key"), "function", 10);
    refuse(("input = \"lines\"", "input = \"line\""), (400, "manifest-unknown-input"), "lines", 8);
    refuse(("input = \"lines\"", "input = \"act\""), (400, "manifest-cycle"), "act", 0);
    refuse(("misbehaving@1", "nobody@1"), (404, "component-not-found"), "nobody@1", 9);
    refuse(("\"echo\"\n\n[sink", "\"ecco\"\n\n[sink"), (400, "function-not-found"), "echo", 10);
    refuse(
        ("name = \"echo\"", "name = \"echo\"\nparallelism = 9\nmax_parallelism = 8"),
        (400, "manifest-parallelism"),
        "8",
        2,
    );
    refuse(("records.txt", "absent.txt"), (400, "source-missing"), "absent.txt", 0);
    // The unchanged pipeline file is accepted.
    let job = submit(&server.api, MANIFEST, &dir).ok().unwrap();
    server.api.wait_for(job["id"].as_str().unwrap(), "FINISHED").unwrap();
    assert_eq!(committed_lines(&dir.join("out")).unwrap(), ["one", "two"]);
}

#[test]
fn a_name_that_runs() {
    let (server, dir) = start("running-name");
    push_misbehaving(&server.api);
    let slow = MANIFEST.replace("path = \"records.txt\"", "path = \"records.txt\"\nrate = 1");
    fs::write(dir.join("records.txt"), "line\n".repeat(1_000)).unwrap();
    let job = submit(&server.api, &slow, &dir).ok().unwrap();
    let id = job["id"].as_str().unwrap();
    server.api.wait_for(id, "RUNNING").unwrap();

    let answer = submit(&server.api, &slow.replace("\"out\"", "\"out2\""), &dir);
    assert_refused(&answer, 409, "job-name-taken", "echo");
    assert_eq!(server.api.jobs().unwrap().as_array().unwrap().len(), 1);
    assert!(!dir.join("out2").exists());

    // The name is free again as soon as the job has ended.
    server.api.post(&format!("/v1/jobs/{id}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    server.api.wait_for(id, "CANCELED").unwrap();
    submit(&server.api, &slow, &dir).ok().unwrap();
}

#[test]
fn an_output_folder_that_cannot_be_written() {
    let (server, dir) = start("read-only");
    push_misbehaving(&server.api);
    fs::write(dir.join("a-file"), "").unwrap();
    // Below a file, and in a file system of the kernel.
    for (folder, refusal) in [("a-file/out", (503, "sink-unwritable")), ("/proc/out", (403, "path-denied"))] {
        let change = ("path = \"out\"", format!("path = \"{folder}\""));
        refuse_pipeline(&server.api, &dir, (change.0, &change.1), refusal, folder, 0);
    }
}

/// A file system of 1 MiB is full long before the output is complete. Mounting one needs a namespace of its own, which some
/// machines do not allow; the test is skipped there.
#[test]
fn a_full_output_folder() {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir("tests/refused-full").unwrap();
    let may_mount = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        eprintln!("not tested: this machine does not let us mount a small file system");
        return;
    }
    let small = dir.join("small");
    fs::create_dir_all(&small).unwrap();
    fs::write(dir.join("records.txt"), "a line that takes its place\n".repeat(200_000)).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$@\"";
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(&small).arg(checkout.cofferdam());
    let mut server = Server::start_by(command, &dir, &[]).unwrap();
    push_misbehaving(&server.api);

    let strategy = "[restart]\nstrategy = \"none\"\n\n[sink.out]";
    let full = MANIFEST.replace("\"out\"", "\"small/out\"").replace("[sink.out]", strategy);
    let job = submit(&server.api, &full, &dir).ok().unwrap();
    let job = server.api.wait_for(job["id"].as_str().unwrap(), "FAILED").unwrap();
    assert_eq!(job["failure"]["code"], "sink-unwritable", "{}", job["failure"]);
    // Read through the server's namespace: the failed job has published nothing.
    let seen = PathBuf::from(format!("/proc/{}/root{}", server.process_id(), small.join("out").display()));
    assert_eq!(committed_lines(&seen).unwrap(), [""; 0]);

    // The server still works.
    let job = submit(&server.api, &MANIFEST.replace("\"echo\"\n\n[source", "\"again\"\n\n[source"), &dir).ok().unwrap();
    server.api.wait_for(job["id"].as_str().unwrap(), "FINISHED").unwrap();
    assert_eq!(committed_lines(&dir.join("out")).unwrap().len(), 200_000);
    assert!(server.is_up().unwrap());
}
